"""Histories as a run would leave them: about 2,000 requests, every kind of record, and what judging came to."""

import random
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from verify.history import (
    SECOND,
    AnyRecord,
    Cleanup,
    End,
    Evidence,
    Fault,
    Header,
    History,
    Inspection,
    Lag,
    Note,
    Operation,
    Outcome,
    Phase,
    Session,
    Snapshot,
    Window,
)
from verify.report.document import Document
from verify.topology import Balancer, Connection, Peer, Server, Service, Table, Topology
from verify.verdict import Result, Verdict, Violation

BALANCERS = ("haproxy-1", "haproxy-2")
SERVERS = tuple(f"backend-{number}" for number in range(1, 8))
NASTY = '</script><script>alert("x")</script> <b>& [red]not markup[/red] \x1b[31m'
MS = 1_000_000  # ns
MOVED = ("s00007", "s00011", "s00023")


def topology() -> dict[str, Any]:
    """Returns the lab's topology as JSON."""
    found: dict[str, Any] = msgspec.to_builtins(
        Topology(
            balancers=tuple(
                Balancer(name=name, connection=Connection(address="127.0.0.1"), url="http://127.0.0.1:8080")
                for name in BALANCERS
            ),
            section="peers",
            peers=tuple(Peer(name=name, address="192.0.2.1", port=10000) for name in BALANCERS),
            service=Service(
                backend="back-session",
                cookie="JSESSIONID",
                table=Table(name="back-session", type="string", size=1_000_000, len=32),
                servers=tuple(
                    Server(name=name, address="192.0.2.10", port=8080 + number, page=f"Backend {number}")
                    for number, name in enumerate(SERVERS, 1)
                ),
            ),
        )
    )
    return found


class Maker:
    """Makes one history, pass or fail; the same one each time."""

    def __init__(self, good: bool, sessions: int = 60, operations: int = 2000, lags: bool = True) -> None:
        self.good, self.operations, self.lags = good, operations, lags
        self.random = random.Random(7)
        self.labels = [f"s{number:05d}" for number in range(1, sessions + 1)]
        self.bound = {label: self.random.choice(SERVERS) for label in self.labels}
        self.records: list[AnyRecord] = []
        self.index = 0
        self.end = 40 * SECOND

    def make(self) -> History:
        scenario = "reload-under-load"
        self.records.append(
            Header(
                run=f"20261122-193000-{scenario}",
                scenario=scenario,
                invariants=["one-server-per-session", "nothing-moves-across-faults", "no-failed-request"],
                seed=42,
                arguments=["run", scenario, "-i", "inventories/lab", "--seed", "42", "--on", "haproxy-1"],
                topology=topology(),
                versions=dict.fromkeys(BALANCERS, "2.6.12-1+deb12u2"),
                kinds=dict.fromkeys(BALANCERS, "container"),
                wall_ns=1_795_375_800 * SECOND,
            )
        )
        for balancer in BALANCERS:
            self.records.append(Inspection(balancer=balancer, at_ns=10 * MS, checks=14))
        for label in self.labels:
            key = f"svfy{self.random.getrandbits(112):028x}"
            self.records.append(Session(label=label, key=key, issued_by="client", length=32))
        for name, at in [
            ("plant", 0.1),
            ("ask", 6),
            ("reload", 12),
            ("partition", 20),
            ("stop", 29),
            ("ask again", 35),
        ]:
            self.records.append(Phase(name=name, at_ns=int(at * SECOND)))
        self._faults()
        self._requests()
        self._looks()
        self.records.append(End(at_ns=self.end, completed=True))
        return History.of(self.records)

    def _faults(self) -> None:
        pid = Evidence(what="the worker's pid changed", seen=True, text="319 -> 349")
        packets = Evidence(what="packets were dropped", seen=self.good, text=f"{17 if self.good else 0} packets")
        gone = Evidence(what="the socket is gone", seen=True, text="/run/haproxy/admin.sock: no such file")
        serves = Evidence(what="it serves again", seen=True, text="HTTP 200 after 38 ms")
        both = [("haproxy-1", "haproxy-2")]
        for fault in [
            Fault(id=1, kind="reload", hosts=["haproxy-1"], injected_ns=12_500 * MS, evidence=[pid]),
            Fault(id=1, kind="reload", hosts=["haproxy-1"], injected_ns=12_500 * MS, healed_ns=12_760 * MS,
                  evidence=[pid], heal_evidence=[serves], proves_not="that a reload under a million rows is as quick"),
            Fault(id=2, kind="cut-peers", hosts=["haproxy-1", "haproxy-2"], injected_ns=21_000 * MS,
                  healed_ns=26_000 * MS, evidence=[packets], heal_evidence=[serves], parts=both,
                  proves_not="what a cable does: a packet filter drops, and an interface goes down"),
            Fault(id=3, kind="stop", hosts=["haproxy-2"], injected_ns=29_500 * MS, healed_ns=32_000 * MS,
                  evidence=[gone], heal_evidence=[serves], parts=both,
                  proves_not="how a machine dies: HAProxy closed its connections"),
        ]:  # fmt: skip
            self.records.append(fault)
        self.records.append(
            Window(balancers=["haproxy-2"], from_ns=29_400 * MS, until_ns=32_100 * MS, why="haproxy-2 is stopped")
        )

    def _requests(self) -> None:
        step = (self.end - SECOND) // self.operations
        phases = [record for record in self.records if isinstance(record, Phase)]
        for number in range(self.operations):
            planned = SECOND // 2 + number * step
            if not self.good and planned <= 12_600 * MS < planned + step:  # while the reload goes on
                for lost in MOVED:
                    self.bound[lost] = SERVERS[SERVERS.index(self.bound[lost]) - 2]
            planting = number < len(self.labels)
            label = self.labels[number] if planting else self.random.choice(self.labels)
            balancer = self.random.choice(BALANCERS)
            outcome: Outcome = "ok"
            wait = self.random.lognormvariate(0.5, 0.6)
            if 12_500 * MS < planned < 12_760 * MS:
                wait += 40
            if balancer == "haproxy-2" and 29_500 * MS < planned < 32_000 * MS:
                outcome = "info" if self.random.random() < 0.3 else "fail"
                wait = 5000 if outcome == "info" else 0.4
            if not self.good and number == self.operations // 3:
                outcome = "fail"
            self._request(label, balancer, planned, outcome, wait, [p.name for p in phases if p.at_ns <= planned][-1])

    def _request(self, label: str, balancer: str, planned: int, outcome: Outcome, wait: float, phase: str) -> None:
        self.index += 1
        sent = planned + self.random.randrange(MS // 2)
        errors = {"fail": f"{balancer}: connection refused", "info": f"{balancer}: no answer within 5 s {NASTY}"}
        self.records.append(
            Operation(
                index=self.index, source="load", phase=phase, session=label, balancer=balancer,
                server=self.bound[label] if outcome == "ok" else None, planned_ns=planned, sent_ns=sent,
                done_ns=sent + int(wait * MS), wall_ns=1_795_375_800 * SECOND + sent,
                status=200 if outcome == "ok" else None, outcome=outcome, connection=self.index % 8,
                error=errors.get(outcome),
            )
        )  # fmt: skip

    def _looks(self) -> None:
        for moment, at in enumerate((11, 28, 39), 1):
            for balancer in BALANCERS:
                rows: dict[str, str | None] = dict(self.bound)
                if not self.good and moment == 2 and balancer == "haproxy-2":
                    rows[self.labels[0]] = None
                    rows[self.labels[1]] = "backend-1" if rows[self.labels[1]] != "backend-1" else "backend-2"
                self.records.append(
                    Snapshot(moment=moment, at_ns=at * SECOND, balancer=balancer, table="back-session", rows=rows,
                             used=len(rows) + 3, size=1_000_000)
                )  # fmt: skip
        for source, target in [BALANCERS, BALANCERS[::-1]] if self.lags else []:
            for number in range(150):
                lag = 0 if number % 3 == 0 else int(self.random.lognormvariate(-1.2, 1.0) * MS)
                self.records.append(
                    Lag(source=source, target=target, lag_ns=lag if self.good or number else None,
                        resolution_ns=60_000)
                )  # fmt: skip
        for host in BALANCERS:
            found = [] if self.good or host != "haproxy-1" else [f"rule left: table inet svfy {NASTY}"]
            searched = ["rules", "stopped processes", "stray workers"]
            self.records.append(Cleanup(host=host, at_ns=self.end, searched=searched, found=found))
            self.records.append(
                Note(host=host, at_ns=self.end, what="journal",
                     text=f"Nov 22 19:30:12 {host} haproxy[319]: Reloading\n{NASTY}\n" * 4)
            )  # fmt: skip
            self.records.append(
                Note(host=host, at_ns=self.end, what="show peers", text="0x55d: [22/Nov/2026:19:30:12] id=peers ...")
            )


def results(history: History, good: bool) -> list[Result]:
    """Returns what judging came to, written by hand: reports judge nothing."""
    judged = len(history.operations)
    held = Result(invariant="no-failed-request", verdict=Verdict.PASS, judged=judged, summary="all were answered")
    if good:
        return [
            Result(invariant="one-server-per-session", verdict=Verdict.PASS, judged=judged, unjudged=12,
                   summary="every session kept its server"),
            Result(invariant="nothing-moves-across-faults", verdict=Verdict.PASS, judged=180,
                   summary="no session moved across 3 faults"),
            held,
        ]  # fmt: skip
    violations = []
    for label in MOVED:
        known = [operation for operation in history.operations if operation.session == label and operation.known]
        known.sort(key=lambda operation: operation.sent_ns)
        before, after = next((a, b) for a, b in pairwise(known) if a.server != b.server)
        violations.append(
            Violation(
                text=f"{label} was on {before.server}, and after fault 1 (reload of haproxy-1) on {after.server}",
                session=label, operations=[before.index, after.index], faults=[1],
                cause="a reload's new worker answers before its table is there (docs/how-sessions-survive.md)",
            )
        )  # fmt: skip
    return [
        Result(invariant="one-server-per-session", verdict=Verdict.FAIL, judged=judged, unjudged=12, violated=3,
               summary="3 sessions moved", violations=violations),
        Result(invariant="faults-happened", verdict=Verdict.UNKNOWN, judged=3, unjudged=1,
               summary="fault 2 (cut-peers of haproxy-1, haproxy-2) has no evidence"),
        Result(invariant="everything-healed", verdict=Verdict.FAIL, judged=2, violated=1, summary="a host is not clean",
               violations=[Violation(text=f"haproxy-1 has a rule left: {NASTY}")]),
        held,
    ]  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A history, what judging came to, and the verdict's document."""

    history: History
    results: list[Result]
    document: Document


def made(good: bool, sessions: int = 60, operations: int = 2000, lags: bool = True) -> Run:
    """Returns a run."""
    history = Maker(good, sessions, operations, lags).make()
    return run_of(history, results(history, good))


def run_of(history: History, judged: list[Result]) -> Run:
    """Returns the run of a history and its results."""
    replay = f"sticky-verify run -i inventories/lab --only {history.header.scenario} --seed {history.header.seed}"
    return Run(history, judged, Document.of(history, judged, replay, Path("runs") / history.header.run))
