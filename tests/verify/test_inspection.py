"""Intent and reality: recorded answers of real HAProxies against what was intended, and against other intents."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from verify.errors import RuntimeApiError
from verify.history import Inspection
from verify.inspection import inspect
from verify.runtime_api import RuntimeApi
from verify.topology import Balancer, Connection, Peer, Server, Service, Table, Topology

FIXTURES = Path(__file__).with_name("fixtures")
VERSIONS = pytest.mark.parametrize("version", ["2.2", "2.6", "3.0", "3.2"])
NOW = 7
FILE = """
peers haproxy-peers
  peer haproxy-1 127.0.0.1:1
frontend front
  bind 127.0.0.1:80
  default_backend back
backend back
  stick-table type string len 32 size 1m expire 30m peers haproxy-peers
  stick on req.cook(S)
"""


class Recorded:
    """Answers what a process was recorded to answer."""

    def __init__(self, version: str, case: str, name: str = "a") -> None:
        """`case` is one of fixtures/VERSION, `name` one of its two processes."""
        text = "\n".join((FIXTURES / version / f"{file}.txt").read_text() for file in (f"{case}-{name}", "answers"))
        parts = (part.partition("\n") for part in re.split(r"^\$ ", text, flags=re.MULTILINE))
        self.answers: dict[str, str] = {}
        for command, _, answer in parts:
            self.answers.setdefault(command, answer)

    def cli(self, socket: str, commands: Sequence[str]) -> list[str]:
        return [self.answers[command] for command in commands]

    def stream(self, socket: str, command: str) -> Iterator[str]:
        raise AssertionError(f"an inspection reads no rows: {command}")


def intended(process: Recorded) -> Topology:
    """Gives what fixtures/record.py meant to start; its ports were free ones."""
    peers = dict(re.findall(r"id=(haproxy-\d)\(\w+,\w+\) addr=127\.0\.0\.1:(\d+)", process.answers["show peers"]))
    ports = re.findall(r"web-\d 127\.0\.0\.1 .*? - (\d+) -", process.answers["show servers state back"])
    return Topology(
        balancers=(
            Balancer(name="lb-1", connection=Connection(address="lb-1"), peer="haproxy-1", ports=(80,)),
            Balancer(name="lb-2", connection=Connection(address="lb-2"), peer="haproxy-2", ports=(80,)),
        ),
        section="haproxy-peers",
        peers=tuple(
            Peer(name=f"haproxy-{n}", address="127.0.0.1", port=int(peers.get(f"haproxy-{n}", 1))) for n in (1, 2)
        ),
        service=Service(
            backend="back",
            cookie="S",
            table=Table(name="back", type="string", size=1048576, len=32, expire_ms=1_800_000, peers="haproxy-peers"),
            servers=tuple(Server(name=f"web-{n}", id=n, address="127.0.0.1", port=int(ports[n - 1])) for n in (1, 2)),
        ),
    )


def look(
    process: Recorded, topology: Topology | None = None, file: str | None = FILE, second: bool = False
) -> Inspection:
    topology = topology or intended(process)
    return inspect(topology, topology.balancers[second], RuntimeApi(process), file, NOW)


def changed(topology: Topology, **service: object) -> Topology:
    assert topology.service
    return msgspec.structs.replace(topology, service=msgspec.structs.replace(topology.service, **service))


@VERSIONS
@pytest.mark.parametrize("case", ["pair", "cold", "reloaded"])
def test_a_pair_as_intended(version: str, case: str) -> None:
    first, second = look(Recorded(version, case)), look(Recorded(version, case, "b"), second=True)
    assert (first.balancer, first.at_ns, first.deviations) == ("lb-1", NOW, [])
    assert (second.balancer, second.at_ns, second.deviations) == ("lb-2", NOW, [])
    assert first.checks == second.checks > 20


@VERSIONS
@pytest.mark.parametrize(
    ("case", "name", "deviations"),
    [
        ("tiny", "a", ["table back has size 5, intended 1048576"]),
        ("type", "b", ["table back has type binary, intended string"]),
        (
            "names",
            "b",
            [
                "peer haproxy-1 is not in peers section haproxy-peers",
                "peers section haproxy-peers has peer haproxy-one, which is not intended",
            ],
        ),
        ("nobody", "a", ["no peers section haproxy-peers runs"]),
        ("no-peers", "a", ["peers section haproxy-peers does not share table back, otherwise than intended"]),
        ("away", "a", ["peers section haproxy-peers has peer haproxy-3, which is not intended"]),
    ],
)
def test_a_process_that_is_otherwise(version: str, case: str, name: str, deviations: list[str]) -> None:
    assert look(Recorded(version, case, name), second=name == "b").deviations == deviations


@VERSIONS
def test_the_wrong_local_peer(version: str) -> None:
    assert look(Recorded(version, "pair", "b")).deviations == [
        "peers section haproxy-peers has the local peer haproxy-2, intended haproxy-1"
    ]


@VERSIONS
def test_another_peers_address(version: str) -> None:
    process = Recorded(version, "pair")
    topology = intended(process)
    seen = topology.peers[1].port
    peers = (topology.peers[0], Peer(name="haproxy-2", address="2001:db8::0:1", port=5))
    assert look(process, msgspec.structs.replace(topology, peers=peers)).deviations == [
        f"peer haproxy-2 has address 127.0.0.1:{seen}, intended [2001:db8::1]:5"
    ]


@VERSIONS
def test_other_servers(version: str) -> None:
    process = Recorded(version, "pair")
    service = intended(process).service
    assert service
    first, second = service.servers
    one = msgspec.structs.replace(first, id=9, address="192.0.2.1")
    new = msgspec.structs.replace(first, name="web-3")
    assert look(process, changed(intended(process), servers=(second, one, new))).deviations == [
        "server web-3 is not in backend back",
        "backend back has servers in the order web-1, web-2, intended web-2, web-1",
        "server web-1 has id 1, intended 9",
        f"server web-1 has address 127.0.0.1:{first.port}, intended 192.0.2.1:{first.port}",
    ]
    assert look(process, changed(intended(process), servers=(first,))).deviations == [
        "backend back has server web-2, which is not intended"
    ]


def test_a_server_that_is_intended_by_its_host_name() -> None:
    process = Recorded("3.0", "pair")
    topology = intended(process)
    assert topology.service
    first = msgspec.structs.replace(topology.service.servers[0], address="web.example.org", id=None)
    topology = changed(topology, servers=(first, topology.service.servers[1]))
    assert look(process, topology).deviations == []
    rows = process.answers["show servers state back"]
    process.answers["show servers state back"] = re.sub(
        r"(web-1 .*?) - (\d+ -)", r"\1 other.example.org \2", rows, count=1
    )
    assert look(process, topology).deviations == [
        "server web-1 has host name other.example.org, intended web.example.org"
    ]


@VERSIONS
def test_another_backend_and_table(version: str) -> None:
    process = Recorded(version, "pair")
    process.answers["show servers state back"] = process.answers["show servers state nosuch"]
    assert look(process, intended(Recorded(version, "pair"))).deviations == ["there is no backend back"]
    process = Recorded(version, "pair")
    process.answers["show table"] = "# table: other, type: ip, size:10240, used:0\n"
    assert look(process).deviations == ["there is no table back"]


def test_an_answer_that_is_none_is_no_deviation() -> None:
    process = Recorded("3.0", "pair")
    process.answers["show servers state back"] = "Permission denied.\n"
    with pytest.raises(RuntimeApiError, match="Permission denied"):
        look(process, intended(Recorded("3.0", "pair")))


@pytest.mark.parametrize(
    ("old", "new", "deviation"),
    [
        ("len 32", "len 20", " has a table of len 20, intended 32"),
        ("expire 30m", "expire 1s", " has a table of expire (ms) 1000, intended 1800000"),
        ("expire 30m", "", " has a table of expire (ms) none, intended 1800000"),
        ("peers haproxy-peers\n  stick", "\n  stick", " has a table of peers none, intended haproxy-peers"),
        ("req.cook(S)", "req.cook(T)", " keeps cookie T, intended S"),
        ("stick-table", "# stick-table", " can't be read: backend 'back' has no stick-table"),
        ("backend back", "backend front", " can't be read: there is no backend 'back'"),
        (":80", ":81", " has client ports 81, intended 80"),
    ],
)
def test_a_file_that_is_otherwise(old: str, new: str, deviation: str) -> None:
    found = look(Recorded("3.0", "pair"), file=FILE.replace(old, new))
    assert found.deviations == [f"/etc/haproxy/haproxy.cfg: backend back{deviation}"]


def test_what_is_not_known_is_not_judged() -> None:
    process = Recorded("3.0", "pair")
    topology = intended(process)
    assert look(process, msgspec.structs.replace(topology, section=None, service=None)).checks == 0
    assert look(process, file=None).checks < look(process).checks
    known = look(process, msgspec.structs.replace(topology, service=None))
    assert (known.checks, known.deviations) == (7, [])
