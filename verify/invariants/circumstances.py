"""Circumstances: the faults that lie across a stretch of time, and what they excuse."""

from collections import defaultdict

from verify.history import Fault, History, Operation

NEVER = 2**63 - 1  # ns: later than anything

# At these faults a new process takes over, and HAProxy lets it answer before it has learnt its tables.
NEW_WORKER = frozenset({"reload", "rapid-reloads", "reload-config", "reload-config-remove", "kill", "restart", "stop"})
# At these it has nobody to learn them from, or may not have.
LAST = frozenset({"restart-last", "cold-start", "restart-all", "stop-all", "power-cut"})
_CAUSE = "as far as its time tells, a known loss of HAProxy's own: {} (docs/verdicts.md#losses-of-haproxys-own)"
CAUSES = dict.fromkeys(NEW_WORKER, _CAUSE.format("a new worker answers before its tables have arrived"))
CAUSES |= dict.fromkeys(LAST, _CAUSE.format("tables live in processes, and no other one had them"))


class Circumstances:
    """The faults of a history, ready to be asked about times.

    A fault lasts from its injection to the end of its healing; until the settle time after that it
    still *lies across*: what it did may still be on its way. Stretches are closed at both ends.
    """

    def __init__(self, history: History) -> None:
        """Sorts the faults of `history`."""
        self.settle_ns = history.header.settle_ns
        self._faults = sorted(history.faults, key=lambda fault: (fault.injected_ns, fault.id))
        self._latest_end: list[int] = []  # of all faults up to this one
        self._clearing: list[Fault] = []
        self._down: dict[str, list[Fault]] = defaultdict(list)
        self._partings: dict[tuple[str, str], list[Fault]] = defaultdict(list)
        for fault in self._faults:
            self._latest_end.append(max([self.over(fault), *self._latest_end[-1:]]))
            if fault.may_move or fault.spares_ns is not None:
                self._clearing.append(fault)
            for server in fault.moves:
                self._down[server].append(fault)
            for one, other in dict.fromkeys(tuple(sorted(pair)) for pair in fault.parts):
                self._partings[one, other].append(fault)
                self._partings[other, one].append(fault)

    def over(self, fault: Fault) -> int:
        """Returns when all that a fault did has settled, `NEVER` if it was not healed."""
        return NEVER if fault.healed_ns is None else fault.healed_ns + self.settle_ns

    def across(self, from_ns: int, until_ns: int) -> list[Fault]:
        """Returns the faults that lie across a stretch, in the order of their injection."""
        found: list[Fault] = []
        for fault, latest_end in zip(reversed(self._faults), reversed(self._latest_end), strict=True):
            if latest_end < from_ns:
                break
            if fault.injected_ns <= until_ns and self.over(fault) >= from_ns:
                found.append(fault)
        return found[::-1]

    def cleared(self, from_ns: int, until_ns: int, bound_ns: int) -> bool:
        """Whether a fault lasted in a stretch that may move a session which was bound at `bound_ns`."""
        return any(
            _lasted(fault, from_ns, until_ns)
            and (fault.spares_ns is None or bound_ns > fault.injected_ns - fault.spares_ns)
            for fault in self._clearing
        )

    def down(self, server: str, from_ns: int, until_ns: int) -> bool:
        """Whether a fault that may move the sessions of `server` lasted in a stretch."""
        return any(_lasted(fault, from_ns, until_ns) for fault in self._down.get(server, ()))

    def known_at(self, operation: Operation, balancer: str) -> int:
        """Returns when `balancer` knows what `operation` came to.

        That is the settle time after its answer; or after the healing, if the two balancers were
        parted before it had passed.
        """
        if balancer == operation.balancer:
            return operation.done_ns
        at = operation.done_ns + self.settle_ns
        for fault in self._partings.get((operation.balancer, balancer), ()):
            if fault.injected_ns <= at and _end(fault) >= operation.sent_ns:
                at = max(at, self.over(fault))
        return at

    def known_everywhere_at(self, operation: Operation) -> int:
        """Returns when every balancer knows what `operation` came to."""
        parted = (self.known_at(operation, other) for one, other in self._partings if one == operation.balancer)
        return max([operation.done_ns + self.settle_ns, *parted])

    def only_parts(self, fault: Fault, one: str, other: str) -> bool:
        """Whether all that a fault does to two balancers is that they don't hear each other."""
        parted = (one, other) in fault.parts or (other, one) in fault.parts
        return parted and not fault.moves and not fault.may_move and fault.kind not in CAUSES

    def cause(self, faults: list[Fault], sent_ns: int) -> str | None:
        """Returns the known loss of HAProxy's own that an answer to a request sent then may be."""
        for fault in faults:
            if fault.kind in CAUSES and fault.injected_ns <= sent_ns <= self.over(fault):
                return CAUSES[fault.kind]
        return None


def _end(fault: Fault) -> int:
    return NEVER if fault.healed_ns is None else fault.healed_ns


def _lasted(fault: Fault, from_ns: int, until_ns: int) -> bool:
    return fault.injected_ns <= until_ns and _end(fault) >= from_ns
