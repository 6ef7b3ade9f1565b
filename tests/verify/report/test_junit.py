"""JUnit, read back as a CI system would."""

import xml.etree.ElementTree as ET

import msgspec

from tests.verify.report.histories import Run, run_of
from verify.history import History
from verify.report.document import NotApplicable
from verify.report.junit import junit
from verify.verdict import Result, Verdict

COUNTS = ("tests", "failures", "errors", "skipped")


def suites(*runs: Run) -> list[ET.Element]:
    """Returns the suites of runs, after a look at what all JUnit files have."""
    root = ET.fromstring(junit([run.document for run in runs]))
    assert root.tag == "testsuites"
    found = list(root)
    for suite in found:
        assert suite.tag == "testsuite"
        assert float(suite.get("time", "")) >= 0
        tags = [child.tag for case in suite.iter("testcase") for child in case]
        counted = [len(suite.findall("testcase")), tags.count("failure"), tags.count("error"), tags.count("skipped")]
        assert [int(suite.get(name, "")) for name in COUNTS] == counted
        for case in suite.iter("testcase"):
            assert case.get("classname")
            assert case.get("name")
            assert float(case.get("time", "")) >= 0
            assert len(case) <= 1
    for name in COUNTS:
        assert int(root.get(name, "")) == sum(int(suite.get(name, "")) for suite in found)
    return found


def test_a_case_is_a_scenario_and_an_invariant(failed: Run) -> None:
    (suite,) = suites(failed)
    assert suite.get("name") == "reload-under-load"
    assert suite.get("timestamp") == "2026-11-22T19:30:00"
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert {name: [child.tag for child in case] for name, case in cases.items()} == {
        "one-server-per-session": ["failure"],
        "faults-happened": ["error"],
        "everything-healed": ["failure"],
        "no-failed-request": [],
    }
    assert [suite.get(name) for name in COUNTS] == ["4", "2", "1", "0"]


def test_what_the_version_cant_offer_is_skipped_with_the_reason(passed: Run) -> None:
    root = ET.fromstring(junit([passed.document], [NotApplicable("pause", "needs more")]))
    (skipped,) = root.iter("skipped")
    assert skipped.get("message") == "needs more"
    assert root.get("skipped") == "1"
    assert root.find("testsuite[@name='pause']/testcase") is not None


def test_a_failure_says_what_proves_it(failed: Run) -> None:
    (suite,) = suites(failed)
    failure = suite.find("testcase[@name='one-server-per-session']/failure")
    assert failure is not None
    assert (failure.get("message"), failure.get("type")) == ("3 sessions moved", "fail")
    assert failure.text is not None
    for words in ("s00007 was on", "operation ", "reload", "known: ", "Play it again: sticky-verify run"):
        assert words in failure.text


def test_unknown_is_an_error(failed: Run) -> None:
    (suite,) = suites(failed)
    error = suite.find("testcase[@name='faults-happened']/error")
    assert error is not None
    assert error.get("type") == "unknown"
    assert "has no evidence" in (error.get("message") or "")


def test_two_scenarios_are_two_suites(failed: Run, passed: Run) -> None:
    other = Run(passed.history, passed.results, msgspec.structs.replace(passed.document, scenario="sync"))
    first, second = suites(failed, other)
    assert [first.get("failures"), second.get("failures"), second.get("errors")] == ["2", "0", "0"]


def test_nothing_is_never_green(passed: Run) -> None:
    (suite,) = suites()
    assert suite.get("errors") == "1"
    (suite,) = suites(run_of(passed.history, []))
    assert suite.get("errors") == "1"


def test_a_run_that_was_cut_short_is_never_green(passed: Run) -> None:
    killed = History(**{**vars(passed.history), "ends": []})
    (suite,) = suites(run_of(killed, passed.results))
    assert [case.get("name") for case in suite.iter("testcase") if len(case)] == ["played to its end"]


def test_what_xml_forbids_does_not_break_it(passed: Run) -> None:
    result = Result(
        invariant="x", verdict=Verdict.FAIL, judged=1, summary="\x00\x1b[31m]]> <&> \ufffe \ud800", violated=9
    )
    (suite,) = suites(run_of(passed.history, [result]))
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "??[31m]]> <&> ? ?"
    assert "and 9 violations more" in (failure.text or "")
