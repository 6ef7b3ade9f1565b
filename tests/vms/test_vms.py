"""On VMs: the verifier's core scenarios, the fault that only VMs have, and the Vagrantfile itself."""

import subprocess
import time
from pathlib import Path

from deployment import INVENTORY, ROOT, connections, sticky_verify

from verify.faults import ClockStep, Nemesis, Permission, open_site
from verify.history import AnyRecord, Fault
from verify.inventory import topology_of

# The demo's walk-through first. The others of those that HAProxy can pass are played on containers.
CORE = ("story", "issued", "sync", "at-once", "restart", "crash", "partition")


def test_the_core_scenarios_hold(tmp_path: Path) -> None:
    told = sticky_verify(tmp_path, "--only", ",".join(CORE))
    assert told.rc == 0, told.output
    assert told.output.strip().splitlines()[-1].startswith(f"PASS: {len(CORE)} scenarios held (")
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


def test_vagrant_accepts_the_vagrantfile() -> None:
    said = subprocess.run(["vagrant", "validate"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 0, said.stdout + said.stderr
