"""Plan: which requests a load makes, and when. Drawn from a seed, before anything is sent. Pure."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from verify.errors import BadUse
from verify.history import SECOND
from verify.target import Target


class Planned(NamedTuple):
    """One request of a plan.

    Attributes:
        after_ns: when it is to be sent, since the load began.
        balancer: which one is asked.
        label: in the name of which session; a label that comes for the first time is a new session's.
    """

    after_ns: int
    balancer: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a load is to be. The same plan makes the same requests, but for the keys of new sessions.

    Attributes:
        targets: how each balancer is asked, by its name; each request asks one of them at random.
        seed: decides which session and which balancer each request takes.
        rate: requests a second, all balancers together; request i is due i / rate after the beginning.
        seconds: how long; None for until it is stopped, or the cap is reached.
        cap: the greatest number of requests.
        sessions: labels and keys of sessions that exist already.
        share_new: the share of requests, 0 to 1, that begin a new session.
        new_labels: how labels of new sessions begin; loads of one history need different ones.
        new_again: seconds until a new session is one to be asked again: when it was answered, every
            balancer has to learn of it, and before that two may choose a server each.
        issued_by: `client`: new sessions bring a key. `server`: they ask `login_path`, and the answer sets it.
        key_length: how many characters of a key the table keeps, None if unknown; for the history.
        keep_alive: whether a connection is used for more than one request.
        connections: the greatest number of connections to one balancer at a time; a request that
            finds none free waits for one, late.
        error_rate: stop where a greater share of requests, 0 to 1, did not succeed; None for never.
        grace: seconds that requests may still take when the load is over.
    """

    targets: dict[str, Target]
    seed: int | str
    rate: float
    seconds: float | None
    cap: int
    sessions: tuple[tuple[str, str], ...] = ()
    share_new: float = 0.0
    new_labels: str = "n"
    new_again: float = 1.0
    issued_by: Literal["client", "server"] = "server"
    key_length: int | None = None
    keep_alive: bool = False
    connections: int = 64
    error_rate: float | None = 0.5
    grace: float = 5.0

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            BadUse: one of them makes no load.
        """
        self._check("rate", self.rate, 0 < self.rate <= 100_000, "give requests a second, more than 0, up to 100000")
        self._check("seconds", self.seconds, self.seconds is None or self.seconds > 0, "give more than 0")
        self._check("cap", self.cap, self.cap >= 1, "give a number of requests, 1 or more")
        self._check("share_new", self.share_new, 0 <= self.share_new <= 1, "give a share, 0 to 1")
        self._check("new_again", self.new_again, self.new_again >= 0, "give seconds, 0 or more")
        self._check("connections", self.connections, self.connections >= 1, "give 1 or more for each balancer")
        limit = self.error_rate
        self._check("error_rate", limit, limit is None or 0 < limit <= 1, "give a share, more than 0, up to 1")
        self._check("grace", self.grace, self.grace >= 0, "give seconds, 0 or more")
        self._check("targets", "{}", bool(self.targets), "give one balancer or more")
        some = bool(self.sessions) or self.share_new > 0
        self._check("sessions", "()", some, "give sessions to ask, or a share_new above 0")
        labels = [label for label, _ in self.sessions]
        self._check("sessions", labels, len(set(labels)) == len(labels), "give each label once")
        for name, target in self.targets.items():
            self._check("http2", f"of {name}", not target.http2, "the load speaks HTTP/1.1 only: leave it out")

    @staticmethod
    def _check(field: str, value: object, good: bool, mend: str) -> None:
        if not good:
            raise BadUse(f"load: {field} {value} can't be: {mend}")

    @property
    def capped(self) -> bool:
        """Whether the cap ends it, and not the time."""
        return self.seconds is None or self.cap < self.seconds * self.rate

    @property
    def length(self) -> float:
        """How long it takes if nothing stops it, in seconds."""
        return self.cap / self.rate if self.seconds is None else min(self.seconds, self.cap / self.rate)

    def requests(self) -> Iterator[Planned]:
        """Returns all requests, in the order of their times."""
        draw = random.Random(self.seed)
        balancers = list(self.targets)
        known = [label for label, _ in self.sessions]
        new: list[tuple[int, str]] = []  # when each begins, and its label
        asked_again = 0  # how many of the new ones stand among the known
        for number in range(self.cap):
            after_ns = int(number * SECOND / self.rate)
            if self.seconds is not None and after_ns >= self.seconds * SECOND:
                return
            while asked_again < len(new) and new[asked_again][0] + self.new_again * SECOND <= after_ns:
                known.append(new[asked_again][1])
                asked_again += 1
            balancer = draw.choice(balancers)
            if draw.random() < self.share_new or not known:
                label = f"{self.new_labels}{len(new) + 1:05d}"
                new.append((after_ns, label))
            else:
                label = draw.choice(known)
            yield Planned(after_ns, balancer, label)
