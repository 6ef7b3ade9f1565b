"""Injection: one fault, with what it runs on which host, how it is healed, and how both are seen."""

import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import ClassVar

from verify.errors import Refused, VerifyError, WaitTimeout
from verify.faults.health import accepts, established
from verify.faults.site import Site
from verify.history import Evidence
from verify.waiting import wait_for

ANYWHERE = frozenset({"container", "vm", "host"})

# Bounds, in seconds. HAProxy gives a silent peer up after 5 to 8 s (src/peers.c: RECONNECT, HEARTBEAT);
# servers are down or up after several intervals of the health check, which a site may have set high.
UNDO = 180
STATE, PEERS, SERVERS = 30.0, 20.0, 60.0

# What a host must have, and the Debian package that has it.
PACKAGES = {
    "systemd-run": "systemd",
    "ps": "procps",
    "nft": "nftables",
    "ss": "iproute2",
    "awk": "mawk",
    "cmp": "diffutils",
}
ALWAYS = ("systemd-run", "ps")

# Asks a runtime API from the host's own shell, so that the armed undo can: one command a connection, as
# 3.0 wants it. `set server` and `clear table` answer nothing when they work; a row that a stream holds
# just now can't be cleared, and is none the worse for it.
_ASK = (
    "import sys, socket as S; "
    'told = [(s := S.socket(S.AF_UNIX), s.settimeout(10), s.connect(sys.argv[1]), s.sendall(c.encode() + b"\\n"),'
    " s.shutdown(S.SHUT_WR), s.makefile().read().strip())[-1] for c in sys.argv[2:]]; "
    'sys.exit("; ".join(text for text in told if text and "in use" not in text) or 0)'
)

Command = tuple[str, str]  # a host's name, and a command line for its shell


class Injection(ABC):
    """A fault for certain targets; nothing happens before `inject`.

    Attributes:
        kind: its name.
        does: one sentence on what it does.
        proves_not: one sentence on what it does not prove.
        possible_on: the kinds of host that it can be injected on.
        tools: commands that its hosts must have.
        takes_away: whether a balancer does not serve while it lasts.
        takes_all: whether it may take away the last one that serves: such a fault is never drawn at random.
        recovers: whether it is waited for until all works again that did before.
        may_move: whether any session may move because of it.
        seen_by_peers: whether only the peers' state shows that it happened.
        spares: rows that are as old as this, in seconds, when it is injected must survive it; None: all of them.
        bound: the seconds after which the host heals itself, counted from the injection; the waits
            for evidence are part of them.
    """

    kind: ClassVar[str]
    does: ClassVar[str]
    proves_not: ClassVar[str]
    possible_on: ClassVar[frozenset[str]] = ANYWHERE
    tools: ClassVar[tuple[str, ...]] = ()
    takes_away: ClassVar[bool] = False
    takes_all: ClassVar[bool] = False
    recovers: ClassVar[bool] = True
    may_move: ClassVar[bool] = False
    seen_by_peers: ClassVar[bool] = False

    def __init__(self, site: Site, target: str, bound: int = UNDO) -> None:
        """`target` is one of `choices`: a balancer's, a server's or a web host's name."""
        self.site, self.target, self.bound = site, target, bound

    @classmethod
    @abstractmethod
    def choices(cls, site: Site) -> list[str]:
        """Returns the targets that a site offers."""

    @property
    def name(self) -> str:
        """Tells it from other faults on the same host: no two of one name last at once."""
        return self.kind

    @property
    def undo(self) -> str:
        """Its name where only letters, digits and `-` will do."""
        return re.sub(r"[^A-Za-z0-9-]", "-", self.name)

    @property
    def targets(self) -> list[str]:
        """The hosts that it is injected on."""
        return [self.target]

    @property
    def disturbs(self) -> list[str]:
        """The balancers on which requests may fail while it lasts."""
        return []

    @property
    def moves(self) -> list[str]:
        """The servers whose sessions may move because of it."""
        return []

    @property
    def parts(self) -> list[tuple[str, str]]:
        """The pairs of balancers that can't hear each other while it lasts."""
        return []

    @property
    def spares(self) -> float | None:
        """The age at which rows are safe from it, in seconds."""
        return None

    @abstractmethod
    def injecting(self) -> list[Command]:
        """Returns what `inject` runs."""

    @abstractmethod
    def healing(self) -> list[Command]:
        """Returns what `heal` runs, and the host itself if the verifier does not: it may run twice."""

    @abstractmethod
    def inject(self) -> list[Evidence]:
        """Injects, and waits until it is seen, each within a bound.

        Raises:
            VerifyError: a command failed.
        """

    @abstractmethod
    def heal(self) -> list[Evidence]:
        """Heals, and waits until it is seen, each within a bound.

        Raises:
            VerifyError: a command failed.
        """

    def commands(self) -> list[Command]:
        """Returns all that is run, in order: injecting, then healing."""
        return [*self.injecting(), *self.healing()]

    def preflight(self) -> None:
        """Looks for what speaks against it on its hosts, such as their kind and lack of tools; changes nothing.

        Raises:
            Refused: it can't be injected here.
            VerifyError: a host can't be asked.
        """
        for name in self.targets:
            host = self.site.hosts[name]
            if host.facts.kind not in self.possible_on:
                possible = " or ".join(sorted(self.possible_on))
                raise Refused(f"{self.kind} is possible on a {possible} only, and {name} is a {host.facts.kind}")
            for tool in (*ALWAYS, *self.tools):
                if not host.run(["/bin/sh", "-c", f"command -v {tool} || :"]).strip():
                    package = PACKAGES.get(tool, tool)
                    raise Refused(f"{name} lacks {tool}, which {self.kind} needs: apt-get install {package}")

    def run(self, commands: list[Command]) -> list[str]:
        """Runs commands, each by its host's shell; returns what they wrote.

        Raises:
            HostError: one of them failed; those after it were not run.
        """
        return [self.site.hosts[host].run(["/bin/sh", "-c", line], seconds=60) for host, line in commands]


class OnBalancer(Injection):
    """A fault of one balancer."""

    @classmethod
    def choices(cls, site: Site) -> list[str]:
        """Returns the balancers' names."""
        return site.balancers

    @property
    def disturbs(self) -> list[str]:
        """The balancer, if it is taken away."""
        return [self.target] if self.takes_away else []

    @property
    def parts(self) -> list[tuple[str, str]]:
        """The balancer and each other one, if it is taken away."""
        return [(self.target, other) for other in self.site.others(self.target)] if self.takes_away else []


def watch(what: str, look: Callable[[], tuple[bool, str]], seconds: float = STATE) -> Evidence:
    """Waits for a state; it is evidence whether it comes or not.

    Args:
        what: the state, as a sentence's beginning.
        look: returns whether the state is there, and what it saw; a `VerifyError` means "not yet".
        seconds: the bound.
    """
    text = ""

    def probe() -> bool:
        nonlocal text
        there, text = look()
        return there

    try:
        wait_for(what, probe, seconds)
    except WaitTimeout as timeout:
        return Evidence(what=what, seen=False, text=f"{text}; {timeout}" if text else str(timeout))
    return Evidence(what=what, seen=True, text=text)


def hearers(site: Site, target: str) -> list[str]:
    """Returns the other balancers that have a peer session with the target just now."""
    found = []
    for other in site.others(target):
        with suppress(VerifyError):  # it is under a fault itself
            found += [other] if site.peer(target) in established(site, other) else []
    return found


def given_up(site: Site, target: str, others: list[str]) -> list[Evidence]:
    """Waits until balancers have given the target up as a peer."""

    def look(other: str) -> tuple[bool, str]:
        heard = established(site, other)
        return site.peer(target) not in heard, f"{other} has sessions with {', '.join(sorted(heard)) or 'nobody'}"

    return [watch(f"{other} has given {target} up", partial(look, other), PEERS) for other in others]


def refuses(url: str) -> Evidence:
    """Waits until a URL's port accepts no connection from here."""

    def look() -> tuple[bool, str]:
        accepted = accepts(url)
        return not accepted, f"it accepts {'connections' if accepted else 'no connection'}"

    return watch(f"{url} serves nobody", look)


def runtime(socket: str, *commands: str) -> str:
    """Returns a shell command that asks a runtime API; it fails with what HAProxy had to object."""
    return shlex.join(["python3", "-c", _ASK, socket, *commands])
