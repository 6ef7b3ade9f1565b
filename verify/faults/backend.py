"""Backend: faults of servers and web hosts."""

from functools import partial
from typing import ClassVar

from verify.errors import Refused
from verify.faults.health import runs
from verify.faults.injection import SERVERS, Command, Injection, runtime, watch
from verify.faults.network import counted, cut, keeps_ssh, removed, table_of, uncut
from verify.faults.site import Site
from verify.faults.unit import Unit
from verify.history import Evidence
from verify.topology import Server


class OnServers(Injection):
    """A fault of servers; requests may fail on all balancers until the health checks have noticed."""

    @property
    def disturbs(self) -> list[str]:
        """All balancers."""
        return self.site.balancers

    def server(self, name: str) -> Server:
        """Returns a server of the service.

        Raises:
            Refused: there is none of that name.
        """
        for server in self.site.service.servers:
            if server.name == name:
                return server
        known = ", ".join(server.name for server in self.site.service.servers)
        raise Refused(f"{name} is no server of {self.site.service.backend}; its servers are {known}")

    def servers_are(self, up: bool) -> list[Evidence]:
        """Waits until every balancer that runs has all servers in `moves` up, or all of them down."""
        backend = self.site.service.backend

        def look(name: str) -> tuple[bool, str]:
            states = {server.name: server.up for server in self.site.apis[name].servers(backend)}
            shown = ", ".join(f"{server} {'up' if states.get(server) else 'down'}" for server in self.moves)
            return all(states.get(server) == up for server in self.moves), shown

        word = "up" if up else "down"
        return [watch(f"{name} has marked them {word}", partial(look, name), SERVERS) for name in self.running()]

    def running(self) -> list[str]:
        """Returns the balancers that run; others are away by a fault of their own, and start with servers up.

        Raises:
            Refused: there is none.
        """
        found = [name for name in self.site.apis if runs(self.site, name)]
        if not found:
            raise Refused(f"{self.kind}: no balancer runs that could mark a server down: start one")
        return found

    def preflight(self) -> None:
        """What is to go down has to be up."""
        super().preflight()
        for name in self.running():
            states = {server.name: server.up for server in self.site.apis[name].servers(self.site.service.backend)}
            for server in self.moves or [self.target]:
                if not states.get(server):
                    raise Refused(f"{self.kind}: {server} is not up on {name} now, so nothing could be seen: start it")

    def leaves_one(self) -> None:
        """Makes sure that another server takes new sessions, on every balancer.

        Raises:
            Refused: there is none.
        """
        gone = {*self.moves, self.target}
        for name in self.running():
            servers = self.site.apis[name].servers(self.site.service.backend)
            if not any(server.up and server.admin == "ready" and server.name not in gone for server in servers):
                raise Refused(
                    f"{self.kind} would take away {self.target}, the last server that is up on {name}: start others"
                )


class ServerDown(OnServers):
    """A server that is dead to its clients: connections are reset, on its own host."""

    kind: ClassVar = "server-down"
    does: ClassVar = "Rejects one server's port on its web host (TCP reset), until all balancers have marked it down."
    proves_not: ClassVar = "What a server that hangs does: it is refused at once, and no request waits for a time-out."
    tools: ClassVar = ("nft", "ss")

    @classmethod
    def choices(cls, site: Site) -> list[str]:
        """Returns the servers whose web host is known."""
        return [server.name for server in site.service.servers if server.web_host in WebStop.choices(site)]

    @property
    def name(self) -> str:
        """By its port: that is what two of them would share."""
        return f"{self.kind}-{self.server(self.target).port}"

    @property
    def targets(self) -> list[str]:
        """The server's web host."""
        return [self.server(self.target).web_host or ""]

    @property
    def moves(self) -> list[str]:
        """All servers at that port of the host."""
        own = self.server(self.target)
        return [
            server.name
            for server in self.site.service.servers
            if (server.web_host, server.port) == (own.web_host, own.port)
        ]

    def injecting(self) -> list[Command]:
        """What comes in is rejected: the port's owner never sees it."""
        port = self.server(self.target).port
        rule = f"tcp dport {port} counter name rejected reject with tcp reset"
        return [(self.targets[0], cut(table_of(self.name), [rule], [], ["rejected"]))]

    def healing(self) -> list[Command]:
        """The table goes, and its rule with it."""
        return [(self.targets[0], uncut(table_of(self.name)))]

    def inject(self) -> list[Evidence]:
        """Health checks are rejected, and the server is marked down."""
        self.run(self.injecting())
        host = self.site.hosts[self.targets[0]]
        rejected = counted(host, table_of(self.name), "rejected", f"packets to {self.target} are rejected")
        return [rejected, *self.servers_are(up=False)]

    def heal(self) -> list[Evidence]:
        """The rule is gone, and the server marked up."""
        self.run(self.healing())
        return [removed(self.site.hosts[self.targets[0]], table_of(self.name)), *self.servers_are(up=True)]

    def preflight(self) -> None:
        """The port must not be ssh's."""
        super().preflight()
        self.leaves_one()
        host = self.targets[0]
        connection = self.site.web_host(host).connection
        keeps_ssh(self.site.hosts[host], connection, [self.server(self.target).port])


class Drain(OnServers):
    """A server that is taken out in good order."""

    kind: ClassVar = "drain"
    does: ClassVar = "Drains one server on all balancers: its sessions stay, and it gets no new ones."
    proves_not: ClassVar = "That the server can be switched off: sessions stay on it as long as their rows do."

    @classmethod
    def choices(cls, site: Site) -> list[str]:
        """Returns all servers."""
        return [server.name for server in site.service.servers]

    @property
    def name(self) -> str:
        """By the server."""
        return f"{self.kind}-{self.target}"

    @property
    def targets(self) -> list[str]:
        """All balancers."""
        return self.site.balancers

    @property
    def disturbs(self) -> list[str]:
        """No request may fail."""
        return []

    def preflight(self) -> None:
        """Healing must not undo what somebody else did."""
        super().preflight()
        self.leaves_one()
        for name in self.targets:
            if self.target in drained(self.site, name):
                raise Refused(f"drain: {self.target} is in drain on {name} already, by somebody else")

    def injecting(self) -> list[Command]:
        """On each balancer."""
        return self._set("drain")

    def healing(self) -> list[Command]:
        """On each balancer."""
        return self._set("ready")

    def inject(self) -> list[Evidence]:
        """Each balancer says so."""
        self.run(self.injecting())
        return self._drained(True)

    def heal(self) -> list[Evidence]:
        """Each balancer says so."""
        self.run(self.healing())
        return self._drained(False)

    def _set(self, state: str) -> list[Command]:
        command = f"set server {self.site.service.backend}/{self.target} state {state}"
        return [(name, runtime(self.site.balancer(name).socket, command)) for name in self.targets]

    def _drained(self, wanted: bool) -> list[Evidence]:
        def look(name: str) -> tuple[bool, str]:
            there = self.target in drained(self.site, name)
            return there == wanted, f"{self.target} is {'in drain' if there else 'ready'}"

        word = "drains" if wanted else "no longer drains"
        return [watch(f"{name} {word} {self.target}", partial(look, name)) for name in self.targets]


class WebStop(OnServers):
    """A web host that serves nothing any more."""

    kind: ClassVar = "web-stop"
    does: ClassVar = "Stops the web server's unit on one web host, until all balancers have marked its servers down."
    proves_not: ClassVar = "What a host that is switched off does: the kernel lives, and refuses connections at once."

    @classmethod
    def choices(cls, site: Site) -> list[str]:
        """Returns the web hosts."""
        return [web_host.name for web_host in site.topology.web_hosts]

    @property
    def moves(self) -> list[str]:
        """All servers of the host."""
        return [server.name for server in self.site.service.servers if server.web_host == self.target]

    def injecting(self) -> list[Command]:
        """As an operator does it."""
        return [(self.target, f"systemctl stop {self._unit}")]

    def healing(self) -> list[Command]:
        """Does nothing where it runs."""
        return [(self.target, f"systemctl reset-failed {self._unit} 2>/dev/null; systemctl start {self._unit}")]

    def inject(self) -> list[Evidence]:
        """The unit is inactive, and its servers marked down."""
        self.run(self.injecting())
        return [self._becomes("inactive"), *self.servers_are(up=False)]

    def heal(self) -> list[Evidence]:
        """The unit is active, and its servers marked up."""
        self.run(self.healing())
        return [self._becomes("active"), *self.servers_are(up=True)]

    @property
    def _unit(self) -> str:
        return self.site.web_host(self.target).unit

    def _becomes(self, state: str) -> Evidence:
        def look() -> tuple[bool, str]:
            active = Unit.of(self.site.hosts[self.target], self._unit).active
            return active == state, active

        return watch(f"{self.target}'s {self._unit} is {state}", look)


def drained(site: Site, name: str) -> set[str]:
    """Returns the servers that a balancer drains.

    Raises:
        VerifyError: the runtime API can't be asked.
    """
    return {server.name for server in site.apis[name].servers(site.service.backend) if server.admin == "drain"}
