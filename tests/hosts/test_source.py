"""A balancer goes over to a build from source and back, with its sessions; tests/source has the rest."""

import json
import subprocess
from functools import partial

from deployment import ROOT, play, wait_for
from node import Node
from testinfra.host import Host

TABLE = "back-session"
SESSIONS = [f"built-{number}" for number in range(30)]
RELEASE = "2.6.12"  # the upstream archive in Debian 12's own source package
FROM_SOURCE = {
    "haproxy_install_from": "source",
    "haproxy_version": RELEASE,
    "haproxy_source_archive": str(ROOT / f".cache/source/bookworm/haproxy_{RELEASE}.orig.tar.gz"),
    "haproxy_source_sha256": "58f9edb26bf3288f4b502658399281cc5d6478468bd178eafe579c8f41895854",
}
BUILD_SECONDS = 1200  # for one build, on a machine that may have other work


def has_all(node: Node) -> bool:
    return None not in node.bindings(TABLE, SESSIONS).values()


def program(host: Host) -> str:
    """Give the file that the unit's process runs."""
    return str(host.check_output("readlink /proc/%s/exe", host.check_output("systemctl show -P MainPID haproxy")))


def test_a_balancer_runs_a_build_from_source_and_goes_back(balancers: list[Host], nodes: list[Node]) -> None:
    subprocess.run([ROOT / "scripts/source-archives"], check=True, timeout=BUILD_SECONDS)
    for session in SESSIONS:
        nodes[0].client.ask(session)
    for node in nodes:
        wait_for(f"{node.name} to have every row", partial(has_all, node))
    before = nodes[0].bindings(TABLE, SESSIONS)
    runs: list[bool] = []
    built = f"/opt/haproxy/{RELEASE}/sbin/haproxy"
    for variables, expected in ((FROM_SOURCE, built), (FROM_SOURCE, built), ({}, "/usr/sbin/haproxy")):
        only = ["--limit", nodes[0].name]
        run = play("playbooks/balancers.yml", "-e", json.dumps(variables), *only, seconds=BUILD_SECONDS)
        assert run.rc == 0, run.output
        runs.append(run.changed(nodes[0].name) > 0)
        assert program(balancers[0]) == expected
        assert [node.bindings(TABLE, SESSIONS) for node in nodes] == [before, before]
    assert runs == [True, False, True]
