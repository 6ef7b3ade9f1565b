"""What the play wrote, as a topology; the play itself is run by test_inventory.py."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from verify import configuration
from verify.errors import InventoryError
from verify.intent import CONNECTION, DUMP_INTERVAL, VERIFY, connection_of, topology_from, url_of
from verify.topology import Balancer, Connection, Peer, Server, Service, Table, WebHost

VARS = Path(__file__).parents[2] / "roles/haproxy/vars/main/main.yml"
CONFIGURATION = """
global
  stats socket /run/haproxy/admin.sock mode 660 level admin
peers pp
  peer lb-1 192.0.2.1:1024
  peer lb-2 192.0.2.2:1024
frontend front
  bind *:80
  default_backend shop
backend shop
  stick-table type string len 32 size 1m expire 30m peers pp
  stick on req.cook(SID)
  server app-one 192.0.2.11:8081 id 1 check
  server app-two 192.0.2.11:80 id 2 check
  server elsewhere 192.0.2.12:80 check
backend second
  stick-table type string size 1k
  stick on req.cook(OTHER)
  server s 192.0.2.13:80
"""


def written(rows: str = CONFIGURATION, **variables: object) -> dict[str, Any]:
    """Gives what the play writes for two balancers with the same configuration and variables."""
    names = ["lb-1.example.org", "lb-2.example.org"]
    return {
        "balancers": [
            {"name": name, "peer": name[:4], "config": "/etc/haproxy/haproxy.cfg", "configuration": rows.splitlines()}
            for name in names
        ],
        "web_hosts": ["app"],
        "pages": [
            {"host": "app", "address": "192.0.2.11", "port": 8081, "page": "Backend 1"},
            {"host": "app", "address": "192.0.2.11", "port": "80", "page": "one of two"},
            {"host": "app", "address": "192.0.2.11", "port": "80", "page": "the other"},
            {"host": "app", "address": "192.0.2.11", "port": 8099, "page": "no server"},
        ],
        "variables": {"app": {}} | {name: {"verify_url": f"https://{name}/", **variables} for name in names},
    }


def test_everything() -> None:
    topology = topology_from(json.dumps(written(ansible_port="2222", verify_login_path="/login")).encode())
    assert topology.balancers[0] == Balancer(
        name="lb-1.example.org",
        connection=Connection(address="lb-1.example.org", port=2222),
        url="https://lb-1.example.org",
        peer="lb-1",
        ports=(80,),
    )
    assert [balancer.peer for balancer in topology.balancers] == ["lb-1", "lb-2"]
    assert topology.section == "pp"
    assert topology.peers == (
        Peer(name="lb-1", address="192.0.2.1", port=1024),
        Peer(name="lb-2", address="192.0.2.2", port=1024),
    )
    assert topology.web_hosts == (WebHost(name="app", connection=Connection(address="app")),)
    assert topology.service == Service(
        backend="shop",
        cookie="SID",
        table=Table(name="shop", type="string", size=1048576, len=32, expire_ms=1_800_000, peers="pp"),
        servers=(
            Server(name="app-one", address="192.0.2.11", port=8081, id=1, page="Backend 1", web_host="app"),
            Server(name="app-two", address="192.0.2.11", port=80, id=2, web_host="app"),
            Server(name="elsewhere", address="192.0.2.12", port=80),
        ),
        login_path="/login",
    )


@pytest.mark.parametrize("given", [{"verify_backend": "second"}, {}])
def test_another_backend(given: dict[str, str]) -> None:
    """Its table is not shared; there is one peers section all the same."""
    topology = topology_from(json.dumps(written(**given)).encode(), None if given else "second")
    assert topology.service
    assert (topology.service.backend, topology.service.cookie, topology.service.table.peers) == (
        "second",
        "OTHER",
        None,
    )
    assert topology.section == "pp"


def test_a_cookie_that_no_rule_names() -> None:
    rows = CONFIGURATION.replace("stick on req.cook(SID)", "stick on var(txn.sid)")
    topology = topology_from(json.dumps(written(rows, verify_cookie="SID")).encode())
    assert topology.service
    assert topology.service.cookie == "SID"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("stick on", "# stick on", "no backend has `stick` rules"),
        ("req.cook(SID)", "src", "backend 'shop' name no cookie: set verify_cookie"),
        ("stats socket", "# stats socket", "has no `stats socket` with a path"),
        ("size 1m", "size many", "'many' is no size"),
        ("192.0.2.2:1024", ":1024", "peer 'lb-2' of 'pp' has no address"),
        ("server elsewhere", "server-template elsewhere 3", "server-template"),
    ],
)
def test_unusable_configuration(old: str, new: str, words: str) -> None:
    rows = CONFIGURATION.replace(old, new)
    with pytest.raises(InventoryError, match=r"^lb-1\.example\.org: ") as caught:
        topology_from(json.dumps(written(rows)).encode())
    assert words in str(caught.value)


def test_balancers_that_differ() -> None:
    told = written()
    told["balancers"][1]["configuration"] = CONFIGURATION.replace("len 32", "len 20").splitlines()
    with pytest.raises(InventoryError, match=r"lb-2\.example\.org would have another service .* than lb-1"):
        topology_from(json.dumps(told).encode())


def test_a_backend_that_is_not_there() -> None:
    with pytest.raises(InventoryError, match="there is no backend 'nosuch'"):
        topology_from(json.dumps(written()).encode(), "nosuch")


def test_another_play() -> None:
    with pytest.raises(InventoryError, match=r"can't read: .*`variables`"):
        topology_from(b'{"balancers": [], "web_hosts": [], "pages": []}')


@pytest.mark.parametrize(("url", "words"), [("", "verify_url is missing"), ("127.0.0.1:80", "verify_url must start")])
def test_unusable_url(url: str, words: str) -> None:
    with pytest.raises(InventoryError, match=f"^lb: {words}"):
        url_of("lb", url)


def test_connection_with_everything() -> None:
    variables = {
        "ansible_connection": "ansible.builtin.ssh",
        "ansible_host": "192.0.2.1",
        "ansible_port": 2211,
        "ansible_user": "admin",
        "ansible_ssh_private_key_file": "~/.ssh/lab",
        "ansible_ssh_common_args": '-o "ProxyCommand=nc %h %p" -o LogLevel=ERROR',
        "ansible_ssh_extra_args": "-4",
    }
    assert set(variables) == set(CONNECTION)
    assert connection_of("lb", variables) == Connection(
        address="192.0.2.1",
        port=2211,
        user="admin",
        key_file=str(Path("~/.ssh/lab").expanduser()),
        ssh_args=("-o", "ProxyCommand=nc %h %p", "-o", "LogLevel=ERROR", "-4"),
    )


@pytest.mark.parametrize(("way", "local"), [("local", True), ("ansible.builtin.local", True), ("smart", False)])
def test_this_machine(way: str, local: bool) -> None:
    assert connection_of("lb", {"ansible_connection": way}) == Connection(address="lb", local=local)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("ansible_port", "ssh", "ansible_port must be a number, not ssh"),
        ("ansible_ssh_common_args", '-o "x', "can't be split"),
        ("ansible_connection", "winrm", "ansible_connection is winrm"),
    ],
)
def test_unusable_connection(variable: str, value: str, words: str) -> None:
    with pytest.raises(InventoryError, match=f"^lb: .*{words}"):
        connection_of("lb", {variable: value})


def test_the_role_tells_what_is_read_here() -> None:
    role = yaml.safe_load(VARS.read_text())
    assert role["__haproxy_sections"] == [*configuration.SECTIONS]
    assert role["__haproxy_told"] == [*configuration.LINES]
    assert role["__haproxy_asked"] == [*CONNECTION, *VERIFY, DUMP_INTERVAL]
