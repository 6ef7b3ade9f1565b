"""Timeline: sessions over time, each request coloured by the server that answered. Pure."""

import math
from collections.abc import Sequence

from verify.history import History, Operation
from verify.report.drawing import (
    BAD,
    COLOURS,
    GREY,
    MAX_MARKS,
    STAGE,
    SYMBOLS,
    Figure,
    Trace,
    balancers,
    dealt,
    hover,
    in_seconds,
    marks,
    staged,
)
from verify.report.statistics import by_session, moved
from verify.report.text import plural
from verify.verdict import Result

TITLE = "Sessions over time"
MAX_SESSIONS = 200
UNKNOWN, NONE = "unknown server", "no answer"
HOLLOW = "-open"  # plotly's suffix to a symbol


def timeline(history: History, results: Sequence[Result]) -> Figure:
    """Returns the figure; sessions that speak against an invariant are its first rows."""
    asked = by_session(history)
    if not asked:
        return Figure("timeline", TITLE, "No session was asked.")
    violating = {found.session for result in results for found in result.violations}
    rows, left_out = _rows(asked, violating, moved(history))
    bad = sum(label in violating for label in rows)
    height = 14 if len(rows) <= 60 else 10 if len(rows) <= 100 else 7  # of a row, in px
    layout = staged(history, height * len(rows) + 130)
    labelled = range(0, len(rows), math.ceil(12 / height))
    layout["yaxis"] |= {
        "range": [len(rows) - 0.5, -0.5],
        "tickvals": list(labelled),
        "ticktext": [f"<b>{rows[row]}</b>" if row < bad else rows[row] for row in labelled],
        "tickfont": {"size": 10},
        "showgrid": len(rows) <= 60,
    }
    caption = (
        "Each row is a session, each mark a request: its colour is the server that answered, its shape the balancer"
        " that was asked. A row of one colour is a session that stayed where it was."
    )
    if bad:
        caption += " Rows on red, at the top, are sessions that speak against an invariant."
        across = {"type": "rect", "layer": "below", "xref": "paper", "x0": 0, "x1": 1, "y0": -0.5, "y1": bad - 0.5}
        layout["shapes"].append(across | {"fillcolor": BAD, "opacity": 0.1, "line": {"width": 0}})
    return Figure("timeline", TITLE, f"{caption} {STAGE}{left_out}", _traces(history, asked, rows), layout)


def _rows(asked: dict[str, list[Operation]], violating: set[str | None], moved: set[str]) -> tuple[list[str], str]:
    """Returns which sessions are drawn, from the top, and what has to be said of the others."""
    failed = {label for label, operations in asked.items() if any(each.outcome != "ok" for each in operations)}
    ranked = sorted(asked, key=lambda label: (label not in violating, label not in moved, label not in failed))
    rows: list[str] = []
    drawn = 0
    for label in ranked[:MAX_SESSIONS]:
        drawn += len(asked[label])
        if rows and drawn > MAX_MARKS:
            break
        rows.append(label)
    rows.sort(key=lambda label: (label not in violating, label))
    left = len(ranked) - len(rows)
    why = "those that speak against an invariant, moved or were not answered are drawn first"
    return rows, f" Left out: {plural(left, 'session')}; {why}." if left else ""


def _traces(history: History, asked: dict[str, list[Operation]], rows: Sequence[str]) -> list[Trace]:
    by_answer: dict[str, list[tuple[int, Operation]]] = {}
    for row, label in enumerate(rows):
        for operation in asked[label]:
            answer = operation.server or (UNKNOWN if operation.outcome == "ok" else NONE)
            by_answer.setdefault(answer, []).append((row, operation))
    symbols = dealt(balancers(history), SYMBOLS)
    traces = []
    for answer, style in _styles(history, set(by_answer)).items():
        found = by_answer.get(answer, [])
        hollow = HOLLOW if style.endswith(HOLLOW) else ""
        marker = {"color": style.removesuffix(HOLLOW), "line": {"width": 1.5 if hollow or answer == NONE else 0}}
        shapes = ["x-thin-open" if answer == NONE else symbols[each.balancer] + hollow for _, each in found]
        trace = marks(
            answer,
            [in_seconds(operation.sent_ns) for _, operation in found],
            [row for row, _ in found],
            marker | {"symbol": shapes, "size": 8 if answer == NONE else 6},
        )
        trace |= {
            "legendgroup": answer,
            "showlegend": False,
            "customdata": [hover(operation) for _, operation in found],
            "hovertemplate": "%{customdata[0]} at %{x:.3f} s<br>%{customdata[1]}<br>%{customdata[2]}<extra></extra>",
        }
        key = "x-thin-open" if answer == NONE else f"square{hollow}"
        traces += [trace, _key(answer, marker | {"symbol": key, "size": 8}) | {"legendgroup": answer}]
    asks = {"color": GREY, "size": 7}
    return traces + [_key(f"asked {name}", asks | {"symbol": symbol}) for name, symbol in symbols.items()]


def _key(name: str, marker: dict[str, object]) -> Trace:
    """Returns a trace that only stands in the legend."""
    return marks(name, [None], [None], marker) | {"hoverinfo": "skip"}


def _styles(history: History, seen: set[str]) -> dict[str, str]:
    """Returns the colour of each answer that was seen, by the servers' order in the topology."""
    service = history.header.topology.get("service") or {}
    known = [server["name"] for server in service.get("servers", [])]
    others = sorted(seen - {*known, UNKNOWN, NONE})
    styles = dealt([*known, *others], (*COLOURS, *(colour + HOLLOW for colour in COLOURS)))
    return {answer: style for answer, style in (styles | {UNKNOWN: GREY, NONE: GREY}).items() if answer in seen}
