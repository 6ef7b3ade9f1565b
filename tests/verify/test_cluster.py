"""What scenarios ask of a pair, without one."""

from types import SimpleNamespace
from typing import Any

import pytest

from verify import cluster


def test_a_port_that_closes_between_two_looks_does_not_break_a_run_off(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()
    client = SimpleNamespace(url="http://127.0.0.1:9", target=None)
    fake: Any = SimpleNamespace(
        sessions={"one": SimpleNamespace(key="key")},
        clients={"lb": client},
        budget=SimpleNamespace(take=lambda: None),
        recorder=SimpleNamespace(now=lambda: 0),
        _request=lambda label, *others: asked.append(label),
    )
    monkeypatch.setattr(cluster, "accepts", lambda url: True)
    monkeypatch.setattr(cluster, "DOWN", 1)
    with cluster.Cluster.knocking(fake, {"lb": ["one"]}):
        assert asked == []
    assert asked == ["one"]
