r"""Configuration: haproxy.cfg, as far as sticky sessions hang on it. Pure.

Both what should stand on a balancer (`verify.inventory`) and what does (`verify.inspection`) is read
by it. The grammar is that of HAProxy's configuration manual: 2.2 quoting, 2.5 times, 2.6 sizes.
What HAProxy itself refuses is not found here: a text that means nothing is a `ValueError`.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from verify.topology import Peer, Server, Table

# What begins a section, and the lines that are read here; roles/haproxy/vars/main/main.yml lists the same.
SECTIONS = (
    *("global", "defaults", "peers", "frontend", "backend", "listen", "userlist", "resolvers", "mailers", "program"),
    *("cache", "http-errors", "ring", "log-forward", "log-profile", "fcgi-app", "crt-store", "traces", "acme"),
)
LINES = (
    *("stats socket", "bind", "peer", "server", "server-template", "table", "stick", "stick-table"),
    *("default_backend", "use_backend"),
)
_NOT_TCP = ("/", "unix@", "abns@", "abnsz@", "fd@", "sockpair@", "quic4@", "quic6@", "udp@", "udp4@", "udp6@")
_COOKIE = re.compile(r"cook(?:ie)?\(([^()]+)\)")
DEFAULT_LENGTH = 32  # of a string or binary key without `len` (stktable_types in src/stick_table.c)


@dataclass(frozen=True)
class Section:
    """One section: its kind (`backend`), its name, and its lines, split into words."""

    kind: str
    name: str
    lines: list[list[str]]

    def values(self, keyword: str) -> Iterator[list[str]]:
        """Yields what follows the keyword, for each line that begins with it."""
        words = keyword.split()
        return (line[len(words) :] for line in self.lines if line[: len(words)] == words)


class Configuration:
    """A whole configuration. Conditions (`.if`) are not followed, environment variables not known."""

    def __init__(self, text: str) -> None:
        """Reads `text`; a quote that does not end is a ValueError."""
        self.sections: list[Section] = []
        for row in text.splitlines():
            words = shlex.split(row, comments=True)
            if words and words[0] in SECTIONS:
                self.sections.append(Section(words[0], words[1] if len(words) > 1 else "", []))
            elif words and self.sections:
                self.sections[-1].lines.append(words)

    def of(self, *kinds: str) -> list[Section]:
        """Returns the sections of these kinds."""
        return [section for section in self.sections if section.kind in kinds]

    def admin_socket(self) -> str | None:
        """Returns the path of the admin socket, or of another that there is; None without one."""
        sockets = [words for section in self.of("global") for words in section.values("stats socket") if words]
        sockets.sort(key=lambda words: "admin" not in words)
        paths = (words[0].removeprefix("unix@") for words in sockets)
        return next((path for path in paths if path.startswith("/")), None)

    def sticky(self) -> list[Section]:
        """Returns the sections that have stick rules."""
        return [section for section in self.of("backend", "listen") if any(section.values("stick"))]

    def section(self, name: str) -> Section:
        """Returns the backend, or listen section, of this name.

        Raises:
            ValueError: there is none.
        """
        for section in self.of("backend", "listen"):
            if section.name == name:
                return section
        raise ValueError(f"there is no backend {name!r}")

    def ports(self, backend: str) -> tuple[int, ...]:
        """Returns the TCP ports of what leads to a backend, by its name or by a name worked out for each request."""
        ports: list[int] = []
        for section in self.of("frontend", "listen"):
            targets = [words[0] for key in ("use_backend", "default_backend") for words in section.values(key) if words]
            if section.name == backend or any(target == backend or "%[" in target for target in targets):
                ports += [port for words in section.values("bind") if words for port in _ports(words[0])]
        return tuple(dict.fromkeys(ports))

    def table(self, backend: str) -> Table:
        """Returns the stick table of a backend's stick rules, which may be another section's.

        Raises:
            ValueError: there is no such backend or table, or a size or time that is none.
        """
        own = self.section(backend)
        name = next((named for rule in own.values("stick") if (named := _after(rule, "table"))), backend)
        section, _, table = name.rpartition("/")  # a table of a peers section is PEERS/TABLE
        for place in self.of("peers") if section else self.of("backend", "listen", "frontend"):
            if not section and place.name == name:
                for words in place.values("stick-table"):
                    return _table(name, words, _after(words, "peers"))
            for words in place.values("table") if section and place.name == section else ():
                if words[0] == table:
                    return _table(name, words, section)
        raise ValueError(f"backend {backend!r} has no stick-table")

    def cookies(self, backend: str) -> list[str]:
        """Returns the cookies that a backend's stick rules read, each once."""
        rules = [" ".join(rule) for rule in self.section(backend).values("stick")]
        return list(dict.fromkeys(name for rule in rules for name in _COOKIE.findall(rule)))

    def servers(self, backend: str) -> tuple[Server, ...]:
        """Returns a backend's servers; port 0 where the line has none.

        Raises:
            ValueError: there is no such backend, or it has servers that only the running process knows.
        """
        section = self.section(backend)
        if any(section.values("server-template")):
            raise ValueError(f"backend {backend!r} has a server-template, whose servers only the process knows")
        servers = []
        for name, address, *parameters in section.values("server"):
            host, port = _endpoint(address)
            number = _after(parameters, "id")
            servers.append(Server(name=name, address=host, port=port, id=int(number) if number else None))
        return tuple(servers)

    def peers(self, section: str) -> tuple[Peer, ...]:
        """Returns the peers of a peers section, none if there is no such section.

        Raises:
            ValueError: a peer without an address.
        """
        peers = []
        for place in self.of("peers"):
            for words in (*place.values("peer"), *place.values("server")) if place.name == section else ():
                host, port = _endpoint(words[1]) if len(words) > 1 else ("", 0)
                if not host or not port:
                    raise ValueError(f"peer {words[0]!r} of {section!r} has no address and port (haproxy_peer_address)")
                peers.append(Peer(name=words[0], address=host, port=port))
        return tuple(peers)


def _table(name: str, words: list[str], peers: str | None) -> Table:
    kind, size = _after(words, "type"), _after(words, "size")
    if not kind or not size:
        raise ValueError(f"table {name!r} has no type or no size")
    length, expire = _after(words, "len"), _after(words, "expire")
    return Table(
        name=name,
        type=kind,
        size=size_of(size),
        len=(int(length) if length else DEFAULT_LENGTH) if kind in ("string", "binary") else None,
        expire_ms=milliseconds(expire) if expire else None,
        peers=peers,
    )


def size_of(text: str) -> int:
    """Reads a size such as `1m`: 1048576 (parse_size_err() in src/tools.c).

    Raises:
        ValueError: it is none.
    """
    if not (found := re.fullmatch(r"(\d+)([kmg]?)", text, re.IGNORECASE)):
        raise ValueError(f"{text!r} is no size: a number, with k, m or g")
    return int(found[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[found[2].lower()]


def milliseconds(text: str) -> int:
    """Reads a time such as `30m`; a number alone is milliseconds (parse_time_err() in src/tools.c).

    Raises:
        ValueError: it is none.
    """
    if not (found := re.fullmatch(r"(\d+)(us|ms|s|m|h|d)?", text)):
        raise ValueError(f"{text!r} is no time: a number, with us, ms, s, m, h or d")
    number, unit = int(found[1]), found[2] or "ms"
    if unit == "us":
        return -(-number // 1000)
    return number * {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}[unit]


def _after(words: list[str], keyword: str) -> str | None:
    """Returns the word after a keyword, None without that keyword."""
    return words[words.index(keyword) + 1] if keyword in words[:-1] else None


def _endpoint(text: str) -> tuple[str, int]:
    """Splits ADDRESS:PORT at its last colon, as HAProxy does with IPv6 too; port 0 without one."""
    text = re.sub(r"^ipv[46]@", "", text)
    found = re.fullmatch(r"(.*):\+?(\d+)", text)
    return (found[1].strip("[]"), int(found[2])) if found else (text.strip("[]"), 0)


def _ports(bind: str) -> Iterator[int]:
    for address in bind.split(","):
        found = re.search(r":(\d+)(?:-(\d+))?$", address)
        if found and not address.startswith(_NOT_TCP):
            yield from range(int(found[1]), int(found[2] or found[1]) + 1)
