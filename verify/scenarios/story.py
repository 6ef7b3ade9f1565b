"""Story: the walk-through of the demo, told line by line."""

from collections.abc import Sequence
from typing import ClassVar

from verify.cluster import Cluster
from verify.faults import Injection, Reload, Site, Stop
from verify.scenarios.scenario import ALWAYS, AT_REST, WITH_FAULTS, Scenario, Size, two_balancers

EACH = 5  # sessions in each step, as in the original demo


class Story(Scenario):
    """Four steps and a look at both tables."""

    name = "story"
    describes = "The demo's walk-through, told line by line: two balancers, a stop, a reload and a start."
    invariants: ClassVar = (*ALWAYS, *AT_REST, *WITH_FAULTS)
    kinds = (Stop.kind, Reload.kind)

    def faults(self, site: Site) -> Sequence[Injection]:
        """The second balancer is stopped around the first's reload."""
        first, second = two_balancers(site)
        return [Stop(site, second), Reload(site, first)]

    def play(self, cluster: Cluster, size: Size) -> None:
        """Plays the original's steps; `size` does not matter to a story."""
        one, two = cluster.balancers[:2]
        for number, (born, asked) in enumerate(((one, one), (two, one), (one, two)), 1):
            cluster.recorder.phase(f"{number}. {EACH} new sessions on {born}, then the same on {asked}, out of order")
            labels = cluster.plant(EACH, born, tell=True)
            cluster.tables.await_rows(labels)
            cluster.settle()
            cluster.ask(cluster.shuffled(labels), asked, tell=True)
        cluster.recorder.phase("4. Two sessions that a server issues, on both balancers")
        made_by, cluster.issued_by = cluster.issued_by, "server"
        labels = cluster.plant(2, one, tell=True)
        cluster.issued_by = made_by
        cluster.tables.await_rows(labels)
        cluster.settle()
        for balancer in (two, one):
            cluster.ask(labels, balancer, tell=True)
        cluster.tables.await_sync()
        everything = list(cluster.sessions)
        stop, reload = self.faults(cluster.site)
        cluster.recorder.phase(f"5. {two} stops, {one} is reloaded: its new worker can learn from the old one alone")
        with cluster.inject(stop):
            cluster.tables.await_sync([one])
            with cluster.inject(reload):
                cluster.ask(cluster.shuffled(everything), one, tell=True)
        cluster.recorder.phase(f"6. {two} is back, and has learnt every session from {one}")
        cluster.tables.await_sync()
        cluster.tables.await_rows(everything)
        cluster.settle()
        cluster.ask(cluster.shuffled(everything), two, tell=True)
        cluster.settle()
        cluster.tables.snapshot()
