"""Tests on real hosts: those of the inventory that STICKY_INVENTORY names, after site.yml has run on them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deployment import INVENTORY, Run, connect, play
from testinfra.host import Host


@pytest.fixture(scope="session")
def site() -> Callable[..., Run]:
    """Return a function that runs site.yml and expects it to succeed."""

    def run(*arguments: str, venv: Path | None = None) -> Run:
        result = play("site.yml", *arguments, venv=venv)
        assert result.rc == 0, result.output
        return result

    return run


@pytest.fixture(scope="session")
def inventory() -> dict[str, Any]:
    """Give what ansible-inventory says."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-inventory")), "-i", INVENTORY, "--list"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.fixture(scope="session")
def group(inventory: dict[str, Any]) -> Callable[[str], list[str]]:
    """Return a function that gives the names of the hosts of an inventory group."""
    return lambda name: list(inventory[name]["hosts"])


@pytest.fixture(scope="session")
def variables(inventory: dict[str, Any]) -> Callable[[str], dict[str, Any]]:
    """Return a function that gives a host's variables of the inventory."""
    return lambda name: dict(inventory["_meta"]["hostvars"][name])


@pytest.fixture(scope="session")
def web(group: Callable[[str], list[str]]) -> Host:
    return connect(group("web_hosts")[0])
