"""Across: sessions are planted, a fault is injected and healed, and nothing may have moved."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import ClassVar

from verify.cluster import Cluster
from verify.faults import (
    Drain,
    Injection,
    Isolate,
    Kill,
    Pause,
    PeersCut,
    Reload,
    ReloadConfig,
    Restart,
    ServerDown,
    Site,
    Stop,
)
from verify.scenarios.quiet import ask_at_rest, plant_and_ask
from verify.scenarios.scenario import ALWAYS, AT_REST, WITH_FAULTS, Scenario, Size, two_balancers

FRESH = 4  # sessions that are born on each balancer while the faults last


class Across(Scenario):
    """One such scenario, with faults of its own."""

    invariants: ClassVar = (*ALWAYS, *AT_REST, *WITH_FAULTS)

    def __init__(self, name: str, describes: str, *faults: tuple[type[Injection], Callable[[Site], str]]) -> None:
        """`faults` has each fault, outermost first, and what chooses its target."""
        self.name, self.describes = name, describes
        self.kinds = tuple(fault.kind for fault, _ in faults)
        self._faults = faults

    def faults(self, site: Site) -> Sequence[Injection]:
        """Each on its target."""
        return [fault(site, target(site)) for fault, target in self._faults]

    def play(self, cluster: Cluster, size: Size) -> None:
        """Plants, breaks, asks meanwhile, heals, asks everywhere."""
        labels = plant_and_ask(cluster, size)
        cluster.tables.await_sync()
        with ExitStack() as stack:
            for injection in self.faults(cluster.site):
                cluster.recorder.phase(injection.kind)
                stack.enter_context(cluster.inject(injection))
            asked = self.asked_meanwhile(cluster)
            if asked:
                cluster.recorder.phase(f"ask {', '.join(asked)} meanwhile")
                cluster.ask_everywhere(labels, asked)
            for balancer in asked:  # those that are born in the fault, each where it was born
                fresh = cluster.plant(FRESH, balancer)
                cluster.ask(cluster.shuffled(fresh * 2), balancer)
            cluster.recorder.phase("heal")
        ask_at_rest(cluster, "ask everywhere again")

    def asked_meanwhile(self, cluster: Cluster) -> Sequence[str]:
        """Returns the balancers that are asked while the faults last: all that are not taken away."""
        gone = {host for injection in self.faults(cluster.site) if injection.takes_away for host in injection.targets}
        return [balancer for balancer in cluster.balancers if balancer not in gone]


def _first(site: Site) -> str:
    return two_balancers(site)[0]


def _second(site: Site) -> str:
    return two_balancers(site)[1]


def _server(site: Site) -> str:
    return site.service.servers[0].name


ACROSS = (
    Across(
        "reload-alone",
        "One balancer is stopped and the other reloaded: its new worker learns the table from the old one.",
        (Stop, _second),
        (Reload, _first),
    ),
    Across(
        "restart",
        "One balancer is restarted while the other lives: it learns the table from the other.",
        (Restart, _first),
    ),
    Across(
        "crash",
        "One balancer's processes are killed (SIGKILL) while the other lives; systemd starts it again.",
        (Kill, _second),
    ),
    Across(
        "pause",
        "One balancer's processes are stopped (SIGSTOP) until the other has given them up, and go on.",
        (Pause, _second),
    ),
    Across(
        "partition",
        "The peers port is cut while both balancers are asked; after the heal each knows the other's sessions.",
        (PeersCut, _first),
    ),
    Across(
        "isolate",
        "One balancer is cut off from clients and peers, and comes back with its old table.",
        (Isolate, _second),
    ),
    Across(
        "server-down",
        "One server goes down and comes back: its sessions move and stay moved, all others stay.",
        (ServerDown, _server),
    ),
    Across(
        "drain",
        "One server is drained: its sessions stay, and it gets no new ones.",
        (Drain, _server),
    ),
    Across(
        "reload-config",
        "A server is added and taken away again, each by a reload: no session moves.",
        (ReloadConfig, _first),
    ),
)
