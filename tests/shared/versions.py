"""HAProxy's versions in the tests: its features, and a configuration that asks for each."""

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
VERSIONS = ["1.5.19", "1.6.16", "1.8.30", "2.0.34", "2.2.9", "2.4.22", "2.6.12", "2.8.5", "3.0.11", "3.2.26"]
FEATURES: dict[str, dict[str, str]] = yaml.safe_load(
    (HERE.parents[1] / "roles/haproxy/vars/main/features.yml").read_text()
)["__haproxy_features"]
SAMPLES: dict[str, Any] = yaml.safe_load((HERE / "features.yml").read_text())

# A configuration that every version takes, section by section.
PLAIN = {
    "global": [],
    "defaults": ["mode http", "log global", "timeout connect 1s", "timeout client 1s", "timeout server 1s"],
    "peers pp": ["peer lb-1 127.0.0.1:2025"],
    "frontend f": ["bind 127.0.0.1:2079", "default_backend b"],
    "backend b": ["option httpchk HEAD /"],
    "backend b2": ["stick-table type ip size 1k"],
}


def parts(version: str) -> tuple[int, ...]:
    """Gives major and minor of a version."""
    return tuple(int(part) for part in version.split(".")[:2])


def has(feature: str, version: str) -> bool:
    """Whether the table says that the version has the feature; of TLS it says nothing."""
    row = FEATURES[feature]
    return parts(row.get("first", "0.0")) <= parts(version) <= parts(row.get("last", "999.0"))


def asking(*features: str) -> str:
    """Gives a configuration that asks for the features, and is right but for that."""
    sections = {name: list(lines) for name, lines in PLAIN.items()}
    texts = [SAMPLES[feature] for feature in features if isinstance(SAMPLES[feature], str)]
    for kind, line in (SAMPLES[feature] for feature in features if not isinstance(SAMPLES[feature], str)):
        next(lines for name, lines in sections.items() if name.split()[0] == kind).append(line)
    return text(sections) + "".join(texts)


def text(sections: dict[str, list[str]]) -> str:
    """Gives a configuration as HAProxy reads it."""
    return "".join(f"{name}\n" + "".join(f"  {line}\n" for line in lines) for name, lines in sections.items())


# --- what is rendered -----------------------------------------------------------------------------


def production(version: str) -> dict[str, Any]:
    """Gives the variables of cases/production.yml without what the version lacks."""
    given: dict[str, Any] = copy.deepcopy(full()["balancers"]["vars"])
    (front,) = given["haproxy_frontends"]
    shop, api, _ = given["haproxy_backends"]
    if not has("deny-status", version):
        del front["http_request"]
    if not has("mailers", version):
        del shop["lines"]
    if not has("h2", version):
        front["bind"] = [line.replace("alpn h2,", "alpn ") for line in front["bind"]]
    if not has("peers-bind", version):
        given["haproxy_peers_lines"] = []
    if not has("server-names-synced", version):
        shop["server"] = "{{ haproxy_web_servers }}"
        api["server"][1] |= {"id": 8, "port": 80}  # 1.6 checks no server without a port
    if not has("srvkey", version):
        del shop["stick_table"]["srvkey"]
    return given


def full() -> dict[str, Any]:
    """Gives cases/production.yml."""
    loaded = yaml.safe_load((HERE.parent / "unit/cases/production.yml").read_text())
    assert isinstance(loaded, dict)
    return loaded


@dataclass(frozen=True)
class Case:
    """Variables, by version, and the versions that they are rendered for."""

    variables: Callable[[str], dict[str, Any]]
    versions: list[str]
    web_group: str = "web-demo"


CASES = {
    "demo": Case(lambda _: {}, VERSIONS),
    "production": Case(production, VERSIONS, "web-production"),
    "full": Case(lambda _: copy.deepcopy(full()["balancers"]["vars"]), ["1.5.19", "2.2.9", "2.4.22"], "web-production"),
    "built": Case(
        lambda version: {"haproxy_install_from": "source", "haproxy_version": version}, ["1.5.19", "2.4.22", "2.6.12"]
    ),
    "lua": Case(
        lambda _: {"haproxy_global": ["log /dev/log local0", "lua-load /tmp/lua"]}, ["1.5.19", "3.0.11", "3.2.26"]
    ),
}


def hosts(cases: dict[str, Case]) -> dict[str, Any]:
    """Gives an inventory: a host CASE-VERSION for each, in a group of its own, of-CASE-VERSION."""
    groups: dict[str, Any] = {
        "web-demo": {"hosts": {"web": {"apache_address": "192.0.2.10"}}},
        "web-production": full()["web_hosts"],
    }
    for case, how in cases.items():
        for version in how.versions:
            name = f"{case}-{version}"
            own = {
                "haproxy_peer_address": "192.0.2.31",
                "haproxy_group": f"of-{name}",
                "haproxy_web_group": how.web_group,
                "version": version,
            }
            groups[f"of-{name}"] = {"hosts": {name: own | how.variables(version)}}
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    return {"all": {"children": groups, "vars": local}}
