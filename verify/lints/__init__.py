"""Lints: what is wrong or risky in what a look saw, each by a small function. Pure.

`process`, `peers`, `tables` and `rows` hold the functions, `lint` what they share. What a lint means
and what to do stands once, with its function; `docs/look.md` has the same words.
"""

from collections.abc import Iterable

from verify.lints import peers, process, rows, tables
from verify.lints.lint import LINTS, SEVERITIES, Finding, Lint, Severity
from verify.seen import Seen
from verify.topology import Topology
from verify.verdict import Verdict

__all__ = [
    "LINTS",
    "SEVERITIES",
    "Finding",
    "Lint",
    "Severity",
    "lints",
    "peers",
    "process",
    "rows",
    "tables",
    "verdict",
]


def lints(seens: list[Seen], topology: Topology | None = None) -> list[Finding]:
    """Returns what all lints find, the worst first."""
    found = [
        Finding(lint=lint.name, severity=lint.severity, balancer=balancer, what=what, advice=lint.advice)
        for lint in LINTS.values()
        for balancer, what in lint.check(seens, topology)
    ]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def verdict(findings: Iterable[Finding]) -> Verdict:
    """Returns fail where something is wrong, unknown where a lint was blind, else pass."""
    findings = list(findings)
    if any(finding.severity == "wrong" for finding in findings):
        return Verdict.FAIL
    return Verdict.UNKNOWN if any(LINTS[finding.lint].blind for finding in findings) else Verdict.PASS
