"""Budget: how many requests a run may send, how fast, and how many of them may fail."""

import threading
import time
from collections import deque

from verify.errors import BadUse, BudgetSpent
from verify.history import Outcome

LOOK_BACK = 20  # requests over which the share of failures is taken


class Budget:
    """Paces requests and ends a run that harms; thread-safe."""

    def __init__(self, rate: float, cap: int, error_rate: float) -> None:
        """Sets the bounds.

        Args:
            rate: requests a second.
            cap: requests in all.
            error_rate: the share of failed requests, 0 to 1, among the last twenty, that ends the
                run. Those in a window that the scenario declares do not count.

        Raises:
            BadUse: a bound that makes no sense.
        """
        if rate <= 0:
            raise BadUse(f"--rate {rate:g} sends nothing: give requests a second, more than 0")
        if cap < 1:
            raise BadUse(f"--cap {cap} sends nothing: give a number of requests, 1 or more")
        if not 0 < error_rate <= 1:
            raise BadUse(f"--error-rate {error_rate:g} is no share: give more than 0, up to 1")
        self.cap, self.error_rate = cap, error_rate
        self._distance = 1 / rate
        self._next = time.monotonic()
        self._recent: deque[bool] = deque(maxlen=LOOK_BACK)
        self._lock = threading.Lock()
        self.ok = self.fail = self.info = 0

    @property
    def spent(self) -> int:
        """How many requests were counted."""
        return self.ok + self.fail + self.info

    def take(self) -> float:
        """Waits for the next request's turn; returns the monotonic time, in seconds, of that turn.

        Raises:
            BudgetSpent: the cap is reached, or too many requests failed.
        """
        with self._lock:
            self._check()
            turn = max(self._next, time.monotonic())
            self._next = turn + self._distance
        time.sleep(max(0.0, turn - time.monotonic()))
        return turn

    def count(self, outcome: Outcome, excused: bool) -> None:
        """Counts a request that ended; `excused` is one in a declared window."""
        with self._lock:
            setattr(self, outcome, getattr(self, outcome) + 1)
            if not excused:
                self._recent.append(outcome != "ok")

    def _check(self) -> None:
        if self.spent >= self.cap:
            raise BudgetSpent(f"stopped at the cap of {self.cap} requests: raise it with --cap")
        failed = sum(self._recent)
        if len(self._recent) == LOOK_BACK and failed > self.error_rate * LOOK_BACK:
            raise BudgetSpent(
                f"stopped because {failed} of the last {LOOK_BACK} requests failed (--error-rate {self.error_rate:g})"
            )
