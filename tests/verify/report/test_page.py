"""The page and its figures, as far as they can be judged without a browser."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import msgspec
import plotly.graph_objects as go  # type: ignore[import-untyped]
import pytest

from tests.verify.report.histories import BALANCERS, MOVED, NASTY, SERVERS, Run, made, run_of
from verify.history import Fault, History, Operation
from verify.report.drawing import MAX_MARKS, Figure
from verify.report.figures import figures
from verify.report.page import page
from verify.report.stories import MAX_ROWS, worst
from verify.report.timeline import MAX_SESSIONS, timeline

VOID = {"meta"}


class Outline(HTMLParser):
    """Checks that elements close in order; keeps attributes and texts outside of scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [f"{name}={value}" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)


def outline(run: Run) -> Outline:
    """Returns the outline of a run's page, which is well formed."""
    found = Outline()
    found.feed(page(run.document, run.history, run.results))
    found.close()
    assert found.open == []
    return found


def figure(run: Run, name: str) -> Figure:
    """Returns one figure of a run; plotly itself finds nothing wrong with any."""
    made = {figure.name: figure for figure in figures(run.history, run.results)}
    for each in made.values():
        go.Figure({"data": each.data, "layout": each.layout})
    return made[name]


def drawn(figure: Figure) -> int:
    """Returns how many marks a figure has."""
    return sum(len(trace["x"]) for trace in figure.data)


def test_a_page_is_well_formed_and_loads_nothing(failed: Run, passed: Run) -> None:
    for run in (failed, passed):
        found = outline(run)
        assert found.links == []
        text = " ".join(found.texts)
        assert f"{run.document.verdict.upper()}" in text
        for words in [result.invariant for result in run.results] + [run.document.replay, "2.6.12-1+deb12u2"]:
            assert words in text


def test_hosts_texts_are_shown_as_they_are(failed: Run) -> None:
    shown = NASTY.replace("\x1b", "?")
    assert sum(shown in text for text in outline(failed).texts) >= 4  # a violation, a cleanup, notes, an error
    whole = page(failed.document, failed.history, failed.results)
    assert "<script>alert" not in whole
    assert len(re.findall("</script>", whole)) == 6  # four figures' data, plotly, ours


def test_a_failed_page_proves_it(failed: Run) -> None:
    text = " ".join(outline(failed).texts)
    assert "Against one-server-per-session: 3 violations" in text
    assert "not seen:" in text
    assert "Known: a reload's new worker" in text


def test_a_long_story_shows_what_matters_and_is_bounded(failed: Run) -> None:
    history, label = failed.history, MOVED[0]
    faults = [
        Fault(id=n, kind="reload", hosts=["a"], injected_ns=(n + 3) * 3 * 10**8, healed_ns=(n + 3) * 3 * 10**8 + 1)
        for n in range(120)
    ]
    long = History(history.header, operations=history.operations, faults=faults)
    stories = worst(long, failed.results[:1])
    story = stories[stories.index(f"{label}: ") : stories.index("</details>")]
    assert story.count("<tr") <= MAX_ROWS + 3
    assert story.count('class="ok proves"') == 2
    assert "rows before" in story
    assert "rows after" in story


def test_equal_histories_give_equal_pages() -> None:
    one, other = made(good=False), made(good=False)
    assert page(one.document, one.history, one.results) == page(other.document, other.history, other.results)


def test_the_timeline_has_a_key_entry_for_each_server(failed: Run) -> None:
    found = figure(failed, "timeline")
    keys = [trace["name"] for trace in found.data if trace.get("showlegend", True)]
    assert keys == [*SERVERS, "no answer", *(f"asked {balancer}" for balancer in BALANCERS)]
    colours = {trace["name"]: trace["marker"]["color"] for trace in found.data if trace["name"] in SERVERS}
    assert len(set(colours.values())) == len(SERVERS)
    assert found.layout["yaxis"]["ticktext"][:3] == [f"<b>{label}</b>" for label in sorted(MOVED)]


def test_every_request_is_drawn_if_they_are_few(failed: Run) -> None:
    for name in ("timeline", "latency"):
        found = figure(failed, name)
        assert sum(len(trace.get("customdata", [])) for trace in found.data) == len(failed.history.operations)
        assert "Left out" not in found.caption
    counted = sum(sum(trace["y"]) for trace in figure(failed, "requests").data)
    assert counted == len(failed.history.operations)
    assert sum(sum(trace["y"]) for trace in figure(failed, "sync-lag").data) == len(failed.history.lags)


def test_faults_and_phases_are_named(failed: Run) -> None:
    for name in ("timeline", "latency", "requests"):
        layout = figure(failed, name).layout
        texts = [annotation["text"] for annotation in layout["annotations"]]
        assert {"1 reload", "2 cut-peers", "3 stop", "plant", "partition"} <= set(texts)
        assert [shape for shape in layout["shapes"] if (shape.get("x0"), shape["x1"]) == (21, 26)]


def test_a_fault_that_was_not_healed_lasts_to_the_end(passed: Run) -> None:
    fault = Fault(id=1, kind="stop", hosts=["a"], injected_ns=39 * 10**9)
    history = History(passed.history.header, operations=passed.history.operations, faults=[fault])
    layout = figure(run_of(history, []), "latency").layout
    assert layout["shapes"][-1]["x1"] == layout["xaxis"]["range"][1]
    assert "1 stop, not healed" in [annotation["text"] for annotation in layout["annotations"]]


def test_names_of_many_faults_do_not_cover_each_other(passed: Run) -> None:
    faults = [
        Fault(id=n, kind="reload", hosts=["a"], injected_ns=n * 10**8, healed_ns=n * 10**8 + 1) for n in range(400)
    ]
    history = History(passed.history.header, operations=passed.history.operations, faults=faults)
    layout = figure(run_of(history, []), "latency").layout
    places = sorted(annotation["x"] for annotation in layout["annotations"])
    assert 20 <= len(places) <= 50
    assert min(b - a for a, b in pairwise(places)) > 0.5
    assert len(layout["shapes"]) == 400


def test_a_large_history_is_bounded() -> None:
    run = made(good=False, sessions=1500, operations=20_000)
    whole = page(run.document, run.history, run.results)
    assert len(whole) < 8_000_000  # of which plotly is 4.8
    for name in ("timeline", "latency"):
        found = figure(run, name)
        assert drawn(found) <= MAX_MARKS + 20
        assert "Left out: " in found.caption
    rows = {row for trace in figure(run, "timeline").data for row in trace["y"] if row is not None}
    assert len(rows) == MAX_SESSIONS
    failures = sum(operation.outcome == "fail" for operation in run.history.operations)
    (drawn_failures,) = [len(trace["x"]) for trace in figure(run, "latency").data if trace["name"].startswith("fail")]
    assert drawn_failures == failures


def test_violating_sessions_are_never_left_out() -> None:
    run = made(good=False, sessions=1500, operations=20_000)
    ticks = timeline(run.history, run.results).layout["yaxis"]["ticktext"]
    assert [tick for tick in ticks if tick.startswith("<b>")]
    sessions = {hover[0] for trace in timeline(run.history, run.results).data for hover in trace.get("customdata", [])}
    assert set(MOVED) <= sessions


def test_no_error_is_said_and_needs_no_axis() -> None:
    found = figure(made(good=True, sessions=5, operations=30, lags=False), "requests")
    assert "Every request was answered." not in found.caption  # the stopped balancer did not
    assert "yaxis2" in found.layout
    run = made(good=True, sessions=5, operations=30, lags=False)
    answered = [operation for operation in run.history.operations if operation.outcome == "ok"]
    found = figure(run_of(History(run.history.header, operations=answered), []), "requests")
    assert found.caption.endswith("Every request was answered.")
    assert "yaxis2" not in found.layout


def test_what_was_not_measured_is_said() -> None:
    run = made(good=True, sessions=5, operations=30, lags=False)
    found = figure(run, "sync-lag")
    assert (found.data, found.caption) == ((), "Not measured in this scenario.")
    assert "Not measured in this scenario." in outline(run).texts


def test_an_empty_history_gives_a_page(passed: Run) -> None:
    run = run_of(History(passed.history.header), [])
    text = " ".join(outline(run).texts)
    for words in ("UNKNOWN", "No session was asked.", "No request was sent.", "None was injected.", "killed"):
        assert words in text


def test_an_unknown_server_is_grey_and_a_ninth_one_hollow(passed: Run) -> None:
    template = passed.history.operations[0]
    operations = [msgspec.structs.replace(template, index=n, server=f"other-{n}" if n else None) for n in range(20)]
    run = run_of(History(passed.history.header, operations=operations), [])
    traces = {trace["name"]: trace for trace in figure(run, "timeline").data if trace.get("showlegend", True)}
    assert traces["unknown server"]["marker"]["color"] == "#808080"
    assert {trace["marker"]["symbol"] for trace in traces.values()} >= {"square", "square-open"}


@pytest.mark.parametrize("name", ["timeline", "latency"])
def test_names_are_no_markup_in_a_figure(passed: Run, name: str) -> None:
    template: Operation = passed.history.operations[0]
    nasty = msgspec.structs.replace(template, server="<b>x</b>", balancer="<i>y</i>", error="<a href='http://z'>")
    run = run_of(History(passed.history.header, operations=[nasty]), [])
    names = " ".join(trace["name"] for trace in figure(run, name).data)
    assert "&lt;" in names
    assert "<" not in names
    assert "<a" not in str([trace.get("customdata") for trace in figure(run, name).data])
