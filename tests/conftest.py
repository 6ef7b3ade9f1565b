"""What all tests share: the number of tests that ran is asserted, so that none goes missing silently."""

from pathlib import Path

import pytest

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
