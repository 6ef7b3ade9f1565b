"""Loaded scenarios: faults while an open-loop generator asks."""

import time
from collections.abc import Sequence
from typing import ClassVar

from verify.cluster import Cluster
from verify.faults import FAULTS, Injection, Reload, Site, possible
from verify.scenarios.quiet import ask_at_rest, plant_and_ask
from verify.scenarios.scenario import ALWAYS, AT_REST, WITH_FAULTS, Scenario, Size, two_balancers

RELOADS = 4
PAUSE_SECONDS = 2.0  # between two faults, for the load to show what the first one did


class ReloadUnderLoad(Scenario):
    """The reload's window."""

    name = "reload-under-load"
    describes = (
        "A balancer is reloaded several times under load. HAProxy itself loses sessions here: a new worker answers"
        " before its tables have arrived."
    )
    invariants: ClassVar = (*ALWAYS, *AT_REST, *WITH_FAULTS)
    kinds = (Reload.kind,)
    load_rate = 200
    may_lose = True

    def faults(self, site: Site) -> Sequence[Injection]:
        """The first balancer is reloaded, again and again."""
        first, _ = two_balancers(site)
        return [Reload(site, first) for _ in range(RELOADS)]

    def play(self, cluster: Cluster, size: Size) -> None:
        """Reloads under load, one reload after another is in sync."""
        plant_and_ask(cluster, size)
        cluster.tables.fill(size.rows)
        cluster.recorder.phase("load")
        with cluster.load(self.rate(size), size.seconds, size.share_new, size.keep_alive) as load:
            for injection in self.faults(cluster.site):
                cluster.tables.await_sync()
                with cluster.inject(injection):
                    pass
                if not load.running:
                    break
                time.sleep(PAUSE_SECONDS)
        ask_at_rest(cluster, "ask everywhere at the end")


class Random(Scenario):
    """Everything, in an order that only the seed knows."""

    name = "random"
    describes = "For a given time, faults drawn from the seed, one after another, under a light load."
    invariants: ClassVar = (*ALWAYS, *AT_REST, *WITH_FAULTS)
    kinds = tuple(FAULTS)
    load_rate = 20
    may_lose = True

    def faults(self, site: Site) -> Sequence[Injection]:
        """One of each that is possible here: which come, and how often, is the seed's choice."""
        return [draw() for draw in possible(site)]

    def play(self, cluster: Cluster, size: Size) -> None:
        """Injects until the time is over."""
        plant_and_ask(cluster, size)
        cluster.recorder.phase("faults")
        draws = possible(cluster.site)
        deadline = time.monotonic() + size.seconds
        with cluster.load(self.rate(size), None, size.share_new, size.keep_alive):
            while time.monotonic() < deadline:
                cluster.tables.await_sync()
                injection = cluster.random.choice(draws)()
                with cluster.inject(injection):
                    time.sleep(PAUSE_SECONDS)
                time.sleep(PAUSE_SECONDS)
        ask_at_rest(cluster, "ask everywhere at the end")
