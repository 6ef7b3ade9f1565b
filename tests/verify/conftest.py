"""What the verifier's tests share."""

from collections.abc import Callable
from pathlib import Path

import pytest

FIXTURES = Path(__file__).with_name("fixtures")


@pytest.fixture
def recorded() -> Callable[[str], str]:
    """Returns a text that a real HAProxy answered; fixtures/README.md says how it was recorded."""
    return lambda name: (FIXTURES / f"{name}.txt").read_text()
