"""What happened last, for people and for Prometheus."""

from __future__ import annotations

import time
from typing import Any


def in_words(state: dict[str, Any]) -> str:
    """Say in words what the gate does, and what happened last."""
    gate = state.get("gate")
    rows = ["gate: none in the running process"]
    if gate:
        rows = [f"gate: {gate.get('state')}" + (f" ({gate['reason']})" if gate.get("reason") else "")]
        rows[0] += f", {gate.get('kind')}, shut for {gate.get('shut_ms', 0)} ms"
        rows.append(
            f"  held {gate.get('held', 0)} now, {gate.get('held_total', 0)} in all,"
            f" {gate.get('held_most', 0)} at most; passed {gate.get('passed', 0)}; errors {gate.get('errors', 0)}"
        )
    for name in ("reload", "dump", "restore", "fault"):
        if found := state.get(name):
            details = ", ".join(
                f"{k} {v}" for k, v in found.items() if k not in ("time", "current", "updates") and v != ""
            )
            rows.append(f"{name}: {int(time.time()) - found['time']} s ago: {details}")
    return "\n".join(rows)


def metrics(state: dict[str, Any], timer: bool) -> str:
    """Put the state into Prometheus's text format.

    Args:
        state: what happened last.
        timer: whether the dump is kept up to date; of one that is not its age is no fault.
    """
    gate, rows = state.get("gate", {}), []

    def add(name: str, value: object, **labels: str) -> None:
        text = ",".join(f'{key}="{label}"' for key, label in labels.items())
        rows.append(f"session_guard_{name}{'{' + text + '}' if text else ''} {value}")

    if gate:
        add("gate_open", int(gate.get("state") == "open"), reason=gate.get("reason") or "", kind=gate.get("kind", ""))
        add("gate_shut_seconds", gate.get("shut_ms", 0) / 1000)
        for name in ("held", "held_most", "held_total", "passed", "errors"):
            add(f"gate_{name}", gate.get(name, 0))
    for name, outcome in (("reload", "outcome"), ("restore", "why"), ("fault", "command")):
        if found := state.get(name):
            add(f"{name}_time_seconds", found["time"], **{outcome: found[outcome]})
    for name in ("dump", "restore"):
        if found := state.get(name):
            add(f"{name}_rows", found.get("rows", found.get("restored", 0)))
    if found := state.get("restore"):
        add("restore_refused_rows", found.get("refused", 0) + found.get("odd", 0))
    if found := state.get("dump"):
        add("dump_time_seconds", found["time"])
        if timer:
            add("dump_current_time_seconds", found.get("current", found["time"]))  # it had what the tables have
        add("dump_duration_seconds", found["seconds"])
    add("faults_total", state.get("faults", 0))
    return "\n".join([*rows, ""])
