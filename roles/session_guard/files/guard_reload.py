"""A reload that waits until the running process can hand over its tables, and says how it went."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import guard_dump
import haproxy_peers
from guard_configuration import Configuration
from guard_host import Host, write
from guard_worker import POLL_SECONDS, gate_status, open_gate
from haproxy_peers import PeersError

WORKER_SECONDS = 15  # until a new worker answers
OPENING_SECONDS = 5  # beyond the gate's deadline


class Refused(Exception):
    """A reload was refused: nothing was changed; the text says why."""


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
            said.append(f"restored: {guard_dump.figures(counts)}")
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

    Raises:
        PeersError: not within the bound; the old worker serves on.
    """
    deadline = time.monotonic() + WORKER_SECONDS
    while haproxy_peers.answering_worker() in (0, before):
        if time.monotonic() > deadline:
            raise PeersError(f"no new worker within {WORKER_SECONDS} s; see the unit's journal")
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
