"""Topologies by a real Ansible over inventories written here, from files, and from the command line."""

import os
import sys
from pathlib import Path

import msgspec
import pytest

from verify.errors import BadUse, InventoryError
from verify.inventory import balancer_from, balancers_of, dump, load, topology_of
from verify.topology import Balancer, Connection, Server, Topology

HOSTS = """
[balancers]
lb-b verify_url=http://127.0.0.1:8080/ ansible_host=127.0.0.1 ansible_port=2211
lb-a haproxy_peer_name=a

[balancers:vars]
ansible_user=admin
ansible_ssh_private_key_file=~/.ssh/lab
"""
SITE = """
all:
  vars:
    ansible_become: true  # which this machine must not do
    ansible_python_interpreter: /nosuch/python
    haproxy_group: edge
    haproxy_web_group: apps
edge:
  vars: {first: 8000, verify_login_path: "{{ '/log' }}in", ansible_host: "{{ inventory_hostname }}.example.org"}
  hosts:
    lb-1: {haproxy_peer_address: 192.0.2.1, verify_url: "http://127.0.0.1:{{ first + 80 }}"}
    lb-2:
      haproxy_peer_address: 192.0.2.2
      haproxy_peer_port: 1025
      haproxy_peer_name: second
      verify_url: "http://127.0.0.1:{{ first + 81 }}"
apps:
  hosts:
    app:
      apache_address: 192.0.2.11
      apache_vhosts:
        - {name: one, port: 8081, page: "Page {{ 0 + 1 }}", directives: "# a secret"}
        - {name: two, port: 8082, document_root: /srv/two}
        - {name: off, port: 8083, enabled: false}
    later:
      apache_address: 192.0.2.12
"""
OWN = """
peers own
  peer {{ haproxy_peer_name }} {{ haproxy_peer_address }}:1024
listen shop
bind *:81
stats auth admin:secret
stick-table type string len 52 size 10k expire 1h peers own
stick on req.cook(SID)
server s1 192.0.2.11:80 check
global
stats socket /run/own.sock level admin
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """Where a test writes its inventory."""
    assert Path(sys.executable).with_name("ansible-playbook").exists()
    return tmp_path / "hosts"


# --- what Ansible renders ---------------------------------------------------------------------------


def test_the_role_renders_what_should_run(inventory: Path) -> None:
    """Jinja, defaults, names, ports and groups, of hosts that nobody can reach."""
    inventory.write_text(SITE)
    topology = topology_of(str(inventory), group="edge")
    first, second = topology.balancers
    assert (first.name, first.url, first.peer, first.ports) == ("lb-1", "http://127.0.0.1:8080", "lb-1", (80,))
    assert (second.name, second.url, second.peer) == ("lb-2", "http://127.0.0.1:8081", "second")
    assert first.connection == Connection(address="lb-1.example.org")
    assert [(peer.name, peer.address, peer.port) for peer in topology.peers] == [
        ("lb-1", "192.0.2.1", 1024),
        ("second", "192.0.2.2", 1025),
    ]
    assert [host.name for host in topology.web_hosts] == ["app", "later"]
    service = topology.service
    assert service
    assert (service.backend, service.cookie, service.login_path) == ("back-session", "JSESSIONID", "/login")
    assert (service.table.size, service.table.len, service.table.expire_ms) == (1024 * 1024, 32, 30 * 60 * 1000)
    assert [(server.name, server.page) for server in service.servers] == [
        ("app-one", "Page 1"),
        ("app-two", None),
        *((f"later-be{n}", f"Backend {n}") for n in range(1, 8)),
    ]


def test_a_configuration_of_the_users_own(inventory: Path, tmp_path: Path) -> None:
    (tmp_path / "own.cfg.j2").write_text(OWN)
    source = f"haproxy_config_source={tmp_path}/own.cfg.j2"
    inventory.write_text(f"[balancers]\nlb haproxy_peer_address=192.0.2.1 verify_url=http://lb {source}\n")
    topology = topology_of(str(inventory))
    assert topology.section == "own"
    assert [(peer.name, peer.address) for peer in topology.peers] == [("lb", "192.0.2.1")]
    assert (topology.balancers[0].socket, topology.balancers[0].ports) == ("/run/own.sock", (81,))
    assert topology.service
    assert (topology.service.cookie, topology.service.table.len) == ("SID", 52)
    assert topology.service.servers == (Server(name="s1", address="192.0.2.11", port=80),)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ("verify_url='http://{{ nosuch }}'", ["lb: ", "'nosuch' is undefined"]),
        ("verify_url=http://lb haproxy_session_cookie='{{ nosuch }}'", ["lb: ", "'nosuch' is undefined"]),
        ("haproxy_config_source=/nosuch.cfg", ["lb: haproxy_config_source '/nosuch.cfg' is no file on this machine"]),
        ("verify_url=http://lb haproxy_peer_address=''", ["lb: ", "peer 'lb' of 'haproxy-peers' has no address"]),
        ("haproxy_peer_address=192.0.2.1", ["lb: verify_url is missing"]),
        ("ansible_connection=nosuch", ["lb: ", "nosuch"]),
    ],
)
def test_what_can_not_be_rendered(inventory: Path, variables: str, words: list[str]) -> None:
    """The message is Ansible's own where Ansible can tell."""
    inventory.write_text(f"[balancers]\nlb {variables}\n")
    with pytest.raises(InventoryError) as caught:
        topology_of(str(inventory))
    assert all(word in str(caught.value) for word in words), caught.value


def test_nothing_to_render(inventory: Path) -> None:
    """Ansible only warns of an inventory that is not there, and of a group."""
    with pytest.raises(InventoryError, match=rf"{inventory} has no host in the group 'balancers' \(Ansible: .*Unable"):
        topology_of(str(inventory))


def test_no_ansible(inventory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(inventory))
    monkeypatch.setitem(os.environ, "PATH", "")
    with pytest.raises(InventoryError, match="ansible-playbook is not installed: put ansible-core"):
        topology_of(str(inventory))
    with pytest.raises(InventoryError, match="ansible-inventory is not installed"):
        balancers_of(str(inventory))


# --- the balancers alone ----------------------------------------------------------------------------


def test_balancers(inventory: Path) -> None:
    """In the inventory's order; neither URL nor peer's name has to be there."""
    inventory.write_text(HOSTS)
    connection = Connection(address="lb-a", user="admin", key_file=str(Path("~/.ssh/lab").expanduser()))
    assert balancers_of(str(inventory)) == (
        Balancer(
            name="lb-b",
            connection=msgspec.structs.replace(connection, address="127.0.0.1", port=2211),
            url="http://127.0.0.1:8080",
        ),
        Balancer(name="lb-a", connection=connection, peer="a"),
    )


def test_group_of_groups(inventory: Path) -> None:
    """The group has another name, and its hosts are in its children, one of them in two."""
    inventory.write_text("[one]\nx\n[two]\ny verify_url='http://{{ y }}'\nx\n[lb:children]\none\ntwo\n")
    assert [(balancer.name, balancer.url) for balancer in balancers_of(str(inventory), "lb")] == [
        ("x", None),
        ("y", None),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[balancers]\nlb ansible_host='{{ y }}'\n", ["lb: ansible_host is a Jinja expression", "write a literal"]),
        ("[balancers]\nlb ansible_port=ssh\n", ["lb: ansible_port must be a number"]),
        ("[web]\nweb-1\n", ["no host in the group 'balancers'"]),
    ],
)
def test_unusable_inventory(inventory: Path, text: str, words: list[str]) -> None:
    """The message names the host and the variable, and says what to write."""
    inventory.write_text(text)
    with pytest.raises(InventoryError) as caught:
        balancers_of(str(inventory))
    assert all(word in str(caught.value) for word in words)


def test_no_such_inventory(inventory: Path) -> None:
    with pytest.raises(InventoryError, match=str(inventory)):
        balancers_of(str(inventory))


# --- the command line -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "connection"),
    [
        ("lb-1", "lb-1", Connection(address="lb-1")),
        ("root@192.0.2.1:2211", "192.0.2.1", Connection(address="192.0.2.1", port=2211, user="root")),
        ("a=lb-1.example.org:22", "a", Connection(address="lb-1.example.org", port=22)),
        ("a=admin@[2001:db8::1]:22", "a", Connection(address="2001:db8::1", port=22, user="admin")),
        ("[2001:db8::1]", "2001:db8::1", Connection(address="2001:db8::1")),
    ],
)
def test_balancer_by_ssh(text: str, name: str, connection: Connection) -> None:
    assert balancer_from(text) == Balancer(name=name, connection=connection)


def test_balancer_on_this_machine() -> None:
    assert balancer_from("a=unix:/run/a b.sock") == Balancer(
        name="a", connection=Connection(address="a", local=True), socket="/run/a b.sock"
    )


@pytest.mark.parametrize(
    "text",
    ["", "a=", "=lb", "@lb", "lb:", "lb:ssh", "2001:db8::1", "unix:/a.sock", "a=unix:a.sock", "a=b=c", "http://lb"],
)
def test_no_balancer(text: str) -> None:
    with pytest.raises(BadUse, match=r"is no balancer: write \[NAME=\]"):
        balancer_from(text)


# --- files ------------------------------------------------------------------------------------------


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    topology = Topology(balancers=(balancer_from("a=root@lb-1:2211"), balancer_from("b=unix:/b.sock")), section="pp")
    dump(topology, tmp_path / "topology.json")
    assert load(tmp_path / "topology.json") == topology


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no topology: "),
        ("{}", "missing required field `balancers`"),
        ('{"balancers": []}', "`balancers` is empty"),
        (
            '{"balancers": [{"name": "a", "connection": {"address": "a"}, "urls": 1}]}',
            "unknown field `urls` - at `$.balancers[0]`",
        ),
        ('{"balancers": [{"name": "a", "connection": {"address": 1}}]}', "at `$.balancers[0].connection.address`"),
        ('{"format": 2, "balancers": []}', "has format 2, and this verifier knows 1"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "topology.json").write_text(text)
    with pytest.raises(InventoryError, match=r"topology\.json ") as caught:
        load(tmp_path / "topology.json")
    assert words in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="can't be read: No such file"):
        load(tmp_path / "topology.json")
    with pytest.raises(InventoryError, match="can't be written: "):
        dump(Topology(balancers=()), tmp_path / "nosuch" / "topology.json")
