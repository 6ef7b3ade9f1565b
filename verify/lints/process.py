"""Lints of the processes: whether they can be read, which they are, how long they have run."""

import re
from collections.abc import Iterator

from verify.lints.lint import Hit, lint, lint_each, readable
from verify.seen import Seen
from verify.topology import Topology

# Seconds: two peers that start together declare themselves in sync after 12 s at most.
JUST_STARTED = 30
# The first version, and the first one after; measured, or as HAProxy's own issue says.
LOSSY = (
    ((2, 2, 0), (2, 3, 0), "loses the whole table in some reloads (7 of 50 with 2.2.9; none with 2.6 or 3.0)"),
    ((3, 2, 1), (3, 2, 7), "can lack rows of other peers while all looks well (HAProxy's issue 3161)"),
)


@lint(
    "risky",
    "The balancer's runtime API can't be read.",
    "Give a way to the host, and the path of a socket that its configuration names (stats socket).",
    blind=True,
)
def not_readable(seens: list[Seen], topology: Topology | None) -> Iterator[Hit]:
    """Whether a balancer could be read at all."""
    return ((seen.balancer, seen.error) for seen in seens if seen.error)


@lint_each(
    "risky",
    "This HAProxy is older than 2.0: it has no show peers, and nobody can see what its peers do.",
    "Judge by requests (sticky-verify run), or upgrade.",
    blind=True,
)
def no_show_peers(seen: Seen) -> Iterator[str]:
    """Whether the version has the command that tells most."""
    if seen.sections is None:
        yield f"HAProxy {_version(seen)} has no show peers"


@lint(
    "note",
    "Only one balancer was looked at, so nothing could be compared.",
    "Name all balancers of the cluster.",
)
def one_balancer(seens: list[Seen], topology: Topology | None) -> Iterator[Hit]:
    """Whether there is anything to compare."""
    if len(seens) == 1:
        yield None, f"{seens[0].balancer} was looked at alone"


@lint(
    "risky",
    "The balancers run different versions.",
    "Fine during an upgrade from 2.2 on; 1.5 can't share with later ones. Bring all to one version.",
)
def versions_differ(seens: list[Seen], topology: Topology | None) -> Iterator[Hit]:
    """Whether all run the same version."""
    found = {seen.balancer: _version(seen) for seen in readable(seens)}
    if len(set(found.values())) > 1:
        yield None, ", ".join(f"{balancer} runs {version}" for balancer, version in found.items())


@lint_each(
    "risky",
    "This version is known to lose rows, whatever its configuration.",
    "Upgrade HAProxy.",
)
def version_that_loses(seen: Seen) -> Iterator[str]:
    """Whether the version has a fault of its own."""
    if found := re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", _version(seen)):
        version = tuple(int(number or 0) for number in found.groups())
        for first, after, what in LOSSY:
            if first <= version < after:
                yield f"HAProxy {_version(seen)} {what}"


@lint_each(
    "risky",
    "What answers is an old worker, which a reload told to stop: it no longer learns from the peers.",
    "Look again once it has ended; hard-stop-after bounds its life.",
)
def stopping(seen: Seen) -> Iterator[str]:
    """Whether an old worker answers."""
    if seen.info.get("Stopping", "0") != "0":
        yield f"process {seen.info.get('Pid')} is stopping, with {seen.info.get('Jobs')} jobs left"


@lint_each(
    "note",
    "The process is so young that its peers may still be connecting and teaching it.",
    "Look again in half a minute.",
)
def just_started(seen: Seen) -> Iterator[str]:
    """Whether it is too early for some other lints."""
    if seen.uptime < JUST_STARTED:
        yield f"it was started {seen.uptime} s ago"


def _version(seen: Seen) -> str:
    return seen.info.get("Version", "of an unknown version")
