"""A legal world: balancers, servers and sticky tables, simulated, that keeps a history as a run does.

It does what HAProxy may do, and lets it choose badly wherever it may: when within a request it takes
effect, which server a new session gets, how long rows travel, and what races. `ails` breaks it on
purpose. Times are milliseconds here; rows travel for less than `SETTLE`.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

import msgspec

from tests.verify.invariants.peers import Peers
from tests.verify.invariants.steps import SETTLE, Ask, Break, Read, Step
from verify.history import (
    AnyRecord,
    Cleanup,
    Evidence,
    Fault,
    Header,
    History,
    Inspection,
    Lag,
    Operation,
    Outcome,
    Session,
    Snapshot,
    Window,
)

MS = 1_000_000  # ns
SEEN = [Evidence(what="it was there", seen=True, text="yes")]


@dataclass(frozen=True)
class World:
    """What is simulated.

    Attributes:
        pace: how long after a request its row is sent.
        travel: rows' times on the way, taken in turn; with `pace` each is less than SETTLE.
        ails: `peers`: nothing is pushed; `store`: a balancer keeps no row; `reload`: a reload
            empties the table.
    """

    balancers: int
    servers: int
    steps: Sequence[Step]
    pace: int = 1
    travel: Sequence[int] = (1,)
    ails: str = ""

    def history(self, invariants: Sequence[str] = ()) -> History:
        """Plays the steps, and a last look at the tables when all is at rest."""
        return _Play(self).history(list(invariants))


class _Play:
    def __init__(self, world: World) -> None:
        self.world = world
        self.now = 0
        self.records: list[AnyRecord] = []
        self.names = [f"haproxy-{number + 1}" for number in range(self.world.balancers)]
        self.servers = [f"web-be{number + 1}" for number in range(self.world.servers)]
        self.peers = Peers(self.names, self, world.pace, world.travel)
        self.rows = self.peers.rows
        self.down: dict[str, set[str]] = {name: set() for name in self.names}  # as each balancer sees it
        self.dead: set[str] = set()  # as it is
        self.drained: set[str] = set()
        self.stopped: dict[str, Literal["gone", "paused", "unreachable"]] = {}
        self.held: dict[str, list[Callable[[], None]]] = {name: [] for name in self.names}
        self.active: dict[str, Fault] = {}
        self.queue: list[tuple[int, bool, int, Callable[[], None]]] = []
        self.order, self.indices, self.ids, self.moments = count(), count(), count(1), count(1)

    def at(self, time: int, run: Callable[[], None], last: bool = False) -> None:
        """Plans something; `last` is for a look, which comes after all else at its time."""
        heapq.heappush(self.queue, (time, last, next(self.order), run))

    def history(self, invariants: list[str]) -> History:
        time = 0
        for step in self.world.steps:
            time += step.wait
            self.at(time, lambda step=step: self.begin(step), isinstance(step, Read))  # type: ignore[misc]
        self.drain_queue()
        self.now += 3 * SETTLE
        self.read()
        sessions = sorted({step.session for step in self.world.steps if isinstance(step, Ask)})
        header = Header(
            run="model",
            scenario="model",
            invariants=invariants,
            seed=1,
            arguments=[],
            topology={},
            versions={},
            kinds=dict.fromkeys(self.names, "container"),
            wall_ns=0,
            settle_ns=SETTLE * MS,
        )
        own = [Session(label=label(n), key=f"svfy{n:028x}", issued_by="client", length=32) for n in sessions]
        ends: list[AnyRecord] = []
        for name in self.names:
            ends.append(Inspection(balancer=name, at_ns=self.now * MS, checks=9))
            ends.append(Cleanup(host=name, at_ns=self.now * MS, searched=["rules"]))
            ends += [Lag(source=name, target=to, lag_ns=MS, resolution_ns=MS) for to in self.names if to != name]
        return History.of([header, *own, *self.records, *ends])

    def drain_queue(self) -> None:
        while self.queue:
            self.now, _, _, run = heapq.heappop(self.queue)
            run()

    def begin(self, step: Step) -> None:
        match step:
            case Ask():
                self.ask(step)
            case Break():
                self.break_(step)
            case Read():
                self.read()

    # Requests.

    def ask(self, step: Ask) -> None:
        index, sent, balancer = next(self.indices), self.now, self.names[step.balancer % len(self.names)]

        def end(outcome: Outcome, server: str | None, done: int) -> None:
            self.records.append(
                Operation(
                    index=index,
                    source="functional",
                    phase="model",
                    session=label(step.session),
                    balancer=balancer,
                    server=server,
                    planned_ns=sent * MS,
                    sent_ns=sent * MS,
                    done_ns=done * MS,
                    wall_ns=sent * MS,
                    status=200 if outcome == "ok" else None,
                    outcome=outcome,
                    connection=index,
                )
            )
            if outcome != "ok":
                window = Window(balancers=[balancer], from_ns=sent * MS, until_ns=done * MS, why="so it is played")
                self.records.append(window)

        def effect() -> None:
            state = self.stopped.get(balancer)
            if state == "paused":
                self.held[balancer].append(effect)
                return
            server = None if state else self.serve(step, balancer)
            done = self.now + step.outward
            if step.fate == "late":
                return
            if server is None:
                end("fail" if state == "gone" else "info", None, done)
            else:
                end("ok", None if step.fate == "nameless" else server, done)

        if step.fate in ("late", "lost"):
            end("info", None, sent + step.inward + step.outward)
        if step.fate == "refused":
            end("fail", None, sent + step.outward)
        elif step.fate != "lost":
            self.at(sent + step.inward, effect)

    def serve(self, step: Ask, balancer: str) -> str | None:
        """Returns the server that answers; None if it is dead and the balancer does not know it."""
        table, down = self.rows[balancer], self.down[balancer]
        server = table.get(step.session)
        if server is None or server in down:
            up = [known for known in self.servers if known not in down]
            fresh = [known for known in up if known not in self.drained] or up
            server = fresh[step.choice % len(fresh)]
        if server in self.dead and server not in down:
            return None
        if self.world.ails != "store":
            table[step.session] = server
        if self.world.ails != "peers":
            self.peers.tell(balancer, step.session)
        return server

    # Faults.

    def break_(self, step: Break) -> None:
        at_server = step.kind in ("server-down", "maint", "drain")
        sort = "server" if at_server else "balancer"
        if sort in self.active or (at_server and len(self.servers) < 2):
            return
        balancer = self.names[step.on % len(self.names)]
        server = self.servers[step.on % len(self.servers)]
        others = [(balancer, other) for other in self.names if other != balancer]
        parts = others if step.kind in ("restart", "kill", "peers-cut", "pause", "isolate") else []
        if not others and step.kind in ("restart", "kill"):
            return  # nobody to learn from
        fault = Fault(
            id=next(self.ids),
            kind=step.kind,
            hosts=[balancer],
            injected_ns=self.now * MS,
            evidence=SEEN,
            moves=[server] if step.kind in ("server-down", "maint") else [],
            may_move=step.kind == "table-clear",
            parts=parts,
        )
        self.active[sort] = fault
        match step.kind:
            case "restart" | "kill":
                self.peers.flush()
                self.stopped[balancer] = "gone"
            case "pause":
                self.stopped[balancer] = "paused"
            case "isolate":
                self.stopped[balancer] = "unreachable"
            case "table-clear":
                self.rows[balancer].clear()
            case "drain":
                self.drained.add(server)
            case "server-down":
                self.dead.add(server)
                for number, name in enumerate(self.names):
                    self.at(self.now + number * step.notice, lambda name=name: self.down[name].add(server))  # type: ignore[misc]
            case "maint":
                self.down[balancer].add(server)
            case "reload" if self.world.ails == "reload":
                self.rows[balancer].clear()
        self.peers.part(parts)
        lasts = step.lasts + len(self.names) * step.notice
        self.at(self.now + lasts, lambda: self.heal(sort, fault, balancer, server, step))

    def heal(self, sort: str, fault: Fault, balancer: str, server: str, step: Break) -> None:
        healed = self.now
        if sort == "server":
            self.drained.discard(server)
            self.dead.discard(server)
            for number, name in enumerate(self.names):
                healed = self.now + number * step.notice
                self.at(healed, lambda name=name: self.down[name].discard(server))  # type: ignore[misc]
        else:
            if fault.kind in ("restart", "kill"):
                donor = self.names[(self.names.index(balancer) + 1) % len(self.names)]
                self.rows[balancer] = dict(self.rows[donor])
            self.stopped.pop(balancer, None)
            self.peers.join(fault.parts)
            for effect in self.held[balancer]:
                self.at(self.now, effect)
            self.held[balancer] = []

        def over() -> None:
            del self.active[sort]
            self.records.append(msgspec.structs.replace(fault, healed_ns=self.now * MS, heal_evidence=SEEN))

        self.at(healed, over)

    # Tables.

    def read(self) -> None:
        sessions = sorted({step.session for step in self.world.steps if isinstance(step, Ask)})
        moment = next(self.moments)
        for name in self.names:
            if name not in self.stopped:
                rows = {label(session): self.rows[name].get(session) for session in sessions}
                used = len(self.rows[name])
                self.records.append(
                    Snapshot(
                        moment=moment, at_ns=self.now * MS, balancer=name, table="app", rows=rows, used=used, size=1000
                    )
                )


def label(session: int) -> str:
    """Returns a session's label."""
    return f"s{session:05d}"
