"""Random: faults while an open-loop generator asks."""

import time
from collections.abc import Sequence
from typing import ClassVar

from verify.cluster import Cluster
from verify.faults import FAULTS, Injection, Site, possible
from verify.scenarios.quiet import ask_at_rest, plant_and_ask
from verify.scenarios.scenario import ALWAYS, AT_REST, WITH_FAULTS, Scenario, Size

PAUSE_SECONDS = 2.0  # between two faults, for the load to show what the first one did


class Random(Scenario):
    """Everything, in an order that only the seed knows."""

    name = "random"
    describes = "For a given time, faults drawn from the seed, one after another, under a light load."
    invariants: ClassVar = (*ALWAYS, *AT_REST, *WITH_FAULTS)
    kinds = tuple(kind for kind, fault in FAULTS.items() if not fault.takes_all)
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
