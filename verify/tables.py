"""Tables: the balancers' stick tables, seen and cleaned through their runtime APIs.

An HTTP probe that misses would write a row of its own: these look without asking.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from verify.errors import Refused, WaitTimeout
from verify.faults import Site
from verify.history import Session, Snapshot, Stock
from verify.recorder import Recorder
from verify.table_text import Row
from verify.teller import Teller
from verify.topology import Service
from verify.waiting import wait_for

# Bounds, in seconds. A row reaches the other balancer in milliseconds; a process that finds nobody
# to learn from declares itself in sync after 5 s, two that start together after up to 12 s.
ROWS, SYNC, CLEAR = 3.0, 20.0, 15.0
CLEARED = 2000  # rows a second, at least, that can be cleared everywhere, and looked for twice


class Tables:
    """One table on all balancers.

    Attributes:
        others: keys of the verifier's own rows that are no sessions of a scenario.
    """

    def __init__(
        self, site: Site, service: Service, sessions: Mapping[str, Session], recorder: Recorder, teller: Teller
    ) -> None:
        """Looks at nothing yet; `sessions`, by label, may grow."""
        self._site, self._service, self._sessions = site, service, sessions
        self._recorder, self._teller = recorder, teller
        self._moment = 0
        self._stock: dict[str, int] = {}  # the server's id of each row that was put there
        self.others: list[str] = []

    def bindings(self, labels: Iterable[str], on: str) -> dict[str, str | None]:
        """Returns the server of each session in one balancer's table, None for a session without a row."""
        keys = {self._sessions[label].key: label for label in labels}
        rows = self._site.apis[on].rows(self._service.table.name, keys)
        return {label: self._bound(rows.get(key)) for key, label in keys.items()}

    def _bound(self, row: Row | None) -> str | None:
        if row is None or not row.server_id:
            return None
        names = {server.id: server.name for server in self._service.servers}
        return row.server or names.get(row.server_id) or f"#{row.server_id}"

    def await_rows(self, labels: Iterable[str], on: Sequence[str] | None = None) -> None:
        """Waits until balancers have a row of every session, or the bound is over: it is judged elsewhere."""
        labels = list(labels)
        deadline = time.monotonic() + ROWS
        for balancer in on or self._site.balancers:
            with suppress(WaitTimeout):
                wait_for(
                    f"{len(labels)} rows on {balancer}",
                    lambda on=balancer: None not in self.bindings(labels, on).values(),  # type: ignore[misc]
                    max(0.0, deadline - time.monotonic()),
                )

    def await_sync(self, on: Sequence[str] | None = None) -> None:
        """Waits until processes have learnt all they could: before, a reload loses their tables.

        A balancer that does not come into sync is told, and judged by what it answers.
        """
        table = self._service.table.name
        for balancer in on or self._site.balancers:

            def in_sync(name: str = balancer) -> bool:
                return self._site.apis[name].in_sync(table)

            patiently(self._teller, f"{balancer} to be in sync (show peers: flags & 3 == 3)", in_sync, SYNC)

    def snapshot(self, labels: Iterable[str] | None = None) -> None:
        """Records every balancer's rows at rest: once they are equal, or the bound is over."""
        wanted = list(self._sessions if labels is None else labels)
        seen: dict[str, dict[str, str | None]] = {}

        def equal() -> bool:
            seen.update({balancer: self.bindings(wanted, balancer) for balancer in self._site.balancers})
            one, *more = seen.values()
            return None not in one.values() and all(other == one for other in more)

        with suppress(WaitTimeout):  # the last look is judged
            wait_for("equal tables", equal, ROWS)
        self._moment += 1
        for balancer, rows in seen.items():
            name = self._service.table.name
            (table,) = [known for known in self._site.apis[balancer].tables() if known.name == name]
            self._recorder.write(
                Snapshot(
                    moment=self._moment,
                    at_ns=self._recorder.now(),
                    balancer=balancer,
                    table=name,
                    rows=rows,
                    used=table.used,
                    size=table.size,
                )
            )

    def fill(self, count: int) -> None:
        """Adds rows that nobody asks for, and waits until all balancers have them.

        Raises:
            Refused: the table would be more than half full, and others' rows might have to go.
        """
        table, first = self._service.table.name, self._site.balancers[0]
        if not count:
            return
        (known,) = [known for known in self._site.apis[first].tables() if known.name == table]
        if known.used + count > known.size / 2:
            raise Refused(
                f"--rows {count} would fill more than half of {table} ({known.used} of {known.size}): give less"
            )
        self._recorder.phase(f"fill {table} with {count} rows")
        fillers = [new_key() for _ in range(count)]
        self.others += fillers
        servers = self._site.apis[first].servers(self._service.backend)
        self._site.apis[first].set_rows(table, fillers, servers[0].id)
        self._stock |= {key[: self._service.table.len]: servers[0].id for key in fillers}

        def everywhere() -> bool:
            used = [known.used for api in self._site.apis.values() for known in api.tables() if known.name == table]
            return min(used) >= count

        patiently(self._teller, f"{count} rows on all balancers", everywhere, SYNC)

    def count_stock(self) -> None:
        """Records what became of the rows that `fill` has added, on every balancer."""
        for name, api in self._site.apis.items() if self._stock else ():
            bound = {row.key: row.server_id for row in api.stream_rows(self._service.table.name)}
            there = [key for key in self._stock if key in bound]
            kept = sum(bound[key] == self._stock[key] for key in there)
            self._recorder.write(
                Stock(
                    balancer=name,
                    at_ns=self._recorder.now(),
                    put=len(self._stock),
                    kept=kept,
                    moved=len(there) - kept,
                )
            )

    def clear(self) -> dict[str, int]:
        """Takes the verifier's own rows away everywhere; returns how many sessions are left, by balancer.

        A row can come back by a resync that was on its way: they have to stay away for two looks.
        """
        table, own = self._service.table.name, [session.key for session in self._sessions.values()]
        left: dict[str, int] = {}
        looks = 0

        def gone() -> bool:
            nonlocal looks
            for api in self._site.apis.values():
                api.clear(table, [*self.others, *own])
            left.update({name: len(api.rows(table, own)) for name, api in self._site.apis.items()})
            looks = 0 if any(left.values()) else looks + 1
            return looks == 2

        seconds = CLEAR + len(self.others) / CLEARED
        patiently(self._teller, "the verifier's own sessions to be gone from every table", gone, seconds)
        return left


def new_key() -> str:
    """Makes a session's key: recognisable, and 32 characters as the demo's.

    Not from the seed: a replay must find no row that was left.
    """
    return f"svfy{secrets.token_hex(14)}"


def patiently(teller: Teller, what: str, probe: Callable[[], bool], seconds: float) -> None:
    """Waits for a state; where it does not come, that is told, and judged by what is answered then."""
    try:
        wait_for(what, probe, seconds)
    except WaitTimeout as timeout:
        teller.line(f"warning: {timeout}")
