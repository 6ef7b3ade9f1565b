"""Worker: HAProxy's old workers, which a reload leaves to the connections that they have."""

import re
from contextlib import suppress

from verify.errors import VerifyError
from verify.faults.injection import watch
from verify.faults.site import Site
from verify.faults.unit import Process, Unit, processes_of
from verify.history import Evidence
from verify.runtime_text import parse_info


def master_socket(found: list[Process], master: int) -> str | None:
    """Returns the path of the master's own socket (`-S`), None where it has none, or one that is no path."""
    for process in found:
        if process.pid == master and (option := re.search(r" -S (?:unix@)?(/[^\s,]+)", process.arguments)):
            return option[1]
    return None


def workers(found: list[Process], master: int) -> list[int]:
    """Returns the pids of the workers among a unit's processes.

    The master's other children are programs of the configuration's. Before 1.8 each worker has a process of its
    own that waits for it, a child of the unit's wrapper.
    """
    haproxies = [known for known in found if known.pid != master and known.command.startswith("haproxy")]
    waiting = {known.parent for known in haproxies}
    return [known.pid for known in haproxies if known.pid not in waiting]


def old_workers(site: Site, name: str) -> dict[int, int | None]:
    """Returns the connections of each old worker, by pid; None where it, or its master, can't be asked.

    Raises:
        VerifyError: the host or the present worker can't be asked.
    """
    host, unit = site.hosts[name], site.balancer(name).unit
    master, present = Unit.of(host, unit).main, int(site.apis[name].info()["Pid"])
    found = processes_of(host, unit)
    socket = master_socket(found, master)
    old: dict[int, int | None] = dict.fromkeys(pid for pid in workers(found, master) if pid != present)
    for pid in old if socket else ():
        with suppress(VerifyError, KeyError, ValueError):  # it has just gone, or it hangs
            old[pid] = int(parse_info(host.cli(str(socket), [f"@!{pid} show info"])[0])["CurrConns"])
    return old


def no_strays(site: Site, name: str) -> Evidence:
    """Waits until every old worker is gone or has connections: those may last as long as clients like."""

    def look() -> tuple[bool, str]:
        old = old_workers(site, name)
        told = [f"{pid} has {'unknown' if held is None else held} connections" for pid, held in old.items()]
        return all(old.values()), ", ".join(told) or "no old worker"

    return watch(f"{name} has no old worker without connections", look)
