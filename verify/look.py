"""Look: reads running balancers and judges what it sees. It sends no HTTP request and changes nothing."""

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice, permutations

import msgspec

from verify.errors import BadUse, RuntimeApiError, VerifyError
from verify.lints import Finding, lints, verdict
from verify.runtime_api import RuntimeApi, askable
from verify.seen import Comparison, Seen
from verify.table_text import Row
from verify.topology import Topology
from verify.verdict import Verdict

ROWS = 200
# Seconds: two balancers may differ for an instant, and a peer may just be connecting anew.
AGAIN = 1.0
# A row's two lives, in ms: read one after the other, and hit in between, they differ a little.
LIFE_SLACK, LIFE_SHARE = 5_000, 0.1


class PeerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A peer as a balancer sees it; `status` is `verify.peers_text.Peer.last_status`."""

    section: str
    name: str
    local: bool
    address: str
    status: str
    established: bool


class TableFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A table of a balancer; `sampled` counts the rows that were read, `compared` what came of them."""

    name: str
    type: str
    size: int
    used: int
    shared: bool
    sampled: int
    compared: list[Comparison]


class BalancerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of one balancer.

    Attributes:
        error: why nothing could be read.
        version: HAProxy's.
        uptime: the worker's, in seconds.
        in_sync: whether every peers section has learnt all it could; None without a section.
    """

    name: str
    error: str | None = None
    version: str | None = None
    uptime: int | None = None
    in_sync: bool | None = None
    tables: list[TableFacts] = []
    peers: list[PeerFacts] = []


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What a look came to. The findings are in order: wrong, risky, notes."""

    verdict: Verdict
    findings: list[Finding]
    balancers: list[BalancerFacts]


def look(
    apis: Mapping[str, RuntimeApi], topology: Topology | None = None, rows: int = ROWS, again: float = AGAIN
) -> Look:
    """Looks at balancers; where all is not well, it looks again a little later, and that counts.

    Args:
        apis: by the balancers' names.
        topology: what should be running, as far as that is known.
        rows: how many rows of each table are compared at most.
        again: how many seconds later.

    Raises:
        BadUse: there is no balancer to look at.
    """
    if not apis:
        raise BadUse("there is no balancer to look at: name one")
    seens = _look_once(apis, rows, again)
    findings = lints(seens, topology)
    if verdict(findings) is not Verdict.PASS:
        time.sleep(again)
        seens = _look_once(apis, rows, again)
        findings = lints(seens, topology)
    return Look(verdict=verdict(findings), findings=findings, balancers=[_facts(seen) for seen in seens])


def _look_once(apis: Mapping[str, RuntimeApi], rows: int, again: float) -> list[Seen]:
    return compare([collect(name, api, rows) for name, api in apis.items()], apis, again)


def collect(name: str, api: RuntimeApi, rows: int = ROWS) -> Seen:
    """Reads one balancer: its process, tables and peers, and the first rows of each table."""
    try:
        seen = Seen(name, info=api.info(), tables=api.tables(), sections=api.peers())
    except VerifyError as error:
        return Seen(name, error=str(error))
    for table in (table for table in seen.tables if table.used):
        try:
            with closing(api.stream_rows(table.name)) as read:
                seen.samples[table.name] = [row for row in islice(read, rows) if row.server_id]
        except VerifyError as error:
            seen.unread[table.name] = _without_keys(error)
    return seen


def _without_keys(error: VerifyError) -> str:
    """Returns why rows can't be read; of a text that may be a row nothing is repeated."""
    if not isinstance(error, RuntimeApiError):
        return str(error)
    return error.text.strip("# \n") if error.text.startswith("# ") else "a row can't be read"


def compare(seens: list[Seen], apis: Mapping[str, RuntimeApi], again: float = AGAIN) -> list[Seen]:
    """Asks balancers for each other's sampled rows, and again after `again` seconds where they disagree.

    A row that is gone by then where it was sampled is not counted.
    """
    unread = {seen.balancer: dict(seen.unread) for seen in seens}
    compared: dict[str, list[Comparison]] = {seen.balancer: [] for seen in seens}

    def ask(balancer: str, table: str, rows: list[Row]) -> dict[str, Row]:
        try:
            found = apis[balancer].rows(table, [row.key for row in rows])
        except VerifyError:  # its text may hold a key
            unread[balancer][table] = "rows can't be asked for by their keys"
            return {}
        return {key: row for key, row in found.items() if row.key == key}  # another row, where `len` cuts the key

    questions = list(_questions(seens))
    answers = [ask(question.there, question.table, question.rows) for question in questions]
    doubts = [question.doubts(answer) for question, answer in zip(questions, answers, strict=True)]
    if any(doubts):
        time.sleep(again)
    for question, answer, doubt in zip(questions, answers, doubts, strict=True):
        here, there = (ask(balancer, question.table, doubt) for balancer in (question.here, question.there))
        if question.table not in unread[question.here] | unread[question.there]:
            compared[question.here].append(question.compared(answer, here, there))
    return [replace(seen, unread=unread[seen.balancer], compared=compared[seen.balancer]) for seen in seens]


@dataclass(frozen=True)
class _Question:
    """The rows of a table that were sampled here, to be asked for there."""

    here: str
    there: str
    table: str
    rows: list[Row]

    def doubts(self, answer: dict[str, Row]) -> list[Row]:
        """Returns the rows that are not there, or bind another server there."""
        return [row for row in self.rows if row.key not in answer or not _agree(row, answer[row.key])]

    def compared(self, answer: dict[str, Row], here: dict[str, Row], there: dict[str, Row]) -> Comparison:
        """Counts the first answer, and the second one of both sides on what was in doubt."""
        return Comparison(
            table=self.table,
            other=self.there,
            asked=len(self.rows),
            missing=sum(key not in there for key in here),
            differ=sum(key in there and not _agree(row, there[key]) for key, row in here.items()),
            lives_differ=sum(_lives_differ(row, answer[row.key]) for row in self.rows if row.key in answer),
        )


def _questions(seens: list[Seen]) -> Iterator[_Question]:
    for seen, other in permutations(seens, 2):
        for name in sorted(seen.shared & other.shared & seen.samples.keys()):
            here, there = seen.table(name), other.table(name)
            rows = [row for row in seen.samples[name] if askable(row.key)]
            if rows and here and there and here.type == there.type and name not in other.unread:
                yield _Question(seen.balancer, other.balancer, name, rows)


def _agree(one: Row, other: Row) -> bool:
    """Whether two rows bind the same server: by name, as HAProxy's peers do, else by id."""
    return one.server == other.server if one.server and other.server else one.server_id == other.server_id


def _lives_differ(one: Row, other: Row) -> bool:
    longest = max(one.expire_ms, other.expire_ms)
    return abs(one.expire_ms - other.expire_ms) > max(LIFE_SLACK, LIFE_SHARE * longest)


def _facts(seen: Seen) -> BalancerFacts:
    if seen.error:
        return BalancerFacts(name=seen.balancer, error=seen.error)
    return BalancerFacts(
        name=seen.balancer,
        version=seen.info.get("Version"),
        uptime=seen.uptime,
        in_sync=all(section.in_sync for section in seen.sections) if seen.sections else None,
        tables=[
            TableFacts(
                name=table.name,
                type=table.type,
                size=table.size,
                used=table.used,
                shared=table.name in seen.shared,
                sampled=len(seen.samples.get(table.name, [])),
                compared=[done for done in seen.compared if done.table == table.name],
            )
            for table in seen.tables
        ],
        peers=[
            PeerFacts(
                section=section.name,
                name=peer.name,
                local=peer.local,
                address=peer.address,
                status=peer.last_status,
                established=peer.established,
            )
            for section in seen.sections or []
            for peer in section.peers
        ],
    )
