"""What the unit tests share: Ansible's commands as installed here, without the user's settings or a network."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="session")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Returns a function that runs one of Ansible's commands, expects it to succeed, and gives its output."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
    env |= {"ANSIBLE_HOME": str(tmp_path_factory.mktemp("ansible")), "http_proxy": NOBODY, "https_proxy": NOBODY}

    def run(command: str, *arguments: str | Path, cwd: Path = ROOT) -> str:
        done = subprocess.run(
            [Path(sys.executable).with_name(command), *arguments],
            cwd=cwd,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run
