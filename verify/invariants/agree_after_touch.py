"""Agree after touch: a new session that two balancers met at once settles when one of them is asked again.

Each of the two may have chosen a server, and taken over the other's choice: HAProxy can't help that.
The next request, a touch, pushes its row again, and from then on they agree.
"""

from functools import partial
from itertools import pairwise

from verify.history import History, Operation
from verify.invariants.course import Course
from verify.invariants.invariant import Invariant, Tally, count, seconds
from verify.invariants.pairs import courses
from verify.verdict import Result, Violation

NAME = "agree-after-touch"


def _judge(history: History) -> Result:
    """Judges the sessions that were first used on two balancers at once, and touched afterwards.

    The touch is a request that comes when all before it have settled; the next request, on another
    balancer and more than the settle time later, must be answered by its server. A touch
    across which a fault lies does not count.
    """
    tally = Tally()
    differed = met = 0
    for course in courses(history).values():
        firsts = first_uses(course)
        if not firsts:
            continue
        met += 1
        differed += len({operation.server for operation in firsts}) > 1
        touched = _touched(course, firsts)
        if touched is None:
            tally.unjudged += 1
        elif touched[0].server == touched[1].server:
            tally.judged += 1
        else:
            tally.violate(firsts[0].sent_ns, 4, partial(_disagree, firsts[:2], touched))
    agreed = tally.judged - tally.violated
    summary = (
        f"{count(met, 'new session')} met by two balancers at once: {differed} answered differently,"
        f" {agreed} of {tally.judged} agreed after the next touch"
    )
    unknown = None
    if not tally.judged:
        unknown = "no such session was touched again" if met else "no new session was met by two balancers at once"
    return tally.result(NAME, summary, unknown)


def first_uses(course: Course) -> list[Operation]:
    """Returns the first known operation and those on other balancers that could not know of it; [] without any."""
    known = [operation for operation in course.operations if operation.known]
    crossing = [
        operation
        for operation in known
        if operation.balancer != known[0].balancer
        and course.circumstances.known_at(known[0], operation.balancer) > operation.sent_ns
    ]
    return [*known[:1], *crossing] if crossing else []


def _touched(course: Course, firsts: list[Operation]) -> tuple[Operation, Operation] | None:
    """Returns the first touch and the next answer of another balancer."""
    settled = course.circumstances.known_everywhere_at
    latest = 0
    for touch, after in pairwise(course.operations):
        clean = touch.known and max(latest, *map(settled, firsts)) <= touch.sent_ns
        latest = max(latest, settled(touch))
        follows = after.known and after.balancer != touch.balancer and latest <= after.sent_ns
        if clean and follows and not course.circumstances.across(touch.sent_ns, after.done_ns):
            return touch, after
    return None


def _disagree(firsts: list[Operation], touched: tuple[Operation, Operation]) -> Violation:
    told = [
        f"{operation.server} ({operation.balancer}, {seconds(operation.sent_ns)})" for operation in (*firsts, *touched)
    ]
    return Violation(
        text=(
            f"{firsts[0].session} was first on {told[0]} and on {told[1]} at once; touched again, it was on"
            f" {told[2]} and then on {told[3]}"
        ),
        session=firsts[0].session,
        operations=[operation.index for operation in (*firsts, *touched)],
    )


INVARIANT = Invariant(
    NAME, "A new session that two balancers met at once is on one server after the next request for it.", _judge
)
