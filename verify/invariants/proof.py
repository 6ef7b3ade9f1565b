"""Proof: the piece of a history that proves a violation, and how its lines are told to people."""

from verify.history import (
    AnyRecord,
    Cleanup,
    End,
    Fault,
    Header,
    History,
    Inspection,
    Lag,
    Note,
    Operation,
    Phase,
    Session,
    Snapshot,
    Stock,
    Window,
)
from verify.invariants.invariant import count, listed, seconds
from verify.invariants.pairs import told
from verify.verdict import Violation


def proof(history: History, violation: Violation) -> list[AnyRecord]:
    """Returns the session, and then the operations and faults that a violation names, by time."""
    indices, ids = set(violation.operations), set(violation.faults)
    events: list[Fault | Operation] = [fault for fault in history.faults if fault.id in ids]
    events += [operation for operation in history.operations if operation.index in indices]
    sessions = [session for session in history.sessions if session.label == violation.session]
    return [*sessions, *sorted(events, key=_time)]


def _time(record: Fault | Operation) -> int:
    return record.injected_ns if isinstance(record, Fault) else record.sent_ns


def tell(record: AnyRecord) -> str:
    """Returns one line about a record, for people."""
    match record:
        case Header():
            return f"run {record.run}: {record.scenario}, seed {record.seed}"
        case Session():
            kept = "" if record.length is None else f", the table keeps {record.length}"
            return (
                f"session {record.label}: {count(len(record.key), 'character')}, made by the {record.issued_by}{kept}"
            )
        case Operation():
            return _operation(record)
        case Fault():
            until = "never healed" if record.healed_ns is None else f"healed at {seconds(record.healed_ns)}"
            return f"{seconds(record.injected_ns)}  {told(record)}, {until}"
        case Window():
            until = f"until {seconds(record.until_ns)}"
            return f"{seconds(record.from_ns)}  requests to {listed(record.balancers)} may fail {until}: {record.why}"
        case Phase():
            return f"{seconds(record.at_ns)}  phase {record.name}"
        case Snapshot():
            rows = f"{count(len(record.rows), 'own row')} of {record.used} in all, of {record.size} at most"
            return f"{seconds(record.at_ns)}  table {record.table} on {record.balancer}: {rows}"
        case Stock():
            return (
                f"{seconds(record.at_ns)}  {record.balancer} has {record.kept} of {record.put} rows that were put there"
            )
        case Lag():
            took = "did not arrive" if record.lag_ns is None else f"took {record.lag_ns / 1e6:.2f} ms"
            return f"a row from {record.source} to {record.target} {took}"
        case Inspection():
            found = listed(record.deviations) if record.deviations else "as intended"
            return f"{seconds(record.at_ns)}  {record.balancer}, {count(record.checks, 'check')}: {found}"
        case Cleanup():
            return f"{seconds(record.at_ns)}  searched {record.host}: {listed(record.found) or 'nothing left'}"
        case Note():
            first = (record.text.strip().splitlines() or ["nothing"])[0]
            return f"{seconds(record.at_ns)}  {record.what} on {record.host}: {first}"
        case End():
            how = "completed" if record.completed else f"not completed: {record.why}"
            return f"{seconds(record.at_ns)}  the scenario was {how}"


def _operation(record: Operation) -> str:
    took = f"{(record.done_ns - record.sent_ns) / 1e6:.1f} ms"
    if record.outcome == "ok":
        answer = f"{record.server or 'an unknown server'} answered"
    else:
        answer = "failed" if record.outcome == "fail" else "outcome unknown"
    details = [f"operation {record.index}", record.phase, took]
    if record.status is not None:
        details.append(f"status {record.status}")
    if record.attempt > 1:
        details.append(f"attempt {record.attempt}")
    text = f"{seconds(record.sent_ns)}  {record.session or 'no session'} on {record.balancer}: {answer}"
    return f"{text} ({', '.join(details)})" + (f": {record.error}" if record.error else "")
