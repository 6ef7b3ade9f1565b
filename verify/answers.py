"""Invariants: what must hold of the answers. Pure: answers in, reasons out; no reason means held.

A backend is the N of "Backend N", None where a request got no such answer. An answer is a pair of
a session's label and a backend.
"""

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import TypeVar

KEY_LENGTH = 32  # the demo's table keeps so many characters of a session (stick-table's `len`)

Answers = Sequence[tuple[str, int | None]]
Key = TypeVar("Key", bound=Hashable)


def in_rotation(backends: Sequence[int | None], rotation: Sequence[int]) -> bool:
    """Whether each answer is the round-robin successor of the one before.

    Args:
        backends: in the order in which they answered.
        rotation: the order in which the balancer deals out its servers. It is that of the
            configuration only as long as no server was down.
    """
    successor = dict(zip(rotation, [*rotation[1:], *rotation[:1]], strict=True))
    known = [backend for backend in backends if backend is not None]
    return len(known) == len(backends) and all(after == successor.get(before) for before, after in pairwise(known))


def not_in_turn(backends: Sequence[int | None], rotation: Sequence[int]) -> list[str]:
    """New sessions are spread over the servers in turn."""
    if in_rotation(backends, rotation):
        return []
    return [f"new sessions were not spread in turn ({_row(rotation)}): {_row(backends)}"]


def followed_own_turn(backends: Sequence[int | None], rotation: Sequence[int]) -> list[str]:
    """A replay must not look like a balancer that knows nothing and deals out its own turns."""
    if not in_rotation(backends, rotation):
        return []
    return [f"the answers are the balancer's own rotation, which proves nothing: {_row(backends)}"]


def order_off_rotation(homes: Mapping[Key, int], rotation: Sequence[int]) -> list[Key]:
    """Returns the sessions in an order whose right answers can't be a rotation.

    That is the reverse of how they were planted, or, where this is a rotation too (as it is over
    two servers), those of one server together.
    """
    order = list(homes)[::-1]
    if in_rotation([homes[key] for key in order], rotation):
        order.sort(key=lambda key: homes[key])
    if in_rotation([homes[key] for key in order], rotation):
        order.reverse()
    return order


def moved(homes: Mapping[str, int], answers: Answers) -> list[str]:
    """Each session is answered by the backend that it was planted on.

    Args:
        homes: the backend of each session, by label.
        answers: what the sessions were answered afterwards; none at all is a reason.
    """
    reasons = [] if answers else ["no session was asked"]
    for label, backend in answers:
        if backend is None:
            reasons.append(f"session {label} got no backend's answer")
        elif label not in homes:
            reasons.append(f"session {label} was never planted")
        elif backend != homes[label]:
            reasons.append(f"session {label} moved from backend {homes[label]} to {backend}")
    return reasons


def not_issued(cookies: Sequence[str | None]) -> list[str]:
    """Every login issues a session of its own, which fits into the table's key."""
    reasons = []
    for cookie in cookies:
        if not cookie:
            reasons.append("a login issued no session")
        elif len(cookie) > KEY_LENGTH:
            reasons.append(
                f"the issued session {cookie} has {len(cookie)} characters, more than the"
                f" {KEY_LENGTH} that the table keeps"
            )
    if len(set(cookies)) < len(cookies):
        reasons.append(f"two logins were issued the same session: {cookies[0]}")
    return reasons


def missing(bindings: Mapping[str, str | None], balancer: str) -> list[str]:
    """A balancer's table has a row for each session.

    Args:
        bindings: the server of each session, None for a session without a row.
        balancer: whose table it is, for the reason.
    """
    lost = [label for label, server in bindings.items() if server is None]
    return [f"{balancer} has no row for {', '.join(lost)}"] if lost else []


def unequal(first: Mapping[str, str | None], second: Mapping[str, str | None]) -> list[str]:
    """Two tables bind the same sessions to the same servers; both being empty is a reason."""
    reasons = [] if first or second else ["there is no session to compare"]
    for label in dict.fromkeys([*first, *second]):
        here, there = first.get(label), second.get(label)
        if here is None or there is None or here != there:
            reasons.append(f"session {label} is bound to {here or 'none'} and {there or 'none'}")
    return reasons


def _row(backends: Sequence[int | None]) -> str:
    return " ".join("-" if backend is None else str(backend) for backend in backends)
