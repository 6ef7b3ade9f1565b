"""The verdict's document and the published schemas."""

import json
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verify.report.histories import Run, made
from verify.history import Fault, History
from verify.report import schema
from verify.report.document import Document
from verify.report.statistics import Spread, SyncLag, end_ns
from verify.verdict import Verdict


def validator(name: str) -> jsonschema.Draft202012Validator:
    """Returns a validator of a published schema, which itself is valid."""
    published = json.loads(schema.path(name).read_bytes())
    jsonschema.Draft202012Validator.check_schema(published)
    return jsonschema.Draft202012Validator(published)


@pytest.mark.parametrize("name", schema.FILES)
def test_the_published_schema_is_that_of_the_types(name: str) -> None:
    assert schema.path(name).read_bytes() == schema.schema(name), "run `python -m verify.report.schema`"


@pytest.mark.parametrize("name", schema.FILES)
def test_a_schema_describes_every_type(name: str) -> None:
    definitions = json.loads(schema.schema(name))["$defs"]
    assert all(definition["description"] for definition in definitions.values())
    assert not any("Attributes" in definition["description"] for definition in definitions.values())


def test_attributes_are_described() -> None:
    definitions = json.loads(schema.schema("verdict"))["$defs"]
    assert all("description" in each for each in definitions["Document"]["properties"].values())
    cause = definitions["Violation"]["properties"]["cause"]["description"]
    assert cause == "where it is a known loss of HAProxy's own: which, and where that is described."


def test_documents_are_valid_and_come_back(failed: Run, passed: Run) -> None:
    for run in (failed, passed):
        json_text = run.document.to_json()
        validator("verdict").validate(json.loads(json_text))
        assert msgspec.json.decode(json_text, type=Document) == run.document


def test_a_broken_document_is_not_valid(passed: Run) -> None:
    broken = json.loads(passed.document.to_json())
    del broken["verdict"]
    with pytest.raises(jsonschema.ValidationError, match="'verdict' is a required property"):
        validator("verdict").validate(broken)


def test_every_line_of_a_history_is_valid(failed: Run) -> None:
    history = failed.history
    lines = [history.header, *history.sessions, *history.operations[:50], *history.faults, *history.windows]
    lines += [*history.phases, *history.snapshots, *history.lags[:5], *history.inspections, *history.cleanups]
    lines += [*history.notes, *history.ends]
    check = validator("history")
    for line in lines:
        check.validate(json.loads(msgspec.json.encode(line)))
    with pytest.raises(jsonschema.ValidationError):
        check.validate({"type": "session", "label": "s00001"})


def test_what_a_failed_run_says(failed: Run) -> None:
    document, history = failed.document, failed.history
    assert (document.verdict, document.exit_code, document.ended) == (Verdict.FAIL, 1, "")
    assert document.began == "2026-11-22T19:30:00+00:00"
    assert document.duration_s == 40
    assert document.directory == f"runs/{history.header.run}"
    counts = document.counts
    assert (counts.sessions, counts.faults, counts.requests.total) == (60, 3, len(history.operations))
    assert counts.moved == 3
    assert counts.observations == sum(result.judged for result in failed.results)
    assert [found.balancer for found in document.latency] == ["haproxy-1", "haproxy-2"]
    assert sum(found.answered for found in document.latency) == counts.requests.ok
    assert [(found.source, found.target) for found in document.sync_lag] == [
        ("haproxy-1", "haproxy-2"),
        ("haproxy-2", "haproxy-1"),
    ]
    assert (document.sync_lag[0].arrived, document.sync_lag[0].missing) == (149, 1)


def test_every_violation_has_a_proof(failed: Run) -> None:
    proofs = failed.document.proofs
    assert {name: len(found) for name, found in proofs.items()} == {"one-server-per-session": 3, "everything-healed": 1}
    assert [line for line in proofs["one-server-per-session"][0] if "backend-" in line]
    assert [line for line in proofs["one-server-per-session"][0] if "reload" in line]


def test_a_run_that_was_killed_is_unknown_at_best(passed: Run) -> None:
    cut = msgspec.structs.replace(passed.history.ends[0], completed=False, why="interrupted")
    for ends, words in (([], "killed"), ([cut], "interrupted")):
        history = History(**{**vars(passed.history), "ends": ends})
        document = Document.of(history, passed.results, "")
        assert (document.verdict, document.exit_code) == (Verdict.UNKNOWN, 2)
        assert words in document.ended


def test_nothing_seen_is_unknown(passed: Run) -> None:
    empty = History(passed.history.header, ends=passed.history.ends)
    document = Document.of(empty, [], "")
    assert (document.verdict, document.latency, document.sync_lag) == (Verdict.UNKNOWN, [], [])
    validator("verdict").validate(json.loads(document.to_json()))


def test_no_session_moves_in_a_good_run() -> None:
    assert made(good=True).document.counts.moved == 0


def test_quantiles_were_measured() -> None:
    assert Spread.of([ms * 1_000_000 for ms in range(100, 0, -1)]) == Spread(p50=50, p95=95, p99=99, max=100)
    assert Spread.of([7_000_000]) == Spread(p50=7, p95=7, p99=7, max=7)
    assert Spread.of([]) is None


@given(st.lists(st.integers(0, 10**10), min_size=1))
def test_quantiles_rise_to_the_maximum(times: list[int]) -> None:
    spread = Spread.of(times)
    assert spread is not None
    assert spread.p50 <= spread.p95 <= spread.p99 <= spread.max == max(times) / 1e6
    assert {spread.p50, spread.p95, spread.p99} <= {time / 1e6 for time in times}


def test_rows_that_never_arrived_have_no_time(failed: Run) -> None:
    never = [msgspec.structs.replace(lag, lag_ns=None) for lag in failed.history.lags]
    document = Document.of(History(failed.history.header, lags=never), [], "")
    assert all(isinstance(found, SyncLag) and found.ms is None and not found.arrived for found in document.sync_lag)


def test_the_end_is_the_last_thing_that_happened(passed: Run) -> None:
    fault = Fault(id=1, kind="stop", hosts=["a"], injected_ns=5, healed_ns=None)
    assert end_ns(History(passed.history.header, faults=[fault])) == 5
    assert end_ns(History(passed.history.header)) == 0


def test_the_document_names_its_folder_by_default(passed: Run) -> None:
    assert Document.of(passed.history, [], "").directory == passed.history.header.run
    assert Path(passed.document.directory).name == passed.history.header.run
