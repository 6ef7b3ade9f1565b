"""Inspection: whether what runs on a balancer is what the topology intends.

What the process tells by its runtime API counts first: peers, table, servers. What no version tells
(a table's `len` and `expire`, the cookie) is read from the configuration on the host, if it is given.
"""

from collections.abc import Iterable
from ipaddress import ip_address

from verify.configuration import Configuration
from verify.errors import RuntimeApiError
from verify.history import Inspection
from verify.runtime_api import RuntimeApi
from verify.runtime_text import NO_BACKEND
from verify.topology import Balancer, Service, Topology


class _Findings:
    """Counts what was compared, and keeps a sentence for each thing that is otherwise."""

    def __init__(self) -> None:
        self.checks = 0
        self.deviations: list[str] = []

    def check(self, fine: bool, deviation: str) -> bool:
        self.checks += 1
        if not fine:
            self.deviations.append(deviation)
        return fine

    def same(self, what: str, name: str, seen: object, intended: object) -> None:
        self.check(seen == intended, f"{what} has {name} {_shown(seen)}, intended {_shown(intended)}")

    def names(self, what: str, seen: Iterable[str], intended: Iterable[str], where: str) -> None:
        """Checks that each one that is intended is there, and no other."""
        seen, intended = list(seen), list(intended)
        for name in intended:
            self.check(name in seen, f"{what} {name} is not in {where}")
        strangers = [name for name in seen if name not in intended]
        self.check(not strangers, f"{where} has {what} {', '.join(strangers)}, which is not intended")


def inspect(topology: Topology, balancer: Balancer, api: RuntimeApi, configuration: str | None, now: int) -> Inspection:
    """Compares a running balancer with the topology; parts that the topology does not know are not judged.

    Args:
        topology: what is intended.
        balancer: one of its balancers.
        api: the runtime API of the process that runs there.
        configuration: the text of its configuration file; None to leave out what only that tells.
        now: the time of this inspection, in ns of the run.

    Raises:
        HostError: the host can't be asked.
        RuntimeApiError: an answer that can't be read.
    """
    findings = _Findings()
    if topology.section is not None:
        _peers(findings, topology, balancer, api)
    if topology.service is not None:
        _table(findings, topology.service, api)
        _servers(findings, topology.service, api)
        if configuration is not None:
            _file(findings, topology.service, balancer, configuration)
    return Inspection(balancer=balancer.name, at_ns=now, checks=findings.checks, deviations=findings.deviations)


def _peers(findings: _Findings, topology: Topology, balancer: Balancer, api: RuntimeApi) -> None:
    sections = api.peers()
    if sections is None:
        return  # nothing tells: `verify.run` says so
    section = next((section for section in sections if section.name == topology.section), None)
    # A section whose local peer has another name than the process is dropped by HAProxy, with a warning alone.
    if not findings.check(section is not None, f"no peers section {topology.section} runs") or section is None:
        return
    where = f"peers section {section.name}"
    seen = {peer.name: peer for peer in section.peers}
    findings.names("peer", seen, [peer.name for peer in topology.peers], where)
    if balancer.peer is not None:
        local = next((peer.name for peer in section.peers if peer.local), None)
        findings.same(where, "the local peer", local, balancer.peer)
    for peer in topology.peers:
        if peer.name in seen and _is_ip(peer.address):
            address, _, port = seen[peer.name].address.rpartition(":")
            intended = _endpoint(peer.address, peer.port)
            findings.same(f"peer {peer.name}", "address", _endpoint(address, int(port)), intended)
    if topology.service is not None:
        table = topology.service.table
        shared = table.name in section.tables
        text = "shares" if shared else "does not share"
        findings.check(
            shared == (table.peers == section.name), f"{where} {text} table {table.name}, otherwise than intended"
        )


def _table(findings: _Findings, service: Service, api: RuntimeApi) -> None:
    table = next((table for table in api.tables() if table.name == service.table.name), None)
    if findings.check(table is not None, f"there is no table {service.table.name}") and table is not None:
        findings.same(f"table {table.name}", "type", table.type, service.table.type)
        findings.same(f"table {table.name}", "size", table.size, service.table.size)


def _servers(findings: _Findings, service: Service, api: RuntimeApi) -> None:
    try:
        servers = api.servers(service.backend)
    except RuntimeApiError as error:
        if error.text.strip() != NO_BACKEND:
            raise
        findings.check(False, f"there is no backend {service.backend}")
        return
    where = f"backend {service.backend}"
    seen = {server.name: server for server in servers}
    findings.names("server", seen, [server.name for server in service.servers], where)
    both = [server.name for server in service.servers if server.name in seen]
    findings.same(where, "servers in the order", [name for name in seen if name in both], both)
    for server in service.servers:
        if server.name not in seen:
            continue
        running = seen[server.name]
        if server.id is not None:
            findings.same(f"server {server.name}", "id", running.id, server.id)
        if _is_ip(server.address) and running.port:  # before 1.8 nothing tells it
            address = _endpoint(running.address, running.port)
            findings.same(f"server {server.name}", "address", address, _endpoint(server.address, server.port))
        elif running.host:
            findings.same(f"server {server.name}", "host name", running.host, server.address)


def _file(findings: _Findings, service: Service, balancer: Balancer, text: str) -> None:
    where = f"{balancer.config}: backend {service.backend}"
    try:
        configuration = Configuration(text)
        table, cookies = configuration.table(service.backend), configuration.cookies(service.backend)
    except ValueError as error:
        findings.check(False, f"{where} can't be read: {error}")
        return
    for name in table.__struct_fields__:
        unit = " (ms)" if name == "expire_ms" else ""
        label = f"a table of {name.removesuffix('_ms')}{unit}"
        findings.same(where, label, getattr(table, name), getattr(service.table, name))
    if cookies:
        findings.check(
            service.cookie in cookies, f"{where} keeps cookie {', '.join(cookies)}, intended {service.cookie}"
        )
    findings.same(where, "client ports", list(configuration.ports(service.backend)), list(balancer.ports))


def _is_ip(address: str) -> bool:
    try:
        ip_address(address)
    except ValueError:
        return False
    return True


def _endpoint(address: str, port: int) -> str:
    """Writes an address and port as one text, the same for every spelling of an IPv6 address."""
    address = str(ip_address(address)) if _is_ip(address) else address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)
