"""Guarded: histories of the session guard's scenarios, as a guarded pair leaves them, and as a stock one does.

A scenario's timeline: sessions are asked everywhere, its faults come one inside another as it plays them, each
balancer that answers is asked in between, and everything is asked and read at the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from tests.verify.invariants.examples import SEEN, ask, history, ns
from verify.faults import FAULTS
from verify.history import AnyRecord, Cleanup, End, Fault, History, Inspection, Operation, Snapshot, Stock, Window
from verify.scenarios import SCENARIOS

BALANCERS = ("A", "B")
SERVERS = tuple(f"web-{number}" for number in range(1, 8))
OLD = tuple(f"s{number}" for number in range(1, 15))
PARTED = [("A", "B")]
PUT = 10_000


@dataclass
class Played:
    """What was recorded so far.

    Attributes:
        now: seconds since the run began.
        bound: where each session is.
    """

    now: float = 1.0
    bound: dict[str, str] = field(default_factory=dict)
    records: list[AnyRecord] = field(default_factory=list)
    faults: int = 0

    def ask(self, *on: str, labels: Sequence[str] = (), took: float = 0.01) -> None:
        """Asks sessions on these balancers, the next one after the settle time."""
        for balancer in on:
            for label in labels or self.bound:
                self.records.append(ask(self.now, balancer, self.bound[label], took, label))
                self.now += 0.02
            self.now += 1.1

    def born(self, on: str, labels: Sequence[str]) -> None:
        """New sessions."""
        self.bound |= {label: SERVERS[(len(self.bound) + n) % len(SERVERS)] for n, label in enumerate(labels)}
        self.ask(on, labels=labels)

    def begin(self, kind: str, hosts: Sequence[str] = ("A",), spares: float | None = None) -> Fault:
        """A fault begins."""
        self.faults += 1
        known = FAULTS[kind]
        made = Fault(
            id=self.faults,
            kind=kind,
            hosts=list(hosts),
            injected_ns=ns(self.now),
            evidence=[SEEN],
            heal_evidence=[SEEN],
            moves=[SERVERS[0]] if kind == "server-down" else [],
            may_move=known.may_move,
            spares_ns=None if spares is None else ns(spares),
            parts=PARTED if known.takes_away else [],
        )
        self.now += 0.5
        return made

    def end(self, fault: Fault) -> None:
        """It is healed."""
        healed = ns(self.now)
        self.records.append(msgspec.structs.replace(fault, healed_ns=healed))
        if fault.parts:
            self.records.append(
                Window(balancers=fault.hosts, from_ns=fault.injected_ns, until_ns=healed, why=fault.kind)
            )
        self.now += 1.5

    def over(self, kind: str, hosts: Sequence[str] = ("A",), spares: float | None = None) -> None:
        """A fault comes and goes, and nobody is asked meanwhile."""
        self.end(self.begin(kind, hosts, spares))


def played(name: str, lost: Sequence[str] = (), young: Sequence[str] = (), stock: int = PUT) -> History:
    """Returns a history of a scenario.

    Args:
        name: the scenario's.
        lost: sessions that are on another server when they are asked for the first time after the last fault.
        young: sessions that are born right before the last fault.
        stock: how many of the rows that were put into the tables are left.
    """
    run = Played(bound={label: SERVERS[number % len(SERVERS)] for number, label in enumerate(OLD)})
    for _ in range(2):
        run.ask(*BALANCERS)
    _play(name, run, young)
    for label in lost:
        run.bound[label] = SERVERS[(SERVERS.index(run.bound[label]) + 1) % len(SERVERS)]
    run.ask(*BALANCERS)
    run.records += [
        Snapshot(moment=1, at_ns=ns(run.now), balancer=known, table="app", rows=dict(run.bound), used=99, size=9999)
        for known in BALANCERS
    ]
    if "rows-kept" in SCENARIOS[name].invariants:
        run.records += [Stock(balancer=known, at_ns=ns(run.now), put=PUT, kept=stock, moved=0) for known in BALANCERS]
    run.records += [Inspection(balancer=known, at_ns=0, checks=9) for known in BALANCERS]
    run.records += [Cleanup(host=known, at_ns=ns(run.now), searched=["rules"]) for known in (*BALANCERS, "web")]
    run.records.append(End(at_ns=ns(run.now), completed=True))
    return history(*run.records, invariants=SCENARIOS[name].invariants, sessions=list(run.bound))


def _play(name: str, run: Played, young: Sequence[str]) -> None:
    match name:
        case "reload-under-load":
            for _ in range(10):
                run.ask("A")
                run.over("reload")
        case "old-worker":
            slow = run.now
            for number in range(10):
                begun = run.now
                run.now += 0.1
                run.over("reload")
                run.records.append(ask(begun, "A", run.bound["s2"], run.now - begun, "s2"))
                run.now += 1.1
                if number == 9:
                    run.records.append(ask(slow, "A", run.bound["s1"], run.now - slow, "s1"))
                    run.now += 1.1
        case "rapid-reloads":
            stop = run.begin("stop", ["B"])
            run.ask("A")
            run.over("cold-start")
            for number in (1, 2):
                run.born("A", [f"b{number}{each}" for each in range(12)])
                run.over("rapid-reloads")
            run.ask("A")
            run.end(stop)
        case "crash-restart":
            for _ in range(3):
                run.ask("A")
                run.over("kill")
        case "last-restart":
            stop = run.begin("stop", ["B"])
            run.ask("A")
            run.over("restart-last")
            run.end(stop)
        case "power-cut":
            run.now += 30
            if young:
                run.born("A", young)
            run.over("power-cut", BALANCERS, 20)
        case "package-restart":
            run.over("restart-all", BALANCERS)
        case "both-rebooted":
            run.over("stop-all", BALANCERS)
        case "stale-dump":
            stop = run.begin("stop", ["B"])
            down = run.begin("server-down", ["web"])
            run.bound |= {label: "web-3" for label, server in run.bound.items() if server == SERVERS[0]}
            run.ask("A")
            run.end(down)
            run.ask("A")
            run.end(stop)
            for _ in range(3):
                run.over("kill", ["B"])
        case _:
            raise AssertionError(f"{name} has no timeline here")


def failed(at: float, balancer: str) -> Operation:
    """Returns a request that was not answered."""
    return ask(at, balancer, None, outcome="fail", error="connection refused")


def last_fault(known: History) -> Fault:
    """Returns the fault that was healed last."""
    return max(known.faults, key=lambda fault: fault.healed_ns or 0)
