"""The runtime API's client, over real UNIX sockets: what it asks, and a million rows with little memory."""

import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.verify.recording import VERSIONS, Recording
from verify.errors import BadUse, RuntimeApiError
from verify.runtime_api import RuntimeApi, askable

BOUND = 60.0  # seconds that a socket may say nothing


class Here:
    """A `verify.runtime_api.Cli` of this machine."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def cli(self, socket: str, commands: Sequence[str]) -> list[str]:
        return ["\n".join(self.stream(socket, command)) + "\n" for command in commands]

    def stream(self, path: str, command: str) -> Iterator[str]:
        self.asked.append(command)
        with socket.socket(socket.AF_UNIX) as api:
            api.settimeout(BOUND)
            api.connect(path)
            api.sendall(command.encode("utf-8", "surrogateescape") + b"\n")
            api.shutdown(socket.SHUT_WR)
            with api.makefile(encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
                for line in lines:
                    yield line.rstrip("\n")


HAProxy = Callable[[dict[str, bytes]], str]


def recorded(haproxy: HAProxy, name: str) -> RuntimeApi:
    """A socket that answers as one was recorded to."""
    return RuntimeApi(Here(), haproxy({c: text.encode() for c, text in Recording(name).answers.items()}))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_look_is_typed(haproxy: HAProxy, version: str) -> None:
    api = recorded(haproxy, f"{version}/pair-a")
    assert api.version.startswith(version)
    assert {table.name for table in api.tables()} == {"back", "rates", "other"}
    assert [section.name for section in api.peers() or []] == ["haproxy-peers"]
    assert {row.key for row in api.stream_rows("back")} >= {"abc", "a b", "é"}
    assert [server.name for server in recorded(haproxy, f"{version}/answers").servers("back")] == ["web-1", "web-2"]


def test_rows_are_found_by_the_key_that_was_asked(haproxy: HAProxy) -> None:
    """Their own one is shorter where the table's `len` cuts it."""
    row = "# table: t, type: string, size:9, used:1\n0x1: key={} use=0 exp=9 server_id=1\n\n"
    host = Here()
    api = RuntimeApi(
        host,
        haproxy(
            {"show table t key abcdef ": row.format("abc").encode(), "show table t key x ": row.format("x").encode()}
        ),
    )
    found = api.rows("t", ["abcdef", "nosuch", "x"])
    assert {key: row.key for key, row in found.items()} == {"abcdef": "abc", "x": "x"}
    assert len(host.asked) == 3
    assert api.rows("t", []) == {}


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("a b", r"a\ b"),
        ("a;b", r"a\;b"),
        ("a\\b", r"a\\b"),
        ("a\tb", "a\\\tb"),
        ("<<", "<<"),
        ("é=\udcff", "é=\udcff"),
        ("'\"#", "'\"#"),
    ],
)
def test_a_key_is_one_word_of_a_command(haproxy: HAProxy, key: str, word: str) -> None:
    """All of them were tried with HAProxy 2.2, 2.6, 3.0 and 3.2; `<<` at the end would wait for more lines."""
    host = Here()
    api = RuntimeApi(host, haproxy({}))
    api.rows("t", [key])
    api.set_row("t", key, 3)
    api.clear("t", [key])
    assert host.asked == [
        f"show table t key {word} ",
        f"set table t key {word} data.server_id 3",
        f"clear table t key {word} ",
    ]


@pytest.mark.parametrize("key", ["", "a\nb", "a\rb", "a\0b"])
def test_a_key_that_would_end_the_command_is_refused(key: str) -> None:
    host = Here()
    api = RuntimeApi(host, "/nowhere")
    assert not askable(key)
    for change in (lambda: api.rows("t", [key]), lambda: api.set_row("t", key, 1), lambda: api.clear("t", ["a", key])):
        with pytest.raises(BadUse):
            change()
    assert host.asked == []


def test_changes_are_checked(haproxy: HAProxy) -> None:
    texts = {
        "set server back/web-1 state drain": b"\n",
        "set server back/web-2 state maint": b"No such server.\n\n",
        "show info": b"Version: 3.2.26\n\n",
        "clear table t key a ; clear table t key b ": b"\nEntry currently in use, cannot remove\n\n",
        "set table t key c data.server_id 9": b"No such table\n\n",
    }
    api = RuntimeApi(Here(), haproxy(texts))
    api.set_server("back", "web-1", "drain")
    api.clear("t", ["a"])
    api.set_row("t", "a", 9)
    with pytest.raises(RuntimeApiError, match="No such server"):
        api.set_server("back", "web-2", "maint")
    with pytest.raises(RuntimeApiError, match="in use"):
        api.clear("t", ["a", "b"])
    with pytest.raises(RuntimeApiError, match="No such table") as caught:
        api.set_row("t", "c", 9)
    assert " key " not in str(caught.value)


def test_many_keys_stand_on_lines_that_haproxy_can_read(haproxy: HAProxy) -> None:
    """A line has to fit into its buffer of 16 kB; a connection a key would take its time."""
    host = Here()
    api = RuntimeApi(host, haproxy({"show info": b"Version: 2.6.12-1+deb12u3\n\n"}))
    keys = [f"{number:032x}" for number in range(1000)]
    api.clear("t", keys)
    api.set_rows("t", keys, 3)
    lines = [line for line in host.asked if line != "show info"]
    commands = [command.strip() for line in lines for command in line.split("; ")]
    assert commands == [f"clear table t key {key}" for key in keys] + [
        f"set table t key {key} data.server_id 3" for key in keys
    ]
    assert max(map(len, host.asked)) < 10_000
    assert len(host.asked) < 50
    api.clear("t", [])
    assert len(host.asked) < 50


def old(haproxy: HAProxy, **changed: str) -> tuple[RuntimeApi, Here]:
    """HAProxy 1.6, and what it was asked; keywords replace an answer's text."""
    answers = Recording("1.6/answers").answers
    answers |= {name.replace("_", " "): text for name, text in changed.items()}
    host = Here()
    return RuntimeApi(host, haproxy({command: text.encode() for command, text in answers.items()})), host


def test_before_2_0_no_peers_are_told_and_a_process_is_in_sync_by_its_age(haproxy: HAProxy) -> None:
    api, _ = old(haproxy)
    assert api.peers() is None
    assert api.in_sync("back-session")
    young, _ = old(haproxy, show_info="Version: 1.6.3\nUptime_sec: 11\n\n")
    assert not young.in_sync()


@pytest.mark.parametrize("lacks", ["", "show servers state back-session"])
def test_before_1_6_servers_are_read_from_their_counters(haproxy: HAProxy, lacks: str) -> None:
    unknown = Recording("1.6/answers").answers["show peers"]
    api, _ = old(haproxy, **({lacks.replace(" ", "_"): unknown} if lacks else {}))
    servers = api.servers("back-session")
    assert [(server.id, server.name, server.operation, server.admin) for server in servers[:5]] == [
        (251633157, "web-be1", "running", "ready"),
        (45670222, "web-be2", "running", "drain"),
        (77222712, "web-be3", "stopped", "maint"),
        (195638435, "web-be4", "stopped", "ready"),
        (71450915, "web-be5", "running", "ready"),
    ]
    assert {server.port for server in servers} == {0}
    with pytest.raises(RuntimeApiError, match="find backend"):
        api.servers("nosuch")


def test_before_1_8_a_connection_carries_one_silent_command(haproxy: HAProxy) -> None:
    api, host = old(haproxy)
    api.clear("back-session", ["abc", "abd"])
    assert host.asked == ["show info", *(f"clear table back-session key {key} " for key in ("abc", "abd"))]


def test_a_single_row_of_1_6_is_read(haproxy: HAProxy) -> None:
    api, _ = old(haproxy)
    (row,) = api.rows("back-session", ["abc"]).values()
    assert (row.key, row.server_id, row.server, row.use) == ("abc", 251633157, None, -1)


def test_an_unknown_text_is_an_error(haproxy: HAProxy) -> None:
    api = RuntimeApi(Here(), haproxy({}))
    for look in (api.info, lambda: api.servers("back"), lambda: list(api.stream_rows("t"))):
        with pytest.raises(RuntimeApiError):
            look()


ROWS, CHUNK = 1_000_000, 1_000


@pytest.fixture
def a_million_rows(tmp_path: Path) -> Iterator[str]:
    """Gives a socket that answers one command with a million rows; its reader may hang up."""
    path = str(tmp_path / "s")
    row = "0x7f1208e0d0: key={:032x} use=0 exp=1798985 shard=0 server_id=2 server_key=web-2\n"
    chunk = "".join(row.format(number) for number in range(CHUNK)).encode()
    with socket.create_server(path, family=socket.AF_UNIX) as server:

        def serve() -> None:
            with server.accept()[0] as client:
                client.settimeout(BOUND)
                client.recv(1000)
                try:
                    client.sendall(b"# table: back, type: string, size:1048576, used:%d\n" % ROWS)
                    for _ in range(ROWS // CHUNK):
                        client.sendall(chunk)
                    client.sendall(b"\n")
                except BrokenPipeError:
                    hung_up.set()

        hung_up = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        thread.join(BOUND)
        assert not thread.is_alive()


def test_a_million_rows_are_never_held(a_million_rows: str) -> None:
    """Each row that was kept would be three blocks of memory."""
    count, most, before = 0, 0, sys.getallocatedblocks()
    for row in RuntimeApi(Here(), a_million_rows).stream_rows("back"):
        assert row.server_id == 2
        count += 1
        if count % 50_000 == 0:
            most = max(most, sys.getallocatedblocks() - before)
    assert count == ROWS
    assert most < 20_000


def test_a_stream_can_be_left(a_million_rows: str) -> None:
    rows = RuntimeApi(Here(), a_million_rows).stream_rows("back")
    assert next(rows).server == "web-2"
    rows.close()
