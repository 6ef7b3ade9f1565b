"""Tables match answers: at rest a row names the server that last answered."""

from functools import partial

from verify.history import History, Operation, Snapshot
from verify.invariants.invariant import Invariant, Tally, count, seconds
from verify.invariants.pairs import courses
from verify.verdict import Result, Violation

NAME = "tables-match-answers"


def _judge(history: History) -> Result:
    """Compares each row with the last answer that its balancer must know of.

    Not judged: sessions that were never answered, rows that a racing request accounts for, and rows
    of which HAProxy told the server's id alone.
    """
    tally = Tally()
    asked = courses(history)
    for snapshot in history.snapshots:
        for label, row in snapshot.rows.items():
            last, allowed = asked[label].last(snapshot.at_ns, snapshot.balancer) if label in asked else (None, None)
            if last is not None and row == last.server:
                tally.judged += 1
            elif last is None or allowed is None or row in allowed or (row and row.startswith("#")):
                tally.unjudged += 1
            else:
                tally.violate(snapshot.at_ns, 1, partial(_differs, label, row, last, snapshot))
    unknown = None
    if not tally.judged:
        unknown = "no row could be compared with an answer" if history.snapshots else "no table was read"
    summary = f"{tally.violated} of {count(tally.judged, 'row')} did not name the server that last answered"
    return tally.result(NAME, summary, unknown)


def _differs(label: str, row: str | None, last: Operation, snapshot: Snapshot) -> Violation:
    bound = f"binds it to {row}" if row else "has no row for it"
    return Violation(
        text=(
            f"{label} was on {last.server} ({last.balancer}, {seconds(last.sent_ns)}), but {snapshot.balancer}"
            f" {bound} (table {snapshot.table}, {seconds(snapshot.at_ns)})"
        ),
        session=label,
        operations=[last.index],
    )


INVARIANT = Invariant(NAME, "At rest a session's row names the server that last answered it.", _judge)
