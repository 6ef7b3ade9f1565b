"""Examples: short histories, written out by hand. Times are seconds, the settle time is one."""

from collections.abc import Sequence

import msgspec

from verify.history import SECOND, AnyRecord, Evidence, Fault, Header, History, Operation, Outcome, Session, Snapshot
from verify.invariants import INVARIANTS
from verify.verdict import Result

SEEN = Evidence(what="another worker answers", seen=True, text="319 -> 349")
UNSEEN = Evidence(what="another worker answers", seen=False, text="319 -> 319")


def history(*records: AnyRecord, invariants: Sequence[str] = (), sessions: Sequence[str] = ("s1",)) -> History:
    """Returns a history of these records; operations are numbered from 1, in the order given."""
    header = Header(
        run="example",
        scenario="example",
        invariants=list(invariants),
        seed=1,
        arguments=[],
        topology={},
        versions={},
        kinds={},
        wall_ns=0,
    )
    own = [Session(label=label, key=f"svfy{label:0>28}", issued_by="client", length=32) for label in sessions]
    number = 0
    numbered: list[AnyRecord] = []
    for record in records:
        if isinstance(record, Operation):
            number += 1
            record = msgspec.structs.replace(record, index=number)
        numbered.append(record)
    return History.of([header, *own, *numbered])


def ask(
    at: float,
    balancer: str,
    server: str | None,
    took: float = 0.01,
    session: str | None = "s1",
    outcome: Outcome = "ok",
    error: str | None = None,
) -> Operation:
    """Returns a request that was sent at `at`."""
    return Operation(
        index=0,
        source="functional",
        phase="ask",
        session=session,
        balancer=balancer,
        server=server,
        planned_ns=ns(at),
        sent_ns=ns(at),
        done_ns=ns(at + took),
        wall_ns=0,
        status=200 if outcome == "ok" else None,
        outcome=outcome,
        connection=1,
        error=error,
    )


def fault(
    at: float,
    healed: float | None,
    kind: str = "reload",
    moves: Sequence[str] = (),
    may_move: bool = False,
    parts: Sequence[tuple[str, str]] = (),
    number: int = 1,
    spares: float | None = None,
) -> Fault:
    """Returns a fault on A that was seen to happen and, if it has a time for it, to be healed."""
    return Fault(
        id=number,
        kind=kind,
        hosts=["A"],
        injected_ns=ns(at),
        healed_ns=None if healed is None else ns(healed),
        evidence=[SEEN],
        heal_evidence=[] if healed is None else [SEEN],
        moves=list(moves),
        may_move=may_move,
        spares_ns=None if spares is None else ns(spares),
        parts=list(parts),
    )


def table(at: float, balancer: str, rows: dict[str, str | None], moment: int = 1) -> Snapshot:
    """Returns what one balancer's table held."""
    return Snapshot(moment=moment, at_ns=ns(at), balancer=balancer, table="app", rows=rows, used=len(rows), size=100)


def ns(at: float) -> int:
    """Returns nanoseconds."""
    return round(at * SECOND)


def judged(name: str, *records: AnyRecord, sessions: Sequence[str] = ("s1",)) -> Result:
    """Judges an example by one invariant."""
    result = INVARIANTS[name].judge(history(*records, sessions=sessions))
    assert result.invariant == name
    return result


def told(name: str, *records: AnyRecord) -> list[str]:
    """Returns the texts of the violations of an example."""
    return [violation.text for violation in judged(name, *records).violations]
