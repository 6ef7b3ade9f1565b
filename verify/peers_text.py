"""Peers text: what HAProxy prints about its peers, as typed values.

Pure. The parser reads what HAProxy 2.2, 2.6, 3.0 and 3.2 were recorded to answer to `show peers`; 1.5 has no
such command. A text that it does not know is a `RuntimeApiError` with that text: nothing is guessed.
"""

import re

import msgspec

from verify.errors import RuntimeApiError

# The section's flags: bit 0 resynced from the local peer, bit 1 from a remote one; the higher ones
# are for HAProxy's developers and differ between versions (src/peers.c).
RESYNC_FINISHED = 0x3
ESTABLISHED = "ESTA"


class Shared(msgspec.Struct, frozen=True):
    """A table as it is shared with one peer.

    Attributes:
        local_id: the table's number here.
        remote_id: its number on the other side; 0 as long as the peer has sent nothing of it over
            this connection, and for ever where its table has another type or `len`.
        last_pushed: the last update that was sent to the peer; it counts from 0 with each process.
        last_acked: the last update of the peer's that was acknowledged.
        update: the table's own last update.
    """

    local_id: int
    remote_id: int
    last_pushed: int
    last_acked: int
    update: int


class Peer(msgspec.Struct, frozen=True):
    """One peer as a balancer sees it.

    Attributes:
        local: whether it is the balancer itself.
        active: whether there is a connection, if only one that is being made.
        address: as `IP:PORT`.
        last_status: four letters, `ESTA` for a session that was established last.
        new_conn: how many connections were begun since the process started.
        proto_err: how many of them broke the protocol.
        coll: how often both sides connected at once; None where HAProxy does not count it (2.2).
        shared: by the table's name.
    """

    name: str
    local: bool
    active: bool
    address: str
    last_status: str
    new_conn: int
    proto_err: int
    coll: int | None
    shared: dict[str, Shared] = {}

    @property
    def established(self) -> bool:
        """Whether there is a session just now."""
        return self.active and self.last_status == ESTABLISHED

    @property
    def remote_ids(self) -> dict[str, int]:
        """The other side's number of each shared table, by the table's name."""
        return {name: shared.remote_id for name, shared in self.shared.items()}


class PeersSection(msgspec.Struct, frozen=True):
    """A `peers` section and the state of its tables' synchronisation."""

    name: str
    flags: int
    peers: list[Peer] = []

    @property
    def in_sync(self) -> bool:
        """Whether the process has learnt all it could: before, a reload loses the tables."""
        return self.flags & RESYNC_FINISHED == RESYNC_FINISHED

    @property
    def tables(self) -> set[str]:
        """The names of the tables that the section shares."""
        return {table for peer in self.peers for table in peer.shared}


# A line of `show peers` is known by how far it is indented, and by how it begins.
_SECTION = re.compile(r"0x\w+: \[.*?\] id=(\S+) (?:state|disabled)=\d+ flags=(0x[0-9a-f]+) .*")
_PEER = re.compile(r" {2}0x\w+: id=(\S+)\((local|remote),(active|inactive)\) (addr=.*)")
_OF_PEER = re.compile(r" {8}(?:reconnect=|flags=|xprt=|remote_table:|last_local_table:).*")
_SHARED = re.compile(r" {10}0x\w+ local_id=.*| {14}last_acked=.*")
_SHARED_TABLE = re.compile(r" {14}table:0x\w+ id=(\S+) (.*)")
_HEADING = re.compile(r" {8}(?:shared tables:|[RT]X dictionary cache:|Dictionary cache not dumped.*|(?: +\d+ -> \S+)+)")


def parse_peers(text: str) -> list[PeersSection]:
    """Reads `show peers`; no section means that HAProxy runs without peers.

    Raises:
        RuntimeApiError: a text of another kind, such as that of a HAProxy without the command.
    """
    sections: list[PeersSection] = []
    seen: list[tuple[PeersSection, re.Match[str], dict[str, str], dict[str, Shared]]] = []
    shared: dict[str, str] = {}
    try:
        for line in filter(None, text.split("\n")):
            if section := _SECTION.fullmatch(line):
                sections.append(PeersSection(section[1], int(section[2], 16), []))
            elif peer := _PEER.fullmatch(line):
                seen.append((sections[-1], peer, _words(peer[4]), {}))
            elif _OF_PEER.fullmatch(line):
                seen[-1][2].update(_words(line) | seen[-1][2])  # `addr` again: that of the connection
            elif _SHARED.fullmatch(line):
                shared |= _words(line)
            elif table := _SHARED_TABLE.fullmatch(line):
                shared |= _words(table[2])
                seen[-1][3][table[1]] = Shared(**{name: int(shared[name]) for name in Shared.__struct_fields__})
            elif not _HEADING.fullmatch(line):
                raise RuntimeApiError("show peers", text)
        for of, peer, words, tables in seen:
            of.peers.append(_peer(peer, words, tables))
    except (IndexError, KeyError, ValueError):
        raise RuntimeApiError("show peers", text) from None
    return sections


def _words(line: str) -> dict[str, str]:
    return dict(re.findall(r"\b(\w+)=(\S+)", line))


def _peer(line: re.Match[str], words: dict[str, str], tables: dict[str, Shared]) -> Peer:
    return Peer(
        name=line[1],
        local=line[2] == "local",
        active=line[3] == "active",
        address=words["addr"],
        last_status=words["last_status"],
        new_conn=int(words["new_conn"]),
        proto_err=int(words["proto_err"]),
        coll=int(words["coll"]) if "coll" in words else None,
        shared=tables,
    )
