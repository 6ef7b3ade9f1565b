"""Runtime API: asks the HAProxy of one host through its admin socket."""

import json
import re
from collections.abc import Callable, Iterable, Sequence

from verify.runtime_text import (
    PeersSection,
    Row,
    Server,
    Table,
    parse_info,
    parse_peers,
    parse_servers,
    parse_tables,
)

SOCKET = "/run/haproxy/admin.sock"

# Runs on the balancer, with nothing but Python: one command a connection, as 3.0 wants it.
_SCRIPT = """
import json, socket, sys
answers = []
for command in sys.argv[2:]:
    with socket.socket(socket.AF_UNIX) as api:
        api.settimeout(10)
        api.connect(sys.argv[1])
        api.sendall(command.encode("utf-8", "surrogateescape") + b"\\n")
        answer = b"".join(iter(lambda: api.recv(65536), b""))
    answers.append(answer.decode("utf-8", "surrogateescape"))
print(json.dumps(answers))
"""


class RuntimeApi:
    """Asks the HAProxy of one host; every method raises what `run` raises, and RuntimeApiError."""

    def __init__(self, run: Callable[[Sequence[str]], str], socket: str = SOCKET) -> None:
        """`run` runs a command on the host and returns its standard output; `socket` is a path."""
        self._run, self._socket = run, socket

    def ask(self, *commands: str) -> list[str]:
        """Returns HAProxy's raw answer to each command."""
        printed = self._run(["python3", "-c", _SCRIPT, self._socket, *commands])
        answers: list[str] = json.loads(printed)
        return answers

    def tables(self) -> list[Table]:
        """Returns the tables' headers."""
        return parse_tables(self.ask("show table")[0])

    def rows(self, table: str, keys: Iterable[str]) -> dict[str, Row]:
        """Returns the rows of these keys, by key; a key without a row is left out."""
        wanted = [f"show table {table} key {_argument(key)}" for key in keys]
        answers = self.ask(*wanted) if wanted else []
        return {r.key: r for text in answers for found in parse_tables(text) for r in found.rows}

    def peers(self) -> list[PeersSection]:
        """Returns the peers sections."""
        return parse_peers(self.ask("show peers")[0])

    def info(self) -> dict[str, str]:
        """Returns `show info`: `Pid` is the worker's, `Version` HAProxy's."""
        return parse_info(self.ask("show info")[0])

    def servers(self, backend: str) -> list[Server]:
        """Returns a backend's servers, in the order of the configuration."""
        return parse_servers(self.ask(f"show servers state {backend}")[0])


def _argument(value: str) -> str:
    """Escapes a command's argument: a space would end it, a semicolon the command."""
    return re.sub(r"([\\ ;])", r"\\\1", value)
