"""Intent: what playbooks/topology.yml wrote down, rendered by Ansible, as a topology. Pure.

The play writes what only Ansible knows (variables, the role's defaults, the rendered haproxy.cfg);
what it means is worked out here.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from verify.configuration import Configuration
from verify.errors import InventoryError
from verify.topology import INTERVAL, Balancer, Connection, Server, Service, Topology, WebHost

_SSH = ("ssh", "smart", "paramiko_ssh", "paramiko")
# The variables that are read here; roles/haproxy/vars/main/main.yml lists the same.
VERIFY = ("verify_url", "verify_backend", "verify_cookie", "verify_path", "verify_login_path")
DUMP_INTERVAL = "session_guard_dump_interval"
CONNECTION = (
    "ansible_connection",
    "ansible_host",
    "ansible_port",
    "ansible_user",
    "ansible_ssh_private_key_file",
    "ansible_ssh_common_args",
    "ansible_ssh_extra_args",
)


class _Balancer(msgspec.Struct, frozen=True):
    """What roles/haproxy/tasks/topology.yml says of a balancer."""

    name: str
    peer: str
    config: str
    configuration: list[str]


class _Page(msgspec.Struct, frozen=True):
    """A virtual host of a web host, and what it says."""

    host: str
    address: str
    port: int
    page: str


class _Intent(msgspec.Struct, frozen=True):
    balancers: list[_Balancer]
    web_hosts: list[str]
    pages: list[_Page]
    variables: dict[str, dict[str, Any]]


def topology_from(written: bytes, backend: str | None = None) -> Topology:
    """Makes a topology of what the play wrote.

    Args:
        written: its file.
        backend: the sticky backend; None for `verify_backend`, or the first one that is sticky.

    Raises:
        InventoryError: a variable is missing or can't be used.
    """
    try:
        intent = msgspec.json.decode(written, type=_Intent, strict=False)
    except msgspec.DecodeError as error:
        raise InventoryError(f"playbooks/topology.yml wrote what this verifier can't read: {error}") from None
    parts = [_part(balancer, intent, backend) for balancer in intent.balancers]
    first = parts[0]
    for part in parts[1:]:
        if (part.service, part.section, part.peers) != (first.service, first.section, first.peers):
            raise InventoryError(
                f"{part.balancers[0].name} would have another service or other peers than {first.balancers[0].name}:"
                " give all balancers the same haproxy_* variables"
            )
    return msgspec.structs.replace(
        first,
        dump_interval=_interval(intent),
        balancers=tuple(balancer for part in parts for balancer in part.balancers),
        web_hosts=tuple(
            WebHost(name=name, connection=connection_of(name, intent.variables[name])) for name in intent.web_hosts
        ),
    )


def _part(balancer: _Balancer, intent: _Intent, backend: str | None) -> Topology:
    """Returns the topology as one balancer's configuration has it."""
    try:
        configuration = Configuration("\n".join(balancer.configuration))
        service = _service(balancer.name, configuration, intent, backend)
        sections = [section.name for section in configuration.of("peers")]
        shared = service.table.peers or (sections[0] if len(sections) == 1 else None)
        peers = configuration.peers(shared) if shared else ()
    except ValueError as error:
        raise InventoryError(f"{balancer.name}: its configuration can't be used: {error}") from None
    socket = configuration.admin_socket()
    if not socket:
        raise InventoryError(
            f"{balancer.name}: haproxy_global has no `stats socket` with a path, by which the verifier looks at"
            " HAProxy: add `stats socket /run/haproxy/admin.sock mode 660 level admin`"
        )
    running = Balancer(
        name=balancer.name,
        connection=connection_of(balancer.name, intent.variables[balancer.name]),
        url=url_of(balancer.name, _value(intent.variables[balancer.name], "verify_url")),
        peer=balancer.peer,
        socket=socket,
        config=balancer.config,
        ports=configuration.ports(service.backend),
    )
    return Topology(balancers=(running,), section=shared, peers=peers, service=service)


def _interval(intent: _Intent) -> float:
    """Returns the longest interval between dumps of the session guard's, its default where none is given."""
    found: list[float] = []
    for balancer in intent.balancers:
        text = _value(intent.variables[balancer.name], DUMP_INTERVAL)
        try:
            found += [float(text)] if text else []
        except ValueError:
            raise InventoryError(f"{balancer.name}: {DUMP_INTERVAL} must be a number of seconds, not {text}") from None
    return max(found, default=INTERVAL)


def _service(host: str, configuration: Configuration, intent: _Intent, backend: str | None) -> Service:
    given = {name: _value(intent.variables[host], name) for name in VERIFY}
    sticky = [section.name for section in configuration.sticky()]
    name = backend or given["verify_backend"] or (sticky[0] if sticky else "")
    if not name:
        raise InventoryError(
            f"{host}: no backend has `stick` rules, so no session is kept: give haproxy_backends a stick_table and"
            " stick rules, or name a backend by verify_backend"
        )
    cookies = [given["verify_cookie"], *configuration.cookies(name)]
    if not any(cookies):
        raise InventoryError(
            f"{host}: the stick rules of backend {name!r} name no cookie: set verify_cookie to the one that its"
            " sessions are kept by"
        )
    return Service(
        backend=name,
        cookie=next(filter(None, cookies)),
        table=configuration.table(name),
        servers=tuple(_with_page(server, intent.pages) for server in configuration.servers(name)),
        path=given["verify_path"] or "/",
        login_path=given["verify_login_path"] or "/",
    )


def _with_page(server: Server, pages: list[_Page]) -> Server:
    """Adds whose server it is; the page too, unless several virtual hosts share the port."""
    found = [page for page in pages if (page.address, page.port) == (server.address, server.port)]
    page = found[0].page if len(found) == 1 and found[0].page else None
    return msgspec.structs.replace(server, page=page, web_host=found[0].host if found else None)


def url_of(host: str, url: str) -> str:
    """Checks a balancer's `verify_url`.

    Raises:
        InventoryError: there is none, or it is no URL.
    """
    if not url:
        raise InventoryError(
            f"{host}: verify_url is missing: give the host one such as `verify_url: http://127.0.0.1:8080`,"
            " where its frontend answers from here"
        )
    if not url.startswith(("http://", "https://")):
        raise InventoryError(f"{host}: verify_url must start with http:// or https://, not {url}")
    return url.rstrip("/")


def connection_of(host: str, variables: Mapping[str, Any]) -> Connection:
    """Reads the variables by which Ansible reaches a host.

    Raises:
        InventoryError: one that the verifier can't use.
    """
    given = {name: _value(variables, name) for name in CONNECTION}
    port, key_file = given["ansible_port"], given["ansible_ssh_private_key_file"]
    plugin = given["ansible_connection"].removeprefix("ansible.builtin.")
    if plugin and plugin not in (*_SSH, "local"):
        raise InventoryError(f"{host}: ansible_connection is {plugin}, and the verifier knows ssh and local")
    if port and not port.isdecimal():
        raise InventoryError(f"{host}: ansible_port must be a number, not {port}")
    try:
        ssh_args = shlex.split(f"{given['ansible_ssh_common_args']} {given['ansible_ssh_extra_args']}")
    except ValueError as error:
        raise InventoryError(f"{host}: the ssh arguments can't be split: {error}") from None
    return Connection(
        address=given["ansible_host"] or host,
        port=int(port) if port else None,
        user=given["ansible_user"] or None,
        key_file=str(Path(key_file).expanduser()) if key_file else None,
        ssh_args=tuple(ssh_args),
        local=plugin == "local",
    )


def _value(variables: Mapping[str, Any], name: str) -> str:
    """Returns a variable as text, empty where there is none."""
    found = variables.get(name)
    return "" if found is None else str(found)
