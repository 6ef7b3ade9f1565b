"""Host: how it is reached, and what it makes of the agent's answers; the agent is real and runs here."""

import os
import re
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from verify.errors import HostError, Refused
from verify.hosts import Host, command
from verify.topology import Connection

ADMIN = Connection(address="lb.example", port=2211, user="admin", key_file="/k", ssh_args=("-o", "BatchMode=no", "-v"))


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts an `id` that says 0 on PATH: the tests are nobody's business but their user's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script(folder / "id", "echo 0")
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


@pytest.fixture
def host() -> Iterator[Host]:
    with Host("here", Connection(address="localhost", local=True)) as host:
        yield host


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_ssh_is_told_what_the_inventory_says_after_what_must_be() -> None:
    words = command(ADMIN, 1)
    assert words[:2] == ["ssh", "-T"]
    assert words[-11:-1] == ["-p", "2211", "-l", "admin", "-i", "/k", "-o", "BatchMode=no", "-v", "lb.example"]
    assert words.index("BatchMode=yes") < words.index("BatchMode=no")
    assert {"ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3", "ControlPath=none"} < set(words)


def test_the_remote_shell_reads_what_a_local_host_is_given() -> None:
    here, there = command(Connection(address="", local=True), 7), command(ADMIN, 7)
    assert shlex.split(there[-1]) == [*here[:4], "python3", *here[5:]]


@pytest.mark.parametrize(("uid", "expected"), [("0", "python3 -I -c"), ("1000", "sudo -n python3 -I -c")])
def test_who_is_not_root_becomes_it(root: Path, uid: str, expected: str) -> None:
    script(root / "id", f"echo {uid}")
    for name in ("sudo", "python3"):
        script(root / name, f'echo {name} "$@"')
    said = subprocess.run(["sh", "-c", command(ADMIN, 7)[-1]], check=True, capture_output=True, text=True).stdout
    assert said.startswith(expected)


def test_facts(host: Host) -> None:
    assert host.facts.kind in ("container", "vm", "host")
    assert host.facts.hostname == socket.gethostname()
    assert re.fullmatch(r"3\.\d+\.\d+\S*", host.facts.python)


def test_the_clock_of_this_machine_is_this_machines(host: Host) -> None:
    offset, error = host.clock()
    assert abs(offset) <= error
    if host.facts.boot_id:
        assert (offset, error) == (0, 0)


def test_another_kernels_clock_is_known_up_to_half_a_round_trip(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verify.hosts._boot_id", lambda: "another")
    offset, error = host.clock()
    assert abs(offset) <= error
    assert error > 0


def test_arguments_arrive_unchanged(host: Host) -> None:
    words = ["a b", "$HOME", "it's", "", "ä\n"]
    assert host.run(["printf", "%s|", *words]) == "".join(f"{word}|" for word in words)


def test_a_failed_command(host: Host) -> None:
    failing = ["sh", "-c", "echo first >&2; echo last >&2; exit 2"]
    with pytest.raises(HostError, match=r"here: .*ended with 2: last") as caught:
        host.run(failing)
    assert (caught.value.rc, caught.value.stderr) == (2, "first\nlast\n")
    assert caught.value.command == shlex.join(failing)
    assert host.run(["sh", "-c", "echo inactive; exit 3"], check=False) == "inactive\n"


def test_a_command_that_does_not_exist(host: Host) -> None:
    with pytest.raises(HostError, match=r"ended with 127: .*no-such-command"):
        host.run(["no-such-command"])


def test_a_command_that_is_too_late(host: Host) -> None:
    with pytest.raises(HostError, match="did not end in time") as caught:
        host.run(["sh", "-c", "exec tail -f /dev/null"], seconds=0.2)
    assert caught.value.rc is None


def test_a_host_that_can_not_be_reached() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        connection = Connection(address="127.0.0.1", port=unused.getsockname()[1], ssh_args=("-F", "none"))
        with Host("lb", connection) as host, pytest.raises(HostError, match=r"lb: ssh could not reach it:.*refused"):
            host.run(["true"], check=False)


def test_a_host_where_one_can_not_become_root(root: Path, host: Host) -> None:
    script(root / "id", "echo 1000")
    script(root / "sudo", "echo sudo: a password is required >&2; exit 1")
    with pytest.raises(HostError, match="`python3` ended with 1: sudo: a password is required"):
        host.run(["true"])


def test_a_lock_that_is_taken_says_by_whom(tmp_path: Path, host: Host) -> None:
    path = str(tmp_path / "lock")
    with Host("there", Connection(address="localhost", local=True)) as other:
        other.lock(path, "run 1 of anna")
        with pytest.raises(Refused, match=f"here: {path} is locked by run 1 of anna: "):
            host.lock(path, "run 2 of bert")
    host.lock(path, "run 2 of bert")
    assert Path(path).read_text() == "run 2 of bert\n"


def test_the_next_call_after_a_lost_connection_makes_a_new_one(host: Host) -> None:
    with pytest.raises(HostError, match="ended with -9: the connection was lost"):
        host.run(["sh", "-c", "kill -9 $PPID"])
    assert host.run(["echo", "again"]) == "again\n"


def test_a_lost_lock_is_not_forgotten(tmp_path: Path, host: Host) -> None:
    host.lock(str(tmp_path / "lock"), "me")
    for words in (["sh", "-c", "kill -9 $PPID"], ["echo", "again"]):
        with pytest.raises(HostError, match="ended with -9: the connection was lost"):
            host.run(words)
    host.close()
    assert host.run(["echo", "again"]) == "again\n"


def test_closing_twice_and_closing_what_was_never_opened() -> None:
    host = Host("here", Connection(address="localhost", local=True))
    host.close()
    host.run(["true"])
    host.close()
    host.close()


@pytest.fixture
def api(haproxy: Callable[[dict[str, bytes]], str]) -> str:
    """A socket whose answers are more than a chunk long, hold odd bytes, or are broken off."""
    long = b"".join(b"0x1: key=%06d use=0 exp=9 server_id=1\n" % number for number in range(50_000))
    return haproxy(
        {"long": b"# table: t\n" + long + b"\n", "odd": b"\xff\x80\x0b\n\n", "cut": b"0x1: key=1\n", "": b""}
    )


def test_answers_come_in_order_whatever_bytes_they_hold(host: Host, api: str) -> None:
    odd, nothing, long = host.cli(api, ["odd", "unknown", "long"])
    assert odd.encode("utf-8", "surrogateescape") == b"\xff\x80\x0b\n\n"
    assert nothing == "\n"
    assert long.count("\n") == 50_002


def test_a_long_answer_comes_line_by_line(host: Host, api: str) -> None:
    lines = list(host.stream(api, "long"))
    assert lines[:2] == ["# table: t", "0x1: key=000000 use=0 exp=9 server_id=1"]
    assert lines[-2:] == ["0x1: key=049999 use=0 exp=9 server_id=1", ""]
    assert len(lines) == 50_002
    assert next(host.stream(api, "odd")).encode("utf-8", "surrogateescape") == b"\xff\x80\x0b"


def test_a_reader_who_takes_his_time_or_leaves_disturbs_nobody(host: Host, api: str) -> None:
    lines = host.stream(api, "long")
    assert next(lines) == "# table: t"
    assert host.cli(api, ["unknown"]) == ["\n"]
    assert sum(1 for _ in lines) == 50_001
    left = host.stream(api, "long")
    next(left)
    left.close()  # type: ignore[attr-defined]  # it is a generator
    assert host.cli(api, ["unknown"]) == ["\n"]


def test_an_answer_that_is_broken_off_is_none(host: Host, api: str) -> None:
    with pytest.raises(HostError, match=r"`odd; cut` ended with 1: .* broke off its answer"):
        host.cli(api, ["odd", "cut"])
    with pytest.raises(HostError, match=r"`cut` ended with 1: .* broke off its answer"):
        list(host.stream(api, "cut"))


def test_an_answer_of_a_haproxy_before_1_8_has_no_end_of_its_own(
    host: Host, haproxy: Callable[[dict[str, bytes]], str]
) -> None:
    clear, row, cut = "clear table t key 1 ", "show table t key 1 ", "show table t key 2 "
    answers = {clear: b"", row: b"0x1: key=1\n", cut: b"0x1: ke", "show table t": b"0x1: key=1\n"}
    old = haproxy(answers | {"show info": b"Version: 1.6.3\n\n"})
    assert host.cli(old, [clear, row]) == ["", "0x1: key=1\n"]
    for broken in (cut, "show table t"):
        with pytest.raises(HostError, match="broke off"):
            host.cli(old, [broken])
    for info in (b"Version: 1.8.8\n\n", b"Version: 1.6.3\n", b""):
        other = haproxy(answers | {"show info": info})
        with pytest.raises(HostError, match="broke off"):
            host.cli(other, [clear])


def test_a_socket_that_is_not_there(host: Host) -> None:
    with pytest.raises(HostError, match=r"`show info` ended with 1: /no/such: No such file"):
        host.cli("/no/such", ["show info"])
