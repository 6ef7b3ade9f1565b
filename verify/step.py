"""Step: one part of a story, and who hears of it."""

from dataclasses import dataclass, field
from typing import Protocol


@dataclass
class Step:
    """One step: what it proves, and, once played, the reasons why it does not hold (none: held)."""

    number: int
    title: str
    proves: str
    reasons: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons


class Teller(Protocol):
    """Hears the story while it happens."""

    def begin(self, step: Step) -> None:
        """A step begins."""

    def line(self, text: str) -> None:
        """Something happened in it."""

    def end(self, step: Step) -> None:
        """It ended, with its reasons."""
