"""The deployment that is broken and mended: the inventory that STICKY_INVENTORY names, after site.yml has run on it."""

from pathlib import Path

import pytest
from deployment import INVENTORY, play

from verify.inventory import dump, topology_of


@pytest.fixture(scope="session")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write what should be running, once: no twin changes what is intended."""
    file = tmp_path_factory.mktemp("intent") / "topology.json"
    dump(topology_of(INVENTORY), file)
    return file


@pytest.fixture(scope="session")
def mended() -> None:
    """Mend what a run that was killed has left."""
    run = play("tests/twins/mend.yml")
    assert run.rc == 0, run.output
