"""A dump of the shared tables: written from the running HAProxy, merged, and restored to it; a row at a time.

A text file: a line of JSON, then a line for each row: table, server's name (or #id), time of expiry, key. Times are
seconds of the epoch. Keys are session ids: the file is root's alone, and no message has one.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import haproxy_peers
from guard_configuration import Table

VERSION = 1
NEVER = 9_999_999_999  # a time of expiry


def rows(table: str, pause: float) -> Iterator[tuple[str, int, str]]:
    """Give server, expiry and key of each row of a table that binds a server.

    A row of another backend that shares the table can have a name that only that one knows: then its id counts.

    Raises:
        haproxy_peers.PeersError: the running HAProxy has no such table.
    """
    servers = haproxy_peers.servers_of(haproxy_peers.ask_worker("show stat"))
    own = {*haproxy_peers.server_names(table, servers).values()}
    now = time.time()
    for key, server, number, left in haproxy_peers.rows_of_table(table, servers, pause):
        yield server if server in own else f"#{number}", int(now + left / 1000) if left else NEVER, key


def write(file: Path, tables: Iterable[Table], peer: str, pause: float = 0, durable: bool = True) -> dict[str, int]:
    """Write a dump, which replaces `file` once it is whole; give the rows of each table.

    Args:
        file: the dump.
        tables: those to write.
        peer: the local peer's name.
        pause: seconds after each part of a table, for the sake of live traffic.
        durable: whether it outlives a crash; a unit with SystemCallFilter=~@sync is killed for that.

    Raises:
        OSError: HAProxy does not answer, or the disk is full; `file` is as before.
    """
    tables = list(tables)
    known = {table.name: {"expire": table.expire, "rows": 0} for table in tables}
    head = {
        "version": VERSION,
        "haproxy": haproxy_peers.running_version(),
        "time": int(time.time()),
        "peer": peer,
        "tables": known,
    }
    room = len(json.dumps(head)) + 16 * len(tables)  # for the figures, which come last
    temporary = file.with_name(f".{file.name}.new")
    temporary.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as text:
            text.write(" " * room + "\n")
            for name in known:
                count = 0
                for server, expiry, key in rows(name, pause):
                    text.write(f"{name} {server} {expiry} {key}\n")
                    count += 1
                known[name]["rows"] = count
            text.flush()
            text.seek(0)
            text.write(json.dumps(head).ljust(room))
            text.flush()
            if durable:
                os.fsync(text.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(file)
    return {name: int(found["rows"]) for name, found in known.items()}


def head_of(file: Path) -> dict[str, Any]:
    """Give the first line of a dump.

    Raises:
        ValueError: it is none, or of another version.
    """
    try:
        with file.open(encoding="utf-8", errors="replace") as text:
            head: dict[str, Any] = json.loads(text.readline())
        version = head["version"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{file} is no dump of the session guard") from None
    if version != VERSION:
        raise ValueError(f"{file} is a dump of version {version}; this program reads {VERSION}")
    return head


def read(files: list[Path], expires: Mapping[str, float] | None = None) -> Iterator[tuple[str, str, int, str]]:
    """Give table, server, expiry and key of each row that has not expired; of several dumps the one that lasts longest.

    Rows of several dumps are brought together by sort(1), which needs no memory for them.

    Args:
        files: dumps.
        expires: after how many seconds a table's rows expire now, by its name in the dumps; 0 for never. Of an older
            dump its rows are left out.
    """
    now = time.time()
    ages = [now - head_of(file)["time"] for file in files]
    old = [{name for name, expire in (expires or {}).items() if 0 < expire < age} for age in ages]
    for line in sorted_lines(files, old) if len(files) > 1 else lines_of(files[0], old[0]):
        table, server, expiry, key = line.split(" ", 3)
        if int(expiry) > now:
            yield table, server, int(expiry), key.rstrip("\n")


def lines_of(file: Path, old: set[str]) -> Iterator[str]:
    """Give the lines of a dump's rows, but for those of old tables; one that a disk has spoilt keeps no other back."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        next(lines)
        yield from (line for line in lines if line.partition(" ")[0] not in old)


def sorted_lines(files: list[Path], old: list[set[str]]) -> Iterator[str]:
    """Give one line for each row of several dumps: by table and key, of each the longest-lasting row.

    Args:
        files: dumps.
        old: of each one the tables that are left out.

    Raises:
        OSError: sort(1) failed.
    """
    # Each line with its file's number before it. Sorted beside the dumps: /tmp may be in memory.
    command = """export LC_ALL=C; for file; do n=$((n + 1)); tail -n +2 -- "$file" | sed "s/^/$n /"; done |
        sort -T "$(dirname -- "$1")" -t ' ' -k2,2 -k5 -k4,4n"""
    with subprocess.Popen(
        ["sh", "-c", command, "sh", *map(str, files)], stdout=subprocess.PIPE, encoding="utf-8", errors="replace"
    ) as sort:
        numbered = (line.split(" ", 1) for line in sort.stdout or [])
        yield from latest(line for number, line in numbered if line.partition(" ")[0] not in old[int(number) - 1])
        if sort.wait():
            raise OSError("sort(1) failed")


def latest(lines: Iterable[str]) -> Iterator[str]:
    """Give the last line of those that follow each other with one table and key."""
    before, kept = ("", ""), ""
    for line in lines:
        table, _, _, key = line.split(" ", 3)
        if kept and before != (table, key):
            yield kept
        before, kept = (table, key), line
    if kept:
        yield kept


def restore(files: list[Path], tables: dict[str, Table], missing_only: bool, over: bool = False) -> dict[str, int]:
    """Bind the keys of dumps to their servers again; count rows: restored, there, odd, gone, expired, refused.

    Args:
        files: dumps.
        tables: the table that each one's rows go to, by its name in the dumps; others are left out.
        missing_only: whether rows that are there stay; the table is read for it.
        over: whether rows may be there that have to give way.
    """
    lasting = read(files, {name: table.expire for name, table in tables.items()})
    wanted = ((name, server, key) for name, server, _, key in lasting if name in tables)
    return bind(wanted, tables, missing_only, over)


def send_on(tables: dict[str, Table], seconds: float) -> None:
    """Have the running process send the rows that were used within the last seconds to its peers.

    What an old worker writes in its last moments it may have told the new one alone, and a process does not send on
    what it was taught (stktable_touch_with_exp in HAProxy's src/stick_table.c): other balancers would not know such a
    session before it is used again. A row that is written by hand is the process's own.
    """

    def fresh() -> Iterator[tuple[str, str, str]]:
        for name, table in tables.items():
            if table.expire:
                oldest = int(time.time() + table.expire - seconds)
                yield from ((name, server, key) for server, expiry, key in rows(table.name, 0) if expiry >= oldest)

    bind([*fresh()], tables)


def bind(
    wanted: Iterable[tuple[str, str, str]], tables: dict[str, Table], missing_only: bool = False, over: bool = False
) -> dict[str, int]:
    """Bind keys to servers, each given by table, server and key; arguments and counts as those of `restore`."""
    counts = dict.fromkeys(("restored", "there", "odd", "gone", "refused"), 0)
    servers = haproxy_peers.servers_of(haproxy_peers.ask_worker("show stat"))
    ids = {
        (name, server): number
        for name, table in tables.items()
        for number, server in haproxy_peers.server_names(table.name, servers).items()
    }
    there = {
        name: {key for _, _, key in rows(table.name, 0)} if missing_only else set() for name, table in tables.items()
    }
    direct = haproxy_peers.admin_socket()
    running = haproxy_peers.running_version()
    line = haproxy_peers.LINE if haproxy_peers.parts(running) >= (1, 8) else 0

    def commands() -> Iterator[str]:
        for name, server, key in wanted:
            number = ids.get((name, server)) or int(server[1:] if server.startswith("#") else 0)
            if key in there[name]:
                counts["there"] += 1
            elif not haproxy_peers.can_be_given_back(key, running):
                counts["odd"] += 1
            elif not number:
                counts["gone"] += 1
            else:
                counts["restored"] += 1
                yield from haproxy_peers.bind(tables[name].name, key, number, over)

    # Where most rows are there, little is to be sent for long: all of it is put together before.
    batches = haproxy_peers.batches([*commands()] if missing_only else commands(), line)
    # An answer can have a key in it: only how many there are is of interest.
    if direct:
        refused = len(haproxy_peers.ask_all(map(";".join, batches), direct))
    else:
        refused = sum(len([*filter(str.strip, haproxy_peers.ask_worker(*batch).splitlines())]) for batch in batches)
    counts["refused"] = min(refused, counts["restored"])
    counts["restored"] -= counts["refused"]
    return counts


def figures(counts: dict[str, int]) -> str:
    """Put the counts of a restore into words."""
    words = {
        "restored": "{} rows",
        "there": "{} were there",
        "odd": "{} whose key can't be given back",
        "gone": "{} whose server is no more",
        "refused": "{} refused by HAProxy",
    }
    return ", ".join(
        text.format(counts[name]) for name, text in words.items() if counts.get(name) or name == "restored"
    )
