"""The session guard's program, as far as it needs no HAProxy, and the lines that roles/haproxy renders for it."""

import errno
import fcntl
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from guard_host import Host
else:
    Host = object

ROOT = Path(__file__).parents[2]
ROLE = ROOT / "roles/session_guard"
GOLDEN = (ROOT / "tests/unit/golden/guard.cfg").read_text()
GATE = "/etc/haproxy/session-guard/gate-0a1b2c3d.lua"
SOCKET = "/run/session-guard.haproxy.sock"
EXEMPT = "{ path_beg /health }"
BOUNDS = {"hard-stop-after": "3600s", "mworker-max-reloads": "10"}

CONFIGURED = """
global
  stats socket /run/haproxy/admin.sock level admin
defaults
  mode http
peers pp
  bind 192.0.2.1:1024
  server lb-1
  server lb-2 192.0.2.2:1024
backend shop # stick on is not here
  stick-table type string len 32 size 1m expire 30m peers pp store server_id
  stick on req.cook("SID")
backend rates
  stick-table type ip size 1k expire 10s store http_req_rate(10s) peers pp
backend own
  stick-table type string size 1k
  stick on req.cook(SID)
"""


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Iterator[None]:
    """The program's folder on a host has its modules and that of roles/haproxy side by side."""
    folders = [str(ROLE / "files"), str(ROOT / "roles/haproxy/files")]
    sys.path[:0] = folders
    yield
    for folder in folders:
        sys.path.remove(folder)


@pytest.fixture
def configuration() -> ModuleType:
    return importlib.import_module("guard_configuration")


@pytest.fixture
def dumps() -> ModuleType:
    return importlib.import_module("guard_dump")


@pytest.fixture
def store() -> ModuleType:
    return importlib.import_module("guard_store")


@pytest.fixture
def running() -> ModuleType:
    return importlib.import_module("guard_worker")


@pytest.fixture
def start() -> ModuleType:
    return importlib.import_module("guard_start")


@pytest.fixture
def guard() -> ModuleType:
    return importlib.import_module("session_guard")


def needed(configuration: ModuleType, text: str, version: tuple[int, int] = (2, 6), exempt: str = "") -> dict[str, Any]:
    return dict(configuration.Configuration(text).needs(GATE, SOCKET, exempt, BOUNDS, version))


# --- the lines ------------------------------------------------------------------------------------


def test_what_the_role_renders_is_what_the_program_wants(configuration: ModuleType) -> None:
    wanted = needed(configuration, GOLDEN, exempt=EXEMPT)
    assert list(wanted) == ["global", "backend back-session", "listen api"]
    assert configuration.Configuration(GOLDEN).lacks(wanted) == []


@pytest.mark.parametrize(
    ("version", "chosen"), [((3, 0), []), ((3, 1), ["tune.lua.bool-sample-conversion normal # session-guard"])]
)
def test_lua_is_given_booleans_as_such_where_that_is_a_choice(
    configuration: ModuleType, version: tuple[int, int], chosen: list[str]
) -> None:
    lines = needed(configuration, CONFIGURED, version)["global"]
    assert lines == [
        *(*chosen, f"lua-load {GATE}", f"stats socket {SOCKET} mode 600 level operator backlog 1024"),
        *("hard-stop-after 3600s # session-guard", "mworker-max-reloads 10 # session-guard"),
    ]


def test_a_choice_that_was_made_stays(configuration: ModuleType) -> None:
    text = CONFIGURED.replace("global\n", "global\n  tune.lua.bool-sample-conversion pre-3.1-bug\n")
    assert needed(configuration, text, (3, 2))["global"][0] == "tune.lua.bool-sample-conversion pre-3.1-bug"


def test_only_sections_that_look_up_a_shared_table_have_lines(configuration: ModuleType) -> None:
    wanted = needed(configuration, CONFIGURED)
    assert list(wanted) == ["global", "backend shop"]
    rule, _, follow = wanted["backend shop"]
    assert '{ req.cook("SID"),set-var(txn.session_guard_1) -m found }' in rule
    assert follow == "use-server %[var(txn.session_guard_server)] if { var(txn.session_guard_server) -m found }"


def test_a_bound_that_was_chosen_stays(configuration: ModuleType) -> None:
    text = CONFIGURED.replace("global\n", "global\n  hard-stop-after 5m\n")
    wanted = needed(configuration, text)["global"]
    assert [line for line in wanted if line.split()[0] in BOUNDS] == ["mworker-max-reloads 10 # session-guard"]


def test_a_bound_that_the_guard_gave_is_outdated_when_another_is_asked_for(configuration: ModuleType) -> None:
    bounds = "  hard-stop-after 5m # session-guard\n  mworker-max-reloads 10 # session-guard # pasted\n"
    wanted = needed(configuration, CONFIGURED.replace("global\n", f"global\n{bounds}"))
    said = configuration.Configuration(CONFIGURED.replace("global\n", f"global\n{bounds}")).lacks(wanted)
    assert [sentence for sentence in said if "hard-stop" in sentence or "mworker" in sentence] == [
        "global: missing: hard-stop-after 3600s # session-guard",
        "global: outdated: hard-stop-after 5m # session-guard",
    ]


def test_a_bound_of_ones_own_may_speak_of_the_guard(configuration: ModuleType) -> None:
    text = CONFIGURED.replace("global\n", "global\n  hard-stop-after 5m # session-guard has an hour\n")
    wanted = needed(configuration, text)
    assert "hard-stop-after" not in " ".join(wanted["global"])
    assert "hard-stop-after" not in " ".join(configuration.Configuration(text).lacks(wanted))


def test_a_table_of_a_peers_section_is_kept_by_old_processes_which_ask_nobody(configuration: ModuleType) -> None:
    text = CONFIGURED.replace("peers pp\n", "peers pp\n  table t type string len 32 size 1m\n")
    rule, _ = needed(configuration, text.replace('"SID")', '"SID") table pp/t'))["backend shop"]
    assert rule.startswith("http-request lua.session_guard pp/t txn.session_guard_1 if ")
    assert " !{ var(proc.session_guard) -m bool } " in rule
    both = text.replace('on req.cook("SID")', 'on req.cook("SID")\n  stick match hdr(U) table pp/t')
    rule, *_, follow = needed(configuration, both)["backend shop"]
    assert rule.startswith("http-request lua.session_guard shop txn.session_guard_1 if ")
    assert " !{ stopping,not,and(proc.session_guard) -m bool } " in rule
    assert follow.endswith("-m found } !{ hdr(U),in_table(pp/t) }")


def test_of_what_is_stored_an_old_process_tells(configuration: ModuleType) -> None:
    stick = '  stick match hdr(U)\n  stick on req.cook("SID")\n  stick store-response res.cook(SID)\n'
    text = CONFIGURED.replace('  stick on req.cook("SID")\n', stick, 1) + (
        "backend login\n  stick store-response res.hdr(T) table shop\nbackend raw\n  mode tcp\n"
        "  stick store-response payload(0,8) table shop\n"
    )
    told = {
        section: [line for line in lines if line.startswith("http-response")]
        for section, lines in needed(configuration, text).items()
        if section != "global"
    }
    tell, new = "http-response lua.session_guard_tell shop", "txn.session_guard_new"
    assert told == {
        "backend shop": [
            f"{tell} txn.session_guard_2 if {{ stopping }} {{ var(txn.session_guard_2) -m found }}",
            f"{tell} {new} if {{ stopping }} {{ res.cook(SID),set-var({new}) -m found }}",
        ],
        "backend login": [f"{tell} {new} if {{ stopping }} {{ res.hdr(T),set-var({new}) -m found }}"],
    }
    also = text.replace("  stick match hdr(U)\n", "  stick match hdr(U)\n  stick store-request hdr(U)\n")
    told_too = f"{tell} txn.session_guard_1 if {{ stopping }} {{ var(txn.session_guard_1) -m found }}"
    assert told_too in needed(configuration, also)["backend shop"]


@pytest.mark.parametrize(
    ("stick", "there"),
    [
        ('req.hdr(Authorization),word(2," ")', 'req.hdr(Authorization),word(2," ")'),
        (r"req.cook(X),regsub(\\..*,)", r"req.cook(X),regsub(\\..*,)"),
        (r"req.cook(X),regsub(\#.*,) # cut", r"req.cook(X),regsub(\#.*,)"),
        ("req.cook(X) lower,regsub('[ \"].*',) unless { src ::1 }", "req.cook(X),lower,regsub('[ \"].*',)"),
        ('req.cook("SID") lower table shop', 'req.cook("SID"),lower'),
    ],
)
def test_an_expression_is_given_as_it_is_written(configuration: ModuleType, stick: str, there: str) -> None:
    """HAProxy 2.4 to 3.2 take these in a condition, and no converter that is a word of its own."""
    text = CONFIGURED.replace('req.cook("SID")', stick)
    rule = needed(configuration, text)["backend shop"][0]
    assert f" if {{ {there},set-var(txn.session_guard_1) -m found }} " in rule
    text = text.replace("backend shop # stick on is not here\n", f"backend shop\n  {rule}\n")
    assert not [line for line in configuration.Configuration(text).lacks(needed(configuration, text)) if rule in line]


def test_a_row_is_told_of_however_its_expression_is_quoted(configuration: ModuleType) -> None:
    stick = '  stick match req.cook("SID")\n  stick store-request req.cook(SID)\n'
    lines = needed(configuration, CONFIGURED.replace('  stick on req.cook("SID")\n', stick))["backend shop"]
    assert len([line for line in lines if line.startswith("http-response")]) == 1


def test_a_mark_takes_all_lines_off(configuration: ModuleType) -> None:
    lines = [line for lines in needed(configuration, CONFIGURED, (3, 2)).values() for line in lines]
    assert [line for line in lines if not re.search("session[-_]guard", line)] == []


def test_the_gates_socket_is_for_the_worker_alone_in_the_root_that_it_has(configuration: ModuleType) -> None:
    text = CONFIGURED.replace("global\n", "global\n  chroot /srv/jail/\n  user lb\n")
    socket = needed(configuration, text)["global"][1]
    assert socket == "stats socket /srv/jail/session-guard.haproxy.sock user lb mode 600 level operator backlog 1024"


@pytest.mark.parametrize("section", ["global", "backend back-session", "listen api"])
def test_a_line_that_is_missing_is_named(configuration: ModuleType, section: str) -> None:
    wanted = needed(configuration, GOLDEN, exempt=EXEMPT)
    text = "\n".join(row for row in GOLDEN.splitlines() if row.strip() != wanted[section][0])
    assert f"{section}: missing: {wanted[section][0]}" in configuration.Configuration(text).lacks(wanted)


def test_a_line_of_another_release_is_outdated(configuration: ModuleType) -> None:
    wanted = needed(configuration, GOLDEN, exempt=EXEMPT)
    old = GATE.replace("0a1b2c3d", "00000000")
    assert configuration.Configuration(GOLDEN.replace(GATE, old)).lacks(wanted) == [
        f"global: missing: lua-load {GATE}",
        f"global: outdated: lua-load {old}",
    ]


def test_lines_in_another_order_hold_nothing(configuration: ModuleType) -> None:
    rows = GOLDEN.splitlines()
    first = next(number for number, row in enumerate(rows) if "lua-load" in row)
    rows[first], rows[first + 1] = rows[first + 1], rows[first]
    (said,) = configuration.Configuration("\n".join(rows)).lacks(needed(configuration, GOLDEN, exempt=EXEMPT))
    assert said.startswith("global: the guard's lines are there in another order")


SHOP = (ROOT / "molecule/guard-by-hand/haproxy.cfg").read_text()


def test_of_a_hand_written_configuration_the_sessions_are_read(configuration: ModuleType) -> None:
    found = configuration.Configuration(SHOP)
    assert {table.name: (table.after("type"), table.after("len"), table.expire) for table in found.sticky} == {
        "lb_peers/clients": ("string", "64", 8 * 3600),
        "shop": ("string", "32", 45 * 60),
        "chat": ("ip", "", 3600),
        "wiki": ("string", "40", 2 * 3600),
    }
    assert [(pair.section, pair.expression, pair.table) for pair in found.pairs] == [
        ("backend shop", "req.cook(JSESSIONID)", "shop"),
        ("backend uploads", "req.cook(JSESSIONID)", "shop"),
        ("backend api", "req.hdr(X-Client-Id),lower", "lb_peers/clients"),
        ("backend chat", "src", "chat"),
        ("listen wiki", "req.cook(wiki_sid)", "wiki"),
    ]
    assert "st_account" in found.tables  # shared, and no sessions
    assert "st_search" not in found.tables
    assert found.unserved((2, 6), True, True, gate=True) == []
    (tcp,) = found.section("backend directory")
    assert (tcp.mode(), found.section("backend shop")[0].mode()) == ("tcp", "http")


@pytest.mark.parametrize("scenario", ["adopt", "guard-by-hand"])
def test_what_is_pasted_into_a_hand_written_configuration_is_found(configuration: ModuleType, scenario: str) -> None:
    text = (ROOT / f"molecule/{scenario}/haproxy.cfg").read_text()
    wanted = needed(configuration, text, (3, 2), EXEMPT)
    missing = [f"{section}: missing: {line}" for section, lines in wanted.items() for line in lines]
    assert configuration.Configuration(text).lacks(wanted) == missing
    for section, lines in wanted.items():
        text = text.replace(f"\n{section}\n", "\n".join(["", section, *(f"\t{line}  # pasted" for line in lines), ""]))
    assert configuration.Configuration(text).lacks(wanted) == []


def test_without_sessions_no_line_is_needed(configuration: ModuleType) -> None:
    assert needed(configuration, "global\nbackend a\n  stick-table type ip size 1k\n  stick on src\n") == {}


def test_without_the_gate_check_misses_no_line_and_names_those_that_are_left(
    guard: ModuleType, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "version", lambda: (2, 6))
    monkeypatch.setattr(host, "has_lua", lambda: True)
    missing = guard.check(host, None)
    assert [sentence.split()[2] for sentence in missing if "missing" in sentence][:2] == ["lua-load", "stats"]
    host.settings["gate"] = False
    assert guard.check(host, None) == []
    line = f"lua-load {host.settings['lua']}".replace(str(host.state_directory), "/etc/haproxy/session-guard")
    host.configuration.write_text(CONFIGURED.replace("global\n", f"global\n  {line}\n"))
    assert guard.check(host, None) == [f"global: outdated: {line}"]


# --- what can't be served -------------------------------------------------------------------------

# Change, version, Lua, master socket, what is said: with the gate and without.
NEVER_SERVED = [
    (("", ""), (2, 6), True, False, "the unit's arguments have no -S PATH"),
    (("  server lb-1\n", "  server lb-1\n  shards 2\n"), (2, 8), True, True, "peers pp: with `shards`"),
    (("store server_id", "store server_id recv-only"), (3, 2), True, True, "table shop: `recv-only`"),
    (("stick on", "#"), (2, 6), True, True, "no backend or listen section has `stick on|match`"),
]


@pytest.mark.parametrize(
    ("change", "version", "lua", "master", "said"),
    [
        (("", ""), (2, 6), True, True, ""),
        (("", ""), (2, 2), True, True, "HAProxy 2.2: the guard needs 2.4 or later"),
        (("", ""), (2, 6), False, True, "this HAProxy was built without Lua"),
        (("mode http", "mode tcp"), (2, 6), True, True, "backend shop: `stick on|match` in mode tcp"),
        (("  mode http\n", ""), (2, 6), True, True, "backend shop: `stick on|match` in mode tcp"),
        *NEVER_SERVED,
    ],
)
def test_what_cant_be_served_is_named(
    configuration: ModuleType,
    change: tuple[str, str],
    version: tuple[int, int],
    lua: bool,
    master: bool,
    said: str,
) -> None:
    text = CONFIGURED.replace(*change) if change[0] else CONFIGURED
    found = configuration.Configuration(text).unserved(version, lua, master, gate=True)
    assert [sentence[: len(said)] for sentence in found] == ([said] if said else [])


@pytest.mark.parametrize(
    ("change", "version", "lua", "master", "said"),
    [
        (("mode http", "mode tcp"), (2, 2), False, True, ""),
        (("", ""), (1, 9), True, True, "HAProxy 1.9: the guard needs 2.0 or later"),
        *NEVER_SERVED,
    ],
)
def test_without_the_gate_only_lua_and_mode_tcp_do_not_count(
    guard: ModuleType,
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    change: tuple[str, str],
    version: tuple[int, int],
    lua: bool,
    master: bool,
    said: str,
) -> None:
    """As `check` says it."""
    host.settings["gate"] = False
    host.configuration.write_text(CONFIGURED.replace(*change) if change[0] else CONFIGURED)
    monkeypatch.setattr(host, "version", lambda: version)
    monkeypatch.setattr(host, "has_lua", lambda: lua)
    monkeypatch.setattr(host, "arguments", ["haproxy", *(["-S", "/run/m.sock"] if master else [])])
    found = guard.check(host, None)
    assert [sentence[: len(said)] for sentence in found] == ([said] if said else [])


def test_what_cant_be_served_is_refused_before_anything_changes(ansible: Callable[..., str], tmp_path: Path) -> None:
    """Without the gate, too, but for what the gate alone needs."""
    on: dict[str, Any] = {"haproxy_session_guard": True, "version": "2.6", "haproxy_peer_name": "lb-1"}
    off = {**on, "session_guard_gate": False, "version": "2.2"}
    tcp = {"haproxy_defaults": {"mode": "tcp"}}
    unstuck = {"haproxy_backends": [{"name": "back"}]}
    own = {"haproxy_config_source": "/etc/hostname"}
    shards = {"haproxy_peers_lines": ["shards 2"], "version": "2.8"}
    cases = {
        "on-version": ({**on, "version": "2.3"}, "variables of the process. Allowed is 2.4 or later."),
        "on-tcp": ({**on, **tcp}, "section back-session has `stick on` or `stick match` in mode tcp"),
        "off-version": ({**off, "version": "1.9"}, "state of the peers on the command line. Allowed is 2.0 or later."),
        "off-tcp": ({**off, **tcp}, ""),
        "off-own": ({**off, **own, **unstuck}, ""),
        "off-unstuck": ({**off, **unstuck}, "no backend or listen section has `stick on`"),
        "off-shards": ({**off, **shards}, "'shards 2' keeps rows from balancers"),
    }
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"all": {"hosts": {name: variables for name, (variables, _) in cases.items()}, "vars": local}}
    (tmp_path / "hosts.json").write_text(json.dumps(inventory))
    playbook = ROOT / "tests/unit/render/guard.yml"
    ansible("ansible-playbook", "-i", tmp_path / "hosts.json", "-e", f"out={tmp_path}", playbook)
    said = json.loads((tmp_path / "refused.json").read_text())
    assert [
        name for name, (_, words) in cases.items() if words not in said[name] or bool(words) != bool(said[name])
    ] == []


@pytest.mark.parametrize(
    ("arguments", "others"),
    [
        ("-f {config}", ""),
        ("-f {config} -f {empty}", ""),
        ("-f $CONFIG -p $PIDFILE", ""),
        ("-f {config} -f {folder}", "{config}, {folder}/more.cfg"),
        ("-f {folder}", "{folder}/more.cfg"),
        ("-f $CONFIG -f /etc/own.cfg", "$CONFIG, /etc/own.cfg"),
        ("-f /etc/own.cfg", "/etc/own.cfg"),
    ],
)
def test_files_that_the_unit_reads_and_the_guard_does_not_are_named(
    guard: ModuleType, host: Host, monkeypatch: pytest.MonkeyPatch, arguments: str, others: str
) -> None:
    monkeypatch.setattr(host, "version", lambda: (2, 6))
    monkeypatch.setattr(host, "has_lua", lambda: True)
    host.settings["gate"] = False
    folder, empty = host.state_directory / "conf.d", host.state_directory / "empty.d"
    for place, name in ((folder, "more.cfg"), (folder, ".hidden.cfg"), (folder, "README"), (empty, "README")):
        place.mkdir(exist_ok=True)
        (place / name).touch()
    paths = {"config": host.configuration, "folder": folder, "empty": empty}
    host.arguments = ["haproxy", "-Ws", *arguments.format(**paths).split(), "-S", "/run/m.sock"]
    said = f"the unit reads {others.format(**paths)}, and the guard {host.configuration} alone (session_guard_config)"
    assert guard.check(host, None) == ([f"{said}: have the unit read that one file"] if others else [])


def test_a_named_defaults_section_gives_the_mode(configuration: ModuleType) -> None:
    text = "defaults web\n  mode http\ndefaults raw\n  mode tcp\n" + CONFIGURED.partition("peers pp")[2].join(
        ["peers pp", ""]
    ).replace("backend shop", "backend shop from web")
    assert configuration.Configuration(text).unserved((2, 6), True, True, gate=True) == []
    assert configuration.Configuration(text.replace("from web", "from raw")).unserved((2, 6), True, True, gate=True)


def test_defaults_sections_stand_on_one_another(configuration: ModuleType) -> None:
    text = CONFIGURED.replace("defaults\n", "defaults base\n").replace("backend shop", "backend shop from web")
    for defaults, mode in (("from base", "http"), ("from base\n  mode tcp", "tcp"), ("", "tcp")):
        found = configuration.Configuration(text.replace("peers pp", f"defaults web {defaults}\npeers pp", 1))
        assert found.section("backend shop")[0].mode() == mode


# --- what a reload can't hand over ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "said", "carried"),
    [
        ("size 1m", "size 2m", [], {}),
        ("expire 30m", "expire 1h", [], {}),
        ("len 32", "len 64", ["table shop: len 32 is now 64"], {"shop": "shop"}),
        (
            "type string len 32",
            "type ip",
            ["table shop: type string is now ip", "table shop: len 32 is now none"],
            {"shop": "shop"},
        ),
        ("backend shop", "backend market", ["table shop is now market"], {"shop": "market"}),
        ('stick on req.cook("SID")', "", ["table shop is no more; its rows go with it"], {}),
        (
            "bind 192.0.2.1:1024",
            "bind 192.0.2.1:1025",
            ["peers pp: the local peer lb-1 has another address, or other parameters"],
            {"shop": "shop"},
        ),
        ("server lb-2 192.0.2.2:1024", "server lb-2 192.0.2.3:1024", [], {}),
    ],
)
def test_what_the_old_worker_cant_hand_over_is_named_and_carried(
    configuration: ModuleType, old: str, new: str, said: list[str], carried: dict[str, str]
) -> None:
    before, after = configuration.Configuration(CONFIGURED), configuration.Configuration(CONFIGURED.replace(old, new))
    if old.startswith("stick"):  # the table stays, and nothing is bound by it
        after = configuration.Configuration(CONFIGURED.replace("backend shop", "backend a").replace(old, new))
    assert before.changes(after, "lb-1") == (said, carried)


# --- dump and restore -----------------------------------------------------------------------------


class Worker:
    """A HAProxy with the table back-session, as far as a dump and a restore ask it."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[int, int]] = {}
        self.names: dict[str, str] = {}
        self.commands = list[str]()
        self.refuses = False

    def ask(self, *commands: str) -> str:
        if commands == ("show info",):
            return "Name: HAProxy\nVersion: 2.6.12\n"
        if commands == ("show stat",):
            return (ROOT / "tests/unit/recorded/show-stat-2.6.txt").read_text()
        self.commands += commands
        return "Require a valid integer value to store a value\n" * len(commands) if self.refuses else "\n"

    def stream(self, command: str) -> Iterator[str]:
        yield self.header
        for key in self.rows:
            yield self.row(key)

    header = "# table: back-session, type: string, size:1048576, used:1\n"

    def row(self, key: str) -> str:
        number, left = self.rows.get(key, (0, 0))
        name = self.names.get(key, "-")
        return f"0x1: key={key} use=0 exp={left} server_id={number} server_key={name}\n" if number else ""


WEB_1, WEB_2 = 251633157, 45670222
NEVER = 9_999_999_999


@pytest.fixture
def worker(dumps: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Worker:
    fake = Worker()
    monkeypatch.setattr(dumps.haproxy_peers, "ask_worker", fake.ask)
    monkeypatch.setattr(dumps.haproxy_peers, "stream_worker", fake.stream)
    monkeypatch.setattr(dumps.haproxy_peers, "admin_socket", str)
    return fake


@pytest.fixture
def table(configuration: ModuleType) -> object:
    return configuration.Table("back-session", "pp", ("type", "string"), 1800.0)


def written(file: Path, *rows: str, age: int = 0) -> Path:
    """Writes a dump by hand."""
    head = {
        "version": 1,
        "time": int(time.time()) - age,
        "tables": {"back-session": {"expire": 1800, "rows": len(rows)}},
    }
    file.write_text("\n".join([json.dumps(head), *rows, ""]))
    return file


def test_a_dump_has_a_head_and_rows_and_is_roots_alone(
    dumps: ModuleType, worker: Worker, table: object, tmp_path: Path
) -> None:
    worker.rows = {"known": (WEB_1, 60_000), r"a\ b": (WEB_2, 0), "unbound": (0, 9), "nameless": (3, 60_000)}
    assert dumps.write(tmp_path / "dump", [table], "lb-1") == {"back-session": 3}
    head, *rows = (tmp_path / "dump").read_text().splitlines()
    said = json.loads(head)
    assert (said["version"], said["haproxy"], said["peer"]) == (1, "2.6.12", "lb-1")
    assert said["tables"] == {"back-session": {"expire": 1800.0, "rows": 3}}
    words = [row.split(" ", 3) for row in rows]
    assert [(server, key) for _, server, _, key in words] == [
        ("web-be1", "known"),
        ("web-be2", "a b"),
        ("#3", "nameless"),
    ]
    assert int(words[0][2]) > time.time()
    assert int(words[1][2]) == NEVER
    assert (tmp_path / "dump").stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / "dump"]


def test_a_server_that_the_tables_backend_does_not_know_is_dumped_by_its_id(
    dumps: ModuleType, worker: Worker, table: object, tmp_path: Path
) -> None:
    """Of a row of another backend, which shares the table and has names of its own."""
    worker.rows = {"shop": (WEB_1, 60_000), "chat": (WEB_1, 60_000)}
    worker.names = {"shop": "web-be1", "chat": "ws-1"}
    dumps.write(tmp_path / "dump", [table], "lb-1")
    assert [server for _, server, _, _ in dumps.read([tmp_path / "dump"])] == ["web-be1", f"#{WEB_1}"]
    counts = dumps.restore([tmp_path / "dump"], {"back-session": table}, missing_only=False)
    assert (counts["restored"], counts["gone"]) == (2, 0)


def test_only_what_has_to_outlive_a_crash_is_synced(
    dumps: ModuleType, worker: Worker, table: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = list[int]()
    monkeypatch.setattr(dumps.os, "fsync", synced.append)
    dumps.write(tmp_path / "carried.dump", [table], "lb-1", durable=False)
    assert synced == []
    dumps.write(tmp_path / "dump", [table], "lb-1")
    assert len(synced) == 1


def test_a_dump_that_fails_leaves_the_one_before(
    dumps: ModuleType, worker: Worker, table: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dump").write_text("before")
    monkeypatch.setattr(dumps.haproxy_peers, "stream_worker", lambda command: iter(["No such table\n"]))
    with pytest.raises(dumps.haproxy_peers.PeersError, match=r"has no table back-session, which .* has: No such table"):
        dumps.write(tmp_path / "dump", [table], "lb-1")
    assert (tmp_path / "dump").read_text() == "before"
    assert list(tmp_path.iterdir()) == [tmp_path / "dump"]


def test_what_was_dumped_is_restored(dumps: ModuleType, worker: Worker, table: object, tmp_path: Path) -> None:
    worker.rows = {"known": (WEB_1, 60_000), "nameless": (3, 60_000)}
    dumps.write(tmp_path / "dump", [table], "lb-1")
    counts = dumps.restore([tmp_path / "dump"], {"back-session": table}, missing_only=False)
    assert counts == {"restored": 2, "there": 0, "odd": 0, "gone": 0, "refused": 0}
    assert worker.commands == [
        f"set table back-session key known data.server_id {WEB_1}",
        "set table back-session key nameless data.server_id 3",
    ]


def test_rows_that_expired_or_can_not_be_given_back_are_left_out(
    dumps: ModuleType, worker: Worker, table: object, tmp_path: Path
) -> None:
    later = int(time.time()) + 60
    file = written(
        tmp_path / "dump",
        f"back-session web-be1 {int(time.time()) - 1} expired",
        f"back-session web-be1 {later} \\xC3",
        f"back-session web-gone {later} homeless",
        f"other web-be1 {later} elsewhere",
        f"back-session web-be2 {later} good;one",
    )
    counts = dumps.restore([file], {"back-session": table}, missing_only=False)
    assert counts == {"restored": 1, "there": 0, "odd": 1, "gone": 1, "refused": 0}
    assert worker.commands == [rf"set table back-session key good\;one data.server_id {WEB_2}"]


def test_a_dump_older_than_the_tables_expire_is_ignored(
    dumps: ModuleType, worker: Worker, table: object, tmp_path: Path
) -> None:
    row = f"back-session web-be1 {int(time.time()) + 60} known"
    for age, restored in ((1790, 1), (1810, 0)):
        file = written(tmp_path / "dump", row, age=age)
        assert dumps.restore([file], {"back-session": table}, missing_only=False)["restored"] == restored


def test_of_several_dumps_each_has_its_own_age(
    dumps: ModuleType, worker: Worker, table: object, tmp_path: Path
) -> None:
    """The old one's rows last longest; the table's expire was longer then."""
    now = int(time.time())
    old = [f"back-session web-be1 {now + 90} known", f"back-session web-be1 {now + 90} forgotten"]
    files = [
        written(tmp_path / "old", *old, age=1810),
        written(tmp_path / "new", f"back-session web-be2 {now + 60} known", age=1790),
    ]
    assert dumps.restore(files, {"back-session": table}, missing_only=False)["restored"] == 1
    assert worker.commands == [f"set table back-session key known data.server_id {WEB_2}"]


def test_dumps_are_sorted_beside_themselves(dumps: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sort").write_text('#!/bin/sh\necho "$@" >"$0.said"\n')
    (tmp_path / "sort").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert list(dumps.read([written(tmp_path / "1"), written(tmp_path / "2")])) == []
    assert (tmp_path / "sort.said").read_text().startswith(f"-T {tmp_path} ")


@pytest.mark.parametrize("number", [1, 2])
def test_a_spoilt_byte_keeps_no_other_row_back(dumps: ModuleType, tmp_path: Path, number: int) -> None:
    file = written(tmp_path / "1", f"t a {NEVER} bad?", f"t a {NEVER} good")
    file.write_bytes(file.read_bytes().replace(b"?", b"\xff"))
    files = [file, written(tmp_path / "2")][:number]
    assert [key for _, _, _, key in dumps.read(files)][1:] == ["good"]


def test_rows_that_are_there_stay_if_told_so(dumps: ModuleType, worker: Worker, table: object, tmp_path: Path) -> None:
    later = int(time.time()) + 60
    file = written(tmp_path / "dump", *(f"back-session web-be1 {later} {key}" for key in ("one", "two")))
    worker.rows = {"one": (WEB_2, 60_000)}
    counts = dumps.restore([file], {"back-session": table}, missing_only=True)
    assert (counts["restored"], counts["there"]) == (1, 1)
    assert worker.commands == [f"set table back-session key two data.server_id {WEB_1}"]


def test_rows_of_the_last_moments_are_written_again(dumps: ModuleType, worker: Worker, table: object) -> None:
    worker.rows = {"fresh": (WEB_1, 1_799_000), "older": (WEB_1, 1_790_000), "unbound": (0, 1_799_000)}
    dumps.send_on({"back-session": table}, 5)
    assert worker.commands == [f"set table back-session key fresh data.server_id {WEB_1}"]


def test_of_two_dumps_the_row_that_lasts_longer_counts(dumps: ModuleType, tmp_path: Path) -> None:
    now = int(time.time())
    one = written(tmp_path / "1", f"t a {now + 90} x", f"t a {now + 10} y z", f"t a {now - 5} gone", f"t a {now + 5} n")
    two = written(tmp_path / "2", f"t b {now + 20} y z", f"t b {now + 80} x", f"t b {now - 9} gone", f"t b {NEVER} n")
    assert list(dumps.read([one, two])) == [
        ("t", "b", NEVER, "n"),
        ("t", "a", now + 90, "x"),
        ("t", "b", now + 20, "y z"),
    ]


def test_a_row_that_is_refused_is_counted_and_not_told(
    dumps: ModuleType, worker: Worker, table: object, tmp_path: Path
) -> None:
    worker.refuses = True
    file = written(tmp_path / "dump", f"back-session web-be1 {int(time.time()) + 60} known")
    counts = dumps.restore([file], {"back-session": table}, missing_only=False)
    assert (counts["restored"], counts["refused"]) == (0, 1)


def test_a_dump_of_another_version_is_refused(dumps: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "dump").write_text('{"version": 2}\n')
    with pytest.raises(ValueError, match="is a dump of version 2; this program reads 1"):
        dumps.head_of(tmp_path / "dump")


@pytest.mark.parametrize("text", ["table=shop key=k id=1\n", "{}\n", "[1]\n", "", "\xc3"])
def test_a_file_that_is_no_dump_is_not_restored(
    guard: ModuleType,
    worker: Worker,
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
) -> None:
    file, settings = host.state_directory / "other", host.state_directory / "settings.json"
    file.write_bytes(text.encode("latin-1"))
    settings.write_text(json.dumps(host.settings))
    monkeypatch.setattr(importlib.import_module("guard_store"), "peers_sections", dict)
    monkeypatch.setattr(sys, "argv", ["session-guard", "--settings", str(settings), "restore", str(file)])
    assert guard.main() == 1
    assert capsys.readouterr().err == f"session-guard: {file} is no dump of the session guard\n"
    assert worker.commands == []


# --- who teaches ----------------------------------------------------------------------------------


def shown(flags: str, status: str) -> str:
    """Gives an answer to `show peers`, of one section with one remote peer."""
    return (
        f"0x1: [22/Nov/2026:20:39:44] id=pp disabled=0 flags={flags} resync_timeout=<PAST> task_calls=16\n"
        f"  0x2: id=lb-2(remote,active) addr=127.0.0.1:9 last_status={status} last_hdshk=5s\n"
        f"        flags=0x20000200 appctx:0x4 st0=7 st1=0 task_calls=21{' state=EST' if status == 'ESTA' else ''}\n"
        "  0x3: id=lb-1(local,inactive) addr=127.0.0.1:1 last_status=NONE last_hdshk=<NEVER>\n\n"
    )


@pytest.mark.parametrize(
    ("flags", "status", "used", "rows", "why"),
    [
        ("0x6213", "ESTA", 10, 10, "peer"),
        ("0x6213", "CONN", 1, 10, "peer"),  # its session has ended since
        ("0x2100003", "ESTA", 1, 10, "peer"),  # as 3.0 says it
        ("0x6213", "ESTA", 0, 0, "peer"),
        ("0x6213", "ESTA", 0, 10, "cold"),
        ("0x6833", "ESTA", 10, 10, "cold"),  # it has given up waiting, and so may the other
        ("0x6830", "ESTA", 0, 10, "cold"),
        ("0x6830", "ESTA", 4, 10, "cold"),
        ("0x6830", "ESTA", 9, 10, "taught"),
        ("0x6830", "ESTA", 7, 10, "taught"),
        ("0x6830", "CONN", 0, 10, "refused"),
        ("0x6833", "NONE", 0, 10, "refused"),
    ],
)
def test_who_teaches_a_process_that_has_started(
    start: ModuleType, monkeypatch: pytest.MonkeyPatch, flags: str, status: str, used: int, rows: int, why: str
) -> None:
    """Port 9 of this machine refuses connections."""
    monkeypatch.setattr(start, "STALLED_SECONDS", 0.1)
    monkeypatch.setattr(start.haproxy_peers, "ask_worker", lambda command: shown(flags, status))
    monkeypatch.setattr(start, "used", lambda tables: used)
    assert start.wait_for_teacher("pp", [], rows, time.monotonic() + 0.3) == why


@pytest.mark.parametrize("flags", ["0x6830", "0x6833"])
def test_a_peer_that_does_not_answer_is_not_waited_for_for_long(
    start: ModuleType, monkeypatch: pytest.MonkeyPatch, flags: str
) -> None:
    monkeypatch.setattr(start.haproxy_peers, "ask_worker", lambda command: shown(flags, "CONN"))
    monkeypatch.setattr(start, "refuse_connections", lambda section: False)
    assert start.wait_for_teacher("pp", [], 10, time.monotonic() + 0.1) == "alone"


def test_a_process_that_has_crashed_is_not_waited_for(
    start: ModuleType, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Systemd starts the next one when the command has ended."""
    monkeypatch.setattr(start.haproxy_peers, "worker_pid", lambda: 0)
    monkeypatch.setattr(start, "ANSWER_SECONDS", 0.2)
    assert start.started(host) == "the process has ended"


@pytest.mark.parametrize(
    ("failure", "refused"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), True),
        (OSError(errno.ENETUNREACH, "unreachable"), False),
        (OSError(errno.EHOSTUNREACH, "no route"), False),
        (TimeoutError("timed out"), False),
    ],
    ids=["refused", "network", "host", "silent"],
)
def test_a_peer_that_cant_be_reached_may_live(
    running: ModuleType, monkeypatch: pytest.MonkeyPatch, failure: OSError, refused: bool
) -> None:
    def fails(*arguments: object) -> None:
        raise failure

    monkeypatch.setattr(running.socket, "create_connection", fails)
    assert running.refuse_connections(shown("0x3", "CONN")) == refused


@pytest.mark.parametrize("version", ["2.6", "3.0", "3.2"])
def test_what_a_peer_sends_is_a_change(
    configuration: ModuleType, running: ModuleType, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """A row that is there gets another server: the table's own count of updates stands still."""
    text = (ROOT / f"tests/verify/fixtures/{version}/pair-b.txt").read_text()
    answer = text.split("$ show peers\n")[1].split("\n$ ")[0]
    tables = [configuration.Table("back", "haproxy-peers", (), 0.0)]
    monkeypatch.setattr(running.haproxy_peers, "worker_pid", lambda: 4711)
    monkeypatch.setattr(running.haproxy_peers, "ask_worker", lambda command: answer)
    before = running.updates(tables)
    assert running.updates(tables) == before
    assert not running.untold(tables)
    answer = re.sub(r"last_get=(?!0\b)\d+", "last_get=99", answer)
    assert running.updates(tables) != before
    answer = re.sub(r"localupdate=\d+", "localupdate=99", answer)
    assert running.untold(tables)
    assert not running.untold([configuration.Table("other", "haproxy-peers", (), 0.0)])


@pytest.mark.parametrize("version", ["2.6", "3.0", "3.2"])
def test_a_peer_with_a_session_is_told_from_one_without(start: ModuleType, version: str) -> None:
    text = (ROOT / f"tests/verify/fixtures/{version}/away-a.txt").read_text()
    answer = text.split("$ show peers\n")[1].split("\n$ ")[0]
    assert start.established(answer) == ["haproxy-2"]
    assert start.established(answer.replace("state=EST", "")) == []


def test_sections_are_told_apart(start: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown("0x3", "ESTA") + shown("0x0", "CONN").replace("id=pp", "id=qq")
    monkeypatch.setattr(start.haproxy_peers, "ask_worker", lambda command: text)
    found = start.peers_sections()
    assert {name: start.established(section) for name, section in found.items()} == {"pp": ["lb-2"], "qq": []}


class Start:
    """A start of a HAProxy that shares sessions by the peers sections pp and qq, and a counter by the section keep."""

    def __init__(self, module: ModuleType, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        self.module, self.host = module, host
        self.whys = {"pp": "peer", "qq": "peer"}
        self.restored = {"pp": 3, "qq": 4}
        self.missing_only = set[bool]()
        self.opened = list[str]()
        text = CONFIGURED.replace("peers pp store http_req_rate", "peers keep store http_req_rate")
        host.configuration.write_text(f"{text}backend qq\n  stick-table type ip size 1k peers qq\n  stick on src\n")
        tables = {"shop": {"rows": 3}, "qq": {"rows": 4}}
        host.dump.write_text(json.dumps({"version": 1, "time": int(time.time()), "tables": tables}) + "\n")
        peers = shown("0x0", "NONE").replace("id=pp", "id=keep")
        monkeypatch.setattr(module, "wait_for_teacher", lambda name, *others: self.whys[name])
        monkeypatch.setattr(module, "open_gate", self.opened.append)
        monkeypatch.setattr(module, "SETTLE_SECONDS", 0.1)
        monkeypatch.setattr(module.haproxy_peers, "worker_pid", lambda: 4711)
        monkeypatch.setattr(module.haproxy_peers, "ask_worker", lambda command: peers)
        monkeypatch.setattr(module.guard_dump, "restore", self.restore)

    def restore(self, files: list[Path], tables: dict[str, Any], missing_only: bool) -> dict[str, int]:
        (name,) = {table.peers for table in tables.values()}
        self.missing_only.add(missing_only)
        return {"restored": self.restored[name], "there": 0, "odd": 1, "gone": 0, "refused": 0}


@pytest.fixture
def begun(start: ModuleType, host: Host, monkeypatch: pytest.MonkeyPatch) -> Start:
    return Start(start, host, monkeypatch)


@pytest.mark.parametrize(
    ("pp", "qq", "opened"),
    [
        ("peer", "peer", "learnt"),
        ("peer", "taught", "restored"),
        ("refused", "peer", "restored"),
        ("alone", "cold", "restored"),
    ],
)
def test_a_section_without_sessions_keeps_no_gate_shut(begun: Start, pp: str, qq: str, opened: str) -> None:
    """The section keep is never in sync, and the gate waits for all that share a table."""
    begun.whys = {"pp": pp, "qq": qq}
    before = time.monotonic()
    begun.module.started(begun.host)
    assert begun.opened == [opened]
    settled = 0.1 if "peer" in (pp, qq) else 0.0
    assert settled < time.monotonic() - before < begun.host.settings["gate_deadline"] / 2
    assert begun.host.running_copy.exists()


def test_without_a_dump_a_start_alone_opens_the_gate(begun: Start) -> None:
    begun.whys = {"pp": "alone", "qq": "peer"}
    begun.host.dump.unlink()
    begun.module.started(begun.host)
    assert begun.opened == ["alone"]


def test_what_was_restored_is_the_sum_of_all_sections(begun: Start) -> None:
    begun.whys = {"pp": "alone", "qq": "refused"}
    said = begun.module.started(begun.host)
    assert said == (
        "peers pp: no peer answers; restored: 3 rows, 1 whose key can't be given back; "
        "peers qq: every peer refuses connections; restored: 4 rows, 1 whose key can't be given back"
    )
    del begun.host.state["restore"]["time"]
    assert begun.host.state["restore"] == {
        **{"why": "alone, refused", "section": "pp, qq"},
        **{"restored": 7, "there": 0, "odd": 2, "gone": 0, "refused": 0},
    }
    assert begun.missing_only == {False}


def test_the_timer_decides_what_a_start_could_not(begun: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a process that has served already are newer than the dump's."""
    begun.whys = {"pp": "alone", "qq": "alone"}
    store = begun.module.guard_store
    monkeypatch.setattr(store, "sizes", lambda: {"shop": (1, 100), "cart": (1, 100)})
    monkeypatch.setattr(store, "updates", lambda tables: ["4711"])
    monkeypatch.setattr(store.guard_dump, "write", lambda file, *others: file.write_text("new") and {"shop": 1})
    assert begun.module.timed(begun.host).startswith("dumped: 1 rows")
    assert begun.missing_only == {True}
    assert store.previous(begun.host.dump).read_text().startswith('{"version": 1,')
    begun.missing_only.clear()
    begun.module.timed(begun.host)
    assert begun.missing_only == set()


def test_the_timer_replaces_no_dump_while_deciding_fails(begun: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object) -> None:
        raise TimeoutError("the worker does not answer")

    monkeypatch.setattr(begun.module, "wait_for_teacher", fails)
    with pytest.raises(TimeoutError):
        begun.module.timed(begun.host)
    assert not begun.module.guard_store.previous(begun.host.dump).exists()


# --- state ----------------------------------------------------------------------------------------


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    """Returns a host whose unit does not run."""
    module = importlib.import_module("guard_host")
    monkeypatch.setattr(
        module.haproxy_peers, "property_of_unit", lambda name: "the-invocation" if name[0] == "I" else ""
    )
    monkeypatch.setattr(module.haproxy_peers, "extra_options", lambda: ["-S", "/run/m.sock,mode,600", "-L", "lb-1"])
    monkeypatch.setattr(module, "gate_status", lambda known: {})
    (tmp_path / "haproxy.cfg").write_text(CONFIGURED)
    found: Host = module.Host(
        {
            "unit": "haproxy",
            "config": str(tmp_path / "haproxy.cfg"),
            "state": str(tmp_path),
            "gate": True,
            "gate_deadline": 10,
            "lua": str(tmp_path / "gate-0a1b2c3d.lua"),
            "socket": SOCKET,
            "exempt": "",
            "bounds": BOUNDS,
            "reload_wait": 15,
            "reload_unsynced": "proceed",
            "dump": "both",
            "textfile": str(tmp_path / "guard.prom"),
        }
    )
    return found


def test_the_master_socket_is_that_of_the_units_arguments(guard: ModuleType, host: Host) -> None:
    assert guard.haproxy_peers.MASTER_SOCKET == "/run/m.sock"
    assert host.local_peer() == "lb-1"


def test_a_fault_in_a_hook_is_told_and_the_units_none(
    guard: ModuleType, host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(host: object) -> str:
        raise OSError(28, "No space left on device")

    for name in ("started", "stopping"):
        monkeypatch.setattr(guard, name, fails)
        assert guard.hook(host, name, 5) == 0
    assert "started: OSError: [Errno 28] No space left on device" in capsys.readouterr().err
    assert json.loads((host.state_directory / "state.json").read_text())["faults"] == 2
    assert "session_guard_faults_total 2" in (host.state_directory / "guard.prom").read_text()


def test_a_hook_has_its_own_time_limit(
    guard: ModuleType, host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guard, "stopping", lambda host: time.sleep(30))
    assert guard.hook(host, "stopping", 0.1) == 0
    assert "Overtime: stopping was given up after 0.1 s" in capsys.readouterr().err


def test_a_reload_that_is_refused_is_an_error_of_the_unit(
    guard: ModuleType, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guard.hook(host, "reload", 5) == 1
    assert "reload refused: haproxy.service does not run" in capsys.readouterr().err
    assert host.state["reload"]["outcome"] == "refused"


@pytest.mark.parametrize(
    ("seconds", "error", "why"),
    [
        (0.1, None, "reload was given up after 0.1 s"),
        (5, OSError(28, "No space left on device"), "[Errno 28] No space"),
    ],
)
def test_a_reload_that_is_given_up_or_breaks_has_failed(
    guard: ModuleType, host: Host, monkeypatch: pytest.MonkeyPatch, seconds: float, error: OSError | None, why: str
) -> None:
    def breaks(host: object) -> str:
        if error:
            raise error
        time.sleep(30)
        return "done"

    monkeypatch.setattr(guard, "reload", breaks)
    host.record(reload={"time": 1, "outcome": "done", "why": ""})
    assert guard.hook(host, "reload", seconds) == 1
    assert host.state["reload"]["outcome"] == "failed"
    assert host.state["reload"]["why"].startswith(why)
    assert host.state["faults"] == 1


def test_a_state_that_cant_be_written_is_a_line_in_the_log(
    guard: ModuleType, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.state_directory = host.state_directory / "nowhere"
    host.record(faults=1)
    assert "state.json could not be written: No such file or directory" in capsys.readouterr().err


def test_the_timer_does_not_replace_a_dump_that_may_be_restored(
    store: ModuleType, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.haproxy_peers, "worker_pid", lambda: 4711)
    monkeypatch.setattr(store, "updates", lambda tables: ["4711", "shop 1"])
    monkeypatch.setattr(store, "sizes", lambda: {"shop": (1, 100)})
    monkeypatch.setattr(
        store.guard_dump, "write", lambda file, tables, peer, pause: file.write_text("new") and {"shop": 1}
    )
    host.dump.write_text("old")
    assert store.keep(host, if_changed=True).startswith("not dumped: whether ")
    assert host.dump.read_text() == "old"
    host.state["judged"] = "the-invocation"
    monkeypatch.setattr(store, "untold", lambda tables: False)
    assert store.keep(host, if_changed=True).startswith("dumped: 1 rows")
    assert (host.dump.read_text(), store.previous(host.dump).read_text()) == ("new", "old")
    assert store.keep(host, if_changed=True) == "not dumped: nothing has changed"
    monkeypatch.setattr(store, "updates", lambda tables: ["4711", "shop 2"])
    assert store.keep(host, if_changed=True).startswith("dumped: 1 rows")
    monkeypatch.setattr(store, "untold", lambda tables: True)
    assert store.keep(host, if_changed=True).startswith("dumped: 1 rows")


@pytest.mark.parametrize(("changes", "dumps"), [(0, 1), (1, 2), (9, 3)])
def test_a_stop_looks_again_at_what_open_connections_bind(
    store: ModuleType, host: Host, monkeypatch: pytest.MonkeyPatch, changes: int, dumps: int
) -> None:
    asked, written_files = list[str](), list[Path]()

    def write(file: Path, *others: object) -> dict[str, int]:
        written_files.append(file)
        file.write_text(f"dump {len(written_files)}")
        return {"shop": 1}

    def ask(*commands: str) -> str:
        asked.extend(commands)
        return "# pxname,svname\nweb,FRONTEND,\n" if commands == ("show stat",) else ""

    monkeypatch.setattr(store.haproxy_peers, "worker_pid", lambda: 4711)
    monkeypatch.setattr(store.haproxy_peers, "ask_worker", ask)
    monkeypatch.setattr(store, "sizes", lambda: {"shop": (1, 100)})
    monkeypatch.setattr(store, "updates", lambda tables: [min(len(written_files), changes)])
    monkeypatch.setattr(store.guard_dump, "write", write)
    host.state["judged"] = "the-invocation"
    host.dump.write_text("the one before")
    assert store.stopping(host).startswith("dumped: 1 rows")
    assert asked == ["show stat", "disable frontend web"]
    assert len(written_files) == dumps
    assert (host.dump.read_text(), store.previous(host.dump).read_text()) == (f"dump {dumps}", "the one before")


def test_frontends_stay_open_while_another_dump_is_under_way(
    guard: ModuleType, store: ModuleType, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[str]()

    def ask(*commands: str) -> str:
        asked.extend(commands)
        return ""

    monkeypatch.setattr(store.haproxy_peers, "worker_pid", lambda: 4711)
    monkeypatch.setattr(store.haproxy_peers, "ask_worker", ask)
    with (host.state_directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert guard.hook(host, "stopping", 0.2) == 0
    assert asked == []
    assert host.state["fault"]["error"].startswith("Overtime: ")


def test_a_configuration_need_not_be_utf_8(guard: ModuleType, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "version", lambda: (2, 6))
    monkeypatch.setattr(host, "unserved", lambda configuration: [])
    text = b"# Z\xfcrich\n" + CONFIGURED.encode()
    host.configuration.write_bytes(text)
    host.keep_running_copy()
    assert host.running_copy.read_bytes() == text
    assert [table.name for table in host.read().sticky] == ["shop"]
    assert guard.check(host, host.configuration)
    assert guard.prune(host, dry_run=True) == []


@pytest.mark.parametrize(
    ("command", "code"), [("dump --if-changed", 0), ("stopping", 0), ("started", 0), ("dump", 1), ("reload", 1)]
)
@pytest.mark.parametrize("gone", ["settings", "master"])
def test_a_hook_that_cant_begin_is_a_line_in_the_log(
    guard: ModuleType,
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    code: int,
    gone: str,
) -> None:
    """The master that systemd names has ended before its arguments are read."""
    settings = host.state_directory / "settings.json"
    settings.write_text("{" if gone == "settings" else json.dumps(host.settings))
    monkeypatch.setattr(guard.haproxy_peers, "master_pid", lambda: 2**22 + 1)
    monkeypatch.setattr(sys, "argv", ["session-guard", "--settings", str(settings), *command.split()])
    assert guard.main() == code
    assert f"session-guard: {command.split()[0]}, {settings}: " in capsys.readouterr().err


def test_a_process_that_does_not_have_the_tables_yet_is_stopped_without_a_fault(
    store: ModuleType, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard's first start replaces a process of another configuration."""
    monkeypatch.setattr(store.haproxy_peers, "worker_pid", lambda: 4711)
    said = {"show stat": "# pxname,svname\n", "show table": "# table: other, type: string, size:100, used:1\n"}
    monkeypatch.setattr(store.haproxy_peers, "ask_worker", said.__getitem__)
    assert store.stopping(host).startswith("nothing to dump: the running process has no table ")
    assert not host.dump.exists()


def test_a_dump_of_which_nothing_has_changed_is_current(
    store: ModuleType, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.haproxy_peers, "worker_pid", lambda: 4711)
    monkeypatch.setattr(store, "updates", lambda tables: ["4711", "shop 1"])
    monkeypatch.setattr(store, "sizes", lambda: {"shop": (1, 100)})
    monkeypatch.setattr(store, "untold", lambda tables: False)
    host.dump.touch()
    host.record(judged="the-invocation", dump={"time": 5, "rows": 1, "seconds": 0.1, "updates": ["4711", "shop 1"]})
    textfile = Path(host.settings["textfile"])
    assert "session_guard_dump_current_time_seconds 5\n" in textfile.read_text()
    store.keep(host, if_changed=True)
    assert "session_guard_dump_time_seconds 5\n" in textfile.read_text()
    assert host.state["dump"]["current"] > 5
    assert f"session_guard_dump_current_time_seconds {host.state['dump']['current']}\n" in textfile.read_text()


@pytest.mark.parametrize(("dump", "told"), [("none", False), ("stop", False), ("timer", True), ("both", True)])
def test_a_dump_that_no_timer_keeps_up_to_date_is_not_too_old(host: Host, dump: str, told: bool) -> None:
    host.settings["dump"] = dump
    host.record(dump={"time": 5, "rows": 1, "seconds": 0.1})
    text = Path(host.settings["textfile"]).read_text()
    assert "session_guard_dump_time_seconds 5\n" in text
    assert ("session_guard_dump_current_time_seconds 5\n" in text) == told


def test_a_gate_that_is_gone_is_not_reported_any_more(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    module, textfile = importlib.import_module("guard_host"), Path(host.settings["textfile"])
    opened = {"state": "open", "reason": "learnt", "kind": "cold"}
    monkeypatch.setattr(module, "gate_status", lambda known: opened)
    host.record()
    assert "session_guard_gate_open" in textfile.read_text()
    monkeypatch.setattr(module, "gate_status", lambda known: {})
    host.record()
    assert "session_guard_gate" not in textfile.read_text()
    assert not json.loads((host.state_directory / "state.json").read_text())["gate"]


@pytest.mark.parametrize(
    ("changed", "asked"), [({}, False), ({"held": 2}, True), ({"state": "shut"}, True), ({"pid": 7}, True)]
)
def test_a_gate_that_has_opened_is_not_asked_again(
    running: ModuleType, monkeypatch: pytest.MonkeyPatch, changed: dict[str, object], asked: bool
) -> None:
    now = {"state": "open", "held": 0, "pid": 12}
    monkeypatch.setattr(running.haproxy_peers, "worker_pid", lambda: 12)
    monkeypatch.setattr(running.haproxy_peers, "ask_worker", lambda command: json.dumps({**now, "asked": True}))
    assert running.gate_status({**now, **changed}) == {**now, **({"asked": True} if asked else {})}


def test_alerts_and_their_tests_name_what_the_program_writes() -> None:
    """promtool judges the rest; the file of its tests says how."""
    happened = {"time": 1, "outcome": "done", "why": "alone", "command": "dump", "seconds": 0.1}
    state = {"gate": {"state": "open"}, **dict.fromkeys(("reload", "restore", "dump", "fault"), happened)}
    written_names = {
        re.split("[ {]", row)[0] for row in importlib.import_module("guard_state").metrics(state, True).split("\n")
    }
    text = (ROLE / "files/session-guard.rules.yml").read_text()
    rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    named = {name for rule in rules for name in re.findall(r"session_guard_\w+", rule["expr"])}
    assert named - written_names == set()
    tried = yaml.safe_load((ROOT / "tests/alerts/session-guard.yml").read_text())["tests"]
    assert [{rule["alert"] for rule in rules}] * len(tried) == [
        {case["alertname"] for case in test["alert_rule_test"]} for test in tried
    ]


def test_a_dump_that_cant_be_read_is_none(store: ModuleType, host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.dump.write_text("half a li")
    assert store.latest(host) == (None, {})
    written(store.previous(host.dump))
    file, tables = store.latest(host)
    assert (file, list(tables)) == (store.previous(host.dump), ["back-session"])
    assert "tables.dump is no dump of the session guard" in capsys.readouterr().err


def test_without_dumps_a_start_restores_none(store: ModuleType, host: Host) -> None:
    written(host.dump)
    assert store.latest(host)[0] == host.dump
    host.settings["dump"] = "none"
    assert store.latest(host) == (None, {})


def test_lua_files_that_no_configuration_names_are_removed(guard: ModuleType, host: Host) -> None:
    files = [host.state_directory / f"gate-{name}.lua" for name in ("0a1b2c3d", "11111111", "22222222", "33333333")]
    for file in files:
        file.touch()
    host.running_copy.write_text(f"global\n  lua-load {files[1]}\n")
    host.configuration.with_name("haproxy.cfg.last-good").write_text(f"global\n  lua-load {files[2]}\n")
    assert guard.prune(host, dry_run=True) == guard.prune(host, dry_run=False) == [str(files[3])]
    assert [file.exists() for file in files] == [True, True, True, False]


def test_a_restore_by_hand_is_refused_beside_a_peer(
    store: ModuleType, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.haproxy_peers, "ask_worker", lambda command: shown("0x3", "ESTA"))
    with pytest.raises(store.PeersError, match="peer lb-2 has a session with this process"):
        store.give_back(host, [], missing=False)


# --- a reload -------------------------------------------------------------------------------------


class Reload:
    """A reload of a HAProxy that has the table shop, on a host where nothing else is real."""

    def __init__(self, module: ModuleType, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        self.module, self.host = module, host
        self.before = self.after = (10, 100)  # rows, and room for how many
        self.table = "shop"
        self.missing = 0
        self.loading = 0.0
        self.synced = self.synced_before = True
        self.waited = list[float]()
        self.late = set[tuple[str, str]]()
        self.did = list[str]()
        self.held = False
        fakes = {
            "check_as_unit": lambda host, master: 5.0,
            "wait_for_worker": self.wait,
            "wait_for_opening": lambda host, new: [],
            "sizes": lambda: {self.table: self.after if "signal" in self.did else self.before},
            "open_gate": lambda reason: self.did.append(f"open {reason}"),
            "SETTLE_SECONDS": 0,
            "acknowledged": lambda section: {("lb-2", "shop"): (7, 7), ("lb-2", "limits"): (0, 9)},
            "wait_until_acknowledged": self.told,
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(module, name, fake)
        monkeypatch.setattr(module.os, "kill", self.kill)
        monkeypatch.setattr(module.haproxy_peers, "master_pid", lambda: 1)
        monkeypatch.setattr(module.haproxy_peers, "worker_pid", lambda: 2)
        monkeypatch.setattr(module.haproxy_peers, "ask_worker", lambda command: "")
        monkeypatch.setattr(module.haproxy_peers, "wait_until_in_sync", self.sync)
        monkeypatch.setattr(module.guard_dump, "write", self.write)
        monkeypatch.setattr(module.guard_dump, "restore", self.restore)
        monkeypatch.setattr(
            module.guard_dump, "send_on", lambda tables, seconds: self.did.append(f"send on {' '.join(tables)}".strip())
        )

    def kill(self, pid: int, number: int) -> None:
        self.did.append("signal")
        self.held = self.host.hold.exists()

    def wait(self, before: int, bound: float) -> None:
        self.loading = bound

    def told(self, wanted: set[tuple[str, str]], bound: float) -> set[tuple[str, str]]:
        assert wanted <= {("lb-2", "shop")}
        return wanted & self.late

    def sync(self, bound: float) -> None:
        if "signal" not in self.did:
            self.waited.append(bound)
        if not (self.synced if "signal" in self.did else self.synced_before):
            raise self.module.PeersError("not in sync")

    def write(self, file: Path, tables: list[Any], peer: str, durable: bool) -> dict[str, int]:
        assert not durable
        self.did.append(f"dump {' '.join(table.name for table in tables)}")
        return {table.name: self.before[0] for table in tables}

    def restore(self, files: list[Path], tables: dict[str, Any], missing_only: bool) -> dict[str, int]:
        assert missing_only
        self.did.append(f"compare {' '.join(tables)}")
        return {"restored": self.missing}

    def __call__(self) -> str:
        return str(self.module.reload(self.host))


@pytest.fixture
def reload(host: Host, monkeypatch: pytest.MonkeyPatch) -> Reload:
    return Reload(importlib.import_module("guard_reload"), host, monkeypatch)


def test_a_reload_that_loses_nothing_is_done(reload: Reload) -> None:
    assert reload() == "done"
    assert reload.did == ["dump shop", "signal", "compare shop", "open learnt", "send on shop"]
    assert reload.waited == [15]
    assert reload.held
    assert not reload.host.hold.exists()


def test_a_process_that_is_not_in_sync_reloads_and_its_tables_are_carried(reload: Reload) -> None:
    reload.synced_before, reload.missing = False, 10
    assert reload() == (
        "done with a warning; the running process was not in sync within 15 s;"
        " 10 rows of shop are carried by dump and restore; restored: 10 rows"
    )
    assert reload.did == ["dump shop", "signal", "compare shop", "open restored", "send on"]
    assert reload.held


def test_a_process_that_is_not_in_sync_is_left_alone_if_told_so(reload: Reload) -> None:
    reload.synced_before, reload.host.settings["reload_unsynced"] = False, "refuse"
    with pytest.raises(reload.module.Refused, match=r"^not in sync\n\(session_guard_reload_unsynced: proceed would"):
        reload()
    assert reload.did == []
    assert not reload.host.running_copy.exists()


def test_a_mark_that_was_left_over_holds_no_gate(reload: Reload) -> None:
    reload.host.hold.touch()
    reload.before = reload.after = (100_001, 1_000_000)
    assert reload() == "done"
    assert not reload.held


def test_rows_that_are_missing_after_a_reload_are_written_back(reload: Reload) -> None:
    reload.missing = 2
    assert reload() == "done with a warning; 2 rows were missing after the reload, and written back"
    assert reload.did[-2:] == ["open restored", "send on shop"]


def test_rows_are_written_back_before_the_deadline_opens_the_gate(reload: Reload) -> None:
    reload.synced, reload.missing = False, 10
    assert reload().startswith("done with a warning; the new process was not in sync within 5 s; 10 rows were missing")
    assert reload.did[-2:] == ["open restored", "send on shop"]


@pytest.mark.parametrize("before", [(100_001, 1_000_000), (100, 100)], ids=["large", "full"])
@pytest.mark.parametrize(("left", "said"), [(0.995, "done"), (0.5, "table shop has 50")])
def test_a_large_or_full_table_is_counted(reload: Reload, before: tuple[int, int], left: float, said: str) -> None:
    reload.before, reload.after = before, (int(before[0] * left), before[1])
    found = reload()
    assert reload.did == ["signal"]
    assert not reload.held
    assert said in found
    assert ("warning" in found) == (said != "done")


def test_a_full_disk_does_not_keep_a_reload(reload: Reload, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object, durable: bool) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reload.module.guard_dump, "write", fails)
    assert reload() == "done with a warning; the rows can't be compared: [Errno 28] No space left on device"
    assert reload.did == ["signal"]


def test_a_comparison_that_fails_is_a_warning(reload: Reload, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object, **others: object) -> None:
        raise TimeoutError("/run/haproxy/admin.sock does not answer")

    monkeypatch.setattr(reload.module.guard_dump, "restore", fails)
    assert reload() == (
        "done with a warning; whether rows are missing is unknown: /run/haproxy/admin.sock does not answer"
    )
    assert reload.host.running_copy.exists()
    assert not reload.host.hold.exists()


def test_a_balancer_that_does_not_take_the_latest_rows_is_a_warning(
    reload: Reload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload.module, "TOLD_SECONDS", 0)
    told = iter([set(), {("lb-2", "shop")}])
    monkeypatch.setattr(reload.module, "wait_until_acknowledged", lambda wanted, bound: wanted & next(told))
    assert reload() == "done with a warning; peer lb-2 has not taken the latest rows of shop within 0 s"


def test_a_balancer_that_was_not_up_to_date_before_is_not_waited_for(reload: Reload) -> None:
    reload.late = {("lb-2", "shop")}
    assert reload() == "done"


@pytest.mark.parametrize("version", ["2.2", "2.6", "3.0", "3.2"])
def test_what_peers_have_acknowledged_is_known(version: str) -> None:
    worker = importlib.import_module("guard_worker")
    fixtures = ROOT / "tests/verify/fixtures" / version
    known = {
        name: worker.acknowledged((fixtures / f"{name}-a.txt").read_text()) for name in ("pair", "len", "no-peers")
    }
    assert known["pair"] == {("haproxy-2", "back"): (7, 7)}
    assert known["len"] == {("haproxy-2", "back"): (0, 10)}  # the tables differ: it takes nothing
    assert known["no-peers"] == {}


def test_peers_are_waited_for_until_they_have_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = importlib.import_module("guard_worker")
    key = ("lb-2", "shop")
    looks = iter(
        [{}, {key: (2**32 - 1, 3)}, {key: (2, 9)}, {key: (3, 12)}]
    )  # no session; then updates count from 0 again
    monkeypatch.setattr(worker.haproxy_peers, "ask_worker", lambda command: "")
    monkeypatch.setattr(worker, "acknowledged", lambda said: next(looks))
    assert worker.wait_until_acknowledged({key}, 10) == set()
    assert list(looks) == []
    monkeypatch.setattr(worker, "acknowledged", lambda said: {key: (0, 1)})
    assert worker.wait_until_acknowledged({key}, 0.01) == {key}
    assert worker.wait_until_acknowledged(set(), 0.01) == set()


def test_what_is_carried_is_no_row_that_was_missing(reload: Reload) -> None:
    reload.host.running_copy.write_text(CONFIGURED.replace("len 32", "len 64"))
    reload.missing = 10
    assert "10 rows of shop are carried by dump and restore; restored: 10 rows" in reload()
    assert reload.did == ["dump shop", "signal", "compare shop", "open restored", "send on"]


@pytest.mark.parametrize(
    ("gate", "status", "said"),
    [
        (True, {}, ["the running process has no gate; see `session-guard check`"]),
        (False, {}, []),
        (True, {"state": "open", "reason": "learnt"}, []),
    ],
)
def test_a_gate_that_a_reload_has_lost_is_a_warning(
    host: Host, monkeypatch: pytest.MonkeyPatch, gate: bool, status: dict[str, str], said: list[str]
) -> None:
    module = importlib.import_module("guard_reload")
    host.settings["gate"] = gate
    monkeypatch.setattr(module, "gate_status", lambda: status)
    monkeypatch.setattr(module.haproxy_peers, "wait_until_in_sync", lambda bound: None)
    assert module.wait_for_opening(host, host.read()) == said


def test_a_table_that_the_running_process_does_not_have_is_not_carried(reload: Reload) -> None:
    """Somebody's own signal had a new worker take another configuration than the one that the guard saw last."""
    reload.host.settings["reload_unsynced"] = "refuse"
    reload.host.running_copy.write_text(CONFIGURED)
    reload.host.configuration.write_text(CONFIGURED.replace("backend shop", "backend market"))
    reload.table = "market"
    assert reload() == "done"
    assert reload.did == ["dump market", "signal", "compare market", "open learnt", "send on market"]


def test_a_renamed_table_that_the_running_process_has_is_carried(reload: Reload) -> None:
    reload.host.running_copy.write_text(CONFIGURED.replace("backend shop", "backend market"))
    reload.table = "market"
    assert "table market is now shop; 10 rows of market are carried" in reload()


def test_a_new_worker_may_take_as_long_as_the_check_thrice_and_more(reload: Reload) -> None:
    reload()
    assert reload.loading == 15 + 3 * 5


def test_a_master_that_does_not_answer_is_not_reloaded(reload: Reload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload.module.haproxy_peers, "worker_pid", lambda: 0)
    monkeypatch.setattr(reload.module.haproxy_peers, "MASTER_SOCKET", str(reload.host.state_directory / "none"))
    with pytest.raises(reload.module.Refused, match=r"the master does not answer on .*/none: "):
        reload()
    assert reload.did == []
    monkeypatch.setattr(reload.module.haproxy_peers, "ask", lambda command: "# workers\n# old workers\n")
    assert reload() == "done"  # as after a reload that failed, when the configuration was mended


@pytest.fixture
def master() -> Iterator[int]:
    """Gives a process whose environment has names of the operator's and of HAProxy's."""
    own = {"HAPROXY_MWORKER_WAIT_ONLY": "1", "HAPROXY_STARTUPLOGS_FD": "9", "NOTIFY_SOCKET": "/run/notify"}
    environment = {"HAPROXY_MAX": "100", "HAPROXY_MWORKERS": "x", **own}
    command = ["/bin/sh", "-c", "echo; read line"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()  # Popen returns before /proc has the environment
        yield process.pid
        process.kill()


def test_a_check_has_the_units_environment_but_for_what_haproxy_sets_itself(host: Host, master: int) -> None:
    module = importlib.import_module("guard_reload")
    host.arguments = ["/bin/sh", "-c", "env | grep -E 'HAPROXY|NOTIFY' | sort; exit 1", "sh"]
    with pytest.raises(module.Refused) as refused:
        module.check_as_unit(host, master)
    assert str(refused.value).splitlines()[1:] == ["HAPROXY_MAX=100", "HAPROXY_MWORKERS=x"]


def test_a_check_tells_how_long_it_took_and_is_bounded(
    host: Host, master: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("guard_reload")
    host.arguments = ["/bin/sh", "-c", "sleep 0.5", "sh"]
    assert module.check_as_unit(host, master) >= 0.5
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.1)
    with pytest.raises(module.Refused, match=r"did not check the configuration within 0\.1 s"):
        module.check_as_unit(host, master)


# --- the command line -----------------------------------------------------------------------------


def test_systemds_sigterm_lets_a_command_clean_up(guard: ModuleType, tmp_path: Path) -> None:
    """In a process of its own, which it would end otherwise."""
    mark = tmp_path / "mark"
    child = os.fork()
    if not child:
        try:
            with guard.limit(30, "reload"):
                os.kill(os.getpid(), signal.SIGTERM)
        finally:
            mark.touch()
            os._exit(0)
    os.waitpid(child, 0)
    assert mark.exists()


def test_the_help_names_every_command() -> None:
    folders = os.pathsep.join([str(ROLE / "files"), str(ROOT / "roles/haproxy/files")])
    done = subprocess.run(
        [sys.executable, str(ROLE / "files/session_guard.py"), "--help"],
        env={**os.environ, "PYTHONPATH": folders},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    for command in ("lines", "check", "status", "dump", "restore", "reload", "stopping", "started", "prune"):
        assert f"\n    {command}" in done.stdout


def test_the_program_reads_the_settings_that_the_role_writes(guard: ModuleType, host: Host) -> None:
    template = (ROLE / "templates/settings.json.j2").read_text()
    written_keys = {row.split("'")[1] for row in template.splitlines() if row.startswith("  '")}
    assert written_keys == set(host.settings)


def test_hooks_of_the_drop_in_are_commands_of_the_program() -> None:
    text = (ROLE / "templates/session-guard.conf.j2").read_text()
    called = {row.split()[-1] for row in text.splitlines() if row.startswith("Exec") and not row.endswith("=")}
    assert called == {"reload", "stopping", "started"}


def test_a_reload_is_given_up_before_systemd_ends_it(guard: ModuleType) -> None:
    ranges = re.findall(r"\[(session_guard_\w+), \d+, (\d+)\]", (ROLE / "tasks/preflight.yml").read_text())
    most = {name: int(value) for name, value in ranges}
    (bound,) = re.findall(
        r"^TimeoutStartSec=(\d+)$", (ROLE / "templates/session-guard.conf.j2").read_text(), re.MULTILINE
    )
    waits = most["session_guard_reload_wait"] + most["session_guard_gate_deadline"]
    assert waits + 30 <= guard.LIMITS["reload"] <= int(bound) - 15


def test_every_default_is_used() -> None:
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    folders = (ROLE / "tasks", ROLE / "templates", ROLE / "vars", ROOT / "roles/haproxy")
    text = "".join(file.read_text() for folder in folders for file in folder.rglob("*.*") if file.suffix != ".pyc")
    assert [name for name in defaults if name not in text] == []
