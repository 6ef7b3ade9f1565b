"""Own row: sessions do not share a row."""

from functools import partial

from verify.history import History, Session
from verify.invariants.invariant import Invariant, Tally, count
from verify.verdict import Result, Violation

NAME = "own-row"


def _judge(history: History) -> Result:
    """Judges that keys differ in what the table keeps of them, and that issued ones fit.

    A key that the verifier made is not judged by its length: the application's may be shorter.
    """
    tally = Tally()
    first: dict[str, Session] = {}
    for number, session in enumerate(history.sessions):
        kept = session.key if session.length is None else session.key[: session.length]
        other = first.setdefault(kept, session)
        if other.label != session.label:
            tally.violate(number, 0, partial(_shared, other, session))
        elif session.issued_by == "server" and kept != session.key:
            tally.violate(number, 0, partial(_too_long, session, len(kept)))
        else:
            tally.judged += 1
    summary = f"{tally.violated} of {count(tally.judged, 'session')} had no row of its own"
    return tally.result(NAME, summary, None if history.sessions else "there was no session")


def _shared(one: Session, other: Session) -> Violation:
    what = "have the same key" if one.key == other.key else f"begin with the same {other.length} characters"
    more = "" if one.key == other.key else ", which is all that the table keeps"
    return Violation(text=f"{one.label} and {other.label} {what}{more}: they share a row", session=other.label)


def _too_long(session: Session, length: int) -> Violation:
    return Violation(
        text=f"the key that was issued to {session.label} has {len(session.key)} characters, the table keeps {length}",
        session=session.label,
    )


INVARIANT = Invariant(
    NAME, "Every session has a row of its own: keys differ, and issued ones fit into the table.", _judge
)
