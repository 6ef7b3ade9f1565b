"""Statistics: times and counts of a history. Pure."""

import math
from collections import defaultdict
from collections.abc import Iterator

import msgspec

from verify.history import History, Operation


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Quantiles of times in milliseconds; each is one that was measured, nothing is interpolated.

    Attributes:
        p50: half of the times were no longer.
        p95: 95 % of them were no longer.
        p99: 99 % of them were no longer.
        max: the longest.
    """

    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, times_ns: list[int]) -> "Spread | None":
        """Returns the nearest-rank quantiles, None of no times."""
        ordered = sorted(times_ns)
        if not ordered:
            return None

        def quantile(share: float) -> float:
            return ordered[math.ceil(share * len(ordered)) - 1] / 1e6

        return cls(p50=quantile(0.5), p95=quantile(0.95), p99=quantile(0.99), max=quantile(1))


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """How long one balancer took, from when a request should have been sent to its whole answer.

    Attributes:
        balancer: its name.
        answered: how many requests a server answered; others do not count here.
        ms: None if none was answered.
    """

    balancer: str
    answered: int
    ms: Spread | None


class SyncLag(msgspec.Struct, frozen=True, kw_only=True):
    """How long rows took from one balancer to another.

    Attributes:
        source: the balancer that had the rows first.
        target: the one that learnt them.
        arrived: how many rows did arrive within the bound.
        missing: how many did not.
        resolution_ms: each time may be too short by as much as this.
        ms: None if no row arrived.
    """

    source: str
    target: str
    arrived: int
    missing: int
    resolution_ms: float
    ms: Spread | None


def latencies(history: History) -> list[Latency]:
    """Returns the latency of every balancer, by name."""
    times: dict[str, list[int]] = defaultdict(list)
    for operation in history.operations:
        found = times[operation.balancer]
        if operation.outcome == "ok":
            found.append(operation.done_ns - operation.planned_ns)
    return [Latency(balancer=name, answered=len(found), ms=Spread.of(found)) for name, found in sorted(times.items())]


def sync_lags(history: History) -> list[SyncLag]:
    """Returns the sync lag of every direction that was measured."""
    ways: dict[tuple[str, str], list[int | None]] = defaultdict(list)
    resolution: dict[tuple[str, str], int] = defaultdict(int)
    for lag in history.lags:
        way = (lag.source, lag.target)
        ways[way].append(lag.lag_ns)
        resolution[way] = max(resolution[way], lag.resolution_ns)
    found = []
    for way, times in sorted(ways.items()):
        arrived = [time for time in times if time is not None]
        found.append(
            SyncLag(
                source=way[0],
                target=way[1],
                arrived=len(arrived),
                missing=len(times) - len(arrived),
                resolution_ms=resolution[way] / 1e6,
                ms=Spread.of(arrived),
            )
        )
    return found


def by_session(history: History) -> dict[str, list[Operation]]:
    """Returns each session's requests in the order in which they were sent; nobody's are left out."""
    found: dict[str, list[Operation]] = defaultdict(list)
    for operation in sorted(history.operations, key=lambda operation: operation.sent_ns):
        if operation.session is not None:
            found[operation.session].append(operation)
    return dict(found)


def moved(history: History) -> set[str]:
    """Returns the sessions that more than one server answered."""
    servers: dict[str, set[str]] = defaultdict(set)
    for operation in history.operations:
        if operation.known and operation.session and operation.server:
            servers[operation.session].add(operation.server)
    return {label for label, names in servers.items() if len(names) > 1}


def end_ns(history: History) -> int:
    """Returns the last time that stands in a history."""
    return max(_times(history), default=0)


def _times(history: History) -> Iterator[int]:
    yield from (operation.done_ns for operation in history.operations)
    yield from (fault.healed_ns or fault.injected_ns for fault in history.faults)
    yield from (phase.at_ns for phase in history.phases)
    yield from (snapshot.at_ns for snapshot in history.snapshots)
    yield from (end.at_ns for end in history.ends)
