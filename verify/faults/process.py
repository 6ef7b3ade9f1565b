"""Process: faults of a balancer's unit and its processes."""

from typing import ClassVar

from verify.faults.health import in_sync
from verify.faults.injection import UNDO, Command, OnBalancer, given_up, hearers, refuses, watch
from verify.faults.site import Site
from verify.faults.unit import Process, Unit, processes_of
from verify.faults.worker import no_strays
from verify.history import Evidence

RAPID = 5


class OfUnit(OnBalancer):
    """A fault of a balancer's unit; healing starts the unit, which does nothing where it runs."""

    @property
    def unit(self) -> str:
        """The unit's name."""
        return self.site.balancer(self.target).unit

    def healing(self) -> list[Command]:
        """Systemd refuses the sixth start within ten seconds, unless the count is reset."""
        return [(self.target, f"systemctl reset-failed {self.unit} 2>/dev/null; systemctl start {self.unit}")]

    def heal(self) -> list[Evidence]:
        """Starts it."""
        self.run(self.healing())
        return [becomes(self.site, self.target, "active")]

    def _look(self) -> Unit:
        return Unit.of(self.site.hosts[self.target], self.unit)

    def _processes(self) -> list[Process]:
        return unit_processes(self.site, self.target)

    def _worker(self) -> int:
        return int(self.site.apis[self.target].info()["Pid"])

    def _another_worker(self, before: int) -> Evidence:
        def look() -> tuple[bool, str]:
            worker = self._worker()
            return worker != before, f"{before} -> {worker}"

        return watch(f"another worker answers on {self.target}", look)


class Reload(OfUnit):
    """HAProxy starts a new worker, to which the old one hands the tables over."""

    kind: ClassVar = "reload"
    does: ClassVar = "Reloads HAProxy (`systemctl reload`): a new worker beside the old one, under the same master."
    proves_not: ClassVar = (
        "That a reload keeps the tables of a process that is not in sync: nothing waits for that here."
    )

    def injecting(self) -> list[Command]:
        """As an operator does it."""
        return [(self.target, f"systemctl reload {self.unit}")]

    def inject(self) -> list[Evidence]:
        """A reload that restarts is seen by the master's pid."""
        worker, master = self._worker(), self._look().main
        written = "".join(self.run(self.injecting()))
        evidence = [self._another_worker(worker)]
        if master != worker:  # else there is no master
            after = self._look().main
            text = f"{master} -> {after}" if after != master else f"{master}"
            evidence.append(Evidence(what=f"{self.target}'s master stayed", seen=after == master, text=text))
        return [*evidence, *self.more(written)]

    def more(self, written: str) -> list[Evidence]:
        """Returns further evidence, for instance from what the command wrote."""
        return []

    def heal(self) -> list[Evidence]:
        """It is over by itself, but for what connections the old worker has."""
        return [*super().heal(), no_strays(self.site, self.target)]


class RapidReloads(Reload):
    """Reloads in a row, which do not wait for the tables."""

    kind: ClassVar = "rapid-reloads"
    does: ClassVar = f"Reloads HAProxy {RAPID} times in a row, without waiting until it is in sync again."
    proves_not: ClassVar = "That tables survive this: a worker that is reloaded before it is in sync has none to give."

    def __init__(self, site: Site, target: str, bound: int = UNDO, early: bool = False) -> None:
        """With `early` it only counts as seen where the process was not in sync before the first reload."""
        super().__init__(site, target, bound)
        self._early = early

    def injecting(self) -> list[Command]:
        """Systemd has each reload end before the next begins; its start limit does not count them."""
        turns = " ".join(str(number) for number in range(RAPID))
        return [(self.target, f"for turn in {turns}; do systemctl reload {self.unit} && echo reloaded; done")]

    def inject(self) -> list[Evidence]:
        """Whether it is early is looked for right before."""
        if not self._early:
            return super().inject()
        known = bool(in_sync(self.site, self.target))
        text = f"it was {'in sync already' if known else 'not in sync'}"
        early = Evidence(what=f"{self.target} was reloaded before it was in sync", seen=not known, text=text)
        return [early, *super().inject()]

    def more(self, written: str) -> list[Evidence]:
        """All of them have to be done."""
        done = written.count("reloaded")
        return [Evidence(what="every reload was done", seen=done == RAPID, text=f"{done} of {RAPID}")]


class Restart(OfUnit):
    """A cold start: the tables come from the other peers, or from nowhere."""

    kind: ClassVar = "restart"
    does: ClassVar = "Restarts HAProxy (`systemctl restart`): its tables are gone, and learnt from the other peers."
    proves_not: ClassVar = "That the last balancer can be restarted: then there is nobody to learn from."
    takes_away: ClassVar = True

    def injecting(self) -> list[Command]:
        """The count of starts is reset first."""
        return [(self.target, f"systemctl reset-failed {self.unit} 2>/dev/null; systemctl restart {self.unit}")]

    def inject(self) -> list[Evidence]:
        """Every old process is gone."""
        before = self._look()
        pids = {process.pid for process in self._processes()}
        self.run(self.injecting())
        after = self._look()
        started = Evidence(
            what=f"systemd started {self.target}'s unit anew",
            seen=after.invocation != before.invocation,
            text=f"main process {before.main} -> {after.main}",
        )
        return [started, gone(self.site, self.target, f"{self.target}'s old processes are gone", pids)]


class RestartLast(Restart):
    """A cold start with nobody to learn from."""

    kind: ClassVar = "restart-last"
    does: ClassVar = "Restarts HAProxy (`systemctl restart`) on the last balancer that runs: its tables are gone."
    proves_not: ClassVar = "What a restart does while another balancer lives: `restart` does."
    takes_all: ClassVar = True


class ColdStart(RestartLast):
    """The same, to have a process that knows nothing yet: what it lost is not what is to be judged."""

    kind: ClassVar = "cold-start"
    does: ClassVar = (
        "Restarts the last balancer that runs, and does not wait until it is in sync: any session may move."
    )
    proves_not: ClassVar = "That sessions survive the start: only those that are born after it are judged."
    recovers: ClassVar = False
    may_move: ClassVar = True


class Stop(OfUnit):
    """A balancer that is switched off in good order."""

    kind: ClassVar = "stop"
    does: ClassVar = "Stops HAProxy (`systemctl stop`), and starts it again to heal."
    proves_not: ClassVar = "What a crash does: a stop closes connections and tells the peers."
    takes_away: ClassVar = True

    def injecting(self) -> list[Command]:
        """As an operator does it."""
        return [(self.target, f"systemctl stop {self.unit}")]

    def inject(self) -> list[Evidence]:
        """Nothing of it runs, and nobody is served."""
        pids = {process.pid for process in self._processes()}
        heard = hearers(self.site, self.target)
        self.run(self.injecting())
        return [*down(self.site, self.target, pids, "inactive"), *given_up(self.site, self.target, heard)]


class Kill(OfUnit):
    """A crash."""

    kind: ClassVar = "kill"
    does: ClassVar = "Kills all of HAProxy's processes (SIGKILL); systemd starts it again where the unit says so."
    proves_not: ClassVar = "What a power cut does: the kernel lives, and closes the connections of the dead."
    takes_away: ClassVar = True

    def injecting(self) -> list[Command]:
        """The count of starts is reset first, so that systemd's own restart is not refused."""
        line = f"systemctl reset-failed {self.unit} 2>/dev/null; systemctl kill --signal=KILL {self.unit}"
        return [(self.target, line)]

    def inject(self) -> list[Evidence]:
        """Master and workers are gone, and systemd has noticed."""
        before = self._look()
        pids = {process.pid for process in self._processes()}
        self.run(self.injecting())

        def noticed() -> tuple[bool, str]:
            now = self._look()
            return now.main != before.main, f"{now.active}, main process {before.main} -> {now.main}"

        return [
            gone(self.site, self.target, f"{self.target}'s master and workers are gone", pids),
            watch(f"systemd knows that {self.target}'s master is gone", noticed),
        ]


class Pause(OfUnit):
    """A balancer that hangs, and goes on as if nothing had been."""

    kind: ClassVar = "pause"
    does: ClassVar = "Stops HAProxy's processes (SIGSTOP) until the peers give it up, and lets them go on to heal."
    proves_not: ClassVar = "What a host that hangs does: the kernel still accepts connections, up to the backlog."
    takes_away: ClassVar = True
    seen_by_peers: ClassVar = True

    def injecting(self) -> list[Command]:
        """Without --kill-whom, that is master and workers."""
        return [(self.target, f"systemctl kill --signal=STOP {self.unit}")]

    def healing(self) -> list[Command]:
        """They go on where they were."""
        return [(self.target, f"systemctl kill --signal=CONT {self.unit}")]

    def inject(self) -> list[Evidence]:
        """All are stopped."""
        heard = hearers(self.site, self.target)
        self.run(self.injecting())
        return [self._stopped(True), *given_up(self.site, self.target, heard)]

    def heal(self) -> list[Evidence]:
        """None is stopped."""
        self.run(self.healing())
        return [self._stopped(False)]

    def _stopped(self, wanted: bool) -> Evidence:
        def look() -> tuple[bool, str]:
            states = {process.pid: process.state for process in self._processes()}
            text = ", ".join(f"{pid} is {state}" for pid, state in states.items()) or "no process"
            return bool(states) and all(("T" in state) == wanted for state in states.values()), text

        return watch(f"{self.target}'s processes are {'stopped' if wanted else 'running'}", look)


def unit_processes(site: Site, name: str) -> list[Process]:
    """Returns the processes of a balancer's unit.

    Raises:
        HostError: the host can't be asked.
    """
    return processes_of(site.hosts[name], site.balancer(name).unit)


def becomes(site: Site, name: str, state: str) -> Evidence:
    """Waits until a balancer's unit is in a state."""

    def look() -> tuple[bool, str]:
        active = Unit.of(site.hosts[name], site.balancer(name).unit).active
        return active == state, active

    return watch(f"{name}'s unit is {state}", look)


def gone(site: Site, name: str, what: str, pids: set[int]) -> Evidence:
    """Waits until processes of a balancer's unit are gone; `what` says which."""

    def look() -> tuple[bool, str]:
        left = pids & {process.pid for process in unit_processes(site, name)}
        return not left, f"{_listed(left)} still there" if left else f"{_listed(pids)} gone"

    return watch(what, look)


def down(site: Site, name: str, pids: set[int], state: str) -> list[Evidence]:
    """Waits until nothing of a balancer runs and nobody is served: not `pids`, and its unit is in `state`."""
    evidence = [becomes(site, name, state), gone(site, name, f"{name}'s processes are gone", pids)]
    url = site.balancer(name).url
    return [*evidence, refuses(url)] if url else evidence


def _listed(pids: set[int]) -> str:
    return ", ".join(str(pid) for pid in sorted(pids)) or "none"
