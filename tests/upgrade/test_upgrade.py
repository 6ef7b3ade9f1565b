"""A pair under load from version to version by playbooks/upgrade.yml, back again, and what stops it."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from deployment import INVENTORY, ROOT, Run, play, run, wait_for
from node import Node
from testinfra.host import Host
from traffic import traffic

TABLE = "back-session"
SESSIONS = [f"carried-{number}" for number in range(40)]
STEPS = [("2.6", "3.0", "trixie"), ("3.0", "3.2", "forky"), ("3.2", "3.0", "trixie")]
UPGRADE_SECONDS = 1800  # apt replaces Debian 12's libc6 and more, twice, on a machine that may have other work
VERIFY = [sys.executable, "-m", "verify"]


@pytest.fixture(scope="module")
def mirror() -> str:
    """Gives Debian's mirror as this machine's own apt knows it."""
    return subprocess.check_output([ROOT / "scripts/debian-mirror"], text=True, timeout=60).strip()


def upgrade(**variables: object) -> Run:
    return play("playbooks/upgrade.yml", "-e", json.dumps(variables), seconds=UPGRADE_SECONDS)


def words(run: Run) -> str:
    return " ".join(run.output.split())


def has_all(node: Node) -> bool:
    return None not in node.bindings(TABLE, SESSIONS).values()


def planted(nodes: list[Node]) -> dict[str, str | None]:
    """Gives the servers of some sessions, which are asked first."""
    for session in SESSIONS:
        random.choice(nodes).client.ask(session)
    for node in nodes:
        wait_for(f"{node.name} to have every row", partial(has_all, node))
    found = nodes[0].bindings(TABLE, SESSIONS)
    assert nodes[1].bindings(TABLE, SESSIONS) == found
    return found


def state(balancer: Host) -> str:
    """Gives what tells that a balancer was touched: its processes, its configuration, its package."""
    return str(
        balancer.check_output(
            "pidof haproxy; cat /etc/haproxy/haproxy.cfg /etc/default/haproxy | sha256sum;"
            " dpkg-query --show haproxy; ls /etc/apt/sources.list.d /etc/apt/preferences.d"
        )
    )


# --- what stops it --------------------------------------------------------------------------------


def test_it_does_not_begin_while_peers_can_not_hear_each_other(balancers: list[Host], nodes: list[Node]) -> None:
    before = [state(balancer) for balancer in balancers]
    balancers[0].check_output(
        "nft add table inet upgrade && nft add chain inet upgrade goes '{ type filter hook output priority 0; }'"
        " && nft add rule inet upgrade goes oifname != lo tcp dport 1024 reject with tcp reset"
        " && nft add rule inet upgrade goes oifname != lo tcp sport 1024 reject with tcp reset"
    )
    try:
        wait_for(
            "haproxy-1 to miss its peer",
            lambda: balancers[0].run("haproxy-peers --timeout 0 wait --every-peer").rc == 1,
        )
        run = upgrade(haproxy_sync_timeout=10)
    finally:
        balancers[0].check_output("nft delete table inet upgrade")
    assert run.rc == 2, run.output
    assert "haproxy was not in sync with its peers within 10 s: peer haproxy-2 at" in words(run)
    assert [state(balancer) for balancer in balancers] == before
    for balancer in balancers:
        balancer.check_output("haproxy-peers wait --every-peer")


def test_it_does_not_begin_while_a_row_differs(balancers: list[Host], nodes: list[Node]) -> None:
    """And says how many, but no session."""
    found = planted(nodes)
    before = [state(balancer) for balancer in balancers]
    session = next(iter(found))
    nodes[1].api.clear(TABLE, [session])  # here alone: peers tell nothing of it
    run = upgrade()
    assert run.rc == 2, run.output
    assert "The balancers' tables differ: 0 rows with different servers, 1 that are not on all balancers" in words(run)
    assert session not in run.output
    assert [state(balancer) for balancer in balancers] == before
    allowed = upgrade(haproxy_upgrade_may_differ=1)
    assert allowed.rc == 0, allowed.output
    nodes[0].client.ask(session)


def test_it_stops_where_the_version_is_not_to_be_had(balancers: list[Host]) -> None:
    before = [state(balancer) for balancer in balancers]
    run = upgrade(haproxy_version="9.9")
    assert run.rc == 2, run.output
    said = words(run)
    assert (
        'The upgrade stopped at haproxy-1, at "The version is to be had": haproxy_version 9.9 is not to be had' in said
    )
    assert "Not touched: haproxy-2." in said
    assert state(balancers[1]) == before[1]
    assert balancers[0].check_output("pidof haproxy") == before[0].splitlines()[0]
    mended = play("playbooks/balancers.yml", "--limit", "haproxy-1")
    assert (mended.rc, state(balancers[0])) == (0, before[0]), mended.output


def test_it_stops_where_the_first_one_learns_nothing(balancers: list[Host], nodes: list[Node]) -> None:
    """A table of another `len`: peers look healthy, and nothing syncs."""
    found = planted(nodes)
    before = state(balancers[1])
    backend: dict[str, Any] = {
        "name": TABLE,
        "balance": "roundrobin",
        "stick_table": {"type": "string", "len": 64, "size": "1m", "expire": "30m"},
        "stick": ["on req.cook(JSESSIONID)", "store-response res.cook(JSESSIONID)"],
        "server": "{{ haproxy_web_servers }}",
    }
    run = upgrade(haproxy_backends=[backend])
    assert run.rc == 2, run.output
    said = words(run)
    assert (
        'The upgrade stopped at haproxy-1, at "The balancers hold the same rows": The balancers\' tables differ:'
        in said
    )
    assert "Not touched: haproxy-2." in said
    assert state(balancers[1]) == before
    assert nodes[1].bindings(TABLE, SESSIONS) == found
    mended = play("playbooks/balancers.yml", "--limit", "haproxy-1")
    assert mended.rc == 0, mended.output
    balancers[0].check_output("haproxy-peers restart")  # a reload learns from the old process alone
    assert nodes[0].bindings(TABLE, SESSIONS) == found


# --- from version to version ----------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new", "suite"), STEPS, ids=[f"{old}-{new}" for old, new, _ in STEPS])
def test_a_pair_under_load_keeps_every_session(
    nodes: list[Node],
    mirror: str,
    tmp_path: Path,
    record_testsuite_property: Callable[[str, object], None],
    old: str,
    new: str,
    suite: str,
) -> None:
    assert {node.api.version.startswith(f"{old}.") for node in nodes} == {True}
    runs = ["--runs", str(tmp_path / "runs"), "--state", str(tmp_path / "planted.jsonl"), "--rate", "100"]
    plant = run([*VERIFY, "plant", "-i", INVENTORY, *runs, "--sessions", "40"])
    assert plant.rc == 0, plant.output
    variables: dict[str, object] = {
        "haproxy_install_from": "repository",
        "haproxy_version": new,
        "haproxy_repositories": [
            {"uris": [mirror], "suites": [suite], "signed_by": "/usr/share/keyrings/debian-archive-keyring.gpg"}
        ],
    }
    with traffic({node.name: node.client.url for node in nodes}) as seen:
        upgraded = upgrade(**variables)
    print(f"{old} to {new}: {seen}")
    record_testsuite_property(f"{old} to {new}", str(seen))
    assert upgraded.rc == 0, upgraded.output
    assert {node.api.version.startswith(f"{new}.") for node in nodes} == {True}
    check = run([*VERIFY, "check", *runs])
    assert check.rc == 0, check.output
    assert "PASS" in check.output
    assert not seen.failed, seen


# --- carried over by a file -----------------------------------------------------------------------


def test_sessions_are_dumped_and_restored(balancers: list[Host], nodes: list[Node]) -> None:
    """As between versions whose peers do not understand each other."""
    odd = ["a=b", 'quoted"<<', "semi;colon", "at@1"]
    for key in odd:
        nodes[0].api.set_row(TABLE, key, nodes[0].api.servers(TABLE)[0].id)
    nodes[0].api.set_row(TABLE, "gr\u00fcn", nodes[0].api.servers(TABLE)[0].id)
    found = planted(nodes) | nodes[0].bindings(TABLE, odd)
    ids = {key: row.server_id for key, row in nodes[0].api.rows(TABLE, found).items()}
    before = balancers[0].check_output("haproxy-peers rows")
    file = "/run/test.dump"
    assert balancers[0].check_output("haproxy-peers dump %s", file) == f"dumped: {len(before.splitlines()) - 1} rows"
    assert balancers[0].file(file).mode == 0o600
    balancers[1].check_output("systemctl stop haproxy")
    try:
        nodes[0].api.ask(f"clear table {TABLE}")
        assert nodes[0].bindings(TABLE, found) == dict.fromkeys(found)
        nodes[0].client.ask(SESSIONS[0])  # newer than the dump
        newer = nodes[0].bindings(TABLE, SESSIONS[:1])
        said = balancers[0].check_output("haproxy-peers restore %s", file)
    finally:
        balancers[1].check_output("rm -f %s; systemctl reset-failed haproxy; systemctl start haproxy", file)
    assert said.startswith(f"restored: {len(before.splitlines()) - 3} rows; 1 were there; left out: 1 whose key"), said
    restored = {key: row.server_id for key, row in nodes[0].api.rows(TABLE, found).items()}
    assert {key: number for key, number in restored.items() if key != SESSIONS[0]} == {
        key: number for key, number in ids.items() if key != SESSIONS[0]
    }
    assert nodes[0].bindings(TABLE, SESSIONS[:1]) == newer
    balancers[1].check_output("haproxy-peers wait --every-peer")
    again = play("playbooks/upgrade.yml", "--check")
    assert again.rc == 0, again.output


def test_the_playbook_carries_them(balancers: list[Host], nodes: list[Node]) -> None:
    """Forced where it is not needed: what the peers handed over is newer, and stays. By ansible-core 2.16."""
    found = planted(nodes)
    run = play("playbooks/upgrade.yml", "-e", json.dumps({"__haproxy_carry": True}), venv=ROOT / ".venv-2.16")
    assert run.rc == 0, run.output
    assert run.output.count("restored: 0 rows; ") == len(balancers)
    assert nodes[0].bindings(TABLE, SESSIONS) == nodes[1].bindings(TABLE, SESSIONS) == found
    assert not [balancer for balancer in balancers if balancer.file("/run/haproxy-peers.dump").exists]
