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
from verify.faults.process import Kill, Pause, RapidReloads, Reload, Restart, Stop
from verify.faults.site import Site, lock_all, open_site
from verify.faults.table import TableClear

__all__ = [
    "FAULTS",
    "ClockStep",
    "Drain",
    "Injection",
    "Isolate",
    "Kill",
    "Nemesis",
    "Pause",
    "PeersCut",
    "PeersCutIn",
    "PeersCutOut",
    "Permission",
    "RapidReloads",
    "Reload",
    "ReloadConfig",
    "ReloadConfigRemove",
    "Restart",
    "ServerDown",
    "Site",
    "Stop",
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
        Stop,
        Kill,
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
    the hosts' kind does not allow, what would take away the only balancer or the only web host.

    Raises:
        HostError: a host can't be asked for its kind.
        Refused: the topology names no service.
    """
    found: list[Callable[[], Injection]] = []
    for fault in FAULTS.values():
        members = site.topology.web_hosts if fault is WebStop else site.balancers
        if len(members) < 2 and (fault.takes_away or fault is WebStop):
            continue
        for target in fault.choices(site)[: len(site.balancers)]:
            hosts = fault(site, target).targets
            if all(site.hosts[host].facts.kind in fault.possible_on for host in hosts):
                found.append(partial(fault, site, target))
    return found
