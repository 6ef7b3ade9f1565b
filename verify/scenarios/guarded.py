"""Guarded: what stock HAProxy loses, and what no session may be lost in with the session guard.

With the guard each of them is expected to move nothing (`power-cut`: nothing that is older than a dump's
interval) and to fail no request outside the declared windows: a port is closed while its only instance is
down. Without it each must be judged fail, or a pass proves nothing. A balancer that does not know a
session sends it where it was once in k, with k servers; of N sessions all stay once in k^N. With the
lab's seven servers 7^-8 is below one in a million. Sessions come in random order, so that the balancer's
turn has nothing to do with them.

- Where tables are lost as a whole (`rapid-reloads`, `last-restart`, `power-cut`, `both-rebooted`) every planted session
  is lost: N is 24.
- Where a balancer starts and answers before it has learnt 100,000 rows, which takes 0.1 s and more, half of the
  sessions knock: they ask as soon as the port opens, within some 10 ms. N is 12 for the starts of `package-restart`,
  and 36 for the three crashes of `crash-restart` and of `stale-dump`. A start long after a stop is no such case: the
  peer teaches at once, and nothing moved in 2 of 3 of them.
- Where a reload has such a window (`reload-under-load`, `old-worker`), the load sees it: 200 requests a second, half of
  them to this balancer, are 10 in a window, and there are ten windows. `old-worker` has an answer of an
  old worker for each reload, too.
"""

import time
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from typing import ClassVar

import msgspec

from verify.client import Client
from verify.cluster import Cluster
from verify.errors import Refused
from verify.faults import (
    ColdStart,
    Injection,
    Kill,
    PowerCut,
    RapidReloads,
    Reload,
    RestartAll,
    RestartLast,
    ServerDown,
    Site,
    Stop,
    StopAll,
)
from verify.history import SECOND
from verify.scenarios.quiet import ask_at_rest, plant_and_ask
from verify.scenarios.scenario import ALWAYS, AT_REST, WITH_FAULTS, Scenario, Size, two_balancers

GROUP = "guard"
RELOADS = 10
KILLS = 3
QUIET = 35  # sessions that a stale dump would bring back: nobody asks for them until all is at rest
PAUSE_SECONDS = 1.0  # after a fault, for the load to show what it did


class Guarded(Scenario):
    """One such scenario: a table with many rows, and faults under load.

    Attributes:
        outage: whether nobody answers for a while.
    """

    invariants: ClassVar[tuple[str, ...]] = (*ALWAYS, *AT_REST, *WITH_FAULTS, "rows-kept")
    load_rate: ClassVar = 200
    rows = 100_000
    group: ClassVar = GROUP
    may_lose: ClassVar = True
    outage: ClassVar = False

    def play(self, cluster: Cluster, size: Size) -> None:
        """Plants, fills the table, breaks under load, asks everywhere."""
        labels = plant_and_ask(cluster, size)
        asked, knocking = labels[::2], labels[1::2]
        self.fill(cluster, size)
        cluster.tables.await_sync()
        cluster.recorder.phase("load")
        with cluster.load(self.rate(size), None, size.share_new, size.keep_alive, asked, self.outage):
            self.under_load(cluster, asked, knocking)
        ask_at_rest(cluster, "ask everywhere at the end")
        cluster.tables.count_stock()

    @abstractmethod
    def under_load(self, cluster: Cluster, asked: list[str], knocking: list[str]) -> None:
        """Breaks it; the load has the sessions `asked`, and `knocking` are for a port that opens again."""

    def back(self, cluster: Cluster, injection: Injection, knocking: list[str]) -> None:
        """Injects a fault that closes ports, and heals it; all `knocking` sessions ask when the ports open again."""
        away = injection.targets
        own = {name: knocking[number :: len(away)] for number, name in enumerate(away)}
        with cluster.knocking(own), cluster.inject(injection):
            pass
        time.sleep(PAUSE_SECONDS)


class Again(Guarded):
    """A fault of the first balancer, again and again, each time of a process that is in sync.

    Attributes:
        fault: what breaks it.
        times: how often.
    """

    fault: ClassVar[type[Reload | Kill]]
    times: ClassVar[int]

    def faults(self, site: Site) -> Sequence[Injection]:
        """They are all of the first balancer."""
        first, _ = two_balancers(site)
        return [self.fault(site, first) for _ in range(self.times)]

    def under_load(self, cluster: Cluster, asked: list[str], knocking: list[str]) -> None:
        """One after another."""
        for injection in self.faults(cluster.site):
            cluster.tables.await_sync()
            self.once(cluster, injection, knocking)

    def once(self, cluster: Cluster, injection: Injection, knocking: list[str]) -> None:
        """Breaks it once."""
        self.back(cluster, injection, knocking)


class ReloadUnderLoad(Again):
    """The reload's window."""

    name = "reload-under-load"
    describes = (
        "A balancer is reloaded ten times under load. HAProxy itself loses sessions here: a new worker answers before"
        " its tables have arrived."
    )
    kinds = (Reload.kind,)
    fault = Reload
    times = RELOADS

    def once(self, cluster: Cluster, injection: Injection, knocking: list[str]) -> None:
        """No port is closed for which anybody could wait."""
        with cluster.inject(injection):
            pass
        time.sleep(PAUSE_SECONDS)


class CrashRestart(Again):
    """A crash's window."""

    name = "crash-restart"
    describes = (
        "A balancer's processes are killed (SIGKILL) three times under load while the other lives. HAProxy itself loses"
        " sessions here: the new process answers while it still learns."
    )
    kinds = (Kill.kind,)
    fault = Kill
    times = KILLS


class RapidReload(Scenario):
    """Reloads of a process that has just been started."""

    name = "rapid-reloads"
    describes = (
        "While the other balancers are stopped, one is started anew, and reloaded from its first second on, again and"
        " again; sessions are born in between. HAProxy itself loses them: a worker hands over nothing before it is in"
        " sync."
    )
    kinds = (Stop.kind, ColdStart.kind, RapidReloads.kind)
    invariants: ClassVar = (*ALWAYS, *AT_REST, *WITH_FAULTS)
    group: ClassVar = GROUP
    may_lose: ClassVar = True

    def faults(self, site: Site) -> Sequence[Injection]:
        """All others are stopped, so that nobody else can teach; five reloads in a row, twice."""
        first, _ = two_balancers(site)
        away = [Stop(site, other) for other in site.others(first)]
        return [*away, ColdStart(site, first), *(RapidReloads(site, first, early=early) for early in (True, False))]

    def play(self, cluster: Cluster, size: Size) -> None:
        """Stops the others, starts one, and reloads it between logins."""
        *away, start, one, two = self.faults(cluster.site)
        first = start.target
        labels = plant_and_ask(cluster, size)
        cluster.tables.await_sync()
        with ExitStack() as stack:
            for injection in away:
                stack.enter_context(cluster.inject(injection))
            cluster.recorder.phase(f"ask {first} meanwhile")
            cluster.ask(cluster.shuffled(labels), first)
            with cluster.inject(start):
                pass
            born: list[str] = []
            for injection in (one, two):
                cluster.recorder.phase(f"plant on {first}, and reload it at once")
                born += cluster.plant(size.sessions // 2, first)
                with cluster.inject(injection):
                    pass
            cluster.recorder.phase(f"ask {first} again")
            cluster.ask(cluster.shuffled(born), first)
            cluster.recorder.phase("heal")
        ask_at_rest(cluster, "ask everywhere again")


class LastRestart(Guarded):
    """The only instance is restarted."""

    name = "last-restart"
    describes = (
        "While the other balancers are stopped, the last one is restarted under load. HAProxy itself loses all"
        " sessions: tables live in processes."
    )
    kinds = (Stop.kind, RestartLast.kind)
    rows = 10_000
    outage: ClassVar = True

    def faults(self, site: Site) -> Sequence[Injection]:
        """All but the first are stopped."""
        first, _ = two_balancers(site)
        return [*(Stop(site, other) for other in site.others(first)), RestartLast(site, first)]

    def under_load(self, cluster: Cluster, asked: list[str], knocking: list[str]) -> None:
        """Stops the others, restarts the last."""
        *away, restart = self.faults(cluster.site)
        with ExitStack() as stack:
            for injection in away:
                stack.enter_context(cluster.inject(injection))
            cluster.tables.await_sync([restart.target])
            self.back(cluster, restart, knocking)


class AllAtOnce(Guarded):
    """A fault of all balancers."""

    outage: ClassVar = True

    def __init__(self, name: str, describes: str, fault: type[PowerCut | RestartAll | StopAll], rows: int) -> None:
        """One such scenario; `rows` stand in the table, where the caller gives none."""
        self.name, self.describes, self.kinds = name, describes, (fault.kind,)
        self.rows, self._fault = rows, fault

    def faults(self, site: Site) -> Sequence[Injection]:
        """One, of all of them."""
        two_balancers(site)
        return [self._fault(site, target) for target in self._fault.choices(site)]

    def under_load(self, cluster: Cluster, asked: list[str], knocking: list[str]) -> None:
        """Breaks all of them, once what has to survive is old enough."""
        (injection,) = self.faults(cluster.site)
        if injection.spares:
            cluster.recorder.phase(f"wait {injection.spares:g} s: older rows have to survive")
            until = cluster.recorder.now() + int(injection.spares * SECOND)
            while cluster.recorder.now() < until:
                time.sleep(PAUSE_SECONDS)
        self.back(cluster, injection, knocking)


class StaleDump(Guarded):
    """What a stopped balancer knew is outdated when it comes back."""

    name = "stale-dump"
    describes = (
        "A balancer is stopped, one server's sessions are rebound on the other meanwhile, it is started again under"
        " load, and crashes three times: what it knew before must overwrite nothing. HAProxy itself loses sessions by"
        " the windows of its starts."
    )
    kinds = (Stop.kind, ServerDown.kind, Kill.kind)

    def faults(self, site: Site) -> Sequence[Injection]:
        """The second balancer is away while the first server is down, and starts four times after that."""
        _, second = two_balancers(site)
        down = ServerDown(site, site.service.servers[0].name)
        return [Stop(site, second), down, *(Kill(site, second) for _ in range(KILLS))]

    def under_load(self, cluster: Cluster, asked: list[str], knocking: list[str]) -> None:
        """Has sessions rebound while a balancer is away."""
        stop, down, *kills = self.faults(cluster.site)
        (there, *_) = (name for name in cluster.balancers if name != stop.target)
        quiet = cluster.plant(QUIET)
        cluster.tables.await_rows(quiet)
        cluster.settle()
        cluster.ask_everywhere(quiet)
        before = cluster.tables.bindings(quiet, there)
        with cluster.knocking({stop.target: knocking}), cluster.inject(stop):
            with cluster.inject(down):
                cluster.recorder.phase(f"ask {there} while {down.target} is down")
                cluster.ask(cluster.shuffled(quiet), there)
            cluster.await_servers([there])
            cluster.recorder.phase(f"ask {there} again")
            cluster.ask(cluster.shuffled(quiet), there)
            if cluster.tables.bindings(quiet, there) == before:
                raise Refused(f"no session was on {down.target}, so nothing could be outdated: play it again")
            cluster.recorder.phase("heal")
        for kill in kills:
            cluster.tables.await_sync()
            self.back(cluster, kill, knocking)


class OldWorker(ReloadUnderLoad):
    """What a reload finds under way."""

    name = "old-worker"
    describes = (
        "A connection that is kept, one of HTTP/2, and slow requests are under way across ten reloads under load: the"
        " old workers answer them, rightly. HAProxy itself loses sessions here: old workers forget their rows, and new"
        " ones answer before they have them."
    )
    invariants: ClassVar = (*Guarded.invariants, "requests-in-flight")

    def under_load(self, cluster: Cluster, asked: list[str], knocking: list[str]) -> None:
        """Reloads while a slow body lasts all the time, and a slow head for each reload until the next one is over.

        An old worker chooses a server when the head is whole. On 2.6.12 it had forgotten its rows some 2 s after the
        reload, and chose anew (seen: right for up to 1.3 s, wrong from 1.7 s on).
        """
        reloads = self.faults(cluster.site)
        (first,) = {injection.target for injection in reloads}
        slow, body, kept, spoken = knocking[::4], knocking[1::4], knocking[2::4], knocking[3::4]
        target = cluster.clients[first].target
        with (
            Client(target, keep_alive=True) as client,
            Client(msgspec.structs.replace(target, http2=True), keep_alive=True) as client2,
            cluster.keep_asking(kept, first, client),
            cluster.keep_asking(spoken, first, client2),
            cluster.under_way(body[0], first, "body", 1 + len(reloads)) as further,
        ):
            further()
            before = ExitStack()  # the head that is under way since the reload before
            try:
                for number, injection in enumerate(reloads):
                    cluster.tables.await_sync()
                    cluster.recorder.phase(f"reload {number + 1}")
                    with ExitStack() as present:
                        present.enter_context(cluster.under_way(slow[number % len(slow)], first, "head"))
                        with before, cluster.inject(injection):
                            pass
                        further()
                        time.sleep(PAUSE_SECONDS)
                        before = present.pop_all()
            finally:
                before.close()


GUARDED = (
    ReloadUnderLoad(),
    RapidReload(),
    CrashRestart(),
    LastRestart(),
    AllAtOnce(
        "power-cut",
        "All balancers are killed hard under load, without any hook, and started afterwards: only what is younger than"
        " a dump's interval may be lost. HAProxy itself loses all sessions.",
        PowerCut,
        10_000,
    ),
    AllAtOnce(
        "package-restart",
        "All balancers are restarted under load, one right after the other. HAProxy itself loses sessions here: each"
        " answers while it still learns.",
        RestartAll,
        100_000,
    ),
    AllAtOnce(
        "both-rebooted",
        "All balancers are stopped, and then started at once, under load. HAProxy itself loses all sessions.",
        StopAll,
        10_000,
    ),
    StaleDump(),
    OldWorker(),
)
