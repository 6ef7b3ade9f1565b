"""Peers, against what real HAProxies answered."""

import pytest

from tests.verify.recording import VERSIONS, Recording
from verify.errors import RuntimeApiError
from verify.peers_text import Peer, PeersSection, parse_peers

EVERY_VERSION = pytest.mark.parametrize("version", VERSIONS)


def section(name: str) -> PeersSection:
    (found,) = parse_peers(Recording(name).answers["show peers"])
    return found


def peers(name: str) -> dict[str, Peer]:
    return {peer.name: peer for peer in section(name).peers}


@EVERY_VERSION
def test_a_pair_that_shares_its_table(version: str) -> None:
    found = section(f"{version}/pair-a")
    assert (found.name, found.in_sync, found.tables) == ("haproxy-peers", True, {"back"})
    here, there = peers(f"{version}/pair-a")["haproxy-1"], peers(f"{version}/pair-a")["haproxy-2"]
    assert (here.local, here.active, here.last_status, here.remote_ids) == (True, False, "NONE", {"back": 0})
    assert (there.local, there.established, there.remote_ids) == (False, True, {"back": 1})
    assert there.shared["back"].last_pushed == there.shared["back"].update == 7
    assert (there.proto_err, there.coll is None) == (0, version == "2.2")
    assert there.new_conn in (1, 2)


@EVERY_VERSION
def test_addresses_are_the_configured_ones_not_those_of_the_connection(version: str) -> None:
    addresses = {peer.name: peer.address for peer in section(f"{version}/pair-a").peers}
    assert addresses == {peer.name: peer.address for peer in section(f"{version}/pair-b").peers}
    assert len(set(addresses.values())) == 2


@EVERY_VERSION
def test_a_process_just_started_is_not_in_sync(version: str) -> None:
    assert not section(f"{version}/cold-a").in_sync


@EVERY_VERSION
def test_a_peer_that_is_away(version: str) -> None:
    away = peers(f"{version}/away-a")["haproxy-3"]
    assert (away.last_status, away.established, away.remote_ids) == ("CONN", False, {"back": 0})


@EVERY_VERSION
def test_a_peer_that_broke_the_protocol(version: str) -> None:
    found = peers(f"{version}/nonsense-a")
    assert {name: peer.proto_err for name, peer in found.items()} == {"haproxy-1": 0, "haproxy-2": 0, "haproxy-3": 1}
    assert not found["haproxy-3"].established


@EVERY_VERSION
def test_names_that_the_other_side_does_not_know(version: str) -> None:
    assert peers(f"{version}/names-a")["haproxy-2"].last_status == "UNKN"
    assert peers(f"{version}/names-b")["haproxy-one"].last_status == "NAME"


@EVERY_VERSION
@pytest.mark.parametrize("case", ["len", "type"])
def test_a_table_of_another_len_or_type_has_no_remote_id(version: str, case: str) -> None:
    for name, other in (("a", "haproxy-2"), ("b", "haproxy-1")):
        peer = peers(f"{version}/{case}-{name}")[other]
        assert (peer.established, peer.proto_err, peer.remote_ids) == (True, 0, {"back": 0})
        assert peer.shared["back"].last_pushed == 10


@EVERY_VERSION
@pytest.mark.parametrize("case", ["nobody", "disabled"])
def test_no_section_runs(version: str, case: str) -> None:
    """HAProxy drops a section without a local peer, and one that is disabled: it prints nothing."""
    assert parse_peers(Recording(f"{version}/{case}-a").answers["show peers"]) == []


@EVERY_VERSION
def test_a_section_without_tables(version: str) -> None:
    found = section(f"{version}/no-peers-a")
    assert found.tables == set()
    assert {peer.established for peer in found.peers} == {True, False}


@EVERY_VERSION
def test_two_sections(version: str) -> None:
    text = Recording(f"{version}/pair-a").answers["show peers"]
    second = Recording(f"{version}/cold-a").answers["show peers"].replace("id=haproxy-peers", "id=second")
    assert [(each.name, each.in_sync, len(each.peers)) for each in parse_peers(text + second)] == [
        ("haproxy-peers", True, 2),
        ("second", False, 2),
    ]


@EVERY_VERSION
@pytest.mark.parametrize("command", ["show nonsense", "show table nosuch", "show table rates"])
def test_another_text_is_an_error_that_carries_it(version: str, command: str) -> None:
    text = Recording(f"{version}/answers").answers[command]
    with pytest.raises(RuntimeApiError) as caught:
        parse_peers(text)
    assert caught.value.text == text


@EVERY_VERSION
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r"last_status=ESTA", "last_word=ESTA"),
        (r"proto_err=0", "proto_err=none"),
        (r"\(remote,active\)", "(remote)"),
        (r"\(remote,", "(distant,"),
        (r"last_pushed=", "last_pulled="),
        (r"flags=0x", "flags="),
        (r"        shared tables:", "        shared things:"),
        (r"^  0x", "0x"),
        (r"\A.*\n", ""),
    ],
)
def test_a_line_of_another_form_is_refused(version: str, old: str, new: str) -> None:
    text = Recording(f"{version}/pair-a").change("show peers", old, new).answers["show peers"]
    with pytest.raises(RuntimeApiError):
        parse_peers(text)
