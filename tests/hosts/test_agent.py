"""The verifier's one connection per host, and what is measured over it."""

import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import permutations

import pytest
from deployment import INVENTORY, wait_for
from node import Node
from testinfra.host import Host as Shell

from verify import lag
from verify.errors import HostError, Refused
from verify.hosts import Host
from verify.inventory import balancers_of
from verify.topology import Balancer, Topology

TABLE = "back-session"
FIRED, LOCK = "/run/sticky-verify-test-fired", "/run/sticky-verify-test.lock"
SAMPLES = 20


@pytest.fixture(scope="module")
def topology() -> Topology:
    return Topology(balancers=balancers_of(INVENTORY))


@pytest.fixture(scope="module")
def hosts(topology: Topology) -> Iterator[dict[str, Host]]:
    with ExitStack() as stack:
        yield {
            balancer.name: stack.enter_context(Host(balancer.name, balancer.connection))
            for balancer in topology.balancers
        }


@pytest.fixture
def first(topology: Topology) -> Balancer:
    return topology.balancers[0]


@pytest.fixture
def host(first: Balancer, hosts: dict[str, Host]) -> Iterator[Host]:
    host = hosts[first.name]
    yield host
    host.run(["rm", "-f", FIRED, LOCK])


def there(host: Host, path: str) -> bool:
    return host.run(["sh", "-c", f"test -e {path} && echo yes || echo no"]) == "yes\n"


def test_a_host_is_known_for_what_it_is(balancers: list[Shell], hosts: dict[str, Host]) -> None:
    for shell, host in zip(balancers, hosts.values(), strict=True):
        assert (host.facts.kind == "container") == (shell.run("systemd-detect-virt --container").rc == 0)
        assert host.facts.boot_id == shell.check_output("cat /proc/sys/kernel/random/boot_id")
        assert host.facts.hostname == shell.check_output("hostname")
        assert host.run(["id", "-u"]) == "0\n"


def test_a_clock_is_known(hosts: dict[str, Host]) -> None:
    for host in hosts.values():
        (offset, error), (again, error_again) = host.clock(), host.clock()
        assert abs(offset - again) <= error + error_again


def test_haproxy_says_the_same_at_once_and_line_by_line(first: Balancer, host: Host) -> None:
    info, servers = host.cli(first.socket, ["show info", f"show servers state {TABLE}"])
    assert info.startswith("Name: HAProxy\n")
    lines = list(host.stream(first.socket, f"show servers state {TABLE}"))
    assert [line.split()[:4] for line in lines] == [line.split()[:4] for line in servers[:-1].split("\n")]
    assert len(lines) > 7


def test_a_lock_is_refused_in_the_words_of_its_owner(first: Balancer, host: Host) -> None:
    with Host(first.name, first.connection) as other:
        other.lock(LOCK, "the test of locks")
        with pytest.raises(Refused, match=f"{first.name}: {LOCK} is locked by the test of locks: "):
            host.lock(LOCK, "somebody else")


KILLED = """
import sys
from verify.hosts import Host
from verify.inventory import balancers_of
balancer = balancers_of(sys.argv[1])[0]
host = Host(balancer.name, balancer.connection)
host.lock(sys.argv[2], "who will be killed")
print(host.run(["sh", "-c", "echo $PPID"]), end="", flush=True)
host.run(["sleep", "1000"], seconds=1000)
"""


def test_a_killed_verifier_leaves_nothing_on_the_host(first: Balancer, host: Host) -> None:
    verifier = subprocess.Popen([sys.executable, "-c", KILLED, INVENTORY, LOCK], stdout=subprocess.PIPE, text=True)
    assert verifier.stdout
    with verifier, Host(first.name, first.connection) as other:
        agent = int(verifier.stdout.readline())
        sleeps = ["pgrep", "--parent", str(agent), "--exact", "sleep"]
        wait_for("the command to run", lambda: host.run(sleeps, check=False) != "")
        (sleep,) = host.run(sleeps).split()
        with pytest.raises(Refused, match="who will be killed"):
            other.lock(LOCK, "the next one")
        verifier.kill()
        verifier.wait(10)
        wait_for("the agent to end", lambda: not there(host, f"/proc/{agent}"))
        wait_for("its command to end", lambda: not there(host, f"/proc/{sleep}"))
        other.lock(LOCK, "the next one")


def test_what_is_armed_is_done_without_the_verifier(first: Balancer, host: Host) -> None:
    with Host(first.name, first.connection) as other:
        other.arm("test-fires", 2, f"touch {FIRED}")
    wait_for("the undo to be done", lambda: there(host, FIRED))
    assert not host.disarm("test-fires")


def test_what_is_disarmed_is_not_done(host: Host) -> None:
    host.arm("test-disarmed", 4, f"touch {FIRED}")
    with pytest.raises(HostError, match="test-disarmed"):
        host.arm("test-disarmed", 4, f"touch {FIRED}")
    host.arm("test-later", 5, f"touch {FIRED}-later")
    assert host.disarm("test-disarmed")
    wait_for("an undo that was armed for later", lambda: there(host, f"{FIRED}-later"))
    host.run(["rm", f"{FIRED}-later"])
    assert not there(host, FIRED)
    units = host.run(["systemctl", "list-units", "--all", "--plain", "--no-legend", "sticky-verify-undo-*"])
    assert units == ""


def test_the_lag_of_every_direction(topology: Topology, hosts: dict[str, Host], nodes: list[Node]) -> None:
    sockets = {balancer.name: balancer.socket for balancer in topology.balancers}
    keys = [f"svfy{secrets.token_hex(14)}" for _ in range(2 * SAMPLES)]
    samples = list(lag.measure(hosts, sockets, TABLE, nodes[0].api.servers(TABLE)[0].id, keys))
    for direction in permutations(hosts, 2):
        found = [sample for sample in samples if (sample.source, sample.target) == direction]
        assert len(found) == SAMPLES
        assert all(sample.lag_ns is not None and sample.lag_ns >= 0 for sample in found)
        assert all(sample.resolution_ns > 0 for sample in found)
    looks = [f"show table {TABLE} key {key}" for key in keys]
    for name, host in hosts.items():
        assert set(host.cli(sockets[name], looks)) == {"\n"}
