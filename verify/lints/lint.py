"""Lint: a function that finds something wrong or risky, with what it means and what to do about it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import msgspec

from verify.seen import Seen
from verify.topology import Topology

# `wrong` loses sessions; `risky` may, or can't be decided; a `note` is worth knowing.
Severity = Literal["wrong", "risky", "note"]
SEVERITIES: tuple[Severity, ...] = ("wrong", "risky", "note")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a lint found.

    Attributes:
        lint: its name.
        balancer: where; None where it concerns all.
        what: what was seen, without any session's key.
        advice: what to do.
    """

    lint: str
    severity: Severity
    balancer: str | None
    what: str
    advice: str


# Where something is, None for all balancers, and what.
Hit = tuple[str | None, str]
Check = Callable[[list[Seen], Topology | None], Iterable[Hit]]


@dataclass(frozen=True)
class Lint:
    """A lint.

    Attributes:
        name: the function's, with hyphens.
        means: what it means where it finds something.
        advice: what to do then.
        blind: whether something could not be seen then, so that nothing wrong is not enough to pass.
    """

    name: str
    severity: Severity
    means: str
    advice: str
    blind: bool
    check: Check


LINTS: dict[str, Lint] = {}


def lint(severity: Severity, means: str, advice: str, *, blind: bool = False) -> Callable[[Check], Check]:
    """Makes a lint of a function over all balancers."""

    def register(check: Check) -> Check:
        name = check.__name__.replace("_", "-")
        LINTS[name] = Lint(name, severity, means, advice, blind, check)
        return check

    return register


def lint_each(
    severity: Severity, means: str, advice: str, *, blind: bool = False
) -> Callable[[Callable[[Seen], Iterable[str]]], Check]:
    """Makes a lint of a function over one balancer that could be read."""

    def register(check: Callable[[Seen], Iterable[str]]) -> Check:
        def check_each(seens: list[Seen], _: Topology | None) -> Iterator[Hit]:
            return ((seen.balancer, what) for seen in readable(seens) for what in check(seen))

        check_each.__name__ = check.__name__
        return lint(severity, means, advice, blind=blind)(check_each)

    return register


def readable(seens: list[Seen]) -> list[Seen]:
    """Returns the balancers that could be read."""
    return [seen for seen in seens if not seen.error]


def pairs(seens: list[Seen]) -> Iterator[tuple[Seen, Seen]]:
    """Gives each balancer with each other one, both ways."""
    return permutations(readable(seens), 2)


def listed(names: Iterable[str]) -> str:
    """Returns names in order, with commas."""
    return ", ".join(sorted(names))
