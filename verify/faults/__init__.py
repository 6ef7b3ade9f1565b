"""Faults: what can be done to a deployment, how it is healed, and how both are seen.

`FAULTS` has them all by kind; each is made as `FAULTS[kind](site, target)`, nothing happens before a
`Nemesis` injects it. docs/faults.md describes them.
"""

from collections.abc import Callable
from functools import partial

from verify.faults.backend import Drain, ServerDown, WebStop
from verify.faults.clock import ClockStep
from verify.faults.config import ReloadConfig, ReloadConfigRemove
from verify.faults.injection import Injection
from verify.faults.nemesis import Nemesis, Permission
from verify.faults.network import Isolate, PeersCut, PeersCutIn, PeersCutOut
from verify.faults.outage import Outage, PowerCut, RestartAll, StopAll
from verify.faults.process import ColdStart, Kill, Pause, RapidReloads, Reload, Restart, RestartLast, Stop
from verify.faults.site import Site, lock_all, open_site
from verify.faults.table import TableClear

__all__ = [
    "FAULTS",
    "ClockStep",
    "ColdStart",
    "Drain",
    "Injection",
    "Isolate",
    "Kill",
    "Nemesis",
    "Outage",
    "Pause",
    "PeersCut",
    "PeersCutIn",
    "PeersCutOut",
    "Permission",
    "PowerCut",
    "RapidReloads",
    "Reload",
    "ReloadConfig",
    "ReloadConfigRemove",
    "Restart",
    "RestartAll",
    "RestartLast",
    "ServerDown",
    "Site",
    "Stop",
    "StopAll",
    "TableClear",
    "WebStop",
    "lock_all",
    "open_site",
    "possible",
]

FAULTS: dict[str, type[Injection]] = {
    fault.kind: fault
    for fault in (
        Reload,
        RapidReloads,
        ReloadConfig,
        ReloadConfigRemove,
        Restart,
        RestartLast,
        ColdStart,
        RestartAll,
        Stop,
        StopAll,
        Kill,
        PowerCut,
        Pause,
        PeersCut,
        PeersCutIn,
        PeersCutOut,
        Isolate,
        ServerDown,
        Drain,
        WebStop,
        TableClear,
        ClockStep,
    )
}


def possible(site: Site) -> list[Callable[[], Injection]]:
    """Returns the faults that a site allows, for a random choice, in an order that is always the same.

    Each call of one of them makes a new injection. A kind has as many targets as there are
    balancers at most, so that many servers don't crowd the other kinds out. Left out are what
    the hosts' kind does not allow, what would take away the only balancer or the only web host,
    and what takes away the last one.

    Raises:
        HostError: a host can't be asked for its kind.
        Refused: the topology names no service.
    """
    found: list[Callable[[], Injection]] = []
    for fault in FAULTS.values():
        members = site.topology.web_hosts if fault is WebStop else site.balancers
        if fault.takes_all or (len(members) < 2 and (fault.takes_away or fault is WebStop)):
            continue
        for target in fault.choices(site)[: len(site.balancers)]:
            hosts = fault(site, target).targets
            if all(site.hosts[host].facts.kind in fault.possible_on for host in hosts):
                found.append(partial(fault, site, target))
    return found
