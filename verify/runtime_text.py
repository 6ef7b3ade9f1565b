r"""Runtime text: what HAProxy prints about its tables, peers and servers, as typed values.

Pure. The parsers read what HAProxy 2.2, 2.6 and 3.0 were recorded to answer; 1.5's table
rows differ by having no server name. A text that they do not know is a `RuntimeApiError`.
"""

import re
from dataclasses import dataclass, field

from verify.errors import RuntimeApiError

# The section's flags: bit 0 resynced from the local peer, bit 1 from a remote one; the higher ones
# are for HAProxy's developers and differ between versions (src/peers.c).
RESYNC_FINISHED = 0x3


@dataclass(frozen=True)
class Row:
    """One row of a stick table: a session and the server that it is bound to.

    Attributes:
        key: the session's key, unescaped; bytes that are no UTF-8 are surrogates.
        server_id: the server's id; None where the row binds no server.
        server: the server's name; None where HAProxy prints none (1.5) or `-`.
        expire_ms: milliseconds left; 0 where the table has no expiry.
        use: how many streams hold the row just now.
    """

    key: str
    server_id: int | None
    server: str | None
    expire_ms: int
    use: int


@dataclass(frozen=True)
class Table:
    """A stick table: its header and those of its rows that were asked for.

    Attributes:
        size: the greatest number of rows.
        used: the number of rows.
    """

    name: str
    type: str
    size: int
    used: int
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Peer:
    """One peer as a balancer sees it.

    Attributes:
        local: whether it is the balancer itself.
        state: `active` or `inactive`; empty where HAProxy does not say.
        last_status: four letters, `ESTA` for an established session.
        remote_ids: the other side's id of each shared table, by the table's name; 0 means that
            the other side does not share it.
    """

    name: str
    local: bool
    state: str
    last_status: str
    remote_ids: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PeersSection:
    """A `peers` section and the state of its tables' synchronisation."""

    name: str
    flags: int
    peers: list[Peer] = field(default_factory=list)

    @property
    def in_sync(self) -> bool:
        """Whether the process has learnt all it could: before, a reload loses the tables."""
        return self.flags & RESYNC_FINISHED == RESYNC_FINISHED

    @property
    def tables(self) -> set[str]:
        """The names of the tables that the section shares."""
        return {table for peer in self.peers for table in peer.remote_ids}


@dataclass(frozen=True)
class Server:
    """A server of a backend; `up` is false for one that is down, in maintenance, or starting."""

    id: int
    name: str
    up: bool


_TABLE = re.compile(r"# table: (\S+), type: (\w+),.*?\bsize:\s*(\d+), used:\s*(\d+)")
_ROW = re.compile(r"0x\w+: key=((?:\\.|[^\\ ])*) use=(\d+) exp=(\d+)(.*)")
_SERVER_ID = re.compile(r" server_id=(\d+)")
_SERVER_NAME = re.compile(r" server_(?:name|key)=(\S+)")


def parse_tables(text: str) -> list[Table]:
    """Reads `show table`, `show table T` and `show table T key K` (no table at all: no such key).

    Raises:
        RuntimeApiError: anything else, `No such table` too.
    """
    tables: list[Table] = []
    for line in filter(None, text.splitlines()):
        if header := _TABLE.match(line):
            tables.append(Table(header[1], header[2], int(header[3]), int(header[4])))
        elif (row := _ROW.fullmatch(line)) and tables:
            server_id, server = _SERVER_ID.search(row[4]), _SERVER_NAME.search(row[4])
            tables[-1].rows.append(
                Row(
                    key=unescape(row[1]),
                    server_id=int(server_id[1]) if server_id else None,
                    server=server[1] if server and server[1] != "-" else None,
                    expire_ms=int(row[3]),
                    use=int(row[2]),
                )
            )
        else:
            raise RuntimeApiError("show table", text)
    return tables


_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{2}|.)", re.DOTALL)
_CONTROL = {b"t": b"\t", b"n": b"\n", b"r": b"\r", b"e": b"\x1b"}


def unescape(key: str) -> str:
    r"""Undoes the escapes of a printed key: `a\=b`, `a\ b`, `\t`, `\xC3\xA9` (dump_text())."""

    def plain(found: re.Match[bytes]) -> bytes:
        code = found[1]
        return bytes.fromhex(code[1:].decode()) if len(code) == 3 else _CONTROL.get(code, code)

    raw = key.encode("utf-8", "surrogateescape")
    return _ESCAPE.sub(plain, raw).decode("utf-8", "surrogateescape")


_SECTION = re.compile(r"0x\w+: .*?\bid=(\S+) .*?\bflags=(0x[0-9a-f]+)")
_PEER = re.compile(r"\s+0x\w+: id=(\S+)\((local|remote)(?:,(\w+))?\).*?\blast_status=(\w+)")
_SHARED = re.compile(r"\s+0x\w+ local_id=\d+ remote_id=(\d+)")
_SHARED_NAME = re.compile(r"\s+table:0x\w+ id=(\S+)")


def parse_peers(text: str) -> list[PeersSection]:
    """Reads `show peers`; no section means that HAProxy runs without peers.

    Raises:
        RuntimeApiError: a text of another kind, such as that of a HAProxy without the command.
    """
    sections: list[PeersSection] = []
    remote_id = 0
    for line in filter(None, text.splitlines()):
        if section := _SECTION.match(line):
            sections.append(PeersSection(section[1], int(section[2], 16)))
        elif not sections or not line.startswith(" "):
            raise RuntimeApiError("show peers", text)
        elif peer := _PEER.match(line):
            sections[-1].peers.append(Peer(peer[1], peer[2] == "local", peer[3] or "", peer[4]))
        elif shared := _SHARED.match(line):
            remote_id = int(shared[1])
        elif (name := _SHARED_NAME.match(line)) and sections[-1].peers:
            sections[-1].peers[-1].remote_ids[name[1]] = remote_id
    return sections


def parse_info(text: str) -> dict[str, str]:
    """Reads `show info`, as printed: numbers stay texts.

    Raises:
        RuntimeApiError: a line that is no `Name: value`, or nothing at all.
    """
    lines = [re.fullmatch(r"(\w[\w -]*): ?(.*)", line) for line in filter(None, text.splitlines())]
    info = {line[1]: line[2] for line in lines if line}
    if not lines or len(info) != len(lines):
        raise RuntimeApiError("show info", text)
    return info


def parse_servers(text: str) -> list[Server]:
    """Reads `show servers state B`, version 1 of its format.

    Raises:
        RuntimeApiError: another version or text, such as that for an unknown backend.
    """
    version, *lines = [line for line in text.splitlines() if line] or [""]
    if version != "1" or not lines or not lines[0].startswith("# "):
        raise RuntimeApiError("show servers state", text)
    names = lines[0].removeprefix("# ").split()
    rows = [dict(zip(names, line.split(), strict=False)) for line in lines[1:]]
    try:
        return [Server(int(row["srv_id"]), row["srv_name"], row["srv_op_state"] == "2") for row in rows]
    except (KeyError, ValueError):
        raise RuntimeApiError("show servers state", text) from None
