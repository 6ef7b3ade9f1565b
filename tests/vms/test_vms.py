"""On VMs: the verifier's core scenarios, the fault that only VMs have, and the Vagrantfile itself."""

import os
import subprocess
import time
from pathlib import Path

import pytest
from deployment import INVENTORY, ROOT, connections, sticky_verify

from verify.faults import ClockStep, Nemesis, Permission, open_site
from verify.history import AnyRecord, Fault
from verify.inventory import topology_of

# The demo's walk-through first. The others of those that HAProxy can pass are played on containers.
CORE = ("story", "issued", "sync", "at-once", "restart", "crash", "partition")


def test_the_core_scenarios_hold(tmp_path: Path) -> None:
    told = sticky_verify(tmp_path, "--only", ",".join(CORE))
    assert told.rc == 0, told.output
    held = len(CORE) - told.output.count("\nnot applicable: ")  # HAProxy before 2.0 can't offer all
    assert held >= len(CORE) - 1, told.output
    assert told.output.strip().splitlines()[-1].startswith(f"PASS: {held} scenarios held (")
    assert "haproxy-1: s00001 - Backend " in told.output


def test_a_clock_that_steps_is_seen_and_healed() -> None:
    records: list[AnyRecord] = []
    with open_site(topology_of(INVENTORY)) as site:
        nemesis = Nemesis(site, records.append, time.monotonic_ns, Permission(True, frozenset(connections())))
        with nemesis.inject(ClockStep(site, site.balancers[0])):
            pass
    (fault,) = [record for record in records if isinstance(record, Fault) and record.healed_ns]
    assert [known.text for known in fault.evidence + fault.heal_evidence if not known.seen] == []
    assert len(fault.evidence) > 0
    assert len(fault.heal_evidence) > 0


def test_vagrant_accepts_the_vagrantfile(tmp_path: Path) -> None:
    assert "validated successfully" in vagrant({}, tmp_path, "validate")


def test_a_third_balancer_is_one_number(tmp_path: Path) -> None:
    def machines(settings: dict[str, str]) -> list[str]:
        rows = vagrant(settings, tmp_path, "status", "--machine-readable").splitlines()
        return [row.split(",")[1] for row in rows if row.split(",")[2] == "state"]

    assert machines({}) == ["web", "haproxy-1", "haproxy-2"]
    assert machines({"STICKY_BALANCERS": "3"}) == ["web", "haproxy-1", "haproxy-2", "haproxy-3"]


@pytest.mark.parametrize("value", ["1", "three"])
def test_a_wrong_number_is_refused_by_name(value: str, tmp_path: Path) -> None:
    said = vagrant({"STICKY_BALANCERS": value}, tmp_path, "validate", rc=1)
    assert f"STICKY_BALANCERS is '{value}'. Allowed is a number from 2 on." in said


def vagrant(settings: dict[str, str], state: Path, *arguments: str, rc: int = 0) -> str:
    """Run vagrant on the project's own Vagrantfile, with no machine there; gives what it says."""
    said = subprocess.run(
        ["vagrant", *arguments],
        cwd=ROOT,
        env=os.environ | {"VAGRANT_DOTFILE_PATH": str(state)} | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert said.returncode == rc, said.stdout
    return said.stdout
