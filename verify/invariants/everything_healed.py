"""Everything healed: faults are over, and nothing of them is left on the hosts."""

from functools import partial

from verify.history import Cleanup, Fault, History
from verify.invariants.invariant import Invariant, Tally, count, listed, seconds
from verify.invariants.pairs import told
from verify.verdict import Result, Violation

NAME = "everything-healed"


def _judge(history: History) -> Result:
    """Judges each fault's healing, and each search of a host.

    Every host that a fault was injected on has to be searched after that fault was healed.
    """
    tally = Tally()
    gaps: list[str] = []
    searched: dict[str, int] = {}
    for cleanup in history.cleanups:
        searched[cleanup.host] = max(cleanup.at_ns, searched.get(cleanup.host, 0))
        if cleanup.found:
            tally.violate(cleanup.at_ns, 0, partial(_found, cleanup))
        else:
            tally.judged += 1
    unsearched: dict[str, None] = {}
    for fault in history.faults:
        if _healed(fault):
            tally.judged += 1
        else:
            tally.violate(fault.injected_ns, 0, partial(_not_healed, fault))
        if not fault.heal_evidence and fault.healed_ns is not None:
            gaps.append(f"nothing shows that {told(fault)} was healed")
        for host in fault.hosts:
            if host not in searched or searched[host] < (fault.healed_ns or 0):
                unsearched[host] = None
    if not history.cleanups:
        gaps.append("no host was searched for what faults leave")
    elif unsearched:
        gaps.append(f"{listed(list(unsearched))} {'was' if len(unsearched) == 1 else 'were'} not searched")
    summary = (
        f"{count(len(history.faults), 'fault')} and {count(len(searched), 'searched host')},"
        f" with {tally.violated} left to heal"
    )
    return tally.result(NAME, summary, "; ".join(gaps) or None)


def _healed(fault: Fault) -> bool:
    return fault.healed_ns is not None and all(evidence.seen for evidence in fault.heal_evidence)


def _not_healed(fault: Fault) -> Violation:
    unseen = [f"{evidence.what} ({evidence.text})" for evidence in fault.heal_evidence if not evidence.seen]
    why = f": not seen: {listed(unseen)}" if unseen else ""
    return Violation(
        text=f"{told(fault)}, injected at {seconds(fault.injected_ns)}, was not healed{why}", faults=[fault.id]
    )


def _found(cleanup: Cleanup) -> Violation:
    return Violation(text=f"left on {cleanup.host} ({seconds(cleanup.at_ns)}): {listed(cleanup.found)}")


INVARIANT = Invariant(NAME, "Every fault is healed, and nothing of it is left on any host.", _judge)
