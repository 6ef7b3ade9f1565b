"""One server per session, balancers agree, nothing moves: each excuse, and what no excuse covers."""

import pytest

from tests.verify.invariants.examples import ask, fault, judged, told
from verify.history import AnyRecord
from verify.verdict import Verdict

ONE, AGREE, NOTHING = "one-server-per-session", "balancers-agree", "nothing-moves"
PARTED = [("B", "A")]  # in either order


# One balancer.


def test_a_session_that_stays() -> None:
    result = judged(ONE, ask(1, "A", "web-1"), ask(2, "A", "web-1"), ask(3, "A", "web-1"))
    assert (result.verdict, result.judged, result.unjudged) == (Verdict.PASS, 2, 0)
    assert result.summary == "0 of 2 repeated requests to one balancer changed the server"


def test_a_session_that_moves() -> None:
    result = judged(ONE, ask(1, "A", "web-1"), ask(2.5, "A", "web-2"))
    assert result.verdict is Verdict.FAIL
    (violation,) = result.violations
    assert violation.text == "s1 was on web-1 (A, 1.000 s) and then on web-2 (A, 2.500 s)"
    assert (violation.session, violation.operations, violation.faults) == ("s1", [1, 2], [])
    assert violation.cause is None


def test_a_session_that_stays_where_it_moved_is_one_violation() -> None:
    asks = [ask(at, "A", "web-2") for at in (2, 4, 6)]
    assert judged(ONE, ask(1, "A", "web-1"), *asks).violated == 1


def test_a_session_that_moves_to_and_fro_moves_twice() -> None:
    """However soon: there is no other balancer that could have brought it back."""
    assert judged(ONE, ask(1, "A", "web-1"), ask(1.3, "A", "web-2"), ask(1.6, "A", "web-1")).violated == 2


def test_nothing_was_asked_twice() -> None:
    result = judged(ONE, ask(1, "A", "web-1"), ask(3, "B", "web-1"), ask(3, "A", "web-1", session="s2"))
    assert (result.verdict, result.judged) == (Verdict.UNKNOWN, 0)
    assert result.summary == "no balancer was asked for one session twice, away from all faults"


def test_what_another_balancer_answered_since_is_followed() -> None:
    """The two crossed: B could not know of web-1 yet, and A may have taken over B's choice."""
    result = judged(ONE, ask(1, "A", "web-1"), ask(1.5, "B", "web-2"), ask(4, "A", "web-2"))
    assert (result.verdict, result.judged, result.unjudged) == (Verdict.UNKNOWN, 0, 1)


def test_a_crossing_use_of_before_is_followed_too() -> None:
    assert not told(ONE, ask(1, "B", "web-2"), ask(1.5, "A", "web-1"), ask(4, "A", "web-2"))
    assert told(ONE, ask(1, "B", "web-2"), ask(2.5, "A", "web-1"), ask(4, "A", "web-2"))  # it was known by then


def test_values_that_cross_again_and_again_are_followed() -> None:
    """The rows are handed to and fro, as long as the session is not at rest for the settle time."""
    first = [ask(1, "B", "web-3"), ask(1, "A", "web-1"), ask(1.9, "A", "web-3"), ask(1.95, "B", "web-3")]
    assert not told(ONE, *first, ask(5, "A", "web-1"))
    assert told(ONE, *first, ask(5, "A", "web-3"), ask(7, "A", "web-1"))


def test_of_two_at_once_one_moved_the_session() -> None:
    """The one that was sent first is charged; the other may have followed it."""
    result = judged(ONE, ask(1, "A", "web-1"), ask(5, "A", "web-2", took=1), ask(5.1, "A", "web-2", took=0.1))
    assert result.violated == 1
    assert result.violations[0].operations == [1, 2]
    both = judged(ONE, ask(1, "A", "web-1"), ask(5, "A", "web-2", took=1), ask(5.1, "A", "web-3", took=0.1))
    assert both.violated == 2


def test_of_two_at_once_the_later_may_have_had_a_right_to_choose() -> None:
    """C did not know of web-1 when it was asked, and A may have followed C."""
    asks = [ask(1, "A", "web-1"), ask(1.5, "A", "web-2", took=0.4), ask(1.6, "C", "web-2", took=0.1)]
    assert not told(ONE, *asks)
    assert told(ONE, *asks[:2])


def test_two_new_ones_at_once() -> None:
    """Neither is the other's predecessor."""
    assert judged(ONE, ask(1, "A", "web-1", took=1), ask(1.5, "A", "web-2", took=1)).violations == []


def test_an_unknown_answer_is_no_excuse() -> None:
    """It should have been answered by web-1 too."""
    lost = ask(3, "A", None, outcome="info")
    assert told(ONE, ask(1, "A", "web-1"), lost, ask(6, "A", "web-2"))
    assert told(ONE, ask(1, "A", "web-1"), lost, ask(4, "A", None, outcome="info"), ask(6, "A", "web-2"))
    assert told(ONE, ask(1, "A", "web-1"), ask(3, "A", None), ask(6, "A", "web-2"))
    assert told(ONE, ask(1, "A", "web-1"), ask(3, "A", None, outcome="fail"), ask(6, "A", "web-2"))


def test_an_unknown_answer_at_the_same_time_is_no_excuse() -> None:
    """It is bound to web-1 as well."""
    assert told(ONE, ask(1, "A", "web-1"), ask(5, "A", "web-2", took=1), ask(5.1, "A", None, outcome="info"))
    first_use = ask(1.6, "C", None, took=0.1, outcome="info")
    assert not told(ONE, ask(1, "A", "web-1"), ask(1.5, "A", "web-2", took=0.4), first_use)


def test_an_unknown_answer_that_could_be_any_is_an_excuse() -> None:
    """The first use, on another balancer, within the settle time."""
    asks = [ask(1, "A", "web-1"), ask(4, "A", "web-2")]
    for outcome in ("ok", "info"):
        assert not told(ONE, ask(1.1, "B", None, outcome=outcome), *asks)
    assert told(ONE, ask(1.1, "B", None, outcome="fail"), *asks)


def test_a_server_that_was_down() -> None:
    """Its sessions move, and stay where they moved."""
    down = fault(2, 4, "server-down", moves=["web-1"])
    asks = [ask(1, "A", "web-1"), ask(3, "A", "web-2"), ask(7, "A", "web-2"), ask(8, "A", "web-2")]
    assert not told(NOTHING, down, *asks)
    assert not told(ONE, down, *asks)
    assert told(ONE, down, *asks, ask(9, "A", "web-1"))
    assert told(NOTHING, down, ask(1, "A", "web-2"), ask(3, "A", "web-3"))  # was not on it


def test_across_a_fault_is_not_judged_here() -> None:
    for name in (ONE, AGREE):
        result = judged(name, fault(2, 3), ask(1, "A", "web-1"), ask(2.5, "A", "web-2"), ask(2.5, "B", "web-2"))
        assert (result.verdict, result.judged, result.unjudged) == (Verdict.UNKNOWN, 0, 0)


# Two balancers.


def test_balancers_that_agree() -> None:
    result = judged(AGREE, ask(1, "A", "web-1"), ask(3, "B", "web-1"), ask(5, "A", "web-1"))
    assert (result.verdict, result.judged) == (Verdict.PASS, 2)


def test_balancers_that_disagree() -> None:
    result = judged(AGREE, ask(1, "A", "web-1"), ask(3, "B", "web-2"))
    assert result.verdict is Verdict.FAIL
    assert result.violations[0].text == "s1 was on web-1 (A, 1.000 s) and then on web-2 (B, 3.000 s)"


def test_sooner_than_the_settle_time_they_need_not() -> None:
    result = judged(AGREE, ask(1, "A", "web-1", took=0.1), ask(2.0, "B", "web-2"))
    assert (result.verdict, result.judged, result.unjudged) == (Verdict.UNKNOWN, 0, 1)
    assert told(AGREE, ask(1, "A", "web-1", took=0.1), ask(2.1, "B", "web-2"))


def test_a_later_answer_does_not_hide_one_that_has_settled() -> None:
    """B must know of the first one, though not yet of the second."""
    assert told(AGREE, ask(1, "A", "web-1"), ask(4, "A", "web-1"), ask(4.5, "B", "web-2"))
    assert not told(AGREE, ask(1, "A", "web-1"), ask(4, "A", "web-2"), ask(4.5, "B", "web-2"))


def test_a_server_that_was_down_for_one_balancer() -> None:
    down = fault(2, 4, "maint", moves=["web-1"])
    assert not told(NOTHING, down, ask(1, "A", "web-1"), ask(3, "B", "web-2"))
    assert told(NOTHING, down, ask(1, "A", "web-2"), ask(3, "B", "web-1"))


def test_the_other_followed_what_an_excused_one_pushed() -> None:
    """A moved the session; B's push of its old row made it move once more."""
    down = fault(2, 9, "maint", moves=["web-1"])
    asks = [ask(1, "A", "web-1"), ask(3, "A", "web-2"), ask(3.5, "B", "web-1"), ask(6, "A", "web-3")]
    assert not told(NOTHING, down, *asks)


def test_parted_balancers_are_not_judged() -> None:
    parted = fault(2, 6, "peers-cut", parts=PARTED)
    result = judged(AGREE, parted, ask(1.5, "A", "web-1"), ask(5, "B", "web-2"), ask(6.9, "B", "web-2"))
    assert (result.verdict, result.judged) == (Verdict.UNKNOWN, 0)


def test_what_was_known_before_the_parting_is_judged() -> None:
    parted = fault(3, 6, "peers-cut", parts=PARTED)
    assert told(AGREE, parted, ask(1, "A", "web-1"), ask(5, "B", "web-2"))


def test_after_the_heal_they_must_agree() -> None:
    parted = fault(2, 6, "peers-cut", parts=PARTED)
    born: list[AnyRecord] = [parted, ask(3, "A", "web-1")]
    assert not told(AGREE, *born, ask(6.9, "B", "web-2"))
    assert told(AGREE, *born, ask(7.1, "B", "web-2"))
    assert not told(NOTHING, *born, ask(7.1, "B", "web-2"))  # once is enough
    assert not told(AGREE, *born, ask(7.1, "B", "web-1"))
    assert not told(AGREE, fault(2, None, "peers-cut", parts=PARTED), ask(3, "A", "web-1"), ask(99, "B", "web-2"))


@pytest.mark.parametrize(("on_a", "on_b"), [("web-1", "web-2"), ("web-2", "web-1"), ("web-1", "web-1")])
def test_both_sides_of_a_parting_may_keep_or_swap_theirs_until_a_touch(on_a: str, on_b: str) -> None:
    parted = fault(2, 6, "peers-cut", parts=PARTED)
    born: list[AnyRecord] = [parted, ask(3, "A", "web-1"), ask(4, "B", "web-2")]
    for name in (AGREE, NOTHING, ONE):
        assert not told(name, *born, ask(8, "A", on_a), ask(8.5, "B", on_b))  # before the touch has settled
        assert not told(name, *born, ask(8, "A", on_a), ask(10, "B", on_a))
    assert told(AGREE, *born, ask(8, "A", on_a), ask(10, "B", "web-3"))


def test_after_the_touch_both_sides_agree() -> None:
    parted = fault(2, 6, "peers-cut", parts=PARTED)
    asks = [ask(3, "A", "web-1"), ask(4, "B", "web-2"), ask(8, "A", "web-1"), ask(10, "B", "web-2")]
    assert told(AGREE, parted, *asks) == ["s1 was on web-1 (A, 8.000 s) and then on web-2 (B, 10.000 s)"]


def test_a_third_balancer_is_not_parted() -> None:
    """So what lies across is a fault as any other, which moves nothing."""
    parted = fault(2, 6, "peers-cut", parts=PARTED)
    asks = [ask(3, "A", "web-1"), ask(5, "C", "web-2")]
    assert told(NOTHING, parted, *asks)
    assert not told(AGREE, parted, *asks)


# Faults.


def test_no_fault() -> None:
    result = judged(NOTHING, ask(1, "A", "web-1"), ask(2, "A", "web-2"))
    assert (result.verdict, result.summary) == (Verdict.UNKNOWN, "no fault was injected")


def test_a_fault_that_moves_nothing() -> None:
    result = judged(NOTHING, fault(2, 3), ask(1, "A", "web-1"), ask(2.5, "A", "web-1"), ask(5, "B", "web-1"))
    assert (result.verdict, result.judged) == (Verdict.PASS, 2)
    assert result.summary == "0 of 2 requests across a fault changed the server (reload: 0 of 2)"


def test_a_fault_that_nothing_spans() -> None:
    between = judged(NOTHING, fault(2, 3), ask(2.5, "A", "web-1"), ask(3.5, "A", "web-1"))
    assert (between.verdict, between.judged) == (Verdict.UNKNOWN, 1)
    assert between.summary == "no session that had to stay was asked before and after fault 1 (reload on A)"
    away = judged(NOTHING, fault(20, 30), ask(1, "A", "web-1"), ask(2, "A", "web-1"))
    assert (away.verdict, away.judged) == (Verdict.UNKNOWN, 0)


def test_each_fault_has_to_be_spanned() -> None:
    asks = [ask(1, "A", "web-1"), ask(2.5, "A", "web-1")]
    result = judged(NOTHING, fault(2, 3), fault(20, 30, "kill", number=2), *asks)
    assert result.summary == "no session that had to stay was asked before and after fault 2 (kill on A)"
    many = judged(NOTHING, *[fault(2, 3, number=number) for number in range(1, 8)])
    assert many.summary.endswith("fault 4 (reload on A), fault 5 (reload on A) and 2 more")


def test_a_loss_of_haproxys_own_is_called_so_and_fails() -> None:
    result = judged(NOTHING, fault(2, 3), ask(1, "A", "web-1"), ask(2.1, "A", "web-2"))
    assert result.verdict is Verdict.FAIL
    (violation,) = result.violations
    assert violation.text.endswith("then on web-2 (A, 2.100 s), across fault 1 (reload on A)")
    assert violation.faults == [1]
    assert violation.cause is not None
    assert "docs/verdicts.md#losses-of-haproxys-own" in violation.cause


@pytest.mark.parametrize(("kind", "sent"), [("reload", 4.5), ("pause", 2.5)])
def test_other_losses_have_no_known_cause(kind: str, sent: float) -> None:
    """Longer after the fault than the settle time, or across one at which no new process takes over."""
    (violation,) = judged(NOTHING, fault(2, 3, kind), ask(1, "A", "web-1"), ask(sent, "A", "web-2")).violations
    assert violation.cause is None


def test_a_move_with_two_predecessors_is_one_violation() -> None:
    result = judged(NOTHING, fault(4, 5), ask(1, "A", "web-1"), ask(3, "B", "web-1"), ask(6.5, "A", "web-2"))
    assert result.violated == 1


def test_a_cleared_table_may_move_anything_and_proves_nothing() -> None:
    clear = fault(2, 2.1, "table-clear", may_move=True)
    result = judged(NOTHING, clear, ask(1, "A", "web-1"), ask(2.5, "A", "web-2"))
    assert (result.verdict, result.judged, result.unjudged) == (Verdict.UNKNOWN, 0, 1)
    with_reload = judged(NOTHING, clear, fault(9, 10, number=2), ask(8, "A", "web-1"), ask(12, "A", "web-1"))
    assert with_reload.verdict is Verdict.PASS


def test_a_cleared_table_excuses_nothing_that_began_after_it() -> None:
    clear = fault(2, 2.1, "table-clear", may_move=True)
    assert told(NOTHING, clear, ask(2.2, "A", "web-1"), ask(2.5, "A", "web-2"))


def test_a_fault_that_was_never_healed_lasts() -> None:
    down = fault(2, None, "server-down", moves=["web-1"])
    assert not told(NOTHING, down, ask(50, "A", "web-1"), ask(60, "A", "web-2"))


def test_a_balancer_that_was_away_must_know_what_happened_meanwhile() -> None:
    away = fault(2, 6, "restart", parts=PARTED)
    asks = [ask(1, "A", "web-1"), ask(3, "B", "web-2", session="s2")]
    for at, verdict in ((6.5, False), (7.5, True)):
        found = judged(NOTHING, away, *asks, ask(at, "A", "web-3", session="s2")).violations
        assert bool(found) is verdict
