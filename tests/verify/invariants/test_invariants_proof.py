"""The proof of a violation is short, and its lines can be read."""

from msgspec.structs import replace

from tests.verify.invariants.examples import ask, fault, history, table
from verify.history import (
    AnyRecord,
    Cleanup,
    End,
    Inspection,
    Lag,
    Note,
    Phase,
    Session,
    Window,
)
from verify.invariants import INVARIANTS
from verify.invariants.proof import proof, tell


def test_a_proof_has_the_session_the_requests_and_the_fault_by_time() -> None:
    example = history(
        ask(1, "A", "web-1", session="s2"),
        ask(1, "A", "web-1"),
        ask(5, "A", "web-2"),
        ask(6, "A", "web-2"),
        fault(2, 3),
        fault(20, 30, number=2),
        sessions=["s2", "s1"],
    )
    (violation,) = INVARIANTS["nothing-moves"].judge(example).violations
    lines = [tell(record) for record in proof(example, violation)]
    assert lines == [
        "session s1: 32 characters, made by the client, the table keeps 32",
        "1.000 s  s1 on A: web-1 answered (operation 2, ask, 10.0 ms, status 200)",
        "2.000 s  fault 1 (reload on A), healed at 3.000 s",
        "5.000 s  s1 on A: web-2 answered (operation 3, ask, 10.0 ms, status 200)",
    ]


def test_a_violation_without_requests() -> None:
    example = history(ask(1, "A", "web-1"), table(9, "A", {"s1": "web-1"}), table(9, "B", {"s1": None}))
    (violation,) = INVARIANTS["tables-equal"].judge(example).violations
    (record,) = proof(example, violation)
    assert isinstance(record, Session)


def test_every_kind_of_record_is_told_in_one_line() -> None:
    header = history().header
    told: list[tuple[AnyRecord, str]] = [
        (header, "run example: example, seed 1"),
        (
            Session(label="s1", key="secret", issued_by="server"),
            "session s1: 6 characters, made by the server",
        ),
        (
            ask(1, "A", None, session=None, outcome="fail", error="connection refused"),
            "1.000 s  no session on A: failed (operation 0, ask, 10.0 ms): connection refused",
        ),
        (ask(1, "A", None), "1.000 s  s1 on A: an unknown server answered (operation 0, ask, 10.0 ms, status 200)"),
        (ask(1, "A", None, outcome="info"), "1.000 s  s1 on A: outcome unknown (operation 0, ask, 10.0 ms)"),
        (fault(1, None), "1.000 s  fault 1 (reload on A), never healed"),
        (
            Window(balancers=["A", "B"], from_ns=0, until_ns=10**9, why="web-1 is stopped"),
            "0.000 s  requests to A and B may fail until 1.000 s: web-1 is stopped",
        ),
        (Phase(name="plant", at_ns=0), "0.000 s  phase plant"),
        (table(1, "A", {"s1": None}), "1.000 s  table app on A: 1 own row of 1 in all, of 100 at most"),
        (Lag(source="A", target="B", lag_ns=150_000, resolution_ns=0), "a row from A to B took 0.15 ms"),
        (Lag(source="A", target="B", lag_ns=None, resolution_ns=0), "a row from A to B did not arrive"),
        (Inspection(balancer="A", at_ns=0, checks=3), "0.000 s  A, 3 checks: as intended"),
        (
            Inspection(balancer="A", at_ns=0, checks=3, deviations=["no peers"]),
            "0.000 s  A, 3 checks: no peers",
        ),
        (Cleanup(host="A", at_ns=0, searched=[]), "0.000 s  searched A: nothing left"),
        (Note(host="A", at_ns=0, what="journal", text="one\ntwo"), "0.000 s  journal on A: one"),
        (Note(host="A", at_ns=0, what="journal", text=""), "0.000 s  journal on A: nothing"),
        (End(at_ns=0, completed=True), "0.000 s  the scenario was completed"),
        (End(at_ns=0, completed=False, why="interrupted"), "0.000 s  the scenario was not completed: interrupted"),
    ]
    for record, line in told:
        assert tell(record) == line


def test_an_attempt_is_told_of() -> None:
    assert "attempt 3" in tell(replace(ask(1, "A", "web-1"), attempt=3))
