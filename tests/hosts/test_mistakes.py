"""Wrong input is refused with its exact message, before anything on the host changes."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployment import Run, play
from node import Node
from testinfra.host import Host

MISTAKES: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("mistakes.yml").read_text())
HOSTS = {"haproxy": "haproxy-1", "session_guard": "haproxy-1", "apache": "web"}


@pytest.fixture(scope="session")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Give what each mistake led to; a few runs at a time."""
    folder = tmp_path_factory.mktemp("mistakes")

    def make(name: str) -> Run:
        mistake = MISTAKES[name]
        playbook = folder / f"{name}.yml"
        role = mistake["role"]
        steps = {"hosts": HOSTS[role], "become": True, "gather_facts": False, "roles": [role]}
        steps["vars"] = mistake.get("play", {})
        playbook.write_text(json.dumps([steps]))
        inventory = folder / f"{name}.inventory.yml"
        inventory.write_text(json.dumps({"all": {"hosts": mistake.get("by_host", {})}}))
        return play(str(playbook), "-i", str(inventory), "-e", json.dumps(mistake.get("everywhere", {})))

    with ThreadPoolExecutor(3) as pool:
        return dict(zip(MISTAKES, pool.map(make, MISTAKES), strict=True))


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_refused_by_name_and_nothing_changes(name: str, refusals: dict[str, Run]) -> None:
    run = refusals[name]
    assert run.rc == 2, run.output
    assert MISTAKES[name]["message"] in " ".join(run.output.split())
    assert run.changed(HOSTS[MISTAKES[name]["role"]]) == 0


@pytest.fixture
def untouched(balancers: list[Host], nodes: list[Node]) -> Iterator[None]:
    """Assert that neither the file nor the process of balancer 1 changes."""

    def look() -> tuple[str, str]:
        files = balancers[0].check_output("find /etc/haproxy /etc/default -type f -exec sha256sum {} + | sort")
        return files, nodes[0].api.info()["Pid"]

    before = look()
    yield
    assert look() == before


BROKEN = {
    "a-line-that-haproxy-refuses": (
        {"haproxy_frontends": [{"name": "front-session", "bind": ["*:80"], "lines": ["bogus keyword"]}]},
        "unknown keyword 'bogus' in 'frontend' section",
    ),
    "a-configuration-without-the-local-peer": (
        "peers haproxy-peers\n  peer somebody-else 127.0.0.1:1024\nlisten l\n  mode tcp\n  bind 127.0.0.1:9\n"
        "  stick-table type ip size 1k peers haproxy-peers\n"
        "  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n",
        "HAProxy would run without its peers, and lose the tables:",
    ),
}


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("mode", ["real", "check"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_configuration_never_replaces_the_running_one(name: str, mode: str, tmp_path: Path) -> None:
    broken, message = BROKEN[name]
    if isinstance(broken, str):
        (tmp_path / "haproxy.cfg").write_text(broken)
        broken = {"haproxy_config_source": str(tmp_path / "haproxy.cfg")}
    options = ["--check"] if mode == "check" else []
    run = play("playbooks/balancers.yml", "-e", json.dumps(broken), *options)
    assert run.rc == 2, run.output
    assert message in run.output
    assert not re.search(r"^haproxy-2 .*ok=", run.output, re.MULTILINE), "the next balancer's turn must not come"


def test_a_broken_virtual_host_never_gets_into_place(web: Host) -> None:
    def look() -> str:
        files = "/etc/apache2/ports.conf /etc/apache2/sites-available/* /var/www/be1/index.html"
        enabled = "ls /etc/apache2/sites-enabled && systemctl show -P MainPID apache2"
        return str(web.check_output(f"sha256sum {files} && {enabled}"))

    before = look()
    broken = {
        "apache_vhosts": [
            {"name": "be1", "port": 8091, "page": "new"},
            {"name": "be2", "port": 8082, "directives": "NoSuchDirective on"},
        ]
    }
    run = play("playbooks/web.yml", "-e", json.dumps(broken))
    assert run.rc == 2, run.output
    assert "Invalid command 'NoSuchDirective'" in run.output
    assert look() == before
