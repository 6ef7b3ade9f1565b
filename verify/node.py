"""Node: a balancer and what the verifier can do to it and see of it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from verify import invariants
from verify.client import Answer, Client
from verify.errors import HttpError, VerifyError, WaitTimeout
from verify.hosts import Host
from verify.runtime_api import RuntimeApi
from verify.topology import Balancer
from verify.waiting import wait_for

# Bounds, in seconds. A row reaches the other balancer in milliseconds; a process that finds nobody
# to learn from declares itself in sync after 5 s, two that start together after up to 12 s.
ROWS, SYNC, SERVICE = 5.0, 20.0, 30.0


class Session(NamedTuple):
    """A session: how it is called in the output, and the cookie's value (the table's key)."""

    label: str
    cookie: str


@dataclass(frozen=True)
class Node:
    """A balancer and the three ways to it: shell, runtime API, HTTP."""

    name: str
    host: Host
    api: RuntimeApi
    client: Client

    @classmethod
    @contextmanager
    def of(cls, balancer: Balancer) -> Iterator["Node"]:
        """Opens the ways to a balancer, and closes them at the end; connects to nothing yet."""
        with Host(balancer) as host, Client(balancer.url) as client:
            yield cls(balancer.name, host, RuntimeApi(host.run), client)

    def backend(self, session: Session | None) -> int | None:
        """Asks in a session's name, or without one; returns the backend that answered, if one did."""
        answer = self._answer(session.cookie if session else None)
        return answer.backend if answer else None

    def bindings(self, table: str, sessions: Iterable[Session]) -> dict[str, str | None]:
        """Returns the server of each session by its label: a name, `#id` (1.5), None for no row."""
        sessions = list(sessions)
        rows = self.api.rows(table, [session.cookie for session in sessions])
        found: dict[str, str | None] = {}
        for label, cookie in sessions:
            row = rows.get(cookie)
            found[label] = (row.server or f"#{row.server_id}") if row and row.server_id else None
        return found

    def lacks(self, table: str, sessions: Iterable[Session]) -> list[str]:
        """Waits for the sessions' rows; returns reasons if they do not come within `ROWS`."""
        sessions = list(sessions)
        reasons: list[str] = []

        def complete() -> bool:
            reasons[:] = invariants.missing(self.bindings(table, sessions), self.name)
            return not reasons

        try:
            wait_for(f"rows on {self.name}", complete, ROWS)
        except WaitTimeout as timeout:
            return reasons or [str(timeout)]
        return []

    def await_sync(self, table: str) -> None:
        """Waits until the process has learnt all it could: before, a reload loses the table.

        Raises:
            WaitTimeout: not in sync within `SYNC`, or no peers section shares the table.
        """

        def in_sync() -> bool:
            sections = [section for section in self.api.peers() if table in section.tables]
            return bool(sections) and all(section.in_sync for section in sections)

        wait_for(f"{self.name}'s {table} to be in sync (show peers: flags & 3 == 3)", in_sync, SYNC)

    def await_servers(self, backend: str) -> None:
        """Waits until every server of a backend is up, as health checks see it.

        Raises:
            WaitTimeout: some are down after `SYNC`.
        """

        def up() -> bool:
            return all(server.up for server in self.api.servers(backend))

        wait_for(f"every server of {self.name}'s {backend} to be up", up, SYNC)

    def rotation(self, servers: int) -> list[int]:
        """Asks without a session until the servers come in the same order twice; returns that order.

        Raises:
            WaitTimeout: they did not within `ROWS`, for instance because others ask this balancer.
        """
        seen: list[int | None] = []

        def steady() -> bool:
            seen[:] = seen[-servers:] + [self.backend(None) for _ in range(servers)]
            return (
                None not in seen
                and len(set(seen)) == servers
                and seen[:servers] == seen[-servers:]
                and len(seen) > servers
            )

        wait_for(f"{self.name} to deal out its {servers} servers in turn, with nobody else asking", steady, ROWS)
        return [backend for backend in seen[:servers] if backend is not None]

    def stop(self) -> str:
        """Stops HAProxy; returns once its unit is inactive and its URL refuses, and says so."""
        self._service("stop")
        wait_for(f"{self.name}'s unit to be inactive", lambda: self.unit() == "inactive", SERVICE)
        wait_for(f"{self.client.url} to refuse", lambda: self._answer(None) is None, SERVICE)
        return f"{self.name}: unit {self.unit()}, URL refuses"

    def start(self) -> str:
        """Starts HAProxy; returns once its URL answers, and says so."""
        self._service("start")
        wait_for(f"{self.client.url} to answer", lambda: self._answer(None) is not None, SERVICE)
        return f"{self.name}: unit {self.unit()}, URL answers"

    def reload(self) -> str:
        """Reloads HAProxy; returns once another worker answers the runtime API, and says so."""
        before = self.api.info()["Pid"]
        self._service("reload")
        wait_for(
            f"{self.name} to run a new worker",
            lambda: self.api.info()["Pid"] != before,
            SERVICE,
        )
        return f"{self.name}: worker {before} replaced by {self.api.info()['Pid']}"

    def unit(self) -> str:
        """Returns systemd's word for HAProxy's unit: `active`, `inactive`, `failed`, ..."""
        return self.host.run(["systemctl", "is-active", "haproxy"], check=False).strip()

    def evidence(self) -> list[str]:
        """Returns lines that help to find a cause: its peers, and the end of its journal."""
        journal = ["journalctl", "-u", "haproxy", "-n", "20", "--no-pager"]
        looks: list[tuple[str, Callable[[], str]]] = [
            ("show peers", lambda: self.api.ask("show peers")[0]),
            (" ".join(journal), lambda: self.host.run(journal)),
        ]
        lines = []
        for name, look in looks:
            try:
                text = look()
            except VerifyError as error:
                text = str(error)
            lines += [f"--- {self.name}: {name}", *text.strip("\n").splitlines()]
        return lines

    def _service(self, action: str) -> None:
        self.host.run(["service", "haproxy", action], seconds=60)

    def _answer(self, cookie: str | None) -> Answer | None:
        try:
            return self.client.ask(cookie)
        except HttpError:
            return None
