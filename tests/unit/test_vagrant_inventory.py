"""inventories/vagrant: from what Vagrant keeps of its machines."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
INVENTORY = ROOT / "inventories" / "vagrant"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state of Vagrant"


def add(state: Path, name: str, address: str, provider: str = "libvirt") -> Path:
    """Write what there is of a machine, as Vagrant and the Vagrantfile do; gives its folder."""
    folder = state / "machines" / name / provider
    folder.mkdir(parents=True)
    for file, text in (("id", "1-2-3"), ("address", address), ("private_key", "secret")):
        (folder / file).write_text(text)
    return folder


def listed(state: Path) -> dict[str, Any]:
    """Run the inventory's script as Ansible does."""
    command = [str(INVENTORY / "hosts.py"), "--list"]
    env = os.environ | {"VAGRANT_DOTFILE_PATH": str(state)}
    said = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=True)
    return dict(json.loads(said.stdout))


def test_a_machine_is_reached_by_its_address_and_key(state: Path) -> None:
    keys = {name: str(add(state, name, f"10.9.8.{n}") / "private_key") for n, name in enumerate(("web", "haproxy-1"))}
    hosts = listed(state)["_meta"]["hostvars"]
    assert hosts["web"] == {
        "ansible_host": "10.9.8.0",
        "ansible_ssh_private_key_file": keys["web"],
        "apache_address": "10.9.8.0",
    }
    assert hosts["haproxy-1"] == {
        "ansible_host": "10.9.8.1",
        "ansible_ssh_private_key_file": keys["haproxy-1"],
        "haproxy_peer_address": "10.9.8.1",
        "verify_url": "http://10.9.8.1",
    }


def test_balancers_are_in_the_order_of_their_numbers(state: Path) -> None:
    for number in (10, 2, 1, 9):
        add(state, f"haproxy-{number}", f"10.9.8.{number}", "virtualbox")
    groups = listed(state)
    assert groups["balancers"] == {"hosts": ["haproxy-1", "haproxy-2", "haproxy-9", "haproxy-10"]}
    assert groups["web_hosts"] == {"hosts": ["web"]}


def test_a_machine_that_was_destroyed_is_none(state: Path) -> None:
    (add(state, "haproxy-3", "10.9.8.3") / "id").unlink()
    assert listed(state)["balancers"] == {"hosts": ["haproxy-1", "haproxy-2"]}


def test_other_machines_are_none_of_ours(state: Path) -> None:
    """Of another Vagrantfile: they have no address, or another name."""
    (add(state, "haproxy-1", "10.9.8.1") / "address").unlink()
    add(state, "default", "10.9.8.2")
    said = listed(state)
    assert said["balancers"] == {"hosts": ["haproxy-1", "haproxy-2"]}
    assert said["_meta"]["hostvars"]["haproxy-1"] == {"ansible_host": "127.0.0.1", "ansible_port": 1}


def test_a_deployment_without_machines_says_what_to_do(state: Path) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(INVENTORY), "site.yml"],
        cwd=ROOT,
        env=os.environ | {"VAGRANT_DOTFILE_PATH": str(state)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stdout
    said = " ".join(done.stdout.split())
    assert "Can't be reached: web, haproxy-1, haproxy-2. Vagrant's machines don't run, or not all. `vagrant up`" in said
