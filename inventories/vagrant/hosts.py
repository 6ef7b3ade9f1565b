#!/usr/bin/env python3
"""The machines of `vagrant up` as an inventory, from what Vagrant and the Vagrantfile keep of them in .vagrant.

VAGRANT_DOTFILE_PATH takes another folder than .vagrant, as Vagrant itself does.
"""

import json
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / Path(os.environ.get("VAGRANT_DOTFILE_PATH") or ".vagrant").expanduser()
# Those that are not there are listed too, at a port where nobody answers: the deployment then says what to do.
HOSTS = {name: {"ansible_host": "127.0.0.1", "ansible_port": 1} for name in ("web", "haproxy-1", "haproxy-2")}


def variables(machine: Path) -> dict[str, str]:
    """Return the variables of a machine's host, from its folder in Vagrant's state."""
    address = (machine / "address").read_text()
    own = {"ansible_host": address, "ansible_ssh_private_key_file": str(machine / "private_key")}
    if machine.parent.name == "web":
        return own | {"apache_address": address}
    return own | {"haproxy_peer_address": address, "verify_url": f"http://{address}"}


for found in STATE.glob("machines/*/*/address"):
    if re.fullmatch(r"web|haproxy-\d+", found.parts[-3]) and (found.parent / "id").exists():
        HOSTS[found.parts[-3]] = variables(found.parent)

balancers = sorted(HOSTS.keys() - {"web"}, key=lambda name: int(name.rpartition("-")[2]))
groups = {"web_hosts": {"hosts": ["web"]}, "balancers": {"hosts": balancers}}
print(json.dumps({"_meta": {"hostvars": HOSTS}, **groups}, indent=2))
