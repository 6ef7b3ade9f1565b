"""HAProxy's versions in the tests: its features, and a configuration that asks for each."""

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
