"""The session guard's dump, restore and reload with HAProxies of two of Debian's or Ubuntu's versions, on loopback."""

import importlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from gated import ROOT, SUITES, Bench, Haproxy, bench_of, end, free_ports, gate, run_as_root, wait_for

if TYPE_CHECKING:
    from guard_host import Host
else:
    Host = object

ROWS = {f"k{number}": number % 4 + 1 for number in range(3000)}
LATER = int(time.time()) + 3600


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Iterator[None]:
    """The program's folder on a host has its modules and that of roles/haproxy side by side."""
    folders = [str(ROOT / f"roles/{role}/files") for role in ("session_guard", "haproxy")]
    sys.path[:0] = folders
    yield
    for folder in folders:
        sys.path.remove(folder)


@pytest.fixture(scope="module", params=SUITES)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Gives a place for the HAProxies of one suite."""
    with bench_of(request.param) as made:
        yield made


@pytest.fixture
def other(bench: Bench) -> Iterator[Haproxy]:
    """Gives the other peer, which is not there."""
    made = bench.haproxy("nobody")
    yield made
    end(made)


@pytest.fixture
def haproxy(
    bench: Bench, other: Haproxy, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Haproxy]:
    """Gives a HAProxy with a gate, which the program takes for this host's."""
    made = bench.haproxy(f"lb{abs(hash(request.node.name)) % 10_000}")
    mark = made.inside(f"{made.name}.state/hold")
    admin = f"stats socket {made.inside(made.name)}.admin mode 666 level admin"
    bench.configure(made, other, lua=gate(made.address, mark=mark), settings=(admin,))
    made.start()
    peers = importlib.import_module("haproxy_peers")
    monkeypatch.setattr(peers, "MASTER_SOCKET", str(made.folder / f"{made.name}.sock"))
    monkeypatch.setattr(peers, "CONFIGURATION", made.folder / f"{made.name}.cfg")
    monkeypatch.setattr(peers, "admin_socket", lambda: str(made.folder / f"{made.name}.admin"))
    yield made
    end(made)


@pytest.fixture(params=["admin", "master"])
def dumps(haproxy: Haproxy, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Gives the module of dumps, which asks by an admin's stats socket, or by the master's."""
    module = importlib.import_module("guard_dump")
    if request.param == "master":
        monkeypatch.setattr(module.haproxy_peers, "admin_socket", str)
    return module


@pytest.fixture
def tables(haproxy: Haproxy) -> dict[str, Any]:
    text = (haproxy.folder / f"{haproxy.name}.cfg").read_text()
    return dict(importlib.import_module("guard_configuration").Configuration(text).tables)


def written(folder: Path, rows: dict[str, int]) -> Path:
    """Writes a dump by hand."""
    file = folder / "tables.dump"
    head = json.dumps({"version": 1, "time": int(time.time()), "tables": {"b": {"rows": len(rows)}}})
    file.write_text("\n".join([head, *(f"b s{number} {LATER} {key}" for key, number in rows.items()), ""]))
    return file


def bound(dumps: ModuleType, file: Path) -> dict[str, int]:
    """Gives keys and servers' numbers of a dump."""
    return {key: int(server[1:]) for _, server, _, key in dumps.read([file])}


def test_what_was_restored_is_dumped_again(
    haproxy: Haproxy, dumps: ModuleType, tables: dict[str, Any], tmp_path: Path
) -> None:
    rows = ROWS | {"with a blank": 1, "with;semicolon": 2, "with=sign": 3, "x" * 31: 4}
    counts = dumps.restore([written(tmp_path, rows)], tables, missing_only=False)
    assert counts == {"restored": len(rows), "there": 0, "odd": 0, "gone": 0, "refused": 0}
    assert dumps.write(tmp_path / "again", tables.values(), "lb", 0.001) == {"b": len(rows)}
    assert bound(dumps, tmp_path / "again") == rows


def test_rows_that_are_there_stay(haproxy: Haproxy, dumps: ModuleType, tables: dict[str, Any], tmp_path: Path) -> None:
    there = dict.fromkeys([*list(ROWS)[::3], "with a blank"], 4)
    dumps.restore([written(tmp_path, there)], tables, missing_only=False)
    counts = dumps.restore([written(tmp_path, ROWS | {"with a blank": 1})], tables, missing_only=True)
    assert (counts["restored"], counts["there"]) == (len(ROWS) + 1 - len(there), len(there))
    dumps.write(tmp_path / "again", tables.values(), "lb")
    assert bound(dumps, tmp_path / "again") == ROWS | there


def test_rows_that_are_there_give_way(
    haproxy: Haproxy, dumps: ModuleType, tables: dict[str, Any], tmp_path: Path
) -> None:
    """HAProxy itself made them, with their servers' names; what counts is who answers."""
    wait_for("the gate to open", lambda: haproxy.ask("@1 session-guard open alone"))
    first = {key: ask(haproxy, key) for key in list(ROWS)[:8]}
    other = {key: int(server[1:]) % 4 + 1 for key, server in first.items()}
    counts = dumps.restore([written(tmp_path, other)], tables, missing_only=False, over=True)
    assert (counts["restored"], counts["refused"]) == (len(other), 0)
    assert {key: ask(haproxy, key) for key in other} == {key: f"s{number}" for key, number in other.items()}


def ask(haproxy: Haproxy, key: str, path: str = "/") -> str:
    """Gives the name of the server that answers a session."""
    with closing(HTTPConnection("127.0.0.1", haproxy.front, timeout=30)) as client:
        client.request("GET", path, headers={"Cookie": f"JSESSIONID={key}"})
        return client.getresponse().read().decode().strip()


def test_rows_that_haproxy_refuses_are_counted(
    haproxy: Haproxy, dumps: ModuleType, tables: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dumps.haproxy_peers, "word_of", lambda key: f"{key} data.nonsense" if key == "k7" else key)
    counts = dumps.restore([written(tmp_path, ROWS)], tables, missing_only=False)
    assert (counts["restored"], counts["refused"]) == (len(ROWS) - 1, 1)


def test_an_end_in_the_middle_is_an_error(
    haproxy: Haproxy, dumps: ModuleType, tables: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = dumps.read

    def ends(files: list[Path], expires: dict[str, float]) -> Iterator[tuple[str, str, int, str]]:
        for number, row in enumerate(rows(files, expires)):
            if number == len(ROWS) // 2:
                haproxy.kill()
            yield row

    monkeypatch.setattr(dumps, "read", ends)
    with pytest.raises((OSError, dumps.haproxy_peers.PeersError)):
        dumps.restore([written(tmp_path, ROWS)], tables, missing_only=False)


def test_a_row_of_a_backend_with_other_names_is_restored(
    bench: Bench, haproxy: Haproxy, dumps: ModuleType, tmp_path: Path
) -> None:
    """Two backends share the table, and their servers by the same ids."""
    file = haproxy.folder / f"{haproxy.name}.cfg"
    rules = "  use_backend ws if { path_beg /ws }\n  default_backend b"
    servers = "".join(f"  server ws{n} 127.0.0.1:{port} id {n}\n" for n, port in enumerate(bench.servers.values(), 1))
    text = file.read_text().replace("  default_backend b", rules)
    file.write_text(f"{text}backend ws\n  stick on req.cook(JSESSIONID) table b\n{servers}")
    haproxy.reload()
    wait_for("the gate to open", lambda: haproxy.ask("@1 session-guard open alone"))
    answered = {f"k{number}": ask(haproxy, f"k{number}", "/ws" if number % 2 else "/") for number in range(8)}
    tables = importlib.import_module("guard_configuration").Configuration(file.read_text()).tables
    dumps.write(tmp_path / "dump", tables.values(), "lb")
    haproxy.ask("@1 clear table b")
    counts = dumps.restore([tmp_path / "dump"], tables, missing_only=False)
    assert (counts["restored"], counts["gone"]) == (8, 0)
    assert {key: ask(haproxy, key) for key in answered} == answered


# --- what has changed, and a start ----------------------------------------------------------------


@pytest.fixture
def pair(bench: Bench, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Haproxy]]:
    """Gives two HAProxies that are each other's peers; the second has a gate, and is taken for this host's."""
    made = [bench.haproxy(f"{letter}{abs(hash(request.node.name)) % 10_000}") for letter in "ab"]
    bench.configure(made[0], made[1])
    bench.configure(made[1], made[0], lua=gate(made[1].address))
    peers = importlib.import_module("haproxy_peers")
    monkeypatch.setattr(peers, "MASTER_SOCKET", str(made[1].folder / f"{made[1].name}.sock"))
    monkeypatch.setattr(peers, "CONFIGURATION", made[1].folder / f"{made[1].name}.cfg")
    monkeypatch.setattr(peers, "property_of_unit", lambda name: "")
    yield made
    for haproxy in made:
        end(haproxy)


def test_every_change_of_a_row_is_seen(pair: list[Haproxy]) -> None:
    """Also of one that is there, by a peer; and without a peer, where HAProxy 3 does not count it again."""
    first, second = (haproxy.start() for haproxy in pair)
    running = importlib.import_module("guard_worker")
    tables = [importlib.import_module("guard_configuration").Table("b", "pp", (), 0.0)]
    wait_for("both to be in sync", lambda: first.in_sync() and second.in_sync(), 30)
    seen = [running.updates(tables)]
    for number in (1, 2, 3):
        first.plant(dict.fromkeys(("k1", "k2"), number))
        wait_for("a change to be seen", lambda: running.updates(tables) not in seen)
        seen.append(running.updates(tables))
        assert not running.untold(tables)
    end(first)
    wait_for("the first to be missed", lambda: not running.established(running.peers_sections()["pp"]))
    second.plant({"k3": 1})
    assert running.untold(tables)


def test_a_section_without_sessions_keeps_no_gate_shut(pair: list[Haproxy], tmp_path: Path) -> None:
    """Its only peer is the process itself: none of another process teaches it."""
    first, second = pair
    file = second.folder / f"{second.name}.cfg"
    counter = "backend rates\n  stick-table type ip size 1k expire 1m store http_req_rate(10s) peers keep\n"
    file.write_text(f"{file.read_text()}peers keep\n  peer {second.name} 127.0.0.1:{free_ports(1)[0]}\n{counter}")
    first.start().plant(ROWS)
    wait_for("the first to be in sync", first.in_sync, 30)
    second.start()
    settings = {"unit": "haproxy", "config": str(file), "state": str(tmp_path), "gate_deadline": 10}
    host = importlib.import_module("guard_host").Host({**settings, "dump": "both", "textfile": ""})
    began = time.monotonic()
    said = importlib.import_module("guard_start").started(host)
    assert said == "peers pp: a peer teaches this process; nothing was restored"
    assert second.status()["reason"] == "learnt"
    assert time.monotonic() - began < host.settings["gate_deadline"] / 2


# --- a reload -------------------------------------------------------------------------------------


@pytest.fixture
def reload(haproxy: Haproxy, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Gives the module of reloads; systemd and the check of the configuration are not real."""
    module = importlib.import_module("guard_reload")
    monkeypatch.setattr(module, "check_as_unit", lambda host, master: 0.0)
    monkeypatch.setattr(module.os, "kill", lambda pid, number: run_as_root("kill", f"-{int(number)}", str(pid)))
    monkeypatch.setattr(
        module.haproxy_peers, "property_of_unit", lambda name: str(haproxy.pids()[0]) if name == "MainPID" else ""
    )
    return module


@pytest.fixture
def host(haproxy: Haproxy, reload: ModuleType) -> Host:
    state = haproxy.folder / f"{haproxy.name}.state"
    state.mkdir()
    master = reload.haproxy_peers.MASTER_SOCKET
    settings: dict[str, Any] = {
        "unit": "haproxy",
        "config": str(haproxy.folder / f"{haproxy.name}.cfg"),
        "state": str(state),
        "gate_deadline": 10,
        "reload_wait": 15,
        "reload_unsynced": "refuse",
        "textfile": "",
    }
    made: Host = importlib.import_module("guard_host").Host(settings)
    reload.haproxy_peers.MASTER_SOCKET = master  # the command line has it as HAProxy sees it
    return made


def test_a_row_that_a_reload_lost_is_written_back(
    haproxy: Haproxy, reload: ModuleType, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hand takes two rows from the new worker, and binds another one anew, before the program looks."""
    haproxy.plant(ROWS)
    wait_for("it to be in sync", haproxy.in_sync)
    settle = reload.time.sleep
    lost = list[str]()

    def lose(seconds: float) -> None:
        settle(seconds)
        if seconds == reload.SETTLE_SECONDS:
            assert haproxy.status()["state"] == "shut"
            haproxy.ask("@1 clear table b key k1;@1 clear table b key k2;@1 set table b key k3 data.server_id 2")
            lost.extend(["k1", "k2"])

    monkeypatch.setattr(reload.time, "sleep", lose)
    said = reload.reload(host)
    assert said == f"done with a warning; {len(lost)} rows were missing after the reload, and written back"
    assert haproxy.status()["reason"] == "restored"
    rows = {key: haproxy.ask(f"@1 show table b key {key}").split("server_id=")[1][0] for key in ("k1", "k2", "k3")}
    assert rows == {"k1": "2", "k2": "3", "k3": "2"}


def test_a_reload_that_lost_nothing_says_so(haproxy: Haproxy, reload: ModuleType, host: Host) -> None:
    haproxy.plant(ROWS)
    wait_for("it to be in sync", haproxy.in_sync)
    for _ in range(3):
        assert reload.reload(host) == "done"
        told = haproxy.status()
        assert (told["state"], told["kind"], told["reason"]) == ("open", "reload", "learnt")


def test_rows_of_the_last_moments_reach_the_other_balancer(
    bench: Bench, haproxy: Haproxy, other: Haproxy, reload: ModuleType, host: Host
) -> None:
    """The old worker did not get to sending them: the other one lacks them, which HAProxy does not notice."""
    bench.configure(other, haproxy, lua=gate(other.address))
    other.start()
    for process in (haproxy, other):
        wait_for("it to be in sync", process.in_sync)
    haproxy.plant({f"before{number}": 1 for number in range(10)})
    wait_for("both to know the rows", lambda: "used:10" in other.ask("@1 show table b"))
    for number in range(10):
        other.ask(f"@1 clear table b key before{number}")
    assert reload.reload(host) == "done"
    assert "used:10" in other.ask("@1 show table b")
