"""Steps: what is done in the model. Times are milliseconds."""

from dataclasses import dataclass
from typing import Literal

SETTLE = 100


@dataclass(frozen=True)
class Ask:
    """A request; `wait` is the time since the step before it.

    Attributes:
        inward: how long after sending it takes effect.
        outward: how long after that the answer is complete.
        choice: decides which server a new session gets.
        fate: `ok`; `nameless`: nobody knows who answered; `late`: given up, but it took effect;
            `lost`: given up, without effect; `refused`.
    """

    wait: int
    session: int
    balancer: int
    inward: int = 1
    outward: int = 1
    choice: int = 0
    fate: Literal["ok", "nameless", "late", "lost", "refused"] = "ok"


Kind = Literal[
    "reload", "restart", "kill", "peers-cut", "pause", "isolate", "table-clear", "server-down", "maint", "drain"
]


@dataclass(frozen=True)
class Break:
    """A fault that lasts for `lasts`; `on` is a balancer's number, or a server's. One of a sort at a time."""

    wait: int
    kind: Kind
    on: int
    lasts: int = 10
    notice: int = 0  # how long a health check takes to see a server go or come


@dataclass(frozen=True)
class Read:
    """All tables are read."""

    wait: int


Step = Ask | Break | Read
