"""No failed request: outside the windows that the scenario declared, every request is answered."""

from collections import defaultdict
from collections.abc import Callable
from functools import partial

from verify.history import History, Operation, Window
from verify.invariants.invariant import Invariant, Tally, count, seconds
from verify.verdict import Result, Violation

NAME = "no-failed-request"


def _judge(history: History) -> Result:
    """A request in a window of its balancer, even by a part, may fail; it is not judged then."""
    tally = Tally()
    may_fail = excuse(history)
    for operation in history.operations:
        if operation.outcome == "ok":
            tally.judged += 1
        elif may_fail(operation):
            tally.unjudged += 1
        else:
            tally.violate(operation.sent_ns, 1, partial(_failed, operation))
    summary = f"{tally.violated} of {count(tally.judged, 'request')} failed"
    if tally.unjudged:
        summary += f"; {tally.unjudged} failed where they may"
    return tally.result(NAME, summary, None if tally.judged else "no request was sent that had to be answered")


def excuse(history: History) -> Callable[[Operation], bool]:
    """Returns what says whether a request was in a window of its balancer, even by a part."""
    windows: dict[str, list[Window]] = defaultdict(list)
    for window in history.windows:
        for balancer in window.balancers:
            windows[balancer].append(window)
    return lambda operation: any(
        window.from_ns <= operation.done_ns and operation.sent_ns <= window.until_ns
        for window in windows.get(operation.balancer, ())
    )


def _failed(operation: Operation) -> Violation:
    who = operation.session or "a request without a session"
    why = operation.error or (f"status {operation.status}" if operation.status else "no reason known")
    what = "was not answered" if operation.outcome == "fail" else "may not have been answered"
    return Violation(
        text=f"{who} {what} ({operation.balancer}, {seconds(operation.sent_ns)}): {why}",
        session=operation.session,
        operations=[operation.index],
    )


INVARIANT = Invariant(NAME, "Every request is answered, but in the windows that the scenario declares.", _judge)
