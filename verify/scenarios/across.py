"""Across: sessions are planted, a fault is injected and healed, and nothing may have moved."""

from collections.abc import Sequence
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
from verify.scenarios.quiet import plant_and_ask
from verify.scenarios.scenario import ALWAYS, AT_REST, WITH_FAULTS, Scenario, Size, two_balancers

FRESH = 4  # sessions that are born on each balancer while the faults last


class Across(Scenario):
    """What these scenarios share; each says which faults, and who is asked while they last."""

    invariants: ClassVar = (*ALWAYS, *AT_REST, *WITH_FAULTS)

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
        cluster.tables.await_sync()
        cluster.await_servers()
        everything = list(cluster.sessions)
        cluster.tables.await_rows(everything)
        cluster.settle()
        cluster.recorder.phase("ask everywhere again")
        cluster.ask_everywhere(everything)
        cluster.settle()
        cluster.tables.snapshot()

    def asked_meanwhile(self, cluster: Cluster) -> Sequence[str]:
        """Returns the balancers that are asked while the faults last: all that are not taken away."""
        gone = {host for injection in self.faults(cluster.site) if injection.takes_away for host in injection.targets}
        return [balancer for balancer in cluster.balancers if balancer not in gone]


class ReloadAlone(Across):
    """The demo's point."""

    name = "reload-alone"
    describes = "One balancer is stopped and the other reloaded: its new worker learns the table from the old one."
    kinds = (Stop.kind, Reload.kind)

    def faults(self, site: Site) -> Sequence[Injection]:
        """The second is stopped around the first's reload."""
        first, second = two_balancers(site)
        return [Stop(site, second), Reload(site, first)]


class RestartOne(Across):
    """A cold start beside a balancer that lives."""

    name = "restart"
    describes = "One balancer is restarted while the other lives: it learns the table from the other."
    kinds = (Restart.kind,)

    def faults(self, site: Site) -> Sequence[Injection]:
        """The first is restarted."""
        first, _ = two_balancers(site)
        return [Restart(site, first)]


class Crash(Across):
    """The same without a word of warning."""

    name = "crash"
    describes = "One balancer's processes are killed (SIGKILL) while the other lives; systemd starts it again."
    kinds = (Kill.kind,)

    def faults(self, site: Site) -> Sequence[Injection]:
        """The second is killed."""
        _, second = two_balancers(site)
        return [Kill(site, second)]


class Frozen(Across):
    """A balancer that hangs."""

    name = "pause"
    describes = "One balancer's processes are stopped (SIGSTOP) until the other has given them up, and go on."
    kinds = (Pause.kind,)

    def faults(self, site: Site) -> Sequence[Injection]:
        """The second is paused."""
        _, second = two_balancers(site)
        return [Pause(site, second)]


class Partition(Across):
    """Balancers that can't hear each other, with traffic on both sides."""

    name = "partition"
    describes = "The peers port is cut while both balancers are asked; after the heal each knows the other's sessions."
    kinds = (PeersCut.kind,)

    def faults(self, site: Site) -> Sequence[Injection]:
        """The first is cut from its peers, both ways."""
        first, _ = two_balancers(site)
        return [PeersCut(site, first)]


class CutOff(Across):
    """A balancer that nobody reaches."""

    name = "isolate"
    describes = "One balancer is cut off from clients and peers, and comes back with its old table."
    kinds = (Isolate.kind,)

    def faults(self, site: Site) -> Sequence[Injection]:
        """The second is cut off."""
        _, second = two_balancers(site)
        return [Isolate(site, second)]


class BackendDown(Across):
    """A server that fails its health check, and comes back."""

    name = "server-down"
    describes = "One server goes down and comes back: its sessions move and stay moved, all others stay."
    kinds = (ServerDown.kind,)

    def faults(self, site: Site) -> Sequence[Injection]:
        """The first server's port is rejected on its web host."""
        return [ServerDown(site, site.service.servers[0].name)]


class DrainOne(Across):
    """A server that takes no new sessions."""

    name = "drain"
    describes = "One server is drained: its sessions stay, and it gets no new ones."
    kinds = (Drain.kind,)

    def faults(self, site: Site) -> Sequence[Injection]:
        """The first server is drained on every balancer."""
        return [Drain(site, site.service.servers[0].name)]


class ConfigChange(Across):
    """A reload that changes the list of servers."""

    name = "reload-config"
    describes = "A server is added and taken away again, each by a reload: no session moves."
    kinds = (ReloadConfig.kind,)

    def faults(self, site: Site) -> Sequence[Injection]:
        """The first balancer's configuration is changed."""
        first, _ = two_balancers(site)
        return [ReloadConfig(site, first)]
