"""Each lint, on what real HAProxies answered and on seeded faults: where it finds something, and where not."""

from collections.abc import Callable

import pytest

from tests.verify.recording import VERSIONS, Recording
from verify.lints import LINTS, lints, verdict
from verify.look import collect, compare
from verify.runtime_api import RuntimeApi
from verify.seen import Seen
from verify.topology import Balancer, Connection, Peer, Topology
from verify.verdict import Verdict

EVERY_VERSION = pytest.mark.parametrize("version", VERSIONS)
SERVERS = r"(server_(?:name|key))=web-1"


def seen(**recordings: Recording) -> list[Seen]:
    """Looks at recordings, by the balancers' names."""
    apis = {name: RuntimeApi(recording) for name, recording in recordings.items()}
    return compare([collect(name, api) for name, api in apis.items()], apis, again=0)


def aged(name: str, seconds: int = 3600) -> Recording:
    """A recording of a process that has run for a while."""
    return Recording(name).change("show info", r"^Uptime_sec: \d+", f"Uptime_sec: {seconds}")


def case(name: str) -> Callable[[str], list[Seen]]:
    """Both sides of a recorded pair."""
    return lambda version: seen(a=aged(f"{version}/{name}-a"), b=aged(f"{version}/{name}-b"))


def changed(name: str, command: str, old: str, new: str) -> Callable[[str], list[Seen]]:
    """A recorded pair, with a fault seeded on `a`."""
    return lambda version: seen(a=aged(f"{version}/{name}-a").change(command, old, new), b=aged(f"{version}/{name}-b"))


def alone(name: str) -> Callable[[str], list[Seen]]:
    """One side of a recorded pair, which nobody but itself is looked at with."""
    return lambda version: seen(a=aged(f"{version}/{name}-a"))


def without_show_peers(version: str) -> list[Seen]:
    old = aged(f"{version}/pair-a")
    old.answers["show peers"] = Recording(f"{version}/answers").answers["show nonsense"]
    return seen(a=old, b=aged(f"{version}/pair-b"))


def without_rows(version: str) -> list[Seen]:
    """A pair that was reloaded before its first row."""
    sides = {name: aged(f"{version}/reloaded-{name}") for name in "ab"}
    for side in sides.values():
        side.change("show table", r"used:\d+", "used:0")
        if version == "2.2":  # which tells each other of the tables by itself
            side.change("show peers", r"remote_id=1", "remote_id=0")
    return seen(**sides)


def twice(version: str) -> list[Seen]:
    """Two processes that go by one name."""
    return seen(a=aged(f"{version}/pair-a"), b=aged(f"{version}/pair-a"))


def of_versions(a: str, b: str) -> list[Seen]:
    return seen(
        a=aged("3.2/pair-a").change("show info", r"^Version: .*", f"Version: {a}"),
        b=aged("3.2/pair-b").change("show info", r"^Version: .*", f"Version: {b}"),
    )


FOUND: dict[str, Callable[[str], list[Seen]]] = {
    "not-readable": lambda version: [Seen("a", error="no such socket"), *alone("pair")(version)],
    "no-show-peers": without_show_peers,
    "one-balancer": alone("pair"),
    "versions-differ": lambda version: of_versions("3.2.26", "3.0.11"),
    "version-that-loses": lambda version: of_versions("2.2.9-2+deb11u6", "3.2.6"),
    "stopping": changed("pair", "show info", "^Stopping: 0", "Stopping: 1"),
    "just-started": lambda version: seen(a=Recording(f"{version}/pair-a"), b=Recording(f"{version}/pair-b")),
    "no-peers": case("nobody"),
    "no-local-peer": changed("pair", "show peers", r"\(local,", "(remote,"),
    "alone": changed("pair", "show peers", r"^  0x\w+: id=haproxy-2(.*\n {3,})*.*\n", ""),
    "peer-not-established": case("away"),
    "protocol-errors": case("nonsense"),
    "not-in-sync": case("cold"),
    "not-in-sync-yet": lambda version: seen(a=Recording(f"{version}/cold-a"), b=Recording(f"{version}/cold-b")),
    "name-unknown": case("names"),
    "same-name": twice,
    "peers-differ": lambda version: seen(a=aged(f"{version}/pair-a"), b=aged(f"{version}/away-b")),
    "not-as-intended": case("names"),
    "no-sticky-table": lambda version: [Seen("a", sections=[])],
    "table-without-peers": case("no-peers"),
    "table-missing": lambda version: seen(a=aged(f"{version}/pair-a"), b=aged(f"{version}/no-peers-b")),
    "type-differs": case("type"),
    "size-differs": changed("pair", "show table", "size:1048576", "size:1000"),
    "table-nearly-full": case("tiny"),
    "rows-not-readable": lambda version: seen(a=Recording(f"{version}/denied"), b=aged(f"{version}/pair-b")),
    "nothing-to-compare": without_rows,
    "table-not-agreed": case("len"),
    "remote-id-zero": alone("len"),
    "rows-missing": case("len"),
    "rows-differ": changed("pair", "show table back", SERVERS, r"\1=web-3"),
    "expire-differs": case("expire"),
    "no-expire": case("no-expire"),
    "short-keys": case("short"),
    "not-visible": case("pair"),
}
# Where a pair that is well is not enough to show what a lint does not find.
NOT_FOUND: dict[str, list[Callable[[str], list[Seen]]]] = {
    "version-that-loses": [lambda version: of_versions("2.3.0", "3.2.7"), lambda version: of_versions("2.6.12", "3.2")],
    "just-started": [case("pair")],
    "no-peers": [case("no-peers"), lambda version: [Seen("a", sections=[])]],
    "not-in-sync": [lambda version: seen(a=Recording(f"{version}/cold-a"))],
    "not-in-sync-yet": [case("cold")],
    "name-unknown": [case("away"), case("nobody"), twice],
    "same-name": [case("nobody")],
    "not-as-intended": [alone("pair"), case("nobody")],
    "table-without-peers": [case("nobody")],
    "table-missing": [case("nobody")],
    "nothing-to-compare": [case("len"), alone("pair")],
    "table-not-agreed": [case("reloaded"), case("names"), without_rows],
    "remote-id-zero": [case("len"), alone("pair")],
    "rows-missing": [case("reloaded"), alone("len")],
    "short-keys": [lambda version: seen(a=aged(f"{version}/short-a").change("show table back", "key=from-a", "key=f"))],
    "not-visible": [lambda version: [Seen("a", error="no such socket")]],
}  # fmt: skip
INTENDED = Topology(
    balancers=tuple(
        Balancer(name=name, connection=Connection(address="192.0.2.1"), peer=peer)
        for name, peer in (("a", "haproxy-1"), ("b", "haproxy-2"))
    ),
    peers=tuple(Peer(name=name, address="192.0.2.1", port=1024) for name in ("haproxy-1", "haproxy-2")),
)


def found(seens: list[Seen]) -> set[str]:
    return {finding.lint for finding in lints(seens, INTENDED)}


def test_every_lint_has_a_case() -> None:
    assert set(FOUND) == set(LINTS)


@EVERY_VERSION
@pytest.mark.parametrize("name", FOUND)
def test_a_lint_finds(version: str, name: str) -> None:
    assert name in found(FOUND[name](version))


@EVERY_VERSION
@pytest.mark.parametrize("name", ["pair", "reloaded"])
def test_a_pair_that_is_well_is_found_so(version: str, name: str) -> None:
    """After a reload without traffic too, when HAProxy 2.6 and later show remote_id=0 on both sides."""
    seens = case(name)(version)
    assert found(seens) == {"not-visible"} | ({"version-that-loses"} if version == "2.2" else set())
    assert verdict(lints(seens)) is Verdict.PASS


@EVERY_VERSION
@pytest.mark.parametrize("name", NOT_FOUND)
def test_a_lint_does_not_find(version: str, name: str) -> None:
    for seens in NOT_FOUND[name]:
        assert name not in found(seens(version))


@EVERY_VERSION
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("names", Verdict.FAIL),
        ("nobody", Verdict.FAIL),
        ("disabled", Verdict.FAIL),
        ("len", Verdict.FAIL),
        ("type", Verdict.FAIL),
        ("no-peers", Verdict.FAIL),
        ("away", Verdict.FAIL),
        ("expire", Verdict.PASS),
        ("no-expire", Verdict.PASS),
        ("short", Verdict.PASS),
    ],
)
def test_verdicts_of_recorded_pairs(version: str, name: str, expected: Verdict) -> None:
    findings = lints(case(name)(version))
    assert verdict(findings) is expected
    severities = {"wrong"} if expected is Verdict.FAIL else {"risky"}
    assert severities <= {finding.severity for finding in findings}


@EVERY_VERSION
@pytest.mark.parametrize("name", [name for name, lint in LINTS.items() if lint.blind])
def test_what_could_not_be_seen_makes_unknown(version: str, name: str) -> None:
    findings = [finding for finding in lints(FOUND[name](version)) if finding.severity != "wrong"]
    assert verdict(findings) is Verdict.UNKNOWN


def test_the_worst_comes_first() -> None:
    findings = lints(case("names")("3.2"))
    ranks = [["wrong", "risky", "note"].index(finding.severity) for finding in findings]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == 3


@EVERY_VERSION
@pytest.mark.parametrize(
    ("name", "status", "means"),
    [
        ("away-a", "CONN", "the peer is stopped"),
        ("names-a", "UNKN", "knows no peer"),
        ("names-b", "NAME", "goes by another name"),
        ("nonsense-a", "ESTA", "has ended"),
    ],
)
def test_a_status_is_explained(version: str, name: str, status: str, means: str) -> None:
    (what,) = [finding.what for finding in lints(seen(a=aged(f"{version}/{name}"))) if finding.severity == "wrong"]
    assert f"{status}, " in what
    assert means in what


def test_a_status_of_another_version_is_not_explained() -> None:
    seens = changed("away", "show peers", "last_status=CONN", "last_status=WAIT")("3.0")
    assert "WAIT, a status that the verifier does not know" in lints(seens)[0].what


@EVERY_VERSION
def test_counts_are_those_of_the_sample(version: str) -> None:
    seens = changed("pair", "show table back", r"key=abc (.*)" + SERVERS, r"key=abc \1\2=web-2")(version)
    (done,) = seens[0].compared
    assert (done.asked, done.missing, done.differ, done.lives_differ) == (7, 0, 1, 0)


def test_servers_without_names_are_compared_by_id() -> None:
    """HAProxy 1.5 prints no names, and later ones none of a row that was set."""
    assert "rows-differ" not in found(changed("pair", "show table back", r" server_key=\S+", "")("3.0"))
    assert "rows-differ" in found(
        changed("pair", "show table back", r"server_id=1 server_key=\S+", "server_id=2")("3.0")
    )
