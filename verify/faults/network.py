"""Network: faults of the packets from and to a balancer, by tables of nftables that are the verifier's own.

A rule counts what it drops. What a host says to itself is never cut: a reload hands the tables over
by the balancer's own peer address. Port 22 and every other port of ssh are refused.
"""

import re
from collections.abc import Collection
from functools import partial
from typing import ClassVar

from verify.errors import Refused
from verify.faults.injection import PEERS, Command, OnBalancer, given_up, hearers, refuses, watch
from verify.history import Evidence
from verify.hosts import Host
from verify.topology import Connection

PREFIX = "sticky_verify_"


def table_of(name: str) -> str:
    """Returns the name of the nftables table of a fault."""
    return PREFIX + re.sub(r"\W", "_", name)


def cut(table: str, incoming: Collection[str], outgoing: Collection[str], counters: Collection[str]) -> str:
    """Returns a shell command that makes a table of rules.

    Args:
        table: its name; it is made anew if it is there.
        incoming: rules for packets that come in.
        outgoing: rules for packets that go out.
        counters: the counters that the rules name.
    """

    def chain(hook: str, own: str, rules: Collection[str]) -> str:
        head = f'type filter hook {hook} priority -10; policy accept; {own} "lo" accept'
        return f"chain {hook} {{ {'; '.join([head, *rules])}; }}" if rules else ""

    parts = [f"counter {name} {{ }}" for name in counters]
    parts += filter(None, [chain("input", "iifname", incoming), chain("output", "oifname", outgoing)])
    return f"nft '{_anew(table)}; table inet {table} {{ {'; '.join(parts)}; }}'"


def uncut(table: str) -> str:
    """Returns a shell command that removes a table, whether it is there or not."""
    return f"nft '{_anew(table)}'"


def _anew(table: str) -> str:
    return f"add table inet {table}; delete table inet {table}"


def parse_counters(text: str) -> dict[str, int]:
    """Reads the packets of each counter from `nft list counters table`."""
    return {name: int(packets) for name, packets in re.findall(r"counter (\w+) \{\s*packets (\d+)", text)}


def counted(host: Host, table: str, counter: str, what: str) -> Evidence:
    """Waits until a counter of a table has moved."""

    def look() -> tuple[bool, str]:
        packets = parse_counters(host.run(["nft", "list", "counters", "table", "inet", table])).get(counter, 0)
        return packets > 0, f"{packets} packets"

    return watch(what, look, PEERS)


def removed(host: Host, table: str) -> Evidence:
    """Waits until a table is gone."""

    def look() -> tuple[bool, str]:
        there = table in host.run(["nft", "list", "tables"]).split()
        return not there, f"nftables {'still has' if there else 'has no'} table {table}"

    return watch(f"the rules are gone from {host.name}", look)


def keeps_ssh(host: Host, connection: Connection, ports: Collection[int]) -> None:
    """Makes sure that no port that is to be cut is one of ssh's.

    Raises:
        Refused: one is.
    """
    listening = host.run(["/bin/sh", "-c", "ss -Hltnp | grep sshd || :"])
    ours = {22, connection.port} | {int(port) for port in re.findall(r":(\d+)\s+\S+:\*", listening)}
    for port in ports:
        if port in ours:
            raise Refused(f"{host.name}: port {port} is one of ssh's, which is never cut: move the service or ssh")


class Cut(OnBalancer):
    """What cuts have in common: the counter's move shows that packets were dropped."""

    tools: ClassVar = ("nft", "ss")
    counters: ClassVar[tuple[str, ...]] = ("peers",)
    seen_by_peers: ClassVar = True

    @property
    def parts(self) -> list[tuple[str, str]]:
        """The balancer and each other one."""
        return [(self.target, other) for other in self.site.others(self.target)]

    @property
    def table(self) -> str:
        """The table of the rules."""
        return table_of(self.name)

    @property
    def peer_ports(self) -> set[int]:
        """The ports of all peers: each may have called the other."""
        return {peer.port for peer in self.site.topology.peers}

    def incoming(self) -> list[str]:
        """Returns the rules for packets that come in."""
        return _drop("peers", self.peer_ports, "dport", "sport")

    def outgoing(self) -> list[str]:
        """Returns the rules for packets that go out."""
        return _drop("peers", self.peer_ports, "dport", "sport")

    def injecting(self) -> list[Command]:
        """One transaction: all rules or none."""
        return [(self.target, cut(self.table, self.incoming(), self.outgoing(), self.counters))]

    def healing(self) -> list[Command]:
        """The table goes, and its rules with it."""
        return [(self.target, uncut(self.table))]

    def inject(self) -> list[Evidence]:
        """Packets are dropped, and the others give the balancer up."""
        heard = hearers(self.site, self.target)
        self.run(self.injecting())
        look = partial(counted, self.site.hosts[self.target], self.table)
        evidence = self.knock()
        evidence += [look(name, f"packets of {name} are dropped on {self.target}") for name in self.counters]
        return [*evidence, *given_up(self.site, self.target, heard)]

    def knock(self) -> list[Evidence]:
        """Returns evidence that sends packets, where nobody else may: peers send a heartbeat every 3 s."""
        return []

    def heal(self) -> list[Evidence]:
        """The rules are gone."""
        self.run(self.healing())
        return [removed(self.site.hosts[self.target], self.table)]

    def preflight(self) -> None:
        """The ports have to be known, and none of them ssh's."""
        super().preflight()
        if not self.peer_ports:
            raise Refused(f"{self.kind} on {self.target}: the topology names no peers, so there is no port to cut")
        connection = self.site.balancer(self.target).connection
        keeps_ssh(self.site.hosts[self.target], connection, self.ports())

    def ports(self) -> set[int]:
        """Returns all ports that are cut."""
        return self.peer_ports


class PeersCut(Cut):
    """A partition between balancers that both go on serving."""

    kind: ClassVar = "peers-cut"
    does: ClassVar = "Drops all packets of the peers port on a balancer, in and out; clients and servers stay."
    proves_not: ClassVar = (
        "What a port that refuses does: dropped packets are noticed by their silence, after 5 to 8 s."
    )


class PeersCutIn(Cut):
    """A partition one way: the balancer is heard, and is deaf."""

    kind: ClassVar = "peers-cut-in"
    does: ClassVar = "Drops the packets of the peers port that come in to a balancer; what it sends goes out."
    proves_not: ClassVar = "That updates flow one way for long: TCP needs answers, so both ways end within seconds."

    def outgoing(self) -> list[str]:
        """Nothing is cut."""
        return []


class PeersCutOut(Cut):
    """A partition the other way: the balancer hears, and is dumb."""

    kind: ClassVar = "peers-cut-out"
    does: ClassVar = "Drops the packets of the peers port that go out from a balancer; what the others send comes in."
    proves_not: ClassVar = "That updates flow one way for long: TCP needs answers, so both ways end within seconds."

    def incoming(self) -> list[str]:
        """Nothing is cut."""
        return []


class Isolate(Cut):
    """A balancer that nobody reaches, and that lives."""

    kind: ClassVar = "isolate"
    does: ClassVar = "Drops all packets of the clients' ports and the peers port on a balancer; ssh and servers stay."
    proves_not: ClassVar = (
        "What a host off the network does: its health checks go on, so it comes back with servers up."
    )
    takes_away: ClassVar = True
    counters: ClassVar = ("peers", "clients")

    def ports(self) -> set[int]:
        """Returns the clients' ports too."""
        return self.peer_ports | self._clients

    def incoming(self) -> list[str]:
        """Clients call, and never the other way round."""
        return [*super().incoming(), *_drop("clients", self._clients, "dport")]

    def outgoing(self) -> list[str]:
        """The answers."""
        return [*super().outgoing(), *_drop("clients", self._clients, "sport")]

    def knock(self) -> list[Evidence]:
        """Clients get no connection."""
        url = self.site.balancer(self.target).url
        return [refuses(url)] if url else []

    def preflight(self) -> None:
        """The clients' ports have to be known as well."""
        super().preflight()
        if not self._clients:
            raise Refused(f"isolate on {self.target}: the topology does not say on which ports it answers clients")

    @property
    def _clients(self) -> set[int]:
        return set(self.site.balancer(self.target).ports)


def _drop(counter: str, ports: Collection[int], *sides: str) -> list[str]:
    listed = ", ".join(str(port) for port in sorted(ports))
    return [f"tcp {side} {{ {listed} }} counter name {counter} drop" for side in sides]
