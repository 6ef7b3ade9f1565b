"""Cluster: what a scenario does to the balancers. It asks, looks and records, and judges nothing."""

import random
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Literal, TypeVar

from verify.budget import Budget
from verify.client import Answer, Client, outcome_of
from verify.errors import HttpError, Refused, WaitTimeout
from verify.faults import Injection, Nemesis, Site
from verify.history import SECOND, Cleanup, Fault, History, Operation, Outcome, Session, Snapshot, Window
from verify.identity import ServerFrom
from verify.load import Load, Plan
from verify.recorder import Recorder
from verify.table_text import Row
from verify.teller import Teller
from verify.topology import Service
from verify.waiting import wait_for

# Bounds, in seconds. A row reaches the other balancer in milliseconds; a process that finds nobody
# to learn from declares itself in sync after 5 s, two that start together after up to 12 s; a health
# check needs its rise of several intervals.
ROWS, SYNC, SERVERS, CLEAR = 3.0, 20.0, 30.0, 15.0
# What two clocks on one machine may be apart for "after": asking exactly at the settle time proves nothing.
MARGIN = 0.05
LOAD_ERROR_RATE = 0.9  # faults take one balancer of two away: half of the requests fail then, and that is judged
LOAD_CAP = 1_000_000  # requests: no scenario is to go on for ever

Item = TypeVar("Item")


class Cluster:
    """The balancers of one service, and the verifier's sessions on them.

    Attributes:
        balancers: their names, in the inventory's order.
        sessions: the planted ones, by label.
        random: decides orders and choices, from the run's seed.
    """

    def __init__(
        self,
        *,
        site: Site,
        nemesis: Nemesis,
        service: Service,
        clients: dict[str, Client],
        server_from: ServerFrom,
        issued_by: Literal["client", "server"],
        settle_ns: int,
        seed: str,
        budget: Budget,
        recorder: Recorder,
        teller: Teller,
    ) -> None:
        """Nothing is asked yet.

        Args:
            site: the hosts and runtime APIs.
            nemesis: injects the faults.
            service: the backend, its table and cookie.
            clients: one for each balancer, by name, in the inventory's order.
            server_from: how to learn who answered.
            issued_by: who makes the sessions' keys.
            settle_ns: after this time an answered request is known to every balancer.
            seed: decides orders and choices.
            budget: bounds the requests.
            recorder: writes the history.
            teller: hears what happens.
        """
        self.site, self.service, self.recorder, self.budget = site, service, recorder, budget
        self.clients, self.server_from, self.issued_by, self.settle_ns = clients, server_from, issued_by, settle_ns
        self.balancers = list(clients)
        self.sessions: dict[str, Session] = {}
        self.random = random.Random(seed)
        self.teller = teller
        self._nemesis = nemesis
        self._loads = 0
        self._fillers: list[str] = []  # keys of rows that are no sessions of a scenario
        self._moment = 0
        self._answered_ns = 0
        self._open: list[frozenset[str]] = []
        site.own_keys = lambda: [session.key for session in self.sessions.values()]

    # Asking.

    def plant(self, count: int, on: str | None = None, tell: bool = False) -> list[str]:
        """Uses new sessions for the first time.

        Args:
            count: how many.
            on: the balancer that is asked; None for all of them in turn.
            tell: whether each answer is told.

        Returns:
            The labels of those that exist now: all of them, or those that a server did issue.
        """
        planted = []
        for number in range(count):
            balancer = on or self.balancers[number % len(self.balancers)]
            if self.issued_by == "client":
                label = self.add(self._new_key(), "client")
                self._operate(label, balancer, tell)
            else:
                label = self._operate(None, balancer, tell) or ""
            if label:
                planted.append(label)
        return planted

    def ask(self, labels: Iterable[str], on: str, tell: bool = False) -> None:
        """Asks known sessions again on one balancer, in the order given."""
        for label in labels:
            self._operate(label, on, tell)

    def ask_everywhere(self, labels: Iterable[str], on: Sequence[str] | None = None) -> None:
        """Asks each session on each balancer (or on those given), in random order."""
        pairs = [(label, balancer) for label in labels for balancer in on or self.balancers]
        for label, balancer in self.shuffled(pairs):
            self._operate(label, balancer, False)

    def ask_at_once(self, label: str, on: Sequence[str]) -> None:
        """Asks one session on several balancers at the same moment."""
        for _ in on:
            self.budget.take()
        barrier = threading.Barrier(len(on))

        def run(balancer: str) -> None:
            barrier.wait(10)
            self._request(label, balancer, self.recorder.now(), False)

        with ThreadPoolExecutor(len(on)) as pool:
            for asked in [pool.submit(run, balancer) for balancer in on]:
                asked.result()

    def shuffled(self, items: Iterable[Item]) -> list[Item]:
        """Returns the items in random order: a replay in the order of planting proves nothing."""
        listed = list(items)
        return self.random.sample(listed, len(listed))

    @contextmanager
    def load(self, rate: float, seconds: float | None, share_new: float, keep_alive: bool) -> Iterator[Load]:
        """Asks the sessions at random in the background, some of them new, until the block ends.

        Args:
            rate: requests a second.
            seconds: how long; None for as long as the block takes.
            share_new: the share of requests that begin a session.
            keep_alive: whether connections serve several requests.
        """
        self._loads += 1
        plan = Plan(
            targets={name: client.target for name, client in self.clients.items()},
            seed=self.random.getrandbits(64),
            rate=rate,
            seconds=seconds,
            cap=LOAD_CAP,
            sessions=tuple((label, session.key) for label, session in self.sessions.items()),
            share_new=share_new,
            keep_alive=keep_alive,
            new_labels=f"n{self._loads}-",
            new_again=2 * self.settle_ns / SECOND,
            issued_by=self.issued_by,
            key_length=self.service.table.len,
            error_rate=LOAD_ERROR_RATE,
        )
        load = Load(
            plan,
            write=self._take,
            next_index=self.recorder.next_index,
            now=self.recorder.now,
            phase=lambda: self.recorder.phase_name,
            server_of=lambda answer: self.server_from.server(answer, self.service),
        )
        load.start()
        try:
            yield load
        finally:
            load.stop()
            summary = load.join()
            self._answered_ns = self.recorder.now()
            late = summary.slipped_ns / 1_000_000
            self.teller.line(
                f"load: {summary.sent} of {summary.planned} requests sent, {summary.ok} ok, {summary.fail} fail,"
                f" {summary.info} info; the latest was sent {late:.0f} ms late"
            )

    def _take(self, record: Session | Operation) -> None:
        if isinstance(record, Session):
            self.sessions[record.label] = record
        self.recorder.write(record)

    def fill(self, count: int) -> None:
        """Adds rows that nobody asks for, and waits until all balancers have them.

        Raises:
            Refused: the table would be more than half full, and others' rows might have to go.
        """
        table, first = self.service.table.name, self.balancers[0]
        if not count:
            return
        (known,) = [known for known in self.site.apis[first].tables() if known.name == table]
        if known.used + count > known.size / 2:
            raise Refused(
                f"--rows {count} would fill more than half of {table} ({known.used} of {known.size}): give less"
            )
        self.recorder.phase(f"fill {table} with {count} rows")
        fillers = [self._new_key() for _ in range(count)]
        self._fillers += fillers
        servers = self.site.apis[first].servers(self.service.backend)
        self.site.apis[first].set_rows(table, fillers, servers[0].id)

        def everywhere() -> bool:
            used = [known.used for api in self.site.apis.values() for known in api.tables() if known.name == table]
            return min(used) >= count

        self._wait(f"{count} rows on all balancers", everywhere, SYNC)

    def add(self, key: str, issued_by: Literal["client", "server"]) -> str:
        """Records a new session; returns its label."""
        label = f"s{len(self.sessions) + 1:05d}"
        session = Session(label=label, key=key, issued_by=issued_by, length=self.service.table.len)
        self.sessions[label] = session
        self.recorder.write(session)
        return label

    def new_client_session(self) -> str:
        """Makes a session of the client's, without asking; returns its label."""
        return self.add(self._new_key(), "client")

    @staticmethod
    def _new_key() -> str:
        # Recognisable, and 32 characters as the demo's; not from the seed: a replay must find no row that was left.
        return f"svfy{secrets.token_hex(14)}"

    def _operate(self, label: str | None, balancer: str, tell: bool) -> str | None:
        turn = self.budget.take()
        planned = self.recorder.now() - int((time.monotonic() - turn) * SECOND)
        return self._request(label, balancer, planned, tell)

    def _request(self, label: str | None, balancer: str, planned_ns: int, tell: bool) -> str | None:
        """Sends one request and records it; returns the session's label, a new one if it was issued."""
        client = self.clients[balancer]
        key = self.sessions[label].key if label else None
        path = None if label else self.service.login_path
        index, wall, sent = self.recorder.next_index(), time.time_ns(), self.recorder.now()
        answer: Answer | None = None
        outcome: Outcome
        error: str | None = None
        try:
            answer = client.ask(key, path)
            outcome = outcome_of(answer.status)
        except HttpError as failure:
            outcome, error = failure.outcome, str(failure)
        done = self.recorder.now()
        if answer and not label and answer.issued:
            label = self.add(answer.issued, "server")
        server = self._server(label, balancer, answer) if answer and outcome == "ok" else None
        self.recorder.write(
            Operation(
                index=index,
                source="functional",
                phase=self.recorder.phase_name,
                session=label,
                balancer=balancer,
                server=server,
                planned_ns=min(planned_ns, sent),
                sent_ns=sent,
                done_ns=done,
                wall_ns=wall,
                status=answer.status if answer else None,
                outcome=outcome,
                connection=answer.connection if answer else 0,
                error=error,
            )
        )
        self._answered_ns = done
        self.budget.count(outcome, any(balancer in window for window in self._open))
        self.teller.progress(self.budget.spent, None, self.budget.ok, self.budget.fail, self.budget.info)
        if tell:
            self.teller.line(f"{balancer}: {label or 'no session'} - {self._shown(server, answer, error)}")
        return label

    def _server(self, label: str | None, balancer: str, answer: Answer) -> str | None:
        if not self.server_from.by_table:
            return self.server_from.server(answer, self.service)
        return self.bindings([label], balancer).get(label) if label else None

    def _shown(self, server: str | None, answer: Answer | None, error: str | None) -> str:
        pages = {known.name: known.page for known in self.service.servers}
        if server:
            return pages.get(server) or server
        return error or (f"HTTP {answer.status}, from an unknown server" if answer else "no answer")

    # Looking, through the runtime API: an HTTP probe that misses would write a row of its own.

    def bindings(self, labels: Iterable[str], on: str) -> dict[str, str | None]:
        """Returns the server of each session in one balancer's table, None for a session without a row."""
        keys = {self.sessions[label].key: label for label in labels}
        rows = self.site.apis[on].rows(self.service.table.name, keys)
        return {label: self._bound(rows.get(key)) for key, label in keys.items()}

    def _bound(self, row: Row | None) -> str | None:
        if row is None or not row.server_id:
            return None
        names = {server.id: server.name for server in self.service.servers}
        return row.server or names.get(row.server_id) or f"#{row.server_id}"

    def await_rows(self, labels: Iterable[str], on: Sequence[str] | None = None) -> None:
        """Waits until balancers have a row of every session, or the bound is over: it is judged elsewhere."""
        labels = list(labels)
        deadline = time.monotonic() + ROWS
        for balancer in on or self.balancers:
            with suppress(WaitTimeout):
                wait_for(
                    f"{len(labels)} rows on {balancer}",
                    lambda on=balancer: None not in self.bindings(labels, on).values(),  # type: ignore[misc]
                    max(0.0, deadline - time.monotonic()),
                )

    def settle(self) -> None:
        """Waits until the settle time has passed since the last answer."""
        left = self._answered_ns + self.settle_ns - self.recorder.now()
        time.sleep(max(0.0, left / SECOND) + MARGIN)

    def await_sync(self, on: Sequence[str] | None = None) -> None:
        """Waits until processes have learnt all they could: before, a reload loses their tables.

        A balancer that does not come into sync is told, and judged by what it answers.
        """
        table = self.service.table.name
        for balancer in on or self.balancers:

            def in_sync(name: str = balancer) -> bool:
                sections = [section for section in self.site.apis[name].peers() if table in section.tables]
                return all(section.in_sync for section in sections)

            self._wait(f"{balancer} to be in sync (show peers: flags & 3 == 3)", in_sync, SYNC)

    def await_servers(self, on: Sequence[str] | None = None) -> None:
        """Waits until every server of the backend is up, as each balancer's health checks see it."""
        for balancer in on or self.balancers:

            def up(name: str = balancer) -> bool:
                return all(server.up for server in self.site.apis[name].servers(self.service.backend))

            self._wait(f"every server of {balancer}'s {self.service.backend} to be up", up, SERVERS)

    def _wait(self, what: str, probe: Callable[[], bool], seconds: float) -> None:
        try:
            wait_for(what, probe, seconds)
        except WaitTimeout as timeout:
            self.teller.line(f"warning: {timeout}")

    def snapshot(self, labels: Iterable[str] | None = None) -> None:
        """Records every balancer's rows at rest: once they are equal, or the bound is over."""
        wanted = list(self.sessions if labels is None else labels)
        seen: dict[str, dict[str, str | None]] = {}

        def equal() -> bool:
            seen.update({balancer: self.bindings(wanted, balancer) for balancer in self.balancers})
            first, *others = seen.values()
            return None not in first.values() and all(other == first for other in others)

        with suppress(WaitTimeout):  # the last look is judged
            wait_for("equal tables", equal, ROWS)
        self._moment += 1
        for balancer, rows in seen.items():
            name = self.service.table.name
            (table,) = [known for known in self.site.apis[balancer].tables() if known.name == name]
            self.recorder.write(
                Snapshot(
                    moment=self._moment,
                    at_ns=self.recorder.now(),
                    balancer=balancer,
                    table=name,
                    rows=rows,
                    used=table.used,
                    size=table.size,
                )
            )

    # Going on.

    def carry_over(self, earlier: History) -> None:
        """Takes over the sessions and answers of an earlier run; what happened since counts as a fault."""
        for session in earlier.sessions:
            self.sessions[session.label] = session
            self.recorder.write(session)
        for operation in earlier.operations:
            self.recorder.write(operation)
        self.recorder.write(
            Fault(
                id=0,
                kind="between plant and check",
                hosts=self.balancers,
                injected_ns=max(operation.done_ns for operation in earlier.operations),
                healed_ns=self.recorder.now(),
                proves_not="what happened is known to the operator alone",
            )
        )

    # Breaking.

    @contextmanager
    def inject(self, injection: Injection) -> Iterator[Fault]:
        """Injects a fault, and heals it at the end, whatever happens in between."""
        with self._window(injection), self._nemesis.inject(injection) as fault:
            yield fault

    @contextmanager
    def _window(self, injection: Injection) -> Iterator[None]:
        """Declares that requests may fail where a fault takes a balancer or a server away."""
        away = frozenset(injection.disturbs)
        from_ns = self.recorder.now()
        self._open.append(away)
        try:
            yield
        finally:
            self._open.remove(away)
            if away:
                until_ns, why = self.recorder.now(), injection.kind
                self.recorder.write(Window(balancers=sorted(away), from_ns=from_ns, until_ns=until_ns, why=why))

    # The end.

    def clean_up(self) -> None:
        """Takes the verifier's sessions from every table, and searches the hosts for what faults may leave.

        A row can come back by a resync that was on its way: they have to stay away for two looks.
        """
        self.recorder.phase("clean up")
        table, own = self.service.table.name, self.site.own_keys()
        left: dict[str, int] = {}
        looks = 0

        def gone() -> bool:
            nonlocal looks
            for api in self.site.apis.values():
                api.clear(table, [*self._fillers, *own])
            left.update({name: len(api.rows(table, own)) for name, api in self.site.apis.items()})
            looks = 0 if any(left.values()) else looks + 1
            return looks == 2

        self._wait("the verifier's own sessions to be gone from every table", gone, CLEAR)
        self._nemesis.search()
        for name in self.balancers:
            found = [] if left.get(name) == 0 else [f"{left.get(name, 'perhaps all')} of the verifier's own sessions"]
            at_ns = self.recorder.now()
            self.recorder.write(Cleanup(host=name, at_ns=at_ns, searched=["own sessions"], found=found))

    def leads(self, balancer: str) -> bool | None:
        """Whether a balancer's URL leads to it: its frontends count a request. None if nobody answers there.

        Where others ask too, it can say yes wrongly, and never no.
        """
        api = self.site.apis[balancer]
        before = api.requests()
        try:
            self.budget.take()
            issued = self.clients[balancer].ask(None).issued
        except HttpError:
            return None
        self._fillers += [issued] if issued else []
        with suppress(WaitTimeout):
            wait_for(f"{balancer} to count a request", lambda: api.requests() > before, ROWS)
        return api.requests() > before
