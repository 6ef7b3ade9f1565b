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


# --- source ---------------------------------------------------------------------------------------

ALWAYS = ["USE_ZLIB=1"]
LUA, PCRE, SYSTEMD = ["USE_LUA=1"], ["USE_PCRE2=1", "USE_PCRE2_JIT=1"], ["USE_SYSTEMD=1"]
TLS, EXPORTER = ["USE_OPENSSL=1"], ["USE_PROMEX=1"]
OLD_EXPORTER = ["EXTRA_OBJS=contrib/prometheus-exporter/service-prometheus.o"]
OLDEST, OLD, NEW = ["TARGET=linux2628"], ["TARGET=linux2628", "CC=gcc -fcommon"], ["TARGET=linux-glibc"]


def built_of(rendered: Rendered, host: str) -> tuple[list[str], list[str]]:
    """Gives the lines of the stamp, and the packages."""
    rows = rendered(host, "built-of")
    middle = rows.index("---")
    return rows[:middle], rows[middle + 1 :]


@pytest.mark.parametrize(
    ("host", "options"),
    [
        ("source-1.5", OLDEST + ALWAYS),
        ("source-1.8", OLD + ALWAYS + LUA + PCRE + SYSTEMD),
        ("source-2.2", NEW + ALWAYS + LUA + PCRE + SYSTEMD + OLD_EXPORTER),
        ("source-2.2-on-11", NEW + ALWAYS + TLS + LUA + PCRE + SYSTEMD + OLD_EXPORTER),
        ("source-2.6", NEW + ALWAYS + TLS + LUA + PCRE + SYSTEMD + EXPORTER),
        ("source-3.0", NEW + ALWAYS + TLS + LUA + PCRE + EXPORTER),
    ],
)
def test_make_is_told_what_the_version_and_the_host_have(rendered: Rendered, host: str, options: list[str]) -> None:
    stamp, _ = built_of(rendered, host)
    assert stamp == ["0a1b", *options]


@pytest.mark.parametrize(
    ("host", "libraries"),
    [
        ("source-1.5", ["zlib1g-dev"]),
        ("source-2.2", ["zlib1g-dev", "liblua5.3-dev", "libpcre2-dev", "libsystemd-dev"]),
        ("source-3.0", ["zlib1g-dev", "libssl-dev", "liblua5.3-dev", "libpcre2-dev"]),
    ],
)
def test_a_build_needs_the_libraries_of_its_options_alone(rendered: Rendered, host: str, libraries: list[str]) -> None:
    assert built_of(rendered, host)[1] == ["gcc", "libc6-dev", "make", *libraries]


@pytest.mark.parametrize("host", ["source-1.8", "source-2.6", "source-3.0"])
def test_the_unit_starts_a_master_that_notifies(rendered: Rendered, host: str) -> None:
    rows = rendered(host, "haproxy.service")
    assert "Type=notify" in rows
    assert "ExecStart=/opt/haproxy/current/sbin/haproxy -Ws -f $CONFIG -p $PIDFILE $EXTRAOPTS" in rows
    assert "ExecReload=/opt/haproxy/current/sbin/haproxy -Ws -f $CONFIG -c -q $EXTRAOPTS" in rows


def test_the_unit_starts_the_wrapper_before_1_8(rendered: Rendered) -> None:
    rows = rendered("source-1.5", "haproxy.service")
    assert not [row for row in rows if row.startswith("Type=") or "-Ws" in row]
    assert "ExecStart=/opt/haproxy/current/sbin/haproxy-systemd-wrapper -f $CONFIG -p $PIDFILE $EXTRAOPTS" in rows
    assert "ExecReload=/opt/haproxy/current/sbin/haproxy -f $CONFIG -c -q $EXTRAOPTS" in rows


def test_a_version_from_source_pins_no_package(rendered: Rendered) -> None:
    assert rendered("source-3.0", "apt.preferences") == []
