"""Rows arrive: what one balancer learns reaches the others, and how soon."""

from collections import defaultdict
from functools import partial
from math import ceil

from verify.history import History, Lag
from verify.invariants.invariant import Invariant, Tally
from verify.verdict import Result, Violation

NAME = "rows-arrive"


def _judge(history: History) -> Result:
    """Judges that each row arrived within the bound of its measuring; how soon is told, not judged."""
    tally = Tally()
    directions: dict[tuple[str, str], list[Lag]] = defaultdict(list)
    for number, lag in enumerate(history.lags):
        directions[lag.source, lag.target].append(lag)
        if lag.lag_ns is None:
            tally.violate(number, 0, partial(_missing, lag))
        else:
            tally.judged += 1
    summary = "; ".join(_told(*direction, lags) for direction, lags in directions.items())
    return tally.result(NAME, summary, None if history.lags else "no row's way was measured")


def _told(source: str, target: str, lags: list[Lag]) -> str:
    arrived = sorted(lag.lag_ns for lag in lags if lag.lag_ns is not None)
    text = f"{source} to {target}: {len(arrived)} of {len(lags)} rows arrived"
    if arrived:
        told = [f"{name} {_ms(_percentile(arrived, share))}" for name, share in (("p50", 50), ("p95", 95), ("p99", 99))]
        resolution = max(lag.resolution_ns for lag in lags)
        text += f", {', '.join(told)}, max {_ms(arrived[-1])} (resolution {_ms(resolution)})"
    return text


def _percentile(ordered: list[int], share: int) -> int:
    """Returns the smallest value that so many percent of all do not exceed (nearest rank)."""
    return ordered[ceil(len(ordered) * share / 100) - 1]


def _ms(ns: int) -> str:
    return f"{ns / 1e6:.2f} ms"


def _missing(lag: Lag) -> Violation:
    return Violation(text=f"a row that {lag.source} wrote did not arrive on {lag.target} within the bound")


INVARIANT = Invariant(NAME, "Every row that a balancer writes arrives on the others.", _judge)
