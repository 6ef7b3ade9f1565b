"""A pair from source: what runs, a build that fails, another release and back, and the verifier's core scenarios."""

import hashlib
import json
import os
import random
import re
import tarfile
from functools import partial
from pathlib import Path

import pytest
from deployment import INVENTORY, ROOT, Run, play, sticky_verify, wait_for
from node import Node
from testinfra.host import Host

from verify.inventory import balancers_of
from verify.scenarios import SCENARIOS

TABLE = "back-session"
ARCHIVE = os.environ.get("HAPROXY_15_ARCHIVE") or None
NEWER = {
    "haproxy_version": "3.0.11",
    "haproxy_source_archive": str(ROOT / ".cache/source/trixie/haproxy_3.0.11.orig.tar.gz"),
    "haproxy_source_sha256": "a133e2d550c5fd9a849b5c7ab17bb945bcdad209ca140d41f45ebf31943ae783",
}
CORE = ("story", "sync", "reload-alone", "restart", "crash")
PASSABLE = [scenario.name for scenario in SCENARIOS.values() if not scenario.may_lose]
UPGRADE_SECONDS = 1800  # two builds, on a machine that may have other work
SEEN_BY_PEERS = ("pause", "partition", "isolate")


def version_of(archive: str | None) -> str:
    """Gives the version that a release's archive has."""
    if archive is None:
        return "2.6.12"
    with tarfile.open(archive) as tar:
        (name,) = [name for name in tar.getnames() if re.fullmatch(r"[^/]+/VERSION", name)]
        file = tar.extractfile(name)
        assert file is not None
        return file.read().decode().strip()


VERSION = version_of(ARCHIVE)
OLD, BEFORE_1_9 = (tuple(map(int, VERSION.split(".")[:2])) < first for first in ((1, 8), (1, 9)))


def deploy(**variables: str) -> Run:
    return play("playbooks/balancers.yml", "-e", json.dumps(variables))


def running(host: Host) -> tuple[str, str, str]:
    """Gives the current version, the unit's process, and the file that it runs."""
    pid = host.check_output("systemctl show -P MainPID haproxy")
    return (
        host.check_output("readlink /opt/haproxy/current"),
        pid,
        host.check_output("readlink /proc/%s/exe", pid),
    )


def has_all(node: Node, sessions: list[str]) -> bool:
    return None not in node.bindings(TABLE, sessions).values()


def test_what_runs_is_the_build(balancers: list[Host]) -> None:
    for balancer in balancers:
        version, _, program = running(balancer)
        assert version == VERSION
        assert program.startswith(f"/opt/haproxy/{VERSION}/sbin/haproxy")
        assert f"version {VERSION}" in balancer.check_output("/opt/haproxy/current/sbin/haproxy -v")


def test_nothing_is_left_of_the_build(balancers: list[Host]) -> None:
    for balancer in balancers:
        folder = balancer.check_output("ls -A /opt/haproxy").split()
        assert {VERSION, "current"} <= set(folder)
        assert not [name for name in folder if name.startswith(".")]


@pytest.mark.parametrize(
    ("makefile", "version", "message"),
    [
        (
            "all:\n\t@echo no such compiler >&2; false\n",
            "9.9.9",
            '"Make the programs": non-zero return code no such compiler',
        ),
        ("all:\n", "9.9.8", '"It is the version that is asked for"'),
    ],
    ids=["make-fails", "another-version"],
)
def test_a_build_that_fails_changes_nothing_that_runs(
    balancers: list[Host], tmp_path: Path, makefile: str, version: str, message: str
) -> None:
    release = tmp_path / "haproxy-9.9.9"
    release.mkdir()
    (release / "Makefile").write_text(makefile)
    (release / "VERSION").write_text("9.9.9\n")
    archive = tmp_path / "haproxy-9.9.9.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(release, "haproxy-9.9.9")
    before = [running(balancer) for balancer in balancers]
    left = balancers[0].check_output("ls -A /opt/haproxy")
    run = deploy(
        haproxy_version=version,
        haproxy_source_archive=str(archive),
        haproxy_source_sha256=hashlib.sha256(archive.read_bytes()).hexdigest(),
    )
    assert run.rc == 2, run.output
    said = " ".join(run.output.split())
    assert f"HAProxy {version} was not built from haproxy_source_archive" in said
    assert message in said
    assert [running(balancer) for balancer in balancers] == before
    assert balancers[0].check_output("ls -A /opt/haproxy") == left
    again = deploy()
    assert (again.rc, [again.changed(node.name) for node in balancers_of(INVENTORY)]) == (0, [0, 0]), again.output


def test_another_release_and_back_keep_every_session(balancers: list[Host], nodes: list[Node]) -> None:
    """By reload; from a release whose peers no later one understands, and back to it, by a dump."""
    sessions = [f"across-{number}" for number in range(40)]
    for session in sessions:
        random.choice(nodes).client.ask(session)
    for node in nodes:
        wait_for(f"{node.name} to have every row", partial(has_all, node, sessions))
    planted = nodes[0].bindings(TABLE, sessions)
    masters = [running(balancer)[1] for balancer in balancers]
    if OLD:
        refused = deploy(**NEWER)
        assert refused.rc == 2, refused.output
        assert "no peer understands both, and every session would be lost" in " ".join(refused.output.split())
        assert [running(balancer)[1] for balancer in balancers] == masters
    for version, variables in ((NEWER["haproxy_version"], NEWER), (VERSION, {})):
        run = play("playbooks/upgrade.yml", "-e", json.dumps(variables), seconds=UPGRADE_SECONDS)
        assert run.rc == 0, run.output
        assert [running(balancer)[0] for balancer in balancers] == [version] * len(balancers)
        # Before 1.9 there is no master socket, and no argument for it: with it, or without it, the process is another.
        assert BEFORE_1_9 or [running(balancer)[1] for balancer in balancers] == masters
        for node in nodes:
            assert node.api.info()["Version"].startswith(version)
            assert node.bindings(TABLE, sessions) == planted
        again = deploy(**variables)
        assert [again.changed(node.name) for node in nodes] == [0, 0], again.output


def test_core_scenarios_hold(tmp_path: Path) -> None:
    """An old release plays all but those that it can't offer, which are named."""
    run = sticky_verify(tmp_path, *([] if OLD else ["--only", ",".join(CORE)]))
    assert run.rc == 0, run.output
    left_out = SEEN_BY_PEERS if OLD else ()
    assert re.findall(r"^not applicable: (\S+) needs", run.output, re.MULTILINE) == list(left_out)
    held = len(PASSABLE) - len(left_out) if OLD else len(CORE)
    assert f"PASS: {held} scenarios held" in run.output
