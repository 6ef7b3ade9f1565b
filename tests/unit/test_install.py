"""The files that install HAProxy, rendered by ansible-playbook for the hosts of install/hosts.yml."""

from collections.abc import Callable
from hashlib import sha1
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n-----END PGP PUBLIC KEY BLOCK-----\n"
RING = "/usr/share/keyrings/debian-archive-keyring.gpg"

Rendered = Callable[[str, str], list[str]]


@pytest.fixture(scope="module")
def rendered(ansible: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Returns a function that gives the lines of a host's file, without comments; all are rendered at once."""
    out = tmp_path_factory.mktemp("install")
    hosts = HERE / "install" / "hosts.yml"
    ansible("ansible-playbook", "-i", hosts, HERE / "render" / "install.yml", "--tags", "render", "-e", f"out={out}")

    def lines(host: str, file: str) -> list[str]:
        return [row for row in (out / f"{host}.{file}").read_text().splitlines() if row and not row.startswith("#")]

    return lines


def key_file(key: str, suffix: str) -> str:
    return f"/etc/apt/keyrings/ansible-haproxy-{sha1(key.encode()).hexdigest()[:12]}.{suffix}"


def pins(rows: list[str]) -> list[tuple[str, str, str]]:
    """Gives (package, pin, priority) of each stanza."""
    values = [row.split(": ", 1)[1] for row in rows]
    return list(zip(values[::3], values[1::3], values[2::3], strict=True))


# --- packages -------------------------------------------------------------------------------------


def test_another_suite_is_a_source_with_the_hosts_own_key_ring(rendered: Rendered) -> None:
    assert rendered("suite", "apt.sources") == [
        "Types: deb",
        "URIs: http://mirror.example.net/debian",
        "Suites: trixie",
        "Components: main",
        f"Signed-By: {RING}",
    ]


def test_each_repository_is_a_source_with_a_key_of_its_own(rendered: Rendered) -> None:
    assert rendered("vendor", "apt.sources") == [
        "Types: deb",
        "URIs: https://haproxy.example.net",
        "Suites: bookworm",
        "Components: main extra",
        f"Signed-By: {key_file(KEY, 'asc')}",
        "Types: deb",
        "URIs: https://libraries.example.net",
        "Suites: new newer",
        "Components: main",
        f"Signed-By: {key_file('https://libraries.example.net/key.gpg', 'gpg')}",
    ]


def test_haproxy_alone_comes_from_another_suite(rendered: Rendered) -> None:
    assert pins(rendered("suite", "apt.preferences")) == [
        ("haproxy", "release trixie", "995"),
        ("*", "release trixie", "100"),
    ]


def test_a_pin_of_the_users_own_is_taken(rendered: Rendered) -> None:
    assert pins(rendered("vendor", "apt.preferences")) == [
        ("haproxy", "version 3.0.*", "1001"),
        ("haproxy", 'origin "haproxy.example.net"', "995"),
        ("*", 'origin "haproxy.example.net"', "100"),
        ("*", "release new", "100"),
        ("*", "release newer", "100"),
    ]


@pytest.mark.parametrize(("host", "pin"), [("branch", "version 2.6.*"), ("release", "version 2.6.12-*")])
def test_a_version_is_kept_to_and_may_be_older(rendered: Rendered, host: str, pin: str) -> None:
    assert pins(rendered(host, "apt.preferences")) == [("haproxy", pin, "1001")]


@pytest.mark.parametrize("host", ["distribution", "left"])
@pytest.mark.parametrize("file", ["apt.sources", "apt.preferences"])
def test_the_distributions_own_needs_neither(rendered: Rendered, host: str, file: str) -> None:
    assert rendered(host, file) == []
