"""As intended: what runs is what was configured."""

from functools import partial

from verify.history import History, Inspection
from verify.invariants.invariant import Invariant, Tally, count
from verify.verdict import Result, Violation

NAME = "as-intended"


def _judge(history: History) -> Result:
    """Judges each inspection; each deviation is a violation."""
    tally = Tally()
    for inspection in history.inspections:
        if not inspection.deviations:
            tally.judged += 1
        for deviation in inspection.deviations:
            tally.violate(inspection.at_ns, 0, partial(_deviates, inspection, deviation))
    checks = count(sum(inspection.checks for inspection in history.inspections), "check")
    balancers = count(len({inspection.balancer for inspection in history.inspections}), "balancer")
    summary = f"{checks} on {balancers}, {count(tally.violated, 'deviation')}"
    unknown = None if history.inspections else "no balancer was compared with what was intended"
    return tally.result(NAME, summary, unknown)


def _deviates(inspection: Inspection, deviation: str) -> Violation:
    return Violation(text=f"{inspection.balancer}: {deviation}")


INVARIANT = Invariant(NAME, "Every balancer runs what the topology says that it should.", _judge)
