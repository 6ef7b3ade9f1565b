"""Lag: what four times of two clocks say; and what is no measurement. Real rows: tests/hosts/test_agent.py."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.errors import RuntimeApiError, VerifyError
from verify.hosts import Host
from verify.lag import bounds, measure
from verify.topology import Connection

TIME, ERROR = st.integers(0, 1000), st.integers(-50, 50)
KEY = "svfy0123456789abcdef0123456789ab"


@given(
    write=st.lists(TIME, min_size=3, max_size=3).map(sorted),
    look=st.lists(TIME, min_size=3, max_size=3).map(sorted),
    ahead=ERROR,
)
def test_the_true_lag_is_between_the_bounds(write: list[int], look: list[int], ahead: int) -> None:
    (sent, written, known), (missed, came, saw) = write, look
    true = came - written
    if true < 0:  # no row comes before it was written
        return
    lag, resolution = bounds(sent, known, missed + ahead, saw + ahead)
    assert lag - abs(ahead) <= true <= lag + resolution + abs(ahead)


def test_a_row_that_came_with_the_writes_answer_has_no_lag() -> None:
    assert bounds(sent=100, known=300, missed=150, saw=280) == (0, 180)


def test_a_row_that_was_missed_after_the_write_has_one() -> None:
    assert bounds(sent=100, known=300, missed=1000, saw=1100) == (700, 300)


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Host]]:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "id").write_text("#!/bin/sh\necho 0\n")
    (tmp_path / "bin" / "id").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    with ExitStack() as stack:
        here = Connection(address="localhost", local=True)
        yield {name: stack.enter_context(Host(name, here)) for name in ("one", "two")}


Listen = Callable[[dict[str, bytes]], str]


def test_a_row_that_does_not_come_has_no_lag(hosts: dict[str, Host], haproxy: Listen) -> None:
    sockets = {name: haproxy({"show info": b"Version: 3.2.26\n\n"}) for name in hosts}
    keys = [f"{KEY[:-1]}{number}" for number in range(3)]
    samples = list(measure(hosts, sockets, "t", 1, keys, seconds=0.1))
    assert [(sample.source, sample.target) for sample in samples] == [("one", "two"), ("two", "one"), ("one", "two")]
    assert {sample.lag_ns for sample in samples} == {None}


def test_a_key_that_is_there_already_is_no_measurement(hosts: dict[str, Host], haproxy: Listen) -> None:
    answers = {
        f"show table t key {KEY}": f"# table: t, type: string, size:9, used:1\n0x1: key={KEY} use=0\n\n".encode()
    }
    sockets = {"one": haproxy({}), "two": haproxy(answers)}
    # Clearing up asks with a blank behind the key, and so finds nothing here.
    with pytest.raises(VerifyError, match="two: a key of the lag's measurement is in t already"):
        next(measure(hosts, sockets, "t", 1, [KEY]))


def test_a_row_that_can_not_be_written_is_an_error(hosts: dict[str, Host], haproxy: Listen) -> None:
    refusing = {f"set table t key {KEY} data.server_id 1": b"Data type not stored\n\n"}
    sockets = {"one": haproxy(refusing), "two": haproxy({})}
    with pytest.raises(RuntimeApiError, match=r"one: set table t: HAProxy answered .*Data type not stored"):
        list(measure(hosts, sockets, "t", 1, [KEY]))
