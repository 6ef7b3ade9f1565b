"""One server per session while it is up: what one balancer answers, judged where no fault lies across."""

from verify.history import History
from verify.invariants.invariant import Invariant, Tally
from verify.invariants.pairs import moved, pairs
from verify.verdict import Result

NAME = "one-server-per-session"


def _judge(history: History) -> Result:
    """Judges the pairs on one balancer that no fault lies across; `nothing-moves` has the others."""
    tally = Tally()
    for pair in pairs(history):
        if pair.own and not pair.faults:
            pair.count(tally)
    unknown = None if tally.judged else "no balancer was asked for one session twice, away from all faults"
    return tally.result(NAME, moved(tally, "repeated request", "to one balancer"), unknown)


INVARIANT = Invariant(NAME, "A balancer sends a session to one server as long as that server is up.", _judge)
