"""The command line: exit codes, one clear line instead of a traceback, and settings from words."""

import signal
from pathlib import Path

import msgspec
import pytest

from verify.cli import _PARSER, _chosen, main
from verify.history import Header
from verify.invariants import INVARIANTS
from verify.inventory import dump
from verify.options import settings
from verify.run import replay
from verify.scenarios import GROUPS, SCENARIOS, Check, Plant
from verify.topology import Balancer, Connection, Server, Service, Table, Topology


def topology(**changes: object) -> Topology:
    """Two balancers that nobody runs: ssh's port 1 is refused."""
    found = Topology(
        balancers=tuple(
            Balancer(name=name, connection=Connection(address="127.0.0.1", port=1), url="http://127.0.0.1:1")
            for name in ("lb1", "lb2")
        ),
        service=Service(
            backend="app",
            cookie="JSESSIONID",
            table=Table(name="app", type="string", size=100),
            servers=(Server(name="one", address="127.0.0.1", port=1),),
        ),
    )
    return msgspec.structs.replace(found, **changes)


@pytest.fixture
def file(tmp_path: Path) -> str:
    dump(topology(), tmp_path / "topology.json")
    return str(tmp_path / "topology.json")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "required: COMMAND"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["run"], "name the balancers, by -i INVENTORY or by --topology FILE"),
        (["run", "-i", "x", "--topology", "y"], "name the balancers, by -i INVENTORY or by --topology FILE"),
        (["run", "-i", "x", "--seed", "one"], "argument --seed: invalid int value: 'one'"),
        (["run", "-i", "/nowhere"], "/nowhere"),
        (["look"], "name the balancers one way"),
        (["look", "--balancer", "lb1", "-i", "x"], "name the balancers one way"),
        (["recheck", "/nowhere"], "/nowhere/history.jsonl can't be read: No such file or directory"),
        (["check", "--state", "/nowhere"], "/nowhere can't be read: No such file or directory"),
    ],
)
def test_bad_use(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What argparse refuses is bad use too."""
    assert main(words) == 64
    printed = capsys.readouterr()
    assert printed.out == ""
    assert text in printed.err
    assert printed.err.startswith("sticky-verify: ")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--only", "nonsense"], "--only nonsense: no such scenario; there are story, stickiness, "),
        (["--on", "lb3"], "--on lb3: no such host; there are lb1, lb2"),
        (["--url", "lb3=http://x"], "--url lb3: no such host; there are lb1, lb2"),
        (["--url", "http://x"], "--url http://x: write it as --url 'BALANCER=URL'"),
        (["--url", "lb1=ftp://x"], "url 'ftp://x' can't be asked"),
        (["--header", "X-One"], "--header X-One: write it as --header 'NAME: VALUE'"),
        (["--server-from", "guess"], "--server-from 'guess' is not known"),
        (["--sessions", "1"], "--sessions 1 proves too little: give 4 or more"),
        (["--seconds", "0"], "--seconds 0 is no time"),
        (["--load-rate", "0"], "--load-rate 0 sends nothing"),
        (["--share-new", "2"], "--share-new 2 is no share: give 0 to 1"),
        (["--rows", "-1"], "--rows -1 can't be"),
        (["--settle", "0"], "--settle 0 is no time: give seconds, more than 0"),
        (["--rate", "nan"], "argument --rate: invalid finite value: 'nan'"),
        (["--rate", "inf"], "argument --rate: invalid finite value: 'inf'"),
        (["--head", "X-One: 1"], "unrecognized arguments: --head X-One: 1"),
        (["--junit", "/nowhere/x.xml"], "--junit /nowhere/x.xml can't be written: /nowhere is no folder"),
        (["--json", "/nowhere/x.json"], "--json /nowhere/x.json can't be written: /nowhere is no folder"),
        (["--repeat", "0"], "--repeat 0 plays nothing: give a number of times, 1 or more"),
        (["--dump-interval", "0"], "--dump-interval 0 is no time: give seconds, more than 0"),
    ],
)
def test_words_that_make_no_run(words: list[str], text: str, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--topology", file, *words]) == 64
    assert text in capsys.readouterr().err


def test_values_of_headers_stand_in_no_report(file: str) -> None:
    """They may be tokens; the words stand in histories, reports and replays."""
    words = ["run", "--topology", file, "--header", "X-Token: secret", "--header=X-Other: secret", "--seed", "1"]
    options = _PARSER.parse_args(words)
    assert settings(options, words).arguments == [
        *("run", "--topology", file, "--header", "X-Token: (hidden)", "--header=X-Other: (hidden)", "--seed", "1")
    ]
    assert settings(options, words).targets["lb1"].headers == {"X-Token": "secret", "X-Other": "secret"}


def test_a_group_stands_for_its_scenarios() -> None:
    assert [scenario.name for scenario in _chosen(["sync", "guard", "sync"], True)] == ["sync", *GROUPS["guard"]]
    assert GROUPS["guard"] == [
        *("reload-under-load", "rapid-reloads", "crash-restart", "last-restart", "power-cut", "package-restart"),
        *("both-rebooted", "stale-dump", "old-worker"),
    ]
    assert not {scenario.name for scenario in _chosen([], True)} & set(GROUPS["guard"])


def test_the_dumps_interval_is_the_callers_or_the_inventorys(file: str) -> None:
    for words, interval in (([], 60), (["--dump-interval", "5"], 5)):
        chosen = ["run", "--topology", file, *words]
        assert settings(_PARSER.parse_args(chosen), chosen).topology.dump_interval == interval


def test_urls_that_were_given_are_remembered(file: str) -> None:
    """A later check knows them from the history."""
    words = ["run", "--topology", file, "--url", "lb2=http://127.0.0.1:2"]
    made = settings(_PARSER.parse_args(words), words)
    assert [balancer.url for balancer in made.topology.balancers] == ["http://127.0.0.1:1", "http://127.0.0.1:2"]
    assert made.targets["lb2"].url == "http://127.0.0.1:2"


@pytest.mark.parametrize("before", [signal.SIG_IGN, signal.SIG_DFL])
def test_only_a_signal_that_is_ignored_stays_so(before: signal.Handlers) -> None:
    """As nohup leaves SIGHUP."""
    kept = signal.signal(signal.SIGHUP, before)
    try:
        assert main(["list"]) == 0
        assert (signal.getsignal(signal.SIGHUP) is signal.SIG_IGN) == (before is signal.SIG_IGN)
    finally:
        signal.signal(signal.SIGHUP, kept)


def test_a_defect_is_unknown_and_no_failure(
    file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def defect(*arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("verify.run.play", defect)
    assert main(["run", "--topology", file]) == 2
    assert "a defect of the verifier" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["plant", "check"])
def test_other_commands_are_replayed_as_they_were(command: str) -> None:
    header = Header(
        run="r",
        scenario=command,
        invariants=[],
        seed=7,
        arguments=[command, "--state", "F"],
        topology={},
        versions={},
        kinds={},
        wall_ns=0,
    )
    assert replay(header) == f"sticky-verify {command} --state F"


def test_a_topology_without_a_service_makes_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dump(topology(service=None), tmp_path / "lone.json")
    assert main(["run", "--topology", str(tmp_path / "lone.json")]) == 64
    assert "the topology names no service" in capsys.readouterr().err


def test_unreachable_balancers_are_unknown(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody listens for ssh on port 1: exit 2, the host is named, and no run's directory is left."""
    assert main(["run", "--topology", file, "--runs", str(tmp_path / "runs")]) == 2
    assert "sticky-verify: lb1: ssh could not reach it" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_the_list_names_every_scenario_and_its_invariants(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    for name, scenario in SCENARIOS.items():
        assert f"{name}\n  {scenario.describes}\n" in printed
        assert f"  checks: {', '.join(scenario.invariants)}\n" in printed


def test_every_invariant_that_a_scenario_names_exists_and_all_are_used() -> None:
    scenarios = [*SCENARIOS.values(), Plant(), Check()]
    assert {name for scenario in scenarios for name in scenario.invariants} == set(INVARIANTS)


def test_a_replay_has_the_same_words_the_scenario_and_the_seed() -> None:
    words = ["run", "-i", "inv", "--only", "crash,pause", "--seed=7", "--junit", "all.xml", "--rate", "9"]
    words += ["--repeat", "10", "--json=all.json"]
    header = Header(
        run="r",
        scenario="pause",
        invariants=[],
        seed=7,
        arguments=words,
        topology={},
        versions={},
        kinds={},
        wall_ns=0,
    )
    assert replay(header) == "sticky-verify run -i inv --rate 9 --only pause --seed 7"
