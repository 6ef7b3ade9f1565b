"""Balancers of four versions: pairs of equals, and clusters of two neighbouring pairs, as in a rolling upgrade."""

import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from deployment import INVENTORY, Run, connect, play, run, wait_for
from node import Node

from verify.inventory import balancers_of
from verify.scenarios import SCENARIOS

# Group of the inventory -> version.
PAIRS = {"v22": "2.2", "v26": "2.6", "v30": "3.0", "v32": "3.2"}
NEIGHBOURS = list(pairwise(PAIRS))
# The pair that loses its table in some ordinary reloads, and how often every scenario that reloads is played there.
LOSES = "v22"
ROUNDS = 7

# Tests, with how many they are. Other files of tests/hosts are about the web host, the verifier and the refusals,
# whatever HAProxy's version is.
LOOKING = {"hosts/test_balancers.py": 10, "hosts/test_look.py": 3, "hosts/test_topology.py": 2}
CHANGING = {"hosts/test_changes.py": 7}
GUARD = {"guard/test_guard.py": 17}
PASSABLE = [scenario.name for scenario in SCENARIOS.values() if not scenario.may_lose]
RELOADING = [name for name in PASSABLE if {"reload", "reload-config"} & set(SCENARIOS[name].kinds)]
# What a lost table shows in. Requests, faults and healing are fine.
LOST = {"nothing-moves", "one-server-per-session", "balancers-agree", "tables-equal", "tables-match-answers"}

TABLE = "back-session"
SESSIONS = [f"everywhere-{number}" for number in range(40)]

Deploy = Callable[..., str]
Record = Callable[[str, object], None]


@pytest.fixture(scope="session")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Deploy:
    """Return a function that makes pairs each other's peers, and gives the inventory that has no other balancers."""

    def deployed(*pairs: str) -> str:
        folder: Path = tmp_path_factory.mktemp("-".join(pairs))
        (folder / "hosts.yml").symlink_to(Path(INVENTORY, "hosts.yml").resolve())
        hosts = [balancer.name for pair in pairs for balancer in balancers_of(INVENTORY, pair)]
        (folder / "balancers.yml").write_text(json.dumps({"balancers": {"hosts": {host: {} for host in hosts}}}))
        done = play("playbooks/balancers.yml", inventory=str(folder))
        assert done.rc == 0, done.output
        return str(folder)

    return deployed


def verify(inventory: str, runs: Path, scenarios: list[str]) -> tuple[Run, list[dict[str, Any]]]:
    """Run scenarios of the verifier, with leave to break the balancers and the web host; give their verdicts too."""
    hosts = ",".join([*(balancer.name for balancer in balancers_of(inventory)), "web"])
    command = [sys.executable, "-m", "verify", "run", "-i", inventory, "--runs", str(runs), "--rate=100"]
    done = run([*command, "--destructive", "--on", hosts, "--only", ",".join(scenarios)], 900)
    verdicts = [json.loads(path.read_text()) for path in sorted(runs.glob("2*/verdict.json"))]
    assert [verdict["scenario"] for verdict in verdicts] == scenarios, done.output
    return done, verdicts


@pytest.fixture
def nodes(inventory: str) -> Iterator[list[Node]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Node.of(balancer)) for balancer in balancers_of(inventory)]


def versions(nodes: list[Node]) -> list[str]:
    return [".".join(node.api.info()["Version"].split(".")[:2]) for node in nodes]


def all_pass(inventory: str, files: dict[str, int]) -> None:
    """Run tests of other folders on an inventory of its own, and expect all of them to pass."""
    command = [sys.executable, "-m", "pytest", "--verbose", f"--expect-tests={sum(files.values())}"]
    paths = [f"tests/{file}" for file in files]
    done = run([*command, *paths], 900, {**os.environ, "STICKY_INVENTORY": inventory})
    assert done.rc == 0, done.output


class Pair:
    """Two balancers of one version."""

    @pytest.fixture(scope="class", params=PAIRS)
    @classmethod
    def pair(cls, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture(scope="class")
    @classmethod
    def inventory(cls, pair: str, deploy: Deploy) -> str:
        return deploy(pair)


class TestPair(Pair):
    """What the scenario default expects of its pair holds with each version."""

    def test_both_are_of_the_version(self, pair: str, nodes: list[Node]) -> None:
        assert versions(nodes) == [PAIRS[pair]] * 2

    def test_the_tests_of_the_scenario_default_hold(self, inventory: str) -> None:
        all_pass(inventory, LOOKING)

    def test_every_scenario_holds(self, pair: str, inventory: str, tmp_path: Path) -> None:
        """All that HAProxy itself can pass, but reloads where they lose now and then."""
        scenarios = [name for name in PASSABLE if pair != LOSES or name not in RELOADING]
        done, _ = verify(inventory, tmp_path, scenarios)
        assert done.rc == 0, done.output
        assert f"PASS: {len(scenarios)} scenarios held" in done.output


class TestLoss:
    """A known fault of HAProxy's own: 2.2 loses the whole table in some ordinary reloads (2.6 and later: in none)."""

    @pytest.fixture(scope="class")
    @classmethod
    def inventory(cls, deploy: Deploy) -> str:
        return deploy(LOSES)

    def test_a_lost_table_is_judged_a_failure_and_all_else_holds(
        self, inventory: str, nodes: list[Node], tmp_path: Path, record_property: Record
    ) -> None:
        """How many reloads lose it is chance, and counted; `make versions` says so at its end."""
        lost = []
        for number in range(ROUNDS):
            done, verdicts = verify(inventory, tmp_path / str(number), RELOADING)
            for verdict in verdicts:
                failed = {result["invariant"] for result in verdict["results"] if result["verdict"] != "pass"}
                assert not failed or "nothing-moves" in failed, done.output
                assert failed <= LOST, done.output
                assert verdict["verdict"] == ("fail" if failed else "pass"), done.output
                lost.append(bool(failed))
        said = f"HAProxy {versions(nodes)[0]} lost sessions in {sum(lost)} of {len(lost)} scenarios that reload it"
        record_property("known fault", said)


class TestNeighbours:
    """Two pairs of neighbouring versions are one cluster of four."""

    @pytest.fixture(scope="class", params=NEIGHBOURS, ids="+".join)
    @classmethod
    def pairs(cls, request: pytest.FixtureRequest) -> tuple[str, str]:
        older, newer = request.param
        return older, newer

    @pytest.fixture(scope="class")
    @classmethod
    def inventory(cls, pairs: tuple[str, str], deploy: Deploy) -> str:
        return deploy(*pairs)

    def test_every_balancer_is_in_sync_with_its_three_peers(self, pairs: tuple[str, str], nodes: list[Node]) -> None:
        older, newer = (PAIRS[pair] for pair in pairs)
        assert versions(nodes) == [older, older, newer, newer]
        for node in nodes:
            wait_for(f"{node.name} to be in sync with its three peers", partial(is_joined, node))

    def test_haproxy_cfg_is_the_same_on_those_of_one_version(self, nodes: list[Node]) -> None:
        older, older_too, newer, newer_too = [
            connect(node.name).file("/etc/haproxy/haproxy.cfg").sha256sum for node in nodes
        ]
        assert (older, newer) == (older_too, newer_too)

    def test_a_session_is_on_the_same_server_for_all(self, nodes: list[Node]) -> None:
        planted = {session: random.choice(nodes).client.ask(session).body for session in SESSIONS}
        assert len(set(planted.values())) > 1
        for node in nodes:
            wait_for(f"{node.name} to have every row", partial(is_complete, node))
            # In an order of their own: a balancer without rows would deal the same servers in the same order.
            asked = {session: node.client.ask(session).body for session in random.sample(SESSIONS, len(SESSIONS))}
            assert asked == planted, node.name
        tables = [node.bindings(TABLE, SESSIONS) for node in nodes]
        assert tables == tables[:1] * 4

    def test_the_verifier_finds_them_in_sync(self, inventory: str, tmp_path: Path) -> None:
        done, _ = verify(inventory, tmp_path, ["issued", "sync", "lag"])
        assert done.rc == 0, done.output


class TestChanges(Pair):
    """Each pair, once more, for what takes longest: other variables and back."""

    def test_the_tests_of_changed_variables_hold(self, inventory: str) -> None:
        all_pass(inventory, CHANGING)


class TestGuard(Pair):
    """The session guard is put on the later pairs, tried, and taken off again; the scenario guard does so with 2.6."""

    @pytest.fixture(scope="class", params=["v30", "v32"])
    @classmethod
    def pair(cls, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def test_the_tests_of_the_session_guard_hold(self, inventory: str) -> None:
        all_pass(inventory, GUARD)


def is_joined(node: Node) -> bool:
    (section,) = node.api.peers() or []
    return section.in_sync and [peer.last_status for peer in section.peers if not peer.local] == ["ESTA"] * 3


def is_complete(node: Node) -> bool:
    return None not in node.bindings(TABLE, SESSIONS).values()
