"""Teller: who hears of a run while it happens; `verify.report.terminal` is the one for people."""

from typing import Protocol

from verify.history import Fault


class Teller(Protocol):
    """Every method may be called from any thread, and returns at once."""

    def scenario(self, name: str, describes: str) -> None:
        """A scenario begins."""

    def phase(self, name: str) -> None:
        """A phase of it begins."""

    def line(self, text: str) -> None:
        """Something happened that people may want to read."""

    def fault(self, fault: Fault) -> None:
        """A fault was injected, or healed if its `healed_ns` says so."""

    def progress(self, done: int, total: int | None, ok: int, fail: int, info: int) -> None:
        """So many requests are done, of so many that are planned."""
