"""Invariant: something that must hold of every history, and the tally that its judging keeps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest

from verify.history import SECOND, History
from verify.verdict import Result, Verdict, Violation

SHOWN = 20  # violations in a result; the rest is only counted


@dataclass(frozen=True)
class Invariant:
    """Something that must hold.

    Attributes:
        name: as it is printed and as a history's header calls it.
        says: what must hold, one sentence for people.
        judge: judges a history by it. It is pure: the same history gives the same result.
    """

    name: str
    says: str
    judge: Callable[[History], Result]


@dataclass
class Tally:
    """What was seen while one invariant was judged.

    Attributes:
        judged: how many observations could be judged, violations among them.
        unjudged: how many could not.
    """

    judged: int = 0
    unjudged: int = 0
    _found: list[tuple[int, int, int, Callable[[], Violation]]] = field(default_factory=list)

    def violate(self, at_ns: int, proof: int, violation: Callable[[], Violation]) -> None:
        """Counts one judged observation that speaks against the invariant.

        Args:
            at_ns: when it was made.
            proof: how many operations prove it.
            violation: tells of it; only called for the few that are shown.
        """
        self.judged += 1
        self._found.append((proof, at_ns, len(self._found), violation))

    @property
    def violated(self) -> int:
        """How many violations there are."""
        return len(self._found)

    def result(self, invariant: str, summary: str, unknown: str | None = None) -> Result:
        """Returns the result: fail if anything was violated, unknown if nothing was judged.

        Args:
            invariant: its name.
            summary: what was seen, where there is a verdict.
            unknown: why there is none, although something may have been judged; it does not hide
                a violation.
        """
        verdict = Verdict.PASS if self.judged else Verdict.UNKNOWN
        if self._found:
            verdict = Verdict.FAIL
        elif unknown:
            verdict, summary = Verdict.UNKNOWN, unknown
        shown = nsmallest(SHOWN, self._found, key=lambda found: found[:3])
        return Result(
            invariant=invariant,
            verdict=verdict,
            judged=self.judged,
            unjudged=self.unjudged,
            summary=summary,
            violations=[tell() for *_, tell in shown],
            violated=self.violated,
        )


def seconds(ns: int) -> str:
    """Returns a time since the run began, for people: `1.204 s`."""
    return f"{ns / SECOND:.3f} s"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Returns a number and its noun: `1 session`, `3 sessions`."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def listed(words: Sequence[str]) -> str:
    """Returns words as people list them: `a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
