"""What the tests on real hosts work with: the inventory, runs of ansible-playbook on it, and its hosts."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import testinfra
from testinfra.host import Host

from verify.inventory import balancers_of
from verify.topology import Connection

ROOT = Path(__file__).parent.parent.parent
INVENTORY = os.environ.get("STICKY_INVENTORY", str(ROOT / "inventories" / "lab"))
PLAYBOOK_SECONDS = 600


@dataclass(frozen=True)
class Run:
    """What a run of ansible-playbook did."""

    rc: int
    output: str

    def changed(self, host: str) -> int:
        """Return how many tasks changed a host, from the recap."""
        recap = next(row for row in self.output.splitlines() if row.startswith(host) and "changed=" in row)
        return int(recap.split("changed=")[1].split()[0])


def run(command: list[str], seconds: float = PLAYBOOK_SECONDS, env: dict[str, str] | None = None) -> Run:
    """Run a command from the checkout, within a bound; what it prints is kept in one piece.

    At the bound all that it started is ended: Ansible's workers and their ssh would go on changing hosts.
    """
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            raise AssertionError(f"{command} did not end within {seconds:g} s; it said: {output}") from None
        finally:
            if process.poll() is None:  # somebody typed Ctrl-C
                os.killpg(process.pid, signal.SIGKILL)
    return Run(process.returncode, output)


def play(
    *arguments: str, inventory: str = INVENTORY, venv: Path | None = None, seconds: float = PLAYBOOK_SECONDS
) -> Run:
    """Run ansible-playbook from the checkout."""
    folder = venv / "bin" if venv else Path(sys.executable).parent
    # ANSIBLE_CONFIG of molecule's own would be read otherwise; how to become root on this machine is not molecule's.
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANSIBLE_", "MOLECULE_")) or name == "ANSIBLE_BECOME_PASSWORD_FILE"
    }
    return run([str(folder / "ansible-playbook"), "-i", inventory, *arguments], seconds, env)


@cache
def connections() -> dict[str, Connection]:
    """Return the way to each host of the deployment, by name."""
    groups = ("balancers", "web_hosts")
    return {host.name: host.connection for group in groups for host in balancers_of(INVENTORY, group)}


def sticky_verify(runs: Path, *arguments: str, rate: float = 100, everywhere: bool = True) -> Run:
    """Run scenarios of the verifier, with leave to break every host.

    Args:
        runs: the folder of the run directories.
        arguments: further ones.
        rate: requests a second.
        everywhere: whether faults are allowed, on all hosts.
    """
    leave = ["--destructive", "--on", ",".join(connections())] if everywhere else []
    command = [sys.executable, "-m", "verify", "run", "-i", INVENTORY, "--runs", str(runs), f"--rate={rate}"]
    return run([*command, *leave, *arguments])


def connect(name: str) -> Host:
    """Return a host by testinfra, over one ssh connection that stays; its commands run as root."""
    sudo = connections()[name].user != "root"
    return testinfra.get_host(f"ansible://{name}?ansible_inventory={INVENTORY}{'&sudo=True' if sudo else ''}")


def assert_runs(host: Host, unit: str) -> None:
    """Assert that a unit runs and starts at boot; a failure shows its journal."""
    service = host.service(unit)
    evidence = "" if service.is_running else host.check_output(f"journalctl --unit {unit} --lines 30 --no-pager")
    assert service.is_running, evidence
    assert service.is_enabled


def wait_for(what: str, condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for a state; fails with what was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}, in vain"
        time.sleep(0.1)
