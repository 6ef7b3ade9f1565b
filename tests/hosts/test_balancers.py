"""The balancers: HAProxy, its configuration, its peers."""

import re
import urllib.request
from collections.abc import Callable
from functools import partial
from typing import Any

from deployment import assert_runs, wait_for
from node import Node
from testinfra.host import Host

CONFIGURATION = "/etc/haproxy/haproxy.cfg"
TABLE = "back-session"


def test_haproxy_runs(balancers: list[Host]) -> None:
    for balancer in balancers:
        assert_runs(balancer, "haproxy")


def test_the_configuration_is_the_same_bytes_everywhere(balancers: list[Host]) -> None:
    files = [balancer.file(CONFIGURATION) for balancer in balancers]
    assert len({file.sha256sum for file in files}) == 1
    assert {(file.user, file.mode) for file in files} == {("root", 0o640)}


def test_the_process_is_told_its_name_and_keeps_the_master_socket(balancers: list[Host], nodes: list[Node]) -> None:
    for balancer, node in zip(balancers, nodes, strict=True):
        arguments = balancer.check_output("tr '\\0' ' ' < /proc/$(systemctl show -P MainPID haproxy)/cmdline")
        assert f" -L {node.name}" in arguments
        has_master = not re.match(r"1\.[0-8]\b", node.api.version)
        assert (f"-S /run/haproxy-master.sock -L {node.name}" in arguments) == has_master
        assert balancer.file("/run/haproxy-master.sock").is_socket == has_master


def test_the_peers_port_is_bound_to_the_peers_network_alone(
    balancers: list[Host], variables: Callable[[str], dict[str, Any]], group: Callable[[str], list[str]]
) -> None:
    for balancer, name in zip(balancers, group("balancers"), strict=True):
        sockets = [socket for socket in balancer.socket.get_listening_sockets() if socket.endswith(":1024")]
        assert sockets == [f"tcp://{variables(name)['haproxy_peer_address']}:1024"]


def test_the_statistics_page_answers_without_admin(balancers: list[Host]) -> None:
    for balancer in balancers:
        page = balancer.check_output(
            "python3 -c 'import urllib.request as u; print(u.urlopen(\"http://127.0.0.1:8404/monitor\").read().decode())'"
        )
        assert "Statistics Report" in page
        assert 'name="action"' not in page  # the form that only `stats admin` shows


def has_all(node: Node, sessions: list[str]) -> bool:
    return None not in node.bindings(TABLE, sessions).values()


def shares_the_table(node: Node) -> bool:
    return all(peer.remote_ids["back-session"] != 0 for peer in (node.api.peers() or [])[0].peers if not peer.local)


def test_every_session_of_peers_is_established_and_shares_the_table(nodes: list[Node]) -> None:
    """Before 2.0 HAProxy does not tell the peers' states; the rows do."""
    for node in nodes:
        if (sections := node.api.peers()) is None:
            assert node.api.version.startswith("1.")
            node.client.ask(f"shared-by-{node.name}")
            continue
        (section,) = sections
        assert section.in_sync
        remote = [peer for peer in section.peers if not peer.local]
        assert [peer.name for peer in remote] == [other.name for other in nodes if other is not node]
        assert {peer.last_status for peer in remote} == {"ESTA"}
        node.client.ask(f"shared-by-{node.name}")  # a table gets its remote id with its first row
    shared = [f"shared-by-{node.name}" for node in nodes]
    for node in nodes:
        wait_for(f"{node.name} to have its peers' rows", partial(has_all, node, shared))
        if node.api.peers() is not None:
            wait_for(f"{node.name} to know its peers' back-session", partial(shares_the_table, node))


def test_the_table_is_the_demos(nodes: list[Node]) -> None:
    for node in nodes:
        (table,) = [table for table in node.api.tables() if table.name == "back-session"]
        assert (table.type, table.size) == ("string", 1024 * 1024)


def test_all_servers_are_up_with_ids_of_their_own_names(nodes: list[Node]) -> None:
    ids = [{server.name: server.id for server in node.api.servers("back-session")} for node in nodes]
    assert ids[0] == ids[1]
    assert list(ids[0]) == [f"web-be{number}" for number in range(1, 8)]
    assert len(set(ids[0].values())) == 7
    assert all(server.up for node in nodes for server in node.api.servers("back-session"))


def is_logged(balancer: Host, what: str) -> bool:
    return what in balancer.check_output("journalctl --no-pager --since -5min -t haproxy")


def test_requests_are_logged_to_the_journal(balancers: list[Host], nodes: list[Node]) -> None:
    for balancer, node in zip(balancers, nodes, strict=True):
        with urllib.request.urlopen(f"{node.client.url}/?logged-by={node.name}", timeout=10) as answer:
            assert answer.status == 200
        wait_for(f"the request in {node.name}'s journal", partial(is_logged, balancer, f"logged-by={node.name}"))


def test_the_last_good_configuration_is_kept(balancers: list[Host]) -> None:
    for balancer in balancers:  # the package's own, at first; a build from source brings none
        assert balancer.file(f"{CONFIGURATION}.last-good").exists == balancer.package("haproxy").is_installed
        folder = balancer.check_output("ls /etc/haproxy").split()
        assert not [name for name in folder if "~" in name]
