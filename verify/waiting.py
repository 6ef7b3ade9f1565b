"""Waiting for a state, with a bound: never for a time."""

import time
from collections.abc import Callable

from verify.errors import VerifyError, WaitTimeout

POLL_SECONDS = 0.05


def wait_for(what: str, probe: Callable[[], bool], seconds: float, poll: float = POLL_SECONDS) -> None:
    """Returns as soon as `probe` is true; a `VerifyError` in it means "not yet".

    Args:
        what: the state, as it shall read in "waited 5 s for ...".
        probe: looks at the state; it is asked at least once.
        seconds: the bound.
        poll: seconds between two looks.

    Raises:
        WaitTimeout: the state did not come about.
    """
    deadline = time.monotonic() + seconds
    while True:
        last: VerifyError | None = None
        try:
            if probe():
                return
        except VerifyError as error:
            last = error
        if time.monotonic() >= deadline:
            raise WaitTimeout(what, seconds, last)
        time.sleep(poll)
