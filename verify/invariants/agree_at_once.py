"""Agree at once: balancers that meet a new session in the same instant send it to the same server.

HAProxy balances it on each of them, so they agree only where the request itself decides, as by `balance hash`.
"""

from functools import partial

from verify.history import History, Operation
from verify.invariants.agree_after_touch import first_uses
from verify.invariants.invariant import Invariant, Tally, count, listed, seconds
from verify.invariants.pairs import courses
from verify.invariants.tables_equal import moments_of
from verify.verdict import Result, Violation

NAME = "agree-at-once"

Rows = dict[str, str | None]


def _judge(history: History) -> Result:
    """Judges the first answers of each such session, and its rows when they were read first after them."""
    tally = Tally()
    answered = bound = 0
    moments = list(moments_of(history.snapshots))
    for label, course in courses(history).items():
        firsts = first_uses(course)
        if not firsts:
            continue
        done = max(operation.done_ns for operation in firsts)
        looks = (moment for moment in moments if all(look.at_ns > done and label in look.rows for look in moment))
        rows = {look.balancer: look.rows[label] for look in next(looks, [])}
        differ = len({operation.server for operation in firsts}) > 1, len(set(rows.values())) > 1
        answered += differ[0]
        bound += differ[1]
        if any(differ):
            tally.violate(firsts[0].sent_ns, len(firsts), partial(_differs, firsts, rows))
        else:
            tally.judged += 1
    summary = (
        f"{count(tally.judged, 'new session')} met by several balancers at once:"
        f" {answered} answered differently, {bound} with rows that differ at rest"
    )
    return tally.result(NAME, summary, None if tally.judged else "no new session was met by several balancers at once")


def _differs(firsts: list[Operation], rows: Rows) -> Violation:
    told = [f"on {first.server} ({first.balancer}, {seconds(first.sent_ns)})" for first in firsts]
    bound = [f"to {server or 'no server'} on {balancer}" for balancer, server in rows.items()]
    rest = f"; at rest it is bound {listed(bound)}" if bound else ""
    return Violation(
        text=f"{firsts[0].session} was first {listed(told)} at once{rest}",
        session=firsts[0].session,
        operations=[first.index for first in firsts],
    )


INVARIANT = Invariant(
    NAME, "A new session that balancers meet in the same instant is sent to one server, and bound to it.", _judge
)
