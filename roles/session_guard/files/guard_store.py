"""The dump that a start restores: kept in two generations, by the unit's stop, by the timer and by people."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

import guard_dump
import haproxy_peers
from guard_host import Host, log
from guard_worker import established, open_gate, peers_sections, sizes, untold, updates
from haproxy_peers import PeersError

LAST_LOOKS = 3  # of a stop: connections that are open go on binding rows
PAUSE_SECONDS = 0.02  # in the timer's dumps: tests/bench_dump.py shows what live traffic notices of them


def stopping(host: Host) -> str:
    """Close the frontends to new connections and write the tables down; the unit's process ends after it."""
    if not haproxy_peers.worker_pid():
        return "no worker answers: nothing to write down"
    with only_one(host):  # before the frontends close: another dump can take a while
        stat = haproxy_peers.ask_worker("show stat").splitlines()
        names = [row.split(",")[0] for row in stat if row.split(",")[1:2] == ["FRONTEND"]]
        for batch in haproxy_peers.batches(f"disable frontend {name}" for name in names):
            haproxy_peers.ask_worker(*batch)
        return _keep(host, if_changed=False, looks=LAST_LOOKS)


def keep(host: Host, if_changed: bool) -> str:
    """Write the shared tables to the unit's dump, keep the one before; after another dump, if one is under way."""
    with only_one(host):
        return _keep(host, if_changed)


@contextlib.contextmanager
def only_one(host: Host) -> Iterator[None]:
    """Wait until no other command writes the unit's dump; none does meanwhile."""
    with (host.state_directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _keep(host: Host, if_changed: bool, looks: int = 1) -> str:
    tables = host.read().sticky
    if not tables or not haproxy_peers.worker_pid():
        return "nothing to dump: no worker answers" if tables else "nothing to dump: no table is shared"
    there = sizes()
    tables = [table for table in tables if table.name in there]
    if not tables:  # what the guard came with is yet to be started
        return "nothing to dump: the running process has no table that the configuration shares"
    invocation = host.invocation()
    if undecided(host):
        return (
            f"not dumped: whether {host.dump} is to be restored was not decided since the start; `restore` decides it"
        )
    now = updates(tables)
    last = host.state.get("dump", {})
    if if_changed and host.dump.exists() and last.get("updates") == now and not untold(tables):
        host.record(dump={**last, "current": int(time.time())})
        return "not dumped: nothing has changed"
    began = time.monotonic()
    temporary = host.dump.with_name("tables.dump.next")
    for look in range(looks):
        before, now = now, updates(tables)
        if look and now == before:
            break
        counts = guard_dump.write(temporary, tables, host.local_peer(), PAUSE_SECONDS if if_changed else 0)
        if host.dump.exists() and not look:
            host.dump.replace(previous(host.dump))
        temporary.replace(host.dump)
        spent = round(time.monotonic() - began, 3)
        said = {"time": int(time.time()), "rows": sum(counts.values()), "seconds": spent, "updates": now}
        host.record(judged=invocation, dump=said)
    return f"dumped: {sum(counts.values())} rows in {spent:.2f} s"


def undecided(host: Host) -> bool:
    """Whether the dump may have to be restored still: since the unit's start nobody has decided."""
    return host.dump.exists() and host.state.get("judged") != host.invocation()


def give_back(host: Host, files: list[Path], missing: bool) -> str:
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
    counts = guard_dump.restore(files or [host.dump], tables, missing, over=not missing)
    open_gate("restored")
    host.record(judged=host.invocation(), restore={"time": int(time.time()), "why": "by hand", **counts})
    return f"restored: {guard_dump.figures(counts)}"


def latest(host: Host) -> tuple[Path | None, dict[str, dict[str, int]]]:
    """Give the dump that a start restores, and what its head says of its tables; one that can't be read is none."""
    for file in (host.dump, previous(host.dump)) if host.settings["dump"] != "none" else ():
        if file.exists():
            try:
                return file, guard_dump.head_of(file)["tables"]
            except (OSError, ValueError, KeyError) as error:
                log(f"passed over: {error}")
    return None, {}


def previous(file: Path) -> Path:
    """Give where the previous generation of a dump is."""
    return file.with_name(f"{file.name}.1")
