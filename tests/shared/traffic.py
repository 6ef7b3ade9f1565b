"""Requests to every balancer, all the time, by the verifier's load; its sessions are its own."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from deployment import wait_for

from verify.history import Operation, Session
from verify.load import Load, Plan
from verify.target import Target

RATE = 50  # requests a second
WARM = 100  # requests before anything is done, and after


@dataclass
class Traffic:
    """What became of the requests, in the order of their ends; times are those of the monotonic clock."""

    operations: list[Operation] = field(default_factory=list)

    @property
    def failed(self) -> list[Operation]:
        """Those that got no page of a server."""
        return [operation for operation in self.operations if operation.outcome != "ok"]

    @property
    def moved(self) -> int:
        """How many answers came from another server than the one before to the same session."""
        last: dict[str | None, str | None] = {}
        moved = 0
        for operation in sorted(self.operations, key=lambda operation: operation.sent_ns):
            if operation.outcome == "ok" and operation.session:
                moved += last.get(operation.session, operation.server) != operation.server
                last[operation.session] = operation.server
        return moved

    def write(self, record: Session | Operation) -> None:
        """Keeps the requests."""
        if isinstance(record, Operation):
            self.operations.append(record)

    def await_more(self, requests: int) -> None:
        """Waits for so many further requests to end."""
        enough = len(self.operations) + requests
        wait_for(f"{requests} further requests", lambda: len(self.operations) >= enough)

    def __str__(self) -> str:
        """The figures, with the first failures."""
        said = f"{len(self.operations)} requests, {len(self.failed)} failed, {self.moved} answered by another server"
        return "; ".join([said, *(f"{one.balancer}: {one.error or one.status}" for one in self.failed[:5])])


@contextmanager
def traffic(urls: dict[str, str], ca: str | None = None, patience: float = 5) -> Iterator[Traffic]:
    """Asks all the time, until the context is left.

    Args:
        urls: those of the balancers, by name.
        ca: a PEM file of the certificates to trust.
        patience: how long a client waits for an answer, in seconds.
    """
    seen = Traffic()
    plan = Plan(
        targets={
            name: Target(url=url, cookie="JSESSIONID", login_path="/login", ca=ca, seconds=patience)
            for name, url in urls.items()
        },
        seed=1,
        rate=RATE,
        seconds=None,
        cap=1_000_000,
        share_new=0.02,
        error_rate=None,
    )
    load = Load(
        plan,
        write=seen.write,
        next_index=itertools.count().__next__,
        now=time.monotonic_ns,
        phase=lambda: "traffic",
        server_of=lambda answer: answer.body,
    )
    load.start()
    try:
        seen.await_more(WARM)
        yield seen
        seen.await_more(WARM)
    finally:
        load.stop()
        load.join()
