"""The command line: ``python -m verify demo -i INVENTORY``."""

import argparse
import secrets
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NoReturn

from verify.errors import EXIT_FAIL, BadUse, VerifyError
from verify.node import Node
from verify.report import Report, verdict
from verify.topology import Topology
from verify.walkthrough import DEFAULT_TABLE, WalkThrough

EXIT_CODES = "exit codes: 0 pass, 1 fail, 2 unknown (nothing could be observed), 64 bad use"
EXIT_INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadUse(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the verifier.

    Args:
        arguments: without the program's name; None for the process's own.

    Returns:
        The exit code: 0 pass, 1 fail, 2 unknown, 64 bad use, 130 interrupted.
    """
    # Being told to end shall run the story's `finally`, which starts what it stopped.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        return _demo(_parser().parse_args(arguments))
    except VerifyError as error:
        kind = "bad use" if isinstance(error, BadUse) else "UNKNOWN"
        print(f"{kind}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m verify", description=__doc__, epilog=EXIT_CODES)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    text = "plays the demo's story on two balancers; it reloads the first and restarts the second"
    demo = commands.add_parser("demo", help=text, description=text, epilog=EXIT_CODES)
    demo.add_argument("-i", "--inventory", required=True, help="an inventory, as Ansible takes it")
    demo.add_argument("--group", default="balancers", help="its balancers (%(default)s)")
    demo.add_argument("--seed", type=int, help="decides sessions and orders (random)")
    demo.add_argument("--table", help=f"the table (the one that is shared, or {DEFAULT_TABLE})")
    return parser


def _demo(options: argparse.Namespace) -> int:
    balancers = Topology.from_inventory(options.inventory, options.group).balancers
    if len(balancers) < 2:
        raise BadUse(f"the demo needs two balancers, and {options.inventory} has {len(balancers)}")
    seed = secrets.randbits(32) if options.seed is None else options.seed
    report = Report()
    with ExitStack() as stack:
        stack.callback(report.close)
        first, second = (stack.enter_context(Node.of(balancer)) for balancer in balancers[:2])
        story = WalkThrough(first, second, report, seed, options.table)
        report.line(f"{first.name} and {second.name}, seed {seed}")
        story.play()
        code, text = verdict(story.steps, len(story.homes), story.answers)
        if code == EXIT_FAIL:
            report.evidence([*first.evidence(), *second.evidence()])
        report.verdict(code, text)
    return code
