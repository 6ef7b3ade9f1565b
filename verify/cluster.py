"""Cluster: what a scenario does to the balancers. It asks, looks and records, and judges nothing."""

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Literal, TypeVar

from verify.budget import Budget
from verify.client import Answer, Client, outcome_of
from verify.errors import HttpError, WaitTimeout
from verify.faults import Injection, Nemesis, Site
from verify.faults.health import accepts
from verify.history import SECOND, Cleanup, Fault, History, Operation, Outcome, Session, Window
from verify.identity import ServerFrom
from verify.load import Load, Plan
from verify.recorder import Recorder
from verify.slow import Slow
from verify.tables import ROWS, Tables, new_key, patiently
from verify.teller import Teller
from verify.topology import Service
from verify.waiting import wait_for

# Seconds: a health check needs its rise of several intervals.
SERVERS = 30.0
# What two clocks on one machine may be apart for "after": asking exactly at the settle time proves nothing.
MARGIN = 0.05
LOAD_ERROR_RATE = 0.9  # faults take one balancer of two away: half of the requests fail then, and that is judged
LOAD_CAP = 1_000_000  # requests: no scenario is to go on for ever
KEPT_TURN = 0.05  # seconds between two requests over a connection that is kept
DOWN, KNOCK_SECONDS = 60.0, 0.002  # how long a port may take to close and to open, and how often it is tried

Item = TypeVar("Item")


class Cluster:
    """The balancers of one service, and the verifier's sessions on them.

    Attributes:
        balancers: their names, in the inventory's order.
        sessions: the planted ones, by label.
        random: decides orders and choices, from the run's seed.
        tables: the stick tables, through the runtime APIs.
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
        self._answered_ns = 0
        self._open: list[frozenset[str]] = []
        self.tables = Tables(site, service, self.sessions, recorder, teller)
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
                label = self.add(new_key(), "client")
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
    def keep_asking(self, labels: Sequence[str], on: str, client: Client) -> Iterator[None]:
        """Asks sessions in random order in the background, one request after another, until the block ends.

        Args:
            labels: the sessions.
            on: the balancer that `client` asks.
            client: one that keeps its connection.
        """
        over = threading.Event()
        draw = random.Random(self.random.getrandbits(64))

        def run() -> None:
            while not over.wait(KEPT_TURN):
                label = draw.choice(labels)
                key = self.sessions[label].key
                self._request(label, on, self.recorder.now(), False, partial(client.ask, key))

        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(run)
            try:
                yield
            finally:
                over.set()
            asking.result()

    @contextmanager
    def under_way(
        self, label: str, on: str, lacks: Literal["head", "body"], pieces: int = 1
    ) -> Iterator[Callable[[], None]]:
        """Has a request of a session's under way while the block lasts; it gets what sends a further piece.

        Args:
            label: the session.
            on: the balancer that is asked.
            lacks: what is not complete, see `verify.slow`.
            pieces: in how many pieces that is sent; those that are left are sent when the block ends.
        """
        self.budget.take()
        begun, over = threading.Event(), threading.Event()
        key, sending = self.sessions[label].key, []

        def exchange() -> Answer:
            try:
                with Slow(self.clients[on].target, key, lacks, pieces) as slow:
                    sending.append(slow)
                    begun.set()
                    over.wait()
                    return slow.answer()
            finally:
                begun.set()

        def further() -> None:
            for slow in sending:
                slow.send()

        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(self._request, label, on, self.recorder.now(), False, exchange)
            begun.wait()
            try:
                yield further
            finally:
                over.set()
            asked.result()

    @contextmanager
    def knocking(self, labels: Mapping[str, Sequence[str]]) -> Iterator[None]:
        """Has balancers that are down asked by many as soon as they accept connections again.

        Whoever waits for a port to open comes before the tables do. The block ends when all are answered.

        Args:
            labels: the sessions, by the balancer that each asks; nobody else is to ask them meanwhile.

        Raises:
            WaitTimeout: the port did not close, or not open again.
        """
        over = threading.Event()  # by then a port that was never seen to be closed was so between two looks

        def ask(label: str, on: str, open_: threading.Event) -> None:
            key, target = self.sessions[label].key, self.clients[on].target
            open_.wait()

            def exchange() -> Answer:
                with Slow(target, key, "head") as slow:
                    return slow.answer()

            self._request(label, on, self.recorder.now(), False, exchange)

        def knock(on: str) -> None:
            url, open_ = self.clients[on].url, threading.Event()
            with ThreadPoolExecutor(len(labels[on])) as pool:
                asked = [pool.submit(ask, label, on, open_) for label in labels[on]]
                try:
                    wait_for(
                        f"{url} to refuse connections", lambda: over.is_set() or not accepts(url), DOWN, KNOCK_SECONDS
                    )
                    wait_for(f"{url} to accept connections again", lambda: accepts(url), DOWN, KNOCK_SECONDS)
                finally:
                    open_.set()
            for each in asked:
                each.result()

        for own in labels.values():
            for _ in own:
                self.budget.take()
        with ThreadPoolExecutor(len(labels)) as pool:
            knocks = [pool.submit(knock, on) for on in labels]
            try:
                yield
            finally:
                over.set()
            for each in knocks:
                each.result()

    @contextmanager
    def load(
        self,
        rate: float,
        seconds: float | None,
        share_new: float,
        keep_alive: bool,
        labels: Iterable[str] | None = None,
        outage: bool = False,
    ) -> Iterator[Load]:
        """Asks sessions at random in the background, some of them new, until the block ends.

        Args:
            rate: requests a second.
            seconds: how long; None for as long as the block takes.
            share_new: the share of requests that begin a session.
            keep_alive: whether connections serve several requests.
            labels: the sessions; None for all that there are.
            outage: whether it goes on where nobody answers.
        """
        self._loads += 1
        plan = Plan(
            targets={name: client.target for name, client in self.clients.items()},
            seed=self.random.getrandbits(64),
            rate=rate,
            seconds=seconds,
            cap=LOAD_CAP,
            sessions=tuple(
                (label, self.sessions[label].key) for label in (self.sessions if labels is None else labels)
            ),
            share_new=share_new,
            keep_alive=keep_alive,
            new_labels=f"n{self._loads}-",
            new_again=2 * self.settle_ns / SECOND,
            issued_by=self.issued_by,
            key_length=self.service.table.len,
            error_rate=None if outage else LOAD_ERROR_RATE,
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

    def add(self, key: str, issued_by: Literal["client", "server"]) -> str:
        """Records a new session; returns its label."""
        label = f"s{len(self.sessions) + 1:05d}"
        session = Session(label=label, key=key, issued_by=issued_by, length=self.service.table.len)
        self.sessions[label] = session
        self.recorder.write(session)
        return label

    def new_client_session(self) -> str:
        """Makes a session of the client's, without asking; returns its label."""
        return self.add(new_key(), "client")

    def _operate(self, label: str | None, balancer: str, tell: bool) -> str | None:
        turn = self.budget.take()
        planned = self.recorder.now() - int((time.monotonic() - turn) * SECOND)
        return self._request(label, balancer, planned, tell)

    def _request(
        self,
        label: str | None,
        balancer: str,
        planned_ns: int,
        tell: bool,
        exchange: Callable[[], Answer] | None = None,
    ) -> str | None:
        """Sends one request and records it; returns the session's label, a new one if it was issued.

        One that finds its connection closed, which had served before, is sent again, as clients do.

        Args:
            label: the session's; None for a newcomer.
            balancer: which one is asked.
            planned_ns: when it should be sent.
            tell: whether the answer is told.
            exchange: sends it and gets the answer; None for the balancer's client.
        """
        key = self.sessions[label].key if label else None
        path = None if label else self.service.login_path
        index, wall, sent = self.recorder.next_index(), time.time_ns(), self.recorder.now()
        answer: Answer | None = None
        outcome: Outcome
        error: str | None = None
        attempt, again = 0, True
        while again:
            attempt, again = attempt + 1, False
            try:
                answer = exchange() if exchange else self.clients[balancer].ask(key, path)
                outcome = outcome_of(answer.status)
            except HttpError as failure:
                outcome, error = failure.outcome, str(failure)
                again = failure.closed and attempt == 1
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
                attempt=attempt,
                error=None if answer else error,
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
        return self.tables.bindings([label], balancer).get(label) if label else None

    def _shown(self, server: str | None, answer: Answer | None, error: str | None) -> str:
        pages = {known.name: known.page for known in self.service.servers}
        if server:
            return pages.get(server) or server
        return error or (f"HTTP {answer.status}, from an unknown server" if answer else "no answer")

    # Waiting.

    def settle(self) -> None:
        """Waits until the settle time has passed since the last answer."""
        left = self._answered_ns + self.settle_ns - self.recorder.now()
        time.sleep(max(0.0, left / SECOND) + MARGIN)

    def await_servers(self, on: Sequence[str] | None = None) -> None:
        """Waits until every server of the backend is up, as each balancer's health checks see it."""
        for balancer in on or self.balancers:

            def up(name: str = balancer) -> bool:
                return all(server.up for server in self.site.apis[name].servers(self.service.backend))

            patiently(self.teller, f"every server of {balancer}'s {self.service.backend} to be up", up, SERVERS)

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
        with self._window(injection) as close, self._nemesis.inject(injection, close) as fault:
            yield fault

    @contextmanager
    def _window(self, injection: Injection) -> Iterator[Callable[[], None]]:
        """Declares that requests may fail where a fault takes a balancer or a server away, until it is healed.

        What comes after that, such as learning the tables, is no excuse.
        """
        away = frozenset(injection.disturbs)
        from_ns = self.recorder.now()
        until: list[int] = []
        self._open.append(away)
        try:
            yield lambda: until.append(self.recorder.now())
        finally:
            self._open.remove(away)
            if away:
                until_ns, why = [*until, self.recorder.now()][0], injection.kind
                self.recorder.write(Window(balancers=sorted(away), from_ns=from_ns, until_ns=until_ns, why=why))

    # The end.

    def clean_up(self) -> None:
        """Takes the verifier's sessions from every table, and searches the hosts for what faults may leave."""
        self.recorder.phase("clean up")
        left = self.tables.clear()
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
        self.tables.others += [issued] if issued else []
        with suppress(WaitTimeout):
            wait_for(f"{balancer} to count a request", lambda: api.requests() > before, ROWS)
        return api.requests() > before
