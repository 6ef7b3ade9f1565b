"""The same tree is a collection, sticky.peers, and needs nothing from Galaxy."""

import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from verify import inventory
from verify.errors import InventoryError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tarball(ansible: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the tarball that `ansible-galaxy collection build` makes of the files that git does not ignore."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("out")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    (tree / ".venv").mkdir()
    (tree / ".venv" / "anything").touch()
    ansible("ansible-galaxy", "collection", "build", "--output-path", out, cwd=tree)
    (made,) = out.glob("sticky-peers-*.tar.gz")
    return made


@pytest.fixture(scope="module")
def packed(tarball: Path) -> set[str]:
    """Returns the names in the tarball."""
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
        "playbooks/topology.yml",
        "playbooks/upgrade.yml",
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


def test_a_verifier_without_the_checkout_asks_the_collection(
    ansible: Callable[..., str], tarball: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ansible("ansible-galaxy", "collection", "install", "--offline", "--collections-path", tmp_path, tarball)
    monkeypatch.setattr(inventory, "_CHECKOUT", tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("ANSIBLE_", "MOLECULE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANSIBLE_COLLECTIONS_PATH", str(tmp_path))
    (tmp_path / "hosts").write_text(
        "[balancers]\nlb haproxy_peer_address=192.0.2.1 verify_url=http://lb\n"
        "[web_hosts]\nweb apache_address=192.0.2.2\n"
    )
    topology = inventory.topology_of(str(tmp_path / "hosts"))
    assert topology.service
    assert [server.name for server in topology.service.servers] == [f"web-be{n}" for n in range(1, 8)]
    monkeypatch.setenv("ANSIBLE_COLLECTIONS_PATH", str(tmp_path / "nowhere"))
    with pytest.raises(InventoryError, match=r"could not be found \(outside its checkout, .* needs the collection"):
        inventory.topology_of(str(tmp_path / "hosts"))


def test_requirements_need_nothing_from_galaxy(ansible: Callable[..., str]) -> None:
    assert "no requirements found" in ansible("ansible-galaxy", "install", "-r", "requirements.yml")
