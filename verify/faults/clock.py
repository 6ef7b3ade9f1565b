"""Clock: faults of a host's wall clock; virtual machines only, because a container shares its host's."""

from typing import ClassVar

from verify.faults.injection import Command, OnBalancer
from verify.history import Evidence

STEP = 300  # seconds
_SAVED = "/run/sticky-verify-clock"


class ClockStep(OnBalancer):
    """A wall clock that jumps, as a wrong time server makes it."""

    kind: ClassVar = "clock-step"
    does: ClassVar = f"Steps a balancer's wall clock {STEP} s ahead, and back to heal."
    proves_not: ClassVar = "What a clock that runs too fast does: rows expire by a clock that only goes on."
    possible_on: ClassVar = frozenset({"vm"})

    def injecting(self) -> list[Command]:
        """What the wall clock was ahead of the uptime is kept: healing needs no time server."""
        ahead = """awk -v now="$(date +%s.%N)" '{ printf "%.3f", now - $1 }' /proc/uptime"""
        return [(self.target, f"{ahead} > {_SAVED} && date --set='{STEP} seconds'")]

    def healing(self) -> list[Command]:
        """It does nothing the second time."""
        now = f"""awk '{{ getline ahead < "{_SAVED}"; printf "%.3f", ahead + $1 }}' /proc/uptime"""
        return [(self.target, f"""[ ! -e {_SAVED} ] || {{ date --set="@$({now})" && rm {_SAVED}; }}""")]

    def inject(self) -> list[Evidence]:
        """The wall clock against the uptime."""
        before = self._ahead()
        self.run(self.injecting())
        return [self._stepped(before, STEP)]

    def heal(self) -> list[Evidence]:
        """The wall clock against the uptime."""
        before = self._ahead()
        self.run(self.healing())
        return [self._stepped(before, -STEP)]

    def _ahead(self) -> float:
        (text,) = self.run([(self.target, """date +%s.%N; cut -d ' ' -f 1 /proc/uptime""")])
        wall, uptime = text.split()
        return float(wall) - float(uptime)

    def _stepped(self, before: float, wanted: int) -> Evidence:
        step = self._ahead() - before
        what = f"{self.target}'s clock was stepped by {wanted} s"
        return Evidence(what=what, seen=abs(step - wanted) < STEP / 2, text=f"{step:.1f} s")
