"""A host with the session guard, as tests see it: its files, what it said, and its state."""

import json
from functools import partial
from typing import Any

from deployment import wait_for
from node import Node
from testinfra.host import Host

FOLDERS = "/etc/haproxy /etc/systemd/system /usr/local /var/lib/session-guard /var/lib/haproxy"


def files(host: Host) -> str:
    """Gives digests of all that the guard could leave behind, and the names of folders, links and sockets."""
    listed = f"find {FOLDERS} -name haproxy.cfg.last-good -o -name __pycache__ -prune -o"
    digests = f"{listed} -type f -exec sha256sum {{}} +"
    names = f"{listed} '(' -type d -o -type l -o -type s ')' -print"
    return str(host.run(f"{{ {digests}; {names}; }} | sort").stdout)


def journal(host: Host, since: str) -> str:
    """Gives what the guard said since a time that `now` gave."""
    found = host.check_output(f"journalctl --unit haproxy --since @{since} --no-pager --output cat")
    return "\n".join(row for row in found.splitlines() if "session-guard" in row)


def now(host: Host) -> str:
    """Gives the host's time, in seconds of the epoch."""
    return str(host.check_output("date +%s"))


def state(host: Host) -> dict[str, dict[str, Any]]:
    """Gives what the guard says of itself."""
    found: dict[str, dict[str, Any]] = json.loads(host.check_output("session-guard status --json"))
    return found


def is_open(host: Host) -> bool:
    """Whether the gate of the running worker is."""
    return bool(state(host)["gate"].get("state") == "open")


def stop_and_start(hosts: list[Host]) -> None:
    """Stops all, then starts all at once; their gates are open again."""
    for host in hosts:
        host.check_output("systemctl stop haproxy")
    for host in hosts:
        host.check_output("systemctl start --no-block haproxy")
    for host in hosts:
        wait_for("the gate to open", partial(is_open, host))


def has_new_worker(node: Node, worker: str) -> bool:
    """Whether another worker answers than the one with that process id."""
    try:
        return node.api.info()["Pid"] != worker
    except Exception:  # nobody answers while it is down
        return False
