"""The session guard's scenarios: what a guarded pair leaves is judged pass, and every way to lose a session fail."""

import msgspec
import pytest

from tests.verify.invariants.examples import ask, fault, history, judged, ns
from tests.verify.invariants.guarded import OLD, PUT, failed, last_fault, played
from verify.faults import FAULTS
from verify.history import History, Stock
from verify.invariants import judge
from verify.invariants.circumstances import CAUSES
from verify.scenarios import GROUPS, SCENARIOS
from verify.verdict import Result, Verdict, conclude

NAMES = GROUPS["guard"]
FILLED = [name for name in NAMES if "rows-kept" in SCENARIOS[name].invariants]


def results(known: History) -> dict[str, Result]:
    return {result.invariant: result for result in judge(known)}


def verdict(known: History) -> Verdict:
    return conclude(known, judge(known))


@pytest.mark.parametrize("name", NAMES)
def test_what_a_guarded_pair_leaves_is_a_pass(name: str) -> None:
    found = results(played(name))
    assert {each: result.summary for each, result in found.items() if result.verdict is not Verdict.PASS} == {}
    assert verdict(played(name)) is Verdict.PASS
    assert {known.kind for known in played(name).faults} == set(SCENARIOS[name].kinds)


@pytest.mark.parametrize("name", NAMES)
def test_one_session_that_moved_is_a_failure(name: str) -> None:
    label = "b11" if name == "rapid-reloads" else OLD[4]  # those from before a cold start are not judged
    found = results(played(name, lost=[label]))
    assert [each for each, result in found.items() if result.verdict is Verdict.FAIL] == ["nothing-moves"]
    (violation,) = found["nothing-moves"].violations
    assert violation.session == label


@pytest.mark.parametrize("name", FILLED)
def test_one_row_that_is_lost_is_a_failure(name: str) -> None:
    found = results(played(name, stock=PUT - 1))
    assert [each for each, result in found.items() if result.verdict is Verdict.FAIL] == ["rows-kept"]


@pytest.mark.parametrize("name", NAMES)
def test_a_request_that_fails_outside_the_windows_is_a_failure(name: str) -> None:
    known = played(name)
    after = (last_fault(known).healed_ns or 0) / 1e9 + 0.5
    known.operations.append(failed(after, "A"))
    found = results(known)
    assert [each for each, result in found.items() if result.verdict is Verdict.FAIL] == ["no-failed-request"]


@pytest.mark.parametrize("name", [name for name in NAMES if any(FAULTS[k].takes_away for k in SCENARIOS[name].kinds)])
def test_a_request_that_fails_while_its_balancer_is_down_is_none(name: str) -> None:
    known = played(name)
    (*_, window) = known.windows
    known.operations.append(failed(window.from_ns / 1e9 + 0.1, window.balancers[0]))
    assert verdict(known) is Verdict.PASS


# A power cut.


def test_a_power_cut_may_take_what_is_younger_than_a_dump() -> None:
    born = ["y1", "y2"]
    assert verdict(played("power-cut", lost=born, young=born)) is Verdict.PASS
    assert verdict(played("power-cut", young=born)) is Verdict.PASS


def test_a_power_cut_must_not_take_what_is_older() -> None:
    found = results(played("power-cut", lost=[OLD[0]], young=["y1"]))
    assert found["nothing-moves"].verdict is Verdict.FAIL


def test_the_age_is_that_of_the_binding_and_not_of_the_last_request() -> None:
    """A dump from between them has the row."""
    cut = fault(30, 31, "power-cut", spares=20)
    asks = [ask(1, "A", "web-1"), ask(29, "A", "web-1"), ask(40, "A", "web-2")]
    assert judged("nothing-moves", cut, *asks).verdict is Verdict.FAIL
    assert judged("nothing-moves", cut, *asks[1:]).violated == 0


def test_what_moved_shortly_before_a_power_cut_may_come_back() -> None:
    """The dump has where it was before."""
    cut, down = fault(30, 31, "power-cut", spares=20, number=2), fault(15, 17, "server-down", moves=["web-1"])
    asks = [ask(1, "A", "web-1"), ask(16, "A", "web-2"), ask(29, "A", "web-2"), ask(40, "A", "web-1")]
    assert judged("nothing-moves", down, cut, *asks).violated == 0


def test_rows_are_judged_after_a_power_cut_by_what_was_answered_since() -> None:
    known = played("power-cut", lost=["y1"], young=["y1"])
    assert results(known)["tables-match-answers"].verdict is Verdict.PASS
    known.snapshots[-1].rows["y1"] = "web-7"
    assert results(known)["tables-equal"].verdict is Verdict.FAIL


# A stale dump.


def test_a_stale_dump_that_overwrites_a_row_is_a_failure() -> None:
    """A session that was rebound while its server was down goes back to it after the other balancer's start."""
    known = played("stale-dump")
    label = OLD[0]
    start = last_fault(known).healed_ns or 0
    later = [operation for operation in known.operations if operation.session == label and operation.sent_ns > start]
    for operation in later:
        known.operations[known.operations.index(operation)] = msgspec.structs.replace(operation, server="web-1")
    found = results(known)["nothing-moves"]
    assert found.violations[0].session == label
    assert "web-3" in found.violations[0].text


# Requests in flight.


def test_a_reload_that_found_no_request_under_way_proves_nothing() -> None:
    reload = fault(2, 3)
    result = judged(
        "requests-in-flight", reload, ask(1, "A", "web-1"), ask(2.5, "A", "web-1"), ask(1.9, "B", "web-1", 9)
    )
    assert (result.verdict, result.summary) == (Verdict.UNKNOWN, "no request was under way at fault 1 (reload on A)")
    assert judged("requests-in-flight").verdict is Verdict.UNKNOWN


def test_a_request_under_way_has_to_be_answered() -> None:
    assert judged("requests-in-flight", fault(2, 3), ask(1.9, "A", "web-1", 2)).verdict is Verdict.PASS
    result = judged("requests-in-flight", fault(2, 3), ask(1.9, "A", None, 2, outcome="info", error="closed"))
    assert [violation.text for violation in result.violations] == [
        "s1, under way at fault 1 (reload on A), was not answered (A, 1.900 s): closed"
    ]


def test_an_old_worker_that_sends_a_session_elsewhere_is_a_failure() -> None:
    reload, asks = fault(2, 3), [ask(1, "A", "web-1"), ask(1.9, "A", "web-2", 2)]
    assert judged("requests-in-flight", reload, *asks).verdict is Verdict.PASS
    assert judged("nothing-moves", reload, *asks).verdict is Verdict.FAIL


# Rows.


def test_rows_that_were_put_there_and_lost_are_counted() -> None:
    stocks = [Stock(balancer=name, at_ns=ns(9), put=100, kept=kept, moved=2) for name, kept in (("A", 90), ("B", 100))]
    result = judged("rows-kept", *stocks)
    assert (result.judged, result.violated) == (2, 1)
    assert result.summary == "10 of 200 rows that nobody asked for lost or bound to another server"
    assert result.violations[0].text == (
        "of 100 rows that were put into the table, A has 90 with their server, 2 with another one, and 8 not at all"
        " (9.000 s)"
    )
    assert judged("rows-kept").verdict is Verdict.UNKNOWN


# Causes.


def test_losses_of_the_last_balancer_have_a_cause() -> None:
    taking_all = {kind for kind, known in FAULTS.items() if known.takes_all}
    assert taking_all <= set(CAUSES)
    for kind in sorted(taking_all - {"cold-start"}):
        found = judged("nothing-moves", fault(2, 3, kind), ask(1, "A", "web-1"), ask(3.5, "A", "web-2"))
        assert "tables live in processes" in (found.violations[0].cause or "")


def test_every_guarded_scenario_is_left_out_unless_asked_for() -> None:
    assert all(SCENARIOS[name].may_lose for name in NAMES)
    assert history(invariants=SCENARIOS["old-worker"].invariants).header.invariants[-1] == "requests-in-flight"
