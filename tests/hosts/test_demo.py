"""The story of `make demo`, twice: fresh sessions each time."""

import subprocess
import sys

import pytest
from deployment import INVENTORY, ROOT


@pytest.mark.parametrize("time", ["first", "second"])
def test_the_story_holds(time: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "verify", "demo", "-i", INVENTORY],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().splitlines()[-1].startswith("PASS: all 6 steps held (17 sessions, ")
