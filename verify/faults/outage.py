"""Outage: faults of all balancers at once. None serves while they last: no random choice draws them."""

import shlex
from itertools import combinations
from typing import ClassVar

from verify.faults.injection import Command, Injection
from verify.faults.process import becomes, down, gone, unit_processes
from verify.faults.site import Site
from verify.faults.unit import Unit
from verify.history import Evidence

ALL = "all balancers"

# Between a dump and the next one there are the timer's jitter and the time that a dump takes.
JITTER, SLACK = 1.25, 5.0  # of the interval; seconds


class Outage(Injection):
    """A fault of all balancers, each by a command of its own, the first balancer first."""

    takes_away: ClassVar = True
    takes_all: ClassVar = True

    @classmethod
    def choices(cls, site: Site) -> list[str]:
        """There is one target."""
        return [ALL]

    @property
    def targets(self) -> list[str]:
        """All balancers."""
        return self.site.balancers

    @property
    def disturbs(self) -> list[str]:
        """All balancers."""
        return self.site.balancers

    @property
    def parts(self) -> list[tuple[str, str]]:
        """All pairs of them."""
        return list(combinations(self.site.balancers, 2))

    def healing(self) -> list[Command]:
        """All are started at once: none is waited for before the next one."""
        return [(name, f"systemctl reset-failed {unit} 2>/dev/null; {self.starts(unit)}") for name, unit in self.units]

    def starts(self, unit: str) -> str:
        """Returns the shell command that starts a unit."""
        return f"systemctl start --no-block {unit}"

    def heal(self) -> list[Evidence]:
        """Each unit is active."""
        self.run(self.healing())
        return [becomes(self.site, name, "active") for name in self.targets]

    @property
    def units(self) -> list[tuple[str, str]]:
        """Each balancer with its unit's name."""
        return [(name, self.site.balancer(name).unit) for name in self.site.balancers]

    def pids(self) -> dict[str, set[int]]:
        """Returns the units' processes, by balancer.

        Raises:
            HostError: a host can't be asked.
        """
        return {name: {process.pid for process in unit_processes(self.site, name)} for name in self.targets}


class StopAll(Outage):
    """Both are rebooted."""

    kind: ClassVar = "stop-all"
    does: ClassVar = "Stops HAProxy on all balancers (`systemctl stop`), and starts all at once to heal."
    proves_not: ClassVar = (
        "What a host's shutdown does: other units live, and the order in which they stop is not tried."
    )

    def injecting(self) -> list[Command]:
        """As a shutdown does it."""
        return [(name, f"systemctl stop {unit}") for name, unit in self.units]

    def inject(self) -> list[Evidence]:
        """Nothing of any runs, and nobody is served."""
        pids = self.pids()
        self.run(self.injecting())
        return [known for name in self.targets for known in down(self.site, name, pids[name], "inactive")]


class RestartAll(Outage):
    """The package manager restarts one after the other."""

    kind: ClassVar = "restart-all"
    does: ClassVar = "Restarts HAProxy on one balancer after the other, without waiting until the first is in sync."
    proves_not: ClassVar = "What a new version of HAProxy does: the same one starts again."

    def injecting(self) -> list[Command]:
        """As a package's script does it; the count of starts is reset first."""
        return [
            (name, f"systemctl reset-failed {unit} 2>/dev/null; systemctl restart {unit}") for name, unit in self.units
        ]

    def inject(self) -> list[Evidence]:
        """Every unit is started anew, and the old processes are gone."""
        before = {name: Unit.of(self.site.hosts[name], unit) for name, unit in self.units}
        pids = self.pids()
        self.run(self.injecting())
        evidence = []
        for name, unit in self.units:
            after = Unit.of(self.site.hosts[name], unit)
            anew = after.invocation != before[name].invocation
            text = f"main process {before[name].main} -> {after.main}"
            evidence.append(Evidence(what=f"systemd started {name}'s unit anew", seen=anew, text=text))
            evidence.append(gone(self.site, name, f"{name}'s old processes are gone", pids[name]))
        return evidence


class PowerCut(Outage):
    """All die at once, and no hook of the unit is run."""

    kind: ClassVar = "power-cut"
    does: ClassVar = (
        "Kills HAProxy's processes on all balancers (SIGKILL), without restart and hooks; heals by a start."
    )
    proves_not: ClassVar = "What a disk loses that was not written yet: the kernel lives, and the hosts stay up."

    @property
    def spares(self) -> float | None:
        """Rows that are older than the way from one dump to the next."""
        return self.site.topology.dump_interval * JITTER + SLACK

    def injecting(self) -> list[Command]:
        """Systemd would start it again, and run ExecStop for a unit that died: that is switched off first."""
        dropped = r"[Service]\nRestart=no\nExecStop=\nExecStopPost=\n"
        return [
            (
                name,
                f"mkdir -p {self._folder(unit)} && printf {shlex.quote(dropped)} > {self._file(unit)}"
                f" && systemctl daemon-reload && systemctl kill --signal=KILL {unit}",
            )
            for name, unit in self.units
        ]

    def starts(self, unit: str) -> str:
        """The unit is first as it was."""
        away = f"rm -f {self._file(unit)}; rmdir {self._folder(unit)} 2>/dev/null; systemctl daemon-reload"
        return f"{away}; {super().starts(unit)}"

    def inject(self) -> list[Evidence]:
        """Nothing of any runs, systemd leaves it at that, and nobody is served."""
        pids = self.pids()
        self.run(self.injecting())
        return [known for name in self.targets for known in down(self.site, name, pids[name], "failed")]

    @staticmethod
    def _folder(unit: str) -> str:
        return f"/run/systemd/system/{unit.removesuffix('.service')}.service.d"

    def _file(self, unit: str) -> str:
        return f"{self._folder(unit)}/zz-sticky-verify.conf"
