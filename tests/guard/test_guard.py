"""The session guard on a running pair: what stock HAProxy loses by reloads, restarts and crashes stays."""

import re
import shlex
import time
from collections.abc import Iterator
from functools import partial

import pytest
from deployment import Run, play, wait_for
from guarded import files, has_new_worker, is_open, journal, now, state, stop_and_start
from node import Node
from testinfra.host import Host

TABLE = "back-session"
ON = ("-e", '{"haproxy_session_guard": true}')
COPY = "/root/haproxy.cfg.before"
CRASHES = 6  # by systemd's own limit a unit is not started a sixth time within 10 s
CRASH = """\
master=$(systemctl show --property MainPID --value haproxy)
for crash in $(seq %d); do
  kill -9 "$master"
  until now=$(systemctl show --property MainPID --value haproxy); [ "$now" != 0 ] && [ "$now" != "$master" ]; do
    sleep 0.05
  done
  master=$now
done
"""


def balancers_play(*arguments: str) -> Run:
    run = play("playbooks/balancers.yml", *arguments)
    assert run.rc == 0, run.output
    return run


@pytest.fixture(scope="module", autouse=True)
def stock(balancers: list[Host]) -> Iterator[list[str]]:
    """Puts the guard on the pair, gives the files before, and takes it off again."""
    before = [files(host) for host in balancers]
    balancers_play(*ON)
    yield before
    for host in balancers:
        host.run("systemctl start haproxy")
    if any(host.exists("session-guard") for host in balancers):  # a test failed before the last one
        balancers_play()


@pytest.fixture
def planted(balancers: list[Host], nodes: list[Node], request: pytest.FixtureRequest) -> dict[str, str | None]:
    """Gives new sessions with their servers, known to both balancers, which are up."""
    for host in balancers:
        host.check_output("systemctl start haproxy")
    for node in nodes:
        node.await_sync(TABLE)
    keys = [f"{request.node.name}-{number}"[-30:] for number in range(100)]
    for key in keys:
        nodes[0].client.ask(key)
    wait_for("both to know the sessions", lambda: None not in nodes[1].bindings(TABLE, keys).values())
    return nodes[0].bindings(TABLE, keys)


def test_what_brought_the_gate_was_a_reload_of_the_guard(balancers: list[Host]) -> None:
    """The unit has its drop-in before HAProxy takes the lines in."""
    for host in balancers:
        assert state(host)["reload"]["outcome"] == "done"
        assert state(host)["gate"]["reason"] == "learnt"


def test_the_second_run_changes_nothing(balancers: list[Host]) -> None:
    run = balancers_play(*ON)
    assert run.output.count("changed=0") == len(balancers), run.output


def test_the_configuration_has_what_the_program_wants(balancers: list[Host]) -> None:
    for host in balancers:
        host.check_output("session-guard check")
        assert "lua.session_guard" in host.check_output("session-guard lines")


def test_ten_reloads_right_after_a_start_lose_nothing(
    balancers: list[Host], nodes: list[Node], planted: dict[str, str | None]
) -> None:
    balancers[1].check_output("systemctl stop haproxy")
    balancers[0].check_output("systemctl restart haproxy")
    balancers[0].check_output("for n in 1 2 3 4 5 6 7 8 9 10; do systemctl reload haproxy || exit 1; done")
    assert nodes[0].bindings(TABLE, planted) == planted
    assert state(balancers[0])["reload"]["outcome"] == "done"


def test_the_last_balancer_restarts_without_loss(
    balancers: list[Host], nodes: list[Node], planted: dict[str, str | None]
) -> None:
    balancers[1].check_output("systemctl stop haproxy")
    balancers[0].check_output("systemctl restart haproxy")
    assert nodes[0].bindings(TABLE, planted) == planted
    assert state(balancers[0])["gate"]["reason"] == "restored"


def test_a_master_that_was_killed_is_started_and_learns_from_the_other(
    balancers: list[Host], nodes: list[Node], planted: dict[str, str | None]
) -> None:
    worker = nodes[0].api.info()["Pid"]
    balancers[0].check_output("kill -9 $(systemctl show --property MainPID --value haproxy)")
    wait_for("a new worker", partial(has_new_worker, nodes[0], worker))
    wait_for("its gate to open", partial(is_open, balancers[0]))
    assert nodes[0].bindings(TABLE, planted) == planted


def test_a_balancer_that_crashes_often_is_up_with_its_sessions(
    balancers: list[Host], nodes: list[Node], planted: dict[str, str | None]
) -> None:
    worker, began = nodes[0].api.info()["Pid"], time.monotonic()
    balancers[0].check_output(f"timeout 30 sh -c {shlex.quote(CRASH % CRASHES)}")
    assert time.monotonic() - began < 10
    wait_for("a new worker", partial(has_new_worker, nodes[0], worker))
    wait_for("its gate to open", partial(is_open, balancers[0]))
    wait_for("the unit to be up", lambda: bool(balancers[0].service("haproxy").is_running))
    assert nodes[0].bindings(TABLE, planted) == planted


def test_both_stopped_and_started_lose_nothing(
    balancers: list[Host], nodes: list[Node], planted: dict[str, str | None]
) -> None:
    stop_and_start(balancers)
    for node in nodes:
        assert node.bindings(TABLE, planted) == planted


def test_a_stale_dump_is_not_restored_beside_a_live_peer(
    balancers: list[Host], nodes: list[Node], planted: dict[str, str | None]
) -> None:
    balancers[1].check_output("systemctl stop haproxy")
    nodes[0].api.clear(TABLE, planted)
    gone, *others = {server.name: server.id for server in nodes[0].api.servers(TABLE)}.items()
    nodes[0].api.set_rows(TABLE, planted, gone[1])
    balancers[1].check_output("systemctl start haproxy")
    assert others
    for node in nodes:
        assert node.bindings(TABLE, planted) == dict.fromkeys(planted, gone[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("$ a nonsense", "HAProxy refuses the configuration"),
        ("s/^  peer /  peer not-/", "HAProxy would run without its peers"),
    ],
)
def test_a_bad_configuration_is_refused_and_nothing_changes(
    balancers: list[Host], nodes: list[Node], change: str, said: str
) -> None:
    host, worker, since = balancers[0], nodes[0].api.info()["Pid"], now(balancers[0])
    host.check_output(f"cp -p /etc/haproxy/haproxy.cfg {COPY}")
    host.check_output(f"sed -i {shlex.quote(change)} /etc/haproxy/haproxy.cfg")
    try:
        assert host.run("systemctl reload haproxy").rc != 0
        assert said in journal(host, since)
        assert nodes[0].api.info()["Pid"] == worker
    finally:
        host.check_output(f"mv {COPY} /etc/haproxy/haproxy.cfg")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("s/ len 32 / len 64 /", "table back-session: len 32 is now 64"),
        (r"s/^\(  peer {peer} .*:\)[0-9]*$/\11999/", "the local peer {peer} has another address"),
    ],
    ids=["len", "port"],
)
def test_what_a_reload_cant_hand_over_is_carried(
    balancers: list[Host], nodes: list[Node], planted: dict[str, str | None], change: str, said: str
) -> None:
    host, since = balancers[0], now(balancers[0])
    balancers[1].check_output("systemctl stop haproxy")
    host.check_output(f"cp -p /etc/haproxy/haproxy.cfg {COPY}")
    try:
        host.check_output(f"sed -i {shlex.quote(change.format(peer=nodes[0].name))} /etc/haproxy/haproxy.cfg")
        host.check_output("systemctl reload haproxy")
        assert said.format(peer=nodes[0].name) in journal(host, since)
        assert nodes[0].bindings(TABLE, planted) == planted
    finally:
        host.check_output(f"mv {COPY} /etc/haproxy/haproxy.cfg && systemctl reload haproxy")
    assert nodes[0].bindings(TABLE, planted) == planted


def test_rows_that_the_old_worker_does_not_teach_are_written_back(
    balancers: list[Host], nodes: list[Node], planted: dict[str, str | None]
) -> None:
    """Nobody teaches the new worker: what is for the peers' port is dropped, also from this host to itself."""
    host, since = balancers[0], now(balancers[0])
    balancers[1].check_output("systemctl stop haproxy")
    port = host.check_output(f"grep -Po '^  peer {nodes[0].name} .*:\\K[0-9]+$' /etc/haproxy/haproxy.cfg")
    table = "table inet deaf { chain input { type filter hook input priority 0; tcp dport %s drop; }; }"
    host.check_output(f"nft {shlex.quote(table % port)}")
    try:
        host.check_output("systemctl reload haproxy")
    finally:
        host.check_output("nft delete table inet deaf")
    assert nodes[0].bindings(TABLE, planted) == planted
    assert re.search(r"; (\d{3,}) rows were missing after the reload, and written back", journal(host, since))
    assert state(host)["reload"]["outcome"] == "done with a warning"
    assert state(host)["gate"]["reason"] == "restored"


def test_a_full_disk_is_a_line_in_the_log(balancers: list[Host], planted: dict[str, str | None]) -> None:
    host, since = balancers[0], now(balancers[0])
    host.check_output("mount -t tmpfs -o size=4k,mode=700 none /var/lib/session-guard")
    try:
        host.check_output("systemctl restart haproxy")
        host.check_output("systemctl start session-guard.service")
        assert host.service("haproxy").is_running
        assert "No space left on device" in journal(host, since)
    finally:
        host.check_output("umount /var/lib/session-guard")


def test_files_that_the_configuration_names_are_not_removed(balancers: list[Host]) -> None:
    """The role alone, without roles/haproxy before it, which would take the lines out."""
    run = play("playbooks/session_guard.yml", "-e", "session_guard_state=absent")
    assert run.rc != 0
    assert "still names the guard's files" in run.output
    assert "lua-load /etc/haproxy/session-guard/gate-" in run.output
    for host in balancers:
        host.check_output("session-guard check")


def test_the_guard_leaves_nothing_behind(balancers: list[Host], stock: list[str]) -> None:
    balancers_play()
    assert [files(host) for host in balancers] == stock
    for host in balancers:  # haproxy.cfg.last-good is another one now, but no guarded one
        assert host.file("/etc/haproxy/haproxy.cfg.last-good").exists
        assert host.run("grep --recursive --files-with-matches 'session[-_]guard' /etc/haproxy").stdout == ""
