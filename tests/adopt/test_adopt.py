"""A hand-written pair with traffic comes under the role: by its own file, then by variables that say the same."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from deployment import INVENTORY, ROOT, Run, play, run
from node import Node
from testinfra.host import Host
from traffic import Traffic, traffic

BY_HAND = ROOT / "molecule/adopt/haproxy.cfg"
VARIABLES = ("-e", f"@{Path(__file__).parent}/variables.yml")
SECRET = "swordfish"


def verify(folder: Path, command: str, *arguments: str) -> None:
    """Plants sessions, or asserts that each is where it was."""
    where = [f"--runs={folder / 'runs'}", f"--state={folder / 'planted.jsonl'}", "--rate=100"]
    done = run([sys.executable, "-m", "verify", command, *arguments, *where])
    assert done.rc == 0, done.output
    assert "PASS" in done.output


def told(balancer: Host, name: str) -> str:
    return str(balancer.check_output("systemctl show -P %s haproxy", name))


def state(balancer: Host) -> str:
    """Gives the processes, and every file that a run could change."""
    return str(
        balancer.check_output(
            "pidof haproxy; find /etc /run/haproxy /tmp /usr/local /root -type f -printf '%p %T@ %s %m\\n' | sort"
        )
    )


def deploy(nodes: list[Node], *arguments: str) -> tuple[Run, Traffic]:
    """Deploys under traffic, which has sessions of its own."""
    with traffic({node.name: node.client.url for node in nodes}) as seen:
        done = play("site.yml", *arguments)
    print(seen)
    assert done.rc == 0, done.output
    return done, seen


def test_the_pair_runs_what_was_written_by_hand(balancers: list[Host]) -> None:
    for balancer in balancers:
        assert balancer.file("/etc/haproxy/haproxy.cfg").content_string == BY_HAND.read_text()
        assert not balancer.file("/usr/local/sbin/haproxy-peers").exists


@pytest.mark.parametrize("arguments", [(), VARIABLES], ids=["own-file", "variables"])
def test_check_and_diff_show_what_would_change_and_change_nothing(
    balancers: list[Host], nodes: list[Node], arguments: tuple[str, ...]
) -> None:
    before = [state(balancer) for balancer in balancers]
    run, seen = deploy(nodes, "--check", "--diff", *arguments)
    for node in nodes:
        assert f'+EXTRAOPTS="-S /run/haproxy-master.sock -L {node.name}"' in run.output
    rows = run.output.count("+  server tomcat1 10.133.39.10:8081 id 1 check")
    assert rows == (len(nodes) if arguments else 0), run.output
    assert SECRET not in run.output
    assert [state(balancer) for balancer in balancers] == before
    assert not seen.failed, seen


def test_only_the_declared_restart_costs_requests(
    balancers: list[Host], nodes: list[Node], tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """The process is given its name and starts anew, one balancer at a time; its file is what it was."""
    verify(tmp_path, "plant", "-i", INVENTORY, "--sessions=40")
    starts = [balancer.check_output("journalctl -u haproxy | grep -c Started") for balancer in balancers]
    run, seen = deploy(nodes)
    assert "restart: /etc/default/haproxy has other arguments than the running process" in " ".join(run.output.split())
    windows = []
    for balancer, node, before in zip(balancers, nodes, starts, strict=True):
        assert balancer.check_output("journalctl -u haproxy | grep -c Started") == str(int(before) + 1)
        assert balancer.file("/etc/haproxy/haproxy.cfg").content_string == BY_HAND.read_text()
        began, ended = (int(told(balancer, f"Active{what}TimestampMonotonic")) * 1000 for what in ("Exit", "Enter"))
        own = [operation for operation in seen.failed if operation.balancer == node.name]
        outside = [operation for operation in own if operation.done_ns < began or operation.sent_ns > ended]
        record_testsuite_property(node.name, f"away for {(ended - began) / 1e6:.0f} ms, {len(own)} requests failed")
        print(
            f"{node.name}: away for {(ended - began) / 1e6:.0f} ms, {len(own)} requests failed, {len(outside)} outside"
        )
        assert not outside
        windows.append((began, ended))
    first, second = sorted(windows)
    assert first[1] < second[0]
    verify(tmp_path, "check")


def test_then_nothing_changes_any_more(balancers: list[Host], nodes: list[Node]) -> None:
    run = play("site.yml")
    assert (run.rc, [run.changed(node.name) for node in nodes]) == (0, [0, 0]), run.output


def test_variables_that_say_the_same_cost_nothing(balancers: list[Host], nodes: list[Node], tmp_path: Path) -> None:
    verify(tmp_path, "plant", "-i", INVENTORY, "--sessions=40")
    masters = [told(balancer, "MainPID") for balancer in balancers]
    _, seen = deploy(nodes, *VARIABLES)
    assert not seen.failed, seen
    assert [told(balancer, "MainPID") for balancer in balancers] == masters
    assert len({balancer.file("/etc/haproxy/haproxy.cfg").sha256sum for balancer in balancers}) == 1
    for balancer in balancers:
        assert balancer.file("/etc/haproxy/haproxy.cfg.last-good").content_string == BY_HAND.read_text()
    verify(tmp_path, "check")
