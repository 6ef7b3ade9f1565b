"""The story of `make demo`, twice: fresh sessions each time."""

from pathlib import Path

import pytest
from deployment import sticky_verify


@pytest.mark.parametrize("time", ["first", "second"])
def test_the_story_holds(time: str, tmp_path: Path) -> None:
    told = sticky_verify(tmp_path, "--only", "story")
    assert told.rc == 0, told.output
    assert told.output.strip().splitlines()[-1].startswith("PASS: 1 scenario held (")
    assert "haproxy-1: s00001 - Backend " in told.output
