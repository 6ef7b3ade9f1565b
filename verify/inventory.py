"""Inventory: topologies from Ansible, from files and from the command line."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from verify.errors import BadUse, InventoryError
from verify.intent import CONNECTION, connection_of, topology_from
from verify.topology import FORMAT, Balancer, Connection, Topology

INVENTORY_SECONDS = 60
PLAY_SECONDS = 120
GROUP = "balancers"
_CHECKOUT = Path(__file__).resolve().parent.parent
_COLLECTION = "sticky.peers.topology"
_FATAL = re.compile(r"^fatal: \[([^\] ]+).*?\].*? => (\{.*\})$", re.MULTILINE)
_BALANCER = re.compile(r"(?:([^=@/]+)=)?(?:([^=@/]+)@)?(\[[^\]]+\]|[^=@/:\[\]]+)(?::(\d+))?")
_SOCKET = re.compile(r"([^=@/]+)=unix:(/.+)")


def topology_of(inventory: str, backend: str | None = None, group: str | None = None) -> Topology:
    """Has Ansible render what should run, by playbooks/topology.yml, which connects to no host.

    Args:
        inventory: what Ansible's `-i` takes.
        backend: the sticky backend; None for `verify_backend`, or the first one that is sticky.
        group: the balancers' group, as `-e haproxy_group=` gives it to the other playbooks.

    Raises:
        InventoryError: no such command, inventory or group, a play that fails, or a variable that is missing.
    """
    # Whatever the user's ansible.cfg says: the reason of a failure is read from the output.
    settings = {
        "ANSIBLE_STDOUT_CALLBACK": "default",
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "ANSIBLE_FORCE_COLOR": "0",
    }
    playbook, hint = _COLLECTION, " (outside its checkout, the verifier needs the collection sticky.peers)"
    if (beside := _CHECKOUT / "playbooks" / "topology.yml").exists():
        playbook, hint = str(beside), ""
        settings["ANSIBLE_ROLES_PATH"] = str(_CHECKOUT / "roles")
    with tempfile.TemporaryDirectory(prefix="verify-") as folder:
        written = Path(folder, "topology.json")
        variables = {"topology_file": str(written)} | ({"haproxy_group": group} if group else {})
        command = ["ansible-playbook", "-i", inventory, "-e", json.dumps(variables), playbook]
        done = _ansible(command, PLAY_SECONDS, os.environ | settings)
        if done.returncode != 0:
            raise InventoryError(f"ansible-playbook can't render {inventory}: {_reason(done)}{hint}")
        if not written.exists():
            raise _no_host(inventory, group or GROUP, done)
        return topology_from(written.read_bytes(), backend)


def balancers_of(inventory: str, group: str = GROUP) -> tuple[Balancer, ...]:
    """Reads the balancers by `ansible-inventory` alone, which knows no role and renders no Jinja.

    Args:
        inventory: what Ansible's `-i` takes.
        group: the balancers' group.

    Returns:
        Them, in the inventory's order; a URL or peer's name that is no literal is unknown.

    Raises:
        InventoryError: no such command, group or host, or a connection that needs Jinja.
    """
    done = _ansible(["ansible-inventory", "-i", inventory, "--list"], INVENTORY_SECONDS)
    try:
        data = json.loads(done.stdout) if done.returncode == 0 else None
    except json.JSONDecodeError:
        data = None
    if not isinstance(data, dict):
        raise InventoryError(f"ansible-inventory can't read {inventory}: {_reason(done)}")
    names = _hosts(data, group)
    if not names:
        raise _no_host(inventory, group, done)
    hostvars = data.get("_meta", {}).get("hostvars", {})
    return tuple(_balancer(name, hostvars.get(name, {})) for name in names)


def balancer_from(text: str) -> Balancer:
    """Reads a balancer of the command line.

    Args:
        text: `[NAME=][USER@]HOST[:PORT]`, reached by ssh, or `NAME=unix:PATH`, the admin socket of
            a HAProxy on this machine.

    Raises:
        BadUse: it is neither.
    """
    if found := _SOCKET.fullmatch(text):
        return Balancer(name=found[1], connection=Connection(address=found[1], local=True), socket=found[2])
    if not (found := _BALANCER.fullmatch(text)):
        raise BadUse(
            f"{text!r} is no balancer: write [NAME=][USER@]HOST[:PORT], an IPv6 address in brackets, or NAME=unix:PATH"
        )
    name, user, address, port = found.groups()
    address = address.strip("[]")
    connection = Connection(address=address, port=int(port) if port else None, user=user)
    return Balancer(name=name or address, connection=connection)


def load(path: Path) -> Topology:
    """Reads a topology's file, as `dump` writes it.

    Raises:
        InventoryError: no such file, another format, or a field that is wrong, by its name.
    """
    try:
        topology = msgspec.json.decode(path.read_bytes(), type=Topology)
    except OSError as error:
        raise InventoryError(f"{path} can't be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise InventoryError(f"{path} is no topology: {error}") from None
    if topology.format != FORMAT:
        raise InventoryError(f"{path} has format {topology.format}, and this verifier knows {FORMAT}")
    if not topology.balancers:
        raise InventoryError(f"{path} is no topology: `balancers` is empty")
    return topology


def dump(topology: Topology, path: Path) -> None:
    """Writes a topology's file, for people to read and mend too.

    Raises:
        InventoryError: it can't be written.
    """
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(topology)) + b"\n")
    except OSError as error:
        raise InventoryError(f"{path} can't be written: {error.strerror}") from None


def _ansible(
    command: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command of Ansible's: that of this Python's venv, if it has one."""
    beside = Path(sys.executable).with_name(command[0])
    try:
        return subprocess.run(
            [str(beside) if beside.exists() else command[0], *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env=environment,
        )
    except FileNotFoundError:
        raise InventoryError(
            f"{command[0]} is not installed: put ansible-core where this Python is, or on PATH"
        ) from None
    except subprocess.TimeoutExpired:
        raise InventoryError(f"`{' '.join(command[:3])}` did not end within {seconds:g} s") from None


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """Returns Ansible's own message: that of the task that failed, or the last lines that it wrote."""
    if found := _FATAL.search(done.stdout):
        return f"{found[1]}: {' '.join(json.loads(found[2]).get('msg', 'no reason given').split())}"
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()[-5:]
    return " ".join(" ".join(lines).split()) or "no reason given"


def _no_host(inventory: str, group: str, done: subprocess.CompletedProcess[str]) -> InventoryError:
    """Says so, with what Ansible warned of: it only warns of an inventory that is not there."""
    warned = " ".join(done.stderr.split())
    return InventoryError(
        f"inventory {inventory} has no host in the group {group!r}" + (f" (Ansible: {warned})" if warned else "")
    )


def _hosts(data: dict[str, Any], group: str) -> list[str]:
    """Returns a group's hosts and then its child groups', each once, in inventory order."""
    entry = data.get(group, {})
    found = list(entry.get("hosts", []))
    for child in entry.get("children", []):
        found += _hosts(data, child)
    return list(dict.fromkeys(found))


def _balancer(name: str, hostvars: Mapping[str, Any]) -> Balancer:
    def literal(variable: str) -> str | None:
        value = str(hostvars.get(variable) or "")
        return value if value and "{{" not in value else None

    for variable in CONNECTION:
        if hostvars.get(variable) and literal(variable) is None:
            raise InventoryError(
                f"{name}: {variable} is a Jinja expression, which ansible-inventory does not render: write a literal,"
                " or name the balancer by --balancer"
            )
    return Balancer(
        name=name,
        connection=connection_of(name, hostvars),
        url=(literal("verify_url") or "").rstrip("/") or None,
        peer=literal("haproxy_peer_name"),
    )
