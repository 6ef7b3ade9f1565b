"""A balancer as the tests see it: its runtime API and its URL."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from deployment import wait_for

from verify.client import Client, Target
from verify.hosts import Host
from verify.runtime_api import RuntimeApi
from verify.topology import Balancer


@dataclass(frozen=True)
class Node:
    """A balancer and the ways to it."""

    name: str
    api: RuntimeApi
    client: Client

    @classmethod
    @contextmanager
    def of(cls, balancer: Balancer) -> Iterator["Node"]:
        """Open the ways to a balancer, and close them at the end."""
        target = Target(url=balancer.url or "", cookie="JSESSIONID", headers={"Cookie": "c1=1; c2=2"})
        with Host(balancer.name, balancer.connection) as host, Client(target) as client:
            yield cls(balancer.name, RuntimeApi(host, balancer.socket), client)

    def bindings(self, table: str, keys: Iterable[str]) -> dict[str, str | None]:
        """Return the server of each key, None where it has no row; `table` is a backend's."""
        keys = list(keys)
        rows = self.api.rows(table, keys)
        names = {server.id: server.name for server in self.api.servers(table)}  # before 2.0 rows have ids alone
        return {key: rows[key].server or names.get(rows[key].server_id or 0) if key in rows else None for key in keys}

    def await_sync(self, table: str) -> None:
        """Wait until the process has learnt all it could: before, a reload loses the table."""

        wait_for(f"{self.name}'s {table} to be in sync", lambda: self.api.in_sync(table))
