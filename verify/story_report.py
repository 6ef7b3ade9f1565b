"""Report: tells the story on standard output and ends it in one line of verdict."""

from collections.abc import Sequence

from rich.console import Console
from rich.status import Status

from verify.errors import EXIT_FAIL, EXIT_PASS, EXIT_UNKNOWN
from verify.step import Step


def verdict(steps: Sequence[Step], sessions: int, answers: int) -> tuple[int, str]:
    """Judges a story that was played to its end.

    Args:
        steps: those that were played.
        sessions: how many sessions were planted.
        answers: how many requests a backend answered; none means that nothing was observed.

    Returns:
        The exit code (pass, fail or unknown) and the one line that says why.
    """
    if not steps or not sessions or not answers:
        return EXIT_UNKNOWN, "UNKNOWN: no backend answered, so nothing was observed"
    failed = [step for step in steps if not step.held]
    if not failed:
        seen = f"{sessions} sessions, {answers} answers"
        return EXIT_PASS, f"PASS: all {len(steps)} steps held ({seen})"
    numbers = ", ".join(str(step.number) for step in failed)
    more = len(failed[0].reasons) - 1
    why = failed[0].reasons[0] + (f" (and {more} more)" if more else "")
    word = "step" if len(failed) == 1 else "steps"
    return EXIT_FAIL, f"FAIL: {word} {numbers} did not hold: {why}"


class Report:
    """A `Teller` that prints: coloured and with a spinner on a terminal, plain lines otherwise."""

    def __init__(self, console: Console | None = None) -> None:
        """`console` is for tests; standard output by default."""
        self._console = console or Console(highlight=False)
        self._status: Status | None = None

    def begin(self, step: Step) -> None:
        """Prints a step's title and what it proves."""
        self._print(f"\n{step.number}. {step.title}", "bold")
        self._print(f"   {step.proves}", "dim")
        if self._console.is_terminal:
            self._status = self._console.status(step.title)
            self._status.start()

    def line(self, text: str) -> None:
        """Prints what happened in a step."""
        self._print(f"   {text}")

    def end(self, step: Step) -> None:
        """Prints whether the step held, and each reason why not."""
        self.close()
        if step.held:
            self._print("   held", "green")
        for reason in step.reasons:
            self._print(f"   did not hold: {reason}", "red")

    def evidence(self, lines: Sequence[str]) -> None:
        """Prints what may show the cause of a failure."""
        self._print("\nEvidence", "bold")
        for line in lines:
            self._print(line, "dim")

    def verdict(self, code: int, text: str) -> None:
        """Prints the last line."""
        style = {EXIT_PASS: "bold green", EXIT_FAIL: "bold red"}.get(code, "bold yellow")
        self._print(f"\n{text}", style)

    def close(self) -> None:
        """Takes the spinner away, if there is one."""
        if self._status:
            self._status.stop()
            self._status = None

    def _print(self, text: str, style: str = "") -> None:
        # What comes from a host is no markup, and a pipe has no width.
        self._console.print(text, style=style, markup=False, soft_wrap=True)
