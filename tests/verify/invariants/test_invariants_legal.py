"""Whatever HAProxy may do, no invariant fails; and where all can be seen, all pass."""

from collections import Counter
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.verify.invariants.model import World
from tests.verify.invariants.steps import Ask, Break, Kind, Read
from tests.verify.invariants.strategies import REST, calm, worlds
from verify.errors import HistoryError
from verify.history import History, Journal
from verify.invariants import INVARIANTS, judge
from verify.verdict import Verdict

# What a calm history does not have: faults, and a first use on two balancers at once.
NEEDS_FAULTS = {"nothing-moves", "faults-happened"}
NEEDS_RACES = {"agree-after-touch", "agree-at-once"}
# What the model does not have: rows that nobody asks for, and requests that last longer than a fault.
NEEDS_MORE = {"rows-kept", "requests-in-flight"}
# What HAProxy itself does not hold, and must not be failed by.
LEGAL = [name for name in INVARIANTS if name != "agree-at-once"]


@settings(max_examples=1500)
@given(worlds())
def test_a_legal_history_never_fails(world: World) -> None:
    history = world.history(LEGAL)
    failed = [result for result in judge(history) if result.verdict is Verdict.FAIL]
    assert not failed


# What 1.4 million random worlds found that a simpler checker would have called a violation.
RARE = [
    # A row that was sent before the touch comes back by the other balancer's push.
    World(
        2,
        3,
        [Ask(0, 0, 1, 0, 0, 2), Ask(0, 0, 0, 0, 0, 0), Ask(70, 0, 0, 0, 0), Ask(0, 0, 1, 0, 0)],
        pace=33,
        travel=[31, 42, 30, 57, 2],
    ),
    # The same by two pushes, each less than the settle time after the one before.
    World(
        2,
        3,
        [
            Ask(0, 1, 2, 0, 0, 3),
            Ask(0, 1, 1, 0, 0, 2),
            Ask(70, 1, 2, 0, 0, 3),
            Ask(30, 0, 0, 0, 0, 1),
            Ask(0, 1, 1, 0, 0, 3),
        ],
        pace=33,
        travel=[56, 51, 4, 66],
    ),
    # A slow request pushes what was known everywhere long ago.
    World(
        2,
        4,
        [
            Ask(0, 0, 2, 0, 0, 3),
            Ask(0, 1, 1, 250, 0, 3),
            Ask(0, 0, 0, 0, 0, 3),
            Ask(0, 1, 0, 0, 0, 3),
            Ask(0, 1, 1, 0, 0, 0),
            Read(99),
            Ask(70, 1, 1, 250, 0, 0),
            Ask(30, 1, 2, 0, 0, 0),
            Break(70, "server-down", 0, 70, 130),
            Ask(0, 1, 0, 0, 0, 1),
            Read(101),
        ],
        pace=33,
        travel=[6, 25, 17, 56, 18],
    ),
    # An answer from an unknown server, that a crossing first use had put on one that is now down.
    World(
        3,
        4,
        [
            Ask(0, 0, 1, 0, 0, 0),
            Ask(0, 0, 2, 0, 0, 1),
            Break(30, "drain", 0, 250, 40),
            Ask(70, 1, 2, 0, 0, 1),
            Ask(0, 0, 2, 0, 0, 2, "nameless"),
            Read(600),
            Break(100, "maint", 0, 70),
            Ask(0, 0, 0, 0, 0, 1, "nameless"),
        ],
        travel=[38, 75, 39, 43, 39],
    ),
]


@pytest.mark.parametrize("world", RARE)
def test_rare_legal_histories(world: World) -> None:
    assert Verdict.FAIL not in [result.verdict for result in judge(world.history(LEGAL))]


def test_legal_histories_are_judged_at_all() -> None:
    """The test above would prove nothing if most verdicts were unknown."""
    seen: Counter[str] = Counter()

    @given(worlds())
    def collect(world: World) -> None:
        history = world.history(list(INVARIANTS))
        seen.update(result.invariant for result in judge(history) if result.judged)

    collect()
    assert min(seen[name] for name in INVARIANTS if name not in NEEDS_RACES | NEEDS_MORE) >= 10, seen


@given(calm())
def test_all_can_be_seen_without_faults(world: World) -> None:
    for result in judge(
        world.history([name for name in INVARIANTS if name not in NEEDS_FAULTS | NEEDS_RACES | NEEDS_MORE])
    ):
        assert result.verdict is Verdict.PASS, result


@pytest.mark.parametrize("kind", get_args(Kind))
@settings(max_examples=20)
@given(st.data())
def test_all_can_be_seen_across_a_fault(kind: Kind, data: st.DataObject) -> None:
    world = data.draw(calm(kind))
    for result in judge(world.history([name for name in INVARIANTS if name not in NEEDS_RACES | NEEDS_MORE])):
        # Nothing has to stay across a cleared table.
        wanted = Verdict.UNKNOWN if (result.invariant, kind) == ("nothing-moves", "table-clear") else Verdict.PASS
        if kind in ("server-down", "maint") and result.invariant == "nothing-moves" and not result.violations:
            continue  # all sessions may have been on that server
        assert result.verdict is wanted, result


@given(st.integers(0, 99), st.integers(0, 50), st.integers(2, 3))
def test_the_same_new_session_on_two_balancers_at_once(apart: int, travel: int, servers: int) -> None:
    """They may swap their rows; the next touch mends it."""
    first = [Ask(0, 0, 0, choice=0), Ask(apart, 0, 1, choice=1)]
    world = World(2, servers, [*first, Ask(2 * REST, 0, 0), Ask(2 * REST, 0, 1)], travel=[travel])
    (result,) = judge(world.history(["agree-after-touch"]))
    assert (result.verdict, result.judged) == (Verdict.PASS, 1)
    assert "1 of 1 agreed after the next touch" in result.summary


@given(st.integers(0, 1), st.integers(0, 1), st.integers(0, 50))
def test_the_same_new_session_at_once_is_judged_by_the_servers(one: int, other: int, travel: int) -> None:
    """Where they choose before either can know of the other's choice."""
    world = World(2, 2, [Ask(0, 0, 0, choice=one), Ask(0, 0, 1, choice=other)], travel=[travel])
    operations = world.history().operations
    (result,) = judge(world.history(["agree-at-once"]))
    same = len({operation.server for operation in operations}) == 1
    assert (result.verdict, result.judged) == (Verdict.PASS if same else Verdict.FAIL, 1)


@given(worlds())
def test_judging_twice_comes_to_the_same(world: World) -> None:
    names = list(INVARIANTS)
    assert judge(world.history(names)) == judge(world.history(names))


@settings(max_examples=30)
@given(world=worlds())
def test_judging_what_was_written_comes_to_the_same(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A run's file, read again; the broken ones too."""
    for ails in ("", "peers", "store"):
        history = World(world.balancers, world.servers, world.steps, ails=ails).history(list(INVARIANTS))
        path = tmp_path_factory.mktemp("run") / "history.jsonl"
        _write(history, path)
        assert judge(History.read(path)) == judge(history)


def _write(history: History, path: Path) -> None:
    journal = Journal(path)
    journal.write(history.header)
    for records in (
        history.sessions,
        history.operations,
        history.faults,
        history.windows,
        history.snapshots,
        history.lags,
        history.inspections,
        history.cleanups,
    ):
        for record in records:
            journal.write(record)
    journal.close()


def test_the_order_of_the_file_does_not_matter() -> None:
    """Answers are written when they come, and threads write as they like."""
    world = World(2, 3, [Ask(REST, 0, 0), Ask(REST, 0, 1), Break(REST, "reload", 0), Ask(REST, 0, 0)])
    history = world.history(list(INVARIANTS))
    turned = History(**(vars(history) | {"operations": history.operations[::-1]}))
    assert judge(turned) == judge(history)


def test_only_those_named_are_judged_in_that_order() -> None:
    names = ["own-row", "as-intended"]
    assert [result.invariant for result in judge(World(2, 2, []).history(names))] == names


def test_an_unknown_name() -> None:
    with pytest.raises(HistoryError, match="'no-such-thing': there are one-server-per-session, balancers-agree"):
        judge(World(2, 2, []).history(["own-row", "no-such-thing"]))
