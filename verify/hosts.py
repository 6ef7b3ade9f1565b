"""Host: what the verifier does on a host, as root, over one long ssh connection that runs `verify.agent`."""

import shlex
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import msgspec

from verify.errors import HostError, Refused
from verify.pipe import Json, Pipe, Request
from verify.topology import Connection

# Bounds, in seconds. The connection's own is ssh's: one that gives no sign for 15 s is dead.
CONNECT, GRACE, SILENCE = 40.0, 5.0, 30.0
SSH_OPTIONS = {
    "BatchMode": "yes",
    "ConnectTimeout": "10",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "ControlPath": "none",  # nobody else's connection, which nobody else may end
}
CLOCK_LOOKS = 10
UNDO = "sticky-verify-undo-"

_AGENT = Path(__file__).with_name("agent.py")
# Whom ssh logs in as can hang on ssh's own configuration: the host is asked.
_AS_ROOT = '[ "$(id -u)" = 0 ] || set -- sudo -n "$@"; exec "$@"'
_READ_AGENT = "import sys; exec(compile(sys.stdin.buffer.read({size}), 'agent.py', 'exec'))"


class Facts(msgspec.Struct, frozen=True):
    """What a host is.

    Attributes:
        kind: what it runs on, which decides what faults are possible.
        boot_id: the running kernel's, the same in all containers of one kernel; empty but on Linux.
        python: the version of the Python that runs the agent.
        hostname: what it calls itself.
    """

    kind: Literal["container", "vm", "host"]
    boot_id: str
    python: str
    hostname: str


class Host(AbstractContextManager["Host"]):
    """A host; a context manager, which closes the connection at its end. Thread-safe.

    Nothing is connected before the first call. A call whose connection is lost raises HostError;
    the next one connects anew (a VM may have been rebooted), but not where the lost connection held
    a lock: then every call fails until `close`.
    """

    def __init__(self, name: str, connection: Connection) -> None:
        """`name` is the host's in the inventory."""
        self.name = name
        self._connection = connection
        self._mutex = threading.Lock()
        self._pipe: Pipe | None = None
        self._facts: Facts | None = None
        self._locked = False

    def __exit__(self, *error: object) -> None:
        """Closes the connection."""
        self.close()

    def close(self) -> None:
        """Ends the connection, if there is one, and with it the locks."""
        with self._mutex:
            if self._pipe:
                self._pipe.close()
            self._pipe, self._locked = None, False

    @property
    def facts(self) -> Facts:
        """What the host is, as it was when it was connected last."""
        self._connected()
        assert self._facts
        return self._facts

    def run(self, argv: Sequence[str], seconds: float = 30, check: bool = True) -> str:
        """Runs a command as root and returns what it wrote to standard output.

        Args:
            argv: the command and its arguments; no shell reads them. Texts come untranslated.
            seconds: how long it may take; then it is killed, with its whole process group.
            check: whether an exit status other than 0 is an error.

        Raises:
            HostError: unreachable, too late, or (with `check`) a bad exit status.
        """
        command = shlex.join(argv)
        with self._ask(command, "run", argv=list(argv), within=seconds) as request:
            done = request.answer(seconds + GRACE)
        if check and done["rc"] != 0:
            raise HostError(self.name, command, done["rc"], done["stderr"])
        return str(done["stdout"])

    def cli(self, socket: str, commands: Sequence[str]) -> list[str]:
        """Asks HAProxy through a socket on the host; returns its raw answers, in order.

        Raises:
            HostError: nobody listens, or an answer was broken off.
        """
        with self._ask("; ".join(commands), "cli", socket=socket, commands=list(commands)) as request:
            return [answer["text"] for answer in request.answer(SILENCE + len(commands) / 100)]

    def stream(self, socket: str, command: str) -> Iterator[str]:
        """Asks HAProxy one command; yields the answer's lines, without their ends, as they come.

        HAProxy itself gives up a reader that takes nothing for 10 s.

        Raises:
            HostError: nobody listens, or the answer was broken off.
        """
        with self._ask(command, "stream", socket=socket, command=command) as request:
            while (part := request.part(SILENCE)) is not None:
                yield from part.split("\n")

    def request(self, do: str, **arguments: object) -> Request:
        """Sends the agent a request whose answer is taken later, as a context manager."""
        return self._ask(do, do, **arguments)

    def call(self, do: str, seconds: float = 30, **arguments: object) -> Json:
        """Asks the agent and returns its answer, see `verify.agent`; `seconds` bound it.

        Raises:
            HostError: unreachable, too late, or it can't be done.
        """
        with self.request(do, **arguments) as request:
            return request.answer(seconds)

    def clock(self) -> tuple[int, int]:
        """Returns what to take from the host's monotonic clock to get this machine's, and its error.

        Both in ns: the round trip that was shortest of `CLOCK_LOOKS` tells the difference up to
        half its length. Both are 0 where the kernel is this machine's, as that of containers: it
        has one monotonic clock. (It can have more, by time namespaces: one that is off by more than
        the error is believed.)

        Raises:
            HostError: as `call`.
        """
        best: tuple[int, int] | None = None
        for _ in range(CLOCK_LOOKS):
            before = time.monotonic_ns()
            shown = self.call("clock")
            after = time.monotonic_ns()
            error = (after - before + 1) // 2
            if best is None or error < best[1]:
                best = shown - (before + after) // 2, error
        assert best
        shared = self.facts.boot_id == _boot_id() and abs(best[0]) <= best[1]
        return (0, 0) if shared else best

    def lock(self, path: str, owner: str) -> None:
        """Takes a lock on the host, held until `close`, or until the connection is lost.

        Args:
            path: the lock's file; it stays, and means nothing by itself.
            owner: who takes it and since when, for whoever finds it taken.

        Raises:
            HostError: unreachable, or no such folder.
            Refused: somebody else has it.
        """
        holder = self.call("lock", path=path, owner=owner)
        if holder is not None:
            raise Refused(f"{self.name}: {path} is locked by {holder}: wait until that has ended, or end it")
        self._locked = True

    def arm(self, undo: str, seconds: int, command: str) -> None:
        """Lets systemd run a shell command on the host later, whatever becomes of the verifier.

        Args:
            undo: its name, of letters, digits and `-`.
            seconds: from now.
            command: for /bin/sh.

        Raises:
            HostError: no systemd, or this name is armed already.
        """
        unit = UNDO + undo
        # A timer is up to a minute late by default.
        timer = ["--collect", f"--unit={unit}", f"--on-active={seconds}", "--timer-property=AccuracySec=100ms"]
        self.run(["systemd-run", *timer, "/bin/sh", "-c", command])
        self.run(["systemctl", "is-active", f"{unit}.timer"])

    def disarm(self, undo: str) -> bool:
        """Takes back what `arm` armed; returns whether it was in time: False if it ran, or runs.

        Raises:
            HostError: unreachable, or it can't be stopped.
        """
        timer, service = f"{UNDO}{undo}.timer", f"{UNDO}{undo}.service"
        state = self.run(["systemctl", "show", "--property=SubState", "--value", timer]).strip()
        self.run(["systemctl", "stop", timer, service], check=False)  # one that has run is not there any more
        for unit in (timer, service):
            if self.run(["systemctl", "is-active", unit], check=False).strip() in ("active", "activating"):
                raise HostError(self.name, f"systemctl stop {unit}", 0, "it is active still")
        return state == "waiting"

    def _ask(self, what: str, do: str, **arguments: object) -> Request:
        return self._connected().request(what, do, arguments)

    def _connected(self) -> Pipe:
        """Returns the connection; a dead one that held a lock too, which then says why it is dead."""
        with self._mutex:
            if self._pipe is None or (self._pipe.dead and not self._locked):
                self._pipe = None
                self._pipe, self._facts = self._connect()
            return self._pipe

    def _connect(self) -> tuple[Pipe, Facts]:
        source = _AGENT.read_bytes()
        try:
            pipe = Pipe(self.name, command(self._connection, len(source)), source)
        except OSError as error:
            raise HostError(self.name, "ssh", 127, str(error)) from None
        try:
            with pipe.request("python3", "hello", {}) as request:
                return pipe, msgspec.convert(request.answer(CONNECT), Facts)
        except BaseException:
            pipe.close()
            raise


def command(connection: Connection, size: int) -> list[str]:
    """Returns the command that runs the Python source of `size` bytes which it reads first, as root."""
    python = sys.executable if connection.local else "python3"
    # -I: a json.py that lies about in root's home is none of ours.
    words = ["sh", "-c", _AS_ROOT, "sh", python, "-I", "-c", _READ_AGENT.format(size=size)]
    if connection.local:
        return words
    ssh = ["ssh", "-T"]
    # Before the inventory's arguments: ssh takes the first value that it sees.
    ssh += [word for option, value in SSH_OPTIONS.items() for word in ("-o", f"{option}={value}")]
    ssh += ["-p", str(connection.port)] if connection.port else []
    ssh += ["-l", connection.user] if connection.user else []
    ssh += ["-i", connection.key_file] if connection.key_file else []
    return [*ssh, *connection.ssh_args, connection.address, shlex.join(words)]


def _boot_id() -> str | None:
    """Returns the id of this machine's boot, None but on Linux."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else None
