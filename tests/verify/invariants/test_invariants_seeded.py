"""Each kind of violation, seeded into a history that was right, is found by the invariant that is to find it."""

import dataclasses
import random
from collections.abc import Callable
from typing import get_args

import msgspec
import pytest
from hypothesis import Phase, assume, find, given, settings
from hypothesis import strategies as st

from tests.verify.invariants.model import SEEN, World
from tests.verify.invariants.steps import SETTLE, Ask, Break, Kind, Step
from tests.verify.invariants.strategies import REST, calm
from verify.history import Evidence, History, Operation
from verify.invariants import INVARIANTS
from verify.verdict import Result, Verdict

replace = msgspec.structs.replace
ELSEWHERE = "web-elsewhere"
UNSEEN = [Evidence(what="it was there", seen=False, text="no")]

FEW = settings(max_examples=25)


def judged(history: History, name: str) -> Result:
    return INVARIANTS[name].judge(history)


def fails(history: History, name: str) -> Result:
    result = judged(history, name)
    assert result.verdict is Verdict.FAIL, result
    assert result.violated >= 1
    assert result.violations
    return result


def moved(history: History, data: st.DataObject, choose: Callable[[Operation, Operation], bool]) -> None:
    """Changes the answer to one request, so that it was answered elsewhere.

    Args:
        history: is changed.
        data: draws which of them.
        choose: takes a request and the one for its session before, whether it is to be found.
    """
    pairs = [
        (place, before)
        for place, after in enumerate(history.operations)
        for before in history.operations[:place]
        if before.session == after.session and choose(before, after)
    ]
    place, _ = data.draw(st.sampled_from(pairs))
    history.operations[place] = replace(history.operations[place], server=ELSEWHERE)


@FEW
@given(st.data())
def test_an_answer_moves_on_the_same_balancer(data: st.DataObject) -> None:
    history = data.draw(calm()).history()
    moved(history, data, lambda before, after: before.balancer == after.balancer)
    assert ELSEWHERE in fails(history, "one-server-per-session").violations[0].text


@FEW
@given(st.data())
def test_another_balancer_disagrees(data: st.DataObject) -> None:
    history = data.draw(calm()).history()
    firsts = {(operation.session, operation.balancer): operation for operation in history.operations[::-1]}
    moved(
        history,
        data,
        lambda before, after: before.balancer != after.balancer and firsts[after.session, after.balancer] is after,
    )
    fails(history, "balancers-agree")


@pytest.mark.parametrize(
    "kind", [kind for kind in get_args(Kind) if kind not in ("server-down", "maint", "table-clear")]
)
@settings(max_examples=10)
@given(st.data())
def test_a_session_moves_across_a_fault(kind: Kind, data: st.DataObject) -> None:
    history = data.draw(calm(kind)).history()
    (fault,) = history.faults
    first_after = {
        (operation.session, operation.balancer): operation
        for operation in history.operations[::-1]
        if operation.sent_ns >= fault.injected_ns
    }
    moved(
        history,
        data,
        lambda before, after: (
            before.balancer == after.balancer and first_after.get((after.session, after.balancer)) is after
        ),
    )
    result = fails(history, "nothing-moves")
    assert result.violations[0].faults == [1]
    assert f"fault 1 ({kind} on haproxy-1)" in result.violations[0].text


@FEW
@given(st.data())
def test_a_row_is_missing(data: st.DataObject) -> None:
    history = data.draw(calm()).history()
    place = data.draw(st.integers(0, len(history.snapshots) - 1))
    snapshot = history.snapshots[place]
    label = data.draw(st.sampled_from(sorted(snapshot.rows)))
    history.snapshots[place] = replace(snapshot, rows=snapshot.rows | {label: None})
    assert f"to no server on {snapshot.balancer}" in fails(history, "tables-equal").violations[0].text
    assert "has no row for it" in fails(history, "tables-match-answers").violations[0].text


@FEW
@given(st.data())
def test_a_row_differs(data: st.DataObject) -> None:
    history = data.draw(calm()).history()
    place = data.draw(st.integers(0, len(history.snapshots) - 1))
    snapshot = history.snapshots[place]
    label = data.draw(st.sampled_from(sorted(snapshot.rows)))
    history.snapshots[place] = replace(snapshot, rows=snapshot.rows | {label: ELSEWHERE})
    fails(history, "tables-equal")
    assert f"binds it to {ELSEWHERE}" in fails(history, "tables-match-answers").violations[0].text


@FEW
@given(st.data())
def test_all_tables_are_empty(data: st.DataObject) -> None:
    history = data.draw(calm()).history()
    history.snapshots[:] = [replace(known, rows=dict.fromkeys(known.rows)) for known in history.snapshots]
    fails(history, "tables-equal")


@FEW
@given(st.data())
def test_all_tables_name_another_server(data: st.DataObject) -> None:
    """The balancers agree with each other, and not with what they answered."""
    history = data.draw(calm()).history()
    history.snapshots[:] = [replace(known, rows=dict.fromkeys(known.rows, ELSEWHERE)) for known in history.snapshots]
    assert judged(history, "tables-equal").verdict is Verdict.PASS
    fails(history, "tables-match-answers")


@FEW
@given(st.data(), st.sampled_from(("fail", "info")))
def test_a_request_fails(data: st.DataObject, outcome: str) -> None:
    history = data.draw(calm()).history()
    place = data.draw(st.integers(0, len(history.operations) - 1))
    failed = replace(history.operations[place], outcome=outcome, server=None, status=503)
    history.operations[place] = failed
    result = fails(history, "no-failed-request")
    assert result.violations[0].operations == [failed.index]


@FEW
@given(st.data(), st.sampled_from(get_args(Kind)))
def test_a_fault_without_evidence(data: st.DataObject, kind: Kind) -> None:
    history = data.draw(calm(kind)).history()
    for evidence in ([], UNSEEN, SEEN + UNSEEN):
        history.faults[0] = replace(history.faults[0], evidence=evidence)
        result = judged(history, "faults-happened")
        assert (result.verdict, result.violations) == (Verdict.UNKNOWN, [])
        assert f"fault 1 ({kind} on haproxy-1)" in result.summary


@FEW
@given(st.data(), st.sampled_from(get_args(Kind)))
def test_something_is_left(data: st.DataObject, kind: Kind) -> None:
    for change in ({"healed_ns": None}, {"heal_evidence": UNSEEN}):
        history = data.draw(calm(kind)).history()
        history.faults[0] = replace(history.faults[0], **change)
        fails(history, "everything-healed")
    history = data.draw(calm(kind)).history()
    history.cleanups[-1] = replace(history.cleanups[-1], found=["process 4 is stopped"])
    fails(history, "everything-healed")


@FEW
@given(st.data())
def test_a_balancer_deviates(data: st.DataObject) -> None:
    history = data.draw(calm()).history()
    history.inspections[0] = replace(history.inspections[0], deviations=["the peers section is missing"])
    fails(history, "as-intended")


@FEW
@given(st.data())
def test_a_row_never_arrives(data: st.DataObject) -> None:
    history = data.draw(calm()).history()
    history.lags[0] = replace(history.lags[0], lag_ns=None)
    fails(history, "rows-arrive")


@FEW
@given(st.data())
def test_sessions_share_a_row(data: st.DataObject) -> None:
    history = data.draw(calm()).history()
    session = history.sessions[0]
    history.sessions[0] = replace(session, key="x" * 40, issued_by="server")
    fails(history, "own-row")
    assert "has 40 characters, the table keeps 32" in fails(history, "tables-equal").violations[0].text
    history.sessions[0] = replace(session, key=history.sessions[1].key)
    fails(history, "own-row")


@FEW
@given(st.integers(0, 99), st.sampled_from((2, 3)))
def test_no_agreement_after_the_touch(apart: int, asked: int) -> None:
    steps = [Ask(0, 0, 0, choice=0), Ask(apart, 0, 1, choice=1), *(Ask(2 * REST, 0, n % 2) for n in range(asked))]
    history = World(2, 2, steps).history()
    history.operations[3] = replace(history.operations[3], server=ELSEWHERE)
    result = fails(history, "agree-after-touch")
    assert result.violations[0].operations == [0, 1, 2, 3]


# A model that is broken itself.


@FEW
@given(st.data())
def test_balancers_that_push_nothing(data: st.DataObject) -> None:
    history = data.draw(calm(ails="peers")).history()
    fails(history, "balancers-agree")
    assert judged(history, "one-server-per-session").verdict is Verdict.PASS


@FEW
@given(st.data())
def test_balancers_that_store_nothing(data: st.DataObject) -> None:
    history = data.draw(calm(ails="store")).history()
    fails(history, "tables-equal")
    fails(history, "tables-match-answers")
    verdicts = {judged(history, name).verdict for name in ("one-server-per-session", "balancers-agree")}
    assert Verdict.FAIL in verdicts  # by whichever is asked first, where the sessions were planted or elsewhere


@FEW
@given(st.data())
def test_a_reload_that_loses_the_table(data: st.DataObject) -> None:
    """Told as what it may be, and a failure all the same."""
    history = data.draw(calm("reload", ails="reload")).history()
    result = fails(history, "nothing-moves")
    (fault,) = history.faults
    over = (fault.healed_ns or 0) + history.header.settle_ns
    for violation in result.violations:
        (moved,) = [known for known in history.operations if known.index == violation.operations[-1]]
        assert (violation.cause is not None) is (moved.sent_ns <= over)


# The smallest example.

# Few draws for each step: Hypothesis leaves out such ones easily.
STEPS: list[Step] = [Ask(0, session, balancer) for session in (0, 1) for balancer in (0, 1)]
STEPS += [Ask(0, 0, 0, inward=20, outward=20), Break(0, "reload", 0), Break(0, "reload", 1, lasts=SETTLE)]


@st.composite
def tampered(draw: st.DrawFn) -> History:
    """Requests of any timing, the last of which was answered elsewhere; perhaps across a fault."""
    timed = draw(st.lists(st.tuples(st.integers(0, 10 * SETTLE), st.sampled_from(STEPS)), max_size=12))
    steps: list[Step] = []
    now = 0
    for at, step in sorted(timed, key=lambda pair: pair[0]):
        steps.append(dataclasses.replace(step, wait=at - now))  # one that is left out shifts no other
        now = at
    history = World(2, 3, steps).history()
    assume(history.operations)
    history.operations[-1] = replace(history.operations[-1], server=ELSEWHERE)
    return history


@pytest.mark.parametrize(
    ("name", "faults"), [("one-server-per-session", 0), ("balancers-agree", 0), ("nothing-moves", 1)]
)
def test_the_smallest_history_of_a_moved_session(name: str, faults: int) -> None:
    """One session and two requests, and nothing else: what a person sees is short."""
    found = find(
        tampered(),
        lambda history: judged(history, name).verdict is Verdict.FAIL,
        settings=settings(max_examples=3000, phases=(Phase.generate, Phase.shrink), database=None),
        random=random.Random(1),
    )
    assert (len(found.sessions), len(found.operations), len(found.faults)) == (1, 2, faults)
    (violation,) = judged(found, name).violations
    first, second = found.operations
    assert violation.operations == [first.index, second.index]
    assert violation.text.startswith(f"{first.session} was on {first.server} ({first.balancer}, ")
    if name == "balancers-agree":
        assert second.sent_ns - first.done_ns >= SETTLE
