r"""Table text: what HAProxy prints about its stick tables, as typed values.

Pure. The parsers read what HAProxy 2.2, 2.6, 3.0 and 3.2 were recorded to answer, and 1.5's rows, which
name no server. A text that they do not know is a `RuntimeApiError` with that text: nothing is guessed.
"""

import re
from collections.abc import Generator, Iterable
from contextlib import suppress

import msgspec

from verify.errors import RuntimeApiError


class Row(msgspec.Struct, frozen=True):
    """One row of a stick table: a session and the server that it is bound to.

    Attributes:
        key: what the table keeps of the session's key, unescaped: its beginning where `len` is
            shorter. Bytes that are no UTF-8 are surrogates.
        server_id: the server's id; None where the row binds no server.
        server: the server's name; None where HAProxy prints none (1.5) or `-`.
        expire_ms: milliseconds left; 0 where the table has no expiry.
        use: how many streams hold the row just now; one less where 1.6 shows a single row.
    """

    key: str
    server_id: int | None
    server: str | None
    expire_ms: int
    use: int


class Table(msgspec.Struct, frozen=True):
    """A stick table: its header and those of its rows that were asked for.

    Attributes:
        size: the greatest number of rows.
        used: the number of rows.
    """

    name: str
    type: str
    size: int
    used: int
    rows: list[Row] = []


_TABLE = re.compile(r"# table: (\S+?)((?:, \w+: ?\w+)+)")
# A table may have a million rows: the key's pattern is the fastest of those that know its escapes.
_ROW = re.compile(r"0x\w+: key=([^\\ ]*(?:\\.[^\\ ]*)*) use=(-?\d+) exp=(\d+)((?: [^ =]+=\S*)*)")
_SERVER_ID = re.compile(r" server_id=(\d+)")
_SERVER_NAME = re.compile(r" server_(?:name|key)=(\S+)")


def parse_tables(text: str) -> list[Table]:
    """Reads `show table`, `show table T` and `show table T key K` (no table at all: no such key).

    Raises:
        RuntimeApiError: anything else, `No such table` too.
    """
    tables: list[Table] = []
    for line in filter(None, text.split("\n")):
        if line.startswith("# table: "):
            tables.append(parse_table(line))
        elif tables:
            tables[-1].rows.append(parse_row(line))
        else:
            raise RuntimeApiError("show table", text)
    return tables


def parse_table(line: str) -> Table:
    """Reads a table's header.

    Raises:
        RuntimeApiError: it is none, or lacks what a header has.
    """
    if header := _TABLE.fullmatch(line):
        told = dict(re.findall(r", (\w+): ?(\w+)", header[2]))
        with suppress(KeyError, ValueError):
            return Table(header[1], told["type"], int(told["size"]), int(told["used"]), [])
    raise RuntimeApiError("show table", line)


def parse_row(line: str) -> Row:
    """Reads one row; data that bind no server, such as counters, are passed over.

    Raises:
        RuntimeApiError: it is none, such as where the socket may not show rows (`level user`).
    """
    row = _ROW.fullmatch(line)
    if row is None:
        raise RuntimeApiError("show table", line)
    key, use, expire, data = row.groups()
    server_id, server = _SERVER_ID.search(data), _SERVER_NAME.search(data)
    return Row(
        unescape(key),
        int(server_id[1]) or None if server_id else None,
        server[1] if server and server[1] != "-" else None,
        int(expire),
        int(use),
    )


def parse_rows(lines: Iterable[str]) -> Generator[Row, None, None]:
    """Reads `show table T` line by line, as it comes.

    Raises:
        RuntimeApiError: a line of another kind, or no table.
    """
    lines = filter(None, lines)
    parse_table(next(lines, ""))
    for line in lines:
        yield parse_row(line)


_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{2}|.)", re.DOTALL)
_CONTROL = {b"t": b"\t", b"n": b"\n", b"r": b"\r", b"e": b"\x1b"}


def unescape(key: str) -> str:
    r"""Undoes the escapes of a printed key: `a\=b`, `a\ b`, `\t`, `\xC3\xA9` (dump_text())."""
    if "\\" not in key:
        return key

    def plain(found: re.Match[bytes]) -> bytes:
        code = found[1]
        return bytes.fromhex(code[1:].decode()) if len(code) == 3 else _CONTROL.get(code, code)

    raw = key.encode("utf-8", "surrogateescape")
    return _ESCAPE.sub(plain, raw).decode("utf-8", "surrogateescape")
