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
from guard_worker import POLL_SECONDS, acknowledged, gate_status, open_gate, sizes, wait_until_acknowledged
from haproxy_peers import PeersError

CHECK_SECONDS = 30  # below the hook's own limit, which has the waits too
WORKER_SECONDS = 15  # until a new worker answers, beside the time that it takes to load the configuration
LOADS = 3  # a check loads it once; a new worker does so while others serve, and from 3.1 on the master before it
# What a master sets for the one that it re-executes (setenv in HAProxy's src/); other names are the operator's.
OWN_VARIABLES = {
    *("HAPROXY_CFGFILES", "HAPROXY_CLI", "HAPROXY_LOAD_SUCCESS", "HAPROXY_LOCALPEER", "HAPROXY_MASTER_CLI"),
    *("HAPROXY_MWORKER", "HAPROXY_MWORKER_REEXEC", "HAPROXY_MWORKER_WAIT_ONLY", "HAPROXY_PROCESSES"),
    *("HAPROXY_STARTUPLOGS_FD", "HAPROXY_STARTUP_VERSION", "NOTIFY_SOCKET"),
}
OPENING_SECONDS = 5  # beyond the gate's deadline
# A table of more rows is not compared: that would take seconds at each reload. Nor is a full one, whose oldest rows go.
COMPARED_ROWS = 100_000
SETTLE_SECONDS = 0.5  # as the gate's SETTLE: a row that is used while it is taught comes after the teaching
TOLD_SECONDS = 10  # for the other balancers to take what is new: HAProxy tries a lost connection again after five
FEWER = 0.99  # of the rows of a larger table; some expire meanwhile


class Refused(Exception):
    """A reload was refused: nothing was changed; the text says why."""


def reload(host: Host) -> str:
    """Check, wait for the sync, signal, and wait for the new worker and its gate; say how it went.

    Raises:
        Refused: nothing was changed.
        PeersError: the new worker did not come.
    """
    host.hold.unlink(missing_ok=True)  # left over by one that was ended: this one's gate would wait for no rows
    master = haproxy_peers.master_pid()
    if not master:
        raise Refused(f"{haproxy_peers.UNIT} does not run")
    checked = check_as_unit(host, master)
    worker = current_worker()
    new, local = host.read(), host.local_peer()
    old = Configuration(haproxy_peers.text_of(host.running_copy)) if host.running_copy.exists() else host.read()
    if worker:  # a reload by somebody else may have left an older copy: the tables that the process has count
        there, sticking = sizes(), [table.name for table in old.sticky + new.sticky]
        old.tables = {name: table for name, table in {**new.tables, **old.tables}.items() if name in there}
        old.sticky = [table for name, table in old.tables.items() if name in sticking]
    said, carried = old.changes(new, local)
    others: set[tuple[str, str]] = set()
    if worker:
        try:
            haproxy_peers.wait_until_in_sync(host.settings["reload_wait"])
        except PeersError as error:
            if host.settings["reload_unsynced"] == "refuse":
                raise Refused(f"{error}\n(session_guard_reload_unsynced: proceed would reload nevertheless)") from error
            said.append(f"the running process was not in sync within {host.settings['reload_wait']:g} s")
            carried = {table.name: carried.get(table.name, table.name) for table in old.sticky} | carried
        names = {table.name for table in old.sticky}
        others = {(peer, name) for peer, name in acknowledged(haproxy_peers.ask_worker("show peers")) if name in names}
        others -= wait_until_acknowledged(others, TOLD_SECONDS / 5)
    file = host.state_directory / "carried.dump"
    carried = {name: to for name, to in carried.items() if worker and to in new.tables}
    before, began = sizes() if worker else {}, time.monotonic()
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
        wait_for_worker(worker, WORKER_SECONDS + LOADS * checked)
        if carried or compared:
            to_carry = {name: new.tables[to] for name, to in carried.items()}
            to_compare = {name: new.tables[name] for name in compared}
            try:
                said += write_back(host, file, to_carry, to_compare, others=len(taught) > len(compared))
                guard_dump.send_on(to_compare, time.monotonic() - began)
            except (OSError, PeersError) as error:  # the new worker runs; its gate opens at its deadline, if not before
                said.append(f"whether rows are missing is unknown: {error}")
    finally:
        host.hold.unlink(missing_ok=True)
        file.unlink(missing_ok=True)
    said += wait_for_opening(host, new)
    late = wait_until_acknowledged({(peer, name) for peer, name in others if name in taught}, TOLD_SECONDS)
    said += [
        f"peer {peer} has not taken the latest rows of {name} within {TOLD_SECONDS} s" for peer, name in sorted(late)
    ]
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


def current_worker() -> int:
    """Give the process id of the current worker; 0 where there is none, as after a reload that failed (2.4, 3.2).

    Raises:
        Refused: the master does not answer; a new worker could not be told from the old one.
    """
    if worker := haproxy_peers.worker_pid():
        return worker
    try:
        haproxy_peers.ask("show proc")
    except OSError as error:
        raise Refused(f"the master does not answer on {haproxy_peers.MASTER_SOCKET}: {error}") from error
    return haproxy_peers.worker_pid()


def check_as_unit(host: Host, master: int) -> float:
    """Have HAProxy check the configuration with what the running master would start a new worker with.

    Returns:
        How many seconds that took.

    Raises:
        Refused: with HAProxy's own output; a warning that means a lost table is one.
    """
    read = Path(f"/proc/{master}/environ").read_text().split("\0")
    own = dict(row.split("=", 1) for row in read if "=" in row)
    environment = {name: value for name, value in own.items() if name not in OWN_VARIABLES}
    command, begun = [*host.arguments, "-c"], time.monotonic()
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(f"HAProxy did not check the configuration within {CHECK_SECONDS} s") from error
    output = (done.stdout + done.stderr).strip()
    if done.returncode != 0:
        raise Refused(f"HAProxy refuses the configuration:\n{output}")
    if lost := haproxy_peers.warnings_about_peers(output):
        raise Refused("HAProxy would run without its peers, and lose the tables:\n" + "\n".join(lost))
    return time.monotonic() - begun


def wait_for_worker(before: int, bound: float) -> None:
    """Wait until the master has another worker than before, which answers.

    Raises:
        PeersError: not within the bound, in seconds; the old worker serves on.
    """
    deadline = time.monotonic() + bound
    while haproxy_peers.answering_worker() in (0, before):
        if time.monotonic() > deadline:
            raise PeersError(f"no new worker within {bound:.0f} s; see the unit's journal")
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
    if host.settings["gate"] and not gate_status():
        return ["the running process has no gate; see `session-guard check`"]
    return []
