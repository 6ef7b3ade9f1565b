"""What an operator does to running balancers, and what must not get lost by it."""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from deployment import INVENTORY, ROOT, Run, play, wait_for
from node import Node
from testinfra.host import Host

TABLE = "back-session"


def sessions(prefix: str) -> list[str]:
    return [f"{prefix}-{n}" for n in range(30)]


def bindings(node: Node, wanted: list[str]) -> dict[str, str | None]:
    return node.bindings(TABLE, wanted)


def has_new_worker(node: Node, worker: str) -> bool:
    return node.api.info()["Pid"] != worker


def test_a_run_limited_to_one_balancer_renders_the_same_bytes(group: Callable[[str], list[str]]) -> None:
    for name in group("balancers"):
        run = play("playbooks/balancers.yml", "--limit", name)
        assert run.rc == 0, run.output
        assert run.changed(name) == 0, run.output


def test_an_interrupted_run_is_completed_by_the_next(nodes: list[Node], group: Callable[[str], list[str]]) -> None:
    """The file is written, and the run ends before the reload."""
    name = nodes[0].name
    worker = nodes[0].api.info()["Pid"]
    written = play(
        "playbooks/balancers.yml", "--limit", name, "--tags", "preflight,configure", "-e", "haproxy_stats_bind=*:8405"
    )
    assert (written.rc, written.changed(name) > 0, nodes[0].api.info()["Pid"]) == (0, True, worker), written.output
    completed = play("playbooks/balancers.yml", "--limit", name, "-e", "haproxy_stats_bind=*:8405")
    assert (completed.rc, completed.changed(name)) == (0, 1), completed.output
    assert nodes[0].api.info()["Pid"] != worker
    back = play("playbooks/balancers.yml", "--limit", name)
    assert back.rc == 0, back.output


def test_a_reload_right_after_a_start_loses_nothing(balancers: list[Host], nodes: list[Node]) -> None:
    """And a plain one loses all: the twin that shows that this test can fail."""
    balancers[1].check_output("systemctl stop haproxy")
    try:
        for command, survive in (("systemctl reload haproxy", False), ("haproxy-peers reload", True)):
            balancers[0].check_output("systemctl reset-failed haproxy; systemctl restart haproxy")
            planted = sessions(f"{command.split()[0]}")
            for session in planted:
                nodes[0].client.ask(session)
            before = bindings(nodes[0], planted)
            assert None not in before.values()
            worker = nodes[0].api.info()["Pid"]
            balancers[0].check_output(command)
            wait_for("a new worker", partial(has_new_worker, nodes[0], worker))
            nodes[0].await_sync(TABLE)
            after = bindings(nodes[0], planted)
            assert after == (before if survive else dict.fromkeys(before)), command
    finally:
        balancers[1].check_output("systemctl reset-failed haproxy; systemctl start haproxy")
    for node in nodes:
        node.await_sync(TABLE)


def test_a_dead_peer_is_a_warning(balancers: list[Host], group: Callable[[str], list[str]]) -> None:
    first, second = group("balancers")
    balancers[1].check_output("systemctl stop haproxy")
    try:
        run = play("playbooks/balancers.yml", "--limit", first)
    finally:
        balancers[1].check_output("systemctl reset-failed haproxy; systemctl start haproxy")
    assert run.rc == 0, run.output
    assert f"WARNING: peer {second} at" in run.output
    assert "does not answer (" in run.output  # CONN, or gone where HAProxy has not tried to connect again yet


def files(balancer: Host) -> str:
    """Return name, time and size of every file that a run could change."""
    return str(
        balancer.check_output("find /etc /run/haproxy /tmp /usr/local /root -type f -printf '%p %T@ %s\\n' | sort")
    )


def test_check_and_diff_show_the_change_without_secrets_and_make_none(balancers: list[Host]) -> None:
    secret = "sup3r-secret"
    listens = [{"name": "stats", "bind": ["127.0.0.1:8404"], "stats": ["enable", f"auth admin:{secret}"]}]
    before = [files(balancer) for balancer in balancers]
    run = play("playbooks/balancers.yml", "--check", "--diff", "-e", json.dumps({"haproxy_listens": listens}))
    assert run.rc == 0, run.output
    assert "+  stats auth admin:********" in run.output
    assert secret not in run.output
    assert [files(balancer) for balancer in balancers] == before


def test_a_check_of_what_is_deployed_would_change_nothing(group: Callable[[str], list[str]]) -> None:
    run = play("site.yml", "--check")
    assert run.rc == 0, run.output
    assert [run.changed(name) for name in group("web_hosts") + group("balancers")] == [0, 0, 0]


def test_a_process_without_the_master_socket_is_restarted(
    balancers: list[Host], group: Callable[[str], list[str]]
) -> None:
    """As an operator's own EXTRAOPTS="-L name" leaves it: the role mends it."""
    name = group("balancers")[1]
    balancers[1].check_output(
        "echo 'EXTRAOPTS=\"-L %s\"' > /etc/default/haproxy; systemctl reset-failed haproxy; systemctl restart haproxy",
        name,
    )
    run = play("playbooks/balancers.yml", "--limit", name)
    assert run.rc == 0, run.output
    assert "restart: /etc/default/haproxy has other arguments than the running process" in run.output
    assert balancers[1].file("/run/haproxy-master.sock").is_socket


PRODUCTION = {
    "haproxy_frontends": [
        {
            "name": "front-session",
            "bind": [
                "*:80 accept-proxy",
                "*:443 ssl crt /etc/haproxy/certs/site.pem alpn h2,http/1.1",
                "*:8443 ssl crt-list /etc/haproxy/certs/list.txt alpn h2,http/1.1",
            ],
            "option": ["forwardfor"],
            "acl": ["api path_beg /api"],
            "http_request": [
                "track-sc0 src table rates",
                "deny deny_status 429 if { sc_http_req_rate(0) gt 1000 }",
                "redirect scheme https unless { ssl_fc }",
            ],
            "use_backend": ["back-api if api"],
            "default_backend": "back-session",
        }
    ],
    "haproxy_backends": [
        {
            "name": "back-session",
            "balance": "roundrobin",
            "option": ["httpchk"],
            "http_check": ["send meth HEAD uri / ver HTTP/1.1 hdr Host localhost"],
            "stick_table": {"type": "string", "len": 64, "size": "100k", "expire": "2h", "srvkey": "name"},
            "stick": ["on req.cook(JSESSIONID)", "store-response res.cook(JSESSIONID)", "match src table by-address"],
            "default_server": ["inter 1s fall 3"],
            "server": "{{ haproxy_web_servers }}",
        },
        {
            "name": "back-api",
            "mode": "http",
            "lines": ["stick on hdr(X-Api-Key) table by-key"],
            "server": [{"name": "api", "address": "127.0.0.1", "port": 9, "id": 1, "params": "check backup"}],
        },
        {"name": "by-key", "stick_table": {"type": "string", "len": 40, "size": "10k", "expire": "1h"}},
        {"name": "by-address", "stick_table": {"type": "ip", "size": "10k", "expire": "1h", "peers": False}},
        {
            "name": "rates",
            "stick_table": {"type": "ip", "size": "10k", "expire": "10m", "store": ["http_req_rate(10s)"]},
        },
    ],
}


def test_what_production_has_is_accepted_by_haproxy(balancers: list[Host]) -> None:
    """By `haproxy -c` on the hosts, in check mode."""
    certificate = (
        "mkdir -p /etc/haproxy/certs && cd /etc/haproxy/certs && openssl req -x509 -newkey rsa:2048 -nodes -days 2"
        " -subj /CN=site -keyout site.key -out site.crt 2>/dev/null && cat site.crt site.key > site.pem"
        " && echo '/etc/haproxy/certs/site.pem site' > list.txt"
    )
    for balancer in balancers:
        balancer.check_output(certificate)
    try:
        run = play("playbooks/balancers.yml", "--check", "--diff", "-e", json.dumps(PRODUCTION))
    finally:
        for balancer in balancers:
            balancer.check_output("rm -r /etc/haproxy/certs")
    assert run.rc == 0, run.output
    assert "+  stick-table type ip size 10k expire 10m peers haproxy-peers store http_req_rate(10s)" in run.output


def test_the_collection_works_from_outside_the_checkout(tmp_path: Path, group: Callable[[str], list[str]]) -> None:
    galaxy = str(Path(sys.executable).with_name("ansible-galaxy"))
    collections = tmp_path / "collections"
    for command in (
        [galaxy, "collection", "build", str(ROOT), "--output-path", str(tmp_path)],
        [galaxy, "collection", "install", str(tmp_path / "sticky-peers-0.1.0.tar.gz"), "-p", str(collections)],
    ):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    (tmp_path / "play.yml").write_text(
        json.dumps(
            [
                {
                    "hosts": "balancers",
                    "become": True,
                    "gather_facts": False,
                    "serial": 1,
                    "roles": ["sticky.peers.haproxy"],
                }
            ]
        )
    )
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", INVENTORY, "play.yml"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), "ANSIBLE_COLLECTIONS_PATH": str(collections)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "TASK [sticky.peers.haproxy : " in done.stdout
    run = Run(done.returncode, done.stdout)
    assert [run.changed(name) for name in group("balancers")] == [0, 0]
