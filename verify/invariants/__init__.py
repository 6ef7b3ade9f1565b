"""Invariants: what must hold of a history. Pure: a history in, results out.

One module each, all in `INVARIANTS`. What they share: `invariant` (the type and its tally),
`circumstances` (what faults excuse), `course` (the servers that a session may be on), `pairs`.
"""

from verify.errors import HistoryError
from verify.history import History
from verify.invariants import (
    agree_after_touch,
    agree_at_once,
    as_intended,
    balancers_agree,
    everything_healed,
    faults_happened,
    no_failed_request,
    nothing_moves,
    observed,
    one_server_per_session,
    own_row,
    requests_in_flight,
    rows_arrive,
    rows_kept,
    tables_equal,
    tables_match_answers,
)
from verify.invariants.invariant import Invariant
from verify.verdict import Result

__all__ = ["INVARIANTS", "Invariant", "judge"]

INVARIANTS: dict[str, Invariant] = {
    invariant.name: invariant
    for invariant in (
        one_server_per_session.INVARIANT,
        balancers_agree.INVARIANT,
        nothing_moves.INVARIANT,
        agree_after_touch.INVARIANT,
        agree_at_once.INVARIANT,
        tables_equal.INVARIANT,
        tables_match_answers.INVARIANT,
        own_row.INVARIANT,
        rows_arrive.INVARIANT,
        rows_kept.INVARIANT,
        no_failed_request.INVARIANT,
        requests_in_flight.INVARIANT,
        as_intended.INVARIANT,
        faults_happened.INVARIANT,
        everything_healed.INVARIANT,
        observed.INVARIANT,
    )
}


def judge(history: History) -> list[Result]:
    """Judges a history by the invariants that its header names, in that order.

    Raises:
        HistoryError: the header names one that does not exist.
    """
    for name in history.header.invariants:
        if name not in INVARIANTS:
            raise HistoryError(f"the history names an invariant {name!r}: there are {', '.join(INVARIANTS)}")
    return [INVARIANTS[name].judge(history) for name in history.header.invariants]
