"""Runtime API: asks the HAProxy of one host through its admin socket."""

import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Literal, Protocol

from verify.errors import BadUse
from verify.peers_text import PeersSection, parse_peers
from verify.runtime_text import Server, is_unknown, parse_done, parse_info, parse_requests, parse_servers, parse_stat
from verify.table_text import Row, Table, parse_rows, parse_tables

SOCKET = "/run/haproxy/admin.sock"
LINE = 8000  # bytes; HAProxy takes 16 kB a line, less its own
# Seconds after its start at which a process has ended its resync, whoever answered: 5 s for the old process,
# 5 s for the other peers (PEER_RESYNC_TIMEOUT in HAProxy's src/peers.c), and some more.
RESYNC = 12


class Cli(Protocol):
    """A way to a host's UNIX sockets, such as `verify.hosts.Host`; an answer that is broken off is an error."""

    def cli(self, socket: str, commands: Sequence[str]) -> list[str]:
        """Returns the raw answer to each command, one connection a command."""

    def stream(self, socket: str, command: str) -> Iterator[str]:
        """Yields an answer's lines without their ends, as they come."""


class RuntimeApi:
    """Asks the HAProxy of one host; every method raises what `host` raises, and RuntimeApiError."""

    def __init__(self, host: Cli, socket: str = SOCKET) -> None:
        """`socket` is the path of the admin socket on `host`."""
        self._host, self._socket = host, socket

    def ask(self, *commands: str) -> list[str]:
        """Returns HAProxy's raw answer to each command."""
        return self._host.cli(self._socket, commands)

    @property
    def version(self) -> str:
        """HAProxy's version, such as `2.6.12-1+deb12u3`: the running worker's."""
        return self.info()["Version"]

    def info(self) -> dict[str, str]:
        """Returns `show info`: `Pid` is the worker's, `Version` HAProxy's."""
        return parse_info(self.ask("show info")[0])

    def peers(self) -> list[PeersSection] | None:
        """Returns the peers sections; None where this HAProxy has no `show peers` (before 2.0)."""
        text = self.ask("show peers")[0]
        return None if is_unknown(text) else parse_peers(text)

    def in_sync(self, table: str | None = None) -> bool:
        """Whether the process has learnt all it could, in the peers sections that share a table, or in all.

        Before 2.0 nothing tells; then it has once it is RESYNC seconds old.
        """
        sections = self.peers()
        if sections is None:
            return int(self.info()["Uptime_sec"]) >= RESYNC
        return all(section.in_sync for section in sections if table is None or table in section.tables)

    def tables(self) -> list[Table]:
        """Returns the tables' headers."""
        return parse_tables(self.ask("show table")[0])

    def rows(self, table: str, keys: Iterable[str]) -> dict[str, Row]:
        """Returns the rows of these keys, by the key that was asked; a key without a row is left out.

        A row's own key is shorter than the one that was asked where the table's `len` cuts it.

        Raises:
            BadUse: a key that can't be asked, see `askable`.
        """
        wanted = list(keys)
        answers = self.ask(*(f"show table {_word(table)} key {_word(key)} " for key in wanted)) if wanted else []
        found = {key: parse_tables(text) for key, text in zip(wanted, answers, strict=True)}
        return {key: row for key, tables in found.items() for table in tables for row in table.rows}

    def stream_rows(self, table: str) -> Generator[Row, None, None]:
        """Yields a table's rows as they come, however many there are; close it to end before."""
        return parse_rows(self._host.stream(self._socket, f"show table {_word(table)}"))

    def set_row(self, table: str, key: str, server_id: int) -> None:
        """Binds a key to a server by its id, which HAProxy does not check; the row's name is empty until it is hit.

        Raises:
            BadUse: a key that can't be asked, see `askable`.
        """
        command = f"set table {_word(table)} key {_word(key)} data.server_id {server_id}"
        parse_done(f"set table {table}", self.ask(command)[0])

    def set_rows(self, table: str, keys: Iterable[str], server_id: int) -> None:
        """Binds many keys to a server, as `set_row` does one.

        Raises:
            BadUse: a key that can't be asked, see `askable`.
        """
        self._each(f"set table {_word(table)}", keys, f" data.server_id {server_id}")

    def clear(self, table: str, keys: Iterable[str]) -> None:
        """Takes the rows of these keys away, here alone; a key without a row is none to HAProxy 2.2 and later.

        Raises:
            BadUse: a key that can't be asked, see `askable`.
        """
        self._each(f"clear table {_word(table)}", keys, " ")

    def _each(self, command: str, keys: Iterable[str], rest: str) -> None:
        """Runs a command that answers nothing for each key, many on a line: a connection each would take its time.

        Before 1.8 HAProxy leaves the line once a command has nothing to say (seen with 1.6).
        """
        words = [f"{command} key {_word(key)}{rest}" for key in keys]
        old = len(words) > 1 and re.match(r"1\.[0-7]\b", self.version)
        lines: list[list[str]] = [[]]
        for word in words:
            if sum(map(len, lines[-1])) + len(word) > (0 if old else LINE):
                lines.append([])
            lines[-1].append(word)
        for text in self.ask(*("; ".join(line) for line in lines if line)) if words else []:
            parse_done(command, text)

    def requests(self) -> int:
        """Returns how many requests its frontends have had, the runtime API's own left out."""
        return parse_requests(self.ask("show stat -1 1 -1")[0])

    def servers(self, backend: str) -> list[Server]:
        """Returns a backend's servers, in the order of the configuration."""
        text = self.ask(f"show servers state {_word(backend)}")[0]
        if is_unknown(text):  # before 1.6
            return parse_stat(self.ask("show stat -1 4 -1")[0], backend)
        return parse_servers(text)

    def set_server(self, backend: str, server: str, state: Literal["ready", "drain", "maint"]) -> None:
        """Sets a server's administrative state, in this process: a reload forgets it."""
        command = f"set server {_word(backend)}/{_word(server)} state {state}"
        parse_done(command, self.ask(command)[0])


def askable(key: str) -> bool:
    """Whether a key can stand in a command: no line break ends it, and it is not empty."""
    return bool(key) and not re.search(r"[\n\r\0]", key)


def _word(value: str) -> str:
    """Escapes a command's word: a blank would end it, a semicolon the command.

    Where `<<` ends a command, HAProxy waits for more lines: keys are followed by a blank.
    """
    if not askable(value):
        raise BadUse(
            f"{value!r} can't stand in a command of the runtime API: a word has a character, and no line break"
        )
    return re.sub(r"([\\ ;\t])", r"\\\1", value)
