"""A start: peers teach the process, or a dump is restored, and then the gate opens."""

from __future__ import annotations

import time
from collections import Counter

import guard_dump
import guard_store
import haproxy_peers
from guard_configuration import Table
from guard_host import Host, log
from guard_reload import SETTLE_SECONDS
from guard_worker import POLL_SECONDS, established, open_gate, peers_sections, refuse_connections, taught, used

ANSWER_SECONDS = 30  # until the worker answers
STALLED_SECONDS = 2.5  # a peer that knows something begins at once; without one HAProxy gives up after 5

WHY = {
    "peer": "a peer teaches this process; nothing was restored",
    "taught": "a peer that has started itself just now has taught what it knows; nothing was restored",
    "cold": "the peers know as little as this process",
    "alone": "no peer answers",
    "refused": "every peer refuses connections",
}


def started(host: Host) -> str:
    """Keep what the process was started with, and decide; see `decide`."""
    host.keep_running_copy()
    return decide(host)


def timed(host: Host) -> str:
    """Dump if a row has changed; first decide where the start could not: until then no dump is replaced."""
    if haproxy_peers.worker_pid() and guard_store.undecided(host):
        log(f"dump: {decide(host, late=True)}")
    return guard_store.keep(host, if_changed=True)


def decide(host: Host, late: bool = False) -> str:
    """Decide for each peers section whether a peer teaches this process or a dump is restored, and open the gate.

    Args:
        host: this one.
        late: whether the process has served already: its own rows are newer than a dump.
    """
    deadline = time.monotonic() + ANSWER_SECONDS
    while not (haproxy_peers.worker_pid() and peers_sections()):
        if not haproxy_peers.master_pid():  # systemd starts the next one when this program has ended
            return "the process has ended"
        if time.monotonic() > deadline or not host.read().sticky:
            break
        time.sleep(POLL_SECONDS)
    end = time.monotonic() + host.settings["gate_deadline"]
    configuration = host.read()
    file, known = guard_store.latest(host)
    whys: dict[str, str] = {}
    said = []
    total = Counter[str]()
    for name in dict.fromkeys(table.peers for table in configuration.sticky):
        tables = {table.name: table for table in configuration.sticky if table.peers == name}
        rows = sum(known[table]["rows"] for table in tables if table in known)
        why = whys[name] = wait_for_teacher(name, list(tables.values()), rows, end - host.settings["gate_deadline"] / 2)
        counts: dict[str, int] = {}
        if why not in ("peer", "taught") and file and rows:
            newer = late or why == "cold" or used(list(tables.values())) > 0
            counts = guard_dump.restore([file], tables, missing_only=newer)
            total.update(counts)
        said.append(f"peers {name}: {WHY[why]}" + (f"; restored: {guard_dump.figures(counts)}" if counts else ""))
    if whys:
        reasons = dict.fromkeys(whys.values())
        host.record(restore={"time": int(time.time()), "why": ", ".join(reasons), "section": ", ".join(whys), **total})
        # The gate itself also waits for sections that no session is in: of its own process alone, or without one.
        learning = {name for name, why in whys.items() if why == "peer"}
        while time.monotonic() < end and learning.intersection(
            haproxy_peers.unsynced_sections(haproxy_peers.ask_worker("show peers"))
        ):
            time.sleep(POLL_SECONDS)
        if learning:
            time.sleep(SETTLE_SECONDS)
        restored = total["restored"] or "taught" in reasons
        open_gate("restored" if restored else "learnt" if learning == {*whys} else "alone")
    host.record(judged=host.invocation())
    return "; ".join(said) or "no table is shared"


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
        synced = not haproxy_peers.unsynced_sections(section)
        if synced and taught(section):  # its session may have ended since
            return "peer" if used(tables) or not rows else "cold"
        if established(section):
            now = used(tables)
            if synced:
                return "cold"
            if now != there:
                there, since = now, time.monotonic()
            elif time.monotonic() - since > STALLED_SECONDS and (now * 2 < rows or now * 10 >= rows * 9):
                # Two that started together: both wait for the other's word for 5 s, and a gate would open on nothing.
                return "cold" if now * 2 < rows else "taught"
            elif time.monotonic() > deadline + STALLED_SECONDS:
                return "taught"
        elif section and refuse_connections(section):
            return "refused"
        elif time.monotonic() > deadline or (section and synced):
            return "alone"
        time.sleep(POLL_SECONDS)
