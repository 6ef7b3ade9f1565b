"""Load: an open-loop generator. It sends each request when it is due, whether earlier ones were answered or not.

A balancer that stalls is so seen by all requests that were due meanwhile, not by one alone
(coordinated omission): latency is to be counted from `planned_ns`.

It speaks HTTP/1.1, with or without TLS. `python tests/bench_load.py` gave 4,500 to 6,200 requests per
core-second over kept connections, and 2,600 to 3,300 with a connection for each (`... close`).
"""

import asyncio
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from verify.client import Answer, outcome_of
from verify.errors import HttpError, WaitTimeout
from verify.history import SECOND, Operation, Outcome, Session
from verify.http1 import Connection
from verify.plan import Plan as Plan
from verify.plan import Planned

TURN = 0.1  # seconds; how soon the load heeds `stop`
LOOK_BACK = 20  # requests over which the share of failures is taken, or those of a second if that are more
MARGIN = 5.0  # seconds that `join` waits longer than all should take


@dataclass(frozen=True, kw_only=True)
class LoadSummary:
    """What a load came to.

    Attributes:
        planned: how many requests were due.
        sent: how many of them were sent; the rest still waited for a connection at the end.
        ok: how many of those sent ended so; `fail` and `info` likewise.
        stopped_because: why it ended before its time, None if it did not.
        slipped_ns: how late the latest request was sent.
    """

    planned: int
    sent: int
    ok: int
    fail: int
    info: int
    stopped_because: str | None
    slipped_ns: int


class Load:
    """Carries out a plan in a thread of its own, once."""

    def __init__(
        self,
        plan: Plan,
        *,
        write: Callable[[Session | Operation], None],
        next_index: Callable[[], int],
        now: Callable[[], int],
        phase: Callable[[], str],
        server_of: Callable[[Answer], str | None],
    ) -> None:
        """Sends nothing yet. All callables are used by the load's thread.

        Args:
            plan: what to send.
            write: takes the records: an operation for each request sent, each new session before
                its first one.
            next_index: gives a fresh number for an operation.
            now: the nanoseconds since the run began.
            phase: the name of the scenario's phase.
            server_of: the name of the server that gave an answer, None if unknown.

        Raises:
            BadUse: a target's `ca` or `client_cert` can't be read.
        """
        self.plan = plan
        self._write, self._next_index, self._now, self._phase = write, next_index, now, phase
        self._server_of = server_of
        self._contexts = {name: target.ssl_context() if target.tls else None for name, target in plan.targets.items()}
        self._slots = {name: asyncio.Semaphore(plan.connections) for name in plan.targets}
        self._idle: dict[str, list[Connection]] = {name: [] for name in plan.targets}
        self._open: set[Connection] = set()
        self._keys = dict(plan.sessions)
        self._tasks: set[asyncio.Task[None]] = set()
        self._counts: Counter[Outcome] = Counter()
        self._recent: deque[tuple[int, bool]] = deque()  # when each ended, and whether it did not succeed
        self._bad = 0  # how many of these did not
        self._planned = self._sent = self._slipped_ns = 0
        self._stop: str | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    @property
    def running(self) -> bool:
        """Whether it still sends, or waits for answers."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begins: the first request is due now."""
        self._thread.start()

    def stop(self) -> None:
        """Sends no more requests; those that are out have the plan's grace. Does not wait for them."""
        self._stop = self._stop or "it was told to"

    def join(self) -> LoadSummary:
        """Waits for the end, no longer than the plan can take, or than the grace if it was stopped.

        Raises:
            WaitTimeout: it did not end.
            Exception: what a callable raised, which ended the load.
        """
        seconds = (0 if self._stop else self.plan.length) + self.plan.grace + MARGIN
        self._thread.join(seconds)
        if self._thread.is_alive():
            raise WaitTimeout("the load to end", seconds)
        if self._error:
            raise self._error
        capped = f"it reached its cap of {self.plan.cap} requests" if self.plan.capped else None
        return LoadSummary(
            planned=self._planned,
            sent=self._sent,
            ok=self._counts["ok"],
            fail=self._counts["fail"],
            info=self._counts["info"],
            stopped_because=self._stop or capped,
            slipped_ns=self._slipped_ns,
        )

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # the thread's: `join` raises it where it is heard
            self._error = error

    async def _main(self) -> None:
        try:
            await self._pace()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self.plan.grace)
        finally:
            left = list(self._tasks)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            for connection in self._open:
                connection.close()
            await asyncio.sleep(0)  # asyncio closes the sockets in its next turn
        if self._error:
            raise self._error

    async def _pace(self) -> None:
        """Starts each request when it is due, whatever became of the others."""
        began_ns = self._now()
        for planned in self.plan.requests():
            due_ns = began_ns + planned.after_ns
            while not self._stop and (wait_ns := due_ns - self._now()) > 0:
                await asyncio.sleep(min(wait_ns / SECOND, TURN))
            if self._stop:
                return
            self._planned += 1
            task = asyncio.create_task(self._request(planned, due_ns, self._phase()))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
            await asyncio.sleep(0)  # it begins now, even where the next one is due already

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._error, self._stop = error, "it failed"

    async def _request(self, planned: Planned, due_ns: int, phase: str) -> None:
        """Sends a request as soon as a connection is free, and records it, however it ends."""
        label, balancer = planned.label, planned.balancer
        async with self._slots[balancer]:
            if self._stop:
                return
            key = self._keys.get(label)
            if key is None and self.plan.issued_by == "client":
                # Not from the seed: a replay must not find rows that an earlier run left.
                key = self._begin(label, f"svfy{secrets.token_hex(14)}")
            index, wall_ns, sent_ns = self._next_index(), time.time_ns(), self._now()
            self._sent += 1
            self._slipped_ns = max(self._slipped_ns, sent_ns - due_ns)
            answer, outcome, connection, error = await self._exchange(balancer, key)
            done_ns = self._now()
        if key is None and answer and answer.issued:
            # Another one may have logged in for the label meanwhile, if this one was slow.
            label = f"{label}.{index}" if label in self._keys else label
            key = self._begin(label, answer.issued)
        self._write(
            Operation(
                index=index,
                source="load",
                phase=phase,
                session=label if key is not None else None,
                balancer=balancer,
                server=self._server_of(answer) if answer and outcome == "ok" else None,
                planned_ns=due_ns,
                sent_ns=sent_ns,
                done_ns=done_ns,
                wall_ns=wall_ns,
                status=answer.status if answer else None,
                outcome=outcome,
                connection=connection,
                error=error,
            )
        )
        self._count(outcome, done_ns)

    def _begin(self, label: str, key: str) -> str:
        self._keys[label] = key
        self._write(Session(label=label, key=key, issued_by=self.plan.issued_by, length=self.plan.key_length))
        return key

    async def _exchange(self, balancer: str, key: str | None) -> tuple[Answer | None, Outcome, int, str | None]:
        """Returns the answer, the outcome, the connection's number (0: there was none), and what went wrong."""
        target = self.plan.targets[balancer]
        connection: Connection | None = None
        try:
            connection = self._kept(balancer) or await Connection.open(target, self._contexts[balancer])
            self._open.add(connection)
            path = target.login_path if key is None else target.path
            answer = await connection.ask(key, path, last=not self.plan.keep_alive)
            return answer, outcome_of(answer.status), connection.number, None
        except HttpError as error:
            return None, error.outcome, connection.number if connection else 0, str(error)
        except asyncio.CancelledError:  # by `_main`
            late = f"{target.url} had not answered {self.plan.grace:g} s after the load's end"
            return None, "info" if connection else "fail", connection.number if connection else 0, late
        finally:
            if connection and self.plan.keep_alive and connection.usable:
                self._idle[balancer].append(connection)
            elif connection:
                self._open.discard(connection)
                connection.close()

    def _kept(self, balancer: str) -> Connection | None:
        """Returns a connection that an earlier request left; drops those that were closed since."""
        idle = self._idle[balancer]
        while idle:
            connection = idle.pop()
            if connection.usable:
                return connection
            self._open.discard(connection)
            connection.close()
        return None

    def _count(self, outcome: Outcome, done_ns: int) -> None:
        """Counts a request that ended, and stops the load if too many did not succeed."""
        self._counts[outcome] += 1
        recent = self._recent
        recent.append((done_ns, outcome != "ok"))
        self._bad += outcome != "ok"
        while len(recent) > LOOK_BACK and recent[0][0] < done_ns - SECOND:
            self._bad -= recent.popleft()[1]
        limit = self.plan.error_rate
        if limit is not None and len(recent) >= LOOK_BACK and self._bad > limit * len(recent):
            why = f"{self._bad} of the last {len(recent)} requests did not succeed (error_rate {limit:g})"
            self._stop = self._stop or why
