"""Requests in flight: those that a reload finds under way are answered, by the worker that has them."""

from functools import partial

from verify.history import Fault, History, Operation
from verify.invariants.invariant import Invariant, Tally, count, listed, seconds
from verify.invariants.no_failed_request import excuse
from verify.invariants.pairs import told
from verify.verdict import Result, Violation

NAME = "requests-in-flight"
RELOADS = frozenset({"reload", "rapid-reloads", "reload-config", "reload-config-remove"})


def _judge(history: History) -> Result:
    """Judges the requests that were sent before a reload of their balancer, and done when it was over.

    By then the new worker had been seen: the old one answered. Whether that was by the right server is
    for `nothing-moves` to say. A reload that found none under way proves nothing.
    """
    tally = Tally()
    may_fail = excuse(history)
    idle: list[str] = []
    reloads = [fault for fault in history.faults if fault.kind in RELOADS]
    for fault in reloads:
        found = [operation for operation in history.operations if _under_way(operation, fault)]
        for operation in found:
            if operation.outcome == "ok":
                tally.judged += 1
            elif may_fail(operation):
                tally.unjudged += 1
            else:
                tally.violate(operation.sent_ns, 1, partial(_failed, operation, fault))
        if not found:
            idle.append(told(fault))
    answered = tally.judged - tally.violated
    summary = f"{answered} of {tally.judged} under way were answered, at {count(len(reloads), 'reload')}"
    unknown = f"no request was under way at {listed(idle)}" if idle else None
    return tally.result(NAME, summary, unknown if reloads else "nothing was reloaded")


def _under_way(operation: Operation, fault: Fault) -> bool:
    if operation.balancer not in fault.hosts or fault.healed_ns is None:
        return False
    return operation.sent_ns < fault.injected_ns and operation.done_ns > fault.healed_ns


def _failed(operation: Operation, fault: Fault) -> Violation:
    why = operation.error or (f"status {operation.status}" if operation.status else "no reason known")
    return Violation(
        text=(
            f"{operation.session or 'a request without a session'}, under way at {told(fault)}, was not answered"
            f" ({operation.balancer}, {seconds(operation.sent_ns)}): {why}"
        ),
        session=operation.session,
        operations=[operation.index],
        faults=[fault.id],
    )


INVARIANT = Invariant(NAME, "Every request that a reload finds under way is answered.", _judge)
