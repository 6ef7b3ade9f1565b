"""Nothing moves across a fault: what is answered before it is answered during and after it."""

from collections import defaultdict
from dataclasses import dataclass

from verify.history import Fault, History, Operation
from verify.invariants.invariant import Invariant, Tally, listed
from verify.invariants.pairs import moved, pairs, told
from verify.verdict import Result

NAME = "nothing-moves"


@dataclass
class _Kind:
    """What was seen across the faults of one kind."""

    judged: int = 0
    moved: int = 0


def _judge(history: History) -> Result:
    """Judges the pairs that a fault lies across, but for those that `balancers_agree` judges.

    A request that has both predecessors is charged once. A fault is *spanned* by a pair of which
    one was answered before its injection and the other sent after it; one that no judged pair spans
    proves nothing, unless it may move anything anyway.
    """
    if not history.faults:
        return Tally().result(NAME, "", "no fault was injected")
    tally = Tally()
    kinds: dict[str, _Kind] = defaultdict(_Kind)
    spanned: set[int] = set()
    charged: Operation | None = None
    for pair in pairs(history):
        if not pair.faults or (not pair.own and pair.parted_only) or pair.after is charged:
            continue
        held = pair.count(tally)
        if held is None:
            continue
        if not held:
            charged = pair.after
        for fault in pair.faults:
            kinds[fault.kind].judged += 1
            kinds[fault.kind].moved += not held
            if pair.before.done_ns <= fault.injected_ns <= pair.after.sent_ns:
                spanned.add(fault.id)
    by_kind = [f"{kind}: {seen.moved} of {seen.judged}" for kind, seen in sorted(kinds.items())]
    summary = moved(tally, "request", "across a fault") + (f" ({', '.join(by_kind)})" if by_kind else "")
    return tally.result(NAME, summary, _unspanned(history.faults, spanned, tally))


def _unspanned(faults: list[Fault], spanned: set[int], tally: Tally) -> str | None:
    missed = [fault for fault in faults if fault.id not in spanned and not fault.may_move]
    if missed:
        named = [told(fault) for fault in missed[:5]]
        if len(missed) > len(named):
            named.append(f"{len(missed) - len(named)} more")
        return f"no session that had to stay was asked before and after {listed(named)}"
    return None if tally.judged else "no session that had to stay was asked across a fault"


INVARIANT = Invariant(NAME, "No session moves across a fault, unless the fault took its server away.", _judge)
