"""Tables equal: at rest every balancer has the same rows."""

from collections.abc import Iterator
from functools import partial
from itertools import groupby

from verify.history import History, Session, Snapshot
from verify.invariants.course import Course
from verify.invariants.invariant import Invariant, Tally, count, listed, seconds
from verify.invariants.pairs import courses
from verify.verdict import Result, Violation

NAME = "tables-equal"


def _judge(history: History) -> Result:
    """Compares the snapshots of each moment and table, session by session."""
    tally = Tally()
    sessions = {session.label: session for session in history.sessions}
    asked = courses(history)
    moments = 0
    told: set[str] = set()
    for snapshots in moments_of(history.snapshots):
        if len(snapshots) < 2:
            tally.unjudged += 1
            continue
        moments += 1
        at_ns = snapshots[0].at_ns
        for label in dict.fromkeys(label for snapshot in snapshots for label in snapshot.rows):
            session = sessions.get(label)
            if session and session.length is not None and len(session.key) > session.length:
                if label not in told:
                    told.add(label)
                    tally.violate(at_ns, 0, partial(_too_long, session, session.length))
                continue
            rows = {snapshot.balancer: snapshot.rows.get(label) for snapshot in snapshots}
            if len(set(rows.values())) == 1 and None not in rows.values():
                tally.judged += 1
            elif _may_differ(asked.get(label), label, snapshots):
                tally.unjudged += 1
            else:
                tally.violate(at_ns, 0, partial(_differs, label, rows, snapshots))
    unknown = None
    if not moments:
        unknown = "no table was read on two balancers" if history.snapshots else "no table was read"
    elif not tally.judged:
        unknown = "no row could be compared"
    summary = f"{tally.violated} of {count(tally.judged, 'row')} unequal or missing, at {count(moments, 'moment')}"
    return tally.result(NAME, summary, unknown)


def moments_of(snapshots: list[Snapshot]) -> Iterator[list[Snapshot]]:
    """Yields the snapshots that are to be compared, the last one of each balancer."""

    def key(snapshot: Snapshot) -> tuple[int, str]:
        return snapshot.moment, snapshot.table

    for _, group in groupby(sorted(snapshots, key=key), key=key):
        yield list({snapshot.balancer: snapshot for snapshot in group}.values())


def _may_differ(course: Course | None, label: str, snapshots: list[Snapshot]) -> bool:
    """Whether requests that raced, or a fault that clears tables, account for the rows as they are.

    A session that was never asked has no row anywhere.
    """
    if course is None:
        return not any(snapshot.rows.get(label) for snapshot in snapshots)
    if course.rested(min(snapshot.at_ns for snapshot in snapshots)):
        return False
    for snapshot in snapshots:
        _, allowed = course.last(snapshot.at_ns, snapshot.balancer)
        if allowed is not None and snapshot.rows.get(label) not in allowed:
            return False
    return True


def _differs(label: str, rows: dict[str, str | None], snapshots: list[Snapshot]) -> Violation:
    bound = [f"to {server or 'no server'} on {balancer}" for balancer, server in rows.items()]
    times = sorted(snapshot.at_ns for snapshot in snapshots)
    read = f"table {snapshots[0].table}, read from {seconds(times[0])} to {seconds(times[-1])}"
    return Violation(text=f"{label} is bound {listed(bound)} ({read})", session=label)


def _too_long(session: Session, length: int) -> Violation:
    return Violation(
        text=(
            f"the key of {session.label} has {len(session.key)} characters, the table keeps {length}:"
            " sessions that share their beginning share a row"
        ),
        session=session.label,
    )


INVARIANT = Invariant(NAME, "At rest every balancer's table binds every session to the same server.", _judge)
