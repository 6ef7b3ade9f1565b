"""Site: the hosts and runtime APIs that faults are injected into."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from verify.errors import Refused
from verify.hosts import Host
from verify.runtime_api import RuntimeApi
from verify.topology import Balancer, Service, Topology, WebHost

LOCK = "/run/lock/sticky-verify.lock"


@dataclass
class Site:
    """What a run works on.

    Attributes:
        topology: what should be running.
        hosts: balancers and web hosts, by inventory name.
        apis: the balancers' runtime APIs, by inventory name, in the inventory's order.
        own_keys: gives the keys of the verifier's own sessions so far; no other row is ever touched.
    """

    topology: Topology
    hosts: dict[str, Host]
    apis: dict[str, RuntimeApi]
    own_keys: Callable[[], Sequence[str]] = tuple

    @property
    def balancers(self) -> list[str]:
        """The balancers' names, in the inventory's order."""
        return [balancer.name for balancer in self.topology.balancers]

    @property
    def service(self) -> Service:
        """The service whose servers and table faults are about.

        Raises:
            Refused: the topology has none.
        """
        if self.topology.service is None:
            raise Refused("the topology names no service, so no server or table can be chosen: use an inventory's")
        return self.topology.service

    def balancer(self, name: str) -> Balancer:
        """Returns a balancer by its name.

        Raises:
            Refused: there is none of that name.
        """
        for balancer in self.topology.balancers:
            if balancer.name == name:
                return balancer
        raise Refused(f"{name} is no balancer of the topology; its balancers are {', '.join(self.balancers)}")

    def web_host(self, name: str) -> WebHost:
        """Returns a web host by its name.

        Raises:
            Refused: there is none of that name.
        """
        for web_host in self.topology.web_hosts:
            if web_host.name == name:
                return web_host
        known = ", ".join(web_host.name for web_host in self.topology.web_hosts) or "none"
        raise Refused(f"{name} is no web host of the topology; its web hosts: {known}")

    def others(self, name: str) -> list[str]:
        """Returns the names of all balancers but this one."""
        return [other for other in self.balancers if other != name]

    def peer(self, name: str) -> str:
        """Returns how a balancer is called among the peers."""
        return self.balancer(name).peer or name


@contextmanager
def open_site(topology: Topology) -> Iterator[Site]:
    """Opens the ways to all hosts of a topology, and closes them at the end; connects to nothing yet."""
    with ExitStack() as stack:
        members: list[Balancer | WebHost] = [*topology.balancers, *topology.web_hosts]
        hosts = {member.name: stack.enter_context(Host(member.name, member.connection)) for member in members}
        apis = {known.name: RuntimeApi(hosts[known.name], known.socket) for known in topology.balancers}
        yield Site(topology, hosts, apis)


def lock_all(site: Site, owner: str) -> None:
    """Locks every balancer against a second run, as long as the connections last.

    Args:
        site: the balancers.
        owner: who locks, as the second run shall read it.

    Raises:
        Refused: another run has one of them; its owner's words are in the message.
    """
    for name in site.balancers:
        site.hosts[name].lock(LOCK, owner)
