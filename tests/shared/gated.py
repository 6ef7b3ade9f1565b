"""HAProxies from packages, on loopback, with the session guard's gate: what its tests and its benchmark start.

Each runs under a master, in the root file system that scripts/haproxy-check unpacked, with /proc as on a host, and in a
chroot of its own as the stock configuration has it. Ports and the names of sockets belong to one run of the tests.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import jinja2

ROOT = Path(__file__).parents[2]
GATE = ROOT / "roles/session_guard/templates/gate.lua.j2"
COOKIE = "req.cook(JSESSIONID)"
SUITES = {"ubuntu": ["jammy", "noble"], "debian": ["bookworm", "trixie", "forky"]}.get(
    os.environ.get("STICKY_BINARIES", ""), ["bookworm", "forky"]
)
SECONDS = 20  # for what has to happen


def wait_for(what: str, condition: Callable[[], Any], seconds: float = SECONDS) -> None:
    """Waits for a state; fails with what was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}, in vain"
        time.sleep(0.01)


def as_root(*command: str) -> tuple[list[str], str]:
    """Gives a command that runs as root, and the file that it reads: sudo's password, if scripts/with-root asked."""
    if os.geteuid() == 0:
        return list(command), os.devnull
    return ["sudo", "--stdin", "--prompt=", *command], os.environ.get("ANSIBLE_BECOME_PASSWORD_FILE", os.devnull)


def run_as_root(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command as root to its end."""
    argv, password = as_root(*command)
    with Path(password).open() as stdin:
        return subprocess.run(argv, stdin=stdin, capture_output=True, text=True, timeout=600, check=False)


def free_ports(number: int) -> list[int]:
    """Gives ports of loopback that nobody uses now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@dataclass
class Haproxy:
    """One HAProxy: a master and its workers.

    Attributes:
        root: the root file system that it is taken from.
        folder: where its files are, below that root.
        name: that of its local peer, and of its files.
        front: the port of its frontend.
        peer: the port of its local peer.
    """

    root: Path
    folder: Path
    name: str
    front: int
    peer: int
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def inside(self, file: str) -> str:
        """Gives a file's path as the process sees it."""
        return f"/{(self.folder / file).relative_to(self.root)}"

    @property
    def address(self) -> str:
        """Where the gate asks its own process: in the chroot, which is the folder."""
        return self.inside(f"{self.name}.gate")

    def version(self) -> tuple[int, ...]:
        """Gives major and minor of its version."""
        said = run_as_root("chroot", str(self.root), "/usr/sbin/haproxy", "-v").stdout
        found = re.search(r"version (\d+)\.(\d+)", said)
        assert found, said
        return tuple(map(int, found.groups()))

    def write(self, first: list[str], *others: list[str], gate: str = "") -> None:
        """Writes the configuration, of sections that are a head and further lines, and the gate's Lua."""
        defaults = ["defaults", "mode http", "timeout client 1m", "timeout server 1m", "timeout connect 5s"]
        text = "".join("\n  ".join(section) + "\n" for section in [first, defaults, *others])
        (self.folder / f"{self.name}.cfg").write_text(text)
        (self.folder / f"{self.name}.lua").write_text(gate)

    def program(self, *arguments: str) -> list[str]:
        """Gives the command that runs HAProxy on the configuration."""
        script = 'mount --bind /proc "$0/proc" && exec chroot "$0" /usr/sbin/haproxy "$@"'
        file = self.inside(f"{self.name}.cfg")
        return ["unshare", "--mount", "sh", "-c", script, str(self.root), "-L", self.name, "-f", file, *arguments]

    def check(self) -> subprocess.CompletedProcess[str]:
        """Has HAProxy check the configuration."""
        return run_as_root(*self.program("-c"))

    def start(self) -> Self:
        """Starts it, and waits until a worker answers."""
        argv, password = as_root(*self.program("-Ws", "-S", f"{self.inside(self.name)}.sock,mode,666"))
        with Path(password).open() as stdin, (self.folder / f"{self.name}.log").open("ab") as log:
            process = self.process = subprocess.Popen(argv, stdin=stdin, stdout=log, stderr=log)
        try:
            wait_for(f"a worker of {self.name}", lambda: self.worker() or process.poll() is not None)
            assert process.poll() is None, "it has ended"
        except AssertionError as error:
            raise AssertionError(f"{error}; it said: {self.said()}") from None
        return self

    def said(self) -> str:
        """Gives what it printed."""
        return (self.folder / f"{self.name}.log").read_text()

    def ask(self, command: str, seconds: float = SECONDS) -> str:
        """Sends a command to the master."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(seconds)
            client.connect(str(self.folder / f"{self.name}.sock"))
            client.sendall(command.encode() + b"\n")
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65536), b"")).decode(errors="replace")

    def pids(self) -> list[int]:
        """Gives the processes that the master knows, itself first; none if it does not answer."""
        with suppress(OSError):
            return [
                int(pid) for pid in re.findall(r"^(\d+)\s+(?:master|worker)\b", self.ask("show proc"), re.MULTILINE)
            ]
        return []

    def worker(self) -> int:
        """Gives the process id of the current worker, once it answers; 0 otherwise."""
        with suppress(OSError):
            # 3.2 may never answer what comes while the worker is starting.
            found = re.search(r"^Pid: (\d+)", self.ask("@1 show info", seconds=1), re.MULTILINE)
            return int(found.group(1)) if found else 0
        return 0

    def reload(self) -> None:
        """Has the master start a new worker, and waits until that answers."""
        before = self.worker()
        run_as_root("kill", "-USR2", str(self.pids()[0]))
        wait_for(f"a new worker of {self.name}", lambda: self.worker() not in (0, before))

    def kill(self) -> None:
        """Kills all its processes at once."""
        assert self.process
        pids = {self.process.pid, *self.pids()}
        run_as_root("kill", "-KILL", *map(str, pids))
        self.process.wait(SECONDS)
        wait_for(f"the end of {self.name}", lambda: all(map(ended, pids)))

    def in_sync(self) -> bool:
        """Whether all its peers sections are."""
        flags = re.findall(r"^0x\w+: .* flags=0x(\w+)", self.ask("@1 show peers"), re.MULTILINE)
        return bool(flags) and all(int(found, 16) & 3 == 3 for found in flags)

    def status(self) -> dict[str, Any]:
        """Gives the gate's state."""
        answer = json.loads(self.ask("@1 session-guard status"))
        assert isinstance(answer, dict)
        return answer

    def plant(self, rows: dict[str, int], table: str = "b") -> None:
        """Writes rows, a key's server id each, by commands of a bounded length."""
        commands = [f"@1 set table {table} key {key} data.server_id {number}" for key, number in rows.items()]
        for first in range(0, len(commands), 100):
            answer = self.ask(";".join(commands[first : first + 100]))
            assert not answer.strip(), answer


def ended(pid: int) -> bool:
    """Whether a process has, though its parent may not have taken note."""
    with suppress(OSError):
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    return True


def end(haproxy: Haproxy) -> None:
    """Ends a HAProxy, if it runs."""
    if haproxy.process and haproxy.process.poll() is None:
        haproxy.kill()


def gate(address: str, deadline: float = 600, held: int = 0, spread: int = 100, mark: str = "") -> str:
    """Renders the gate; see its constants."""
    template = jinja2.Template(GATE.read_text(), undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    text: str = template.render(
        __session_guard_socket=address,
        __session_guard_restore_mark=mark,
        session_guard_gate_deadline=deadline,
        session_guard_gate_held=held,
        session_guard_gate_spread=spread,
    )
    return text


@dataclass
class Bench:
    """A place to start HAProxies of one suite in.

    Attributes:
        root: the suite's root file system.
        folder: for the files of this run, below the root.
        stack: what ends with it.
        servers: ports of servers that answer with their names, by name, in the order of their ids.
    """

    root: Path
    folder: Path
    stack: ExitStack
    servers: dict[str, int] = field(default_factory=dict)

    def haproxy(self, name: str) -> Haproxy:
        """Gives a HAProxy of its own, which is ended with the bench."""
        made = Haproxy(self.root, self.folder, name, *free_ports(2))
        self.stack.callback(end, made)
        return made

    def configure(
        self,
        haproxy: Haproxy,
        *others: Haproxy,
        lua: str | None = None,
        address: str = "",
        expression: str = COOKIE,
        table: str = "string len 32",
        settings: tuple[str, ...] = (),
        first: int = 1,
    ) -> None:
        """Writes a configuration of a frontend with a sticky backend, `b`.

        Args:
            haproxy: whose.
            others: its remote peers.
            lua: the gate; without one the gate's lines are left out, too.
            address: that of the gate's socket, if not `haproxy.address`.
            expression: what tells a session.
            table: the type of the table.
            settings: further lines of `global`.
            first: the first server's id, from which the others count.
        """
        section = ["global", f"chroot {haproxy.inside('')}", "user haproxy", "group haproxy", *settings]
        rules = []
        if lua is not None:
            if haproxy.version() >= (3, 1):
                section.append("tune.lua.bool-sample-conversion normal")
            section += [
                f"lua-load {haproxy.inside(haproxy.name)}.lua",
                f"stats socket {address or haproxy.address} user haproxy mode 600 level operator backlog 1024",
            ]
            key = "txn.session_guard_1"
            given = f"{{ {expression},set-var({key}) -m found }}"
            shut = "!{ stopping,not,and(proc.session_guard) -m bool } !{ path_beg /health }"
            new = "{ res.cook(JSESSIONID),set-var(txn.session_guard_new) -m found }"
            rules = [
                f"http-request lua.session_guard b {key} if {given} {shut} !{{ var({key}),in_table(b) }}",
                f"http-response lua.session_guard_tell b {key} if {{ stopping }} {{ var({key}) -m found }}",
                f"http-response lua.session_guard_tell b txn.session_guard_new if {{ stopping }} {new}",
            ]
            rules.append("use-server %[var(txn.session_guard_server)] if { var(txn.session_guard_server) -m found }")
        rules += [f"stick-table type {table} size 1m expire 30m peers pp", f"stick on {expression}"]
        rules.append("stick store-response res.cook(JSESSIONID)")
        named = enumerate(self.servers.items(), first)
        servers = [f"server {name} 127.0.0.1:{port} id {number}" for number, (name, port) in named]
        peers = [
            f"peer {one.name} 127.0.0.1:{one.peer}" for one in sorted([haproxy, *others], key=lambda one: one.name)
        ]
        haproxy.write(
            section,
            ["peers pp", *peers],
            ["frontend f", f"bind 127.0.0.1:{haproxy.front}", "default_backend b"],
            ["backend b", *rules, *servers],
            gate=lua or "",
        )


@contextmanager
def bench_of(suite: str) -> Iterator[Bench]:
    """Gives a bench with four servers; everything that was started on it ends with the context."""
    nothing = ROOT / ".cache/nothing"
    nothing.mkdir(parents=True, exist_ok=True)
    done = run_as_root(str(ROOT / "scripts/haproxy-check"), suite, str(nothing))
    root = (ROOT / ".cache/haproxy" / suite).resolve()
    assert (root / "complete").exists(), done.stderr
    (root / "proc").mkdir(exist_ok=True)
    with ExitStack() as stack:
        folder = root / "tmp" / f"gate-{os.getpid()}"
        folder.mkdir()
        stack.callback(shutil.rmtree, folder)
        bench = Bench(root, folder, stack)
        ports = free_ports(4)
        web = bench.haproxy("web")
        fronts = [
            [
                f"frontend s{number}",
                f"bind 127.0.0.1:{port}",
                f"http-request return status 200 content-type text/plain string s{number}",
            ]
            for number, port in enumerate(ports, 1)
        ]
        web.write(["global", "maxconn 9000"], *fronts)
        web.start()
        bench.servers = {f"s{number}": port for number, port in enumerate(ports, 1)}
        yield bench
