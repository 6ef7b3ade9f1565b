"""Faults happened: a fault that did not happen proves nothing."""

from verify.history import Fault, History
from verify.invariants.invariant import Invariant, Tally, count, listed
from verify.invariants.pairs import told
from verify.verdict import Result

NAME = "faults-happened"


def _judge(history: History) -> Result:
    """Never a failure: what can't be shown to have happened is unknown."""
    tally = Tally()
    missing: list[str] = []
    for fault in history.faults:
        reason = _missing(fault)
        if reason:
            tally.unjudged += 1
            missing.append(f"{told(fault)} {reason}")
        else:
            tally.judged += 1
    unknown = "; ".join(missing) if history.faults else "no fault was injected"
    return tally.result(NAME, f"{count(tally.judged, 'fault')} injected and seen to happen", unknown or None)


def _missing(fault: Fault) -> str:
    if not fault.evidence:
        return "left no evidence"
    unseen = [evidence for evidence in fault.evidence if not evidence.seen]
    if not unseen:
        return ""
    return f"was not seen to happen: {listed([f'{evidence.what} ({evidence.text})' for evidence in unseen])}"


INVARIANT = Invariant(NAME, "Every fault is seen to have happened.", _judge)
