"""Runtime text: what HAProxy prints about itself and its servers, as typed values; see also tables and peers.

Pure. The parsers read what HAProxy 1.6, 2.2, 2.6, 3.0 and 3.2 were recorded to answer. A text that they do not
know is a `RuntimeApiError` with that text: nothing is guessed.
"""

import csv
import re
from typing import Literal

import msgspec

from verify.errors import RuntimeApiError

# `srv_op_state` and `srv_admin_state` of `show servers state`, as HAProxy's management guide has them. In
# maintenance: by the runtime API, by another server, by the configuration, by DNS, by a host name.
OPERATIONS: tuple[Literal["stopped", "starting", "running", "stopping"], ...]
OPERATIONS = ("stopped", "starting", "running", "stopping")
NO_BACKEND = "Can't find backend."  # what HAProxy answers
MAINTENANCE, DRAIN = 0x01 | 0x02 | 0x04 | 0x20 | 0x40, 0x08 | 0x10


class Server(msgspec.Struct, frozen=True):
    """A server of a backend.

    Attributes:
        operation: what it does, by health checks and administration.
        admin: `drain` takes known sessions alone, `maint` takes none.
        weight: the effective one, at most 256; a server of weight 0 takes known sessions alone.
        address: its IP address, empty where it has none (a UNIX socket, a host name that is not resolved).
        port: its port, 0 where it has none.
        host: the host name that the address comes from, empty if none.
    """

    id: int
    name: str
    operation: Literal["stopped", "starting", "running", "stopping"]
    admin: Literal["ready", "drain", "maint"]
    weight: int
    address: str = ""
    port: int = 0
    host: str = ""

    @property
    def up(self) -> bool:
        """Whether it runs; not where it is down, in maintenance, or starting."""
        return self.operation == "running"


def is_unknown(text: str) -> bool:
    """Whether HAProxy's version has no such command; then it lists those that it has."""
    return text.startswith("Unknown command")


def parse_info(text: str) -> dict[str, str]:
    """Reads `show info`, as printed: numbers stay texts.

    Raises:
        RuntimeApiError: a line that is no `Name: value`, or nothing at all.
    """
    lines = [re.fullmatch(r"(\w[\w -]*): ?(.*)", line) for line in filter(None, text.splitlines())]
    info = {line[1]: line[2] for line in lines if line}
    if not lines or len(info) != len(lines):
        raise RuntimeApiError("show info", text)
    return info


def parse_servers(text: str) -> list[Server]:
    """Reads `show servers state B`, version 1 of its format.

    Raises:
        RuntimeApiError: another version or text, such as that for an unknown backend.
    """
    version, *lines = [line for line in text.splitlines() if line] or [""]
    if version != "1" or not lines or not lines[0].startswith("# "):
        raise RuntimeApiError("show servers state", text)
    names = lines[0].removeprefix("# ").split()
    rows = [dict(zip(names, line.split(), strict=False)) for line in lines[1:]]
    try:
        return [_server(row) for row in rows]
    except (KeyError, ValueError, IndexError):
        raise RuntimeApiError("show servers state", text) from None


def _server(row: dict[str, str]) -> Server:
    admin = int(row["srv_admin_state"])
    return Server(
        id=int(row["srv_id"]),
        name=row["srv_name"],
        operation=OPERATIONS[int(row["srv_op_state"])],
        admin="maint" if admin & MAINTENANCE else "drain" if admin & DRAIN else "ready",
        weight=int(row["srv_uweight"]),
        address=row["srv_addr"].removeprefix("-"),
        port=int(row.get("srv_port", 0)),  # since 1.8, as the next one
        host=row.get("srv_fqdn", "-").removeprefix("-"),
    )


def parse_stat(text: str, backend: str) -> list[Server]:
    """Reads a backend's servers from `show stat -1 4 -1`, the servers' counters: it tells no address.

    Raises:
        RuntimeApiError: another text, or an unknown backend.
    """
    rows = _stat(text)
    try:
        servers = [_counted(row) for row in rows if row["pxname"] == backend]
    except (KeyError, ValueError):
        raise RuntimeApiError("show stat", text) from None
    if not servers:
        raise RuntimeApiError("show stat", NO_BACKEND)
    return servers


def _counted(row: dict[str, str]) -> Server:
    state = row["status"].split()[0]  # `UP 1/3` is on its way down, and runs
    return Server(
        id=int(row["sid"]),
        name=row["svname"],
        operation="stopped" if state in {"DOWN", "MAINT"} else "running",
        admin="maint" if state == "MAINT" else "drain" if state == "DRAIN" else "ready",
        weight=int(row["weight"]),
    )


def parse_done(command: str, text: str) -> None:
    """Reads the answer to a command that changes something: nothing, if it did.

    Raises:
        RuntimeApiError: any text; `command` names what was asked, without a session's key.
    """
    if text.strip():
        raise RuntimeApiError(command, text)


def parse_requests(text: str) -> int:
    """Reads `show stat -1 1 -1`, the frontends' counters; returns the sum of their HTTP requests.

    Raises:
        RuntimeApiError: another text.
    """
    rows = _stat(text)
    try:
        return sum(int(row["req_tot"] or 0) for row in rows)
    except (KeyError, ValueError):
        raise RuntimeApiError("show stat", text) from None


def _stat(text: str) -> list[dict[str, str]]:
    lines = [line for line in text.splitlines() if line]
    if not lines or not lines[0].startswith("# pxname,"):
        raise RuntimeApiError("show stat", text)
    return list(csv.DictReader([lines[0].removeprefix("# "), *lines[1:]]))
