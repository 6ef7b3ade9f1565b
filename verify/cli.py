"""Command line: `sticky-verify`, the same as `python -m verify`."""

import argparse
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import msgspec

from verify import inventory, options, run
from verify.errors import EXIT_PASS, EXIT_UNKNOWN, BadUse, VerifyError
from verify.faults import open_site
from verify.history import History
from verify.look import look
from verify.report.document import Document
from verify.report.junit import junit
from verify.report.repeats import Repeats
from verify.report.terminal import Terminal
from verify.scenarios import GROUPS, SCENARIOS, Scenario
from verify.topology import Topology
from verify.verdict import Verdict

EXIT_INTERRUPTED = 130  # as a shell has it: 128 + SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if threading.current_thread() is threading.main_thread():
        for signum in (signal.SIGTERM, signal.SIGHUP):  # heal, as after Ctrl-C
            if signal.getsignal(signum) is not signal.SIG_IGN:  # as nohup leaves SIGHUP: it is to be ignored
                signal.signal(signum, _interrupted)
    try:
        chosen = _PARSER.parse_args(words)
        code: int = chosen.function(chosen, words)
        return code
    except VerifyError as error:
        print(f"sticky-verify: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception:  # a defect of the verifier's own is no failure of the balancers
        traceback.print_exc()
        print("sticky-verify: a defect of the verifier: nothing can be said", file=sys.stderr)
        return EXIT_UNKNOWN


def _interrupted(signum: int, frame: FrameType | None) -> None:
    for known in (signal.SIGTERM, signal.SIGHUP):  # healing takes its time; Ctrl-C can still cut it short
        signal.signal(known, signal.SIG_IGN)
    raise KeyboardInterrupt


def _look(chosen: argparse.Namespace, words: Sequence[str]) -> int:
    with open_site(options.lone_topology(chosen)) as site:
        looked = look(site.apis, site.topology)
    with Terminal() as terminal:
        terminal.look(looked)
    return looked.verdict.exit_code


def _run(chosen: argparse.Namespace, words: Sequence[str]) -> int:
    settings = options.settings(chosen, words)
    scenarios = _chosen(options.listed(chosen.only), settings.permission.destructive)
    for option, file in (("--junit", chosen.junit), ("--json", chosen.json)):
        if file and not file.parent.is_dir():
            raise BadUse(f"{option} {file} can't be written: {file.parent} is no folder, make it first")
    if chosen.repeat < 1:
        raise BadUse(f"--repeat {chosen.repeat} plays nothing: give a number of times, 1 or more")
    with Terminal() as terminal:
        if chosen.dry_run:
            run.rehearse(scenarios, settings, terminal)
            return EXIT_PASS
        documents, left_out = run.play(scenarios, settings, terminal, chosen.repeat)
    if chosen.junit:
        chosen.junit.write_bytes(junit(documents, left_out))
    if chosen.json:
        chosen.json.write_bytes(Repeats.made(documents).to_json())
    return _exit_code(documents)


def _chosen(names: list[str], destructive: bool) -> list[Scenario]:
    """Returns the scenarios by name, or all that may run and that HAProxy itself can pass."""
    names = [each for name in names for each in GROUPS.get(name, [name])]
    for name in names:
        if name not in SCENARIOS:
            known = f"{', '.join(SCENARIOS)}; groups: {', '.join(GROUPS)}"
            raise BadUse(f"--only {name}: no such scenario; there are {known}")
    if names:
        return [SCENARIOS[name] for name in dict.fromkeys(names)]
    quiet = [known for known in SCENARIOS.values() if not known.may_lose]
    return quiet if destructive else [known for known in quiet if not (known.kinds or known.writes)]


def _plant(chosen: argparse.Namespace, words: Sequence[str]) -> int:
    with Terminal() as terminal:
        return _exit_code([run.plant(options.settings(chosen, words), chosen.state, terminal)])


def _check(chosen: argparse.Namespace, words: Sequence[str]) -> int:
    planted = History.read(chosen.state)
    named = chosen.inventory or chosen.topology
    known = None if named else msgspec.convert(planted.header.topology, Topology)
    with Terminal() as terminal:
        return _exit_code([run.check(options.settings(chosen, words, known), planted, terminal)])


def _recheck(chosen: argparse.Namespace, words: Sequence[str]) -> int:
    with Terminal() as terminal:
        return _exit_code([run.recheck(chosen.directory, terminal)])


def _list(chosen: argparse.Namespace, words: Sequence[str]) -> int:
    with Terminal() as terminal:
        terminal.scenarios(
            [(known.name, known.describes, known.invariants, known.kinds) for known in SCENARIOS.values()]
        )
    return EXIT_PASS


def _topology(chosen: argparse.Namespace, words: Sequence[str]) -> int:
    inventory.dump(inventory.topology_of(chosen.inventory, chosen.backend), chosen.output)
    return EXIT_PASS


def _exit_code(documents: Sequence[Document]) -> int:
    return Verdict.worst(document.verdict for document in documents).exit_code


def _state(command: argparse.ArgumentParser) -> None:
    command.add_argument("--state", type=Path, required=True, metavar="FILE", help="what plant leaves for check")


def _directory(command: argparse.ArgumentParser) -> None:
    command.add_argument("directory", type=Path, help="a run's directory, such as runs/latest")


def _of_inventory(command: argparse.ArgumentParser) -> None:
    command.add_argument("-i", "--inventory", required=True, help="an inventory, as Ansible takes it")
    command.add_argument("--backend", help="the backend that is sticky, where the inventory has several")
    command.add_argument("-o", "--output", type=Path, default=Path("/dev/stdout"), metavar="FILE")


_ASKING = (options.hosts, options.requests, options.bounds)
_PARSER = options.parser(
    {
        "look": (
            "reads the runtime APIs of running balancers, sends no request, changes nothing, and says what is wrong",
            _look,
            [options.lone_hosts],
        ),
        "run": (
            "plays scenarios and judges them; without --destructive it asks and looks, and breaks nothing",
            _run,
            [*_ASKING, options.breaking],
        ),
        "list": ("describes the scenarios, and names the invariants that each checks", _list, []),
        "plant": (
            "plants sessions and leaves them, for a check after whatever you do next",
            _plant,
            [*_ASKING, _state],
        ),
        "check": ("judges what became of the sessions that plant left", _check, [*_ASKING, _state]),
        "recheck": ("judges the history of an old run again", _recheck, [_directory]),
        "topology": ("writes what an inventory means, as the roles render it, to a file", _topology, [_of_inventory]),
    }
)
