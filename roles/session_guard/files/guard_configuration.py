"""A HAProxy configuration as the session guard reads it: sticky sections, their tables, the lines that they need.

Standard library only, Python 3.9 and up; verify/ has a parser of its own, which is not on the balancers.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field

SECTIONS = (
    *("acme", "backend", "cache", "crt-store", "defaults", "fcgi-app", "frontend", "global", "http-errors", "listen"),
    *("log-forward", "log-profile", "mailers", "peers", "program", "resolvers", "ring", "traces", "userlist"),
)
FIRST = (2, 4)  # variables of the process that threads share, and lua-load
FIRST_WITHOUT_GATE = (2, 0)  # `show peers`, which safe reload, dump and restore ask
FIRST_TO_ASK = (3, 1)  # warns of Lua until tune.lua.bool-sample-conversion is chosen
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400, "": 1e-3}
FOLLOW = "use-server %[var(txn.session_guard_server)] if { var(txn.session_guard_server) -m found }"
NEW = "txn.session_guard_new"
TELL = "http-response lua.session_guard_tell"
MARK = " # session-guard"  # where a line does not name the guard: who takes it off finds all of them
OURS = re.compile(r"session[-_]guard")
MARKED = re.compile(rf"{MARK}\s*(#|$)")
# A word as it is written, with quotes and escapes; nothing for a comment.
WRITTEN = re.compile(r"""#.*|((?:\\.|"(?:\\.|[^"\\])*"|'[^']*'|[^\s\\"'#])+)""")


@dataclass
class Section:
    """A section with its lines, as words and as written; `above` is the defaults section that it stands on."""

    kind: str
    name: str
    above: Section | None = None
    lines: list[list[str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Give the section as its first line names it."""
        return f"{self.kind} {self.name}".strip()

    def all(self, *keyword: str) -> list[list[str]]:
        """Give the lines that begin with these words."""
        return [line for line in self.lines if line[: len(keyword)] == list(keyword)]

    def mode(self) -> str:
        """Give the section's mode, its own or that of the defaults sections that it stands on."""
        section: Section | None = self
        while section:
            if lines := section.all("mode"):
                return lines[-1][1]
            section = section.above
        return "tcp"


@dataclass(frozen=True)
class Table:
    """A stick table that peers share: name as `show table` has it, peers section, declaration, expiry in seconds."""

    name: str
    peers: str
    words: tuple[str, ...]
    expire: float

    def after(self, word: str) -> str:
        """Give the word after a word of the declaration, "" where it is not there."""
        return self.words[self.words.index(word) + 1] if word in self.words[:-1] else ""


@dataclass(frozen=True)
class Pair:
    """An expression in a shared table: what a section looks up before it chooses a server, or stores then."""

    section: str
    expression: str
    table: str
    written: str = field(compare=False)  # the expression with its quotes and escapes: another line needs them too

    def kept(self) -> bool:
        """Whether a process that was replaced keeps the table: HAProxy empties those of proxies alone."""
        return "/" in self.table


def words_of(line: str) -> list[str]:
    """Give the words of a line, quotes and comments taken off."""
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return line.split("#")[0].split()


def expression(stick: list[str]) -> str:
    """Give what the words of a `stick` line look up; a condition takes no converters that are words of their own."""
    end = next((number for number, word in enumerate(stick) if word in ("table", "if", "unless", "")), len(stick))
    return ",".join(stick[2:end])


def seconds(duration: str) -> float:
    """Give a duration of HAProxy's in seconds; 0.0 for what is none."""
    found = re.fullmatch(r"(\d+)(us|ms|s|m|h|d|)", duration)
    return int(found[1]) * SECONDS[found[2]] if found else 0.0


class Configuration:
    """What one haproxy.cfg says of sessions."""

    def __init__(self, text: str) -> None:
        """Read the text of a configuration."""
        self.sections: list[Section] = []
        self._read(text)
        self.tables = {table.name: table for section in self.sections for table in self._tables(section)}
        proxies = [section for section in self.sections if section.kind in ("backend", "listen")]
        self.pairs = self._pairs(proxies, "on", "match")
        self.stored = self._pairs(proxies, "on", "store-request")
        self.issued = self._pairs([section for section in proxies if section.mode() == "http"], "store-response")
        sticking = {self._table_of(section, line) for section in proxies for line in section.all("stick")}
        self.sticky = [table for name, table in self.tables.items() if name in sticking]

    def _read(self, text: str) -> None:
        defaults: dict[str, Section] = {}
        latest = None
        for line in text.splitlines():
            words = words_of(line)
            if not words:
                continue
            if words[0] in SECTIONS:
                name = words[1] if len(words) > 1 else ""
                above = defaults.get(words[words.index("from") + 1]) if "from" in words[:-1] else latest
                if words[0] == "defaults" and "from" not in words:
                    above = None  # it begins anew
                self.sections.append(Section(words[0], name, above))
                if words[0] == "defaults":
                    defaults[name] = latest = self.sections[-1]
            elif self.sections:
                self.sections[-1].lines.append(words)
                self.sections[-1].texts.append(line.strip())

    def _tables(self, section: Section) -> Iterable[Table]:
        for line in section.all("stick-table"):
            if "peers" in line[:-1]:
                yield self._table(section.name, line[line.index("peers") + 1], line[1:])
        for line in section.all("table") if section.kind == "peers" else []:
            yield self._table(f"{section.name}/{line[1]}", section.name, line[2:])

    def _table(self, name: str, peers: str, words: list[str]) -> Table:
        table = Table(name, peers, tuple(words), 0.0)
        return Table(name, peers, tuple(words), seconds(table.after("expire")))

    def _table_of(self, section: Section, stick: list[str]) -> str:
        return stick[stick.index("table") + 1] if "table" in stick[:-1] else section.name

    def _pairs(self, sections: list[Section], *kinds: str) -> list[Pair]:
        """Give what `stick` lines of these kinds name, each once."""
        found = (
            Pair(str(section), expression(line), self._table_of(section, line), expression(WRITTEN.findall(text)))
            for section in sections
            for line, text in zip(section.lines, section.texts)
            if line[0] == "stick" and len(line) > 2 and line[1] in kinds
        )
        return list(dict.fromkeys(pair for pair in found if pair.table in self.tables))

    def section(self, name: str) -> list[Section]:
        """Give the sections of that name; HAProxy reads several of `global` as one."""
        return [section for section in self.sections if str(section) == name]

    def local_peer(self, arguments: list[str], host: str) -> str:
        """Give the local peer's name, as -L, `localpeer` or the host's name tell it."""
        if "-L" in arguments[:-1]:
            return arguments[arguments.index("-L") + 1]
        chosen = [line[1] for section in self.section("global") for line in section.all("localpeer")]
        return chosen[-1] if chosen else host

    # --- the lines ----------------------------------------------------------------------------------

    def needs(
        self, gate: str, socket: str, exempt: str, bounds: dict[str, str], version: tuple[int, ...]
    ) -> dict[str, list[str]]:
        """Give the lines that the gate needs, by section, in their order.

        Args:
            gate: the path of the Lua file.
            socket: the path of the gate's own socket, where HAProxy does not change its root; else it is in that.
            exempt: a condition under which requests never wait, as `{ path_beg /health }`; "" for none.
            bounds: settings of `global`, by keyword, that are needed where none is chosen.
            version: HAProxy's major and minor version.
        """
        if not self.pairs:
            return {}
        lines = [pair for section in self.section("global") for pair in zip(section.lines, section.texts)]
        chosen = {line[0]: line[1] for line, text in lines if len(line) > 1 and not MARKED.search(text)}
        needed: dict[str, list[str]] = {
            "global": [
                f"lua-load {gate}",
                self._stats_socket(socket),
                *(f"{keyword} {value}{MARK}" for keyword, value in bounds.items() if keyword not in chosen),
            ],
        }
        if version >= FIRST_TO_ASK:
            choice = "tune.lua.bool-sample-conversion"
            needed["global"].insert(0, f"{choice} {chosen[choice]}" if choice in chosen else f"{choice} normal{MARK}")
        for section in dict.fromkeys(pair.section for pair in self.pairs + self.issued):
            needed[section] = self._lines(section, exempt)
        return needed

    def _lines(self, section: str, exempt: str) -> list[str]:
        """Give the lines of a sticky section; those of the response can't read the request any more."""
        holding, telling = [], []
        pairs = [pair for pair in self.pairs if pair.section == section]
        for number, pair in enumerate(pairs, 1):
            key = f"txn.session_guard_{number}"
            passes = "var(proc.session_guard)" if pair.kept() else "stopping,not,and(proc.session_guard)"
            holding.append(
                f"http-request lua.session_guard {pair.table} {key}"
                f" if {{ {pair.written},set-var({key}) -m found }}"
                f" !{{ {passes} -m bool }}{exempt and f' !{exempt}'}"
                f" !{{ var({key}),in_table({pair.table}) }}"
            )
            if pair in self.stored:
                telling.append(f"{TELL} {pair.table} {key} if {{ stopping }} {{ var({key}) -m found }}")
        for pair in (pair for pair in self.issued if pair.section == section):
            given = f"{{ {pair.written},set-var({NEW}) -m found }}"
            telling.append(f"{TELL} {pair.table} {NEW} if {{ stopping }} {given}")
        there = "".join(f" !{{ {pair.written},in_table({pair.table}) }}" for pair in pairs if pair.kept())
        return holding + telling + ([] if all(pair.kept() for pair in pairs) else [FOLLOW + there])

    def _stats_socket(self, path: str) -> str:
        """Give the line of the gate's socket: for the worker's user alone, in the root directory that it has.

        An old process writes rows by it, which takes level operator (table_process_entry_per_key in HAProxy's
        src/stick_table.c). When many ask at a time, they wait; without a backlog some would be refused.
        """
        last = {line[0]: line[1] for section in self.section("global") for line in section.lines if len(line) == 2}
        place = f"{last['chroot'].rstrip('/')}/{path.rpartition('/')[2]}" if "chroot" in last else path
        user = next((f" {word} {last[word]}" for word in ("user", "uid") if word in last), "")
        return f"stats socket {place}{user} mode 600 level operator backlog 1024"

    def lacks(self, needed: dict[str, list[str]]) -> list[str]:
        """Say which of the needed lines are missing, in the wrong order, or of another release of the guard."""
        said = []
        for name, lines in needed.items():
            there = [line for section in self.section(name) for line in section.lines]
            wanted = [words_of(line) for line in lines]
            missing = [line for line, words in zip(lines, wanted) if words not in there]
            said += [f"{name}: missing: {line}" for line in missing]
            found = [line for line in there if line in wanted]
            if not missing and found[: len(wanted)] != wanted:
                said.append(f"{name}: the guard's lines are there in another order; theirs is the one of `lines`")
        return said + [
            f"{name}: outdated: {line}"
            for name, line in self.ours()
            if words_of(line) not in [words_of(other) for other in needed.get(name, [])]
        ]

    def ours(self) -> list[tuple[str, str]]:
        """Give the lines that name the guard or have its mark, each with its section."""
        return [
            (str(section), text)
            for section in self.sections
            for words, text in zip(section.lines, section.texts)
            if OURS.search(" ".join(words)) or MARKED.search(text)
        ]

    def unserved(self, version: tuple[int, ...], lua: bool, master: bool, gate: bool) -> list[str]:
        """Say what the guard can't serve.

        Args:
            version: HAProxy's major and minor version.
            lua: whether it was built with Lua.
            master: whether the unit's arguments give it a master socket.
            gate: whether requests are to be held, which takes more than the rest.
        """
        said = []
        first = FIRST if gate else FIRST_WITHOUT_GATE
        if version < first:
            said.append(f"HAProxy {'.'.join(map(str, version))}: the guard needs {'.'.join(map(str, first))} or later")
        elif gate and not lua:
            said.append("this HAProxy was built without Lua (`haproxy -vv`), which the gate is written in")
        if not master:
            said.append("the unit's arguments have no -S PATH: the guard asks by the master socket; give it one")
        for name in dict.fromkeys(pair.section for pair in self.pairs if gate):
            if self.section(name)[0].mode() != "http":
                said.append(f"{name}: `stick on|match` in mode tcp, where nothing can hold a request; set mode http")
        for name in dict.fromkeys(table.peers for table in self.sticky):
            if any(section.all("shards") for section in self.section(f"peers {name}")):
                said.append(f"peers {name}: with `shards` no balancer has every row; leave them out")
        said += [
            f"table {t.name}: `recv-only` teaches nobody; leave it out" for t in self.sticky if "recv-only" in t.words
        ]
        if not self.pairs:
            said.append(
                "no backend or listen section has `stick on|match` with a table that peers share: nothing to guard"
            )
        return said

    # --- what a reload can't hand over --------------------------------------------------------------

    def changes(self, new: Configuration, local: str) -> tuple[list[str], dict[str, str]]:
        """Say what the old worker can't hand over to a new one with that configuration; give old table -> new one."""
        said, carried = [], {}
        gone = [table for table in self.sticky if table.name not in new.tables]
        come = [table for table in new.sticky if table.name not in self.tables]
        if len(gone) == len(come) == 1:
            carried[gone[0].name] = come[0].name
            said.append(f"table {gone[0].name} is now {come[0].name}")
        else:
            said += [f"table {table.name} is no more; its rows go with it" for table in gone]
        for table in (table for table in self.sticky if table.name in new.tables):
            other = new.tables[table.name]
            for word in ("type", "len"):
                if table.after(word) != other.after(word):
                    carried[table.name] = table.name
                    said.append(
                        f"table {table.name}: {word} {table.after(word) or 'none'} is now {other.after(word) or 'none'}"
                    )
            if self._local(table.peers, local) != new._local(other.peers, local):
                carried[table.name] = table.name
                said.append(f"peers {other.peers}: the local peer {local} has another address, or other parameters")
        return list(dict.fromkeys(said)), carried

    def _local(self, peers: str, local: str) -> list[list[str]]:
        """Give the lines that say how the old worker reaches the new one."""
        lines = [line for section in self.section(f"peers {peers}") for line in section.lines]
        return [
            line
            for line in lines
            if line[0] in ("bind", "default-bind", "default-server")
            or (line[0] in ("peer", "server") and line[1:2] == [local])
        ]
