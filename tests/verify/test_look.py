"""Looking: what is asked, what is kept of it, and what is looked at again; and the page that explains it."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from tests.verify.recording import VERSIONS, Recording
from verify.errors import BadUse, HostError
from verify.lints import LINTS
from verify.look import Look, collect, look
from verify.runtime_api import RuntimeApi
from verify.verdict import Verdict

EVERY_VERSION = pytest.mark.parametrize("version", VERSIONS)
PAGE = Path(__file__).parents[2] / "docs" / "look.md"
KEYS = ["0123456789abcdef0123456789abcdef", "back\\slash", "abc"]


def looked(**recordings: Recording) -> Look:
    return look({name: RuntimeApi(recording) for name, recording in recordings.items()}, again=0)


def found(result: Look) -> list[str]:
    return [finding.lint for finding in result.findings]


class Changing(Recording):
    """Gives an answer only the first times, and then that of another recording."""

    def __init__(self, name: str, later: str, command: str, times: int = 1) -> None:
        super().__init__(name)
        self.left, self.command, self.later = times, command, Recording(later)

    def cli(self, socket: str, commands: Sequence[str]) -> list[str]:
        answers = super().cli(socket, commands)
        if self.command in commands:
            self.left -= 1
            self.answers = self.later.answers if self.left == 0 else self.answers
        return answers


class Broken(Recording):
    """Fails to look keys up, as a host does: by an error that repeats the command."""

    def cli(self, socket: str, commands: Sequence[str]) -> list[str]:
        if any(" key " in command for command in commands):
            raise HostError("b", "; ".join(commands), 1, "connection refused")
        return super().cli(socket, commands)


@EVERY_VERSION
def test_facts(version: str) -> None:
    result = looked(a=Recording(f"{version}/pair-a"), b=Recording(f"{version}/pair-b"))
    assert result.verdict is Verdict.PASS
    first, second = result.balancers
    assert (first.name, first.error, first.in_sync) == ("a", None, True)
    assert first.version is not None
    assert first.version.startswith(version)
    (back,) = [table for table in first.tables if table.name == "back"]
    assert (back.shared, back.type, back.used, back.sampled) == (True, "string", 7, 7)
    assert [(done.other, done.asked, done.missing, done.differ) for done in back.compared] == [("b", 7, 0, 0)]
    assert {(peer.name, peer.local, peer.established) for peer in second.peers} == {
        ("haproxy-1", False, True),
        ("haproxy-2", True, False),
    }


@EVERY_VERSION
@pytest.mark.parametrize("case", ["pair", "len", "nobody", "names"])
def test_nothing_is_asked_but_show(version: str, case: str) -> None:
    recordings = {name: Recording(f"{version}/{case}-{name}") for name in "ab"}
    looked(**recordings)
    for recording in recordings.values():
        assert recording.asked
        assert all(command.startswith("show ") for command in recording.asked)


@EVERY_VERSION
@pytest.mark.parametrize("b", [Recording, Broken])
def test_no_session_is_kept(version: str, b: Callable[[str], Recording]) -> None:
    """Not in the result, not in what an error says, not in what Python shows of a balancer that was seen."""
    a = Recording(f"{version}/pair-a").change("show table back", "server_id=1", "server_id=7")
    result = looked(a=a, b=b(f"{version}/len-b"))
    kept = msgspec.json.encode(result).decode() + repr(result) + repr(collect("a", RuntimeApi(a)))
    assert not [key for key in [*KEYS, "from-b-1"] if key in kept]


def test_a_row_of_another_form_is_not_repeated() -> None:
    recording = Recording("3.0/pair-a").change("show table back", "key=abc", "session=abc")
    seen = collect("a", RuntimeApi(recording))
    assert seen.unread == {"back": "a row can't be read"}
    assert "rows-not-readable" in found(looked(a=recording))


def test_the_sample_is_bounded() -> None:
    api = RuntimeApi(Recording("3.0/pair-a"))
    assert len(collect("a", api, rows=3).samples["back"]) == 3


def test_a_lookup_that_fails_is_unknown() -> None:
    result = looked(a=Recording("3.0/pair-a"), b=Broken("3.0/pair-b"))
    assert result.verdict is Verdict.UNKNOWN
    assert "rows-not-readable" in found(result)


def test_a_peer_that_was_just_connecting_is_well() -> None:
    a = Changing("3.0/away-a", "3.0/pair-a", "show peers")
    result = looked(a=a, b=Recording("3.0/pair-b"))
    assert result.verdict is Verdict.PASS


def test_a_row_that_was_on_its_way_is_there() -> None:
    """The first look-up misses it, the second one finds it: no other look is needed."""
    b = Recording("3.0/pair-b")
    row = re.findall(r".* key=abc .*\n", b.answers["show table back"])[0]
    late = b.answers["show table back"].replace(row, "")

    class Late(Recording):
        def cli(self, socket: str, commands: Sequence[str]) -> list[str]:
            self.answers["show table back"] = late if len(commands) == 7 else b.answers["show table back"]
            return super().cli(socket, commands)

    result = looked(a=Recording("3.0/pair-a"), b=Late("3.0/pair-b"))
    (back,) = [table for table in result.balancers[0].tables if table.name == "back"]
    assert [(done.asked, done.missing) for done in back.compared] == [(7, 0)]


def test_a_row_that_is_gone_is_not_missing() -> None:
    """It was sampled, and had expired on both sides when it was looked at again."""
    a = Recording("3.0/pair-a").change("show table back", "key=abc ", "key=gone ")

    class Forgetting(Recording):
        def cli(self, socket: str, commands: Sequence[str]) -> list[str]:
            if list(commands) == ["show table back key gone "]:
                return ["\n"]
            return super().cli(socket, commands)

    forgetting = Forgetting("3.0/pair-a")
    forgetting.answers = a.answers
    result = looked(a=forgetting, b=Recording("3.0/pair-b"))
    (back,) = [table for table in result.balancers[0].tables if table.name == "back"]
    assert [(done.asked, done.missing) for done in back.compared] == [(7, 0)]


def test_a_key_that_len_cuts_is_another_row() -> None:
    """A table of a shorter `len` answers a long key with the row of its beginning."""
    a = Recording("3.0/pair-a").change("show table back", "key=abc ", "key=abcdef ")

    class Cutting(Recording):
        def cli(self, socket: str, commands: Sequence[str]) -> list[str]:
            return super().cli(socket, [command.replace("abcdef", "abc") for command in commands])

    result = looked(a=a, b=Cutting("3.0/pair-b"))
    assert "rows-missing" in found(result)


def test_no_balancer_is_bad_use() -> None:
    with pytest.raises(BadUse):
        look({})


@EVERY_VERSION
def test_an_unreadable_balancer_does_not_hide_what_is_wrong(version: str) -> None:
    lost = Recording(f"{version}/pair-b")
    lost.answers.clear()
    assert looked(a=Recording(f"{version}/pair-a"), b=lost).verdict is Verdict.UNKNOWN
    result = looked(a=Recording(f"{version}/nobody-a"), b=lost)
    assert result.verdict is Verdict.FAIL
    assert "not-readable" in found(result)


def test_the_page_has_every_lint_in_its_own_words() -> None:
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in PAGE.open() if line.startswith("| `")]
    table = {row[0].strip("`"): tuple(row[1:]) for row in rows}
    assert table == {
        name: (lint.severity + (", unknown" if lint.blind else ""), lint.means, lint.advice)
        for name, lint in LINTS.items()
    }
