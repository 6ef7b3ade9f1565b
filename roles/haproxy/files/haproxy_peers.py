#!/usr/bin/env python3
"""Check, reload and restart this host's HAProxy without losing what its peers keep.

Written by Ansible (role haproxy) to /usr/local/sbin/haproxy-peers. Standard library only, Python 3.9 and up.

The state of the peers is read from the master socket (`-S` in the unit), which is there whatever
the configuration says; before HAProxy 2.0 nothing tells it. A reload hands the tables to the new
worker only if the old one is itself in sync: bits 0 and 1 of a peers section's `flags` in `show
peers` (resync from the local and from the remote peers is over; PEERS_F_RESYNC_* in HAProxy's
src/peers.c).
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import heapq
import json
import os
import re
import select
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

UNIT = "haproxy.service"
PACKAGED = Path("/usr/sbin/haproxy")
CONFIGURATION = Path("/etc/haproxy/haproxy.cfg")
SYSCONFIG = Path("/etc/sysconfig/haproxy")  # the RHEL family's
ENVIRONMENT = SYSCONFIG if SYSCONFIG.exists() else Path("/etc/default/haproxy")
MASTER_SOCKET = "/run/haproxy-master.sock"
IN_SYNC = 0x3
FIRST_TO_TELL = (2, 0)  # has `show peers`; the master socket is of 1.9
FIRST_TO_SPEAK = (1, 6)  # the peers protocol that all later versions understand
FIRST_TO_DRAIN = (1, 6)  # has `set server ... state`
# Before 2.0 nothing tells when the resync is over: by then it is, whoever answered (PEER_RESYNC_TIMEOUT in HAProxy's
# src/peers.c: 5 s for the old process, 5 s for the other peers).
RESYNC_SECONDS = 12
POLL_SECONDS = 0.2
COMMAND_SECONDS = 150  # beyond the 120 that the session guard has systemd wait, and systemd's own 90
LINE = 8000  # bytes of commands on a line; HAProxy takes 16 kB, less its own
COMPARED = 10_000  # rows of a table, the same ones on each balancer

# A word of HAProxy's configuration, with quotes and escapes.
WORD = r"""(?:\\.|"(?:\\.|[^"\\])*"|'[^']*'|[^\s\\"'])+"""
NAME_OF_A_SECRET = r"[\w-]*(?:auth|cookie|key|pass|secret|token)[\w-]*"
SECRETS = tuple(
    re.compile(rf"(?i){secret}")
    for secret in (
        r"(\bstats\s+auth\s+[^\s:]+:).+",
        rf"(\b(?:insecure-)?password\s+){WORD}",
        rf"(\b(?:pre)?setenv\s+\S+\s+){WORD}",
        rf"(\b(?:set-header|add-header|replace-header|hdr)\s+{NAME_OF_A_SECRET}\s+).+",
        rf"(\b\w*hdr\w*\({NAME_OF_A_SECRET}\)\s+)(?!table\b).+",
        r"(\b(?:Basic|Bearer|Token)[\s\\]+)[^\s\"']+",
    )
)


# HAProxy's warnings (1.5 to 3.2, src/cfgparse.c) after which it runs without a peers section, without one of the peers,
# or can't learn from its own process before: that one's listener and the connection to it differ in TLS.
WITHOUT_PEERS = re.compile(
    r": (?:Removing incomplete section 'peers "
    r"|parsing \[[^]]*\] : 'peer [^']*' : ignoring invalid peer definition "
    r"|Peers section '[^']*': local peer have a (?:non-)?SSL listener )"
)

# A row of a table that binds a server, and what HAProxy writes a backslash before.
ROW = re.compile(
    r"^(?:0x\w+: )?key=([^\\ ]*(?:\\.[^\\ ]*)*) use=\d+ exp=(\d+) "
    r".*?\bserver_id=([1-9]\d*)(?: server_(?:name|key)=(\S+))?",
    re.MULTILINE,
)
ESCAPED = re.compile(r"\\([^a-z])")


class PeersError(Exception):
    """Something that the operator has to mend; its text says what."""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a bound of COMMAND_SECONDS, its output kept."""
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=COMMAND_SECONDS, check=False
    )


def text_of(configuration: Path) -> str:
    """Give the text of a configuration, which need not be UTF-8 for HAProxy."""
    return configuration.read_text(encoding="utf-8", errors="surrogateescape")


def stream(command: str, address: str = "", bound: float = 10) -> Iterator[str]:
    """Send one command to a socket and give its answer in parts of whole lines; the master's if none is named.

    On the master's, `@1 ` before a command has it reach the current worker.

    Raises:
        OSError: the socket is not there, or nobody answers for `bound` seconds.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(bound)
        client.connect(address or MASTER_SOCKET)
        client.sendall(command.encode() + b"\n")
        client.shutdown(socket.SHUT_WR)  # the master keeps the connection open for further commands otherwise
        begun = b""
        for part in iter(lambda: client.recv(1 << 20), b""):
            whole, end, rest = part.rpartition(b"\n")
            if end:
                yield (begun + whole + end).decode(errors="replace")
                begun = rest
            else:
                begun += part
        if begun:
            yield begun.decode(errors="replace")


def ask(command: str, address: str = "", bound: float = 10) -> str:
    """Send one command to a socket and give its whole answer; see `stream`."""
    return "".join(stream(command, address, bound))


def ask_all(lines: Iterable[str], address: str) -> list[str]:
    """Send lines of commands by one connection, while answers come; give the answers that say something.

    Megabytes of commands, sent before any answer is read, would stall for good. HAProxy closes the connection when no
    line comes for ten seconds (`stats timeout`); for the first one it is not open yet.

    Raises:
        OSError: the socket is not there, nobody answers, or not to the end.
    """
    further = chain((f"{line}\n".encode() for line in lines), [b"quit\n"])
    pending = b"prompt\n" + next(further)  # without `prompt` HAProxy takes one line, and closes the connection
    said = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(address)
        client.setblocking(False)
        while True:
            readable, writable, _ = select.select([client], [client] if pending else [], [], 10)
            if writable:
                pending = pending[client.send(pending) :] or next(further, b"")
            elif readable:
                said.append(client.recv(1 << 20))
                if not said[-1]:
                    break
            else:
                raise TimeoutError(f"{address} does not answer")
        if pending:
            raise ConnectionResetError(f"{address} has ended")
    return [row for row in b"".join(said).decode(errors="replace").splitlines() if row.strip("> ")]


def ask_worker(*commands: str) -> str:
    """Send commands to the current worker, all on one line: by the master socket, or before 1.9 by the stats socket."""
    try:
        return ask(";".join(f"@1 {command}" for command in commands))
    except OSError:
        return ask_stats_socket(";".join(commands))


def property_of_unit(name: str) -> str:
    """Read one property of the unit, as `systemctl show` gives it."""
    return run("systemctl", "show", "--value", "--property", name, UNIT).stdout.strip()


def started_program() -> Path:
    """Give the program that the unit starts; where there is no unit yet, the one that a package would bring."""
    found = re.search(r"\bpath=(\S+)", property_of_unit("ExecStart"))
    return Path(found.group(1)) if found else PACKAGED


def binary() -> Path:
    """Give HAProxy's own program; before 1.8 the unit starts a wrapper that stands beside it."""
    return started_program().with_name("haproxy")


def version(program: Path) -> str:
    """Give the version of a HAProxy, as 2.6.12; 0.0 if it does not say."""
    found = re.search(r"version (\d[\d.]*\d)", run(str(program), "-v").stdout)
    return found.group(1) if found else "0.0"


def parts(found: str) -> tuple[int, ...]:
    """Give major and minor of a version."""
    return tuple(map(int, found.split(".")[:2]))


def tells_sync(found: str) -> bool:
    """Whether HAProxy of this version can tell whether it is in sync."""
    return parts(found) >= FIRST_TO_TELL


def running_version() -> str:
    """Give the version of the current worker, as it tells it itself; that of the program if it does not."""
    try:
        found = re.search(r"^Version: (\d[\d.]*\d)", ask_worker("show info"), re.MULTILINE)
    except (OSError, PeersError):
        return version(binary())
    return found.group(1) if found else version(binary())


def master_pid() -> int:
    """Give the process id of the master, 0 if none runs."""
    return int(property_of_unit("MainPID") or 0)


def serving_pid() -> int:
    """Give the process id that serves; 0 if none answers."""
    return worker_pid() if tells_sync(version(binary())) else pid_by_stats_socket()


def pid_by_stats_socket(seconds: int = 0) -> int:
    """Give the process id that answers on the stats socket; 0 if none does that is at least so many seconds old."""
    try:
        told = dict(re.findall(r"^(Pid|Uptime_sec): (\d+)", ask_stats_socket("show info"), re.MULTILINE))
    except OSError:
        return 0
    return int(told["Pid"]) if int(told.get("Uptime_sec", 0)) >= seconds else 0


def stream_worker(command: str) -> Iterator[str]:
    """Send one command to the current worker, as `ask_worker` does, and give its answer in parts of whole lines.

    By an admin's stats socket if there is one: on its way through the master a large answer costs traffic more.
    """
    address = admin_socket()
    try:
        yield from stream(command if address else f"@1 {command}", address)
    except (FileNotFoundError, ConnectionRefusedError):  # nothing was given yet
        yield ask_stats_socket(command)


def ask_stats_socket(command: str) -> str:
    """Send one command to the configuration's first stats socket; to that of the last good one, if it runs still."""
    asked = 0
    for file in (CONFIGURATION, last_good(CONFIGURATION)):
        text = text_of(file) if file.exists() else ""
        # One of level user shows no rows; the session guard's own closes no frontend.
        pattern = r"^\s*stats\s+socket\s+(?!\S*/session-guard\.)(/\S+)(?!.*\slevel\s+user\b)"
        for address in re.findall(pattern, text, re.MULTILINE)[:1]:
            asked += 1
            with suppress(OSError):
                return ask(command, str(address))
    if asked:
        raise OSError("no process answers on the stats socket")
    raise PeersError(f"{CONFIGURATION} has no `stats socket PATH`, by which HAProxy before 2.0 is known to serve")


def admin_socket() -> str:
    """Give a stats socket of level admin on which the current worker answers; "" if there is none.

    Many commands take a fraction of the time there: the master makes a connection to the worker for each of them.
    """
    worker = worker_pid()
    text = text_of(CONFIGURATION)
    for address in re.findall(r"^\s*stats\s+socket\s+(/\S+).*\slevel\s+admin\b", text, re.MULTILINE):
        with suppress(OSError):
            if re.search(rf"^Pid: {worker}$", ask("show info", address), re.MULTILINE):
                return str(address)
    return ""


def worker_pid() -> int:
    """Give the process id of the current worker, as the master's `show proc` has it; 0 if none answers."""
    try:
        rows = ask("show proc").splitlines()
    except OSError:
        return 0
    section = ""
    for row in rows:
        if row.startswith("# "):
            section = row
        elif section == "# workers" and (found := re.match(r"(\d+)\s+worker\b", row)):
            return int(found.group(1))
    return 0


def answering_worker() -> int:
    """Give the process id of the current worker, as `worker_pid` does, once it is the one that answers; 0 before.

    From 3.1 on a new worker is the current one before it has loaded its configuration: until then the old one answers
    for it, or nobody ever (seen with 3.2).
    """
    worker = worker_pid()
    with suppress(OSError):
        if worker and re.search(rf"^Pid: {worker}$", ask("@1 show info", bound=1), re.MULTILINE):
            return worker
    return 0


# --- checking a configuration ---------------------------------------------------------------------


def warnings_about_peers(output: str) -> list[str]:
    """Give the warnings of `haproxy -c` that mean a lost table: see WITHOUT_PEERS; others may name peers, too."""
    return [row for row in output.splitlines() if "[WARNING]" in row and WITHOUT_PEERS.search(row)]


def check(configuration: Path, local_peer: str, program: Path) -> None:
    """Have HAProxy check a configuration; a warning about peers is an error.

    Raises:
        PeersError: with HAProxy's own output.
    """
    arguments = ["-L", local_peer] if local_peer else []
    result = run(str(program), "-c", "-f", str(configuration), *arguments)
    output = (result.stdout + result.stderr).strip()
    if result.returncode != 0:
        raise PeersError(f"HAProxy refuses the configuration:\n{output}")
    if warnings := warnings_about_peers(output):
        raise PeersError("HAProxy would run without its peers, and lose the tables:\n" + "\n".join(warnings))


def not_checked(program: Path, expected: str, configuration: str = "") -> str:
    """Say why what is on this host can't check what another HAProxy is to run; nothing if it can."""
    if not program.exists():
        return f"there is no {program} on this host yet"
    for script in re.findall(r"^\s*lua-load(?:-per-thread)?\s+(/\S+)", configuration, re.MULTILINE):
        if not Path(script).exists():
            return f"there is no {script} on this host yet"
    if f"{version(program)}.".startswith(f"{expected}.") or not expected:
        return ""
    return f"{program} is HAProxy {version(program)}, and {expected} comes"


def last_good(configuration: Path) -> Path:
    """Give where the last good configuration is kept."""
    return configuration.with_name(f"{configuration.name}.last-good")


def keep_last_good(configuration: Path, local_peer: str, program: Path) -> None:
    """Copy the configuration that is about to be replaced to NAME.last-good, if HAProxy would take it."""
    arguments = ["-L", local_peer] if local_peer else []
    if run(str(program), "-c", "-f", str(configuration), *arguments).returncode != 0:
        return
    kept = last_good(configuration)
    temporary = kept.with_name(f".{kept.name}.new")
    shutil.copy2(configuration, temporary)
    temporary.replace(kept)


def masked(text: str) -> list[str]:
    """Give the lines of a configuration with its secrets masked."""
    for secret in SECRETS:
        text = secret.sub(r"\1********", text)
    return text.splitlines()


def difference(old: Path, new: Path) -> str:
    """Give the unified difference of two configurations, secrets masked."""
    before = masked(text_of(old)) if old.exists() else []
    rows = difflib.unified_diff(before, masked(text_of(new)), str(old), str(old), lineterm="")
    return "\n".join(rows).encode(errors="replace").decode()  # it is printed


# --- the state of the peers -----------------------------------------------------------------------


def is_show_peers(text: str) -> bool:
    """Whether a text is an answer to `show peers`, and not the master's word that there is no worker to ask."""
    return all(row.startswith(("0x", " ", "\t")) for row in text.splitlines() if row)


def flags_of(show_peers: str) -> dict[str, int]:
    """Give the flags of each peers section, by its name."""
    found = re.findall(r"^0x\w+:.*\bid=(\S+)\s.*\bflags=0x([0-9a-fA-F]+)", show_peers, re.MULTILINE)
    return {name: int(flags, 16) for name, flags in found}


def unsynced_sections(show_peers: str) -> list[str]:
    """Give the names of the peers sections that are not in sync yet."""
    return [name for name, flags in flags_of(show_peers).items() if flags & IN_SYNC != IN_SYNC]


def blocks_of(show_peers: str) -> list[str]:
    """Give what is said of each peer, the local one too."""
    return re.split(r"^\s+(?=0x\w+: id=)", show_peers, flags=re.MULTILINE)[1:]


def remote_peers(show_peers: str) -> list[tuple[str, str, str]]:
    """Give name, address and status of each remote peer: the last one, or `gone` where ESTA has outlived its session.

    HAProxy shows ESTA until it next tries to connect, some seconds later.
    """
    found = []
    for block in blocks_of(show_peers):
        if peer := re.match(r"0x\w+: id=(\S+?)\(remote.*\baddr=(\S+) .*?\blast_status=(\S+)", block):
            name, address, status = peer.groups()
            found.append((name, address, "gone" if status == "ESTA" and " state=EST" not in block else status))
    return found


def silent_peers(show_peers: str) -> list[str]:
    """Give a sentence for each remote peer without an established session."""
    silent = [peer for peer in remote_peers(show_peers) if peer[2] != "ESTA"]
    return [f"peer {name} at {address} does not answer ({status})" for name, address, status in silent]


def wait_until_ready(bound: float, not_worker: int = 0, every_peer: bool = False) -> str:
    """Wait until a worker other than `not_worker` is in sync, or serves where nothing tells more; give `show peers`.

    Args:
        bound: seconds.
        not_worker: a process id.
        every_peer: whether every peer has to have a session with this one, too.

    Raises:
        PeersError: not within `bound` seconds.
    """
    # Before a change it is the process that counts: another program may be in place already.
    if tells_sync(version(binary()) if not_worker else running_version()):
        return wait_until_in_sync(bound, not_worker, every_peer)
    deadline = time.monotonic() + bound
    while pid_by_stats_socket(RESYNC_SECONDS) in (0, not_worker):
        if time.monotonic() > deadline:
            raise PeersError(
                f"no new process that is {RESYNC_SECONDS} s old answered on the stats socket within {bound:g} s"
            )
        time.sleep(POLL_SECONDS)
    return ""


def wait_until_in_sync(bound: float, not_worker: int = 0, every_peer: bool = False) -> str:
    """Wait until a worker other than `not_worker` runs and is in sync; give its `show peers`. See `wait_until_ready`.

    Raises:
        PeersError: not within `bound` seconds; it says what was waited for and what was seen.
    """
    deadline = time.monotonic() + bound
    seen = "the master socket did not answer"
    while True:
        try:
            worker = answering_worker()
            peers = ask("@1 show peers")
            unsynced = unsynced_sections(peers)
            if not worker:
                seen = "the current worker does not answer yet"
            elif not is_show_peers(peers) or worker != worker_pid():
                seen = f"no answer of one worker to `show peers`: {peers}"
            elif worker == not_worker:
                seen = f"the worker with process id {not_worker} still serves"
            elif unsynced:
                seen = f"not in sync: peers section {', '.join(unsynced)}\n{peers}"
            elif every_peer and (silent := silent_peers(peers)):
                seen = f"{'; '.join(silent)}\n{peers}"
            else:
                return peers
        except OSError as error:
            seen = f"{MASTER_SOCKET}: {error}"
        if time.monotonic() > deadline:
            raise PeersError(f"haproxy was not in sync with its peers within {bound:g} s: {seen}")
        time.sleep(POLL_SECONDS)


# --- the rows of the tables -----------------------------------------------------------------------


def synced_tables(configuration: str) -> list[str]:
    """Give the names of the tables that the peers share, as `show table` has them."""
    tables, kind, name = [], "", ""
    for row in configuration.splitlines():
        words = row.split("#")[0].split()
        if words[:1] in (["peers"], ["backend"], ["frontend"], ["listen"], ["global"], ["defaults"]):
            kind, name = [*words, ""][:2]
        elif words[:1] == ["stick-table"] and "peers" in words:
            tables.append(name)
        elif words[:1] == ["table"] and kind == "peers":
            tables.append(f"{name}/{words[1]}")
    return tables


def rows_of(show_table: str) -> Iterator[tuple[str, int, str]]:
    """Give key, server id and server name ("" where HAProxy tells none) of each row that binds a server."""
    for key, number, name, _ in rows_with_expiry(show_table):
        yield key, number, name


def rows_with_expiry(show_table: str) -> Iterator[tuple[str, int, str, int]]:
    r"""Give what `rows_of` gives, and in how many milliseconds the row expires (0 where it does not).

    A key's blanks and equals signs come plain; what HAProxy prints by letters (`\xC3`, `\t`) stays so.
    """
    for key, expiry, number, name in ROW.findall(show_table):
        plain = ESCAPED.sub(r"\1", key) if "\\" in key else key
        yield plain, int(number), "" if name == "-" else name, int(expiry)


def servers_of(show_stat: str) -> dict[tuple[str, int], str]:
    """Give the name of each server, by its backend and its id."""
    first, *rows = show_stat.lstrip("# ").splitlines() or [""]
    columns = {name: number for number, name in enumerate(first.split(","))}
    if "sid" not in columns:
        raise PeersError(f"no answer to `show stat`: {show_stat[:200]}")
    cells = [row.split(",") for row in rows if row.count(",") >= columns["type"]]
    servers = [row for row in cells if row[columns["type"]] == "2"]  # 0 is a frontend, 1 a backend, 3 a listener
    return {(row[columns["pxname"]], int(row[columns["sid"]])): row[columns["svname"]] for row in servers}


def server_names(table: str, servers: dict[tuple[str, int], str]) -> dict[int, str]:
    """Give the name of each server id in a table.

    That of its own backend. A table of a peers section has none: then of the backends that stick by it, or of all,
    where only one server has that id.
    """
    if own := {number: name for (backend, number), name in servers.items() if backend == table}:
        return own
    text = text_of(CONFIGURATION) if CONFIGURATION.exists() else ""
    users = backends_sticking_by(table, text) or {backend for backend, _ in servers}
    named: dict[int, set[str]] = {}
    for (backend, number), name in servers.items():
        if backend in users:
            named.setdefault(number, set()).add(name)
    return {number: names.pop() for number, names in named.items() if len(names) == 1}


def backends_sticking_by(table: str, configuration: str) -> set[str]:
    """Give the backends with a `stick ... table TABLE`."""
    found, name = set(), ""
    for row in configuration.splitlines():
        words = row.split("#")[0].split()
        if words[:1] in (["backend"], ["listen"]):
            name = words[1]
        elif words[:1] == ["stick"] and f" table {table} " in " ".join([*words, ""]):
            found.add(name)
    return found


def bindings() -> Iterator[tuple[str, str, str]]:
    """Give table, key and server's name of each row that the peers share; #ID where the name is unknown."""
    servers = servers_of(ask_worker("show stat"))
    for table in synced_tables(text_of(CONFIGURATION)):
        for key, server, *_ in rows_of_table(table, servers):
            yield table, key, server


def rows_of_table(
    table: str, servers: dict[tuple[str, int], str], pause: float = 0
) -> Iterator[tuple[str, str, int, int]]:
    """Give key, server's name (#ID where it is unknown), its id and milliseconds left of each row, as they come.

    Args:
        table: its name.
        servers: as `servers_of` gives them.
        pause: seconds after each part of the answer, in which HAProxy writes no more of it.

    Raises:
        PeersError: the running HAProxy has no such table.
    """
    names = server_names(table, servers)
    known = False
    for part in stream_worker(f"show table {table}"):
        if not known and not part.startswith("# table: "):
            raise PeersError(f"the running HAProxy has no table {table}, which {CONFIGURATION} has: {part[:200]}")
        known = True
        for key, number, name, left in rows_with_expiry(part):
            yield key, name or names.get(number, f"#{number}"), number, left
        time.sleep(pause)


def digests(rows: Iterable[tuple[str, str, str]], most: int = COMPARED) -> list[str]:
    """Give `TABLE DIGEST SERVER` of each row, for balancers to be compared by.

    A session can't be read from it, but an address or a number can be found by trying all of them.

    Of a larger table those `most` rows whose digests are the least: the same ones on each balancer.
    """
    tables: dict[str, list[str]] = {}
    for table, key, server in rows:
        digest = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:16]
        tables.setdefault(table, []).append(f"{table} {digest} {server}")
    return [row for found in tables.values() for row in heapq.nsmallest(most, found)]


def ends(told: dict[str, str]) -> dict[str, str]:
    """Give `TABLE DIGEST` up to which every balancer told its rows, of each table that has more."""
    found: dict[str, str] = {}
    for said in told.values():
        tables: dict[str, list[str]] = {}
        for row in said.splitlines()[1:]:
            tables.setdefault(row.split(" ")[0], []).append(row.rpartition(" ")[0])
        for table, keys in tables.items():
            if len(keys) >= COMPARED:
                found[table] = min(max(keys), found.get(table, max(keys)))
    return found


def within(rows: list[str], last: dict[str, str]) -> set[str]:
    """Give the rows up to those ends: with a row less, a balancer tells of one further away instead."""
    return {row for row in rows if row.rpartition(" ")[0] <= last.get(row.split(" ")[0], row)}


def compare(told: dict[str, str], before: str) -> str:
    """Say what is unlike in the rows that balancers told, by name; on the first line in figures, then row by row.

    Args:
        told: what `haproxy-peers rows` said on each balancer.
        before: what this function said of an earlier look: only what was unlike then is still of interest. A row that
            is on its way, or was bound anew between two balancers' answers, is no difference a moment later.
    """
    rows = {name: within(said.splitlines()[1:], ends(told)) for name, said in told.items()}
    everywhere = [row for row in next(iter(rows.values())) if all(row in others for others in rows.values())]
    unlike = {row for found in rows.values() for row in found}.difference(everywhere)
    looks = 1
    if before:
        first, *earlier = before.splitlines()
        looks += json.loads(first)["looks"]
        unlike &= set(earlier)
    keys = [row.rpartition(" ")[0] for row in unlike]
    moved = len(keys) - len(set(keys))  # a key stands there once for each of its servers
    figures = {
        "looks": looks,
        "moved": moved,
        "missing": len(set(keys)) - moved,
        "versions": {name: said.splitlines()[0] for name, said in told.items()},
        "rows": {name: len(found) for name, found in rows.items()},
    }
    return "\n".join([json.dumps(figures), *sorted(unlike)])


def dump(file: Path) -> str:
    """Write table, server and key of each shared row to a file that only root reads; say how many."""
    file.unlink(missing_ok=True)
    count = 0
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as text:
        for table, key, server in bindings():
            text.write(f"{table} {server} {key}\n")
            count += 1
    return f"dumped: {count} rows"


def restore(file: Path, over: bool = False) -> str:
    """Bind the keys of a dump to their servers again; say how many.

    Args:
        file: what `dump` wrote.
        over: whether it wins over rows that are there: they are newer if they came from a peer, and mere chance if this
            process made them because it knew nothing.

    Raises:
        PeersError: HAProxy refused a row; those before it are there.
    """
    there = {(table, key): server for table, key, server in bindings()}
    servers = servers_of(ask_worker("show stat"))
    ids = {
        (table, name): number
        for table in synced_tables(text_of(CONFIGURATION))
        for number, name in server_names(table, servers).items()
    }
    running = running_version()
    commands, known, gone, odd = [], 0, 0, 0
    for row in file.read_text(encoding="utf-8").splitlines():
        table, server, key = row.split(" ", 2)
        number = int(server[1:]) if re.fullmatch(r"#\d+", server) else ids.get((table, server))
        if there.get((table, key)) == server or ((table, key) in there and not over):
            known += 1
        elif not can_be_given_back(key, running):
            odd += 1
        elif number is None:
            gone += 1
        else:
            commands += bind(table, key, number, (table, key) in there)
    # Before 1.8 HAProxy leaves a line once a command has nothing to say (seen with 1.6).
    for batch in batches(commands, LINE if parts(running) >= (1, 8) else 0):
        if answer := ask_worker(*batch).strip():
            raise PeersError(f"HAProxy did not take a row: {answer[:200]}")
    number = sum(command.startswith("set ") for command in commands)
    said = f"restored: {number} rows; {known} were there"
    return said + f"; left out: {odd} whose key can't be given back, {gone} whose server is no more"


def bind(table: str, key: str, number: int, over: bool) -> list[str]:
    """Give the commands that bind a key to the server with an id.

    `set table` leaves a row its server name, which HAProxy looks at before the id (seen with 2.6 and 3.2;
    sticking_rule_find_target in src/stream.c): `over` takes such a row away before.
    """
    row = f"table {table} key {word_of(key)}"
    return [*([f"clear {row}"] if over else []), f"set {row} data.server_id {number}"]


def can_be_given_back(key: str, running: str) -> bool:
    """Whether HAProxy of this version reads a key as the same one that it printed.

    Printed by letters it would be another one; and 1.5 ends a command at each `;`.
    """
    return bool(key) and "\\" not in key and (";" not in key or parts(running) >= (1, 6))


def word_of(key: str) -> str:
    """Give a key as one word of a command."""
    return re.sub(r"([ ;])", r"\\\1", key) if " " in key or ";" in key else key


def batches(commands: Iterable[str], line: int = LINE) -> Iterator[list[str]]:
    """Give commands in parts that fit a line of so many bytes, with what stands between them; at least one each."""
    batch: list[str] = []
    length = 0
    for command in commands:
        size = len(command) if command.isascii() else len(command.encode(errors="surrogateescape"))
        added = size + len(";@1 ")
        if batch and length + added > line:
            yield batch
            batch, length = [], 0
        batch.append(command)
        length += added
    if batch:
        yield batch


# --- what an operator sees and does ---------------------------------------------------------------


def overview() -> str:
    """Give the version, the rows of each shared table by server, and the state of each remote peer."""
    counts = Counter((table, server) for table, _, server in bindings())
    rows = [f"HAProxy {running_version()}"]
    for table in synced_tables(text_of(CONFIGURATION)):
        found = sorted((server, count) for (own, server), count in counts.items() if own == table)
        by_server = ", ".join(f"{server}: {count}" for server, count in found)
        rows.append(f"table {table}: {sum(count for _, count in found)} rows" + (f" ({by_server})" if found else ""))
    peers = ask_worker("show peers") if tells_sync(running_version()) else ""
    rows += [f"peer {name} at {address}: {status}" for name, address, status in remote_peers(peers)]
    rows += [f"peers section {name}: not in sync" for name in unsynced_sections(peers)]
    return "\n".join(rows)


def set_servers(names: list[str], state: str) -> str:
    """Have servers drained (sessions stay, new ones go elsewhere), or ready again; say which.

    Args:
        names: servers, in whichever backend, or BACKEND/SERVER.
        state: `drain` or `ready`, as HAProxy's `set server` knows them. A reload forgets it.

    Raises:
        PeersError: there is no such server (no other is touched then), or HAProxy refuses.
    """
    if parts(running_version()) < FIRST_TO_DRAIN:
        raise PeersError(f"HAProxy {running_version()} drains no server by command; 1.6 and up do. Give it weight 0")
    servers = {f"{backend}/{name}": name for (backend, _), name in servers_of(ask_worker("show stat")).items()}
    if unknown := set(names).difference(servers, servers.values()):
        raise PeersError(f"no server {', '.join(sorted(unknown))}; there are {', '.join(sorted(servers))}")
    chosen = [path for path, name in servers.items() if name in names or path in names]
    for path in chosen:
        if answer := ask_worker(f"set server {path} state {state}").strip():
            raise PeersError(f"HAProxy did not set {path} to {state}: {answer}")
    return f"{state}: {', '.join(chosen)}"


# --- reload and restart ---------------------------------------------------------------------------


def local_peer_of_unit() -> str:
    """Give the local peer's name that the unit's environment file passes by `-L`, or nothing."""
    arguments = extra_options()
    return arguments[arguments.index("-L") + 1] if "-L" in arguments[:-1] else ""


def extra_options() -> list[str]:
    """Give the further arguments in the unit's environment file; systemd takes the last line that sets them."""
    text = ENVIRONMENT.read_text() if ENVIRONMENT.is_file() else ""
    found = re.findall(r"^\s*(?:EXTRAOPTS|OPTIONS)=(.*)$", text, re.MULTILINE)  # Debian's name, and the RHEL family's
    value = found[-1].strip() if found else ""
    return shlex.split(shlex.split(value)[0] if value.startswith(("'", '"')) else value)


def change(action: str, bound: float) -> str:
    """Reload or restart: check the configuration, wait for the sync before and after; give `show peers`.

    Raises:
        PeersError: refused (nothing was changed), or failed; the text says which, with evidence.
    """
    check(CONFIGURATION, local_peer_of_unit(), binary())
    worker = worker_pid()
    if worker and tells_sync(running_version()):
        wait_until_in_sync(bound)
    worker = worker or serving_pid()
    run("systemctl", "reset-failed", UNIT)  # the start limit would refuse a restart that was asked for
    result = run("systemctl", action, UNIT)
    if result.returncode != 0:
        raise PeersError(f"systemctl {action} {UNIT} failed: {result.stderr.strip()}\n{journal()}")
    try:
        return wait_until_ready(bound, not_worker=worker)
    except PeersError as error:
        raise PeersError(f"after systemctl {action} {UNIT}: {error}\n{journal()}") from error


def journal() -> str:
    """Give the unit's last messages."""
    return run("journalctl", "--unit", UNIT, "--lines", "30", "--no-pager").stdout


def due(master: int, worker: int) -> tuple[str, str]:
    """Say what a running HAProxy with the right arguments needs: (action, reason); no action is ("", "").

    A run that ended between writing a file and reloading is found by the next one this way.
    """
    if not Path(f"/proc/{master}/exe").samefile(started_program()):  # a reload re-executes the master
        return "reload", f"{started_program()} is another binary than the running one"
    if CONFIGURATION.stat().st_mtime > started(worker):
        return "reload", f"{CONFIGURATION} is newer than the running worker"
    return "", ""


def has_program(master: int) -> bool:
    """Whether the running master was started by the path that the unit has now."""
    return Path(f"/proc/{master}/cmdline").read_text().split("\0")[0] == str(started_program())


def has_arguments(master: int) -> bool:
    """Whether the running master has the arguments that the unit's environment file gives."""
    arguments = Path(f"/proc/{master}/cmdline").read_text().split("\0")
    wanted = extra_options()
    if ("-S" in arguments) != ("-S" in wanted):
        return False  # a version that does not know it would end at it
    return any(arguments[i : i + len(wanted)] == wanted for i in range(len(arguments)))


def started(pid: int) -> float:
    """Give the time at which a process started, in seconds of the epoch (proc(5): field 22, clock ticks since boot)."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")


def refuse_to_lose_all() -> None:
    """Refuse another version whose peers do not understand those of the running one.

    Raises:
        PeersError: always where it is so; playbooks/upgrade.yml carries the sessions over.
    """
    running, coming = running_version(), version(binary())
    if (parts(running) < FIRST_TO_SPEAK) != (parts(coming) < FIRST_TO_SPEAK):
        raise PeersError(
            f"HAProxy {running} runs and {coming} is installed; no peer understands both, and every session would be"
            " lost. playbooks/upgrade.yml carries them over (docs/upgrade.md). To lose them: `haproxy-peers restart`"
        )


def apply(bound: float, carried: bool = False) -> tuple[str, str]:
    """Bring the running HAProxy to what is configured; give what was done, and `show peers`.

    Args:
        bound: seconds, of each wait.
        carried: whether the sessions are carried over to a version whose peers do not understand the running one's.
    """
    if master_pid() and not carried:
        refuse_to_lose_all()
    # Before anything is asked of the master socket: the running process may have none yet.
    reason = ""
    if (master := master_pid()) and not has_program(master):
        reason = f"the unit starts {started_program()}, another program than the running one"
    elif master and not has_arguments(master):
        reason = f"{ENVIRONMENT} has other arguments than the running process"
    if reason:
        return f"restart: {reason}", change("restart", bound)
    wait_for_unit(bound)
    action, reason = due(master_pid(), serving_pid())
    if not action:
        return "unchanged: what runs is what is configured", wait_until_ready(bound)
    return f"{action}: {reason}", change(action, bound)


def wait_for_unit(bound: float) -> None:
    """Wait until the unit is up and its worker answers.

    Raises:
        PeersError: not within `bound` seconds, with the unit's journal.
    """
    deadline = time.monotonic() + bound
    while not (master_pid() and serving_pid()):
        if time.monotonic() > deadline:
            raise PeersError(f"{UNIT} has no worker that answers\n{journal()}")
        time.sleep(POLL_SECONDS)


def main() -> int:
    """Run one command; 0 done, 1 refused or failed, with the reason on standard error."""
    parser = argparse.ArgumentParser(prog="haproxy-peers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--timeout", type=float, default=30, help="bound of each wait, in seconds (%(default)g)")
    commands = parser.add_subparsers(dest="command", required=True)
    checks = commands.add_parser("check", help="haproxy -c, where a warning about peers is an error")
    checks.add_argument("file", type=Path)
    checks.add_argument("--binary", type=Path, help="the HAProxy that checks; that of the unit if not given")
    checks.add_argument(
        "--expected", default="", help="the version that the file is for; with --diff, no other checks it"
    )
    checks.add_argument("--local-peer", default="", help="the name that -L gives")
    checks.add_argument("--diff", type=Path, help="show the difference to this file too, secrets masked")
    checks.add_argument("--replaces", type=Path, help="the file that is replaced next; kept as FILE.last-good if good")
    waits = commands.add_parser("wait", help="wait until the tables are in sync with the peers")
    waits.add_argument("--every-peer", action="store_true", help="and until every peer has a session with this one")
    applies = commands.add_parser("apply", help="reload or restart if what runs is not what is configured")
    applies.add_argument("--carried", action="store_true", help="also to a version whose peers don't understand these")
    commands.add_parser("reload", help="reload once in sync, and wait until in sync again")
    commands.add_parser("restart", help="restart once in sync, and wait until in sync again")
    commands.add_parser("rows", help="the version, and a digest of each row with its server: to compare balancers by")
    commands.add_parser("compare", help="say what is unlike in such rows, which come as JSON on standard input")
    for name, text in (("dump", "write the shared rows to a file"), ("restore", "bind what is in such a file again")):
        files = commands.add_parser(name, help=text)
        files.add_argument("file", type=Path)
    files.add_argument("--over", action="store_true", help="win over rows that are there with another server")
    commands.add_parser("show", help="the rows of each shared table by server, and the state of the peers")
    for name, text in (("drain", "send no new sessions to servers"), ("undrain", "send them new sessions again")):
        servers = commands.add_parser(name, help=f"{text}, until the next reload")
        servers.add_argument("server", nargs="+", help="SERVER, in whichever backend, or BACKEND/SERVER")
    arguments = parser.parse_args()
    try:
        if arguments.command == "check":
            program = arguments.binary or binary()
            if arguments.diff:
                print(difference(arguments.diff, arguments.file))
                if reason := not_checked(program, arguments.expected, text_of(arguments.file)):
                    print(f"(not checked: {reason})")
                    return 0
            check(arguments.file, arguments.local_peer, program)
            if arguments.replaces and arguments.replaces.exists():
                keep_last_good(arguments.replaces, arguments.local_peer, program)
            return 0
        if arguments.command == "rows":
            print("\n".join([running_version(), *digests(bindings())]))
            return 0
        if arguments.command == "compare":
            print(compare(**json.load(sys.stdin)))
            return 0
        if arguments.command == "show":
            print(overview())
            return 0
        if arguments.command in ("drain", "undrain"):
            print(set_servers(arguments.server, "drain" if arguments.command == "drain" else "ready"))
            return 0
        if arguments.command in ("dump", "restore"):
            print(dump(arguments.file) if arguments.command == "dump" else restore(arguments.file, arguments.over))
            return 0
        if arguments.command == "apply":
            done, peers = apply(arguments.timeout, arguments.carried)
        elif arguments.command == "wait":
            done = "in sync" if tells_sync(version(binary())) else "serving"
            peers = wait_until_ready(arguments.timeout, every_peer=arguments.every_peer)
        else:
            done, peers = f"{arguments.command}: done", change(arguments.command, arguments.timeout)
    except (PeersError, OSError, ValueError, subprocess.TimeoutExpired) as error:
        print(f"haproxy-peers: {error}", file=sys.stderr)
        return 1
    print(done)
    if not tells_sync(version(binary())):
        print(f"NOTE: HAProxy {version(binary())} does not tell whether its tables are in sync; 2.0 and up do.")
    for sentence in silent_peers(peers):
        print(f"WARNING: {sentence}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
