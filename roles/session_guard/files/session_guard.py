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
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parent))

import guard_dump
import haproxy_peers
from guard_configuration import Configuration
from guard_host import Host, log
from guard_reload import Refused, reload
from guard_start import started, timed
from guard_state import in_words
from guard_store import give_back, keep, stopping
from guard_worker import gate_status
from haproxy_peers import PeersError

SETTINGS = Path("/etc/haproxy/session-guard/settings.json")
# In seconds, below systemd's own 90; a reload, which loads the configuration several times, below the drop-in's 120.
LIMITS = {"reload": 105, "stopping": 60, "started": 60, "dump": 60}


class Overtime(Exception):
    """A command was given up; no OSError, which others expect and pass over."""


# --- what people read -----------------------------------------------------------------------------


def show_lines(needed: dict[str, list[str]]) -> str:
    """Put the needed lines into words."""
    text = []
    for name, lines in needed.items():
        where = "in this order"
        if name != "global":
            where = "before its other http-request and http-response lines; use-server after its other use-server lines"
        text += [f"# In `{name}`, {where}:", *(f"    {line}" for line in lines), ""]
    return "\n".join(text)


def check(host: Host, file: Path | None) -> list[str]:
    """Say what a configuration lacks, and what of it can't be served."""
    configuration = Configuration(haproxy_peers.text_of(file or host.configuration))
    return host.unserved(configuration) + configuration.lacks(host.needs(configuration))


def prune(host: Host, dry_run: bool) -> list[str]:
    """Remove the Lua files that no configuration names any more, but for a `dry_run`; give them."""
    configurations = [host.configuration, haproxy_peers.last_good(host.configuration), host.running_copy]
    texts = [haproxy_peers.text_of(file) for file in configurations if file.exists()]
    current = Path(host.settings["lua"])
    unused = [
        file
        for file in sorted(current.parent.glob("gate-*.lua"))
        if file != current and not any(str(file) in text for text in texts)
    ]
    for file in [] if dry_run else unused:
        file.unlink()
    return [str(file) for file in unused]


# --- the command line -----------------------------------------------------------------------------


@contextlib.contextmanager
def limit(bound: float, what: str) -> Iterator[None]:
    """Bound what is done in it, in seconds; Overtime beyond. Systemd's SIGTERM lets it clean up, too."""

    def over(number: int, frame: FrameType | None) -> None:
        raise Overtime(f"{what} was given up after {bound:g} s")

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, bound)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def hook(host: Host, name: str, bound: float) -> int:
    """Run one of the unit's commands; a fault in it is told, and never the unit's.

    Returns:
        0, but for a reload that was refused or failed.
    """
    commands: dict[str, Callable[[Host], str]] = {
        "reload": reload,
        "stopping": stopping,
        "started": started,
        "dump": timed,
    }
    try:
        with limit(bound, name):
            said = commands[name](host)
    except Exception as error:
        if name != "reload" or not isinstance(error, (Refused, PeersError)):
            fault(host, name, error)
        if name != "reload":
            return 0
        outcome, why = "refused" if isinstance(error, Refused) else "failed", str(error)
        log(f"reload {outcome}: {why}")
        host.record(reload={"time": int(time.time()), "outcome": outcome, "why": why.partition("\n")[0]})
        return 1
    if name == "reload":
        outcome, _, why = said.partition("; ")
        host.record(reload={"time": int(time.time()), "outcome": outcome, "why": why})
    log(f"{name}: {said}")
    return 0


def fault(host: Host, name: str, error: Exception) -> None:
    """Tell of a fault in one of the unit's commands."""
    log(f"{name}: {type(error).__name__}: {error}")
    host.record(
        faults=host.state.get("faults", 0) + 1,
        fault={"time": int(time.time()), "command": name, "error": f"{type(error).__name__}: {error}"[:200]},
    )


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
    name = arguments.command
    hooked = name in ("reload", "stopping", "started") or (name == "dump" and arguments.if_changed)
    try:
        host = Host(json.loads(arguments.settings.read_text()))
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:  # or the master has ended meanwhile
        log(f"{name}, {arguments.settings}: {error!r}")
        return int(name == "reload" or not hooked)
    bound = arguments.timeout or LIMITS.get(name, 600)
    if hooked:
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
        configuration = Configuration(haproxy_peers.text_of(arguments.config or host.configuration))
        unserved = host.unserved(configuration)
        for sentence in unserved:
            log(sentence)
        said, failed = [show_lines(host.needs(configuration))], bool(unserved)
    elif arguments.command == "check":
        said = check(host, arguments.file)
        failed = bool(said)
    elif arguments.command == "status":
        state = {**host.state, "gate": gate_status(host.state.get("gate"))}
        said = [json.dumps(state) if arguments.json else in_words(state)]
    elif arguments.command == "dump" and arguments.file:
        counts = guard_dump.write(arguments.file, host.read().sticky, host.local_peer())
        said = [f"dumped: {sum(counts.values())} rows"]
    elif arguments.command == "dump":
        host.state["judged"] = host.invocation()  # who asks has decided
        said = [keep(host, if_changed=False)]
    elif arguments.command == "restore":
        said = [give_back(host, arguments.files, arguments.missing)]
    elif arguments.command == "prune":
        said = prune(host, arguments.dry_run)
    if said:
        print("\n".join(said))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
