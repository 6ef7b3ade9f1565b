"""Real HAProxies of four versions, from Debian's packages, judge what is rendered, and the table of features."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from deployment import ROOT, play
from versions import CASES, SAMPLES, Case, asking, has, hosts

DEBIAN = {"2.2.9": "bullseye", "2.6.12": "bookworm", "3.0.11": "trixie", "3.2.26": "forky"}
UBUNTU = {"1.6.3": "xenial", "1.8.8": "bionic", "2.0.33": "focal", "2.4.30": "jammy", "2.8.30": "noble"}
SUITES = UBUNTU if os.environ.get("STICKY_BINARIES") == "ubuntu" else DEBIAN
RENDERED = {
    name: Case(CASES[name].variables, list(SUITES), CASES[name].web_group) for name in ("demo", "production", "lua")
}
# The distributions' builds lack QUIC up to 3.0; 3.2 has `program` after expose-deprecated-directives alone;
# 1.6.3 is older than some of what upstream's manual of 1.6 has.
LEFT_OUT = {
    *((version, "quic") for version in ("2.6.12", "2.8.30", "3.0.11")),
    ("3.2.26", "program"),
    ("1.6.3", "environment"),
}
# Taken, and not kept: any protocol can be offered to clients, also one that HAProxy does not speak.
TAKEN = {("1.6.3", "h2")}
EACH_VERSION = pytest.mark.parametrize("version", SUITES)


@dataclass(frozen=True)
class Answer:
    """What `haproxy -c` said."""

    status: int
    said: str


Answers = dict[tuple[str, str], Answer]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Gives what each version says of what is rendered for it, and of what asks for each feature."""
    folder = tmp_path_factory.mktemp("binaries")
    for version in SUITES:
        (folder / version).mkdir()
        for feature in SAMPLES:
            (folder / version / f"{feature}.cfg").write_text(asking(feature))
    (folder / "hosts.json").write_text(json.dumps(hosts(RENDERED)))
    (folder / "lines.json").write_text("[]")
    render = str(ROOT / "tests/unit/render/versions.yml")
    done = play("--tags", "render", "-e", f"out={folder}", "--limit", "of-*", render, inventory=f"{folder}/hosts.json")
    assert done.rc == 0, done.output
    texts = json.loads((folder / "rendered.json").read_text())["text"]
    for name in RENDERED:
        for version in SUITES:
            own = texts[f"{name}-{version}"].replace(f"peer {name}-{version} ", "peer lb-1 ")
            (folder / version / f"rendered-{name}.cfg").write_text(own)
    argv = [str(ROOT / "scripts/haproxy-check"), "{{ item.value }}", f"{folder}/{{{{ item.key }}}}"]
    check = {
        "ansible.builtin.command": {"argv": argv},
        "loop": "{{ suites | dict2items }}",
        "become": "{{ lookup('ansible.builtin.pipe', 'id -u') != '0' }}",
    }
    steps = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": {"suites": SUITES}}
    (folder / "check.yml").write_text(json.dumps([steps | {"tasks": [check]}]))
    done = play(str(folder / "check.yml"), inventory="/dev/null")  # localhost is implicit
    assert done.rc == 0, done.output
    return {(file.parent.name, file.stem): answer(file) for file in folder.glob("*/*.result")}


def answer(file: Path) -> Answer:
    """Reads one result of scripts/haproxy-check."""
    status, _, said = file.read_text().partition("\n")
    return Answer(int(status), said)


@EACH_VERSION
@pytest.mark.parametrize("case", RENDERED)
def test_a_real_haproxy_takes_what_is_rendered_for_it(answers: Answers, version: str, case: str) -> None:
    found = answers[version, f"rendered-{case}"]
    assert found.status == 0, found.said
    assert "[ALERT]" not in found.said
    assert "[WARNING]" not in found.said or case == "production", found.said  # its mails have no mailers


@EACH_VERSION
@pytest.mark.parametrize("feature", SAMPLES)
def test_a_real_haproxy_agrees_with_the_table_of_features(answers: Answers, version: str, feature: str) -> None:
    found = answers[version, feature]
    expected = (version, feature) in TAKEN or (has(feature, version) and (version, feature) not in LEFT_OUT)
    assert (found.status == 0) == expected, found.said
