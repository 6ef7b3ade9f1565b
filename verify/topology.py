"""Topology: which balancers there are and how to reach them, read from an Ansible inventory."""

import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verify.errors import InventoryError

INVENTORY_SECONDS = 60


@dataclass(frozen=True)
class Balancer:
    """A host that runs HAProxy, by its connection variables in the inventory.

    Attributes:
        name: the host's name in the inventory.
        url: where its frontend answers, from the machine that runs the verifier (`verify_url`).
        address: `ansible_host`, or the name.
        port: `ansible_port`, None for ssh's own choice.
        user: `ansible_user`, None for ssh's own choice.
        key_file: `ansible_ssh_private_key_file`, with `~` expanded.
        ssh_args: `ansible_ssh_common_args` and `ansible_ssh_extra_args`, split as a shell would.
    """

    name: str
    url: str
    address: str
    port: int | None
    user: str | None
    key_file: Path | None
    ssh_args: tuple[str, ...]


@dataclass(frozen=True)
class Topology:
    """The balancers of an inventory, in its order."""

    balancers: tuple[Balancer, ...]

    @classmethod
    def from_inventory(cls, inventory: str, group: str = "balancers") -> "Topology":
        """Reads an inventory by `ansible-inventory`, that of this Python's venv if it has one.

        Args:
            inventory: what Ansible's `-i` takes.
            group: the name of the balancers' group.

        Raises:
            InventoryError: no such command, group, host or variable, or a value that needs Jinja.
        """
        data, warnings = _list(inventory)
        names = _hosts(data, group)
        if not names:
            raise InventoryError(f"inventory {inventory} has no host in the group {group!r}{warnings}")
        hostvars = data.get("_meta", {}).get("hostvars", {})
        return cls(tuple(_balancer(name, hostvars.get(name, {})) for name in names))


def _list(inventory: str) -> tuple[dict[str, Any], str]:
    """Returns `ansible-inventory --list`, and what it warned of, ready to end a sentence."""
    beside = Path(sys.executable).with_name("ansible-inventory")
    command = [str(beside) if beside.exists() else "ansible-inventory", "-i", inventory, "--list"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INVENTORY_SECONDS, check=False)
    except FileNotFoundError:
        raise InventoryError(
            "ansible-inventory is not installed: put ansible-core where this Python is, or on PATH"
        ) from None
    except subprocess.TimeoutExpired:
        raise InventoryError(f"ansible-inventory -i {inventory} did not end within {INVENTORY_SECONDS} s") from None
    said = " ".join(done.stderr.split())
    try:
        data = json.loads(done.stdout) if done.returncode == 0 else None
    except json.JSONDecodeError:
        data = None
    if not isinstance(data, dict):
        raise InventoryError(f"ansible-inventory can't read {inventory}: {said or 'no reason given'}")
    return data, f" (ansible-inventory: {said})" if said else ""


def _hosts(data: dict[str, Any], group: str) -> list[str]:
    """Returns a group's hosts and then its child groups', each once, in inventory order."""
    entry = data.get(group, {})
    found = list(entry.get("hosts", []))
    for child in entry.get("children", []):
        found += _hosts(data, child)
    return list(dict.fromkeys(found))


def _balancer(name: str, hostvars: dict[str, Any]) -> Balancer:
    def value(variable: str) -> str | None:
        found = hostvars.get(variable)
        if found is None or found == "":
            return None
        if "{{" in str(found):
            raise InventoryError(
                f"{name}: {variable} is a Jinja expression, which ansible-inventory does not render: write a literal"
            )
        return str(found)

    url, port = value("verify_url"), value("ansible_port")
    if url is None:
        raise InventoryError(
            f"{name}: verify_url is missing: give the host a literal such as"
            " `verify_url: http://127.0.0.1:8080`, where its frontend answers from here"
        )
    if not url.startswith(("http://", "https://")):
        raise InventoryError(f"{name}: verify_url must start with http:// or https://, not {url}")
    if port is not None and not port.isdecimal():
        raise InventoryError(f"{name}: ansible_port must be a number, not {port}")
    key_file = value("ansible_ssh_private_key_file")
    try:
        ssh_args = (
            *shlex.split(value("ansible_ssh_common_args") or ""),
            *shlex.split(value("ansible_ssh_extra_args") or ""),
        )
    except ValueError as error:
        raise InventoryError(f"{name}: the ssh arguments can't be split: {error}") from None
    return Balancer(
        name=name,
        url=url.rstrip("/"),
        address=value("ansible_host") or name,
        port=int(port) if port else None,
        user=value("ansible_user"),
        key_file=Path(key_file).expanduser() if key_file else None,
        ssh_args=ssh_args,
    )
