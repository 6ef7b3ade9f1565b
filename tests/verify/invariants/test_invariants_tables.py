"""Tables equal, tables match answers, own row, agree after touch, agree at once: by example."""

from typing import Literal

import pytest

from tests.verify.invariants.examples import ask, fault, history, judged, table, told
from verify.history import AnyRecord, Session
from verify.invariants import INVARIANTS
from verify.verdict import Result, Verdict

EQUAL, MATCH, OWN = "tables-equal", "tables-match-answers", "own-row"
TOUCH, ONCE = "agree-after-touch", "agree-at-once"
CLEAR = fault(4, 4.1, "table-clear", may_move=True)


def both(a: str | None, b: str | None, at: float = 9) -> list[AnyRecord]:
    return [table(at, "A", {"s1": a}), table(at + 0.1, "B", {"s1": b})]


# Tables equal.


def test_equal_tables() -> None:
    result = judged(EQUAL, ask(1, "A", "web-1"), *both("web-1", "web-1"))
    assert (result.verdict, result.judged) == (Verdict.PASS, 1)


def test_equal_tables_without_an_answer() -> None:
    """Rows may be of an earlier run."""
    assert judged(EQUAL, *both("web-1", "web-1")).verdict is Verdict.PASS
    assert judged(EQUAL, *both("web-1", None)).verdict is Verdict.FAIL


@pytest.mark.parametrize(("a", "b"), [("web-1", "web-2"), ("web-1", None), (None, None)])
def test_unequal_tables(a: str | None, b: str | None) -> None:
    (text,) = told(EQUAL, ask(1, "A", "web-1"), *both(a, b))
    expected = f"s1 is bound to {a or 'no server'} on A and to {b or 'no server'} on B"
    assert text == f"{expected} (table app, read from 9.000 s to 9.100 s)"


def test_a_balancer_that_was_not_asked_for_a_row_has_none() -> None:
    assert told(EQUAL, ask(1, "A", "web-1"), table(9, "A", {"s1": "web-1"}), table(9, "B", {}))


def test_nothing_to_compare() -> None:
    summaries = [
        judged(EQUAL, ask(1, "A", "web-1")).summary,
        judged(EQUAL, ask(1, "A", "web-1"), table(9, "A", {"s1": "web-1"})).summary,
        judged(EQUAL, table(9, "A", {}), table(9, "B", {})).summary,
        judged(EQUAL, *both(None, None)).summary,
    ]
    assert summaries == [
        "no table was read",
        "no table was read on two balancers",
        "no row could be compared",
        "no row could be compared",
    ]


def test_moments_and_tables_are_compared_each_with_its_own() -> None:
    """What was read at another moment may differ: the session may have moved rightly since."""
    moments = [table(9, "A", {"s1": "web-1"}, moment=1), table(99, "B", {"s1": "web-2"}, moment=2)]
    result = judged(EQUAL, *moments)
    assert (result.verdict, result.unjudged) == (Verdict.UNKNOWN, 2)


def test_rows_that_crossed_may_stay_swapped_until_a_touch() -> None:
    crossed = [ask(1, "A", "web-1"), ask(1.1, "B", "web-2")]
    assert not told(EQUAL, *crossed, *both("web-2", "web-1"))
    assert told(EQUAL, *crossed, *both("web-2", "web-3"))
    assert told(EQUAL, *crossed, ask(4, "A", "web-2"), *both("web-2", "web-1"))
    assert not told(EQUAL, *crossed, ask(8.5, "A", "web-2"), *both("web-2", "web-1"))  # not settled yet


def test_a_cleared_table_may_have_no_row() -> None:
    assert not told(EQUAL, ask(1, "A", "web-1"), CLEAR, *both(None, "web-1"))
    assert told(EQUAL, ask(1, "A", "web-1"), CLEAR, ask(5, "B", "web-1"), *both(None, "web-1"))


def test_parted_balancers_may_differ() -> None:
    parted = fault(2, 8.5, "peers-cut", parts=[("A", "B")])
    assert not told(EQUAL, parted, ask(3, "A", "web-1"), *both("web-1", None))
    assert told(EQUAL, parted, ask(3, "A", "web-1"), *both("web-1", None, at=9.6))


def test_unknown_servers_are_no_excuse_for_unequal_rows() -> None:
    assert told(EQUAL, ask(1, "A", None), *both("web-1", "web-2"))
    assert not told(EQUAL, ask(1, "A", None, outcome="info"), *both("web-1", None))


def test_a_key_that_the_table_cuts_off() -> None:
    """It is told once, and as what it is."""
    rows = [*both("web-1", "web-1"), *both("web-2", None)]
    example = history(*rows, sessions=[])
    example.sessions.append(Session(label="s1", key="x" * 40, issued_by="client", length=24))
    (violation,) = INVARIANTS[EQUAL].judge(example).violations
    assert violation.text == (
        "the key of s1 has 40 characters, the table keeps 24: sessions that share their beginning share a row"
    )


# Tables match answers.


def test_rows_that_match() -> None:
    result = judged(MATCH, ask(1, "A", "web-1"), *both("web-1", "web-1"))
    assert (result.verdict, result.judged) == (Verdict.PASS, 2)


@pytest.mark.parametrize(("row", "says"), [("web-2", "binds it to web-2"), (None, "has no row for it")])
def test_a_row_that_does_not_match(row: str | None, says: str) -> None:
    result = judged(MATCH, ask(1, "A", "web-1"), table(9, "B", {"s1": row}))
    (violation,) = result.violations
    assert violation.text == f"s1 was on web-1 (A, 1.000 s), but B {says} (table app, 9.000 s)"
    assert violation.operations == [1]


def test_the_last_answer_counts() -> None:
    asks = [ask(1, "A", "web-1"), ask(3, "A", "web-2")]
    assert told(MATCH, *asks, table(9, "A", {"s1": "web-1"}))
    assert not told(MATCH, *asks, table(9, "A", {"s1": "web-2"}), table(2, "A", {"s1": "web-1"}))


def test_the_last_answer_counts_wherever_it_was() -> None:
    """That it should not have moved is for others to say."""
    asks = [ask(1, "A", "web-1"), ask(3, "B", "web-2")]
    assert not told(MATCH, *asks, table(9, "A", {"s1": "web-2"}))
    assert told(MATCH, *asks, table(9, "A", {"s1": "web-1"}))


@pytest.mark.parametrize(
    "records",
    [
        [ask(8.9, "A", "web-2", took=0.5)],  # while the table was read
        [ask(8.9, "B", "web-2")],  # not known to A yet
        [CLEAR],
        [ask(0.9, "B", "web-2")],  # crossed
    ],
)
def test_rows_that_something_else_accounts_for(records: list[AnyRecord]) -> None:
    result = judged(MATCH, ask(1, "A", "web-1"), *records, table(9, "A", {"s1": "web-2"}))
    assert (result.verdict, result.unjudged) == (Verdict.UNKNOWN, 1)


def test_rows_that_no_answer_tells_of() -> None:
    """A session that was never answered, and a row of which HAProxy tells an id alone (1.5)."""
    assert judged(MATCH, table(9, "A", {"s1": "web-1"})).unjudged == 1
    assert judged(MATCH, ask(1, "A", "web-1"), table(9, "A", {"s1": "#3"})).unjudged == 1


def test_a_server_that_went_down_keeps_its_rows() -> None:
    """Only a request moves a row."""
    down = fault(2, 8, "server-down", moves=["web-1"])
    assert not told(MATCH, down, ask(1, "A", "web-1"), table(9, "A", {"s1": "web-1"}))
    assert told(MATCH, down, ask(1, "A", "web-1"), table(9, "A", {"s1": "web-2"}))


# Own row.


def rows_of(*keys: str, length: int | None = 32, issued_by: Literal["client", "server"] = "server") -> Result:
    example = history(sessions=[])
    for number, key in enumerate(keys, 1):
        example.sessions.append(Session(label=f"s{number}", key=key, issued_by=issued_by, length=length))
    return INVARIANTS[OWN].judge(example)


def test_keys_that_differ_and_fit() -> None:
    assert rows_of("a" * 32, "b" * 32).verdict is Verdict.PASS
    assert rows_of("a" * 99, "b" * 99, length=None).verdict is Verdict.PASS
    assert rows_of("a" * 40, "b" * 40, issued_by="client").verdict is Verdict.PASS  # the verifier's own, cut off


def test_no_session() -> None:
    assert rows_of().verdict is Verdict.UNKNOWN


def test_keys_that_share_a_row() -> None:
    (same,) = rows_of("a", "a").violations
    assert same.text == "s1 and s2 have the same key: they share a row"
    (cut,) = rows_of("a" * 32 + "b", "a" * 32 + "c", issued_by="client").violations
    assert cut.text.startswith("s1 and s2 begin with the same 32 characters, which is all that the table keeps")


def test_an_issued_key_that_is_too_long() -> None:
    (violation,) = rows_of("a" * 33).violations
    assert violation.text == "the key that was issued to s1 has 33 characters, the table keeps 32"


# Agree after touch.

AT_ONCE = [ask(1, "A", "web-1"), ask(1, "B", "web-2")]


def test_a_touch_mends_it() -> None:
    result = judged(TOUCH, *AT_ONCE, ask(4, "A", "web-2"), ask(6, "B", "web-2"))
    assert (result.verdict, result.judged) == (Verdict.PASS, 1)
    assert result.summary == (
        "1 new session met by two balancers at once: 1 answered differently, 1 of 1 agreed after the next touch"
    )


def test_a_touch_that_does_not_mend_it() -> None:
    (violation,) = judged(TOUCH, *AT_ONCE, ask(4, "A", "web-1"), ask(6, "B", "web-2")).violations
    assert violation.text == (
        "s1 was first on web-1 (A, 1.000 s) and on web-2 (B, 1.000 s) at once;"
        " touched again, it was on web-1 (A, 4.000 s) and then on web-2 (B, 6.000 s)"
    )
    assert violation.operations == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "after",
    [
        [],
        [ask(4, "A", "web-1"), ask(6, "A", "web-1")],  # B was not asked
        [ask(4, "A", "web-1"), ask(4.5, "B", "web-2")],  # too soon
        [ask(1.5, "A", "web-1"), ask(4, "B", "web-2")],  # the touch itself was too soon
        [ask(4, "A", "web-1"), fault(4.5, 5), ask(6, "B", "web-2")],
    ],
)
def test_no_proper_touch(after: list[AnyRecord]) -> None:
    result = judged(TOUCH, *AT_ONCE, *after)
    assert (result.verdict, result.judged, result.unjudged) == (Verdict.UNKNOWN, 0, 1)


def test_no_session_that_was_met_at_once() -> None:
    result = judged(TOUCH, ask(1, "A", "web-1"), ask(3, "B", "web-2"))
    assert (result.verdict, result.summary) == (Verdict.UNKNOWN, "no new session was met by two balancers at once")


# Agree at once.


def test_one_answer_at_once() -> None:
    same = [ask(1, "A", "web-1"), ask(1, "B", "web-1")]
    result = judged(ONCE, *same, *both("web-1", "web-1"))
    assert (result.verdict, result.judged) == (Verdict.PASS, 1)
    assert result.summary == (
        "1 new session met by several balancers at once: 0 answered differently, 0 with rows that differ at rest"
    )
    assert judged(ONCE, *same).verdict is Verdict.PASS
    assert told(ONCE, *same, *both("web-1", "web-2"))


def test_two_answers_at_once() -> None:
    later = [table(20, name, {"s1": "web-2"}, moment=2) for name in ("A", "B")]
    result = judged(ONCE, *AT_ONCE, *both("web-2", "web-1"), *later)
    (violation,) = result.violations
    assert violation.text == (
        "s1 was first on web-1 (A, 1.000 s) and on web-2 (B, 1.000 s) at once;"
        " at rest it is bound to web-2 on A and to web-1 on B"
    )
    assert violation.operations == [1, 2]
    assert result.summary.endswith("1 answered differently, 1 with rows that differ at rest")
    assert told(ONCE, *AT_ONCE) == ["s1 was first on web-1 (A, 1.000 s) and on web-2 (B, 1.000 s) at once"]


def test_two_of_three_balancers_agree_at_once() -> None:
    three = [ask(1, "A", "web-1"), ask(1, "B", "web-1"), ask(1, "C", "web-2")]
    assert judged(ONCE, *three).violations[0].operations == [1, 2, 3]


def test_a_balancer_that_could_have_known_is_none_that_met_it_at_once() -> None:
    assert judged(ONCE, ask(1, "A", "web-1"), ask(4, "B", "web-2")).verdict is Verdict.UNKNOWN
    assert judged(ONCE, ask(1, "A", "web-1")).summary == "no new session was met by several balancers at once"
