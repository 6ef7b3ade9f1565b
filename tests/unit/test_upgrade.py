"""What playbooks/upgrade.yml makes of the rows and versions that the balancers tell."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
# What runs, which version comes, and what is made of two rows with different servers and five that are missing
# somewhere: how many count, whether sessions are carried over by a file, and whether the first one's peers teach it.
VERSIONS = {
    "equals": (["2.6.12", "2.6.12"], "3.0.11", 7, False, True),
    "neighbours": (["3.0.11", "2.6.12"], "3.0.11", 7, False, True),
    "from-1.5": (["1.5.19", "1.5.19"], "3.0.11", 7, True, False),
    "half-way": (["1.5.19", "3.0.11"], "3.0.11", 2, True, True),
    "half-way-of-three": (["1.5.19", "1.5.19", "3.0.11"], "3.0.11", 2, True, True),
    "to-1.5": (["2.0.34", "2.0.34"], "1.5.19", 7, True, False),
    "to-1.6": (["2.0.34", "2.0.34"], "1.6.16", 7, False, True),
    "within-1.5": (["1.5.16", "1.5.19"], "1.5.19", 7, False, True),
}


@pytest.fixture(scope="module")
def made(ansible: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    folder = tmp_path_factory.mktemp("compared")
    inventory = {
        name: {
            "__haproxy_version": comes,
            "__haproxy_compared": {
                "moved": 2,
                "missing": 5,
                "versions": {name if number == 0 else f"lb-{number}": version for number, version in enumerate(run)},
                "rows": {"lb-a": 10, "lb-b": 20},
            },
        }
        for name, (run, comes, *_) in VERSIONS.items()
    }
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": inventory, "vars": local}}))
    ansible("ansible-playbook", "-i", folder / "hosts.json", "-e", f"out={folder}", HERE / "render" / "compare.yml")
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in VERSIONS}


@pytest.mark.parametrize("name", VERSIONS)
def test_versions_say_what_counts_and_what_is_carried_over(made: dict[str, list[Any]], name: str) -> None:
    assert tuple(made[name][:3]) == VERSIONS[name][2:]


def test_what_was_compared_is_said(made: dict[str, list[Any]]) -> None:
    said = "2 rows with different servers, 5 that are not on all balancers; compared were lb-a: 10, lb-b: 20"
    assert made["equals"][-1] == said
    assert " (no fault here: versions before 1.6 can tell the others nothing); compared were" in made["half-way"][-1]
