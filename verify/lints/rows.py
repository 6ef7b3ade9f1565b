"""Lints of the rows: whether they reach the other balancers, as far as a sample shows."""

from collections.abc import Iterator
from itertools import combinations

from verify.lints.lint import Hit, lint, lint_each, readable
from verify.seen import Comparison, Seen
from verify.topology import Topology

# Characters. A session's id of fewer is hardly random enough, so it is one that `len` cuts.
SHORT_KEY = 16


@lint_each(
    "risky",
    "A table's rows can't be read: the socket is one of level user, or the table's type is binary, whose keys HAProxy"
    " takes from nobody.",
    "Give the path of a socket of level operator or admin; judge a binary table by requests (sticky-verify run).",
    blind=True,
)
def rows_not_readable(seen: Seen) -> Iterator[str]:
    """Whether rows can be sampled."""
    for table, why in seen.unread.items():
        yield f"{table}: {why}"


@lint(
    "risky",
    "Nothing shows whether a shared table is the same on two balancers: no row was compared, and none was sent yet.",
    "Look again when there are sessions: a table of another type or len is seen by its rows alone.",
    blind=True,
)
def nothing_to_compare(seens: list[Seen], topology: Topology | None) -> Iterator[Hit]:
    """Whether there is a sign that each shared table works."""
    for seen, other in combinations(readable(seens), 2):
        for name in _unsent(seen, other):
            if not any(done.asked for done in _compared(seen, other, name)):
                yield None, f"{name} on {seen.balancer} and {other.balancer}"


@lint(
    "wrong",
    "Two balancers have a session, and neither has ever taken a row of the other's table (remote_id=0), though one has"
    " rows that the other lacks: the tables differ in type or len.",
    "Give the table the same type and len on all balancers.",
)
def table_not_agreed(seens: list[Seen], topology: Topology | None) -> Iterator[Hit]:
    """Whether peers that talk agree on each table: after a reload remote_id is 0 too, until the next row comes."""
    for seen, other in combinations(readable(seens), 2):
        talking = [peer.established for peer in (seen.peer(other), other.peer(seen)) if peer]
        for name in _unsent(seen, other) if talking == [True, True] else ():
            if missing := sum(done.missing for done in _compared(seen, other, name)):
                yield (
                    None,
                    f"{name}: remote_id=0 on {seen.balancer} and {other.balancer}, and {missing} rows are missing",
                )


@lint(
    "risky",
    "A peer never sent a row of a table (remote_id=0). Perhaps it had none to send since a reload; or its table has"
    " another type or len, and nothing is shared.",
    "Look at all balancers at once: then their rows are compared.",
)
def remote_id_zero(seens: list[Seen], topology: Topology | None) -> Iterator[Hit]:
    """Whether the tables of peers that were not looked at are known."""
    looked_at = {name for seen in readable(seens) for name in seen.local_names}
    for seen in readable(seens):
        for peer in seen.remote:
            if peer.established and peer.name not in looked_at:
                for name, remote_id in peer.remote_ids.items():
                    if remote_id == 0 and (table := seen.table(name)) and table.used:
                        yield seen.balancer, f"{peer.name}: remote_id=0 for {name}, which holds {table.used} rows"


@lint_each(
    "wrong",
    "Rows are missing on another balancer, which would send these sessions elsewhere.",
    "If all are missing, mend the peers; if some are: a smaller size, a shorter expire, a cleared table, or a reload"
    " before the process was in sync.",
)
def rows_missing(seen: Seen) -> Iterator[str]:
    """Whether sampled rows are on the other balancers."""
    for done in seen.compared:
        if done.missing:
            yield f"{done.missing} of {done.asked} sampled rows of {done.table} are missing on {done.other}"


@lint_each(
    "wrong",
    "Two balancers bind the same session to different servers: it changes its server with its balancer.",
    "If many differ: give the servers the same names and ids on all balancers. A few are HAProxy's own, where two"
    " balancers met a new session in one instant: its next request mends it.",
)
def rows_differ(seen: Seen) -> Iterator[str]:
    """Whether sampled rows name the same server on the other balancers."""
    for done in seen.compared:
        if done.differ:
            yield f"{done.differ} of {done.asked} sampled rows of {done.table} name another server on {done.other}"


@lint_each(
    "risky",
    "The same rows live clearly longer on one balancer than on the other: expire differs.",
    "Give the table the same expire on all balancers.",
)
def expire_differs(seen: Seen) -> Iterator[str]:
    """Whether sampled rows live equally long on the other balancers; expire itself can't be read."""
    for done in seen.compared:
        if done.lives_differ > (done.asked - done.missing) / 2:
            yield f"{done.lives_differ} of {done.asked} sampled rows of {done.table} live otherwise on {done.other}"


@lint_each(
    "risky",
    "A table has no expire: sessions stay until it is full, and then the oldest ones are forgotten, live or not.",
    "Give the table an expire, somewhat longer than the application's sessions live.",
)
def no_expire(seen: Seen) -> Iterator[str]:
    """Whether sampled rows will ever expire."""
    for table, rows in seen.samples.items():
        if rows and all(row.expire_ms == 0 for row in rows):
            yield f"{table}: exp=0 in all {len(rows)} sampled rows"


@lint_each(
    "risky",
    "All keys are equally long, and too short for a session's id: the table's len cuts them, and sessions that begin"
    " alike share a row and a server.",
    "Give the table a len of at least the cookie's length; without one it is 32.",
)
def short_keys(seen: Seen) -> Iterator[str]:
    """Whether `len` seems to cut keys; it can't be read itself."""
    for name, rows in seen.samples.items():
        table, lengths = seen.table(name), {len(row.key) for row in rows}
        if table and table.type == "string" and len(rows) > 1 and len(lengths) == 1 and max(lengths) < SHORT_KEY:
            yield f"{name}: all {len(rows)} sampled keys have {max(lengths)} characters"


@lint(
    "note",
    "The runtime API does not tell a table's len and expire, nor the cookie's name: only what comes of them is seen.",
    "Compare the configurations, or judge by requests (sticky-verify run).",
)
def not_visible(seens: list[Seen], topology: Topology | None) -> Iterator[Hit]:
    """What no look can see."""
    if readable(seens):
        yield None, "len, expire and the cookie's name are not visible through the runtime API"


def _unsent(seen: Seen, other: Seen) -> Iterator[str]:
    """Gives the sticky tables that both share and of which neither has sent the other a row over this connection."""
    here, there = seen.peer(other), other.peer(seen)
    for name in sorted(seen.shared & other.shared & {table.name for table in seen.sticky + other.sticky}):
        if not any(peer and peer.remote_ids.get(name) for peer in (here, there)):
            yield name


def _compared(seen: Seen, other: Seen, table: str) -> Iterator[Comparison]:
    for one, two in ((seen, other), (other, seen)):
        yield from (done for done in one.compared if (done.table, done.other) == (table, two.balancer))
