"""What the reports' tests share: one failed and one passed run."""

import pytest

from tests.verify.report.histories import Run, made


@pytest.fixture(scope="session")
def failed() -> Run:
    """Returns a run that failed, with every kind of record."""
    return made(good=False)


@pytest.fixture(scope="session")
def passed() -> Run:
    """Returns a run that passed."""
    return made(good=True)
