"""Quiet scenarios: they ask and look, and break nothing."""

from typing import ClassVar

from verify.cluster import Cluster
from verify.lag import measure
from verify.scenarios.scenario import ALWAYS, AT_REST, Scenario, Size

LAG_SAMPLES = 50  # in each direction


class Stickiness(Scenario):
    """Each balancer alone."""

    name = "stickiness"
    describes = "Sessions are planted on each balancer and asked there again and again, in random order."
    invariants: ClassVar = ("observed", "as-intended", "own-row", "one-server-per-session", "no-failed-request")

    def play(self, cluster: Cluster, size: Size) -> None:
        """Plants on every balancer, and asks each session three times where it was planted."""
        for balancer in cluster.balancers:
            cluster.recorder.phase(f"plant on {balancer}")
            labels = cluster.plant(size.sessions // len(cluster.balancers) or 1, balancer)
            cluster.recorder.phase(f"ask {balancer} again")
            cluster.ask(cluster.shuffled(labels * 3), balancer)


class Issued(Scenario):
    """Sessions that the application issues."""

    name = "issued"
    describes = "Sessions that servers issue count from the answer that issues them, on every balancer."
    invariants: ClassVar = (*ALWAYS, *AT_REST)

    def play(self, cluster: Cluster, size: Size) -> None:
        """Logs in on all balancers in turn, then asks everywhere."""
        cluster.issued_by = "server"
        plant_and_ask(cluster, size)


class Sync(Scenario):
    """Every direction between balancers."""

    name = "sync"
    describes = "What one balancer learns the others follow: planted on each in turn, asked on all the others."
    invariants: ClassVar = (*ALWAYS, *AT_REST)

    def play(self, cluster: Cluster, size: Size) -> None:
        """Plants on one balancer at a time, and asks the others."""
        for balancer in cluster.balancers:
            cluster.recorder.phase(f"plant on {balancer}")
            labels = cluster.plant(size.sessions, balancer)
            cluster.tables.await_rows(labels)
            cluster.settle()
            others = [other for other in cluster.balancers if other != balancer]
            cluster.recorder.phase(f"ask {', '.join(others)}")
            cluster.ask_everywhere(labels, others)
            cluster.ask(cluster.shuffled(labels), balancer)
        cluster.tables.snapshot()


class SyncLag(Scenario):
    """How long a row takes to the other balancers."""

    name = "lag"
    describes = "Rows are written on one balancer and watched for on another: the sync lag in each direction."
    invariants: ClassVar = ("rows-arrive",)
    writes = True

    def play(self, cluster: Cluster, size: Size) -> None:
        """Writes rows of its own through the runtime API, in every direction."""
        cluster.recorder.phase("measure")
        known = cluster.site.apis[cluster.balancers[0]].servers(cluster.service.backend)
        directions = len(cluster.balancers) * (len(cluster.balancers) - 1)
        lags = measure(
            {name: cluster.site.hosts[name] for name in cluster.balancers},
            {name: cluster.site.balancer(name).socket for name in cluster.balancers},
            cluster.service.table.name,
            known[0].id,
            [cluster.sessions[cluster.new_client_session()].key for _ in range(LAG_SAMPLES * directions)],
        )
        for lag in lags:
            cluster.recorder.write(lag)


class AtOnce(Scenario):
    """The same new session on two balancers at the same moment."""

    name = "at-once"
    describes = (
        "The same new session is used on two balancers at the same moment: they may differ (HAProxy swaps such"
        " rows), and must agree after the next touch."
    )
    invariants: ClassVar[tuple[str, ...]] = (
        "observed",
        "own-row",
        "agree-after-touch",
        "no-failed-request",
        "tables-equal",
    )

    def play(self, cluster: Cluster, size: Size) -> None:
        """Uses each new session everywhere at once, touches it on one balancer, asks the others."""
        labels = [cluster.new_client_session() for _ in range(size.sessions)]
        cluster.recorder.phase("first use, at once")
        for label in labels:
            # One balancer takes a turn alone before: two that are at the same turn would agree again and again.
            cluster.ask([cluster.new_client_session()], cluster.random.choice(cluster.balancers))
            cluster.ask_at_once(label, cluster.balancers)
        cluster.settle()
        cluster.tables.snapshot(labels)
        cluster.recorder.phase("touch")
        cluster.ask(cluster.shuffled(labels), cluster.balancers[0])
        cluster.settle()
        cluster.recorder.phase("ask the others")
        cluster.ask_everywhere(labels, cluster.balancers[1:])
        cluster.tables.snapshot(labels)


class Crossing(AtOnce):
    """The same, where the request itself is to decide."""

    name = "crossing"
    describes = (
        "The same new session is used on two balancers at the same moment, and must be sent to one server at once."
        " HAProxy itself does that only where the request decides, as by `balance hash` on the session's cookie."
    )
    invariants: ClassVar = (*AtOnce.invariants, "agree-at-once")
    may_lose: ClassVar = True


class Plant(Scenario):
    """The first half of `plant` and `check`."""

    name = "plant"
    describes = "Sessions are planted, asked everywhere, and left there for a later check."
    invariants: ClassVar = (*ALWAYS, *AT_REST)
    keeps = True

    def play(self, cluster: Cluster, size: Size) -> None:
        """Plants and asks."""
        plant_and_ask(cluster, size)


class Check(Scenario):
    """The second half."""

    name = "check"
    describes = "Sessions that were planted before are asked everywhere: none has moved, whatever was done since."
    invariants: ClassVar = (*ALWAYS, *AT_REST, "nothing-moves")

    def play(self, cluster: Cluster, size: Size) -> None:
        """Looks, asks everywhere, looks again."""
        cluster.tables.snapshot()
        cluster.recorder.phase("ask everywhere")
        cluster.ask_everywhere(cluster.sessions)
        cluster.settle()
        cluster.tables.snapshot()


def plant_and_ask(cluster: Cluster, size: Size) -> list[str]:
    """Plants on all balancers in turn, waits for the rows, asks everywhere; returns the labels."""
    cluster.recorder.phase("plant")
    labels = cluster.plant(size.sessions)
    cluster.tables.await_rows(labels)
    cluster.settle()
    cluster.recorder.phase("ask everywhere")
    cluster.ask_everywhere(labels)
    cluster.tables.snapshot()
    return labels


def ask_at_rest(cluster: Cluster, phase: str) -> None:
    """Waits until all is quiet, and asks every session everywhere; the history calls that `phase`."""
    cluster.tables.await_sync()
    cluster.await_servers()
    everything = list(cluster.sessions)
    cluster.tables.await_rows(everything)
    cluster.settle()
    cluster.recorder.phase(phase)
    cluster.ask_everywhere(everything)
    cluster.settle()
    cluster.tables.snapshot()
