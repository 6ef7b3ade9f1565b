"""The topology as JSON: what a file holds, and what it leaves out."""

import msgspec
import pytest

from verify.topology import Balancer, Connection, Peer, Server, Service, Table, Topology, WebHost

TOPOLOGY = Topology(
    balancers=(
        Balancer(
            name="lb-1",
            connection=Connection(address="192.0.2.1", port=22, user="root", key_file="/k", ssh_args=("-4",)),
            url="http://lb-1",
            peer="a",
            ports=(80, 443),
        ),
        Balancer(name="lb-2", connection=Connection(address="lb-2", local=True), socket="/s", unit="u", config="/c"),
    ),
    section="pp",
    peers=(Peer(name="a", address="192.0.2.1", port=1024),),
    web_hosts=(WebHost(name="web", connection=Connection(address="web"), unit="nginx"),),
    service=Service(
        backend="b",
        cookie="SID",
        table=Table(name="b", type="string", size=10, len=32, expire_ms=1000, peers="pp"),
        servers=(Server(name="s", address="192.0.2.3", port=80, id=1, page="p", web_host="web"),),
        path="/a",
        login_path="/login",
    ),
)


def test_json_is_the_same_again() -> None:
    assert msgspec.json.decode(msgspec.json.encode(TOPOLOGY), type=Topology) == TOPOLOGY
    assert msgspec.convert(msgspec.to_builtins(TOPOLOGY), Topology) == TOPOLOGY


def test_defaults_are_left_out() -> None:
    topology = Topology(balancers=(Balancer(name="lb", connection=Connection(address="lb")),))
    assert msgspec.to_builtins(topology) == {"balancers": ({"name": "lb", "connection": {"address": "lb"}},)}


@pytest.mark.parametrize("part", [Topology, Balancer, Connection, Peer, Table, Server, WebHost, Service])
def test_a_field_that_is_not_known_is_an_error(part: type[msgspec.Struct]) -> None:
    assert part.__struct_config__.forbid_unknown_fields
    assert part.__struct_config__.frozen
