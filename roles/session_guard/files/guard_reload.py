"""A reload that waits until the running process can hand over its tables, and says how it went."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import guard_dump
import haproxy_peers
from guard_configuration import Configuration, Table
from guard_host import Host, write
from guard_worker import POLL_SECONDS, gate_status, open_gate, sizes
from haproxy_peers import PeersError

WORKER_SECONDS = 15  # until a new worker answers
OPENING_SECONDS = 5  # beyond the gate's deadline
# A table of more rows is not compared: that would take seconds at each reload. Nor is a full one, whose oldest rows go.
COMPARED_ROWS = 100_000
SETTLE_SECONDS = 0.5  # as the gate's SETTLE: a row that is used while it is taught comes after the teaching
FEWER = 0.99  # of the rows of a larger table; some expire meanwhile


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
    old = Configuration(haproxy_peers.text_of(host.running_copy)) if host.running_copy.exists() else new
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
    before = sizes() if worker else {}
    taught = [table.name for table in old.sticky if table.name in new.tables and table.name not in carried]
    compared = [
        name for name in taught if name in before and before[name][0] <= min(COMPARED_ROWS, before[name][1] - 1)
    ]
    try:
        if carried or compared:
            try:
                dumped = [t for t in old.sticky if t.name in (*carried, *compared)]
                rows = guard_dump.write(file, dumped, local, durable=False)
                write(host.hold, "")
            except (OSError, PeersError) as error:
                if carried and host.settings["reload_unsynced"] == "refuse":
                    raise Refused(f"{'; '.join(said)}; they can't be carried: {error}") from error
                what = f"the rows of {', '.join(carried)} are lost" if carried else "the rows can't be compared"
                said.append(f"{what}: {error}")
                carried, compared = {}, []
        if carried:
            number = sum(rows[name] for name in carried)
            said.append(f"{number} rows of {', '.join(carried)} are carried by dump and restore")
        os.kill(master, signal.SIGUSR2)
        wait_for_worker(worker)
        if carried or compared:
            to_carry = {name: new.tables[to] for name, to in carried.items()}
            to_compare = {name: new.tables[name] for name in compared}
            try:
                said += write_back(host, file, to_carry, to_compare, others=len(taught) > len(compared))
            except (OSError, PeersError) as error:  # the new worker runs; its gate opens at its deadline, if not before
                said.append(f"whether rows are missing is unknown: {error}")
    finally:
        host.hold.unlink(missing_ok=True)
        file.unlink(missing_ok=True)
    said += wait_for_opening(host, new)
    after = sizes()
    said += [
        f"table {name} has {after[name][0]} rows after the reload, and had {before[name][0]}"
        for name in set(taught).intersection(before, after).difference(compared)
        if after[name][0] < before[name][0] * FEWER
    ]
    host.keep_running_copy()
    return "; ".join(["done with a warning", *said]) if said else "done"


def write_back(
    host: Host, file: Path, carried: dict[str, Table], compared: dict[str, Table], others: bool
) -> list[str]:
    """Bind what the new worker can't be taught, and what it was not taught; open its gate; give warnings.

    HAProxy 2.6 loses a row or two in some of hundreds of reloads under load, and 2.2 whole tables.

    Args:
        host: this one.
        file: a dump of before the reload.
        carried: the tables that the old worker can't teach, by their names in the dump.
        compared: those that it was to teach.
        others: whether it was to teach further ones, of which there is no dump.
    """
    said, restored, synced = [], 0, True
    if carried:
        counts = guard_dump.restore([file], carried, missing_only=True)
        restored = counts["restored"]
        said.append(f"restored: {guard_dump.figures(counts)}")
    if compared or others:
        bound = host.settings["gate_deadline"] / 2
        try:
            haproxy_peers.wait_until_in_sync(bound)
            time.sleep(SETTLE_SECONDS)
        except PeersError:
            synced = False
            said.append(f"the new process was not in sync within {bound:g} s")
    if compared and (missing := guard_dump.restore([file], compared, missing_only=True)["restored"]):
        restored += missing
        said.append(f"{missing} rows were missing after the reload, and written back")
    if synced or not others:
        open_gate("restored" if restored else "learnt")
    return said


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
