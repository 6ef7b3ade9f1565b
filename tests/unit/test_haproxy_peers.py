"""The parts of haproxy-peers that need no HAProxy, on what real ones wrote (tests/verify/fixtures)."""

import contextlib
import importlib.util
import json
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
WARNING = "[WARNING]  (444) : config :"
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
        f"[WARNING]  (444) : {INCOMPLETE}",
        f"{WARNING} parsing [/t.cfg:5] : 'peer b' : ignoring invalid peer definition (missing address:port)",
        f"{WARNING} Peers section 'a': local peer have a SSL listener and a non-SSL server configured at line /t:4.",
        f"{WARNING} Peers section 'a': local peer have a non-SSL listener and a SSL server configured at line /t:4.",
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
        f"{WARNING} parsing [/t.cfg:4] : 'peer a' : init_addr, resolvers, check and agent are ignored for peers.",
        f"{WARNING} parsing [/t.cfg:9] : 'stick' ignored because frontend 'peer-api' has no backend capability.",
        f"{WARNING} Peers section 'pp': shard ignored for 'lb-1' local peer",
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


def test_difference_of_what_is_not_utf_8_can_be_printed(program: ModuleType, tmp_path: Path) -> None:
    old, new = tmp_path / "old.cfg", tmp_path / "new.cfg"
    old.write_bytes(b"# Z\xfcrich\n")
    new.write_bytes(b"# Z\xfcrich\nmaxconn 20\n")
    assert program.difference(old, new).encode().splitlines()[3:] == [b" # Z?rich", b"+maxconn 20"]


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
    assert program.silent_peers(recorded(f"{version}/pair-a")) == []


@VERSIONS
def test_a_session_that_ended_just_now_is_none(program: ModuleType, version: str) -> None:
    """ESTA stands there for some seconds more."""
    (said,) = program.silent_peers(recorded(f"{version}/pair-a").replace(" state=EST", " state=CLO"))
    assert said.endswith(" does not answer (gone)")


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


@pytest.mark.parametrize(("answers", "found"), [("Pid: 1271\n", 1271), ("Pid: 1233\n", 0), (OSError, 0)])
def test_a_new_worker_counts_once_it_answers_itself(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, answers: str | type[OSError], found: int
) -> None:
    """From 3.1 on the old one answers for it, or nobody, while it loads its configuration."""

    def ask(command: str, address: str = "", bound: float = 10) -> str:
        if command == "@1 show peers":
            return recorded("2.6/pair-a")
        if isinstance(answers, str):
            return answers
        raise answers

    monkeypatch.setattr(program, "worker_pid", lambda: 1271)
    monkeypatch.setattr(program, "ask", ask)
    assert program.answering_worker() == found
    with pytest.raises(program.PeersError, match="1271 still serves" if found else "does not answer yet"):
        program.wait_until_in_sync(0, not_worker=1271)


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


def test_a_restart_is_due_for_a_master_socket_too_many(running: ModuleType) -> None:
    """The other arguments are all there; a version without `-S` would end at it when it is re-executed."""
    command = ["/bin/sh", "-c", "echo; read x", "-S", "/m", "-L", "lb-1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()  # Popen returns before /proc has the arguments
        for text, fits in (('EXTRAOPTS="-L lb-1"\n', False), ('EXTRAOPTS="-S /m -L lb-1"\n', True)):
            running.ENVIRONMENT.write_text(text)
            assert running.has_arguments(process.pid) == fits
        process.communicate()


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
                        client.sendall(b"Name: HAProxy\nVersion: 1.5.19\nPid: 4711\nUptime_sec: 12\n\n")

        threading.Thread(target=answer, daemon=True).start()
        yield old
        server.shutdown(socket.SHUT_RDWR)


def test_before_2_0_the_stats_socket_tells_who_serves(answering: ModuleType) -> None:
    assert answering.serving_pid() == 4711
    assert answering.wait_until_ready(1, not_worker=4710) == ""


def test_before_2_0_the_old_process_is_not_the_new_one(answering: ModuleType) -> None:
    with pytest.raises(answering.PeersError, match=r"no new process that is 12 s old answered .* within 0\.1 s"):
        answering.wait_until_ready(0.1, not_worker=4711)


def test_before_2_0_a_process_is_in_sync_by_its_age(answering: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "RESYNC_SECONDS", 13)
    assert answering.serving_pid() == 4711
    with pytest.raises(answering.PeersError, match="13 s old"):
        answering.wait_until_ready(0.1, not_worker=4710)


def test_before_2_0_a_process_answers_where_it_was_told_to_before(answering: ModuleType) -> None:
    """Its configuration was replaced, with another stats socket."""
    text = answering.CONFIGURATION.read_text()
    answering.CONFIGURATION.write_text(text.replace("admin.sock", "moved.sock"))
    assert answering.serving_pid() == 0
    answering.last_good(answering.CONFIGURATION).write_text(text)
    assert answering.serving_pid() == 4711


@pytest.mark.parametrize("words", ["/nowhere mode 600 level user", "/no/session-guard.haproxy.sock level operator"])
def test_a_stats_socket_that_may_do_too_little_is_passed_over(answering: ModuleType, words: str) -> None:
    text = answering.CONFIGURATION.read_text()
    answering.CONFIGURATION.write_text(text.replace("global\n", f"global\n  stats socket {words}\n"))
    assert answering.serving_pid() == 4711


@pytest.mark.parametrize(("coming", "refused"), [("1.5.18", False), ("1.6.0", True), ("3.0.11", True)])
def test_1_5_is_not_left_without_its_sessions(
    answering: ModuleType, monkeypatch: pytest.MonkeyPatch, coming: str, refused: bool
) -> None:
    monkeypatch.setattr(answering, "MASTER_SOCKET", "/no/such/socket")
    monkeypatch.setattr(answering, "version", lambda of: coming)
    if refused:
        with pytest.raises(
            answering.PeersError, match=f"1.5.19 runs and {coming} is installed; no peer understands both"
        ):
            answering.refuse_to_lose_all()
    else:
        answering.refuse_to_lose_all()


def test_a_process_that_is_not_there_loses_nothing(old: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(old, "MASTER_SOCKET", "/no/such/socket")
    old.refuse_to_lose_all()
    old.CONFIGURATION.write_text("global\n")
    old.refuse_to_lose_all()


def test_before_a_change_the_running_version_counts(answering: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program is in place already."""
    monkeypatch.setattr(answering, "MASTER_SOCKET", "/no/such/socket")
    monkeypatch.setattr(answering, "version", lambda of: "3.0.11")
    assert answering.wait_until_ready(1) == ""
    with pytest.raises(answering.PeersError, match="in sync with its peers"):
        answering.wait_until_ready(0.1, not_worker=4710)


def test_before_2_0_nobody_serves_where_nobody_answers(old: ModuleType) -> None:
    assert old.serving_pid() == 0


def test_before_2_0_a_configuration_needs_a_stats_socket(old: ModuleType) -> None:
    old.CONFIGURATION.write_text("global\n  stats socket abns@hidden\n")
    with pytest.raises(old.PeersError, match="has no `stats socket PATH`"):
        old.serving_pid()


# --- rows -----------------------------------------------------------------------------------------

CONFIGURED = """
global
  stats socket /run/haproxy/admin.sock level admin
peers pp
  peer lb-1 192.0.2.1:1024
  table keys type string len 40 size 10k
frontend front # stick-table type ip size 1k peers pp
  stick-table type ip size 1k store http_req_rate(10s)
backend shop from other
  stick-table type string len 64 size 1m expire 2h peers pp
listen api
  stick-table type ip size 1k peers pp store conn_cur
"""


def table(version: str, name: str) -> str:
    """Gives the recorded answer to `show table back`."""
    text = (ROOT / "tests/verify/fixtures" / version / f"{name}.txt").read_text()
    return text.split("$ show table back\n")[1].split("\n$ ")[0]


def test_tables_that_the_peers_share(program: ModuleType) -> None:
    assert program.synced_tables(CONFIGURED) == ["pp/keys", "shop", "api"]


@VERSIONS
def test_rows_have_key_id_and_name(program: ModuleType, version: str) -> None:
    rows = sorted(program.rows_of(table(version, "names-a")))
    assert rows == [(f"from-a-{number}", number % 2 + 1, f"web-{number % 2 + 1}") for number in range(10)]


def test_rows_of_1_5_have_no_name(program: ModuleType) -> None:
    header = "# table: back, type: string, size:1048576, used:2\n"
    answer = f"{header}0x16b7e90: key=abc use=0 exp=0 server_id=3\nkey=d use=1 exp=9 server_id=12\n"
    assert list(program.rows_of(answer)) == [("abc", 3, ""), ("d", 12, "")]


@pytest.mark.parametrize(
    ("printed", "key"),
    [
        (r"a\=b", "a=b"),
        (r"a\ b", "a b"),
        (r"a\\b", r"a\b"),
        (r"\xC3\xA9", r"\xC3\xA9"),
        (r"a\tb", r"a\tb"),
        ("a;b", "a;b"),
    ],
)
def test_keys_come_plain_but_for_letters(program: ModuleType, printed: str, key: str) -> None:
    row = f"0x55: key={printed} use=0 exp=1 shard=0 server_id=7 server_key=-\n"
    assert list(program.rows_of(row)) == [(key, 7, "")]


def test_rows_that_bind_no_server_are_none(program: ModuleType) -> None:
    rows = "0x1: key=192.0.2.1 use=0 exp=1 gpc0=0 conn_cnt=10\n0x2: key=x use=0 exp=1 server_id=0 server_key=-\n"
    assert list(program.rows_of(rows)) == []


def test_servers_have_names_by_backend_and_id(program: ModuleType) -> None:
    servers = program.servers_of((ROOT / "tests/unit/recorded/show-stat-2.6.txt").read_text())
    assert servers[("back-session", 251633157)] == "web-be1"
    assert sorted(servers.values()) == [f"web-be{number}" for number in range(1, 8)]


def test_another_answer_than_statistics_is_an_error(program: ModuleType) -> None:
    with pytest.raises(program.PeersError, match="no answer to `show stat`: Permission denied"):
        program.servers_of("Permission denied\n")


def test_a_table_without_servers_takes_names_that_are_certain(program: ModuleType) -> None:
    servers = {("a", 1): "a-one", ("a", 2): "a-two", ("b", 1): "b-one"}
    assert program.server_names("a", servers) == {1: "a-one", 2: "a-two"}
    assert program.server_names("keys", servers) == {2: "a-two"}


def test_a_table_of_a_peers_section_takes_the_names_of_those_that_stick_by_it(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids of several backends are the same, 1 and up, where nobody gave others."""
    monkeypatch.setattr(program, "CONFIGURATION", ROOT / "molecule/guard-by-hand/haproxy.cfg")
    servers = {(b, n): f"{b}{n}" for b in ("shop", "api", "chat") for n in (1, 2, 3)}
    assert program.server_names("lb_peers/clients", servers) == {1: "api1", 2: "api2", 3: "api3"}
    assert program.server_names("lb_peers/other", servers) == {}
    assert program.backends_sticking_by("shop", program.CONFIGURATION.read_text()) == {"uploads"}


def test_digests_name_no_session_and_are_the_same_rows_everywhere(program: ModuleType) -> None:
    rows = [("back", f"session-{number}", "web-1") for number in range(100)]
    found = program.digests(rows, 10)
    assert found == program.digests(reversed(rows), 10)
    assert (len(found), "session" in "".join(found)) == (10, False)
    assert set(found) < set(program.digests(rows, 100))
    other = program.digests([("back", key, "web-2") for _, key, _ in rows], 10)
    assert [row.split()[:2] for row in other] == [row.split()[:2] for row in found]


def test_batches_fit_a_line(program: ModuleType) -> None:
    commands = [f"set table back key {'k' * number} data.server_id 1" for number in range(500)]
    batches = list(program.batches(commands))
    assert [command for batch in batches for command in batch] == commands
    assert max(len(";".join(f"@1 {command}" for command in batch)) for batch in batches) <= program.LINE
    assert len(batches) < 30


class Worker:
    """A HAProxy with one table, as far as a dump and a restore ask it."""

    def __init__(self, rows: dict[str, int]) -> None:
        self.rows, self.commands, self.lines = rows, list[str](), 0
        self.version = "3.0.11"

    def ask(self, *commands: str) -> str:
        if commands == ("show info",):
            return f"Name: HAProxy\nVersion: {self.version}\n"
        if commands == ("show stat",):
            return (ROOT / "tests/unit/recorded/show-stat-2.6.txt").read_text()
        if commands == ("show table back-session",):
            rows = (f"0x1: key={key} use=0 exp=1 server_id={number}" for key, number in self.rows.items())
            return "\n".join(["# table: back-session, type: string, size:1048576, used:1", *rows, ""])
        self.commands += commands
        self.lines += 1
        return ""


@pytest.fixture
def worker(program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Worker:
    (tmp_path / "haproxy.cfg").write_text("backend back-session\n  stick-table type string size 1m peers pp\n")
    monkeypatch.setattr(program, "CONFIGURATION", tmp_path / "haproxy.cfg")
    fake = Worker({"known": 251633157, r"a\=b;c": 45670222, r"\xC3\xA9": 45670222, "no-such-server": 3})
    monkeypatch.setattr(program, "ask_worker", fake.ask)
    monkeypatch.setattr(program, "stream_worker", lambda command: iter([fake.ask(command)]))
    return fake


def test_a_dump_is_restored_but_for_what_is_there_or_can_not_be(
    program: ModuleType, worker: Worker, tmp_path: Path
) -> None:
    assert program.dump(tmp_path / "dump") == "dumped: 4 rows"
    assert (tmp_path / "dump").stat().st_mode & 0o777 == 0o600
    assert "back-session web-be2 a=b;c\n" in (tmp_path / "dump").read_text()
    (tmp_path / "dump").write_text((tmp_path / "dump").read_text() + "back-session web-gone someone\n")
    worker.rows = {"known": 193812842}
    assert program.restore(tmp_path / "dump") == (
        "restored: 2 rows; 1 were there; left out: 1 whose key can't be given back, 1 whose server is no more"
    )
    assert worker.commands == [
        r"set table back-session key a=b\;c data.server_id 45670222",
        "set table back-session key no-such-server data.server_id 3",
    ]


@pytest.mark.parametrize(("version", "left_out"), [("1.5.19", 1), ("1.6.3", 0)])
def test_1_5_is_not_given_a_key_at_which_it_would_end_the_command(
    program: ModuleType, worker: Worker, tmp_path: Path, version: str, left_out: int
) -> None:
    (tmp_path / "dump").write_text("back-session web-be2 a;b\n")
    worker.rows, worker.version = {}, version
    assert f"; left out: {left_out} whose key" in program.restore(tmp_path / "dump")


@pytest.mark.parametrize(("version", "lines"), [("1.5.19", 2), ("1.8.8", 1)])
def test_before_1_8_a_connection_carries_one_row(
    program: ModuleType, worker: Worker, tmp_path: Path, version: str, lines: int
) -> None:
    (tmp_path / "dump").write_text("back-session web-be2 known\nback-session web-be2 other\n")
    worker.rows, worker.version = {}, version
    assert program.restore(tmp_path / "dump").startswith("restored: 2 rows;")
    assert worker.lines == lines


def test_a_restore_wins_over_other_rows_if_told_to(program: ModuleType, worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "dump").write_text("back-session web-be2 known\nback-session web-be2 other\n")
    worker.rows = {"known": 45670222, "other": 193812842}
    assert program.restore(tmp_path / "dump").startswith("restored: 0 rows; 2 were there;")
    assert program.restore(tmp_path / "dump", over=True).startswith("restored: 1 rows; 1 were there;")
    assert worker.commands == [
        "clear table back-session key other",
        "set table back-session key other data.server_id 45670222",
    ]


def test_a_row_that_is_refused_is_an_error(
    program: ModuleType, worker: Worker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program.dump(tmp_path / "dump")
    worker.rows = {}
    answer = worker.ask
    monkeypatch.setattr(
        program, "ask_worker", lambda *asked: answer(*asked) if "show" in asked[0] else "Permission denied\n"
    )
    with pytest.raises(program.PeersError, match="did not take a row: Permission denied"):
        program.restore(tmp_path / "dump")


def test_a_table_that_the_running_haproxy_lacks_is_an_error(
    program: ModuleType, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "stream_worker", lambda command: iter(["No such table\n"]))
    with pytest.raises(program.PeersError, match=r"has no table back-session, which .* has: No such table"):
        list(program.bindings())


def test_a_wait_for_every_peer_names_the_one_that_is_silent(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "worker_pid", lambda: 4711)
    monkeypatch.setattr(program, "answering_worker", lambda: 4711)
    monkeypatch.setattr(program, "ask", lambda command: recorded("2.6/away-a"))
    assert program.wait_until_in_sync(0) == recorded("2.6/away-a")
    with pytest.raises(program.PeersError, match=r"within 0 s: peer haproxy-3 at \S+ does not answer \(CONN\)"):
        program.wait_until_in_sync(0, every_peer=True)


# What balancers tell, and how many rows have different servers, and are missing somewhere.
LOOKS: dict[str, tuple[list[list[str]], tuple[int, int]]] = {
    "equal": ([["t 1 a", "t 2 b"], ["t 2 b", "t 1 a"]], (0, 0)),
    "empty": ([[], []], (0, 0)),
    "moved": ([["t 1 a", "t 2 b"], ["t 1 b", "t 2 b"]], (1, 0)),
    "missing": ([["t 1 a", "t 2 b"], ["t 3 c"]], (0, 3)),
    "both": ([["t 1 a", "t 2 b"], ["t 1 c"]], (1, 1)),
    "of-another-table": ([["t 1 a"], ["u 1 a"]], (0, 2)),
    "one-of-three": ([["t 1 a"], ["t 1 a"], []], (0, 1)),
    "alone": ([["t 1 a"]], (0, 0)),
}


def said(*balancers: list[str]) -> dict[str, str]:
    """Gives what balancers said."""
    return {f"lb-{number}": "\n".join(["2.6.12", *rows]) for number, rows in enumerate(balancers)}


def test_a_row_less_is_one_that_is_missing_in_a_large_table(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where balancers tell a part of their rows, one that lacks a row tells of one further away."""
    monkeypatch.setattr(program, "COMPARED", 3)
    text = program.compare(said(["t 1 a", "t 2 b", "t 3 c"], ["t 1 a", "t 3 c", "t 4 d"]), "")
    figures = json.loads(text.splitlines()[0])
    assert (figures["missing"], figures["moved"]) == (1, 0)


@pytest.mark.parametrize("look", LOOKS)
def test_rows_are_compared_by_their_servers(program: ModuleType, look: str) -> None:
    balancers, (moved, missing) = LOOKS[look]
    figures = json.loads(program.compare(said(*balancers), "").splitlines()[0])
    assert (figures["moved"], figures["missing"], figures["looks"]) == (moved, missing, 1)
    assert figures["rows"] == {f"lb-{number}": len(rows) for number, rows in enumerate(balancers)}
    assert set(figures["versions"].values()) == {"2.6.12"}


def test_only_what_is_unlike_at_every_look_counts(program: ModuleType) -> None:
    first = program.compare(said(["t 1 a", "t 2 b", "t 3 c"], ["t 1 b", "t 2 b"]), "")
    second = program.compare(said(["t 1 a", "t 3 c", "t 4 d"], ["t 1 b", "t 3 c"]), first)
    figures = json.loads(second.splitlines()[0])
    assert (figures["moved"], figures["missing"], figures["looks"]) == (1, 0, 2)


# --- what an operator does -----------------------------------------------------------------------------


def test_1_5_drains_no_server_by_command(program: ModuleType, worker: Worker) -> None:
    worker.version = "1.5.19"
    with pytest.raises(program.PeersError, match=r"HAProxy 1\.5\.19 drains no server by command"):
        program.set_servers(["web-be1"], "drain")
    assert worker.commands == []
