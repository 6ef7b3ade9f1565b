"""Course: how one session fared, and which servers it could rightly be on.

A session's row on a balancer names the server of the latest request for it, there or on another
balancer. What happened is only known from outside: a request took effect at some time between
`sent` and `done`, and another balancer learnt it at some time before `done` plus the settle time
(`Circumstances.known_at`). So an operation q is compared with its *predecessors*, known operations
that were done before q was sent:

- its *own*: the latest one on the same balancer;
- the *other*: the latest one on another balancer that q's balancer certainly knew when q was
  sent, if it is later than the own one.

Between a predecessor p and q there may be *rivals*: operations that may have taken effect on
either balancer after p did, and before q. They overlap p or q in time, or lie between them, or
were sent before p and not known to p's balancer then: a crossing first use, or what the other side
of a partition did. If q names the server of a rival, it merely followed it, and nothing can be said
of p and q: the rival is judged by predecessors of its own. Of two that overlap and both name a new
server, one moved the session and the other followed. Unless the later one had a right to choose,
the one that was sent first is charged.

After a partition each balancer may thus name the last answer of either side until one of them is
asked, more than the settle time after the healing. From that touch on all must agree with it:
HAProxy pushes a row whenever it is used. This is stricter than to wait until both were touched.

A request of unknown outcome, or of unknown server, is a rival that names any of the servers that
it could rightly have been answered by. One that certainly failed has no effect.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from verify.history import Operation
from verify.invariants.circumstances import Circumstances

# The servers that a session could rightly be on; None: any.
Servers = frozenset[str | None] | None


@dataclass(frozen=True)
class Look:
    """A look at a session's row, which moves nothing: `sent_ns` and `done_ns` are one moment."""

    balancer: str
    sent_ns: int
    done_ns: int


class Course:
    """The operations of one session that may have had an effect, in the order of sending.

    Attributes:
        operations: by `sent_ns` and index.
    """

    def __init__(self, operations: list[Operation], circumstances: Circumstances) -> None:
        """Sorts the operations, which are of one session."""
        self.operations = sorted(operations, key=lambda operation: (operation.sent_ns, operation.index))
        self.circumstances = circumstances
        self._unknown: dict[int, Servers] | None = None
        self._bound: dict[str | None, int] = {}  # when each server's first answer was complete
        for operation in self.operations:
            if operation.known:
                self._bound.setdefault(operation.server, operation.done_ns)

    def predecessors(self, after: Operation | Look, place: int) -> tuple[int | None, int | None, int | None]:
        """Returns the places of an operation's own predecessor, of the other, and of an unsettled one.

        The unsettled one is the latest on another balancer, where `after`'s balancer may not have
        known yet of any that is later than its own predecessor.

        Args:
            after: an operation, not necessarily one of these.
            place: how many of these come before it.
        """
        other = unsettled = None
        for i in range(place - 1, -1, -1):
            before = self.operations[i]
            if before.done_ns > after.sent_ns or not before.known:
                continue
            if before.balancer == after.balancer:
                return i, other, None if other is not None else unsettled
            if other is None:
                if self.circumstances.known_at(before, after.balancer) <= after.sent_ns:
                    other = i
                elif unsettled is None:
                    unsettled = i
        return None, other, None if other is not None else unsettled

    def held(self, before: int, after: int) -> bool | None:
        """Whether the session stayed from one operation to the other; None: nothing can be said.

        Args:
            before: the place of a predecessor of `after`.
            after: the place of a known operation.
        """
        p, q = self.operations[before], self.operations[after]
        if p.server == q.server:
            return True
        if self._cleared(p, q.done_ns) or self._down(p.server, p, q):
            return None
        later = []
        for i in self._rivals(p, q, after):
            if i > after:
                later.append(i)
            elif i not in (before, after) and self._accounts(i, p, q, after):
                return None
        return None if any(self._accounts(i, p, q, after) for i in later) else False

    def _accounts(self, rival: int, p: Operation, q: Operation, after: int) -> bool:
        """Whether a rival explains that q, at the place `after`, is not where p was."""
        servers = self._named(rival, after)
        return servers is None or q.server in servers or any(self._down(server, p, q) for server in servers)

    def last(self, at_ns: int, balancer: str) -> tuple[Operation | None, Servers]:
        """Returns the last known operation that a row read at `at_ns` should show, and what it may show.

        The operation is None where the balancer may not know of any yet; the servers are those that
        rivals account for, None for any, and no row at all too.
        """
        place = bisect_right(self.operations, at_ns, key=lambda operation: operation.sent_ns)
        look = Look(balancer, at_ns, at_ns)
        own, other, unsettled = self.predecessors(look, place)
        last = other if other is not None else own if unsettled is None else None
        return None if last is None else self.operations[last], self._allowed(look, place, place)

    def rested(self, at_ns: int) -> bool:
        """Whether the last request before a moment has settled, and came when all others had.

        Then all balancers have the same row, wherever the session is. A request that nobody
        answered does not count: it may never have arrived.
        """
        place = bisect_right(self.operations, at_ns, key=lambda operation: operation.sent_ns)
        if not place:
            return False
        *others, last = self.operations[:place]
        known_at = self.circumstances.known_everywhere_at
        return (
            last.outcome == "ok"
            and known_at(last) <= at_ns
            and max(map(known_at, others), default=0) <= last.sent_ns
            and not self._cleared(last, at_ns)
        )

    def _allowed(self, after: Operation | Look, place: int, limit: int) -> Servers:
        """Returns the servers that an operation may name, by operations before `limit` alone."""
        own, other, _ = self.predecessors(after, place)
        sets = [self._candidates(i, after, place, limit) for i in (own, other) if i is not None]
        known = [servers for servers in sets if servers is not None]
        return frozenset.intersection(*known) if known else None

    def _candidates(self, before: int, after: Operation | Look, place: int, limit: int) -> Servers:
        """Returns the servers that `after` may name if `before` was its only predecessor."""
        p = self.operations[before]
        if self._cleared(p, after.done_ns) or self._down(p.server, p, after):
            return None
        found = {p.server}
        for i in self._rivals(p, after, place):
            if i < limit and i != before:
                servers = self._named(i, limit)
                if servers is None or any(self._down(server, p, after) for server in servers):
                    return None
                found |= servers
        return frozenset(found)

    def _named(self, rival: int, limit: int) -> Servers:
        """Returns the servers that a rival may have moved the session to.

        One that was sent after the operation at `limit` moved it nowhere unless it may name its
        server by what came before that; else it followed.
        """
        operation = self.operations[rival]
        named = frozenset({operation.server})
        if rival < limit:
            return named if operation.known else self._of_unknown(rival)
        allowed = self._allowed(operation, rival, limit)
        if not operation.known:
            return allowed
        return named if allowed is None or operation.server in allowed else frozenset()

    def _rivals(self, p: Operation, q: Operation | Look, place: int) -> Iterator[int]:
        """Yields the places of all that may account for a move from p to q, the latest first.

        On one balancer those are the operations that were done after p was sent. If there is any on
        another balancer that p's may not have known of by then, the two may have handed on to each
        other whatever had not settled when the earlier one was sent: so all since the session was
        last at rest are rivals. p and q may be among them.
        """
        horizon, elsewhere = p.sent_ns, False
        kept: list[int] = []
        last = bisect_right(self.operations, q.done_ns, lo=place, key=lambda operation: operation.sent_ns)
        for i in range(last - 1, -1, -1):
            if self._all_known_at[i] <= horizon:
                break
            r = self.operations[i]
            if self._known_at[i] > horizon:
                elsewhere = elsewhere or (r.balancer != p.balancer and r is not q)
                if elsewhere:
                    horizon = min(horizon, r.sent_ns)
                if elsewhere or r.done_ns > p.sent_ns:
                    yield i
                    continue
            kept.append(i)
        if elsewhere:
            yield from (i for i in kept if self._known_at[i] > horizon)

    @cached_property
    def _known_at(self) -> list[int]:
        """When each operation is known everywhere."""
        return [self.circumstances.known_everywhere_at(operation) for operation in self.operations]

    @cached_property
    def _all_known_at(self) -> list[int]:
        """When all operations up to each one are known everywhere."""
        return list(accumulate(self._known_at, max))

    def _of_unknown(self, place: int) -> Servers:
        """Returns the servers that the unknown operation at `place` may have been answered by."""
        if self._unknown is None:
            self._unknown = {}
            for i, operation in enumerate(self.operations):  # each needs only those before it
                if not operation.known:
                    self._unknown[i] = self._allowed(operation, i, i)
        return self._unknown[place]

    def _cleared(self, p: Operation, until_ns: int) -> bool:
        """Whether a fault between p and a moment may have taken the row away that p left.

        A fault that spares old rows is asked by the age of the binding, not by that of p: a copy of the
        table that was made before p has it as well.
        """
        return self.circumstances.cleared(p.sent_ns, until_ns, self._bound.get(p.server, p.done_ns))

    def _down(self, server: str | None, p: Operation, q: Operation | Look) -> bool:
        """Whether a server was down for a balancer between p and q, so that q may go anywhere."""
        return server is not None and isinstance(q, Operation) and self.circumstances.down(server, p.sent_ns, q.done_ns)
