"""The same tree is a collection, sticky.peers, and needs nothing from Galaxy."""

import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def packed(ansible: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Returns the names in the tarball that `ansible-galaxy collection build` makes of the tracked files."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("out")
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    for name in filter(None, tracked.stdout.split("\0")):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    (tree / ".venv").mkdir()
    (tree / ".venv" / "anything").touch()
    ansible("ansible-galaxy", "collection", "build", "--output-path", out, cwd=tree)
    (tarball,) = out.glob("sticky-peers-*.tar.gz")
    with tarfile.open(tarball) as archive:
        return set(archive.getnames())


@pytest.mark.parametrize(
    "name",
    [
        "MANIFEST.json",
        "meta/runtime.yml",
        "playbooks/balancers.yml",
        "playbooks/web.yml",
        "playbooks/reachable.yml",
        "roles/apache/tasks/main.yml",
        "roles/haproxy/files/haproxy_peers.py",
        "roles/haproxy/meta/argument_specs.yml",
        "roles/haproxy/templates/haproxy.cfg.j2",
        "roles/reachable/tasks/main.yml",
        "LICENSE",
    ],
)
def test_collection_has(packed: set[str], name: str) -> None:
    assert name in packed


@pytest.mark.parametrize(
    "name",
    [".ci", ".config", ".venv", "inventories/lab", "molecule", "playbooks/lab_up.yml", "roles/lab", "scripts", "tests"],
)
def test_collection_leaves_out(packed: set[str], name: str) -> None:
    assert [found for found in packed if found == name or found.startswith(f"{name}/")] == []


def test_every_script_of_the_collection_finds_what_it_runs(packed: set[str]) -> None:
    assert not {"access-1.sh", "access-2.sh"} & packed or "scripts/access" in packed


def test_requirements_need_nothing_from_galaxy(ansible: Callable[..., str]) -> None:
    assert "no requirements found" in ansible("ansible-galaxy", "install", "-r", "requirements.yml")
