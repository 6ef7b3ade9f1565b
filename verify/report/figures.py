"""Figures: latency, requests and sync lag over a history, besides its timeline. Pure, and bounded."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from verify.history import SECOND, History, Operation, Outcome
from verify.report.drawing import (
    BAD,
    BALANCERS,
    MAX_MARKS,
    PERHAPS,
    STAGE,
    SYMBOLS,
    Figure,
    Trace,
    balancers,
    dealt,
    hover,
    in_seconds,
    layout,
    marks,
    plain,
    staged,
)
from verify.report.statistics import end_ns
from verify.report.timeline import timeline
from verify.verdict import Result

BINS = 80  # of the requests over time, at most
PER_BIN = 5  # requests, on average, at least
MAX_WINDOWS = 10  # named in a caption
LAG_EDGES = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # ms
PATTERNS = ("", "/", "x", ".", "-", "|")
ANSWERED = "#6C8EBF"
# A failed request has a colour of its own, and a shape for who does not see it.
UNANSWERED = (("fail", "fail: not answered", "x", BAD), ("info", "info: perhaps answered", "triangle-down", PERHAPS))


def figures(history: History, results: Sequence[Result]) -> list[Figure]:
    """Returns all figures of a history, in the order in which a page shows them."""
    return [timeline(history, results), latency(history), requests(history), sync_lag(history)]


def latency(history: History) -> Figure:
    """Returns how long requests took over time, those that were not answered as marks of their own."""
    title = "Latency over time"
    if not history.operations:
        return Figure("latency", title, "No request was sent.")
    kept, left_out = _thinned(history.operations)
    names = balancers(history)
    symbols, colours = dealt(names, SYMBOLS), dealt(names, BALANCERS)
    data = []
    for name in names:
        marker = {"symbol": symbols[name], "color": colours[name], "size": 4}
        data += _latency([o for o in kept if o.balancer == name and o.outcome == "ok"], name, marker)
    for outcome, name, symbol, colour in UNANSWERED:
        data += _latency(
            [o for o in kept if o.outcome == outcome], name, {"symbol": symbol, "color": colour, "size": 8}
        )
    drawn = staged(history, 400)
    ticks = [step * 10.0**power for power in range(-3, 6) for step in _steps(data)]
    drawn["yaxis"] |= {
        "type": "log",
        "tickvals": ticks,
        "ticktext": [f"{tick:g} ms" if tick < 1000 else f"{tick / 1000:g} s" for tick in ticks],
    }
    caption = (
        "From the moment when a request should have been sent to its whole answer, so a balancer that stalls is not"
        f" spared the requests that had to wait. The axis is logarithmic. {STAGE}{left_out}"
    )
    return Figure("latency", title, caption, data, drawn)


def _latency(found: Sequence[Operation], name: str, marker: dict[str, object]) -> list[Trace]:
    if not found:
        return []
    trace = marks(
        name,
        [in_seconds(operation.planned_ns) for operation in found],
        [max(operation.done_ns - operation.planned_ns, 1000) / 1e6 for operation in found],
        marker,
    )
    shown = "%{y:.3~g} ms, planned at %{x:.3f} s<br>%{customdata[0]}<br>%{customdata[1]}<br>%{customdata[2]}"
    return [trace | {"customdata": [hover(o) for o in found], "hovertemplate": f"{shown}<extra></extra>"}]


def _steps(data: Sequence[Trace]) -> Sequence[int]:
    """Returns which steps of a decade the axis names: more of them where it has few decades."""
    times = [time for trace in data for time in trace["y"]]
    return (1,) if max(times) / min(times) > 1000 else (1, 2, 5)


def _thinned(operations: Sequence[Operation]) -> tuple[list[Operation], str]:
    """Returns the operations that are drawn, and what has to be said of the others."""
    if len(operations) <= MAX_MARKS:
        return list(operations), ""
    ranked = sorted(operations, key=lambda o: (o.outcome == "ok", o.planned_ns - o.done_ns))
    first, rest = ranked[: MAX_MARKS // 2], ranked[MAX_MARKS // 2 :]
    step = math.ceil(len(rest) / (MAX_MARKS // 2))
    kept = first + rest[::step]
    left = len(operations) - len(kept)
    return kept, f" Left out: {left} requests; unanswered and slow ones are drawn first, of the others one in {step}."


def requests(history: History) -> Figure:
    """Returns how many requests were answered and how many were not, over time."""
    title = "Requests and errors over time"
    if not history.operations:
        return Figure("requests", title, "No request was sent.")
    duration, count = max(end_ns(history), SECOND) / SECOND, len(history.operations)
    width = _nice(duration * max(1 / BINS, PER_BIN / count))
    bins = Counter((operation.outcome, int(operation.sent_ns / SECOND / width)) for operation in history.operations)
    failed = any(outcome != "ok" for outcome, _ in bins)
    drawn = staged(history, 400 if failed else 260)
    top = drawn["yaxis"]["domain"][1]
    drawn["barmode"] = "stack"
    drawn["yaxis"] |= {"title": {"text": "answered"}, "rangemode": "tozero"}
    caption = f"Requests in each {width:g} s. {STAGE} Every request was answered."
    if failed:
        drawn["yaxis2"] = drawn["yaxis"] | {"domain": [0, top / 2 - 0.03], "title": {"text": "not answered"}}
        drawn["yaxis2"]["nticks"] = min(5, 1 + max(each for (outcome, _), each in bins.items() if outcome != "ok"))
        drawn["yaxis"]["domain"] = [top / 2 + 0.03, top]
        drawn["xaxis"]["anchor"] = "y2"
        caption = (
            f"Requests in each {width:g} s: answered above, not answered below, each with a scale of its own. {STAGE}"
        )
    bars = [("ok", "ok: answered", ANSWERED), *((kind, name, colour) for kind, name, _, colour in UNANSWERED)]
    data = [trace for bar in bars for trace in _bars(*bar, bins, width)]
    return Figure("requests", title, caption + _windows(history), data, drawn)


def _bars(kind: str, name: str, colour: str, bins: Counter[tuple[Outcome, int]], width: float) -> list[Trace]:
    found = sorted((number, count) for (outcome, number), count in bins.items() if outcome == kind)
    if not found:
        return []
    trace = {
        "type": "bar",
        "name": name,
        "x": [(number + 0.5) * width for number, _ in found],
        "y": [count for _, count in found],
        "width": width,
        "yaxis": "y" if kind == "ok" else "y2",
        "marker": {"color": colour, "pattern": {"shape": "/" if kind == "info" else ""}, "line": {"width": 0}},
        "hovertemplate": f"%{{y}} in {width:g} s about %{{x:.2f}} s",
    }
    return [trace]


def _windows(history: History) -> str:
    if not history.windows:
        return ""
    named = [
        f"{', '.join(window.balancers)} from {in_seconds(window.from_ns):.1f} to {in_seconds(window.until_ns):.1f} s"
        f" ({window.why})"
        for window in history.windows[:MAX_WINDOWS]
    ]
    more = len(history.windows) - len(named)
    named += [f"and {more} more"] if more else []
    return f" Requests may fail, as the scenario declared: {'; '.join(named)}."


def sync_lag(history: History) -> Figure:
    """Returns a histogram of the sync lag, for each direction."""
    title = "Sync lag"
    if not history.lags:
        return Figure("sync-lag", title, "Not measured in this scenario.")
    edges = LAG_EDGES
    names = [f"≤ {edges[0]:g}", *(f"{low:g} - {high:g}" for low, high in pairwise(edges))]
    names += [f"> {edges[-1]:g}", "never"]
    never = len(names) - 1
    counts: dict[str, Counter[int]] = {}
    for lag in history.lags:
        place = never if lag.lag_ns is None else sum(lag.lag_ns / 1e6 > edge for edge in edges)
        counts.setdefault(f"{lag.source} → {lag.target}", Counter())[place] += 1
    used = set().union(*counts.values())
    slowest = max(used - {never}, default=-1)
    shown = [*range(slowest + 1), *(used & {never})]
    colours = dealt(sorted(counts), BALANCERS)
    data = [
        {
            "type": "bar",
            "name": plain(way),
            "x": [names[place] for place in shown],
            "y": [counts[way][place] for place in shown],
            "marker": {"color": colour, "pattern": {"shape": pattern}},
            "hovertemplate": "%{y} rows: %{x} ms",
        }
        for (way, colour), pattern in zip(colours.items(), dealt(sorted(counts), PATTERNS).values(), strict=True)
    ]
    drawn = layout(360)
    drawn["xaxis"] = {"title": {"text": "milliseconds"}, "type": "category"}
    drawn["yaxis"] |= {"title": {"text": "rows"}, "rangemode": "tozero"}
    resolution = max(lag.resolution_ns for lag in history.lags) / 1e6
    caption = (
        "How long a row took to the other balancer, from the write's completion to the last look that missed it:"
        f" a time may be too short by as much as {resolution:.2g} ms, the resolution."
    )
    return Figure("sync-lag", title, caption, data, drawn)


def _nice(width: float) -> float:
    """Returns the next of ... 0.1, 0.2, 0.5, 1, 2, 5 ..."""
    power = 10.0 ** math.floor(math.log10(width))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= width)
