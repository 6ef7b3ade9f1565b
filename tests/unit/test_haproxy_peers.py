"""The parts of haproxy-peers that need no HAProxy, on what real ones wrote (tests/verify/fixtures)."""

import contextlib
import importlib.util
import os
import re
import shlex
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
VERSIONS = pytest.mark.parametrize("version", ["2.2", "2.6", "3.0", "3.2"])
INCOMPLETE = "Removing incomplete section 'peers haproxy-peers' (no peer named 't1')."


@pytest.fixture(scope="module")
def program() -> ModuleType:
    """Returns haproxy_peers.py as a module."""
    spec = importlib.util.spec_from_file_location("haproxy_peers", ROOT / "roles/haproxy/files/haproxy_peers.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recorded(name: str) -> str:
    """Gives the recorded answer to `show peers`."""
    text = (ROOT / "tests/verify/fixtures" / f"{name}.txt").read_text()
    return text.split("$ show peers\n")[1].split("\n$ ")[0]


# --- checking a configuration ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        f"[WARNING]  (444) : config : {INCOMPLETE}",
        f"[WARNING] 326/165301 (444) : {INCOMPLETE}",
        "[WARNING]  (444) : parsing [/etc/haproxy/haproxy.cfg:20] : peer 'lb-1' is not known.",
    ],
)
def test_a_warning_about_peers_counts(program: ModuleType, row: str) -> None:
    assert program.warnings_about_peers(f"[NOTICE]   (444) : haproxy version is 2.6.12\n{row}\nok\n") == [row]


@pytest.mark.parametrize(
    "row",
    [
        "[WARNING]  (444) : parsing [/etc/haproxy/peers/haproxy.cfg:12] : 'option httplog' needs 'mode http'.",
        "[WARNING]  (444) : config : parsing [/tmp/ansible-peers.cfg:3]: 'http-request' placed after 'use_backend'.",
        "[WARNING]  (444) : config : ca-file /etc/haproxy/peers/ca.pem is empty.",
        "[NOTICE]   (444) : path to executable is /usr/sbin/haproxy, peers are fine.",
        "Configuration file with peers is valid",
    ],
)
def test_other_output_does_not_count(program: ModuleType, row: str) -> None:
    assert program.warnings_about_peers(row + "\n") == []


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        ("stats auth admin:se:cret", "stats auth admin:********"),
        ("user joe password $6$salt$hash groups ops", "user joe password ******** groups ops"),
        ("user joe insecure-password secret", "user joe insecure-password ********"),
        (r"http-request set-header Authorization Basic\ c2VjcmV0", "http-request set-header Authorization ********"),
        ('http-check send hdr authorization "Bearer secret"', "http-check send hdr authorization ********"),
        ("http-request set-header X-Api-Key secret if api", "http-request set-header X-Api-Key ********"),
        (
            "http-request deny unless { req.hdr(X-Token) -m str secret }",
            "http-request deny unless { req.hdr(X-Token) ********",
        ),
        (
            "http-request set-var(txn.sticky_verify) bool(true) if { req.hdr(X-Sticky-Token) -m str secret }",
            "http-request set-var(txn.sticky_verify) bool(true) if { req.hdr(X-Sticky-Token) ********",
        ),
        ("setenv API_KEY secret", "setenv API_KEY ********"),
        ('presetenv PASSWORD "my secret"', "presetenv PASSWORD ********"),
        ("http-response add-header X-Other value", "http-response add-header X-Other value"),
        ("stick on hdr(X-Api-Key) table by-key", "stick on hdr(X-Api-Key) table by-key"),
        ("stick on req.cook(JSESSIONID)", "stick on req.cook(JSESSIONID)"),
    ],
)
def test_secrets_are_masked(program: ModuleType, row: str, shown: str) -> None:
    assert program.masked(f"  {row}\n  mode http\n") == [f"  {shown}", "  mode http"]


@pytest.mark.parametrize(
    "row",
    [
        'user joe password "two words" groups ops',
        "user joe insecure-password 'two words' groups ops",
        r"user joe insecure-password two\ words groups ops",
        'stats auth "admin:two words"',
        r"stats auth admin:two\ words",
    ],
)
def test_a_secret_of_several_words_is_masked_whole(program: ModuleType, row: str) -> None:
    (shown,) = program.masked(f"  {row}\n")
    assert "words" not in shown
    assert shown.endswith(" groups ops") == row.endswith(" groups ops")


def test_difference_shows_what_changes_without_secrets(program: ModuleType, tmp_path: Path) -> None:
    old, new = tmp_path / "old.cfg", tmp_path / "new.cfg"
    old.write_text("stats auth admin:first\nmaxconn 10\n")
    new.write_text("stats auth admin:second\nmaxconn 20\n")
    rows = program.difference(old, new).splitlines()
    assert rows[:2] == [f"--- {old}", f"+++ {old}"]
    assert rows[3:] == [" stats auth admin:********", "-maxconn 10", "+maxconn 20"]


def test_difference_to_a_file_that_is_not_there_is_everything(program: ModuleType, tmp_path: Path) -> None:
    new = tmp_path / "new.cfg"
    new.write_text("maxconn 20\n")
    assert program.difference(tmp_path / "none.cfg", new).splitlines()[3:] == ["+maxconn 20"]


def test_difference_of_equal_files_is_nothing(program: ModuleType, tmp_path: Path) -> None:
    same = tmp_path / "same.cfg"
    same.write_text("maxconn 20\n")
    assert program.difference(same, same) == ""


# --- the state of the peers -----------------------------------------------------------------------


@VERSIONS
def test_an_answer_to_show_peers_is_known(program: ModuleType, version: str) -> None:
    assert program.is_show_peers(recorded(f"{version}/away-a"))


def test_no_worker_to_ask_is_no_answer(program: ModuleType) -> None:
    assert not program.is_show_peers("Can't find the target process matching the prefix '@1'.\n")


@VERSIONS
def test_sections_in_sync(program: ModuleType, version: str) -> None:
    assert program.unsynced_sections(recorded(f"{version}/away-a")) == []
    assert program.unsynced_sections(recorded(f"{version}/away-b")) == []


@VERSIONS
def test_section_just_started_is_not_in_sync(program: ModuleType, version: str) -> None:
    assert program.unsynced_sections(recorded(f"{version}/cold-a")) == ["haproxy-peers"]


def test_one_section_of_two_is_not_in_sync(program: ModuleType) -> None:
    second = recorded("2.6/cold-a").replace("id=haproxy-peers", "id=second")
    assert program.unsynced_sections(recorded("2.6/away-a") + second) == ["second"]


@VERSIONS
def test_a_peer_without_a_session_is_silent(program: ModuleType, version: str) -> None:
    for name in ("away-a", "away-b"):
        (silent,) = program.silent_peers(recorded(f"{version}/{name}"))
        assert re.fullmatch(r"peer haproxy-3 at 127\.0\.0\.1:\d+ does not answer \(CONN\)", silent)


@VERSIONS
def test_established_peers_are_not_silent(program: ModuleType, version: str) -> None:
    text = recorded(f"{version}/away-a")
    assert program.silent_peers(text.replace("last_status=CONN", "last_status=ESTA")) == []


def test_the_current_worker_is_told_from_the_old_ones(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        "#<PID>          <type>          <reloads>       <uptime>        <version>",
        "1162            master          5               0d00h02m07s     2.6.12",
        "# workers",
        "1271            worker          0               0d00h00m01s     2.6.12",
        "# old workers",
        "1233            worker          3               0d00h00m43s     2.6.12",
        "# programs",
    ]
    monkeypatch.setattr(program, "ask", lambda command: "\n".join(rows))
    assert program.worker_pid() == 1271
    del rows[3]
    assert program.worker_pid() == 0


# --- what the running process should be -----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('EXTRAOPTS="-S /run/haproxy-master.sock -L lb-1"\n', ["-S", "/run/haproxy-master.sock", "-L", "lb-1"]),
        ('EXTRAOPTS="-L first"\nCONFIG=/etc/x\n  EXTRAOPTS="-L last"\n', ["-L", "last"]),
        ('EXTRAOPTS="-L lb-1"\n#EXTRAOPTS="-L comment"\n', ["-L", "lb-1"]),
        ("EXTRAOPTS='-L lb-1'\n", ["-L", "lb-1"]),
        ("EXTRAOPTS=-L lb-1\n", ["-L", "lb-1"]),
        ('EXTRAOPTS=""\n', []),
        ("EXTRAOPTS=\n", []),
        ('#EXTRAOPTS="-L comment"\n', []),
        ('OPTIONS="-L lb-1"\n', ["-L", "lb-1"]),
    ],
)
def test_extra_options(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, arguments: list[str]
) -> None:
    monkeypatch.setattr(program, "ENVIRONMENT", tmp_path / "haproxy")
    (tmp_path / "haproxy").write_text(text)
    assert program.extra_options() == arguments
    assert program.local_peer_of_unit() == ([*arguments, ""][arguments.index("-L") + 1] if arguments else "")


def test_no_environment_file_means_no_extra_options(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(program, "ENVIRONMENT", tmp_path / "none")
    assert program.extra_options() == []
    assert program.local_peer_of_unit() == ""


@pytest.fixture
def running(program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """Returns the program in a world where this very process is the HAProxy that runs as configured."""
    own = Path("/proc/self/cmdline").read_text().split("\0")[:2]
    assert len(own) == 2
    (tmp_path / "default").write_text(f"EXTRAOPTS={shlex.quote(shlex.join(own))}\n")
    (tmp_path / "haproxy.cfg").touch()
    os.utime(tmp_path / "haproxy.cfg", (0, 0))
    monkeypatch.setattr(program, "ENVIRONMENT", tmp_path / "default")
    monkeypatch.setattr(program, "CONFIGURATION", tmp_path / "haproxy.cfg")
    monkeypatch.setattr(program, "started_program", lambda: Path(own[0]))
    return program


def test_nothing_is_due_when_all_is_as_configured(running: ModuleType) -> None:
    assert running.due(os.getpid(), os.getpid()) == ("", "")


def test_a_restart_is_due_for_other_arguments(running: ModuleType) -> None:
    running.ENVIRONMENT.write_text('EXTRAOPTS="-L another"\n')
    assert not running.has_arguments(os.getpid())


def test_a_restart_is_due_for_another_program(running: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert running.has_program(os.getpid())
    monkeypatch.setattr(running, "started_program", lambda: Path("/opt/haproxy/current/sbin/haproxy"))
    assert not running.has_program(os.getpid())


def test_a_reload_is_due_for_another_binary(running: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "started_program", lambda: Path("/bin/sh"))
    assert running.due(os.getpid(), os.getpid()) == ("reload", "/bin/sh is another binary than the running one")


def test_a_reload_is_due_for_a_newer_configuration(running: ModuleType) -> None:
    running.CONFIGURATION.touch()
    action, reason = running.due(os.getpid(), os.getpid())
    assert action == "reload"
    assert reason.endswith("haproxy.cfg is newer than the running worker")


# --- the version ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "program_of_unit"),
    [
        ("{ path=/usr/sbin/haproxy ; argv[]=/usr/sbin/haproxy -Ws ; pid=0 }", "/usr/sbin/haproxy"),
        (
            "{ path=/opt/x/haproxy-systemd-wrapper ; argv[]=/opt/x/haproxy-systemd-wrapper }",
            "/opt/x/haproxy-systemd-wrapper",
        ),
        ("", "/usr/sbin/haproxy"),
    ],
)
def test_the_binary_is_that_of_the_unit(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, shown: str, program_of_unit: str
) -> None:
    monkeypatch.setattr(program, "property_of_unit", lambda name: shown)
    assert program.started_program() == Path(program_of_unit)
    assert program.binary() == Path(program_of_unit).parent / "haproxy"


@pytest.mark.parametrize(
    ("banner", "version", "tells"),
    [
        ("HA-Proxy version 1.5.19 2016/12/25", "1.5.19", False),
        ("HA-Proxy version 1.8.31-1ppa1 2022/06/01", "1.8.31", False),
        ("HA-Proxy version 2.2.9-2+deb11u6 2023/12/28 - https://haproxy.org/", "2.2.9", True),
        ("HAProxy version 2.6.12-1+deb12u3 2025/10/03 - https://haproxy.org/", "2.6.12", True),
        ("HAProxy version 3.3-dev1 2025/06/11", "3.3", True),
        ("something else", "0.0", False),
    ],
)
def test_a_version_tells_whether_it_is_in_sync_from_2_0(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, banner: str, version: str, tells: bool
) -> None:
    monkeypatch.setattr(program, "run", lambda *command: subprocess.CompletedProcess(command, 0, banner, ""))
    assert program.version(Path("/usr/sbin/haproxy")) == version
    assert program.tells_sync(version) == tells


@pytest.mark.parametrize(
    ("expected", "reason"),
    [
        ("2.6.12", ""),
        ("2.6", ""),
        ("", ""),
        ("2.6.1", "/bin/sh is HAProxy 2.6.12, and 2.6.1 comes"),
        ("3.0.11", "/bin/sh is HAProxy 2.6.12, and 3.0.11 comes"),
    ],
)
def test_another_version_checks_nothing(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, expected: str, reason: str
) -> None:
    monkeypatch.setattr(program, "version", lambda of: "2.6.12")
    assert program.not_checked(Path("/bin/sh"), expected) == reason


def test_a_program_that_is_not_there_checks_nothing(program: ModuleType) -> None:
    assert program.not_checked(Path("/no/haproxy"), "") == "there is no /no/haproxy on this host yet"


@pytest.fixture
def old(program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """Returns the program in a world of HAProxy 1.5, whose configuration has a stats socket."""
    (tmp_path / "haproxy.cfg").write_text(f"global\n  stats socket {tmp_path}/admin.sock mode 660 level admin\n")
    monkeypatch.setattr(program, "CONFIGURATION", tmp_path / "haproxy.cfg")
    monkeypatch.setattr(program, "version", lambda of: "1.5.19")
    return program


@pytest.fixture
def answering(old: ModuleType, tmp_path: Path) -> Iterator[ModuleType]:
    """Returns the same world, with a process that answers on that socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(tmp_path / "admin.sock"))
        server.listen()

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client:
                        client.recv(100)
                        client.sendall(b"Name: HAProxy\nVersion: 1.5.19\nPid: 4711\nUptime: 0d\n\n")

        threading.Thread(target=answer, daemon=True).start()
        yield old
        server.shutdown(socket.SHUT_RDWR)


def test_before_2_0_the_stats_socket_tells_who_serves(answering: ModuleType) -> None:
    assert answering.serving_pid() == 4711
    assert answering.wait_until_ready(1, not_worker=4710) == ""


def test_before_2_0_the_old_process_is_not_the_new_one(answering: ModuleType) -> None:
    with pytest.raises(answering.PeersError, match=r"no new process answered on the stats socket within 0\.1 s"):
        answering.wait_until_ready(0.1, not_worker=4711)


def test_before_2_0_nobody_serves_where_nobody_answers(old: ModuleType) -> None:
    assert old.serving_pid() == 0


def test_before_2_0_a_configuration_needs_a_stats_socket(old: ModuleType) -> None:
    old.CONFIGURATION.write_text("global\n  stats socket abns@hidden\n")
    with pytest.raises(old.PeersError, match="has no `stats socket PATH`"):
        old.serving_pid()
