"""Seen: what one look at running balancers saw. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from verify.peers_text import Peer, PeersSection
from verify.table_text import Row, Table


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A balancer's sampled rows, asked for on another balancer: counts, never keys.

    Attributes:
        table: the table's name.
        other: the balancer that was asked.
        asked: how many rows were asked for.
        missing: how many it does not have, and did not a second later.
        differ: how many it binds to another server, and did a second later.
        lives_differ: how many live clearly longer or shorter there.
    """

    table: str
    other: str
    asked: int
    missing: int = 0
    differ: int = 0
    lives_differ: int = 0


@dataclass(frozen=True)
class Seen:
    """One balancer, as its runtime API shows it.

    Attributes:
        balancer: its name.
        error: why nothing could be read; the rest is empty then.
        info: `show info`.
        tables: the tables' headers.
        sections: the peers sections; None where this HAProxy has no `show peers` (before 2.0).
        samples: by table, some of the rows that bind a server. Their keys are other people's
            sessions: they are asked for on the other balancers, and go nowhere else.
        unread: why a table's rows could not be read, by table.
        compared: what came of asking the other balancers for the samples.
    """

    balancer: str
    error: str | None = None
    info: dict[str, str] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    sections: list[PeersSection] | None = None
    samples: dict[str, list[Row]] = field(default_factory=dict, repr=False)
    unread: dict[str, str] = field(default_factory=dict)
    compared: list[Comparison] = field(default_factory=list)

    @property
    def uptime(self) -> int:
        """Seconds since the worker started."""
        return int(self.info.get("Uptime_sec", 0))

    @property
    def local_names(self) -> set[str]:
        """What the balancer calls itself, in each of its peers sections."""
        return {peer.name for section in self.sections or [] for peer in section.peers if peer.local}

    @property
    def remote(self) -> Iterator[Peer]:
        """The other peers, of all sections."""
        return (peer for section in self.sections or [] for peer in section.peers if not peer.local)

    @property
    def shared(self) -> set[str]:
        """The tables that a peers section shares."""
        return {table for section in self.sections or [] for table in section.tables}

    @property
    def sticky(self) -> list[Table]:
        """The tables that may keep sessions: without those whose rows were read and bind no server."""
        return [table for table in self.tables if self.samples.get(table.name) or not self._read(table)]

    def table(self, name: str) -> Table | None:
        """Returns a table's header."""
        return next((table for table in self.tables if table.name == name), None)

    def peer(self, other: "Seen") -> Peer | None:
        """Returns the peer that another balancer is to this one."""
        return next((peer for peer in self.remote if peer.name in other.local_names), None)

    def _read(self, table: Table) -> bool:
        return table.used > 0 and table.name not in self.unread
