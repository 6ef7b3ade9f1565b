"""Figures over several runs: counts, bounds, and where they are told."""

import io
import json
import xml.etree.ElementTree as ET

import msgspec
import pytest
from rich.console import Console

from tests.verify.report.histories import Run
from verify.report.document import Document
from verify.report.junit import junit
from verify.report.repeats import Rate, Repeats
from verify.report.terminal import Terminal
from verify.verdict import Result, Verdict


def document(run: Run, seed: int, verdict: Verdict, moved: int = 0, failed: int = 0) -> Document:
    """Returns a run's verdict with these figures, of 1000 requests each."""
    return msgspec.structs.replace(
        run.document,
        seed=seed,
        verdict=verdict,
        proofs={},
        results=[
            Result(invariant="nothing-moves", verdict=verdict, judged=600, summary="-", violated=moved),
            Result(invariant="balancers-agree", verdict=Verdict.PASS, judged=400, summary="-"),
            Result(invariant="rows-kept", verdict=Verdict.PASS, judged=2, summary="-"),
            Result(invariant="no-failed-request", verdict=Verdict.PASS, judged=1000, summary="-", violated=failed),
        ],
    )


@pytest.mark.parametrize(("of", "upper"), [(1, 0.95), (10, 0.2589), (59, 0.0495), (1000, 0.002991)])
def test_the_bound_where_none_was_counted(of: int, upper: float) -> None:
    """Had the rate been higher, none of n would have been seen in less than one case of twenty."""
    rate = Rate.made(0, of)
    assert rate.upper == pytest.approx(upper, rel=1e-3)
    assert (1 - (rate.upper or 0)) ** of == pytest.approx(0.05)


def test_there_is_no_bound_where_one_was_counted_or_nothing_seen() -> None:
    assert [Rate.made(1, 10).upper, Rate.made(0, 0).upper] == [None, None]
    assert [str(Rate.made(*pair)) for pair in ((0, 10), (3, 10), (0, 0))] == ["0 of 10 (< 0.26)", "3 of 10", "0 of 0"]


def test_runs_are_summed_up_by_scenario(passed: Run) -> None:
    other = msgspec.structs.replace(document(passed, 7, Verdict.PASS), scenario="other")
    runs = [document(passed, 7, Verdict.PASS), other, document(passed, 8, Verdict.FAIL, moved=5, failed=1)]
    repeats = Repeats.made([*runs, document(passed, 9, Verdict.UNKNOWN)])
    assert repeats.verdict is Verdict.FAIL
    first, second = repeats.scenarios
    assert (first.scenario, [run.seed for run in first.runs]) == (passed.document.scenario, [7, 8, 9])
    assert [run.verdict for run in first.runs] == [Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN]
    assert [run.moved.count for run in first.runs] == [0, 5, 0]
    assert repeats.versions == passed.document.versions
    assert (first.lost.count, first.lost.of) == (1, 2)  # what could not be judged is no run without a loss
    assert (first.moved.count, first.moved.of, first.moved.upper) == (5, 3000, None)
    assert (first.rows.count, first.rows.of) == (0, 6)
    assert (first.failed.count, first.failed.of) == (1, 3000)
    assert (second.scenario, second.moved.of) == ("other", 1000)


def test_the_json_comes_back(passed: Run) -> None:
    repeats = Repeats.made([document(passed, 7, Verdict.PASS)] * 2)
    assert msgspec.json.decode(repeats.to_json(), type=Repeats) == repeats
    assert json.loads(repeats.to_json())["scenarios"][0]["lost"] == {
        "count": 0,
        "of": 2,
        "upper": Rate.made(0, 2).upper,
    }


def test_the_terminal_tells_figures_over_all_runs(passed: Run) -> None:
    out = io.StringIO()
    terminal = Terminal(Console(file=out, highlight=False, width=80))
    terminal.summary([document(passed, 7, Verdict.PASS), document(passed, 8, Verdict.PASS)])
    lines = out.getvalue().splitlines()
    row = next(line for line in lines if "0 of 2000" in line)
    assert row.split("  ")[0] == passed.document.scenario
    assert "0 of 2 (< 0.78)" in row
    assert lines[-1].startswith("PASS: 2 runs held")


def test_the_terminal_says_nothing_of_repeats_where_there_are_none(passed: Run) -> None:
    out = io.StringIO()
    Terminal(Console(file=out, highlight=False, width=80)).summary([document(passed, 7, Verdict.PASS)])
    assert "Over all runs" not in out.getvalue()


@pytest.mark.parametrize(
    ("verdict", "tag"), [(Verdict.PASS, "system-out"), (Verdict.FAIL, "failure"), (Verdict.UNKNOWN, "error")]
)
def test_junit_has_a_case_over_all_runs(passed: Run, verdict: Verdict, tag: str) -> None:
    runs = [document(passed, 7, Verdict.PASS), document(passed, 8, verdict)]
    root = ET.fromstring(junit(runs))
    suite = root.find("testsuite[@name='repeats']")
    assert suite is not None
    (case,) = suite
    assert case.get("name") == passed.document.scenario
    (told,) = case
    assert told.tag == tag
    assert "moved requests 0 of 2000 (< 0.0015)" in (told.text or told.get("message") or "")
    assert ET.fromstring(junit(runs[:1])).find("testsuite[@name='repeats']") is None
