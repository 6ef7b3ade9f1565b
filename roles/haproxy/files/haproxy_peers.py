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
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

UNIT = "haproxy.service"
PACKAGED = Path("/usr/sbin/haproxy")
CONFIGURATION = Path("/etc/haproxy/haproxy.cfg")
SYSCONFIG = Path("/etc/sysconfig/haproxy")  # the RHEL family's
ENVIRONMENT = SYSCONFIG if SYSCONFIG.exists() else Path("/etc/default/haproxy")
MASTER_SOCKET = "/run/haproxy-master.sock"
IN_SYNC = 0x3
FIRST_TO_TELL = (2, 0)  # has `show peers`; the master socket is of 1.9
POLL_SECONDS = 0.2
COMMAND_SECONDS = 60

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


class PeersError(Exception):
    """Something that the operator has to mend; its text says what."""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a bound of COMMAND_SECONDS, its output kept."""
    return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)


def ask(command: str, address: str = MASTER_SOCKET) -> str:
    """Send one command to a socket; on the master's, `@1 ` before it reaches the current worker.

    Raises:
        OSError: the socket is not there or nobody answers.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        client.connect(address)
        client.sendall(command.encode() + b"\n")
        client.shutdown(socket.SHUT_WR)  # the master keeps the connection open for further commands otherwise
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
    return answer.decode(errors="replace")


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


def tells_sync(found: str) -> bool:
    """Whether HAProxy of this version can tell whether it is in sync."""
    return tuple(map(int, found.split(".")[:2])) >= FIRST_TO_TELL


def running_version() -> str:
    """Give the version of the current worker, as the master socket tells it; 0.0 if it does not."""
    try:
        found = re.search(r"^Version: (\d[\d.]*\d)", ask("@1 show info"), re.MULTILINE)
    except OSError:
        return "0.0"
    return found.group(1) if found else "0.0"


def master_pid() -> int:
    """Give the process id of the master, 0 if none runs."""
    return int(property_of_unit("MainPID") or 0)


def serving_pid() -> int:
    """Give the process id that serves; 0 if none answers."""
    return worker_pid() if tells_sync(version(binary())) else pid_by_stats_socket()


def pid_by_stats_socket() -> int:
    """Give the process id that answers on the configuration's first stats socket; 0 if none does."""
    for address in re.findall(r"^\s*stats\s+socket\s+(/\S+)", CONFIGURATION.read_text(), re.MULTILINE)[:1]:
        try:
            found = re.search(r"^Pid: (\d+)", ask("show info", address), re.MULTILINE)
        except OSError:
            return 0
        return int(found.group(1)) if found else 0
    raise PeersError(f"{CONFIGURATION} has no `stats socket PATH`, by which HAProxy before 2.0 is known to serve")


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


# --- checking a configuration ---------------------------------------------------------------------


def warnings_about_peers(output: str) -> list[str]:
    """Give the warnings of `haproxy -c` that mean a lost table.

    HAProxy starts without its peers after, for instance, "Removing incomplete section 'peers x'
    (no peer named 'y')"; a file's own name before the message does not count.
    """
    warnings = [row for row in output.splitlines() if "[WARNING]" in row]
    return [row for row in warnings if re.search(r"\bpeers?\b", re.sub(r"\[/[^\]]*\]|/\S+", "", row))]


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


def not_checked(program: Path, expected: str) -> str:
    """Say why what is on this host can't check what another HAProxy is to run; nothing if it can."""
    if not program.exists():
        return f"there is no {program} on this host yet"
    if f"{version(program)}.".startswith(f"{expected}.") or not expected:
        return ""
    return f"{program} is HAProxy {version(program)}, and {expected} comes"


def keep_last_good(configuration: Path, program: Path) -> None:
    """Copy the configuration that is about to be replaced to NAME.last-good, if HAProxy would take it."""
    if run(str(program), "-c", "-f", str(configuration)).returncode != 0:
        return
    kept = configuration.with_name(f"{configuration.name}.last-good")
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
    before = masked(old.read_text()) if old.exists() else []
    rows = difflib.unified_diff(before, masked(new.read_text()), str(old), str(old), lineterm="")
    return "\n".join(rows)


# --- the state of the peers -----------------------------------------------------------------------


def is_show_peers(text: str) -> bool:
    """Whether a text is an answer to `show peers`, and not the master's word that there is no worker to ask."""
    return all(row.startswith(("0x", " ", "\t")) for row in text.splitlines() if row)


def unsynced_sections(show_peers: str) -> list[str]:
    """Give the names of the peers sections that are not in sync yet."""
    found = re.findall(r"^0x\w+:.*\bid=(\S+)\s.*\bflags=0x([0-9a-fA-F]+)", show_peers, re.MULTILINE)
    return [name for name, flags in found if int(flags, 16) & IN_SYNC != IN_SYNC]


def silent_peers(show_peers: str) -> list[str]:
    """Give a sentence for each remote peer without an established session."""
    found = re.findall(r"^\s+0x\w+: id=(\S+?)\(remote.*\baddr=(\S+) .*?\blast_status=(\S+)", show_peers, re.MULTILINE)
    silent = [peer for peer in found if peer[2] != "ESTA"]
    return [f"peer {name} at {address} does not answer ({status})" for name, address, status in silent]


def wait_until_ready(bound: float, not_worker: int = 0) -> str:
    """Wait until a worker other than `not_worker` is in sync, or serves where nothing tells more; give `show peers`.

    Raises:
        PeersError: not within `bound` seconds.
    """
    if tells_sync(version(binary())):
        return wait_until_in_sync(bound, not_worker)
    deadline = time.monotonic() + bound
    while pid_by_stats_socket() in (0, not_worker):
        if time.monotonic() > deadline:
            raise PeersError(f"no new process answered on the stats socket within {bound:g} s")
        time.sleep(POLL_SECONDS)
    return ""


def wait_until_in_sync(bound: float, not_worker: int = 0) -> str:
    """Wait until a worker other than `not_worker` runs and is in sync; give its `show peers`.

    Raises:
        PeersError: not within `bound` seconds; it says what was waited for and what was seen.
    """
    deadline = time.monotonic() + bound
    seen = "the master socket did not answer"
    while True:
        try:
            worker = worker_pid()
            peers = ask("@1 show peers")
            unsynced = unsynced_sections(peers)
            if not is_show_peers(peers) or worker != worker_pid():
                seen = f"no answer of one worker to `show peers`: {peers}"
            elif not worker or worker == not_worker:
                seen = f"the worker with process id {not_worker} still serves"
            elif unsynced:
                seen = f"not in sync: peers section {', '.join(unsynced)}\n{peers}"
            else:
                return peers
        except OSError as error:
            seen = f"{MASTER_SOCKET}: {error}"
        if time.monotonic() > deadline:
            raise PeersError(f"haproxy was not in sync with its peers within {bound:g} s: {seen}")
        time.sleep(POLL_SECONDS)


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
    return any(arguments[i : i + len(wanted)] == wanted for i in range(len(arguments)))


def started(pid: int) -> float:
    """Give the time at which a process started, in seconds of the epoch (proc(5): field 22, clock ticks since boot)."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")


def apply(bound: float) -> tuple[str, str]:
    """Bring the running HAProxy to what is configured; give what was done, and `show peers`."""
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
    commands.add_parser("wait", help="wait until the tables are in sync with the peers")
    commands.add_parser("apply", help="reload or restart if what runs is not what is configured")
    commands.add_parser("reload", help="reload once in sync, and wait until in sync again")
    commands.add_parser("restart", help="restart once in sync, and wait until in sync again")
    arguments = parser.parse_args()
    try:
        if arguments.command == "check":
            program = arguments.binary or binary()
            if arguments.diff:
                print(difference(arguments.diff, arguments.file))
                if reason := not_checked(program, arguments.expected):
                    print(f"(not checked: {reason})")
                    return 0
            check(arguments.file, arguments.local_peer, program)
            if arguments.replaces and arguments.replaces.exists():
                keep_last_good(arguments.replaces, program)
            return 0
        if arguments.command == "apply":
            done, peers = apply(arguments.timeout)
        elif arguments.command == "wait":
            done, peers = "in sync" if tells_sync(version(binary())) else "serving", wait_until_ready(arguments.timeout)
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
