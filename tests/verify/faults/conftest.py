"""What the tests of faults share: a site whose hosts nobody may ask."""

import pytest

from verify.faults import Site
from verify.topology import Balancer, Connection, Peer, Server, Service, Table, Topology, WebHost


@pytest.fixture
def site() -> Site:
    """Gives three balancers and two web hosts; any look at a host is a KeyError."""
    names = ("lb-1", "lb-2", "lb-3")
    here = Connection(address="192.0.2.1")
    servers = [("a", 8081, "web-1"), ("b", 8082, "web-1"), ("c", 8081, "web-2"), ("d", 80, None)]
    topology = Topology(
        balancers=tuple(Balancer(name=name, connection=here, peer=f"p-{name}", ports=(80, 443)) for name in names),
        peers=tuple(Peer(name=f"p-{name}", address="192.0.2.1", port=1024) for name in names),
        web_hosts=tuple(WebHost(name=name, connection=here) for name in ("web-1", "web-2")),
        service=Service(
            backend="back",
            cookie="SESSION",
            table=Table(name="sessions", type="string", size=1000, len=32),
            servers=tuple(
                Server(name=name, address="192.0.2.2", port=port, web_host=host) for name, port, host in servers
            ),
        ),
    )
    return Site(topology, {}, {})
