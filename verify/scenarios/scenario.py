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
        rows: further rows in the table of those that fill it: the more there are, the longer a new worker
            answers without them; None for each scenario's own.
        share_new: the share of load, 0 to 1, that begins a session.
        keep_alive: whether connections of the load serve several requests.
    """

    sessions: int = 24
    seconds: float = 30
    load_rate: float | None = None
    rows: int | None = None
    share_new: float = 0.02
    keep_alive: bool = False

    def __post_init__(self) -> None:
        """Raises BadUse for what makes no sense."""
        if self.sessions < 4:
            raise BadUse(f"--sessions {self.sessions} proves too little: give 4 or more")
        if self.seconds <= 0:
            raise BadUse(f"--seconds {self.seconds:g} is no time: give more than 0")
        if not 0 <= self.share_new <= 1:
            raise BadUse(f"--share-new {self.share_new:g} is no share: give 0 to 1")
        if self.rows is not None and self.rows < 0:
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
        writes: whether it writes rows by the runtime API; that needs leave too.
        load_rate: requests a second of its load, where the caller gives none; 0 without load.
        rows: further rows in the table, where the caller gives none.
        may_lose: whether HAProxy itself is known to lose sessions in it; then it does not run unless
            asked for by name.
        group: a name by which it can be asked for together with others.
        keeps: whether its sessions stay in the tables.
    """

    name: str
    describes: str
    invariants: ClassVar[tuple[str, ...]]
    kinds: tuple[str, ...] = ()
    rows: int = 0
    writes: ClassVar[bool] = False
    load_rate: ClassVar[float] = 0
    group: ClassVar[str] = ""
    may_lose: ClassVar[bool] = False
    keeps: ClassVar[bool] = False

    def faults(self, site: Site) -> Sequence[Injection]:
        """Returns the faults that it injects, outermost first.

        Raises:
            BadUse: the topology lacks what it needs, for instance a second balancer.
        """
        return []

    def rate(self, size: Size) -> float:
        """Returns the rate of its load: the caller's, or its own."""
        return size.load_rate or self.load_rate

    def fill(self, cluster: Cluster, size: Size) -> None:
        """Puts rows into the table: the caller's number of them, or its own."""
        cluster.tables.fill(self.rows if size.rows is None else size.rows)

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
