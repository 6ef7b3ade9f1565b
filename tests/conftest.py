"""What all tests share: their number is asserted, so that none goes missing silently; the balancers of a deployment."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from deployment import INVENTORY, connect
from node import Node
from testinfra.host import Host

from verify.inventory import balancers_of

ROOT = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--expect-tests", type=int, help="fail unless exactly so many tests passed")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    expected = session.config.getoption("--expect-tests")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if expected is None or reporter is None or session.exitstatus != pytest.ExitCode.OK:
        return
    passed = len(reporter.stats.get("passed", []))
    if passed != expected:
        reporter.write_line(f"{passed} tests passed, but {expected} were expected (--expect-tests)", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def balancers() -> list[Host]:
    """Give the balancers of the inventory, by testinfra."""
    return [connect(balancer.name) for balancer in balancers_of(INVENTORY)]


@pytest.fixture(scope="session")
def nodes() -> Iterator[list[Node]]:
    """Give the balancers as the verifier sees them."""
    with ExitStack() as stack:
        yield [stack.enter_context(Node.of(balancer)) for balancer in balancers_of(INVENTORY)]
