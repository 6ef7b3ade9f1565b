"""Topology: what should run: the balancers, their peers, the service, and how to reach the hosts. Pure.

It is made by `verify.inventory`, and written as JSON: `omit_defaults` keeps that short, and a field
that is not known is an error, because a misspelt one would be missed silently.
"""

import msgspec

FORMAT = 1
INTERVAL = 60.0  # seconds; the default of session_guard_dump_interval


class Connection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How to reach a host's shell, as Ansible does.

    Attributes:
        address: `ansible_host`, or the host's name.
        port: `ansible_port`, None for ssh's own choice.
        user: `ansible_user`, None for ssh's own choice.
        key_file: `ansible_ssh_private_key_file`, with `~` expanded.
        ssh_args: `ansible_ssh_common_args` and `ansible_ssh_extra_args`, split as a shell would.
        local: the host is this machine: no ssh (`ansible_connection: local`).
    """

    address: str
    port: int | None = None
    user: str | None = None
    key_file: str | None = None
    ssh_args: tuple[str, ...] = ()
    local: bool = False


class Balancer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A host that runs HAProxy.

    Attributes:
        name: the host's name in the inventory.
        connection: the way to its shell.
        url: where the service answers, from the machine that runs the verifier (`verify_url`);
            None where nobody said.
        peer: its name among the peers, None if unknown.
        socket: the path of its admin socket.
        unit: HAProxy's systemd unit.
        config: the path of its configuration.
        ports: the TCP ports on which it answers clients.
    """

    name: str
    connection: Connection
    url: str | None = None
    peer: str | None = None
    socket: str = "/run/haproxy/admin.sock"
    unit: str = "haproxy"
    config: str = "/etc/haproxy/haproxy.cfg"
    ports: tuple[int, ...] = ()


class Peer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `peer` line of the peers section: every balancer has the same ones."""

    name: str
    address: str
    port: int


class Table(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The stick table that keeps the sessions; `expire_ms` is None for rows that never expire."""

    name: str
    type: str
    size: int
    len: int | None = None
    expire_ms: int | None = None
    peers: str | None = None


class Server(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A server of the backend.

    Attributes:
        page: what its page says, for `--server-from body:`, such as `Backend 3`; None if unknown.
        web_host: the inventory's name of the host that it runs on, None if unknown.
    """

    name: str
    address: str
    port: int
    id: int | None = None
    page: str | None = None
    web_host: str | None = None


class WebHost(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A host that runs servers; `unit` is its web server's systemd unit."""

    name: str
    connection: Connection
    unit: str = "apache2"


class Service(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is sticky: a backend, its table, and the cookie that it is kept by.

    Attributes:
        backend: the backend's name.
        cookie: the session cookie's name.
        table: the stick table.
        servers: in the order of the configuration.
        path: where sessions are asked (`verify_path`).
        login_path: where the application issues a session (`verify_login_path`).
    """

    backend: str
    cookie: str
    table: Table
    servers: tuple[Server, ...]
    path: str = "/"
    login_path: str = "/"


class Topology(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What should be running, in the inventory's order.

    Attributes:
        format: the file format's number.
        section: the name of the peers section, None if unknown.
        service: None where only the balancers are known (`verify look`).
        dump_interval: seconds between two dumps of the session guard's (`session_guard_dump_interval`).
    """

    format: int = FORMAT
    balancers: tuple[Balancer, ...]
    section: str | None = None
    peers: tuple[Peer, ...] = ()
    web_hosts: tuple[WebHost, ...] = ()
    service: Service | None = None
    dump_interval: float = INTERVAL
