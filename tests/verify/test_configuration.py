"""A configuration's text, as the verifier reads it; sizes, ports and ids are as HAProxy 3.0.11 read such lines."""

import pytest

from verify.configuration import Configuration, milliseconds, size_of
from verify.topology import Peer, Server, Table

TEXT = r"""
global
  stats socket /run/user.sock mode 666 level user
  stats socket abns@haproxy level admin
  stats socket unix@/run/admin.sock mode 660 level admin expose-fd listeners
defaults
  mode http
peers pp # of all
  bind :10000 ssl crt /etc/peer.pem
  peer lb-1 192.0.2.1:1024
  server lb-2 2001:db8::2:1024
  table t type string len 10 size 1k expire 5m
frontend www
  bind *:80,[::]:80
  bind :::443 v6only ssl crt /etc/x.pem alpn h2,http/1.1
  bind quic4@:443 ssl crt /etc/x.pem
  bind /run/www.sock
  log-format "%ci \"b\""
  use_backend other if { path_beg /other }
  default_backend shop
frontend ranges
  bind 192.0.2.9:8000-8002
  use_backend %[req.hdr(host),map(/etc/hosts.map)]
frontend elsewhere
  bind :9000
  default_backend other
backend shop
  stick-table type string size 1m
  stick match req.cook(SID) if { path /a\ b }
  stick store-response res.cook(SID)
  server one ipv4@192.0.2.11:8080 id 7 check weight 10
  server two [2001:db8::12]:8080 check
  server three app.example.org check
  server four 192.0.2.14:+8000
backend other
  stick on req.cook(OTHER),lower table pp/t
  stick on src table addresses
backend addresses
  stick-table type ip size 10k expire 1d peers pp
backend many
  stick on src
  server-template app 3 app.example.org:80
listen both
  bind 127.0.0.1:81
  stick-table type binary size 100
  stick on var(txn.sid)
"""


@pytest.fixture(scope="module")
def configuration() -> Configuration:
    return Configuration(TEXT)


def test_sticky_sections(configuration: Configuration) -> None:
    assert [section.name for section in configuration.sticky()] == ["shop", "other", "many", "both"]


def test_the_admin_socket_is_one_with_a_path(configuration: Configuration) -> None:
    assert configuration.admin_socket() == "/run/admin.sock"


@pytest.mark.parametrize(
    ("lines", "path"),
    [("", None), ("stats socket /a.sock", "/a.sock"), ("stats socket ipv4@127.0.0.1:9999 level admin", None)],
)
def test_another_socket_is_better_than_none(lines: str, path: str | None) -> None:
    assert Configuration(f"global\n{lines}\n").admin_socket() == path


def test_servers(configuration: Configuration) -> None:
    assert configuration.servers("shop") == (
        Server(name="one", address="192.0.2.11", port=8080, id=7),
        Server(name="two", address="2001:db8::12", port=8080),
        Server(name="three", address="app.example.org", port=0),
        Server(name="four", address="192.0.2.14", port=8000),
    )


@pytest.mark.parametrize(
    ("backend", "table"),
    [
        ("shop", Table(name="shop", type="string", size=1048576, len=32)),
        ("other", Table(name="pp/t", type="string", size=1024, len=10, expire_ms=300_000, peers="pp")),
        ("addresses", Table(name="addresses", type="ip", size=10240, expire_ms=86_400_000, peers="pp")),
        ("both", Table(name="both", type="binary", size=100, len=32)),
    ],
)
def test_tables(configuration: Configuration, backend: str, table: Table) -> None:
    assert configuration.table(backend) == table


@pytest.mark.parametrize(
    ("backend", "cookies"), [("shop", ["SID"]), ("other", ["OTHER"]), ("both", []), ("addresses", [])]
)
def test_cookies(configuration: Configuration, backend: str, cookies: list[str]) -> None:
    assert configuration.cookies(backend) == cookies


@pytest.mark.parametrize(
    ("backend", "ports"),
    [
        ("shop", (80, 443, 8000, 8001, 8002)),
        ("other", (80, 443, 8000, 8001, 8002, 9000)),
        ("both", (8000, 8001, 8002, 81)),
    ],
)
def test_client_ports(configuration: Configuration, backend: str, ports: tuple[int, ...]) -> None:
    assert configuration.ports(backend) == ports


def test_peers(configuration: Configuration) -> None:
    assert configuration.peers("pp") == (
        Peer(name="lb-1", address="192.0.2.1", port=1024),
        Peer(name="lb-2", address="2001:db8::2", port=1024),
    )
    assert configuration.peers("none") == ()


@pytest.mark.parametrize("row", ["peer lb-1 :1024", "peer lb-1", "peer lb-1 192.0.2.1"])
def test_a_peer_without_an_address(row: str) -> None:
    with pytest.raises(ValueError, match="peer 'lb-1' of 'pp' has no address and port"):
        Configuration(f"peers pp\n  {row}\n").peers("pp")


@pytest.mark.parametrize(("text", "size"), [("3k", 3072), ("2M", 2097152), ("1g", 1073741824), ("100", 100)])
def test_sizes(text: str, size: int) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("90", 90),
        ("1500us", 2),
        ("250ms", 250),
        ("5s", 5000),
        ("30m", 1_800_000),
        ("1h", 3_600_000),
        ("1d", 86_400_000),
    ],
)
def test_times(text: str, number: int) -> None:
    assert milliseconds(text) == number


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("stick on src", "has no stick-table"),
        ("stick-table type string size 1x", "'1x' is no size"),
        ("stick-table type string size 1k expire 3w", "'3w' is no time"),
        ("stick-table size 1k", "has no type"),
        ("stick on src table b2", "backend 'b' has no stick-table"),
    ],
)
def test_no_table(rows: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Configuration(f"backend b\n{rows}\n").table("b")


def test_what_is_not_there(configuration: Configuration) -> None:
    with pytest.raises(ValueError, match="there is no backend 'nosuch'"):
        configuration.servers("nosuch")
    with pytest.raises(ValueError, match="server-template"):
        configuration.servers("many")
    with pytest.raises(ValueError, match="quotation"):
        Configuration('global\n  log-format "open\n')
