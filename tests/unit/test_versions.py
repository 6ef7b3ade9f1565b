"""One set of variables for every version of HAProxy: what is rendered, and what is refused.

What a real binary says of it is asked by tests/lab/test_binaries.py for 2.2, 2.6, 3.0 and 3.2. For 1.5 the words
that a real 1.5.16 took and refused stand here; for the rest the table of features has to do.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from versions import CASES, FEATURES, PLAIN, SAMPLES, VERSIONS, asking, has, hosts, parts, text

HERE = Path(__file__).parent
MINORS = [*(f"1.{n}" for n in range(5, 10)), *(f"2.{n}" for n in range(10)), *(f"3.{n}" for n in range(4))]
EACH_VERSION = pytest.mark.parametrize("version", VERSIONS)

# What HAProxy 1.5.16 took, and what it did not.
TAKEN_BY_1_5 = {
    "global": [
        "stats socket /run/s user haproxy group haproxy mode 660 level admin",
        "log /dev/log local2",
        "log-tag lb",
        "ssl-default-bind-options no-sslv3 no-tlsv10 no-tlsv11",
    ],
    "defaults": ["timeout client-fin 1s", "option redispatch 3", "option forwardfor", "option http-server-close"],
    "frontend f": [
        "bind unix@/run/f",
        "bind *:81 name second",
        "http-request set-header X 1",
        "http-response set-header X 1",
        "option http-keep-alive",
    ],
    "backend b": [
        "hash-type consistent djb2",
        "option httpchk HEAD / HTTP/1.1\\r\\nHost:\\ shop",
        "http-check expect status 200",
        "http-send-name-header X-Server",
        "default-server inter 2s",
        "stick-table type string len 32 size 1m expire 30m peers pp",
        "stick on req.cook(SID)",
        "stick match req.cook(SID)",
        "stick store-request req.cook(SID)",
        "stick store-response res.cook(SID)",
        "server s 127.0.0.1:80 id 7 check inter 1s fall 2 rise 2",
        "stats auth me:it",
        "stats admin if TRUE",
        "stats show-legends",
        "stats uri /monitor",
    ],
}
REFUSED_BY_1_5 = [
    *(
        "localpeer",
        "expose-fd",
        "master-worker",
        "hard-stop-after",
        "nbthread",
        "server-state-file",
        "log-stdout",
        "lua",
    ),
    *("peers-bind", "peers-log", "http-check-send", "http-reuse", "balance-hash", "default-server", "prometheus"),
    *("http-return", "srvkey", "write-to", "quotes", "zero-warning"),
]


def before(version: str) -> str:
    """Gives the minor version before another."""
    return MINORS[MINORS.index(version) - 1]


def after(version: str) -> str:
    """Gives the minor version after another."""
    return MINORS[MINORS.index(version) + 1]


EACH_RENDERING = pytest.mark.parametrize(
    ("case", "version"), [(name, version) for name, case in CASES.items() for version in case.versions]
)


@dataclass(frozen=True)
class Rendered:
    """What the role made of the cases."""

    texts: dict[str, str]
    words: dict[str, list[str]]
    lines: dict[tuple[str, str], list[str]]

    def text(self, case: str, version: str) -> str:
        """Gives the haproxy.cfg of a case for a version."""
        return self.texts[f"{case}-{version}"]

    def lacking(self, case: str, version: str) -> list[str]:
        """Gives what the version lacks of the case, by name."""
        return [words.split()[0] for words in self.words[f"{case}-{version}"]]

    def refused(self, feature: str, version: str) -> bool:
        """Whether a configuration that asks for a feature is refused for lack of it."""
        asked = (feature if (feature, version) in self.lines else "all", version)
        return any(words.startswith(f"{feature} (") for words in self.lines[asked])


@pytest.fixture(scope="module")
def rendered(ansible: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Renders every case for every version, each on a host of its own, and asks for every feature; in one run."""
    folder = tmp_path_factory.mktemp("versions")
    (folder / "hosts.json").write_text(json.dumps(hosts(CASES)))
    asked = [(feature, version) for feature in SAMPLES for version in lacking(feature)]
    asked += [("all", version) for version in [*MINORS, *VERSIONS]] + [("plain", "1.5"), ("taken", "1.5.16")]
    taken = text({name: lines + TAKEN_BY_1_5.get(name, []) for name, lines in PLAIN.items()})
    texts = {"plain": text(PLAIN), "taken": taken, "all": asking(*SAMPLES)}
    texts |= {feature: asking(feature) for feature in SAMPLES}
    lines = [{"version": version, "text": texts[feature]} for feature, version in asked]
    (folder / "lines.json").write_text(json.dumps(lines))
    ansible(
        "ansible-playbook", "-i", folder / "hosts.json", "--tags", "render", "-f", "4", "-e", f"out={folder}",
        "--limit", "of-*", HERE / "render" / "versions.yml",
    )  # fmt: skip
    found = json.loads((folder / "rendered.json").read_text())
    return Rendered(found["text"], found["lacking"], dict(zip(asked, found["lines"], strict=True)))


def lacking(feature: str) -> list[str]:
    """Gives the versions right before the first and right after the last that has a feature."""
    row = FEATURES[feature]
    first = [before(row["first"])] if "first" in row else []
    return first + ([after(row["last"])] if "last" in row else [])


# --- rendering ------------------------------------------------------------------------------------


@EACH_RENDERING
def test_what_is_rendered_asks_for_nothing_that_the_version_lacks(rendered: Rendered, case: str, version: str) -> None:
    expected = {
        ("lua", "1.5.19"): ["lua"],
        ("full", "1.5.19"): ["peers-bind", "srvkey", "mailers", "deny-status", "http-track", "h2"],
        ("full", "2.2.9"): ["srvkey"],
    }
    assert rendered.lacking(case, version) == expected.get((case, version), [])


@EACH_VERSION
def test_the_demo_is_the_same_but_for_tls(rendered: Rendered, version: str) -> None:
    golden = (HERE / "golden" / "haproxy.cfg").read_text().splitlines()
    shown = rendered.text("demo", version).splitlines()
    old = "  ssl-default-bind-options no-sslv3 no-tlsv10 no-tlsv11"
    tls = "  ssl-default-bind-options ssl-min-ver TLSv1.2"
    expected = [old if line == tls and parts(version) < (1, 8) else line for line in golden]
    peers = [line for line in shown if line.startswith("  peer ")]
    assert peers == [f"  peer demo-{version} 192.0.2.31:1024"]
    assert [line for line in shown if line not in peers] == [line for line in expected if "  peer " not in line]


@pytest.mark.parametrize(("version", "tls"), [("1.5.19", 0), ("2.4.22", 3), ("2.6.12", 3)])
def test_no_tls_where_it_cant_be_built(rendered: Rendered, version: str, tls: int) -> None:
    shown = rendered.text("built", version).splitlines()
    assert len([line for line in shown if line.startswith(("  ssl-", "  ca-base", "  crt-base"))]) == tls


@pytest.mark.parametrize(
    ("version", "choice"),
    [("3.0.11", []), ("3.2.26", ["  tune.lua.bool-sample-conversion pre-3.1-bug"])],
)
def test_booleans_reach_lua_as_before_without_a_warning(rendered: Rendered, version: str, choice: list[str]) -> None:
    shown = rendered.text("lua", version).splitlines()
    first = shown.index("global") + 1
    assert shown[first : shown.index("defaults") - 1] == [*choice, "  log /dev/log local0", "  lua-load /tmp/lua"]


# --- refusals -------------------------------------------------------------------------------------


def test_every_feature_that_can_be_asked_for_is_tried() -> None:
    asked_for = {name for name, row in FEATURES.items() if "asks" in row or "in" in row}
    assert set(SAMPLES) == asked_for


@pytest.mark.parametrize("feature", [name for name in SAMPLES if "first" in FEATURES[name]])
def test_a_feature_is_refused_before_its_first_version_alone(rendered: Rendered, feature: str) -> None:
    first = FEATURES[feature]["first"]
    assert rendered.refused(feature, before(first))
    assert not rendered.refused(feature, first)


@pytest.mark.parametrize("feature", [name for name in SAMPLES if "last" in FEATURES[name]])
def test_a_feature_is_refused_after_its_last_version_alone(rendered: Rendered, feature: str) -> None:
    last = FEATURES[feature]["last"]
    assert rendered.refused(feature, after(last))
    assert not rendered.refused(feature, last)


@EACH_VERSION
def test_each_version_refuses_what_it_lacks_and_no_more(rendered: Rendered, version: str) -> None:
    refused = {feature for feature in SAMPLES if rendered.refused(feature, version)}
    assert refused == {feature for feature in SAMPLES if not has(feature, version)}


def test_a_plain_configuration_is_never_refused(rendered: Rendered) -> None:
    assert rendered.lines["plain", "1.5"] == []


def test_what_1_5_took_is_not_refused(rendered: Rendered) -> None:
    assert rendered.lines["taken", "1.5.16"] == []


@pytest.mark.parametrize("feature", REFUSED_BY_1_5)
def test_what_1_5_did_not_take_is_refused(rendered: Rendered, feature: str) -> None:
    assert rendered.refused(feature, "1.5.19")


def test_a_refusal_names_feature_version_and_line_but_no_more_of_it(rendered: Rendered) -> None:
    words = "srvkey (tables keyed by a server's name or address, from 2.4 on): 'backend shop: stick-table"
    assert rendered.words["full-2.2.9"] == [f"{words} type string len 64 size 1m srvkey'"]


# --- which version --------------------------------------------------------------------------------

APT = "haproxy:\n  Installed: {}\n  Candidate: {}\n  Version table:\n     3.2.26-1 100\n"
# What the package manager says, what the variables say, and what will run.
FOUND = {
    "installed-stays": ("apt", APT.format("2.6.12-1+deb12u3", "2.6.12-1+deb12u4"), "distribution", "", "2.6.12"),
    "bare-host": ("apt", APT.format("(none)", "3.0.11-1+deb13u5"), "distribution", "", "3.0.11"),
    "ubuntu-backport": ("apt", APT.format("(none)", "1:3.2.4-1ppa1~noble"), "repository", "", "3.2.4"),
    "no-lists": ("apt", "", "distribution", "", "2.2"),
    "upgrade": ("apt", APT.format("2.6.12-1", "3.0.11-1"), "repository", "3.0", "3.0.11"),
    "the-same": ("apt", APT.format("3.0.11-1", "3.2.26-1"), "repository", "3.0", "3.0.11"),
    "repository-to-come": ("apt", APT.format("2.6.12-1", "2.6.12-1"), "repository", "3.2", "3.2"),
    "no-part-of-a-number": ("apt", APT.format("3.0.11-1", "3.0.11-1"), "repository", "3.0.1", "3.0.1"),
    "source": ("apt", APT.format("2.6.12-1", "2.6.12-1"), "source", "1.5.19", "1.5.19"),
    "rpm": ("dnf", "haproxy-2.4.22-3.el9.x86_64\n", "distribution", "", "2.4.22"),
    "rpm-bare-host": ("dnf", "package haproxy is not installed\n", "distribution", "", "2.2"),
}


@pytest.fixture(scope="module")
def found(ansible: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Gives the version that each host of FOUND will run, found in check mode."""
    folder = tmp_path_factory.mktemp("version")
    inventory: dict[str, Any] = {}
    for name, (packages, said, source, version, _) in FOUND.items():
        (folder / name).mkdir()
        (folder / name / "said").write_text(said)
        for program in ("apt-cache", "rpm"):
            (folder / name / program).write_text('#!/bin/sh\ncat "${0%/*}/said"\n')
            (folder / name / program).chmod(0o755)
        inventory[name] = {"packages": packages, "haproxy_install_from": source, "haproxy_version": version}
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": inventory, "vars": local}}))
    playbook = HERE / "render" / "version.yml"
    ansible("ansible-playbook", "-i", folder / "hosts.json", "-e", f"out={folder}", "--check", playbook)
    versions = json.loads((folder / "versions.json").read_text())
    assert isinstance(versions, dict)
    return versions


@pytest.mark.parametrize("name", FOUND)
def test_the_version_that_will_run_is_found_in_check_mode(found: dict[str, str], name: str) -> None:
    assert found[name] == FOUND[name][-1]


def test_every_platform_says_what_differs() -> None:
    text_of = (HERE.parents[1] / "roles/haproxy/vars/main/platforms.yml").read_text()
    rows = [row for family in yaml.safe_load(text_of)["__haproxy_platforms"].values() for row in family.values()]
    assert len(rows) == 5 + 5 * 2
    for row in rows:
        assert set(row) - {"unit_lacks", "selinux_boolean"} == {
            "haproxy",
            "openssl",
            "packages",
            "environment",
            "options",
        }
        assert ("selinux_boolean" in row) == (row["packages"] == "dnf")
