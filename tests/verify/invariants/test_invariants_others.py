"""What is not about pairs and tables: failed requests, faults, healing, what was observed, intended and measured."""

import pytest
from msgspec.structs import replace

from tests.verify.invariants.examples import SEEN, UNSEEN, ask, fault, history, judged, ns
from verify.history import AnyRecord, Cleanup, Inspection, Lag, Operation, Window
from verify.invariants import INVARIANTS
from verify.invariants.invariant import SHOWN
from verify.verdict import Verdict

FAILED = ask(3, "A", None, outcome="fail", error="connection refused")


def window(from_: float, until: float, *balancers: str) -> Window:
    return Window(balancers=list(balancers), from_ns=ns(from_), until_ns=ns(until), why="a fault")


def cleanup(host: str, at: float = 90, *found: str) -> Cleanup:
    return Cleanup(host=host, at_ns=ns(at), searched=["rules"], found=list(found))


# No failed request.


def test_every_request_was_answered() -> None:
    result = judged("no-failed-request", ask(1, "A", "web-1"), ask(2, "A", None))
    assert (result.verdict, result.judged, result.summary) == (Verdict.PASS, 2, "0 of 2 requests failed")


def test_a_failed_request() -> None:
    (violation,) = judged("no-failed-request", FAILED).violations
    assert violation.text == "s1 was not answered (A, 3.000 s): connection refused"
    assert violation.operations == [1]


def test_a_request_of_unknown_outcome() -> None:
    (violation,) = judged("no-failed-request", ask(3, "A", None, outcome="info", session=None)).violations
    assert violation.text == "a request without a session may not have been answered (A, 3.000 s): no reason known"


@pytest.mark.parametrize(
    ("declared", "verdict"),
    [
        (window(2, 4, "A"), Verdict.UNKNOWN),
        (window(0, 3, "B", "A"), Verdict.UNKNOWN),  # it overlaps
        (window(3.005, 9, "A"), Verdict.UNKNOWN),
        (window(2, 4, "B"), Verdict.FAIL),
        (window(3.02, 9, "A"), Verdict.FAIL),
    ],
)
def test_a_window_in_which_requests_may_fail(declared: Window, verdict: Verdict) -> None:
    result = judged("no-failed-request", FAILED, declared)
    assert result.verdict is verdict


def test_failed_where_it_may() -> None:
    result = judged("no-failed-request", FAILED, window(2, 4, "A"), ask(5, "A", "web-1"))
    assert (result.verdict, result.unjudged) == (Verdict.PASS, 1)
    assert result.summary == "0 of 1 request failed; 1 failed where they may"


def test_no_request() -> None:
    assert judged("no-failed-request").verdict is Verdict.UNKNOWN


def test_twenty_violations_are_shown_and_all_counted() -> None:
    failed: list[AnyRecord] = [ask(at, "A", None, outcome="fail") for at in range(99, 0, -1)]
    result = judged("no-failed-request", *failed)
    assert (result.violated, len(result.violations)) == (99, SHOWN)
    assert result.violations[0].text.startswith("s1 was not answered (A, 1.000 s)")  # the earliest


# Faults happened, everything healed.


def test_faults_that_happened() -> None:
    result = judged("faults-happened", fault(2, 3))
    assert (result.verdict, result.summary) == (Verdict.PASS, "1 fault injected and seen to happen")


def test_no_fault() -> None:
    assert judged("faults-happened").summary == "no fault was injected"


def test_faults_that_may_not_have_happened() -> None:
    bare = replace(fault(2, 3), evidence=[])
    doubtful = replace(fault(4, 5, number=2), evidence=[SEEN, UNSEEN])
    result = judged("faults-happened", bare, doubtful, fault(6, 7, number=3))
    assert (result.verdict, result.judged, result.unjudged) == (Verdict.UNKNOWN, 1, 2)
    assert result.summary == (
        "fault 1 (reload on A) left no evidence; fault 2 (reload on A) was not seen to happen:"
        " another worker answers (319 -> 319)"
    )


def test_all_healed() -> None:
    result = judged("everything-healed", fault(2, 3), cleanup("A"), cleanup("B"))
    assert (result.verdict, result.judged) == (Verdict.PASS, 3)
    assert judged("everything-healed", cleanup("A")).verdict is Verdict.PASS  # nothing to heal, and nothing left


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([], "no host was searched for what faults leave"),
        ([fault(2, 3)], "no host was searched for what faults leave"),
        ([fault(2, 3), cleanup("B")], "A was not searched"),
        ([fault(2, 3), cleanup("A", 2.5)], "A was not searched"),  # too early
    ],
)
def test_not_searched(records: list[AnyRecord], why: str) -> None:
    result = judged("everything-healed", *records)
    assert (result.verdict, result.summary) == (Verdict.UNKNOWN, why)


def test_not_healed() -> None:
    for broken in (fault(2, None), replace(fault(2, 3), heal_evidence=[SEEN, UNSEEN])):
        result = judged("everything-healed", broken, cleanup("A"))
        assert result.verdict is Verdict.FAIL
        assert result.violations[0].text.startswith("fault 1 (reload on A), injected at 2.000 s, was not healed")
        assert result.violations[0].faults == [1]
    doubtful = replace(fault(2, 3), heal_evidence=[])
    result = judged("everything-healed", doubtful, cleanup("A"))
    assert (result.verdict, result.summary) == (Verdict.UNKNOWN, "nothing shows that fault 1 (reload on A) was healed")


def test_something_is_left() -> None:
    (violation,) = judged("everything-healed", cleanup("A", 9, "a rule", "a stopped process")).violations
    assert violation.text == "left on A (9.000 s): a rule and a stopped process"


# Observed.


def twice(session: str, server: str) -> list[Operation]:
    return [ask(1, "A", server, session=session), ask(2, "A", server, session=session)]


def test_enough_was_observed() -> None:
    result = judged("observed", *twice("s1", "web-1"), *twice("s2", "web-2"), *twice("s3", "web-2"))
    assert (result.verdict, result.judged) == (Verdict.PASS, 3)
    assert result.summary == (
        "3 sessions asked again, 2 servers answered: odds that a balancer that knows nothing passed: 2^-3"
    )


@pytest.mark.parametrize(
    ("asks", "why"),
    [
        ([], "no session was answered"),
        ([ask(1, "A", "web-1"), ask(1, "A", "web-2", session="s2")], "no session was asked again"),
        ([ask(1, "A", "web-1", took=2), ask(2, "A", "web-1")], "no session was asked again"),  # at once
        (twice("s1", "web-1"), "only web-1 answered: a balancer that knows nothing would have passed"),
        ([*twice("s1", "web-1"), *twice("s2", "web-2"), ask(5, "A", None)], "1 answer came from an unknown server"),
    ],
)
def test_too_little_was_observed(asks: list[AnyRecord], why: str) -> None:
    result = judged("observed", *asks)
    assert (result.verdict, result.summary) == (Verdict.UNKNOWN, why)


# As intended, rows arrive.


def test_as_intended() -> None:
    right = Inspection(balancer="A", at_ns=0, checks=12)
    wrong = Inspection(balancer="B", at_ns=0, checks=12, deviations=["the table has len 16, not 32", "no peers"])
    assert judged("as-intended", right).summary == "12 checks on 1 balancer, 0 deviations"
    result = judged("as-intended", right, wrong)
    assert (result.verdict, result.violated) == (Verdict.FAIL, 2)
    assert result.violations[0].text == "B: the table has len 16, not 32"
    assert judged("as-intended").verdict is Verdict.UNKNOWN


def test_rows_arrive() -> None:
    lags = [Lag(source="A", target="B", lag_ns=ms * 1_000_000, resolution_ns=200_000) for ms in range(100, 0, -1)]
    result = judged("rows-arrive", *lags, Lag(source="B", target="A", lag_ns=0, resolution_ns=500_000))
    assert (result.verdict, result.judged) == (Verdict.PASS, 101)
    assert result.summary == (
        "A to B: 100 of 100 rows arrived, p50 50.00 ms, p95 95.00 ms, p99 99.00 ms, max 100.00 ms (resolution 0.20 ms);"
        " B to A: 1 of 1 rows arrived, p50 0.00 ms, p95 0.00 ms, p99 0.00 ms, max 0.00 ms (resolution 0.50 ms)"
    )


def test_a_row_that_does_not_arrive() -> None:
    result = judged("rows-arrive", Lag(source="A", target="B", lag_ns=None, resolution_ns=0))
    assert (result.verdict, result.summary) == (Verdict.FAIL, "A to B: 0 of 1 rows arrived")
    assert result.violations[0].text == "a row that A wrote did not arrive on B within the bound"
    assert judged("rows-arrive").verdict is Verdict.UNKNOWN


def test_histories_stay_as_they_are() -> None:
    """Judging changes nothing."""
    example = history(*twice("s1", "web-1"), fault(2, 3), cleanup("A"))
    before = {kind: list(records) for kind, records in vars(example).items() if isinstance(records, list)}
    for name in ("observed", "everything-healed", "nothing-moves"):
        INVARIANTS[name].judge(example)
    assert {kind: getattr(example, kind) for kind in before} == before
