"""Repeats: figures over several runs of one scenario. Pure."""

from collections.abc import Iterable, Sequence

import msgspec

from verify.report.document import Document
from verify.verdict import Verdict

FORMAT = 1
CONFIDENCE = 0.95
# Whose violations are sessions that moved; the others have figures of their own.
MOVES = ("nothing-moves", "one-server-per-session", "balancers-agree")


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """How many of how many.

    Attributes:
        count: what was counted.
        of: among so many.
        upper: the upper bound of the true rate at 95 % where none of n was counted, 1 - 0.05^(1/n), which is
            3/n for many; None where one was, or nothing was seen.
    """

    count: int
    of: int
    upper: float | None

    @classmethod
    def made(cls, count: int, of: int) -> "Rate":
        """Makes one, with its bound."""
        return cls(count=count, of=of, upper=1 - (1 - CONFIDENCE) ** (1 / of) if of and not count else None)

    def __str__(self) -> str:
        """For people: `0 of 10 (< 26 %)`."""
        return f"{self.count} of {self.of}" + ("" if self.upper is None else f" (< {self.upper:.2g})")


class Repeated(msgspec.Struct, frozen=True, kw_only=True):
    """What several runs of one scenario came to.

    Attributes:
        scenario: its name.
        seeds: of the runs, in their order.
        verdicts: of the runs, in their order.
        lost: the runs that failed, of those that came to a verdict. Runs are independent: this bound holds.
        moved: requests that another server answered than before. Those of one run depend on each other: the
            bound is that of as many single tries.
        rows: balancers that lost some of the rows that were put into their table.
        failed: requests that were not answered and had to be.
    """

    scenario: str
    seeds: list[int]
    verdicts: list[Verdict]
    lost: Rate
    moved: Rate
    rows: Rate
    failed: Rate

    @classmethod
    def of(cls, documents: Sequence[Document]) -> "Repeated":
        """Sums up runs of one scenario."""
        verdicts = [document.verdict for document in documents]
        failures = verdicts.count(Verdict.FAIL)
        return cls(
            scenario=documents[0].scenario,
            seeds=[document.seed for document in documents],
            verdicts=verdicts,
            lost=Rate.made(failures, failures + verdicts.count(Verdict.PASS)),
            moved=_rate(documents, MOVES),
            rows=_rate(documents, ("rows-kept",)),
            failed=_rate(documents, ("no-failed-request",)),
        )


class Repeats(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one command.

    Attributes:
        format: the number of this format; a reader refuses one that it does not know.
        verdict: the worst of all runs' ones.
        scenarios: each with its figures, in the order in which they were played first.
    """

    format: int = FORMAT
    verdict: Verdict
    scenarios: list[Repeated]

    @classmethod
    def made(cls, documents: Iterable[Document]) -> "Repeats":
        """Sums up all runs, scenario by scenario."""
        of: dict[str, list[Document]] = {}
        for document in documents:
            of.setdefault(document.scenario, []).append(document)
        found = [Repeated.of(runs) for runs in of.values()]
        return cls(verdict=Verdict.worst(verdict for each in found for verdict in each.verdicts), scenarios=found)

    def to_json(self) -> bytes:
        """Returns it as `--json` writes it."""
        return msgspec.json.format(msgspec.json.encode(self)) + b"\n"


def _rate(documents: Sequence[Document], invariants: Sequence[str]) -> Rate:
    results = [result for document in documents for result in document.results if result.invariant in invariants]
    return Rate.made(sum(result.violated for result in results), sum(result.judged for result in results))
