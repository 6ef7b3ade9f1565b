"""Drawing: what the page's figures share: colours, marks, axes, and the stage of faults and phases. Pure.

A figure is plotly's JSON. Its colours of text and lines are the page's style sheet's.
"""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from verify.history import SECOND, History, Operation
from verify.report.statistics import end_ns
from verify.report.text import printable

Trace = dict[str, Any]

MAX_MARKS = 10_000  # in one figure: a browser draws each as an element of its own

# Okabe and Ito's colours but the two that vanish on white or on black, and two more: colour-blind
# people tell them apart. A ninth server begins again, hollow.
COLOURS = ("#1A80C4", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7E6BD1", "#8C8C1A")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "pentagon", "star", "cross", "hexagon")
BALANCERS = ("#4477AA", "#CCBB44", "#228833", "#AA3377", "#66CCEE")
GREY, BAD, PERHAPS = "#808080", "#D1242F", "#B87A00"

STAGE = "Shaded: faults, by their numbers in the table below. Dotted: phases."
NAMES = 40  # so many names of faults and phases fit side by side
LETTERS = 20  # of one name


@dataclass(frozen=True)
class Figure:
    """One figure of the page.

    Attributes:
        name: of its element.
        title: what it shows.
        caption: how to read it, and what was left out.
        data: plotly's traces; none means that there is nothing to draw, as the caption says.
        layout: plotly's layout.
    """

    name: str
    title: str
    caption: str
    data: Sequence[Trace] = ()
    layout: dict[str, Any] = field(default_factory=dict)


def layout(height: int) -> dict[str, Any]:
    """Returns a layout without a stage, `height` CSS pixels high."""
    return {
        "height": height,
        "margin": {"l": 64, "r": 14, "t": 10, "b": 48},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12},
        "hovermode": "closest",
        "showlegend": True,
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1,
            "yanchor": "bottom",
            "itemsizing": "constant",
            "traceorder": "normal",
        },
        "xaxis": {"zeroline": False},
        "yaxis": {"zeroline": False},
        "shapes": [],
        "annotations": [],
    }


def staged(history: History, height: int) -> dict[str, Any]:
    """Returns a layout over the run's time, with its faults and phases; their names stand above the marks."""
    end = max(end_ns(history), SECOND) / SECOND
    names = _Names(end)
    shapes: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for phase in history.phases:
        at = in_seconds(phase.at_ns)
        shapes.append(_upright(at, at, "dot"))
        annotations += names.beside(at, phase.name, left=True)
    for fault in history.faults:
        begun = in_seconds(fault.injected_ns)
        shapes.append(_upright(begun, end if fault.healed_ns is None else in_seconds(fault.healed_ns), "solid"))
        unhealed = "" if fault.healed_ns is not None else ", not healed"
        annotations += names.beside(begun, f"{fault.id} {fault.kind}{unhealed}", left=False)
    strip = names.longest * 6.5 + 12  # px
    made = layout(height + int(strip))
    made["xaxis"] |= {"title": {"text": "seconds since the run began"}, "range": [0, end]}
    # What the legend takes of the height is not known here; two lines of it are assumed.
    made["yaxis"]["domain"] = [0, 1 - strip / (height + strip - 100)]
    return made | {"shapes": shapes, "annotations": annotations}


def marks(name: str, x: Sequence[float | None], y: Sequence[float | None], marker: dict[str, Any]) -> Trace:
    """Returns a trace of marks. `scatter` is drawn as SVG, which needs no WebGL and prints well."""
    return {"type": "scatter", "mode": "markers", "name": plain(name), "x": x, "y": y, "marker": marker}


def hover(operation: Operation) -> list[str]:
    """Returns three lines on a request, for who points at its mark."""
    answer = operation.server or ("unknown server" if operation.outcome == "ok" else operation.outcome)
    status = f"HTTP {operation.status}, " if operation.status else ""
    error = f"{operation.error[:80]}, " if operation.error else ""
    return [
        plain(operation.session or "no session"),
        plain(f"{operation.balancer} → {answer}"),
        plain(f"{status}{error}phase {operation.phase}, request {operation.index}"),
    ]


def balancers(history: History) -> list[str]:
    """Returns the balancers' names, in the topology's order."""
    known = [balancer["name"] for balancer in history.header.topology.get("balancers", [])]
    return list(dict.fromkeys([*known, *sorted({operation.balancer for operation in history.operations})]))


def dealt(names: Sequence[str], choices: Sequence[str]) -> dict[str, str]:
    """Gives each name one of the choices, in turn."""
    return {name: choices[place % len(choices)] for place, name in enumerate(names)}


def in_seconds(ns: int) -> float:
    """Returns a time of the history in seconds, to the microsecond."""
    return round(ns / SECOND, 6)


def plain(text: str) -> str:
    """Returns a text that plotly, which reads some HTML in texts, shows as it is."""
    return html.escape(printable(text), quote=False)


def _upright(begun: float, over: float, dash: str) -> dict[str, Any]:
    return {
        "type": "rect",
        "layer": "below",
        "yref": "paper",
        "x0": begun,
        "x1": over,
        "y0": 0,
        "y1": 1,
        "fillcolor": GREY,
        "opacity": 0.45 if dash == "dot" else 0.25,
        "line": {"width": 1, "color": GREY, "dash": dash},
    }


class _Names:
    """Places names upright beside their moments, as long as there is room.

    Attributes:
        longest: the letters of the longest one.
    """

    def __init__(self, end: float) -> None:
        self._room, self._taken = end / NAMES, list[float]()
        self.longest = 0

    def beside(self, at: float, name: str, left: bool) -> Iterator[dict[str, Any]]:
        middle = at - self._room / 2 if left else at + self._room / 2
        if any(abs(middle - other) < self._room * 0.9 for other in self._taken):
            return
        self._taken.append(middle)
        text = name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…"
        self.longest = max(self.longest, len(text))
        yield {
            "text": plain(text),
            "x": at,
            "xanchor": "right" if left else "left",
            "yref": "paper",
            "y": 1,
            "yanchor": "top",
            "textangle": -90,
            "showarrow": False,
            "font": {"size": 11},
            "opacity": 0.7 if left else 1,
        }
