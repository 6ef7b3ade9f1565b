"""Agent: does on a host, as root, what the verifier asks for, over one long ssh connection.

`verify.hosts` sends this file's text to the host's Python (3.9 or later, standard library only):
nothing is installed, and nothing is written but a lock's file. One JSON object a line::

    {"id": 7, "do": "run", ...}     a request; each is served in a thread of its own
    {"id": 7, "part": ...}          a piece of a long answer, `AHEAD` at most that were not taken
    {"id": 7, "do": "more"}         one piece was taken
    {"id": 7, "do": "stop"}         nobody waits for that answer any more
    {"id": 7, "answer": ...}        the answer's end, or
    {"id": 7, "error": {"rc": ..., "text": ...}}

Times are nanoseconds of the host's monotonic clock. The agent ends with its standard input.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

AHEAD = 8  # parts
CHUNK = 65536  # bytes
INFO = "show info"
SOCKET_SECONDS = 10  # HAProxy's own patience with a client of its runtime API
ALIVE_SECONDS = 30  # without traffic from here, sshd would not notice for hours that a verifier's machine is gone


class Failed(Exception):
    """A request can't be done; `rc` is None where it was not done in time."""

    def __init__(self, rc: int | None, text: str) -> None:
        """`text` says why."""
        super().__init__(text)
        self.rc, self.text = rc, text


writing = threading.Lock()
running: dict[int, subprocess.Popen[str]] = {}
locks: list[int] = []


def say(message: dict[str, Any] | None) -> None:
    """Writes a message, or None for an empty line; ends the agent where nobody reads any more."""
    line = b"" if message is None else json.dumps(message).encode()
    try:
        with writing:
            sys.stdout.buffer.write(line + b"\n")
            sys.stdout.buffer.flush()
    except OSError:
        end()


class Request:
    """One request while it is served."""

    def __init__(self, number: int) -> None:
        """`number` is the id that its answers carry."""
        self.number, self.stopped = number, False
        self._wanted = threading.Semaphore(AHEAD)

    def more(self) -> None:
        """One more part is wanted."""
        self._wanted.release()

    def stop(self) -> None:
        """Nobody waits any more."""
        self.stopped = True
        self._wanted.release()

    def part(self, part: object) -> None:
        """Sends a part once it is wanted; one that nobody waits for is dropped."""
        self._wanted.acquire()
        if not self.stopped:
            say({"id": self.number, "part": part})


def hello(_: Request) -> dict[str, str]:
    """Says what the host is."""
    return {
        "kind": kind(),
        "boot_id": text_of("/proc/sys/kernel/random/boot_id").strip(),
        "python": platform.python_version(),
        "hostname": socket.gethostname(),
    }


def kind() -> str:
    """Returns container, vm or host: systemd's word, without systemd by what containers and hypervisors leave."""
    for option, name in (("--container", "container"), ("--vm", "vm")):
        try:
            if subprocess.run(["systemd-detect-virt", "--quiet", option], timeout=10, check=False).returncode == 0:
                return name
        except (OSError, subprocess.TimeoutExpired):
            break
    else:
        return "host"
    marks = ("/run/systemd/container", "/run/.containerenv", "/.dockerenv")
    if any(Path(mark).exists() for mark in marks) or "\0container=" in "\0" + text_of("/proc/1/environ"):
        return "container"
    vendor = text_of("/sys/class/dmi/id/sys_vendor")
    makers = ("QEMU", "KVM", "VMware", "innotek", "Xen", "Microsoft", "Amazon EC2", "Google", "Parallels")
    if " hypervisor" in text_of("/proc/cpuinfo") or any(maker in vendor for maker in makers):
        return "vm"
    return "host"


def text_of(path: str) -> str:
    """Returns a file's text, empty if it can't be read."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def run(_: Request, argv: list[str], within: float) -> dict[str, Any]:
    """Runs a command; after `within` seconds it is killed, with its whole process group."""
    try:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C"},  # texts that can be relied upon
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        return {"rc": 127, "stdout": "", "stderr": str(error)}
    running[child.pid] = child
    try:
        stdout, stderr = child.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        kill(child.pid)
        try:
            stderr = child.communicate(timeout=1)[1]
        except subprocess.TimeoutExpired:
            stderr = "who left its process group is still writing"
        raise Failed(None, stderr) from None
    finally:
        del running[child.pid]
    return {"rc": child.returncode, "stdout": stdout, "stderr": stderr}


def kill(group: int) -> None:
    """Kills a process group, if there is one left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def answer_of(path: str, command: str) -> Iterator[bytes]:
    """Sends HAProxy one command and gives its answer as it comes, in whole lines.

    A connection carries one command, since HAProxy 3.0 runs only the first of several. Its end is
    said, since a master's socket waits for more otherwise (seen with 2.6).
    """
    rest, end = b"", b""
    with socket.socket(socket.AF_UNIX) as api:
        api.settimeout(SOCKET_SECONDS)
        api.connect(path)
        api.sendall(command.encode("utf-8", "surrogateescape") + b"\n")
        api.shutdown(socket.SHUT_WR)
        while True:
            data = api.recv(CHUNK)
            whole, newline, left = (rest + data).rpartition(b"\n")
            end = (end + data)[-2:]
            rest = left
            if newline:
                yield whole + newline
            if not data:
                break
    # Every answer ends with an empty line, but for one that HAProxy broke off: it died, or gave up a slow reader.
    endless = command.startswith(("set ", "clear ")) or " key " in command  # before 1.8
    if rest or (end not in (b"\n", b"\n\n") and not (endless and is_of_before_1_8(path))):
        raise Failed(1, f"{path} broke off its answer")


def is_of_before_1_8(path: str) -> bool:
    """Whether HAProxy is so old that a single row, and work done in silence, end without an empty line."""
    told = re.search(rb"^Version: (\d+)\.(\d+)", b"".join(answer_of(path, INFO)), re.MULTILINE)
    return told is not None and (int(told[1]), int(told[2])) < (1, 8)


def cli(_: Request, socket: str, commands: list[str]) -> list[dict[str, Any]]:
    """Asks HAProxy; an answer's times are those before connecting and when all was read."""
    answers = []
    for command in commands:
        sent = time.monotonic_ns()
        text = b"".join(answer_of(socket, command)).decode("utf-8", "surrogateescape")
        answers.append({"text": text, "sent_ns": sent, "done_ns": time.monotonic_ns()})
    return answers


def stream(request: Request, socket: str, command: str) -> None:
    """Asks HAProxy for a long answer; parts are whole lines, without the last line's end."""
    for chunk in answer_of(socket, command):
        request.part(chunk[:-1].decode("utf-8", "surrogateescape"))
        if request.stopped:
            return


def watch(request: Request, socket: str, table: str, key: str, within: float) -> dict[str, Any]:
    """Looks for a row, `within` seconds long; a part says that the first look missed it.

    Returns:
        `began_ns`; `missed_ns`: when the last look began that missed it; `saw_ns`: when the first
        look that saw it was done; both None where there was none; `looks`: how many there were;
        `gap_ns`: the longest time from one's beginning to the next one's.
    """
    command = f"show table {table} key {key}"
    began = time.monotonic_ns()
    missed, saw, looks, gap = None, None, 0, 0
    while saw is None and not request.stopped:
        sent = time.monotonic_ns()
        if sent - began > within * 1e9:
            break
        text = b"".join(answer_of(socket, command))
        looks += 1
        if b" key=" in text:
            saw = time.monotonic_ns()
        elif text.strip() and not text.startswith(b"# table:"):
            raise Failed(1, text.decode(errors="replace"))
        gap = max(gap, sent - (missed or sent))
        if saw is None:
            if missed is None:
                request.part("missed")
            missed = sent
            # No pause at first, 1 % of the time that it takes later: a row that never comes costs no whole core.
            time.sleep(min((sent - began) / 100e9, 0.01))
    return {"began_ns": began, "missed_ns": missed, "saw_ns": saw, "looks": looks, "gap_ns": gap}


def lock(_: Request, path: str, owner: str) -> str | None:
    """Takes a lock for as long as the agent lives; returns None, or the words of who holds it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        words = os.read(file, 1000).decode(errors="replace").strip()
        os.close(file)
        return words or "somebody"
    os.ftruncate(file, 0)
    os.write(file, owner.encode() + b"\n")
    locks.append(file)
    return None


def clock(_: Request) -> int:
    """Returns what the host's monotonic clock shows."""
    return time.monotonic_ns()


DOES = {does.__name__: does for does in (hello, run, cli, stream, watch, lock, clock)}


def serve(request: Request, do: str, arguments: dict[str, Any]) -> None:
    """Does a request and answers it, whatever happens."""
    message: dict[str, Any]
    try:
        message = {"answer": DOES[do](request, **arguments)}
    except Failed as failed:
        message = {"error": {"rc": failed.rc, "text": failed.text}}
    except socket.timeout:
        message = {"error": {"rc": None, "text": f"nothing within {SOCKET_SECONDS} s"}}
    except OSError as error:
        where = error.filename or arguments.get("socket", do)
        message = {"error": {"rc": 1, "text": f"{where}: {error.strerror}"}}
    except Exception as error:
        message = {"error": {"rc": 1, "text": f"{type(error).__name__}: {error}"}}
    say({"id": request.number, **message})


def stay_noticed() -> None:
    """Writes an empty line now and then."""
    while True:
        time.sleep(ALIVE_SECONDS)
        say(None)


def end(rc: int = 0) -> None:
    """Ends the agent and what it runs; other threads may be anywhere, so nothing is awaited."""
    for group in list(running):
        kill(group)
    os._exit(rc)


def main() -> None:
    """Serves until standard input ends."""
    requests: dict[int, Request] = {}

    def thread(request: Request, do: str, arguments: dict[str, Any]) -> None:
        serve(request, do, arguments)
        requests.pop(request.number, None)

    threading.Thread(target=stay_noticed, daemon=True).start()
    for line in sys.stdin.buffer:
        arguments = json.loads(line)
        number, do = arguments.pop("id"), arguments.pop("do")
        if do in ("more", "stop"):
            if number in requests:
                getattr(requests[number], do)()
        elif do == "clock":  # at once: a thread's start would blur it
            serve(Request(number), do, arguments)
        else:
            requests[number] = Request(number)
            threading.Thread(target=thread, args=(requests[number], do, arguments), daemon=True).start()


if __name__ == "__main__":
    try:
        main()
    except Exception:
        traceback.print_exc()
        end(1)
    end()
