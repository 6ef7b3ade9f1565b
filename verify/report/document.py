"""Document: the verdict of one run of one scenario, for programs. Its JSON is `verdict.json`. Pure."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from verify.history import SECOND, History
from verify.invariants.proof import proof, tell
from verify.report.statistics import Latency, SyncLag, end_ns, latencies, moved, sync_lags
from verify.verdict import Result, Verdict, conclude

FORMAT = 1


class NotApplicable(msgspec.Struct, frozen=True):
    """A scenario that was not played, and why it can't be."""

    scenario: str
    why: str


class Requests(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests ended how.

    Attributes:
        ok: a server answered.
        fail: certainly no server did.
        info: a server may have.
    """

    ok: int
    fail: int
    info: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.ok + self.fail + self.info


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How much was done and seen.

    Attributes:
        sessions: the verifier's own.
        moved: those of them that more than one server answered, for whatever reason; whether they
            may is for the results to say.
        requests: by outcome.
        faults: how many were injected.
        observations: how many were judged, over all invariants.
    """

    sessions: int
    moved: int
    requests: Requests
    faults: int
    observations: int

    @classmethod
    def of(cls, history: History, results: list[Result]) -> "Counts":
        """Counts what a history has, and what was judged of it."""
        outcomes = Counter(operation.outcome for operation in history.operations)
        return cls(
            sessions=len(history.sessions),
            moved=len(moved(history)),
            requests=Requests(ok=outcomes["ok"], fail=outcomes["fail"], info=outcomes["info"]),
            faults=len(history.faults),
            observations=sum(result.judged for result in results),
        )


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict of one run of one scenario.

    Attributes:
        format: the number of this format; a reader refuses one that it does not know.
        run: the run's name.
        scenario: the scenario's name.
        seed: decided sessions, orders and random faults.
        began: when the run began, by the verifier's wall clock, as ISO 8601 in UTC.
        duration_s: how long it took, in seconds.
        verdict: the worst of the results' ones; unknown at best if nothing was judged or the scenario
            was not played to its end.
        ended: why it was not played to its end; empty if it was.
        exit_code: what the command ended with, had it run this scenario alone: 0 pass, 1 fail, 2 unknown.
        results: what judging each invariant came to.
        proofs: by invariant, for each of its violations the lines that prove it, for people.
        counts: how much was done and seen.
        latency: by balancer, by name.
        sync_lag: by direction; empty where the scenario did not measure it.
        versions: HAProxy's version, by balancer.
        replay: the command that plays the same again.
        directory: where the run's files are.
    """

    format: int = FORMAT
    run: str
    scenario: str
    seed: int
    began: str
    duration_s: float
    verdict: Verdict
    ended: str
    exit_code: int
    results: list[Result]
    proofs: dict[str, list[list[str]]]
    counts: Counts
    latency: list[Latency]
    sync_lag: list[SyncLag]
    versions: dict[str, str]
    replay: str
    directory: str

    @classmethod
    def of(cls, history: History, results: list[Result], replay: str, directory: Path | None = None) -> "Document":
        """Writes down what a history was judged to be.

        Args:
            history: the run's.
            results: what `verify.invariants` made of it.
            replay: the command that plays the same again.
            directory: where the run's files are; the run's name by default.
        """
        header = history.header
        verdict = conclude(history, results)
        return cls(
            run=header.run,
            scenario=header.scenario,
            seed=header.seed,
            began=datetime.fromtimestamp(header.wall_ns // SECOND, UTC).isoformat(),
            duration_s=end_ns(history) / SECOND,
            verdict=verdict,
            ended=_ended(history),
            exit_code=verdict.exit_code,
            results=results,
            proofs={
                result.invariant: [[tell(record) for record in proof(history, found)] for found in result.violations]
                for result in results
                if result.violations
            },
            counts=Counts.of(history, results),
            latency=latencies(history),
            sync_lag=sync_lags(history),
            versions=header.versions,
            replay=replay,
            directory=str(directory or header.run),
        )

    def to_json(self) -> bytes:
        """Returns it as `verdict.json` has it."""
        return msgspec.json.format(msgspec.json.encode(self)) + b"\n"


def _ended(history: History) -> str:
    if not history.ends:
        return "the run was killed: its history has no end"
    return "; ".join(end.why or "no reason given" for end in history.ends if not end.completed)
