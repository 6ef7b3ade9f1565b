"""Lints of the tables: whether they are shared, and the same everywhere."""

from collections.abc import Iterator
from itertools import combinations

from verify.lints.lint import Hit, lint, lint_each, listed, pairs, readable
from verify.seen import Seen
from verify.table_text import Table
from verify.topology import Topology

NEARLY_FULL = 0.9


@lint_each(
    "risky",
    "No table keeps sessions: there is nothing to be judged here.",
    "Look at balancers whose configuration has stick-table and stick on.",
    blind=True,
)
def no_sticky_table(seen: Seen) -> Iterator[str]:
    """Whether there is a table that may keep sessions."""
    if not seen.sticky:
        yield f"none of its {len(seen.tables)} tables keeps sessions" if seen.tables else "it has no table"


@lint_each(
    "wrong",
    "A table keeps sessions and is shared with no peer: the other balancers don't know them, and a reload loses them.",
    "Add peers SECTION to the table's stick-table line.",
)
def table_without_peers(seen: Seen) -> Iterator[str]:
    """Whether tables that keep sessions are shared."""
    for table in seen.tables if seen.sections else []:
        if seen.samples.get(table.name) and table.name not in seen.shared:
            yield f"{table.name} binds sessions to servers, and is in no peers section"


@lint(
    "wrong",
    "A table is shared by one balancer, and by another one not.",
    "Give all balancers the same stick-table lines.",
)
def table_missing(seens: list[Seen], topology: Topology | None) -> Iterator[Hit]:
    """Whether all balancers share the same tables."""
    for seen, other in pairs(seens):
        if seen.sections and other.sections and (lacking := other.shared - seen.shared):
            yield seen.balancer, f"it does not share {listed(lacking)}, as {other.balancer} does"


@lint(
    "wrong",
    "A table has different types: peers that look well share nothing of it.",
    "Give the table the same type and len on all balancers.",
)
def type_differs(seens: list[Seen], topology: Topology | None) -> Iterator[Hit]:
    """Whether tables have the same type everywhere."""
    for name, one, other in _common(seens):
        if one[1].type != other[1].type:
            yield None, f"{name} is {one[1].type} on {one[0]}, {other[1].type} on {other[0]}"


@lint(
    "risky",
    "A table has different sizes: the smaller one forgets rows that the other one keeps.",
    "Give the table the same size on all balancers.",
)
def size_differs(seens: list[Seen], topology: Topology | None) -> Iterator[Hit]:
    """Whether tables have the same size everywhere."""
    for name, one, other in _common(seens):
        if one[1].size != other[1].size:
            yield None, f"{name} has room for {one[1].size} rows on {one[0]}, for {other[1].size} on {other[0]}"


@lint_each(
    "risky",
    "A table has hardly room left: when it is full, the oldest sessions are forgotten.",
    "Give the table a greater size (about 250 bytes of memory a row), or a shorter expire.",
)
def table_nearly_full(seen: Seen) -> Iterator[str]:
    """Whether tables that keep sessions have room."""
    for table in seen.sticky:
        if table.used > NEARLY_FULL * table.size:
            yield f"{table.name} holds {table.used} rows of {table.size}"


def _common(seens: list[Seen]) -> Iterator[tuple[str, tuple[str, Table], tuple[str, Table]]]:
    """Gives each shared table with each two balancers that have it."""
    for seen, other in combinations(readable(seens), 2):
        for name in sorted(seen.shared | other.shared):
            here, there = seen.table(name), other.table(name)
            if here and there:
                yield name, (seen.balancer, here), (other.balancer, there)
