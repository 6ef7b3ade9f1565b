"""What the running worker says of its gate, its peers and its tables; and the word that opens the gate."""

from __future__ import annotations

import json
import re
import socket
import time
from typing import Any

import haproxy_peers
from guard_configuration import Table
from haproxy_peers import PeersError

POLL_SECONDS = 0.05
PROBE_SECONDS = 0.3
# PEERS_F_RESYNC_REMOTEFINISHED in HAProxy's src/peers.c, and PEERS_F_DBG_RESYNC_REMOTEFINISHED from 3.0 on.
TAUGHT = 0x2000200


def gate_status(known: dict[str, Any] | None = None) -> dict[str, Any]:
    """Give what the running worker's gate says of itself; nothing where there is none.

    A gate that has opened, and holds nobody any more, is not asked again: HAProxy 2.6 keeps a task for each answer that
    Lua gives on its command line (hlua_cli_io_release_fct in its src/hlua.c; 2.4, 2.8 and 3.x do not).

    Args:
        known: what a gate said before.
    """
    if known and known.get("state") == "open" and not known.get("held") and known["pid"] == haproxy_peers.worker_pid():
        return known
    try:
        said = haproxy_peers.ask_worker("session-guard status").strip()
        return dict(json.loads(said)) if said.startswith("{") else {}
    except (OSError, PeersError, ValueError):
        return {}


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


def taught(section: str) -> bool:
    """Whether a peer that was up to date itself has taught this process; from a section's part of `show peers`.

    HAProxy calls itself in sync also once it has waited 5 s in vain, and two that start together tell each other
    nothing.
    """
    return any(flags & TAUGHT for flags in haproxy_peers.flags_of(section).values())


def established(section: str) -> list[str]:
    """Give the names of the remote peers that have a session, from a section's part of `show peers`."""
    return [name for name, _, status in haproxy_peers.remote_peers(section) if status == "ESTA"]


def acknowledged(section: str) -> dict[tuple[str, str], tuple[int, int]]:
    """Give which of this process's updates each remote peer that has a session has acknowledged, and the last one.

    By peer and table, from `show peers` or a section's part of it: numbers of 32 bits, which start again (st->update
    and localupdate in HAProxy's src/peers.c).
    """
    up = {name for name, _, status in haproxy_peers.remote_peers(section) if status == "ESTA"}
    found = {}
    for block in haproxy_peers.blocks_of(section):
        name = block.split("id=", 1)[1].split("(", 1)[0]
        rows = re.findall(r"last_pushed=\d+ .*?\bupdate=(\d+)\n.*?\bid=(\S+) .*?\blocalupdate=(\d+)", block)
        found.update({(name, table): (int(own), int(last)) for own, table, last in rows if name in up})
    return found


def wait_until_acknowledged(wanted: set[tuple[str, str]], bound: float) -> set[tuple[str, str]]:
    """Wait until peers know what this process has to tell of tables now; give those that do not.

    A session that was just established may end at once, where both sides have made one, and what was sent by it is sent
    again seconds later: what counts is the peer's word.

    Args:
        wanted: pairs of a peer and a table, of those that `acknowledged` gives.
        bound: seconds.
    """
    deadline = time.monotonic() + bound
    last: dict[str, int] = {}
    while True:
        now = acknowledged(haproxy_peers.ask_worker("show peers")) if wanted else {}
        for (_, table), (_, number) in now.items():
            last.setdefault(table, number)
        missing = {key for key in wanted if key not in now or (now[key][0] - last[key[1]]) % 2**32 >= 2**31}
        if not missing or time.monotonic() > deadline:
            return missing
        time.sleep(POLL_SECONDS)


def sizes() -> dict[str, tuple[int, int]]:
    """Give how many rows each table has, and how many it can have."""
    said = haproxy_peers.ask_worker("show table")
    found = re.findall(r"^# table: ([^,]+),.*\bsize:(\d+), used:(\d+)", said, re.MULTILINE)
    return {name: (int(used), int(size)) for name, size, used in found}


def used(tables: list[Table]) -> int:
    """Give how many rows tables have together."""
    there = sizes()
    return sum(there[table.name][0] for table in tables if table.name in there)


def updates(tables: list[Table]) -> list[str]:
    """Give what changes with every change of a row: the worker, each table's count of updates, each peer's last one.

    The count stands still when what a peer says changes a row that is there.
    """
    found = re.findall(r"\blast_get=(\d+).*\n.*\bid=(\S+) update=(\d+)", haproxy_peers.ask_worker("show peers"))
    names = [table.name for table in tables]
    return [
        str(haproxy_peers.worker_pid()),
        *(f"{name} {count} {last}" for last, name, count in found if name in names),
    ]


def untold(tables: list[Table]) -> bool:
    """Whether tables have updates that no peer has taken yet: these are not counted again (seen with 3.2).

    A process without a peer has no other.
    """
    pattern = r"\bid=(\S+) update=\d+ localupdate=(\d+) commitupdate=(\d+)"
    names = [table.name for table in tables]
    found = re.findall(pattern, haproxy_peers.ask_worker("show peers"))
    return any(local != taken for name, local, taken in found if name in names)


def refuse_connections(section: str) -> bool:
    """Whether every remote peer of a section refuses connections: nothing runs there. A network can come back."""
    for _, address, _ in haproxy_peers.remote_peers(section):
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), PROBE_SECONDS).close()
            return False
        except ConnectionRefusedError:
            continue
        except OSError:
            return False
    return True
