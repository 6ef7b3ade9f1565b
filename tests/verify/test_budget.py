"""Budget: bounded in number, in pace, and by what fails."""

from itertools import pairwise

import pytest

from verify.budget import LOOK_BACK, Budget
from verify.errors import BadUse, BudgetSpent


def budget(cap: int = 1000, error_rate: float = 0.2) -> Budget:
    return Budget(rate=100_000, cap=cap, error_rate=error_rate)


def test_a_run_ends_at_its_cap() -> None:
    bounded = budget(cap=3)
    for _ in range(3):
        bounded.take()
        bounded.count("ok", excused=False)
    with pytest.raises(BudgetSpent, match="stopped at the cap of 3 requests: raise it with --cap"):
        bounded.take()


def test_a_run_ends_when_too_many_fail() -> None:
    failing = budget()
    for number in range(LOOK_BACK):
        failing.count("fail" if number % 4 == 0 else "ok", excused=False)
    with pytest.raises(BudgetSpent, match="5 of the last 20 requests failed"):
        failing.take()


def test_failures_in_a_declared_window_do_not_count() -> None:
    excused = budget()
    for _ in range(LOOK_BACK):
        excused.count("fail", excused=True)
    excused.take()
    assert (excused.fail, excused.spent) == (20, 20)


def test_turns_are_evenly_apart_however_late_one_is_taken() -> None:
    paced = Budget(rate=50, cap=10, error_rate=1)
    turns = [paced.take() for _ in range(4)]
    assert all(later - earlier >= 0.02 - 1e-9 for earlier, later in pairwise(turns))


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ({"rate": 0.0, "cap": 1, "error_rate": 0.1}, "--rate 0 sends nothing"),
        ({"rate": 1.0, "cap": 0, "error_rate": 0.1}, "--cap 0 sends nothing"),
        ({"rate": 1.0, "cap": 1, "error_rate": 0.0}, "--error-rate 0 is no share"),
        ({"rate": 1.0, "cap": 1, "error_rate": 1.1}, "--error-rate 1.1 is no share"),
    ],
)
def test_bounds_that_make_no_sense(bounds: dict[str, float], text: str) -> None:
    with pytest.raises(BadUse, match=text):
        Budget(**bounds)  # type: ignore[arg-type]
