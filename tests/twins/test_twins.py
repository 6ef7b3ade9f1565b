"""Broken twins: a deployment is broken on its hosts, the verifier says how it shows, and passes the mended one."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, factorial, floor, log10, prod
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployment import ROOT, Run, play, run

SERVERS = 7
RATE = 400  # requests a second
ASKED = 3  # times that `stickiness` asks for a session after its login
ROOM = 4  # rows of a tiny table
RUN_SECONDS = 120
MISS = 1e-6


# The odds that a wrong deployment passes. The verifier draws the order of its requests, so that a server which does not
# come from the session's row has nothing to do with the session.


def certain(sessions: int) -> float:
    """Sessions are on several servers, or have no row of their own: whatever is drawn, it shows."""
    return 0.0


def dealt(sessions: int) -> float:
    """A balancer without rows deals its servers out in turn, to sessions that come in random order.

    All are right in so many of the orders as those sessions can be exchanged that were dealt one server.
    """
    homes = Counter(number % SERVERS for number in range(sessions))
    return prod(map(factorial, homes.values())) / factorial(sessions)


def forgotten(sessions: int) -> float:
    """A balancer has room for few rows, and deals servers to all other sessions.

    Of the requests that are still to come, those are right that are for a session in the table, or
    for one that was dealt the server whose turn it is.
    """
    right, asked = ASKED * (ROOM + ceil(sessions / SERVERS)), ASKED * sessions
    return prod(min(1.0, right / (asked - number)) for number in range(asked))


def halves(sessions: int) -> float:
    """Two processes share a port, and each connection reaches any of them.

    A session stays if all its requests reach the process of its login, or the other one happens to
    deal it the same server.
    """
    together = 2.0**-ASKED
    return (together + (1 - together) / SERVERS) ** sessions


ODDS: dict[str, Callable[[int], float]] = {
    function.__name__: function for function in (certain, dealt, forgotten, halves)
}


@dataclass(frozen=True, kw_only=True)
class Twin:
    """A wrong deployment, as twins.yml describes it."""

    name: str
    wrong: str
    breaks: dict[str, str]
    scenarios: list[str]
    sessions: int
    caught: dict[str, int]
    odds: dict[str, int]

    @property
    def miss(self) -> float:
        """The odds that it passes."""
        ((name, sessions),) = self.odds.items()
        return ODDS[name](sessions)

    @property
    def row(self) -> str:
        """Its row in docs/twins.md."""
        odds = f"1 in 10^{floor(-log10(self.miss))}" if self.miss else "none"
        scenarios, invariants = (", ".join(f"`{name}`" for name in names) for names in (self.scenarios, self.caught))
        return f"| `{self.name}` | {self.wrong} | {scenarios} | {invariants} | {odds} |"


TWINS = [
    Twin(name=name, **described)
    for name, described in yaml.safe_load(Path(__file__).with_name("twins.yml").read_text()).items()
]


@contextmanager
def broken(twin: Twin) -> Iterator[None]:
    """Break the deployment, and mend it whatever happens."""
    try:
        run = play("tests/twins/break.yml", "-e", f"twin={twin.name}")
        assert run.rc == 0, run.output
        yield
    finally:
        run = play("tests/twins/mend.yml")
        assert run.rc == 0, run.output


def verify(twin: Twin, topology: Path, runs: Path) -> tuple[Run, list[dict[str, Any]]]:
    """Run the verifier as an operator does; give what it printed, and its verdicts."""
    command = f"-m verify run --topology {topology} --runs {runs} --rate {RATE} --sessions {twin.sessions}".split()
    leave = ["--only", ",".join(twin.scenarios), "--destructive", "--on", "haproxy-1,haproxy-2,web"]
    done = run([sys.executable, *command, *leave], RUN_SECONDS)
    verdicts = [json.loads(path.read_text()) for path in runs.glob("2*/verdict.json")]
    assert len(verdicts) == len(twin.scenarios), done.output
    return done, verdicts


@pytest.mark.usefixtures("mended")
@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.name)
def test_a_twin_is_caught_and_passes_when_mended(twin: Twin, topology: Path, tmp_path: Path) -> None:
    with broken(twin):
        run, verdicts = verify(twin, topology, tmp_path / "broken")
    assert run.rc == 1, run.output
    assert [verdict["ended"] for verdict in verdicts] == [""] * len(verdicts), run.output
    failed = [result for verdict in verdicts for result in verdict["results"] if result["verdict"] == "fail"]
    for invariant, observations in twin.caught.items():
        judged = [result["judged"] for result in failed if result["invariant"] == invariant]
        assert max(judged, default=0) >= observations, f"{invariant} did not fail, or judged too little\n{run.output}"
    run, _ = verify(twin, topology, tmp_path / "mended")
    assert run.rc == 0, run.output


def test_a_miss_by_chance_is_below_one_in_a_million() -> None:
    for twin in TWINS:
        (sessions,) = twin.odds.values()
        assert twin.miss < MISS, twin.name
        assert sessions <= min(twin.sessions, max(twin.caught.values())), twin.name


def test_the_documentation_has_every_twin() -> None:
    page = (ROOT / "docs" / "twins.md").read_text().splitlines()
    assert [line for line in page if line.startswith("| `")] == [twin.row for twin in TWINS]


def test_what_is_configured_is_not_what_catches() -> None:
    assert not [twin.name for twin in TWINS if "as-intended" in twin.caught]
