"""Which scenarios HAProxy's version can offer: a site is asked, and nothing else."""

import pytest

from tests.verify.recording import Recording
from verify.faults import Site
from verify.run import not_applicable
from verify.runtime_api import RuntimeApi
from verify.scenarios import SCENARIOS
from verify.topology import Balancer, Connection, Server, Service, Table, Topology

SEEN_BY_PEERS = ["pause", "partition", "isolate"]


@pytest.mark.parametrize(
    ("versions", "left_out"), [(("2.6/pair-a", "3.2/pair-b"), []), (("2.6/pair-a", "1.6/answers"), SEEN_BY_PEERS)]
)
def test_scenarios_whose_fault_cant_be_seen_are_named(versions: tuple[str, str], left_out: list[str]) -> None:
    here = Connection(address="192.0.2.1")
    names = [f"lb-{number}" for number, _ in enumerate(versions, 1)]
    service = Service(
        backend="back",
        cookie="SESSION",
        table=Table(name="back", type="string", size=1000, len=32),
        servers=(Server(name="a", address="192.0.2.2", port=80),),
    )
    topology = Topology(balancers=tuple(Balancer(name=name, connection=here) for name in names), service=service)
    apis = {name: RuntimeApi(Recording(version)) for name, version in zip(names, versions, strict=True)}
    chosen = [known for known in SCENARIOS.values() if not known.may_lose]
    found = not_applicable(chosen, Site(topology, {}, apis))
    assert [each.scenario for each in found] == left_out
    assert {each.why.partition(", and ")[2] for each in found} <= {"lb-2 runs HAProxy 1.6.3: 2.0 and up have it"}
