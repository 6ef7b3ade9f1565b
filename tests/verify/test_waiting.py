"""Waiting: a bound, and what was waited for."""

import pytest

from verify.errors import VerifyError, WaitTimeout
from verify.waiting import wait_for


def test_waiting_ends_with_its_bound() -> None:
    """A state that does not come says what was waited for and what stood in the way."""

    def refused() -> bool:
        raise VerifyError("refused")

    with pytest.raises(WaitTimeout, match=r"waited 0 s for the moon, in vain \(refused\)"):
        wait_for("the moon", refused, 0)
    wait_for("the sun", lambda: True, 0)
