"""Options: the command line's words, and the settings that they make."""

import argparse
import math
import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import msgspec

from verify.client import Target
from verify.errors import BadUse
from verify.faults import Permission
from verify.history import SECOND
from verify.identity import ServerFrom
from verify.inventory import balancer_from, balancers_of, load, topology_of
from verify.run import Settings
from verify.scenarios import Size
from verify.topology import Balancer, Service, Topology

EXIT_CODES = "exit code: 0 pass, 1 fail, 2 unknown (nothing could be said), 64 bad use"


class Parser(argparse.ArgumentParser):
    """Bad use is a `BadUse`, as everywhere else."""

    def error(self, message: str) -> NoReturn:
        """Raises BadUse."""
        raise BadUse(f"{message} (see {self.prog} --help)")


# What a command is: a text, a function of the parsed options and the words, and groups of options.
Group = Callable[[argparse.ArgumentParser], None]
Command = tuple[str, Callable[[argparse.Namespace, Sequence[str]], int], Sequence[Group]]


def parser(commands: dict[str, Command]) -> Parser:
    """Makes the parser: a command has a text, a function, and groups of options."""
    about = "A small Jepsen for sticky sessions."
    made = Parser(prog="sticky-verify", description=about, epilog=EXIT_CODES, allow_abbrev=False)
    subparsers = made.add_subparsers(required=True, metavar="COMMAND")
    for name, (text, function, groups) in commands.items():
        command = subparsers.add_parser(name, allow_abbrev=False, help=text, description=text, epilog=EXIT_CODES)
        command.set_defaults(function=function)
        for group in groups:
            group(command)
    return made


def hosts(command: argparse.ArgumentParser) -> None:
    """Which balancers."""
    group = command.add_argument_group("which balancers")
    group.add_argument("-i", "--inventory", help="an inventory, as Ansible takes it")
    group.add_argument("--topology", type=Path, metavar="FILE", help="a file that `sticky-verify topology` wrote")
    group.add_argument("--backend", help="the backend that is sticky, where the inventory has several")


def lone_hosts(command: argparse.ArgumentParser) -> None:
    """Which balancers, by hand too: for `look`, which needs no roles."""
    group = command.add_argument_group("which balancers")
    group.add_argument("-i", "--inventory", help="an inventory, as Ansible takes it")
    group.add_argument("--group", default="balancers", help="its balancers (%(default)s)")
    group.add_argument("--topology", type=Path, metavar="FILE", help="a file that `sticky-verify topology` wrote")
    group.add_argument(
        "--balancer",
        action="append",
        default=[],
        metavar="[NAME=][USER@]HOST[:PORT]",
        help="a balancer by ssh, or NAME=unix:PATH, an admin socket of this machine; repeat it",
    )
    group.add_argument("--socket", metavar="PATH", help="the admin socket on the balancers (/run/haproxy/admin.sock)")


def requests(command: argparse.ArgumentParser) -> None:
    """How balancers are asked."""
    group = command.add_argument_group("how balancers are asked")
    group.add_argument("--url", action="append", default=[], metavar="BALANCER=URL", help="in place of verify_url")
    group.add_argument("--path", help="where sessions are asked (verify_path, or /)")
    group.add_argument("--login-path", help="where the application issues a session (verify_login_path, or /)")
    group.add_argument("--method", default="GET", help="(%(default)s)")
    group.add_argument("--header", action="append", default=[], metavar="NAME: VALUE", help="repeat it")
    group.add_argument("--ca", metavar="FILE", help="the CA of https URLs, PEM")
    group.add_argument("--client-cert", metavar="FILE", help="a client's certificate and key, PEM")
    group.add_argument("--sni", metavar="NAME", help="the name that TLS asks for, where it is not the URL's")
    group.add_argument("--http2", action="store_true", help="speak HTTP/2 to https URLs")
    group.add_argument(
        "--server-from",
        metavar="HOW",
        help="who answered: header:NAME, body:REGEX, or table (the servers' own pages, else the table)",
    )
    group.add_argument(
        "--client-made",
        action="store_true",
        help="the verifier makes the sessions; by default servers issue them, as Java applications do",
    )


def bounds(command: argparse.ArgumentParser) -> None:
    """How much, how fast."""
    group = command.add_argument_group("how much")
    group.add_argument("--seed", type=int, help="decides orders and random faults (drawn)")
    group.add_argument("--sessions", type=int, default=Size.sessions, help="sessions in a scenario (%(default)s)")
    group.add_argument("--rate", type=finite, default=5.0, help="requests a second, one by one (%(default)s)")
    group.add_argument("--cap", type=int, default=2000, help="requests in all in a scenario (%(default)s)")
    group.add_argument("--error-rate", type=finite, default=0.2, help="stop at this share of failures (%(default)s)")
    group.add_argument("--settle", type=finite, default=1.0, metavar="S", help="seconds to agree in (%(default)s)")
    group.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="(%(default)s)")


def breaking(command: argparse.ArgumentParser) -> None:
    """What may be broken."""
    group = command.add_argument_group("what may be broken")
    group.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="SCENARIO",
        help="repeat it, or use commas; `guard` is all that the session guard is for",
    )
    group.add_argument("--repeat", type=int, default=1, metavar="R", help="play each so many times (%(default)s)")
    group.add_argument("--destructive", action="store_true", help="inject faults, on the hosts named by --on alone")
    group.add_argument("--on", action="append", default=[], metavar="HOST", help="repeat it, or use commas")
    group.add_argument("--dry-run", action="store_true", help="print every command, and do nothing")
    group.add_argument("--seconds", type=finite, default=Size.seconds, help="of random (%(default)s)")
    group.add_argument(
        "--rows",
        type=int,
        help="further rows in the table under load, taken away at the end (each scenario's own; 0 for none)",
    )
    group.add_argument("--load-rate", type=finite, help="requests a second of load (each scenario's own)")
    group.add_argument(
        "--share-new", type=finite, default=Size.share_new, help="the share of load that begins a session (%(default)s)"
    )
    group.add_argument("--keep-alive", action="store_true", help="connections of the load serve several requests")
    group.add_argument(
        "--dump-interval",
        type=finite,
        metavar="S",
        help="rows that are older than so many seconds, and some more, survive a power cut"
        " (session_guard_dump_interval of the inventory)",
    )
    group.add_argument("--junit", type=Path, metavar="FILE", help="one JUnit file for all scenarios")
    group.add_argument("--json", type=Path, metavar="FILE", help="one JSON file with the figures over all repeats")


def finite(text: str) -> float:
    """Reads a number; ValueError where it is none, or no end.

    Raises:
        ValueError: `nan`, `inf`, or no number at all.
    """
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def listed(words: Sequence[str]) -> list[str]:
    """Returns the words of a repeated option, commas split."""
    return [part for word in words for part in word.split(",") if part]


def topology(options: argparse.Namespace) -> Topology:
    """Reads the topology that the options name.

    Raises:
        BadUse: none is named, or it can't be read.
    """
    if bool(options.inventory) == bool(options.topology):
        raise BadUse("name the balancers, by -i INVENTORY or by --topology FILE")
    return load(options.topology) if options.topology else topology_of(options.inventory, options.backend)


def lone_topology(options: argparse.Namespace) -> Topology:
    """Reads which balancers to look at; the service stays unknown unless a topology file tells it.

    Raises:
        BadUse: none is named, or two ways at once.
    """
    if sum(map(bool, (options.inventory, options.topology, options.balancer))) != 1:
        raise BadUse("name the balancers one way: -i INVENTORY, --topology FILE, or --balancer HOST")
    if options.topology:
        return load(options.topology)
    found: tuple[Balancer, ...] = (
        tuple(map(balancer_from, options.balancer))
        if options.balancer
        else balancers_of(options.inventory, options.group)
    )
    if options.socket:
        found = tuple(msgspec.structs.replace(balancer, socket=options.socket) for balancer in found)
    return Topology(balancers=found)


def settings(options: argparse.Namespace, arguments: Sequence[str], known: Topology | None = None) -> Settings:
    """Makes a run's settings.

    Args:
        options: what was parsed.
        arguments: the command line.
        known: a topology that is known already.

    Raises:
        BadUse: an option has no sense, or the topology lacks what a run needs.
    """
    found = known or topology(options)
    if found.service is None:
        raise BadUse("the topology names no service: use an inventory, or a topology file that has one")
    service = msgspec.structs.replace(
        found.service,
        path=options.path or found.service.path,
        login_path=options.login_path or found.service.login_path,
    )
    found = msgspec.structs.replace(found, service=service)
    names = {balancer.name for balancer in found.balancers}
    urls = dict(_pair(word, "=", "--url", "BALANCER=URL") for word in options.url)
    if options.settle <= 0:
        raise BadUse(f"--settle {options.settle:g} is no time: give seconds, more than 0")
    on = frozenset(listed(getattr(options, "on", [])))
    everything = names | {host.name for host in found.web_hosts}
    _known("--url", urls, names)
    balancers = tuple(msgspec.structs.replace(known, url=urls.get(known.name, known.url)) for known in found.balancers)
    interval = getattr(options, "dump_interval", None)
    if interval is not None and interval <= 0:
        raise BadUse(f"--dump-interval {interval:g} is no time: give seconds, more than 0")
    if interval is not None:
        found = msgspec.structs.replace(found, dump_interval=interval)
    found = msgspec.structs.replace(found, balancers=balancers)  # a history, and so a later check, knows the URLs
    _known("--on", on, everything)
    return Settings(
        topology=found,
        targets={balancer.name: _target(balancer, service, options) for balancer in found.balancers},
        server_from=ServerFrom.parse(options.server_from) if options.server_from else ServerFrom.default(service),
        issued_by="client" if options.client_made else "server",
        seed=secrets.randbits(32) if options.seed is None else options.seed,
        size=Size(
            sessions=options.sessions,
            seconds=getattr(options, "seconds", Size.seconds),
            load_rate=getattr(options, "load_rate", None),
            rows=getattr(options, "rows", None),
            share_new=getattr(options, "share_new", Size.share_new),
            keep_alive=getattr(options, "keep_alive", False),
        ),
        rate=options.rate,
        cap=options.cap,
        error_rate=options.error_rate,
        settle_ns=int(options.settle * SECOND),
        permission=Permission(destructive=getattr(options, "destructive", False), on=on),
        runs=options.runs,
        arguments=_without_secrets(arguments),
    )


def _without_secrets(arguments: Sequence[str]) -> list[str]:
    """Hides the values of headers, which may be tokens: the words stand in histories and reports."""
    shown, before = [], ""
    for word in arguments:
        secret = before == "--header" or word.startswith("--header=")
        shown.append(f"{word.partition(':')[0]}: (hidden)" if secret else word)
        before = word
    return shown


def _target(balancer: Balancer, service: Service, options: argparse.Namespace) -> Target:
    if not balancer.url:
        raise BadUse(
            f"nobody says where {balancer.name} answers: give it verify_url in the inventory,"
            f" or --url {balancer.name}=URL"
        )
    return Target(
        url=balancer.url,
        cookie=service.cookie,
        path=service.path,
        login_path=service.login_path,
        method=options.method,
        headers=dict(_pair(word, ":", "--header", "NAME: VALUE") for word in options.header),
        ca=options.ca,
        client_cert=options.client_cert,
        sni=options.sni,
        http2=options.http2,
    )


def _pair(word: str, by: str, option: str, form: str) -> tuple[str, str]:
    name, found, value = word.partition(by)
    if not found or not name.strip() or not value.strip():
        raise BadUse(f"{option} {word}: write it as {option} '{form}'")
    return name.strip(), value.strip()


def _known(option: str, given: Iterable[str], allowed: set[str]) -> None:
    for name in sorted(set(given) - allowed):
        raise BadUse(f"{option} {name}: no such host; there are {', '.join(sorted(allowed))}")
