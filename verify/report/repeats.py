"""Repeats: figures over several runs of one scenario. Pure."""

from collections.abc import Iterable, Sequence

import msgspec

from verify.report.document import Document
from verify.verdict import Verdict

FORMAT = 1
CONFIDENCE = 0.95
# Whose violations are sessions that moved, or that two balancers met at once and sent apart; the others have figures of
# their own.
MOVES = ("nothing-moves", "one-server-per-session", "balancers-agree", "agree-at-once")


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

    @classmethod
    def sum(cls, rates: Iterable["Rate"]) -> "Rate":
        """Adds several up."""
        counted = list(rates)
        return cls.made(sum(rate.count for rate in counted), sum(rate.of for rate in counted))

    def __str__(self) -> str:
        """For people: `0 of 10 (< 26 %)`."""
        return f"{self.count} of {self.of}" + ("" if self.upper is None else f" (< {self.upper:.2g})")


class Once(msgspec.Struct, frozen=True, kw_only=True):
    """What one run came to.

    Attributes:
        run: its name.
        seed: decided sessions, orders and random faults.
        verdict: the worst of its results' ones.
        ended: why it was not played to its end; empty if it was.
        moved: requests that another server answered than before; in `crossing`, sessions that balancers met in the
            same instant and sent to different servers. Those of one run depend on each other: the bound is that of
            as many single tries.
        rows: balancers that lost some of the rows that were put into their table.
        failed: requests that were not answered and had to be.
    """

    run: str
    seed: int
    verdict: Verdict
    ended: str
    moved: Rate
    rows: Rate
    failed: Rate

    @classmethod
    def of(cls, document: Document) -> "Once":
        """Returns the figures of a run."""
        return cls(
            run=document.run,
            seed=document.seed,
            verdict=document.verdict,
            ended=document.ended,
            moved=_rate(document, MOVES),
            rows=_rate(document, ("rows-kept",)),
            failed=_rate(document, ("no-failed-request",)),
        )


class Repeated(msgspec.Struct, frozen=True, kw_only=True):
    """What several runs of one scenario came to.

    Attributes:
        scenario: its name.
        runs: in their order.
        lost: the runs that failed, of those that came to a verdict. Runs are independent: this bound holds.
        moved: over all runs.
        rows: over all runs.
        failed: over all runs.
    """

    scenario: str
    runs: list[Once]
    lost: Rate
    moved: Rate
    rows: Rate
    failed: Rate

    @classmethod
    def of(cls, scenario: str, runs: list[Once]) -> "Repeated":
        """Sums up runs of one scenario."""
        verdicts = [run.verdict for run in runs]
        failures = verdicts.count(Verdict.FAIL)
        return cls(
            scenario=scenario,
            runs=runs,
            lost=Rate.made(failures, failures + verdicts.count(Verdict.PASS)),
            moved=Rate.sum(run.moved for run in runs),
            rows=Rate.sum(run.rows for run in runs),
            failed=Rate.sum(run.failed for run in runs),
        )

    @property
    def verdict(self) -> Verdict:
        """The worst of its runs' ones."""
        return Verdict.worst(run.verdict for run in self.runs)


class Repeats(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one command.

    Attributes:
        format: the number of this format; a reader refuses one that it does not know.
        verdict: the worst of all runs' ones.
        versions: HAProxy's version, by balancer.
        scenarios: each with its figures, in the order in which they were played first.
    """

    format: int = FORMAT
    verdict: Verdict
    versions: dict[str, str]
    scenarios: list[Repeated]

    @classmethod
    def made(cls, documents: Iterable[Document]) -> "Repeats":
        """Sums up all runs, scenario by scenario."""
        of: dict[str, list[Once]] = {}
        versions: dict[str, str] = {}
        for document in documents:
            of.setdefault(document.scenario, []).append(Once.of(document))
            versions |= document.versions
        found = [Repeated.of(scenario, runs) for scenario, runs in of.items()]
        return cls(verdict=Verdict.worst(each.verdict for each in found), versions=versions, scenarios=found)

    def to_json(self) -> bytes:
        """Returns it as `--json` writes it."""
        return msgspec.json.format(msgspec.json.encode(self)) + b"\n"


def _rate(document: Document, invariants: Sequence[str]) -> Rate:
    results = [result for result in document.results if result.invariant in invariants]
    return Rate.made(sum(result.violated for result in results), sum(result.judged for result in results))
