"""Tables and their rows, against what real HAProxies answered."""

import pytest

from tests.verify.recording import VERSIONS, Recording
from verify.errors import RuntimeApiError
from verify.table_text import Row, parse_row, parse_rows, parse_table, parse_tables, unescape

EVERY_VERSION = pytest.mark.parametrize("version", VERSIONS)


@EVERY_VERSION
def test_rows_have_the_clients_keys(version: str) -> None:
    (table,) = parse_tables(Recording(f"{version}/pair-b").answers["show table back"])
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


@EVERY_VERSION
def test_a_stream_has_the_same_rows(version: str) -> None:
    recording = Recording(f"{version}/pair-b")
    (table,) = parse_tables(recording.answers["show table back"])
    assert list(parse_rows(recording.stream("", "show table back"))) == table.rows


@EVERY_VERSION
def test_headers(version: str) -> None:
    tables = parse_tables(Recording(f"{version}/pair-a").answers["show table"])
    assert {table.name: (table.type, table.used, table.rows) for table in tables} == {
        "back": ("string", 7, []),
        "rates": ("ip", 1, []),
        "other": ("integer", 0, []),
    }


@EVERY_VERSION
def test_other_data_than_servers_is_passed_over(version: str) -> None:
    answers = Recording(f"{version}/answers").answers
    (row,) = parse_tables(answers["show table rates"])[0].rows
    assert (row.key, row.server_id, row.server) == ("127.0.0.1", None, None)
    in_use = parse_tables(Recording(f"{version}/in-use").answers["show table rates"])[0].rows
    assert {row.key: row.use for row in in_use}["127.0.0.1"] == 1


@EVERY_VERSION
def test_one_row_an_empty_table_and_no_such_key(version: str) -> None:
    answers = Recording(f"{version}/answers").answers
    assert [row.key for row in parse_tables(answers["show table back key abc"])[0].rows] == ["abc"]
    assert parse_tables(answers["show table other"])[0].rows == []
    assert list(parse_rows(answers["show table other"].split("\n"))) == []
    assert parse_tables(answers["show table back key nosuch"]) == []


@EVERY_VERSION
def test_a_row_that_was_set_has_no_name_before_its_first_hit(version: str) -> None:
    (row,) = parse_tables(Recording(f"{version}/answers").answers["show table back key set"])[0].rows
    assert (row.server_id, row.server) == (2, None)


@EVERY_VERSION
def test_rows_that_never_expire(version: str) -> None:
    (table,) = parse_tables(Recording(f"{version}/no-expire-a").answers["show table back"])
    assert {row.expire_ms for row in table.rows} == {0}


def test_a_row_of_1_5_names_no_server() -> None:
    row = parse_row("0x1d8cfa4: key=5ab1ec3a02ae7a1ddaae6b0ee6ad6fba use=0 exp=0 server_id=3")
    assert row == Row("5ab1ec3a02ae7a1ddaae6b0ee6ad6fba", 3, None, 0, 0)


def test_server_0_is_no_server() -> None:
    """`set table` leaves it behind where it fails."""
    assert parse_row("0x1: key=a use=0 exp=9 server_id=0 server_key=-").server_id is None


def test_a_header_may_tell_more() -> None:
    assert parse_table("# table: t, type: ip, len: 16, size:100, used:2").size == 100


@pytest.mark.parametrize(
    ("printed", "key"),
    [(r"a\tb", "a\tb"), (r"\\x41", r"\x41"), (r"\xFF", "\udcff"), (r"\=\ \\", "= \\"), ("plain", "plain")],
)
def test_unescape(printed: str, key: str) -> None:
    """An escaped backslash does not begin another escape; odd bytes survive."""
    assert unescape(printed) == key


@pytest.mark.parametrize(
    "line",
    [
        "key=a use=0 exp=9 server_id=1",
        "0x1 key=a use=0 exp=9 server_id=1",
        "0x1: id=7 key=a use=0 exp=9 server_id=1",
        "0x1: key=a b use=0 exp=9 server_id=1",
        "0x1: key=a use=0 exp=soon server_id=1",
        "0x1: key=a use=0 exp=9 server_id=1 and more",
        "0x1: key=a use=0",
        "# contents not dumped due to insufficient privileges",
        "",
    ],
)
def test_a_row_of_another_form_is_refused(line: str) -> None:
    with pytest.raises(RuntimeApiError) as caught:
        parse_row(line)
    assert caught.value.text == line


@pytest.mark.parametrize(
    "line",
    ["# table: t, type: ip, used:2", "# table: t, type: ip, size:1m, used:2", "# table: t", "# tables: 0", "", "0x1"],
)
def test_a_header_of_another_form_is_refused(line: str) -> None:
    with pytest.raises(RuntimeApiError):
        parse_table(line)


@EVERY_VERSION
@pytest.mark.parametrize("command", ["show nonsense", "show table nosuch", "show servers state back"])
def test_another_text_is_an_error_that_carries_it(version: str, command: str) -> None:
    text = Recording(f"{version}/answers").answers[command]
    with pytest.raises(RuntimeApiError) as caught:
        parse_tables(text)
    assert caught.value.text == text
    with pytest.raises(RuntimeApiError):
        list(parse_rows(text.split("\n")))


@EVERY_VERSION
def test_rows_that_a_socket_may_not_show_are_an_error(version: str) -> None:
    text = Recording(f"{version}/denied").answers["show table back"]
    with pytest.raises(RuntimeApiError, match="insufficient privileges"):
        parse_tables(text)
