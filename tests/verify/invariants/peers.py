"""Peers: the model's tables, and the rows on their way from one balancer to another."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol


class Clock(Protocol):
    """What plans the future."""

    now: int

    def at(self, time: int, run: Callable[[], None]) -> None:
        """Runs something at a time."""


@dataclass
class Row:
    """A row on its way; `over` once it has arrived or was lost."""

    source: str
    target: str
    session: int
    server: str | None = None
    sent: bool = False
    over: bool = False


class Peers:
    """Balancers that tell each other of each row that they use.

    Attributes:
        rows: the server of each session, by balancer.
    """

    def __init__(self, names: Sequence[str], clock: Clock, pace: int, travel: Sequence[int]) -> None:
        self.names, self.clock, self.pace, self.travel = names, clock, pace, travel
        self.rows: dict[str, dict[int, str]] = {name: {} for name in names}
        self._deaf: set[frozenset[str]] = set()  # pairs that don't hear each other
        self._under_way: list[Row] = []
        self._backlog: dict[tuple[str, str], dict[int, None]] = {}
        self._arrives: dict[tuple[str, str], int] = {}
        self._hops = count()

    def tell(self, source: str, session: int) -> None:
        """A balancer pushes a row to all others."""
        for target in self.names:
            if target != source:
                self._push(source, target, session)

    def part(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Pairs of balancers no longer hear each other; what is on its way is lost."""
        self._deaf |= {frozenset(pair) for pair in pairs}

    def join(self, pairs: Iterable[tuple[str, str]]) -> None:
        """They hear each other again, and push what was lost, as it is now."""
        self._deaf -= {frozenset(pair) for pair in pairs}
        for one, other in pairs:
            for way in ((one, other), (other, one)):
                for session in self._backlog.pop(way, {}):
                    self._push(*way, session)

    def flush(self) -> None:
        """All rows arrive at once: a balancer that goes has told all, unlike a real one that is killed."""
        for row in self._under_way:
            if not row.over and not row.sent:
                row.server = self.rows[row.source].get(row.session)
            self._arrive(row)
        self._under_way.clear()

    def _push(self, source: str, target: str, session: int) -> None:
        """A row is sent a little later, as it is then, and travels; rows don't overtake each other."""
        row = Row(source, target, session)
        self._under_way.append(row)
        self.clock.at(self.clock.now + self.pace, lambda: self._send(row))

    def _send(self, row: Row) -> None:
        if row.over or self._lost(row):
            return
        row.server, row.sent = self.rows[row.source].get(row.session), True
        travel = self.travel[next(self._hops) % len(self.travel)]
        way = row.source, row.target
        self._arrives[way] = max(self.clock.now + travel, self._arrives.get(way, 0))
        self.clock.at(self._arrives[way], lambda: self._arrive(row))

    def _arrive(self, row: Row) -> None:
        if row.over or self._lost(row):
            return
        row.over = True
        if row.server is not None:
            self.rows[row.target][row.session] = row.server

    def _lost(self, row: Row) -> bool:
        row.over = frozenset((row.source, row.target)) in self._deaf
        if row.over:
            self._backlog.setdefault((row.source, row.target), {})[row.session] = None
        return row.over
