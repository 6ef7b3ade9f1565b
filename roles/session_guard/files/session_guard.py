#!/usr/bin/env python3
"""Keep the sessions of this host's HAProxy over reloads, restarts and crashes.

Written by Ansible (role session_guard). Standard library only, Python 3.9 and up. The commands `reload`, `stopping` and
`started` are the unit's: systemd runs them, as its drop-in session-guard.conf says. The others are for people:

  lines, check     what haproxy.cfg needs for the gate, and whether it is there
  status           what happened last, and what the gate does
  dump, restore    write the sessions down, and bind them again

Settings are in /etc/haproxy/session-guard/settings.json, state and dumps in /var/lib/session-guard.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import guard_dump
import haproxy_peers
from guard_configuration import Configuration, Table
from haproxy_peers import PeersError

SETTINGS = Path("/etc/haproxy/session-guard/settings.json")
# In seconds, below systemd's own 90; a reload's come on top of its waits.
LIMITS = {"reload": 30, "stopping": 60, "started": 60, "dump": 60}
POLL_SECONDS = 0.05
STALLED_SECONDS = 2.5  # a peer that knows something begins at once; without one HAProxy gives up after 5
PROBE_SECONDS = 0.3
OPENING_SECONDS = 5  # beyond the gate's deadline


class Overtime(Exception):
    """A command was given up; no OSError, which others expect and pass over."""


class Refused(Exception):
    """A reload was refused: nothing was changed; the text says why."""


# --- this host ------------------------------------------------------------------------------------


class Host:
    """The unit, its configuration and the guard's own files."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Take the settings, as the role wrote them."""
        self.settings = settings
        self.state_directory = Path(settings["state"])
        self.configuration = Path(settings["config"])
        self.dump = self.state_directory / "tables.dump"
        self.running_copy = self.state_directory / "running.cfg"
        self.hold = self.state_directory / "hold"
        self.state = self._state()
        haproxy_peers.UNIT = f"{settings['unit']}.service"
        haproxy_peers.CONFIGURATION = self.configuration
        self.arguments = self._arguments()
        if "-S" in self.arguments[:-1]:
            haproxy_peers.MASTER_SOCKET = self.arguments[self.arguments.index("-S") + 1].split(",")[0]

    def _arguments(self) -> list[str]:
        """Give the unit's command line: the running master's, which a reload uses again, or what it would be."""
        master = haproxy_peers.master_pid()
        if master:
            words = Path(f"/proc/{master}/cmdline").read_text().split("\0")[:-1]
            # A reload adds -sf PID... and -x ADDRESS (mworker_reexec in HAProxy's src/haproxy.c).
            text = re.sub(r" -s[ft]( \d+)+| -x \S+", "", " ".join(words))
            return text.split(" ")
        found = re.search(r"argv\[\]=(.*?) ;", haproxy_peers.property_of_unit("ExecStart"))
        own = haproxy_peers.property_of_unit("Environment")
        return [*(found[1].split() if found else []), *re.split(r"[\s\"=]+", own), *haproxy_peers.extra_options()]

    def _state(self) -> dict[str, Any]:
        """Read what was written down."""
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads((self.state_directory / "state.json").read_text()))
        return {}

    def read(self) -> Configuration:
        """Read the configuration as it is on disk."""
        return Configuration(self.configuration.read_text())

    def local_peer(self) -> str:
        """Give the local peer's name."""
        return self.read().local_peer(self.arguments, socket.gethostname())

    def version(self) -> tuple[int, ...]:
        """Give major and minor of the HAProxy that the unit starts."""
        return haproxy_peers.parts(haproxy_peers.version(haproxy_peers.binary()))

    def invocation(self) -> str:
        """Give what systemd tells this start of the unit from others by."""
        return haproxy_peers.property_of_unit("InvocationID")

    def has_lua(self) -> bool:
        """Whether HAProxy was built with Lua."""
        return "+LUA" in haproxy_peers.run(str(haproxy_peers.binary()), "-vv").stdout

    def needs(self, configuration: Configuration) -> dict[str, list[str]]:
        """Give the lines that a configuration needs, by section; none without the gate."""
        if not self.settings["gate"]:
            return {}
        given = self.settings
        return configuration.needs(given["lua"], given["socket"], given["exempt"], given["bounds"], self.version())

    def unserved(self, configuration: Configuration) -> list[str]:
        """Say what of a configuration the guard can't serve."""
        return configuration.unserved(self.version(), self.has_lua(), "-S" in self.arguments)

    def keep_running_copy(self) -> None:
        """Keep a copy of the configuration that runs now."""
        self.write(self.running_copy, self.configuration.read_text())

    def record(self, **found: object) -> None:
        """Write down what happened: in state.json, and for Prometheus; the timer may have done so meanwhile."""
        self.state = {**self.state, **self._state(), **found}
        if gate := gate_status():
            self.state["gate"] = gate
        files = [(self.state_directory / "state.json", json.dumps(self.state, indent=1) + "\n", 0o600)]
        if self.settings["textfile"]:
            files.append((Path(self.settings["textfile"]), metrics(self.state), 0o644))
        for file in files:
            self.write(*file)

    def write(self, file: Path, text: str, mode: int = 0o600) -> None:
        """Replace a file by a whole one; a full disk is a line in the log."""
        try:
            write(file, text, mode)
        except OSError as error:
            log(f"{file} could not be written: {error.strerror}")


def log(text: str) -> None:
    """Say something; what a unit's commands say is in the journal."""
    print(f"session-guard: {text}", file=sys.stderr, flush=True)


def write(file: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file by a whole one."""
    temporary = file.with_name(f".{file.name}.new")
    temporary.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as into:
            into.write(text)
        temporary.chmod(mode)
        temporary.replace(file)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def limit(bound: float, what: str) -> Iterator[None]:
    """Bound what is done in it, in seconds; Overtime beyond."""

    def over(number: int, frame: FrameType | None) -> None:
        raise Overtime(f"{what} was given up after {bound:g} s")

    signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, bound)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


# --- what HAProxy says ----------------------------------------------------------------------------


def gate_status() -> dict[str, Any]:
    """Give what the running worker's gate says of itself; nothing where there is none."""
    try:
        said = haproxy_peers.ask_worker("session-guard status").strip()
        return dict(json.loads(said)) if said.startswith("{") else {}
    except (OSError, PeersError, ValueError):
        return {}


def answering_pid() -> int:
    """Give the process id of the worker that answers now; 0 if none does."""
    found = re.search(r"^Pid: (\d+)", haproxy_peers.ask_worker("show info"), re.MULTILINE)
    return int(found[1]) if found else 0


def open_gate(reason: str) -> None:
    """Open the gate of the running worker, if it has one."""
    if gate_status().get("state") == "shut":
        haproxy_peers.ask_worker(f"session-guard open {reason}")


def peers_sections() -> dict[str, str]:
    """Give the part of `show peers` of each peers section, by its name."""
    said = haproxy_peers.ask_worker("show peers")
    if not haproxy_peers.is_show_peers(said):
        return {}
    return {found[1]: found[0] for found in re.findall(r"((?m:^)0x\w+:.*?\bid=(\S+)(?:.*\n(?!0x))*.*)", said)}


def established(section: str) -> list[str]:
    """Give the names of the remote peers that have a session, from a section's part of `show peers`."""
    return [name for name, _, status in haproxy_peers.remote_peers(section) if status == "ESTA"]


def used(tables: list[Table]) -> int:
    """Give how many rows tables have together."""
    found = re.findall(r"^# table: ([^,]+),.*\bused:(\d+)", haproxy_peers.ask_worker("show table"), re.MULTILINE)
    names = [table.name for table in tables]
    return sum(int(number) for name, number in found if name in names)


def updates(tables: list[Table]) -> list[str]:
    """Give what changes with every change of a row: the worker, and each table's count of updates."""
    found = re.findall(r"\bid=(\S+) update=(\d+)", haproxy_peers.ask_worker("show peers"))
    names = [table.name for table in tables]
    return [str(haproxy_peers.worker_pid()), *sorted(f"{name} {count}" for name, count in found if name in names)]


def refuse_connections(section: str) -> bool:
    """Whether every remote peer of a section refuses connections, or can't be reached at all."""
    for _, address, _ in haproxy_peers.remote_peers(section):
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), PROBE_SECONDS).close()
            return False
        except socket.timeout:  # an alias of TimeoutError only from 3.10 on
            return False
        except OSError:
            continue
    return True


# --- the unit's commands --------------------------------------------------------------------------


def reload(host: Host) -> str:
    """Check, wait for the sync, signal, and wait for the new worker and its gate; say how it went.

    Raises:
        Refused: nothing was changed.
        PeersError: the new worker did not come.
    """
    master = haproxy_peers.master_pid()
    if not master:
        raise Refused(f"{haproxy_peers.UNIT} does not run")
    check_as_unit(host, master)
    worker = haproxy_peers.worker_pid()
    new, local = host.read(), host.local_peer()
    old = Configuration(host.running_copy.read_text()) if host.running_copy.exists() else new
    said, carried = old.changes(new, local)
    if worker:
        try:
            haproxy_peers.wait_until_in_sync(host.settings["reload_wait"])
        except PeersError as error:
            if host.settings["reload_unsynced"] == "refuse":
                raise Refused(f"{error}\n(session_guard_reload_unsynced: proceed would reload nevertheless)") from error
            said.append(f"the running process was not in sync within {host.settings['reload_wait']:g} s")
            carried = {table.name: carried.get(table.name, table.name) for table in old.sticky} | carried
    file = host.state_directory / "carried.dump"
    carried = {name: to for name, to in carried.items() if worker and to in new.tables}
    try:
        if carried:
            try:
                rows = guard_dump.write(file, [table for table in old.sticky if table.name in carried], local)
                write(host.hold, "")
                said.append(f"{sum(rows.values())} rows of {', '.join(carried)} are carried by dump and restore")
            except OSError as error:
                if host.settings["reload_unsynced"] == "refuse":
                    raise Refused(f"{'; '.join(said)}; they can't be carried: {error}") from error
                said.append(f"the rows of {', '.join(carried)} are lost: {error}")
                carried = {}
        os.kill(master, signal.SIGUSR2)
        wait_for_worker(worker)
        if carried:
            counts = guard_dump.restore([file], {name: new.tables[to] for name, to in carried.items()}, True)
            said.append(f"restored: {figures(counts)}")
            open_gate("restored")
    finally:
        host.hold.unlink(missing_ok=True)
        file.unlink(missing_ok=True)
    said += wait_for_opening(host, new)
    host.keep_running_copy()
    return "; ".join(["done with a warning", *said]) if said else "done"


def check_as_unit(host: Host, master: int) -> None:
    """Have HAProxy check the configuration with what the running master would start a new worker with.

    Raises:
        Refused: with HAProxy's own output; a warning that means a lost table is one.
    """
    read = Path(f"/proc/{master}/environ").read_text().split("\0")
    own = dict(row.split("=", 1) for row in read if "=" in row)
    environment = {n: v for n, v in own.items() if not n.startswith("HAPROXY_") and n != "NOTIFY_SOCKET"}
    done = subprocess.run(
        [*host.arguments, "-c"], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    output = (done.stdout + done.stderr).strip()
    if done.returncode != 0:
        raise Refused(f"HAProxy refuses the configuration:\n{output}")
    if lost := haproxy_peers.warnings_about_peers(output):
        raise Refused("HAProxy would run without its peers, and lose the tables:\n" + "\n".join(lost))


def wait_for_worker(before: int) -> None:
    """Wait until the master has another worker than before, which answers.

    From 3.1 on it is the current one before it has loaded its configuration, and the old one answers meanwhile.

    Raises:
        PeersError: not within the bound; the old worker serves on.
    """
    deadline = time.monotonic() + LIMITS["reload"] / 2
    while (worker := haproxy_peers.worker_pid()) in (0, before) or answering_pid() != worker:
        if time.monotonic() > deadline:
            raise PeersError(f"no new worker within {LIMITS['reload'] / 2:g} s; see the unit's journal")
        time.sleep(POLL_SECONDS)


def wait_for_opening(host: Host, configuration: Configuration) -> list[str]:
    """Wait until the new worker answers with all it could learn; give warnings."""
    if not configuration.sticky:
        return []
    deadline = time.monotonic() + host.settings["gate_deadline"] + OPENING_SECONDS
    while (gate := gate_status()).get("state") == "shut":
        if time.monotonic() > deadline:
            return [f"the gate did not open within {host.settings['gate_deadline'] + OPENING_SECONDS:g} s: {gate}"]
        time.sleep(POLL_SECONDS)
    if gate:
        return [] if gate.get("reason") in ("learnt", "restored") else [f"the gate opened by {gate.get('reason')}"]
    try:
        haproxy_peers.wait_until_in_sync(host.settings["reload_wait"])
    except PeersError as error:
        return [str(error).splitlines()[0]]
    return []


def stopping(host: Host) -> str:
    """Close the frontends to new connections and write the tables down; the unit's process ends after it."""
    if not haproxy_peers.worker_pid():
        return "no worker answers: nothing to write down"
    stat = haproxy_peers.ask_worker("show stat").splitlines()
    names = [row.split(",")[0] for row in stat if row.split(",")[1:2] == ["FRONTEND"]]
    for batch in haproxy_peers.batches(f"disable frontend {name}" for name in names):
        haproxy_peers.ask_worker(*batch)
    return dump(host, if_changed=False)


def started(host: Host) -> str:
    """Decide for each peers section whether a peer teaches this process or a dump is restored, and open the gate."""
    deadline = time.monotonic() + LIMITS["started"] / 2
    while not (haproxy_peers.worker_pid() and peers_sections()):
        if time.monotonic() > deadline or not host.read().sticky:
            break
        time.sleep(POLL_SECONDS)
    end = time.monotonic() + host.settings["gate_deadline"]
    configuration = host.read()
    file, known = latest_dump(host)
    said: dict[str, str] = {}
    restored = 0
    for name in dict.fromkeys(table.peers for table in configuration.sticky):
        tables = {table.name: table for table in configuration.sticky if table.peers == name}
        rows = sum(known[table]["rows"] for table in tables if table in known)
        why = wait_for_teacher(name, list(tables.values()), rows, end - host.settings["gate_deadline"] / 2)
        counts: dict[str, int] = {}
        if why not in ("peer", "taught") and file and rows:
            counts = guard_dump.restore([file], tables, missing_only=why == "cold")
            restored += counts["restored"]
        host.record(restore={"time": int(time.time()), "why": why, "section": name, **counts})
        said[name] = why if not counts else f"{WHY[why]}; restored: {figures(counts)}"
    # A gate opens by itself where peers have taught all sections.
    if alone := [name for name, why in said.items() if why != "peer"]:
        while time.monotonic() < end and not set(
            haproxy_peers.unsynced_sections(haproxy_peers.ask_worker("show peers"))
        ) <= {*alone}:
            time.sleep(POLL_SECONDS)
        open_gate("restored" if restored or "taught" in said.values() else "alone")
    host.keep_running_copy()
    host.record(judged=host.invocation())
    return "; ".join(f"peers {name}: {WHY.get(why, why)}" for name, why in said.items()) or "no table is shared"


def latest_dump(host: Host) -> tuple[Path | None, dict[str, dict[str, int]]]:
    """Give the dump that a start restores, and what its head says of its tables; one that can't be read is none."""
    for file in (host.dump, previous(host.dump)) if host.settings["dump"] != "none" else ():
        if file.exists():
            try:
                return file, guard_dump.head_of(file)["tables"]
            except (OSError, ValueError, KeyError) as error:
                log(f"{file} is no dump that this program reads: {error}")
    return None, {}


WHY = {
    "peer": "a peer teaches this process; nothing was restored",
    "taught": "a peer that has started itself just now has taught what it knows; nothing was restored",
    "cold": "the peers know as little as this process",
    "alone": "no peer answers",
    "refused": "every peer refuses connections",
}


def wait_for_teacher(name: str, tables: list[Table], rows: int, deadline: float) -> str:
    """Wait until it is known whether a peer teaches this process; give a word of WHY.

    Args:
        name: a peers section.
        tables: its tables.
        rows: how many of theirs a dump has.
        deadline: on the monotonic clock; a peer that has not answered by then does not count.
    """
    there, since = -1, time.monotonic()
    while True:
        section = peers_sections().get(name, "")
        if established(section):
            now = used(tables)
            if not haproxy_peers.unsynced_sections(section):
                return "peer" if now or not rows else "cold"
            if now != there:
                there, since = now, time.monotonic()
            elif time.monotonic() - since > STALLED_SECONDS and (now * 2 < rows or now * 10 >= rows * 9):
                # Two that started together: both wait for the other's word for 5 s, and a gate would open on nothing.
                return "cold" if now * 2 < rows else "taught"
            elif time.monotonic() > deadline + STALLED_SECONDS:
                return "taught"
        elif refuse_connections(section):
            return "refused"
        elif time.monotonic() > deadline or not haproxy_peers.unsynced_sections(section):
            return "alone"
        time.sleep(POLL_SECONDS)


# --- dump and restore -----------------------------------------------------------------------------


def previous(file: Path) -> Path:
    """Give where the previous generation of a dump is."""
    return file.with_name(f"{file.name}.1")


def figures(counts: dict[str, int]) -> str:
    """Put the counts of a restore into words."""
    words = {
        "restored": "{} rows",
        "there": "{} were there",
        "odd": "{} whose key can't be given back",
        "gone": "{} whose server is no more",
        "refused": "{} refused by HAProxy",
    }
    return ", ".join(
        text.format(counts[name]) for name, text in words.items() if counts.get(name) or name == "restored"
    )


def dump(host: Host, if_changed: bool) -> str:
    """Write the shared tables to the unit's dump, keep the one before; after another dump, if one is under way."""
    with (host.state_directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _dump(host, if_changed)


def _dump(host: Host, if_changed: bool) -> str:
    tables = host.read().sticky
    if not tables or not haproxy_peers.worker_pid():
        return "nothing to dump: no worker answers" if tables else "nothing to dump: no table is shared"
    invocation = host.invocation()
    if host.dump.exists() and host.state.get("judged") != invocation:
        return (
            f"not dumped: whether {host.dump} is to be restored was not decided since the start; `restore` decides it"
        )
    now = updates(tables)
    if if_changed and host.dump.exists() and host.state.get("dump", {}).get("updates") == now:
        host.record()
        return "not dumped: nothing has changed"
    began = time.monotonic()
    temporary = host.dump.with_name("tables.dump.next")
    counts = guard_dump.write(temporary, tables, host.local_peer())
    if host.dump.exists():
        host.dump.replace(previous(host.dump))
    temporary.replace(host.dump)
    spent = round(time.monotonic() - began, 3)
    host.record(
        judged=invocation,
        dump={"time": int(time.time()), "rows": sum(counts.values()), "seconds": spent, "updates": now},
    )
    return f"dumped: {sum(counts.values())} rows in {spent:.2f} s"


def restore(host: Host, files: list[Path], missing: bool) -> str:
    """Restore dumps by hand.

    Raises:
        PeersError: a peer has a session, whose rows are newer than a dump.
    """
    tables = {table.name: table for table in host.read().sticky}
    busy = [peer for section in peers_sections().values() for peer in established(section)]
    if busy and not missing:
        raise PeersError(
            f"peer {', '.join(busy)} has a session with this process, and its rows are newer than a dump;"
            " --missing adds only those that nobody has"
        )
    counts = guard_dump.restore(files or [host.dump], tables, missing)
    open_gate("restored")
    host.record(judged=host.invocation(), restore={"time": int(time.time()), "why": "by hand", **counts})
    return f"restored: {figures(counts)}"


# --- what people read -----------------------------------------------------------------------------


def show_lines(needed: dict[str, list[str]]) -> str:
    """Put the needed lines into words."""
    text = []
    for name, lines in needed.items():
        where = "in this order"
        if name != "global":
            where = "before its other http-request lines; use-server after its other use-server lines"
        text += [f"# In `{name}`, {where}:", *(f"    {line}" for line in lines), ""]
    return "\n".join(text)


def check(host: Host, file: Path | None) -> list[str]:
    """Say what a configuration lacks, and what of it can't be served."""
    configuration = Configuration((file or host.configuration).read_text())
    return (host.unserved(configuration) if host.settings["gate"] else []) + configuration.lacks(
        host.needs(configuration)
    )


def prune(host: Host, dry_run: bool) -> list[str]:
    """Remove the Lua files that no configuration names any more, but for a `dry_run`; give them."""
    configurations = [host.configuration, haproxy_peers.last_good(host.configuration), host.running_copy]
    texts = [file.read_text() for file in configurations if file.exists()]
    current = Path(host.settings["lua"])
    unused = [
        file
        for file in sorted(current.parent.glob("gate-*.lua"))
        if file != current and not any(str(file) in text for text in texts)
    ]
    for file in [] if dry_run else unused:
        file.unlink()
    return [str(file) for file in unused]


def status(host: Host) -> str:
    """Say in words what the gate does, and what happened last."""
    gate, state = gate_status(), host.state
    rows = ["gate: none in the running process"]
    if gate:
        rows = [f"gate: {gate.get('state')}" + (f" ({gate['reason']})" if gate.get("reason") else "")]
        rows[0] += f", {gate.get('kind')}, shut for {gate.get('shut_ms', 0)} ms"
        rows.append(
            f"  held {gate.get('held', 0)} now, {gate.get('held_total', 0)} in all,"
            f" {gate.get('held_most', 0)} at most; passed {gate.get('passed', 0)}; errors {gate.get('errors', 0)}"
        )
    for name in ("reload", "dump", "restore", "fault"):
        if found := state.get(name):
            details = ", ".join(f"{k} {v}" for k, v in found.items() if k not in ("time", "updates") and v != "")
            rows.append(f"{name}: {int(time.time()) - found['time']} s ago: {details}")
    return "\n".join(rows)


def metrics(state: dict[str, Any]) -> str:
    """Put the state into Prometheus's text format."""
    gate, rows = state.get("gate", {}), []

    def add(name: str, value: object, **labels: str) -> None:
        text = ",".join(f'{key}="{label}"' for key, label in labels.items())
        rows.append(f"session_guard_{name}{'{' + text + '}' if text else ''} {value}")

    if gate:
        add("gate_open", int(gate.get("state") == "open"), reason=gate.get("reason") or "", kind=gate.get("kind", ""))
        add("gate_shut_seconds", gate.get("shut_ms", 0) / 1000)
        for name in ("held", "held_most", "held_total", "passed", "errors"):
            add(f"gate_{name}", gate.get(name, 0))
    for name, outcome in (("reload", "outcome"), ("restore", "why"), ("fault", "command")):
        if found := state.get(name):
            add(f"{name}_time_seconds", found["time"], **{outcome: found[outcome]})
    for name in ("dump", "restore"):
        if found := state.get(name):
            add(f"{name}_rows", found.get("rows", found.get("restored", 0)))
    if found := state.get("dump"):
        add("dump_time_seconds", found["time"])
        add("dump_duration_seconds", found["seconds"])
    add("faults_total", state.get("faults", 0))
    return "\n".join([*rows, ""])


# --- the command line -----------------------------------------------------------------------------


def hook(host: Host, name: str, bound: float) -> int:
    """Run one of the unit's commands; a fault in it is told, and never the unit's.

    Returns:
        0, but for a reload that was refused or failed.
    """
    commands: dict[str, Callable[[Host], str]] = {
        "reload": reload,
        "stopping": stopping,
        "started": started,
        "dump": lambda host: dump(host, if_changed=True),
    }
    try:
        with limit(bound, name):
            said = commands[name](host)
    except (Refused, PeersError) as error:
        if name == "reload":
            outcome = "refused" if isinstance(error, Refused) else "failed"
            log(f"reload {outcome}: {error}")
            host.record(reload={"time": int(time.time()), "outcome": outcome, "why": str(error).splitlines()[0]})
            return 1
        return fault(host, name, error)
    except Exception as error:
        return fault(host, name, error) or int(name == "reload")
    if name == "reload":
        outcome, _, why = said.partition("; ")
        host.record(reload={"time": int(time.time()), "outcome": outcome, "why": why})
    log(f"{name}: {said}")
    return 0


def fault(host: Host, name: str, error: Exception) -> int:
    """Tell of a fault in one of the unit's commands."""
    log(f"{name}: {type(error).__name__}: {error}")
    host.record(
        faults=host.state.get("faults", 0) + 1,
        fault={"time": int(time.time()), "command": name, "error": f"{type(error).__name__}: {error}"[:200]},
    )
    return 0


def parser() -> argparse.ArgumentParser:
    """Give the command line's grammar."""
    described = (__doc__ or "").split("\n\nWritten")[0]
    found = argparse.ArgumentParser(
        prog="session-guard", description=described, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--settings", type=Path, default=SETTINGS, help="the guard's settings (%(default)s)")
    found.add_argument("--timeout", type=float, help="give up after so many seconds")
    commands = found.add_subparsers(dest="command", required=True, metavar="COMMAND")
    lines = commands.add_parser(
        "lines", help="print the lines that haproxy.cfg needs, and where; 1 if it can't be served"
    )
    lines.add_argument("--config", type=Path, help="another file than the unit's")
    checks = commands.add_parser("check", help="1 if lines are missing or outdated, each of them named")
    checks.add_argument("file", type=Path, nargs="?", help="another file than the unit's")
    state = commands.add_parser("status", help="what the gate does, and what happened last")
    state.add_argument("--json", action="store_true", help="as JSON")
    dumps = commands.add_parser("dump", help="write the sessions to FILE, or to the dump that the next start restores")
    dumps.add_argument("file", type=Path, nargs="?", metavar="FILE")
    dumps.add_argument("--if-changed", action="store_true", help="as the timer: only if a row has changed")
    restores = commands.add_parser("restore", help="bind what is in dumps again; of several, what lasts longest")
    restores.add_argument("files", type=Path, nargs="*", metavar="FILE")
    restores.add_argument("--missing", action="store_true", help="only rows that are not there; also beside peers")
    commands.add_parser("reload", help="(systemd) reload once in sync; say how it went")
    commands.add_parser("stopping", help="(systemd) close the frontends and write the sessions down")
    commands.add_parser("started", help="(systemd) learn from the peers, or restore; then open the gate")
    prunes = commands.add_parser("prune", help="remove Lua files that no configuration names any more")
    prunes.add_argument("--dry-run", action="store_true", help="only name them")
    return found


def main() -> int:
    """Run one command; 0 done, 1 refused, failed or something is missing, which is then said."""
    arguments = parser().parse_args()
    try:
        host = Host(json.loads(arguments.settings.read_text()))
    except (OSError, ValueError, KeyError) as error:
        log(f"{arguments.settings}: {error!r}")
        return int(arguments.command not in ("stopping", "started"))
    bounds = {**LIMITS, "reload": LIMITS["reload"] + host.settings["reload_wait"] + host.settings["gate_deadline"]}
    name = arguments.command
    bound = arguments.timeout or bounds.get(name, 600)
    if name in ("reload", "stopping", "started") or (name == "dump" and arguments.if_changed):
        return hook(host, name, bound)
    try:
        with limit(bound, name):
            return by_hand(host, arguments)
    except (PeersError, Overtime, OSError, ValueError, subprocess.TimeoutExpired) as error:
        log(str(error))
        return 1


def by_hand(host: Host, arguments: argparse.Namespace) -> int:
    """Run one of the commands that are for people."""
    said: list[str] = []
    failed = False
    if arguments.command == "lines":
        configuration = Configuration((arguments.config or host.configuration).read_text())
        unserved = host.unserved(configuration)
        for sentence in unserved:
            log(sentence)
        said, failed = [show_lines(host.needs(configuration))], bool(unserved)
    elif arguments.command == "check":
        said = check(host, arguments.file)
        failed = bool(said)
    elif arguments.command == "status":
        said = [json.dumps({**host.state, "gate": gate_status()}) if arguments.json else status(host)]
    elif arguments.command == "dump" and arguments.file:
        counts = guard_dump.write(arguments.file, host.read().sticky, host.local_peer())
        said = [f"dumped: {sum(counts.values())} rows"]
    elif arguments.command == "dump":
        host.state["judged"] = host.invocation()  # who asks has decided
        said = [dump(host, if_changed=False)]
    elif arguments.command == "restore":
        said = [restore(host, arguments.files, arguments.missing)]
    elif arguments.command == "prune":
        said = prune(host, arguments.dry_run)
    if said:
        print("\n".join(said))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
