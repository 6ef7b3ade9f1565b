"""A second converge with changed variables, and back with the oldest ansible-core: removal works as creation does."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from deployment import ROOT, Run, wait_for
from node import Node
from test_web import ask
from testinfra.host import Host

from verify.client import Client, Target

HERE = Path(__file__).parent
OLDEST = ROOT / ".venv-2.16"


def configuration(balancers: list[Host]) -> set[str]:
    return {balancer.file("/etc/haproxy/haproxy.cfg").content_string for balancer in balancers}


def servers(nodes: list[Node]) -> list[dict[str, int]]:
    return [{server.name: server.id for server in node.api.servers("back-session")} for node in nodes]


def masters(hosts: list[Host], unit: str) -> list[str]:
    return [host.check_output("systemctl show -P MainPID %s", unit) for host in hosts]


@pytest.fixture(scope="module")
def before(web: Host, balancers: list[Host], nodes: list[Node]) -> dict[str, object]:
    return {
        "configuration": configuration(balancers),
        "ids": servers(nodes),
        "apache": masters([web], "apache2"),
        "haproxy": masters(balancers, "haproxy"),
        "sites": web.check_output("cat /etc/apache2/sites-enabled/* /etc/apache2/ports.conf"),
    }


@pytest.fixture(scope="module")
def changed(site: Callable[..., Run], web: Host, before: dict[str, object]) -> Iterator[Run]:
    """Give the run with the changed variables; goes back afterwards, whatever happens."""
    yield site("-e", f"@{HERE}/changed.yml")
    if web.file("/etc/apache2/ports.conf").contains("8088"):  # the test of the way back did not come to it
        site("-e", f"@{HERE}/back.yml")


@pytest.fixture(scope="module")
def back(site: Callable[..., Run], changed: Run) -> Run:
    assert (OLDEST / "bin/ansible-playbook").exists(), "`make molecule` installs ansible-core 2.16"
    return site("-e", f"@{HERE}/back.yml", venv=OLDEST)


def test_the_changed_variables_are_taken(
    changed: Run, web: Host, balancers: list[Host], nodes: list[Node], before: dict[str, object]
) -> None:
    assert [ask(web, port)[2] for port in (8081, 8088)] == ["Backend 1\n", "Backend 8\n"]
    assert ask(web, 8088, host="named.example")[2] == "By name\n"
    listening = {socket.rpartition(":")[2] for socket in web.socket.get_listening_sockets() if "tcp" in socket}
    assert listening - {"22"} == {"8081", "8082", "8083", "8084", "8085", "8088"}
    sites = web.file("/etc/apache2/sites-available/virtual-hosts.conf").content_string
    assert ("be5-access.log" in sites, "be6-access.log" in sites, "be7-access.log" in sites) == (True, False, False)
    assert ask(web, 8088, "/login")[1][0].startswith("SID=")

    (text,) = configuration(balancers)
    assert "stick on req.cook(SID)" in text
    assert "JSESSIONID" not in text
    names = ["web-be1", "web-be2", "web-be3", "web-be4", "web-be5", "web-be8", "web-named"]
    for now, then in zip(servers(nodes), before["ids"], strict=True):  # type: ignore[call-overload]
        assert list(now) == names
        assert {name: now[name] for name in names[:5]} == {name: then[name] for name in names[:5]}


def test_the_server_is_named_to_the_verifier_alone(changed: Run, nodes: list[Node]) -> None:
    for node in nodes:
        named = {}
        for token in ("0123456789abcdef", "0123456789abcdeX", None):
            headers = {"X-Sticky-Token": token} if token else {}
            with Client(Target(url=node.client.url, cookie="SID", headers=headers)) as client:
                answer = client.ask("svfy-named")
            named[token] = answer.header("X-Sticky-Server")
        server = named.pop("0123456789abcdef")
        assert server == node.bindings("back-session", ["svfy-named"])["svfy-named"]
        assert set(named.values()) == {None}


def test_virtual_hosts_and_services_come_and_go_by_reload(
    changed: Run, web: Host, balancers: list[Host], before: dict[str, object]
) -> None:
    assert masters([web], "apache2") == before["apache"]
    assert masters(balancers, "haproxy") == before["haproxy"]


def test_the_further_packages_are_there(changed: Run, balancers: list[Host]) -> None:
    assert all(balancer.package("hatop").is_installed for balancer in balancers)


def is_logged(balancer: Host, name: str) -> bool:
    return bool(balancer.run("grep for-rsyslog=%s /var/log/haproxy.log", name).succeeded)


def test_rsyslog_writes_the_log(changed: Run, balancers: list[Host], nodes: list[Node]) -> None:
    for balancer, node in zip(balancers, nodes, strict=True):
        node.client.ask(None, f"/?for-rsyslog={node.name}")
        wait_for(f"the request in {node.name}'s /var/log/haproxy.log", partial(is_logged, balancer, node.name))


def test_the_way_back_by_the_oldest_ansible(
    back: Run, web: Host, balancers: list[Host], nodes: list[Node], before: dict[str, object]
) -> None:
    assert configuration(balancers) == before["configuration"]
    assert servers(nodes) == before["ids"]
    assert web.check_output("cat /etc/apache2/sites-enabled/* /etc/apache2/ports.conf") == before["sites"]
    assert [ask(web, port)[2] for port in (8086, 8087)] == ["Backend 6\n", "Backend 7\n"]


def test_then_nothing_changes_any_more(back: Run, site: Callable[..., Run], group: Callable[[str], list[str]]) -> None:
    run = site()
    assert [run.changed(host) for host in group("web_hosts") + group("balancers")] == [0, 0, 0]
