"""The parsers, against what real HAProxies answered."""

from collections.abc import Callable

import pytest

from verify.errors import RuntimeApiError
from verify.runtime_text import (
    parse_info,
    parse_peers,
    parse_servers,
    parse_tables,
    unescape,
)

VERSIONS = pytest.mark.parametrize("version", ["2.2", "2.6", "3.0"])
Recorded = Callable[[str], str]


@VERSIONS
def test_table_rows(recorded: Recorded, version: str) -> None:
    """Keys with every kind of escape come back as the clients sent them."""
    (table,) = parse_tables(recorded(f"table-{version}"))
    assert (table.name, table.type, table.size, table.used) == ("back", "string", 1048576, 7)
    assert {row.key: (row.server_id, row.server) for row in table.rows} == {
        "abc": (1, "web-1"),
        "a=b": (2, "web-2"),
        "a b": (1, "web-1"),
        "é": (2, "web-2"),
        "back\\slash": (1, "web-1"),
        '"q,x"': (2, "web-2"),
        "0123456789abcdef0123456789abcdef": (1, "web-1"),
    }
    assert all(0 < row.expire_ms <= 1_800_000 and row.use == 0 for row in table.rows)


@VERSIONS
def test_table_headers(recorded: Recorded, version: str) -> None:
    """`show table` alone gives every table's header."""
    tables = parse_tables(recorded(f"tables-{version}"))
    assert {(table.name, table.used) for table in tables} == {("back", 7), ("other", 0)}


def test_table_without_rows(recorded: Recorded) -> None:
    """An empty table has a header; a key without a row has no text at all."""
    assert parse_tables(recorded("empty-2.6"))[0].rows == []
    assert parse_tables(recorded("nokey-2.6")) == []


def test_table_of_1_5_names_no_server() -> None:
    """HAProxy 1.5 prints no name column, and 0 for a table without expiry."""
    text = (
        "# table: back, type: string, size:1048576, used:1\n"
        "0x1d8cfa4: key=5ab1ec3a02ae7a1ddaae6b0ee6ad6fba use=0 exp=0 server_id=3\n\n"
    )
    (row,) = parse_tables(text)[0].rows
    assert (row.server_id, row.server, row.expire_ms) == (3, None, 0)


def test_row_restored_by_id_has_no_name_yet() -> None:
    """A row that `set table` wrote shows `-` until its first hit."""
    text = (
        "# table: back, type: string, size:100, used:2\n"
        "0x1: key=a use=0 exp=9 server_id=2 server_key=-\n"
        "0x2: key=b use=0 exp=9 gpc0=4\n"
    )
    named, unbound = parse_tables(text)[0].rows
    assert (named.server_id, named.server) == (2, None)
    assert unbound.server_id is None


@pytest.mark.parametrize(
    ("printed", "key"),
    [(r"a\tb", "a\tb"), (r"\\x41", r"\x41"), (r"\xFF", "\udcff"), (r"\=\ \\", "= \\")],
)
def test_unescape(printed: str, key: str) -> None:
    """An escaped backslash does not begin another escape; odd bytes survive."""
    assert unescape(printed) == key


@VERSIONS
def test_peers(recorded: Recorded, version: str) -> None:
    """A synced section: itself, one established peer that shares the table, one that is away."""
    (section,) = parse_peers(recorded(f"peers-{version}-a"))
    assert section.name == "haproxy-peers"
    assert section.in_sync
    assert section.tables == {"back"}
    peers = {peer.name: peer for peer in section.peers}
    assert [name for name, peer in peers.items() if peer.local] == ["haproxy-1"]
    assert peers["haproxy-2"].last_status == "ESTA"
    assert peers["haproxy-2"].state == "active"
    assert peers["haproxy-2"].remote_ids == {"back": 1}
    assert peers["haproxy-3"].last_status == "CONN"
    assert peers["haproxy-3"].remote_ids == {"back": 0}


@VERSIONS
def test_peers_just_started(recorded: Recorded, version: str) -> None:
    """Half a second after a cold start the section is not in sync."""
    (section,) = parse_peers(recorded(f"peers-{version}-cold"))
    assert not section.in_sync


def test_no_peers() -> None:
    """HAProxy without a (valid) peers section prints nothing, which is no section in sync."""
    assert parse_peers("\n") == []


@VERSIONS
def test_info(recorded: Recorded, version: str) -> None:
    """`show info` gives the version and the worker's Pid."""
    info = parse_info(recorded(f"info-{version}"))
    assert info["Version"].startswith(version)
    assert info["Pid"].isdecimal()


@VERSIONS
def test_servers(recorded: Recorded, version: str) -> None:
    """The servers come in the order of the configuration, and these are up."""
    servers = parse_servers(recorded(f"servers-{version}"))
    assert [(s.id, s.name, s.up) for s in servers] == [(1, "web-1", True), (2, "web-2", True)]


@VERSIONS
def test_server_that_is_down(recorded: Recorded, version: str) -> None:
    """The operational state 0 is down."""
    text = recorded(f"servers-{version}").replace("web-2 127.0.0.1 2", "web-2 127.0.0.1 0")
    assert [server.up for server in parse_servers(text)] == [True, False]


@pytest.mark.parametrize("parse", [parse_tables, parse_peers, parse_info, parse_servers])
@pytest.mark.parametrize("name", ["unknown-2.6", "unknown-3.0", "notable-2.6"])
def test_unknown_text(recorded: Recorded, parse: Callable[[str], object], name: str) -> None:
    """A text of another kind is an error that carries it, never an empty result."""
    with pytest.raises(RuntimeApiError) as caught:
        parse(recorded(name))
    assert caught.value.text == recorded(name)


@pytest.mark.parametrize("parse", [parse_info, parse_servers])
def test_silence_is_unknown(parse: Callable[[str], object]) -> None:
    """No text where there must be one is an error too."""
    with pytest.raises(RuntimeApiError):
        parse("\n")
