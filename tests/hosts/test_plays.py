"""The playbooks for the days after: each does its one thing on every balancer, and says what it can't do."""

from functools import partial

import pytest
from deployment import Run, play, wait_for
from node import Node
from testinfra.host import Host

TABLE = "back-session"


def planted(nodes: list[Node], prefix: str) -> dict[str, str | None]:
    """Give 30 sessions with their servers, which every balancer knows."""
    sessions = [f"{prefix}-{number}" for number in range(30)]
    for session in sessions:
        nodes[0].client.ask(session)
    for node in nodes:
        wait_for(f"{node.name} to have every row", partial(has_all, node, sessions))
    return nodes[0].bindings(TABLE, sessions)


def has_all(node: Node, sessions: list[str]) -> bool:
    return None not in node.bindings(TABLE, sessions).values()


def masters(balancers: list[Host]) -> list[str]:
    return [balancer.check_output("systemctl show -P MainPID haproxy") for balancer in balancers]


def workers(nodes: list[Node]) -> list[str]:
    return [node.api.info()["Pid"] for node in nodes]


def said(run: Run) -> str:
    return " ".join(run.output.split())


def test_reload_gives_every_balancer_a_new_worker(balancers: list[Host], nodes: list[Node]) -> None:
    before, old, processes = planted(nodes, "reload"), workers(nodes), masters(balancers)
    run = play("playbooks/reload.yml")
    assert run.rc == 0, run.output
    assert not set(workers(nodes)) & set(old)
    assert masters(balancers) == processes
    assert [node.bindings(TABLE, before) for node in nodes] == [before, before]


def test_restart_gives_every_balancer_a_new_process(balancers: list[Host], nodes: list[Node]) -> None:
    before, processes = planted(nodes, "restart"), masters(balancers)
    run = play("playbooks/restart.yml")
    assert run.rc == 0, run.output
    assert not set(masters(balancers)) & set(processes)
    assert [node.bindings(TABLE, before) for node in nodes] == [before, before]


def test_restart_is_refused_while_nobody_else_holds_the_sessions(balancers: list[Host], nodes: list[Node]) -> None:
    processes = masters(balancers)
    balancers[1].check_output("systemctl stop haproxy")
    try:
        run = play("playbooks/restart.yml", "-e", "haproxy_sync_timeout=5")
        assert run.rc == 2, run.output
        assert f"peer {nodes[1].name} at" in said(run)
        assert masters(balancers)[0] == processes[0]
    finally:
        balancers[1].check_output("systemctl reset-failed haproxy; systemctl start haproxy")
    for node in nodes:
        node.await_sync(TABLE)


def states(nodes: list[Node]) -> list[set[str]]:
    """Give the names of the servers that are drained, by balancer."""
    return [{server.name for server in node.api.servers(TABLE) if server.admin == "drain"} for node in nodes]


def test_a_drained_server_keeps_its_sessions_and_gets_no_new_ones(nodes: list[Node]) -> None:
    before = planted(nodes, "drain")
    server = next(iter(before.values()))
    assert server
    run = play("playbooks/drain.yml", "-e", f"haproxy_drain_servers={server}")
    try:
        assert run.rc == 0, run.output
        assert states(nodes) == [{server}, {server}]
        assert server not in planted(nodes, "drained").values()
        for session in before:
            nodes[1].client.ask(session)
        assert nodes[1].bindings(TABLE, before) == before
    finally:
        back = play("playbooks/undrain.yml", "-e", f"haproxy_drain_servers={server}")
    assert back.rc == 0, back.output
    assert states(nodes) == [set(), set()]


def test_a_web_host_means_all_of_its_servers(nodes: list[Node]) -> None:
    run = play("playbooks/drain.yml", "-e", "haproxy_drain_servers=web")
    try:
        assert run.rc == 0, run.output
        assert states(nodes) == [{server.name for server in node.api.servers(TABLE)} for node in nodes]
    finally:
        assert play("playbooks/undrain.yml", "-e", "haproxy_drain_servers=web").rc == 0
    assert states(nodes) == [set(), set()]


@pytest.mark.parametrize(
    ("servers", "message"),
    [("", "haproxy_drain_servers is empty"), ("web-be1,web-be9", "no server web-be9; there are back-session/web-be1")],
)
def test_servers_that_are_not_there_are_refused(nodes: list[Node], servers: str, message: str) -> None:
    run = play("playbooks/drain.yml", "-e", f"haproxy_drain_servers={servers}")
    assert run.rc == 2, run.output
    assert message in said(run)
    assert states(nodes) == [set(), set()]


def test_sessions_are_shown_compared_dumped_and_restored(nodes: list[Node]) -> None:
    before = planted(nodes, "shown")
    dumped = play("playbooks/sessions.yml", "-e", "haproxy_sessions=dump")
    assert dumped.rc == 0, dumped.output
    assert "0 rows with different servers, 0 that are not on all balancers" in said(dumped)
    for node, other in zip(nodes, reversed(nodes), strict=True):
        assert f"peer {other.name} at" in said(dumped)
        assert f"table {TABLE}: {len(list(node.api.stream_rows(TABLE)))} rows (" in said(dumped)
    nodes[1].api.clear(TABLE, list(before)[:10])
    differing = play("playbooks/sessions.yml")
    assert "10 that are not on all balancers" in said(differing), differing.output
    nodes[0].api.clear(TABLE, before)
    nodes[1].api.clear(TABLE, before)
    restored = play("playbooks/sessions.yml", "-e", "haproxy_sessions=restore")
    assert restored.rc == 0, restored.output
    for node in nodes:
        wait_for(f"{node.name} to have every row", partial(has_all, node, list(before)))
    assert [node.bindings(TABLE, before) for node in nodes] == [before, before]
