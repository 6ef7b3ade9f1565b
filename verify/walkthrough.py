"""WalkThrough: the demo's story, in six steps, on two balancers."""

import hashlib
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from verify import invariants
from verify.errors import VerifyError, WaitTimeout
from verify.node import ROWS, Node, Session
from verify.step import Step, Teller
from verify.waiting import wait_for

DEFAULT_TABLE = "back-session"


class WalkThrough:
    """The story; `play` it once.

    Attributes:
        steps: those that were played.
        homes: the backend of each planted session.
        answers: how many requests a backend answered.
    """

    def __init__(self, first: Node, second: Node, teller: Teller, seed: int, table: str | None = None) -> None:
        """Looks at both balancers, and plants nothing yet.

        Args:
            first: the story's balancer 1.
            second: its balancer 2, which is stopped and started once.
            teller: hears the story.
            seed: decides the sessions and the order of the replays.
            table: the stick table; None for the one that the peers share.

        Raises:
            VerifyError: a balancer can't be looked at, or nothing could be proved on them.
        """
        self.first, self.second = first, second
        self.steps: list[Step] = []
        self.homes: dict[Session, int] = {}
        self.answers = 0
        self._teller = teller
        self._random = random.Random(seed)
        self._salt = f"{self._random.getrandbits(128):032x}"
        self._table = table or _shared_table(first)
        for node in (first, second):
            node.client.ask(None)
            if self._table not in {known.name for known in node.api.tables()}:
                raise VerifyError(f"{node.name} has no stick table {self._table}: name it by --table")
        servers = len(first.api.servers(self._table))
        if servers < 2:
            raise VerifyError(f"nothing can be proved over {servers} server: add some")
        for node in (first, second):
            node.await_servers(self._table)
        self._rotation = first.rotation(servers)
        if first.api.rows(self._table, [self._session(1).cookie]):
            raise VerifyError(f"the table knows the sessions of seed {seed} already: use another")

    def play(self) -> None:
        """Plays all six steps; what goes wrong in a step is that step's reason."""
        one, two = self.first.name, self.second.name
        self._play(
            f"Sessions 1-5 on {one}, and again, backwards",
            "New sessions are dealt out in turn, and each stays where it landed.",
            self._same_twice,
        )
        self._play(
            f"Sessions 101-105 on {two}, then backwards on {one}",
            f"{one} follows what {two} learnt, out of its own turn.",
            self._backwards,
        )
        self._play(
            f"Sessions 21-25 on {one}, then shuffled on {two}",
            f"{two} follows what {one} learnt.",
            self._shuffled,
        )
        self._play(
            "Sessions that a backend issued, on both",
            "A session counts from the answer that issues it.",
            self._issued,
        )
        self._play(
            f"{two} stopped, {one} reloaded, {two} started again",
            f"{one}'s table survives its reload with {two} gone, and {two} learns it anew.",
            self._reload_alone,
        )
        self._play(
            "Both tables, side by side",
            "Both balancers bind every session to the same server.",
            self._equal_tables,
        )

    def _play(self, title: str, proves: str, act: Callable[[], list[str]]) -> None:
        step = Step(len(self.steps) + 1, title, proves)
        self.steps.append(step)
        self._teller.begin(step)
        try:
            step.reasons = act()
        except VerifyError as error:
            step.reasons = [str(error)]
        self._teller.end(step)

    # The steps. Each returns its reasons.

    def _same_twice(self) -> list[str]:
        sessions = self._sessions(1, 5)
        planted = self._plant(self.first, sessions)
        turn = invariants.not_in_turn([backend for _, backend in planted], self._rotation)
        return turn + self._replay_backwards(self.first, sessions)

    def _backwards(self) -> list[str]:
        sessions = self._sessions(101, 105)
        self._plant(self.second, sessions)
        return self._replay_backwards(self.first, sessions)

    def _shuffled(self) -> list[str]:
        sessions = self._sessions(21, 25)
        self._plant(self.first, sessions)
        return self._replay(self.second, self._shuffle(sessions))

    def _issued(self) -> list[str]:
        logins = [self.first.client.ask(None, "/login") for _ in range(2)]
        if reasons := invariants.not_issued([login.issued for login in logins]):
            return reasons
        sessions = [Session(f"login{n}", login.issued or "") for n, login in enumerate(logins, 1)]
        pairs = zip(sessions, (login.backend for login in logins), strict=True)
        self._heard(self.first, pairs, planted=True)
        return [reason for node in (self.second, self.first) for reason in self._replay(node, sessions * 3)]

    def _reload_alone(self) -> list[str]:
        sessions = list(self.homes)
        if not sessions:
            return ["not played: no session was planted"]
        for node in (self.first, self.second):
            node.await_sync(self._table)
        try:
            self._teller.line(self.second.stop())
            # A process that is not in sync has nothing to teach its successor.
            self.first.await_sync(self._table)
            self._teller.line(self.first.reload())
            reasons = self._replay(self.first, self._shuffle(sessions))
            if (unit := self.second.unit()) != "inactive":
                reasons.append(f"{self.second.name} was {unit} too early, and may have taught")
        finally:
            self._teller.line(self.second.start())
        return reasons + self._replay(self.second, self._shuffle(sessions))

    def _equal_tables(self) -> list[str]:
        tables: list[dict[str, str | None]] = [{}, {}]

        def equal() -> bool:
            nodes = (self.first, self.second)
            tables[:] = [node.bindings(self._table, self.homes) for node in nodes]
            return not invariants.unequal(*tables)

        with suppress(WaitTimeout):  # the last look is judged
            wait_for("equal tables", equal, ROWS)
        self._teller.line(f"{'session':<9}{self.first.name:<18}{self.second.name}")
        for label in tables[0]:
            here, there = (table[label] or "-" for table in tables)
            self._teller.line(f"{label:<9}{here:<18}{there}")
        return invariants.unequal(*tables)

    # What the steps are made of.

    def _session(self, number: int) -> Session:
        text = f"{self._salt}_{number}"
        return Session(f"{number:05d}", hashlib.md5(text.encode()).hexdigest())

    def _sessions(self, first: int, last: int) -> list[Session]:
        return [self._session(number) for number in range(first, last + 1)]

    def _shuffle(self, sessions: Sequence[Session]) -> list[Session]:
        return self._random.sample(sessions, len(sessions))

    def _plant(self, node: Node, sessions: Iterable[Session]) -> list[tuple[str, int | None]]:
        """Asks for the first time: where a session lands is its home."""
        return self._heard(node, ((session, node.backend(session)) for session in sessions), planted=True)

    def _replay_backwards(self, node: Node, sessions: Sequence[Session]) -> list[str]:
        """Asks in an order in which a balancer's own turn can't be right by accident."""
        homes = {session: self.homes[session] for session in sessions if session in self.homes}
        order = invariants.order_off_rotation(homes, self._rotation)
        order += [session for session in sessions if session not in homes]
        return self._replay(node, order, own_turn=False)

    def _replay(self, node: Node, sessions: Sequence[Session], own_turn: bool = True) -> list[str]:
        """Asks again, once the rows are there (a miss would write a row of its own), and judges."""
        reasons = node.lacks(self._table, dict.fromkeys(sessions))
        pairs = ((session, node.backend(session)) for session in sessions)
        answers = self._heard(node, pairs, planted=False)
        homes = {session.label: home for session, home in self.homes.items()}
        wrong = invariants.moved(homes, answers)
        if not own_turn:
            turn = [backend for _, backend in answers]
            wrong += invariants.followed_own_turn(turn, self._rotation)
        return reasons + [f"{node.name}: {reason}" for reason in wrong]

    def _heard(
        self, node: Node, pairs: Iterable[tuple[Session, int | None]], planted: bool
    ) -> list[tuple[str, int | None]]:
        """Tells, counts and returns answers while they come in."""
        self._teller.line(f"{node.name}:")
        answers = []
        for session, backend in pairs:
            known = "no backend's answer" if backend is None else f"Backend {backend}"
            self._teller.line(f"{session.label} - {known}")
            self.answers += backend is not None
            if planted and backend is not None:
                self.homes[session] = backend
            answers.append((session.label, backend))
        return answers


def _shared_table(node: Node) -> str:
    """Returns the one table that the peers share, or the demo's."""
    shared = {table for section in node.api.peers() for table in section.tables}
    if len(shared) == 1 or DEFAULT_TABLE in shared or not shared:
        return shared.pop() if len(shared) == 1 else DEFAULT_TABLE
    raise VerifyError(f"{node.name} shares {', '.join(sorted(shared))}: choose one by --table")
