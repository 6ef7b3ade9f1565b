"""What can go wrong while verifying, and the exit code it leads to.

::

    VerifyError            exit 2: nothing can be said about the sessions
    ├── BadUse             exit 64: the caller has to mend something
    │   ├── InventoryError
    │   ├── HistoryError
    │   └── Refused
    ├── HostError
    ├── HttpError
    ├── BudgetSpent
    ├── RuntimeApiError
    └── WaitTimeout

A session that moved is no error: it is a violation (exit 1), see `verify.verdict`.
"""

from typing import ClassVar, Literal

EXIT_PASS, EXIT_FAIL, EXIT_UNKNOWN, EXIT_BAD_USE = 0, 1, 2, 64


class VerifyError(Exception):
    """The verifier could not find out what it wanted to know; its text is one sentence."""

    exit_code: ClassVar[int] = EXIT_UNKNOWN


class BadUse(VerifyError):
    """The command line asks for something that can't be done."""

    exit_code: ClassVar[int] = EXIT_BAD_USE


class InventoryError(BadUse):
    """The inventory does not say what the verifier needs to know."""


class HistoryError(BadUse):
    """A history's file can't be read."""


class Refused(BadUse):
    """A fault was asked for that must not or can't be injected; nothing was changed."""


class HostError(VerifyError):
    """A command on a host failed, or the host could not be reached.

    Attributes:
        command: what was run, as a shell would read it.
        rc: its exit status, 255 where ssh itself failed, None where it did not end in time.
        stderr: what it wrote to standard error.
    """

    def __init__(self, host: str, command: str, rc: int | None, stderr: str) -> None:
        """Keeps the whole command and stderr, and shows the beginning and the last line."""
        self.command, self.rc, self.stderr = command, rc, stderr
        shown = " ".join(command.split())
        shown = shown if len(shown) <= 60 else f"{shown[:60]}..."
        ended = "did not end in time" if rc is None else f"ended with {rc}"
        last = (stderr.strip().splitlines() or ["(nothing on stderr)"])[-1]
        why = f"ssh could not reach it: {last}" if rc == 255 else f"`{shown}` {ended}: {last}"
        super().__init__(f"{host}: {why}")


class HttpError(VerifyError):
    """A URL gave no HTTP answer: refused, closed, or too late.

    Attributes:
        outcome: `fail` where the request certainly reached no server, `info` where it may have.
        closed: whether a connection that had served before was ended before any answer. Either side may do
            that at any time, and clients ask again on another one (RFC 9110, 9.2.2; RFC 9113, 8.7).
    """

    def __init__(self, text: str, outcome: Literal["fail", "info"], closed: bool = False) -> None:
        """`text` is the whole sentence."""
        self.outcome, self.closed = outcome, closed
        super().__init__(text)


class BudgetSpent(VerifyError):
    """The run sent as many requests as it may, or too many of them failed."""


class RuntimeApiError(VerifyError):
    """HAProxy answered a runtime API command with a text that the verifier does not know.

    Attributes:
        text: the whole answer.
    """

    def __init__(self, what: str, text: str) -> None:
        """`what` names the command; the text's first line becomes part of the message."""
        self.text = text
        first = (text.strip().splitlines() or ["nothing at all"])[0]
        super().__init__(f"{what}: HAProxy answered what can't be read: {first}")


class WaitTimeout(VerifyError):
    """A state did not come about within its bound."""

    def __init__(self, what: str, seconds: float, last: VerifyError | None = None) -> None:
        """`what` was waited for, `seconds` long; `last` is what the last look stumbled over."""
        self.what, self.seconds = what, seconds
        why = f" ({last})" if last else ""
        super().__init__(f"waited {seconds:g} s for {what}, in vain{why}")
