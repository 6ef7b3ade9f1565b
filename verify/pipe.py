"""Pipe: the process that runs the agent, and requests to it over its standard input and output."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import IO, Any

from verify.errors import HostError

Json = Any  # what a JSON text can say

END_SECONDS = 3
STDERR_LINES, LINE_BYTES = 20, 1000


class Request(contextlib.AbstractContextManager["Request"]):
    """A request that is under way; leaving its context says that nobody waits for it any more."""

    def __init__(self, pipe: "Pipe", number: int, what: str) -> None:
        """`what` is how errors call it."""
        self.messages: queue.SimpleQueue[dict[str, Json]] = queue.SimpleQueue()
        self._pipe, self._number, self._what = pipe, number, what
        self._last: dict[str, Json] | None = None

    def __exit__(self, *error: object) -> None:
        """Forgets the request."""
        self._pipe.forget(self._number, finished=self._last is not None)

    def part(self, seconds: float) -> Json | None:
        """Returns the answer's next part, None if it is whole.

        Raises:
            HostError: it failed, nothing came within `seconds`, or the connection is lost.
        """
        if self._last is None:
            try:
                message = self.messages.get(timeout=seconds)
            except queue.Empty:
                raise HostError(self._pipe.name, self._what, None, "") from None
            if "part" in message:
                self._pipe.send({"id": self._number, "do": "more"})
                return message["part"]
            self._last = message
        if error := self._last.get("error"):
            raise HostError(self._pipe.name, self._what, error["rc"], error["text"])
        return None

    def answer(self, seconds: float) -> Json:
        """Returns the answer, dropping parts that were not taken; raises as `part` does."""
        while self.part(seconds) is not None:
            pass
        assert self._last is not None
        return self._last["answer"]


class Pipe:
    """A process that runs the agent. Thread-safe; once it is dead it stays so."""

    def __init__(self, name: str, argv: Sequence[str], source: bytes) -> None:
        """Starts it.

        Args:
            name: the host, as errors call it.
            argv: a command that runs the Python source which it reads first from standard input.
            source: the agent's.
        """
        self.name = name
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the verifier, which may need hosts to heal
        )
        assert self._process.stdin
        assert self._process.stdout
        assert self._process.stderr
        self._stdin: IO[bytes] = self._process.stdin
        self._stdout: IO[bytes] = self._process.stdout
        self._writing, self._state = threading.Lock(), threading.Lock()
        self._pending: dict[int, Request] = {}
        self._number = 0
        self._death: tuple[int, str] | None = None
        self._tail: deque[str] = deque(maxlen=STDERR_LINES)
        self._listener = threading.Thread(target=self._listen, args=(self._process.stderr,), daemon=True)
        self._listener.start()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._write(source)

    @property
    def dead(self) -> bool:
        """Whether the process has ended, or nothing can be heard from it any more."""
        return self._death is not None

    def request(self, what: str, do: str, arguments: Mapping[str, object]) -> Request:
        """Sends a request; `what` is how errors call it.

        Raises:
            HostError: the connection is lost.
        """
        with self._state:
            if self._death:
                raise HostError(self.name, what, *self._death)
            self._number += 1
            number = self._number
            request = self._pending[number] = Request(self, number, what)
        self.send({"id": number, "do": do, **arguments})
        return request

    def send(self, message: Mapping[str, object]) -> None:
        """Sends a message; if nobody reads it, all requests learn so from the process's end."""
        self._write(json.dumps(message).encode() + b"\n")

    def forget(self, number: int, finished: bool) -> None:
        """Drops a request, and tells the agent unless it has finished."""
        with self._state:
            self._pending.pop(number, None)
        if not finished and not self.dead:
            self.send({"id": number, "do": "stop"})

    def close(self) -> None:
        """Ends the agent by its standard input's end; one that does not end then is killed."""
        # A writer that is stuck holds the lock: then there is only the kill.
        if self._writing.acquire(timeout=1):
            with contextlib.suppress(OSError):
                self._stdin.close()
            self._writing.release()
            self._reader.join(END_SECONDS)
        self._kill()
        self._reader.join(END_SECONDS)

    def _write(self, data: bytes) -> None:
        with self._writing, contextlib.suppress(OSError, ValueError):  # ValueError: closed
            self._stdin.write(data)
            self._stdin.flush()

    def _listen(self, stderr: IO[bytes]) -> None:
        for line in iter(lambda: stderr.readline(LINE_BYTES), b""):
            self._tail.append(line.decode(errors="replace").rstrip("\n"))

    def _read(self) -> None:
        try:
            self._deal()
        finally:
            self._end()

    def _deal(self) -> None:
        """Gives answers to those who wait for them, until there are no more."""
        answered = False
        for line in self._stdout:
            if line == b"\n":
                continue
            try:
                message = json.loads(line)
                number = message["id"]
            except (ValueError, TypeError, KeyError):
                # A login shell may greet first; later there is nobody else who may speak here.
                self._tail.append(line[:LINE_BYTES].decode(errors="replace").rstrip("\n"))
                if answered:
                    self._kill()
                    break
                continue
            answered = True
            with self._state:
                request = self._pending.get(number)
            if request:
                request.messages.put(message)

    def _end(self) -> None:
        """Tells all who wait why nothing more will come."""
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._kill()
        self._listener.join(1)
        code = self._process.poll()
        rc = -signal.SIGKILL if code is None else code
        text = "\n".join(self._tail) or "the connection was lost"
        with self._state:
            self._death = rc, text
            waiting = list(self._pending.values())
        for request in waiting:
            request.messages.put({"error": {"rc": rc, "text": text}})

    def _kill(self) -> None:
        """Kills the process and what it started, such as a proxy's command."""
        if self._process.poll() is None:
            # Sudo's process is root's: it ends by its input's end alone.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
