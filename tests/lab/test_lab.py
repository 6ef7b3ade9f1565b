"""The lab: made, repaired, refused and removed by its playbooks. It is a lab of one host, beside all others."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deployment import Run, play

LAB = "sticky-lab-test"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_inventory(file: Path, ssh: int, web: int) -> None:
    host = {
        "ansible_host": "127.0.0.1",
        "ansible_port": ssh,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(file.parent / "key" / "id_ed25519"),
        "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
        "lab_address": "10.133.42.10",
        "lab_publish": [f"{web}:80"],
    }
    variables = {"lab_name": LAB, "lab_subnet": "10.133.42.0/24", "reachable_hint": "Type this."}
    groups = {"web_hosts": {"hosts": {"one": host}}}
    file.write_text(json.dumps({"all": {"vars": variables, "children": groups}}))


def lab(inventory: Path, what: str) -> Run:
    return play(f"playbooks/lab_{what}.yml", inventory=str(inventory))


@pytest.fixture
def podman(tmp_path: Path) -> Callable[..., str]:
    """Return a function that runs podman as the playbooks do, as root, and gives its output."""

    def run(*arguments: str) -> str:
        output = tmp_path / "podman.out"
        tasks = [
            {
                "ansible.builtin.command": {"argv": ["podman", *arguments]},
                "become": "{{ lookup('ansible.builtin.pipe', 'id -u') != '0' }}",
                "register": "done",
            },
            {"ansible.builtin.copy": {"content": "{{ done.stdout }}", "dest": str(output)}},
        ]
        playbook = tmp_path / "podman.yml"
        playbook.write_text(
            json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}])
        )
        done = play(str(playbook), inventory="/dev/null")  # localhost is implicit
        assert done.rc == 0, done.output
        return output.read_text()

    return run


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    file = tmp_path_factory.mktemp("lab") / "hosts.yml"
    write_inventory(file, free_port(), free_port())
    made = lab(file, "up")
    assert made.rc == 0, made.output
    yield file
    lab(file, "down")


def test_up_again_changes_nothing(inventory: Path) -> None:
    again = lab(inventory, "up")
    assert (again.rc, again.changed("localhost")) == (0, 0), again.output


def test_a_stopped_host_is_started(inventory: Path, podman: Callable[..., str]) -> None:
    podman("stop", "--time", "0", f"{LAB}-one")
    started = lab(inventory, "up")
    assert (started.rc, started.changed("localhost")) == (0, 1), started.output


def test_a_half_built_lab_is_repaired(inventory: Path, podman: Callable[..., str]) -> None:
    """The run was interrupted before the container; the network and the key are there."""
    podman("rm", "--force", "--time", "0", f"{LAB}-one")
    (inventory.parent / "key" / "id_ed25519.pub").unlink()
    repaired = lab(inventory, "up")
    assert repaired.rc == 0, repaired.output
    pinged = play("playbooks/reachable.yml", inventory=str(inventory))
    assert pinged.rc == 0, pinged.output


def test_a_used_port_is_named_and_nothing_is_removed(
    inventory: Path, podman: Callable[..., str], tmp_path: Path
) -> None:
    hosts = json.loads(inventory.read_text())["all"]["children"]["web_hosts"]["hosts"]
    podman("stop", "--time", "0", f"{LAB}-one")  # the ports of a stopped host can be taken too
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        changed = tmp_path / "hosts.yml"
        write_inventory(changed, hosts["one"]["ansible_port"], taken)
        refused = lab(changed, "up")
    assert refused.rc == 2, refused.output
    assert f"one can't be started: port {taken} of this machine is used by another program" in " ".join(
        refused.output.split()
    )
    assert f"{LAB}-one" in podman("ps", "--all")


def test_ubuntu_without_its_mirror_is_refused(
    inventory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, podman: Callable[..., str]
) -> None:
    monkeypatch.delenv("STICKY_UBUNTU_MIRROR", raising=False)
    changed = json.loads(inventory.read_text())
    changed["all"]["children"]["web_hosts"]["hosts"]["one"]["lab_suite"] = "noble"
    (tmp_path / "hosts.yml").write_text(json.dumps(changed))
    refused = lab(tmp_path / "hosts.yml", "up")
    assert (refused.rc, refused.changed("localhost")) == (2, 0), refused.output
    assert "lab_suite noble is Ubuntu's, and this machine's apt knows no mirror" in " ".join(refused.output.split())
    assert f"{LAB}-one" in podman("ps", "--all")


def test_a_lab_that_does_not_run_says_what_to_type(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    write_inventory(inventory, free_port(), free_port())
    refused = play("site.yml", inventory=str(inventory))
    assert refused.rc == 2, refused.output
    assert "Can't be reached: one. Type this." in " ".join(refused.output.split())
    assert refused.changed("one") == 0


def test_down_leaves_nothing(inventory: Path, podman: Callable[..., str]) -> None:
    gone = lab(inventory, "down")
    assert gone.rc == 0, gone.output
    assert LAB not in podman("ps", "--all")
    assert LAB not in podman("network", "ls")
    assert not (inventory.parent / "key").exists()
