"""The judging: right answers hold, and each kind of wrong answer is named."""

import pytest

from verify import invariants

HOMES = {"00101": 6, "00102": 1, "00103": 2, "00104": 3, "00105": 4}


@pytest.mark.parametrize(
    ("backends", "rotation", "in_turn"),
    [
        ([3, 4, 5, 6, 1], [1, 2, 3, 4, 5, 6], True),
        ([1, 2, 1, 2, 1], [1, 2], True),
        ([2, 6, 3, 1, 4], [6, 3, 1, 4, 5, 2], True),  # some servers were down before
        ([1, 2, 3], [6, 3, 1, 4, 5, 2], False),
        ([4, 3, 2, 1, 6], [1, 2, 3, 4, 5, 6], False),
        ([1, 2, 4, 5, 6], [1, 2, 3, 4, 5, 6], False),
        ([1, 1, 1], [1, 2, 3, 4, 5, 6], False),
        ([6, 7, 1], [1, 2, 3, 4, 5, 6], False),
        ([1, None, 3], [1, 2, 3, 4, 5, 6], False),
    ],
)
def test_in_rotation(backends: list[int | None], rotation: list[int], in_turn: bool) -> None:
    """Each the successor of the one before, and all of them answers."""
    assert invariants.in_rotation(backends, rotation) is in_turn
    assert bool(invariants.not_in_turn(backends, rotation)) is not in_turn
    assert bool(invariants.followed_own_turn(backends, rotation)) is in_turn


@pytest.mark.parametrize("homes", [HOMES, {"a": 1, "b": 2, "c": 1, "d": 2, "e": 1}])
def test_order_off_rotation(homes: dict[str, int]) -> None:
    """The right answers to such an order are never a rotation, over two servers either."""
    rotation = list(range(1, max(homes.values()) + 1))
    order = invariants.order_off_rotation(homes, rotation)
    assert sorted(order) == sorted(homes)
    assert not invariants.in_rotation([homes[label] for label in order], rotation)


def test_same_backends_hold() -> None:
    """In any order, and more than once."""
    answers = [*reversed(HOMES.items()), *HOMES.items()]
    assert invariants.moved(HOMES, answers) == []


def test_moved_session() -> None:
    """Only the session that moved is named."""
    answers = list((HOMES | {"00103": 5}).items())
    assert invariants.moved(HOMES, answers) == ["session 00103 moved from backend 2 to 5"]


def test_replay_of_a_balancer_that_knows_nothing() -> None:
    """Round-robin answers to a backwards replay fail twice: moved, and in its own turn."""
    order = invariants.order_off_rotation(HOMES, [1, 2, 3, 4, 5, 6])
    answers = list(zip(order, [2, 3, 4, 5, 6], strict=True))
    assert invariants.moved(HOMES, answers)
    assert invariants.followed_own_turn([backend for _, backend in answers], [1, 2, 3, 4, 5, 6])


def test_no_answer() -> None:
    """An error page or a refused connection is no backend's answer."""
    assert invariants.moved(HOMES, [("00101", None)]) == ["session 00101 got no backend's answer"]


def test_nothing_asked_and_nothing_planted() -> None:
    """Nothing observed never holds."""
    assert invariants.moved(HOMES, []) == ["no session was asked"]
    assert invariants.moved({}, [("00101", 6)]) == ["session 00101 was never planted"]


def test_issued_sessions() -> None:
    """Two sessions of their own, which fit into the key."""
    assert invariants.not_issued(["a" * 32, "b" * 24]) == []


@pytest.mark.parametrize(
    ("cookies", "reason"),
    [
        (["a" * 33, "b"], "33 characters"),
        ([None, "b"], "no session"),
        (["", "b"], "no session"),
        (["a", "a"], "the same session"),
    ],
)
def test_wrongly_issued_sessions(cookies: list[str | None], reason: str) -> None:
    """Too long, absent, empty, or not fresh."""
    assert reason in "; ".join(invariants.not_issued(cookies))


def test_missing_row() -> None:
    """The balancer and the session are named."""
    bindings = {"00001": "web-1", "00002": None}
    assert invariants.missing(bindings, "haproxy-2") == ["haproxy-2 has no row for 00002"]
    assert invariants.missing({"00001": "web-1"}, "haproxy-2") == []


def test_equal_tables() -> None:
    """Equal whatever the order."""
    assert invariants.unequal({"a": "web-1", "b": "web-2"}, {"b": "web-2", "a": "web-1"}) == []


@pytest.mark.parametrize("second", [{"a": "web-2"}, {"a": None}, {}])
def test_unequal_tables(second: dict[str, str | None]) -> None:
    """Another server, no row, or not even asked for."""
    assert invariants.unequal({"a": "web-1"}, second)
    assert invariants.unequal(second, {"a": "web-1"})


def test_empty_tables_prove_nothing() -> None:
    """Two tables without any of the sessions are not equal."""
    assert invariants.unequal({}, {})
    assert invariants.unequal({"a": None}, {"a": None})
