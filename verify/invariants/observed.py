"""Observed: enough was seen for a broken deployment to have shown itself."""

from verify.history import History
from verify.invariants.invariant import Invariant, Tally, count
from verify.verdict import Result

NAME = "observed"


def _judge(history: History) -> Result:
    """Never a failure: what was not seen is unknown.

    Judged are the sessions that were answered and then asked again. A balancer that knows nothing
    sends each of them to any of the k servers that answered: it passes by chance once in k to the
    power of their number.
    """
    tally = Tally()
    known = [operation for operation in history.operations if operation.known]
    answered: dict[str | None, int] = {}  # when each session had its first answer
    for operation in known:
        answered[operation.session] = min(operation.done_ns, answered.get(operation.session, operation.done_ns))
    again = {operation.session for operation in known if operation.sent_ns >= answered[operation.session]}
    servers = sorted({operation.server or "" for operation in known})
    tally.judged = len(again)
    tally.unjudged = sum(operation.outcome == "ok" and operation.server is None for operation in history.operations)
    summary = (
        f"{count(len(again), 'session')} asked again, {count(len(servers), 'server')} answered:"
        f" odds that a balancer that knows nothing passed: {len(servers)}^-{len(again)}"
    )
    unknown = None
    if not again:
        unknown = "no session was asked again" if known else "no session was answered"
    elif len(servers) < 2:
        unknown = f"only {servers[0]} answered: a balancer that knows nothing would have passed"
    elif tally.unjudged:
        unknown = f"{count(tally.unjudged, 'answer')} came from an unknown server"
    return tally.result(NAME, summary, unknown)


INVARIANT = Invariant(NAME, "Enough was seen that a balancer which knows nothing would have been found out.", _judge)
