"""The topology, by a real ansible-inventory over inventories written here."""

import sys
from pathlib import Path

import pytest

from verify.errors import InventoryError
from verify.topology import Topology

HOSTS = """
[balancers]
lb-b verify_url=http://127.0.0.1:8080/ ansible_host=127.0.0.1 ansible_port=2211
lb-a verify_url=http://[::1]:9080

[balancers:vars]
ansible_user=admin
ansible_ssh_private_key_file=~/.ssh/lab
ansible_ssh_common_args=-o "ProxyCommand=nc %h %p" -o LogLevel=ERROR
ansible_ssh_extra_args=-4
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """Where a test writes its inventory."""
    assert Path(sys.executable).with_name("ansible-inventory").exists()
    return tmp_path / "hosts.ini"


def test_balancers(inventory: Path) -> None:
    """Every connection variable arrives, in the inventory's order."""
    inventory.write_text(HOSTS)
    first, second = Topology.from_inventory(str(inventory)).balancers
    assert (first.name, first.url, first.address) == ("lb-b", "http://127.0.0.1:8080", "127.0.0.1")
    assert (first.port, first.user) == (2211, "admin")
    assert first.key_file == Path("~/.ssh/lab").expanduser()
    assert first.ssh_args == ("-o", "ProxyCommand=nc %h %p", "-o", "LogLevel=ERROR", "-4")
    assert (second.name, second.url, second.address) == ("lb-a", "http://[::1]:9080", "lb-a")
    assert second.port is None


def test_group_of_groups(inventory: Path) -> None:
    """The group has another name, and its hosts are in its children, one of them in two."""
    inventory.write_text("[one]\nx verify_url=http://x\n[two]\ny verify_url=http://y\nx\n[lb:children]\none\ntwo\n")
    topology = Topology.from_inventory(str(inventory), group="lb")
    assert [balancer.name for balancer in topology.balancers] == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[balancers]\nlb ansible_host=192.0.2.1\n", ["lb", "verify_url is missing", "give"]),
        ("[balancers]\nlb verify_url=127.0.0.1:80\n", ["lb", "verify_url must start"]),
        ("[balancers]\nlb verify_url='http://{{ x }}'\n", ["lb", "verify_url", "literal"]),
        (
            "[balancers]\nlb verify_url=http://x ansible_host='{{ y }}'\n",
            ["lb", "ansible_host", "literal"],
        ),
        ("[balancers]\nlb verify_url=http://x ansible_port=ssh\n", ["lb", "ansible_port"]),
        ("[balancers]\nlb verify_url=http://x ansible_ssh_common_args='-o \"x'\n", ["split"]),
        ("[web]\nweb-1\n", ["no host in the group 'balancers'"]),
    ],
)
def test_unusable_inventory(inventory: Path, text: str, words: list[str]) -> None:
    """The message names the host and the variable, and says what to write."""
    inventory.write_text(text)
    with pytest.raises(InventoryError) as caught:
        Topology.from_inventory(str(inventory))
    assert all(word in str(caught.value) for word in words)


def test_no_such_inventory(inventory: Path) -> None:
    """Ansible only warns of a path that is not there: the warning is passed on."""
    with pytest.raises(InventoryError, match=r"hosts\.ini"):
        Topology.from_inventory(str(inventory))
