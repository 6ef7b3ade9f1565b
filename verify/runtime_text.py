"""Runtime text: what HAProxy prints about itself and its servers, as typed values; see also tables and peers.

Pure. The parsers read what HAProxy 2.2, 2.6, 3.0 and 3.2 were recorded to answer. A text that they do not
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
        port=int(row["srv_port"]),
        host=row["srv_fqdn"].removeprefix("-"),
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
    lines = [line for line in text.splitlines() if line]
    if not lines or not lines[0].startswith("# pxname,"):
        raise RuntimeApiError("show stat", text)
    try:
        rows = list(csv.DictReader([lines[0].removeprefix("# "), *lines[1:]]))
        return sum(int(row["req_tot"] or 0) for row in rows)
    except (KeyError, ValueError):
        raise RuntimeApiError("show stat", text) from None
