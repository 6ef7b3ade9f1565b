"""What the inventory means is what runs; a balancer that were otherwise is told by tests/verify/test_inspection.py."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from deployment import INVENTORY

from verify.errors import InventoryError
from verify.hosts import Host
from verify.inspection import inspect
from verify.inventory import topology_of
from verify.runtime_api import RuntimeApi
from verify.topology import Topology


@pytest.fixture(scope="module")
def topology() -> Topology:
    return topology_of(INVENTORY)


@pytest.fixture(scope="module")
def hosts(topology: Topology) -> Iterator[dict[str, Host]]:
    with ExitStack() as stack:
        yield {one.name: stack.enter_context(Host(one.name, one.connection)) for one in topology.balancers}


def test_every_balancer_runs_what_is_intended(topology: Topology, hosts: dict[str, Host]) -> None:
    for balancer in topology.balancers:
        host = hosts[balancer.name]
        text = host.run(["cat", balancer.config])
        inspection = inspect(topology, balancer, RuntimeApi(host, balancer.socket), text, 0)
        assert inspection.deviations == []
        assert inspection.checks > 20


def test_what_was_not_deployed_deviates(topology: Topology, hosts: dict[str, Host], tmp_path: Path) -> None:
    """The same hosts with variables beside their inventory's, which Ansible renders."""
    first = topology.balancers[0]
    (tmp_path / "1").symlink_to(Path(INVENTORY).resolve())
    variables = {
        "verify_url": "http://127.0.0.1:{{ 8000 + 80 }}",
        "haproxy_session_cookie": "{{ 'OTH' }}ER",
        "haproxy_peer_name": "another",
    }
    (tmp_path / "2.yml").write_text(yaml.safe_dump({"all": {"hosts": {first.name: variables}}}))
    with pytest.raises(InventoryError, match="would have another service or other peers"):
        topology_of(str(tmp_path))
    del variables["haproxy_session_cookie"]
    (tmp_path / "2.yml").write_text(yaml.safe_dump({"all": {"hosts": {first.name: variables}}}))
    other = topology_of(str(tmp_path))
    assert other.balancers[0].url == "http://127.0.0.1:8080"
    api = RuntimeApi(hosts[first.name], first.socket)
    assert inspect(other, other.balancers[0], api, None, 0).deviations == [
        f"peer another is not in peers section {topology.section}",
        f"peers section {topology.section} has peer {first.peer}, which is not intended",
        f"peers section {topology.section} has the local peer {first.peer}, intended another",
    ]
