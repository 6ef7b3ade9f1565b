"""Balancers agree: what one balancer answers after another did, and after a partition."""

from verify.history import History
from verify.invariants.invariant import Invariant, Tally
from verify.invariants.pairs import moved, pairs
from verify.verdict import Result

NAME = "balancers-agree"


def _judge(history: History) -> Result:
    """Judges the pairs on two balancers across which nothing lies, or nothing but a parting of these two.

    While balancers are parted nothing can be said of what one of them learns from the other; more
    than the settle time after the healing it knows all of it. What it may answer until then, where
    both sides went on, stands in `verify.invariants.course`.
    """
    tally = Tally()
    for pair in pairs(history):
        if not pair.own and pair.parted_only:
            pair.count(tally)
    unknown = None
    if not tally.judged:
        unknown = "no session was asked on one balancer and then, after the settle time, on another, away from faults"
    return tally.result(NAME, moved(tally, "request", "to a balancer that should know another's answer"), unknown)


INVARIANT = Invariant(
    NAME, "After the settle time every balancer sends a session where another balancer last sent it.", _judge
)
