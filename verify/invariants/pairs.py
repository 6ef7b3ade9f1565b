"""Pairs: each known operation with the predecessors that it is compared with (see `course`)."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from verify.history import Fault, History, Operation
from verify.invariants.circumstances import Circumstances
from verify.invariants.course import Course
from verify.invariants.invariant import Tally, count, listed, seconds
from verify.verdict import Violation


@dataclass(slots=True)
class Pair:
    """An operation and one of its predecessors.

    Attributes:
        before: the predecessor.
        after: the operation.
        faults: those that lie across the two.
    """

    before: Operation
    after: Operation
    faults: list[Fault]
    _course: Course
    _places: tuple[int, int] | None  # None: closer than the settle time

    @property
    def own(self) -> bool:
        """Whether both were on the same balancer."""
        return self.before.balancer == self.after.balancer

    @property
    def parted_only(self) -> bool:
        """Whether nothing lies across the two but that their balancers did not hear each other."""
        only_parts = self._course.circumstances.only_parts
        return all(only_parts(fault, self.before.balancer, self.after.balancer) for fault in self.faults)

    @property
    def held(self) -> bool | None:
        """Whether the session stayed where it was; None: nothing can be said."""
        return self._course.held(*self._places) if self._places else None

    def violation(self) -> Violation:
        """Tells that the session moved."""
        p, q = self.before, self.after
        text = (
            f"{p.session} was on {p.server} ({p.balancer}, {seconds(p.sent_ns)})"
            f" and then on {q.server} ({q.balancer}, {seconds(q.sent_ns)})"
        )
        if self.faults:
            text += f", across {listed([told(fault) for fault in self.faults])}"
        return Violation(
            text=text,
            session=p.session,
            operations=[p.index, q.index],
            faults=[fault.id for fault in self.faults],
            cause=self._course.circumstances.cause(self.faults, q.sent_ns),
        )

    def count(self, tally: Tally) -> bool | None:
        """Counts what `held` says in a tally, and returns it."""
        held = self.held
        if held is None:
            tally.unjudged += 1
        elif held:
            tally.judged += 1
        else:
            tally.violate(self.after.sent_ns, 2, self.violation)
        return held


def courses(history: History) -> dict[str, Course]:
    """Returns the course of each session that was asked for, by its label."""
    operations: dict[str, list[Operation]] = defaultdict(list)
    for operation in history.operations:
        if operation.session is not None and operation.outcome != "fail":
            operations[operation.session].append(operation)
    circumstances = Circumstances(history)
    return {session: Course(found, circumstances) for session, found in operations.items()}


def pairs(history: History) -> Iterator[Pair]:
    """Yields the pairs of all known operations, an operation's own pair before the other."""
    for course in courses(history).values():
        across = course.circumstances.across
        for place, after in enumerate(course.operations):
            if not after.known:
                continue
            own, other, unsettled = course.predecessors(after, place)
            for found, settled in ((own, True), (other, True), (unsettled, False)):
                if found is not None:
                    before = course.operations[found]
                    faults = across(before.sent_ns, after.done_ns)
                    yield Pair(before, after, faults, course, (found, place) if settled else None)


def told(fault: Fault) -> str:
    """Returns how a fault is called in a sentence: `fault 2 (reload on haproxy-1)`."""
    where = f" on {listed(fault.hosts)}" if fault.hosts else ""
    return f"fault {fault.id} ({fault.kind}{where})"


def moved(tally: Tally, noun: str, where: str) -> str:
    """Returns how many pairs' sessions moved, for a summary."""
    text = f"{tally.violated} of {count(tally.judged, noun)} {where} changed the server"
    return f"{text}; {tally.unjudged} could not be judged" if tally.unjudged else text
