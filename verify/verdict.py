"""Verdict: pass, unknown or fail, the worst wins. Pure."""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from verify.errors import EXIT_FAIL, EXIT_PASS, EXIT_UNKNOWN
from verify.history import History


class Verdict(StrEnum):
    """What an invariant, a scenario or a run comes to, as in Jepsen: true, unknown, false."""

    PASS = "pass"
    UNKNOWN = "unknown"
    FAIL = "fail"

    @property
    def exit_code(self) -> int:
        """The exit code of a command that ends in it."""
        return {Verdict.PASS: EXIT_PASS, Verdict.UNKNOWN: EXIT_UNKNOWN, Verdict.FAIL: EXIT_FAIL}[self]

    @staticmethod
    def worst(verdicts: Iterable["Verdict"]) -> "Verdict":
        """Returns the worst of them: fail before unknown before pass; unknown if there is none."""
        order = list(Verdict)
        return max(verdicts, key=order.index, default=Verdict.UNKNOWN)


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that speaks against an invariant.

    Attributes:
        text: one sentence that says what was expected and what was seen.
        session: the session's label, if it concerns one.
        operations: the indices of the operations that prove it, in order: the shortest piece.
        faults: the ids of the faults that it happened across.
        cause: where it is a known loss of HAProxy's own: which, and where that is described.
    """

    text: str
    session: str | None = None
    operations: list[int] = []
    faults: list[int] = []
    cause: str | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What judging one invariant came to.

    Attributes:
        invariant: its name.
        verdict: unknown where nothing was observed that it could be judged by.
        judged: how many observations were judged.
        unjudged: how many could not be: races, unknown servers. They prove nothing either way.
        summary: one sentence.
        violations: the first ones, shortest first.
        violated: how many there are in all.
    """

    invariant: str
    verdict: Verdict
    judged: int
    unjudged: int = 0
    summary: str
    violations: list[Violation] = []
    violated: int = 0


def conclude(history: History, results: Iterable[Result]) -> Verdict:
    """Returns a run's verdict: that of its worst invariant, and no better than unknown if it was cut short."""
    completed = bool(history.ends) and all(end.completed for end in history.ends)
    worst = Verdict.worst(result.verdict for result in results)
    return worst if completed else Verdict.worst([worst, Verdict.UNKNOWN])
