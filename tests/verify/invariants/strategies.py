"""Strategies: legal histories of all kinds, and calm ones in which everything can be judged."""

from typing import get_args

from hypothesis import strategies as st

from tests.verify.invariants.model import World
from tests.verify.invariants.steps import SETTLE, Ask, Break, Kind, Read, Step

KINDS = get_args(Kind)
# Around the settle time, and far from it on both sides.
WAITS = st.sampled_from((0, 1, 2, 30, 70, 99, 100, 101, 150, 250, 600))
SHORT = st.sampled_from((0, 1, 2, 50, 250))
SMALL = st.integers(0, 3)
REST = 2 * SETTLE

ASKS = st.builds(Ask, WAITS, st.integers(0, 1), st.integers(0, 2), SHORT, SHORT, SMALL)
DARK_ASKS = st.builds(
    Ask, WAITS, st.integers(0, 1), SMALL, SHORT, SHORT, SMALL, st.sampled_from(("nameless", "late", "lost", "refused"))
)
BREAKS = st.builds(Break, WAITS, st.sampled_from(KINDS), SMALL, WAITS, st.sampled_from((0, 1, 40, 130)))
STEPS: st.SearchStrategy[Step] = st.one_of(ASKS, ASKS, ASKS, ASKS, DARK_ASKS, BREAKS, st.builds(Read, WAITS))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Anything goes: requests race, outcomes are unknown, faults overlap with them and each other."""
    pace = draw(st.integers(0, 40))
    return World(
        balancers=draw(st.integers(1, 3)),
        servers=draw(st.integers(1, 4)),
        steps=draw(st.lists(STEPS, min_size=8, max_size=30)),
        pace=pace,
        travel=draw(st.lists(st.integers(0, SETTLE - 1 - pace), min_size=1, max_size=5)),
    )


@st.composite
def calm(draw: st.DrawFn, kind: Kind | None = None, ails: str = "", least: int = 2) -> World:
    """Each session is planted, asked everywhere, perhaps across a fault, and asked everywhere; nothing races.

    A balancer that knows nothing of a session sends it elsewhere than where it was planted. After
    the fault the first balancer, which had it, is asked first.
    """
    balancers, sessions = draw(st.integers(2, 3)), draw(st.integers(least, 4))
    everywhere = [(session, balancer) for session in range(sessions) for balancer in range(balancers)]

    def ask() -> list[Step]:
        order = draw(st.permutations(everywhere))
        if kind:
            order = sorted(order, key=lambda pair: pair[1])
        return [Ask(REST, session, balancer, choice=session + 1) for session, balancer in order]

    planted: list[Step] = [
        Ask(REST, session, draw(st.integers(0, balancers - 1)), choice=session) for session in range(sessions)
    ]
    fault: list[Step] = [Break(REST, kind, 0, lasts=draw(WAITS)), Read(1000)] if kind else []
    return World(balancers, draw(st.integers(2, 4)), [*planted, *ask(), *fault, *ask()], ails=ails)
