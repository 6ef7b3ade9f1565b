"""History: what a run did and saw, one JSON line a record. Pure but for `Journal` and `History.read`.

Doing writes a history, judging reads it (`verify.invariants`). Times are nanoseconds of the
verifier's monotonic clock since the run began, unless a name says `wall`; a host's own clock never
stands in a history but as a difference of two of its readings.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import msgspec

from verify.errors import HistoryError

FORMAT = 1
SECOND = 1_000_000_000  # ns

Outcome = Literal["ok", "fail", "info"]


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """What all records share: the field `type` in JSON, which is the class's name in lower case."""


class Header(Record, frozen=True, kw_only=True, tag="header"):
    """The first line of a history.

    Attributes:
        run: the run directory's name.
        scenario: the scenario's name.
        invariants: the names of those that the scenario checks.
        seed: decides sessions, orders and random faults.
        arguments: the command line, without the program.
        topology: `verify.topology.Topology` as JSON.
        versions: HAProxy's version, by balancer.
        kinds: what each host is: `container`, `vm` or `host`.
        wall_ns: the wall clock at the run's beginning, since 1970.
        settle_ns: after this time an answered request is known to every balancer.
    """

    format: int = FORMAT
    run: str
    scenario: str
    invariants: list[str]
    seed: int
    arguments: list[str]
    topology: dict[str, Any]
    versions: dict[str, str]
    kinds: dict[str, str]
    wall_ns: int
    settle_ns: int = SECOND


class Session(Record, frozen=True, kw_only=True, tag="session"):
    """A session of the verifier's own.

    Attributes:
        label: how it is called everywhere else, `s00001`.
        key: the cookie's value.
        issued_by: `client`, or `server` where an answer set the cookie.
        length: how many characters of the key the table keeps (`len`), None if unknown.
    """

    label: str
    key: str
    issued_by: Literal["client", "server"]
    length: int | None = None


class Operation(Record, frozen=True, kw_only=True, tag="operation"):
    """One request, however it ended.

    Attributes:
        index: its number, unique in the history and in the order of `sent_ns` as far as one
            generator goes.
        source: `functional` (one by one) or `load` (open loop).
        phase: the scenario's phase in which it was planned.
        session: the session's label; None for a request without a session that got none either.
        balancer: the balancer that was asked, by its inventory name.
        server: the name of the server that answered, as the topology calls it; None if unknown.
        planned_ns: when it should have been sent.
        sent_ns: when it was sent.
        done_ns: when its answer was complete, or it was given up.
        wall_ns: the wall clock at `sent_ns`, since 1970.
        status: the HTTP status, None without an answer.
        outcome: `ok`: it was answered by a server; `fail`: it certainly was not (refused, 503);
            `info`: it may have been (time-out, closed half-way).
        connection: the connection's number; two with one number shared it.
        attempt: 1, or more where it was repeated.
        error: why it did not succeed, for people.
    """

    index: int
    source: Literal["functional", "load"]
    phase: str
    session: str | None
    balancer: str
    server: str | None
    planned_ns: int
    sent_ns: int
    done_ns: int
    wall_ns: int
    status: int | None
    outcome: Outcome
    connection: int
    attempt: int = 1
    error: str | None = None

    @property
    def known(self) -> bool:
        """Whether it tells which server its session is bound to."""
        return self.outcome == "ok" and self.server is not None and self.session is not None


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One proof that a fault did happen, or was healed.

    Attributes:
        what: what should be seen, "the worker's pid changed".
        seen: whether it was.
        text: what was seen, "319 -> 349".
    """

    what: str
    seen: bool
    text: str


class Fault(Record, frozen=True, kw_only=True, tag="fault"):
    """One fault. It is written when injected and again when healed; the last line counts.

    Attributes:
        id: its number in the run, from 1.
        kind: the name in `verify.faults`, "reload".
        hosts: where it was injected, by inventory names.
        injected_ns: when the injection began.
        healed_ns: when healing was complete, None as long as it is not. A fault that is over by
            itself, such as a reload, is healed when the balancer serves again.
        evidence: that it happened; none at all makes the verdict unknown.
        heal_evidence: that it is over.
        moves: servers whose sessions may move because of it (they were down for some balancer).
        may_move: whether any session may move, because nothing can hold it (a cleared table).
        spares_ns: rows that were bound to their server as long as this before the injection must survive it,
            younger ones may be lost; None: none may.
        parts: pairs of balancers that can't hear each other while it lasts; a balancer that is
            down or paused stands in pairs with all others.
        proves_not: what it does not prove, for the report.
    """

    id: int
    kind: str
    hosts: list[str]
    injected_ns: int
    healed_ns: int | None = None
    evidence: list[Evidence] = []
    heal_evidence: list[Evidence] = []
    moves: list[str] = []
    may_move: bool = False
    spares_ns: int | None = None
    parts: list[tuple[str, str]] = []
    proves_not: str = ""


class Window(Record, frozen=True, kw_only=True, tag="window"):
    """A time in which requests to some balancers may fail, declared by the scenario."""

    balancers: list[str]
    from_ns: int
    until_ns: int
    why: str


class Phase(Record, frozen=True, kw_only=True, tag="phase"):
    """A new phase of the scenario begins: `plant`, `ask`, `reload`, ..."""

    name: str
    at_ns: int


class Snapshot(Record, frozen=True, kw_only=True, tag="snapshot"):
    """One balancer's table at rest, as far as the verifier's own sessions go.

    Attributes:
        moment: snapshots of one moment are to be compared with each other.
        at_ns: when it was read.
        rows: the server's name by the session's label (`#id` where HAProxy gives no name), None
            for a session without a row.
        used: how many rows the table has, others' too.
        size: how many it can hold.
    """

    moment: int
    at_ns: int
    balancer: str
    table: str
    rows: dict[str, str | None]
    used: int
    size: int


class Stock(Record, frozen=True, kw_only=True, tag="stock"):
    """What became, on one balancer, of the rows that were put into its table and that nobody asked for.

    Attributes:
        put: how many there were.
        kept: how many are there with the server that they were bound to.
        moved: how many are there with another one; the rest is missing.
    """

    balancer: str
    at_ns: int
    put: int
    kept: int
    moved: int


class Lag(Record, frozen=True, kw_only=True, tag="lag"):
    """How long one row took from one balancer to another (Jepsen's stable latency).

    Attributes:
        source: the balancer that had the row first.
        target: the one that learnt it.
        lag_ns: from the write's completion on `source` to the last look on `target` that missed
            it; 0 if no look did; None if the row did not arrive within the bound.
        resolution_ns: how far `lag_ns` may be off: the looks' distance and the clocks' difference.
    """

    source: str
    target: str
    lag_ns: int | None
    resolution_ns: int


class Inspection(Record, frozen=True, kw_only=True, tag="inspection"):
    """A running balancer was compared with the topology; `deviations` are sentences."""

    balancer: str
    at_ns: int
    checks: int
    deviations: list[str] = []


class Cleanup(Record, frozen=True, kw_only=True, tag="cleanup"):
    """A host was searched for what faults may leave: rules, stopped processes, stray workers."""

    host: str
    at_ns: int
    searched: list[str]
    found: list[str] = []


class Note(Record, frozen=True, kw_only=True, tag="note"):
    """A text from a host that may help to find a cause: journal, `show peers`. Not judged."""

    host: str
    at_ns: int
    what: str
    text: str


class End(Record, frozen=True, kw_only=True, tag="end"):
    """The last line: the scenario was played to its end, or `why` it was not."""

    at_ns: int
    completed: bool
    why: str = ""


AnyRecord = (
    Header | Session | Operation | Fault | Window | Phase | Snapshot | Stock | Lag | Inspection | Cleanup | Note | End
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyRecord] = msgspec.json.Decoder(AnyRecord)


@dataclass(frozen=True)
class History:
    """A whole history, by kind of record; each list is in the order of the file."""

    header: Header
    sessions: list[Session] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    stocks: list[Stock] = field(default_factory=list)
    lags: list[Lag] = field(default_factory=list)
    inspections: list[Inspection] = field(default_factory=list)
    cleanups: list[Cleanup] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)

    @classmethod
    def of(cls, records: Iterable[AnyRecord]) -> "History":
        """Sorts records by kind; of two faults with one id the last one counts.

        Raises:
            HistoryError: the first record is no header, or there is a second one.
        """
        records = iter(records)
        header = next(records, None)
        if not isinstance(header, Header):
            raise HistoryError("a history begins with a header")
        history = cls(header)
        faults: dict[int, Fault] = {}
        for record in records:
            match record:
                case Operation():
                    history.operations.append(record)
                case Session():
                    history.sessions.append(record)
                case Fault():
                    faults[record.id] = record
                case Window():
                    history.windows.append(record)
                case Phase():
                    history.phases.append(record)
                case Snapshot():
                    history.snapshots.append(record)
                case Stock():
                    history.stocks.append(record)
                case Lag():
                    history.lags.append(record)
                case Inspection():
                    history.inspections.append(record)
                case Cleanup():
                    history.cleanups.append(record)
                case Note():
                    history.notes.append(record)
                case End():
                    history.ends.append(record)
                case Header():
                    raise HistoryError("a history has one header, and this one has two")
        history.faults.extend(faults.values())
        return history

    @classmethod
    def read(cls, path: Path) -> "History":
        """Reads a history's file; an unfinished last line, as a killed run leaves it, is dropped.

        Raises:
            HistoryError: no such file, or a line that is no record.
        """
        try:
            with path.open("rb") as file:
                return cls.of(_records(file, path))
        except OSError as error:
            raise HistoryError(f"{path} can't be read: {error.strerror}") from None


def _records(file: IO[bytes], path: Path) -> Iterator[AnyRecord]:
    for number, line in enumerate(file, 1):
        if not line.endswith(b"\n"):
            return
        try:
            yield _decoder.decode(line)
        except msgspec.DecodeError as error:
            raise HistoryError(f"{path}, line {number}: {error}") from None


class Journal:
    """Writes a history while it happens. Not thread-safe: one thread writes."""

    def __init__(self, path: Path) -> None:
        """Creates the file at `path`, which must not exist."""
        path.touch(0o600, exist_ok=False)  # sessions that still live stand in it
        self._file = path.open("ab")

    def write(self, record: AnyRecord) -> None:
        """Appends one record; it is in the file when a later record is, or at `close`."""
        self._file.write(_encoder.encode(record) + b"\n")
        if not isinstance(record, Operation):
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
