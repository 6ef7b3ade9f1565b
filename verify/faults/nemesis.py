"""Nemesis: injects faults where it is allowed to, heals them whatever happens, and writes both down."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from msgspec.structs import replace

from verify.errors import Refused, VerifyError
from verify.faults.backend import Drain
from verify.faults.cleanup import leftovers, searches
from verify.faults.health import serves, signs, takes_over
from verify.faults.injection import SERVERS, Injection, watch
from verify.faults.site import Site
from verify.history import SECOND, AnyRecord, Cleanup, Evidence, Fault


@dataclass(frozen=True)
class Permission:
    """What the operator allows.

    Attributes:
        destructive: whether any fault may be injected (`--destructive`).
        on: the hosts on which (`--on`).
    """

    destructive: bool = False
    on: frozenset[str] = frozenset()


@dataclass
class Active:
    """A fault that lasts.

    Attributes:
        before: the signs of health from before it.
    """

    injection: Injection
    fault: Fault
    before: set[str] = field(default_factory=set)


class Nemesis:
    """The one who injects. Not thread-safe; faults may be nested and may overlap."""

    def __init__(
        self, site: Site, write: Callable[[AnyRecord], None], now: Callable[[], int], permission: Permission
    ) -> None:
        """Nothing is connected or changed yet.

        Args:
            site: the hosts.
            write: takes the history's records.
            now: gives the nanoseconds since the run began.
            permission: what is allowed.
        """
        self._site, self._write, self._now, self._permission = site, write, now, permission
        self._active: list[Active] = []
        self._injected = 0
        self._drained: set[str] = set()

    def check(self, injections: Sequence[Injection]) -> None:
        """Looks whether faults may and can be injected, each on its own; changes nothing.

        Raises:
            Refused: one must not, or can't; or an earlier run has left something.
            VerifyError: a host can't be asked.
        """
        for injection in injections:
            self._allow(injection)
        for name in self._site.hosts if injections else ():
            for search in leftovers(self._site, name):
                for found in search.look():
                    raise Refused(
                        f"{name}: {found}, which a run has left that goes on or was killed:"
                        " wait until its undo has run, then remove what is left"
                    )

    @contextmanager
    def inject(self, injection: Injection, healed: Callable[[], None] = lambda: None) -> Iterator[Fault]:
        """Injects a fault, and heals it at the end, whatever happens in between.

        Each host is told beforehand how to heal itself, in case the verifier does not.

        Args:
            injection: the fault.
            healed: called when it is healed, before all works again that did before.

        Raises:
            Refused: it must not or can't be injected; nothing was changed.
            VerifyError: a command failed, while injecting or healing.
        """
        self._allow(injection)
        self._injected += 1
        active = Active(injection, self._fault(injection), signs(self._site, self._away()))
        self._active.append(active)
        try:
            for host, command in self._undos(injection):
                self._site.hosts[host].arm(injection.undo, injection.bound, command)
            try:
                active.fault = replace(active.fault, evidence=injection.inject())
            finally:
                self._write(active.fault)
            yield active.fault
        finally:
            try:
                self._heal(active, healed)
            finally:
                self._active.remove(active)

    def search(self) -> None:
        """Searches every host for what faults may leave, and writes down what was found."""
        for name in self._site.hosts:
            found = searches(self._site, name, self._drained)
            texts = [text for search in found for text in search.found()]
            at = self._now()
            self._write(Cleanup(host=name, at_ns=at, searched=[search.what for search in found], found=texts))

    def _fault(self, injection: Injection) -> Fault:
        if isinstance(injection, Drain):
            self._drained.add(injection.target)
        return Fault(
            id=self._injected,
            kind=injection.kind,
            hosts=injection.targets,
            injected_ns=self._now(),
            moves=injection.moves,
            may_move=injection.may_move,
            parts=injection.parts,
            spares_ns=None if injection.spares is None else int(injection.spares * SECOND),
            proves_not=injection.proves_not,
        )

    def _undos(self, injection: Injection) -> list[tuple[str, str]]:
        """Returns one command a host."""
        lines: dict[str, list[str]] = {}
        for host, line in injection.healing():
            lines.setdefault(host, []).append(line)
        return [(host, "; ".join(own)) for host, own in lines.items()]

    def _heal(self, active: Active, over: Callable[[], None]) -> None:
        injection, fault = active.injection, active.fault
        lasted = self._now() - fault.injected_ns
        evidence = list(fault.evidence)
        if lasted > injection.bound * SECOND and self._undos(injection):
            text = f"it was to last {injection.bound} s at most, and healing began after {lasted / SECOND:.0f} s"
            evidence.append(Evidence(what="it lasted until it was healed", seen=False, text=text))
        try:
            healed = injection.heal()
        except VerifyError as error:
            broken = Evidence(what="it was healed", seen=False, text=str(error))
            self._write(replace(fault, evidence=evidence, heal_evidence=[broken]))
            raise
        over()
        again = self._recovered(active) if injection.recovers else []
        self._write(
            replace(fault, evidence=evidence, heal_evidence=[*healed, *again], healed_ns=self._now()),
        )
        if all(known.seen for known in healed):  # else the host's own undo may still help
            for host, _ in self._undos(injection):
                self._site.hosts[host].disarm(injection.undo)

    def _recovered(self, active: Active) -> list[Evidence]:
        """Waits until all works that did before; what later faults still disturb is theirs to show."""
        later = self._active[self._active.index(active) + 1 :]
        if later:
            later[-1].before |= active.before
            return []

        def look() -> tuple[bool, str]:
            missing = active.before - signs(self._site, self._away(active))
            lost = f"not again: {', '.join(sorted(missing))}"
            return not missing, lost if missing else f"all {len(active.before)} signs of health"

        return [watch("all that worked before works again", look, SERVERS)]

    def _allow(self, injection: Injection) -> None:
        what = f"{injection.kind} on {injection.target}"
        choices = injection.choices(self._site)
        if injection.target not in choices:
            raise Refused(f"{what} is impossible: the topology offers {', '.join(choices) or 'no target for it'}")
        if not self._permission.destructive:
            raise Refused(f"{what} is destructive: allow it with --destructive, and name the hosts with --on")
        for host in injection.targets:
            if host not in self._permission.on:
                named = ", ".join(sorted(self._permission.on)) or "no host"
                raise Refused(f"{what} needs leave for {host}: add --on {host} (--on names {named})")
        for other in self._active:
            if other.injection.name == injection.name and set(other.injection.targets) & set(injection.targets):
                raise Refused(f"{what} is going on already: heal it before it is injected again")
        injection.preflight()
        if injection.takes_away and not injection.takes_all:
            self._not_the_last(injection)

    def _away(self, but: Active | None = None) -> set[str]:
        """Returns the balancers that faults have taken away, all faults or all but one."""
        others = [other.injection for other in self._active if other is not but and other.injection.takes_away]
        return {host for injection in others for host in injection.targets}

    def _not_the_last(self, injection: Injection) -> None:
        away = self._away()
        for name in self._site.others(injection.target):
            if name not in away and serves(self._site, name) and takes_over(self._site, name):
                return
        others = ", ".join(self._site.others(injection.target)) or "no other balancer"
        raise Refused(
            f"{injection.kind} would take away {injection.target}, the last balancer that serves:"
            f" of {others} none serves, is in sync and has a server up now; give it company first"
        )
