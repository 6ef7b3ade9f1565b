"""Scenario: what is done to the balancers, and which invariants must hold of it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from verify.cluster import Cluster
from verify.errors import BadUse
from verify.faults import Injection, Site

# What must hold whatever is done; `faults-happened` and `everything-healed` where faults are injected.
ALWAYS = ("observed", "as-intended", "own-row", "one-server-per-session", "balancers-agree", "no-failed-request")
AT_REST = ("tables-equal", "tables-match-answers")
WITH_FAULTS = ("nothing-moves", "faults-happened", "everything-healed")


@dataclass(frozen=True)
class Size:
    """How much a scenario does.

    Attributes:
        sessions: how many are planted.
        seconds: how long those run that run for a time.
        load_rate: requests a second of those with load; None for each scenario's own.
        rows: further rows in the table of those with load: the more there are, the longer a new worker
            answers without them.
    """

    sessions: int = 24
    seconds: float = 30
    load_rate: float | None = None
    rows: int = 0

    def __post_init__(self) -> None:
        """Raises BadUse for what makes no sense."""
        if self.sessions < 4:
            raise BadUse(f"--sessions {self.sessions} proves too little: give 4 or more")
        if self.seconds <= 0:
            raise BadUse(f"--seconds {self.seconds:g} is no time: give more than 0")
        if self.rows < 0:
            raise BadUse(f"--rows {self.rows} can't be: give a number of rows, 0 or more")
        if self.load_rate is not None and self.load_rate <= 0:
            raise BadUse(f"--load-rate {self.load_rate:g} sends nothing: give requests a second, more than 0")


class Scenario(ABC):
    """One scenario; it does, and judging is the invariants' part.

    Attributes:
        name: as it is asked for.
        describes: one sentence on what it does and shows.
        invariants: the names of those that it checks.
        kinds: the kinds of faults that it injects; any make it destructive.
        load_rate: requests a second of its load, where the caller gives none; 0 without load.
        may_lose: whether HAProxy itself is known to lose sessions in it; then it does not run unless
            asked for by name.
        keeps: whether its sessions stay in the tables.
    """

    name: ClassVar[str]
    describes: ClassVar[str]
    invariants: ClassVar[tuple[str, ...]]
    kinds: ClassVar[tuple[str, ...]] = ()
    load_rate: ClassVar[float] = 0
    may_lose: ClassVar[bool] = False
    keeps: ClassVar[bool] = False

    def faults(self, site: Site) -> Sequence[Injection]:
        """Returns the faults that it injects, outermost first.

        Raises:
            BadUse: the topology lacks what it needs, for instance a second balancer.
        """
        return []

    @abstractmethod
    def play(self, cluster: Cluster, size: Size) -> None:
        """Does it."""


def two_balancers(site: Site) -> tuple[str, str]:
    """Returns the names of the first two balancers.

    Raises:
        BadUse: there is one only.
    """
    names = list(site.apis)
    if len(names) < 2:
        raise BadUse(f"the scenario needs two balancers, and the topology has {len(names)}: {', '.join(names)}")
    return names[0], names[1]
