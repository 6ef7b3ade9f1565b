"""Tests of one suite's HAProxies run one after another, in its root file system; beside those of another suite."""

import pytest
from gated import SUITES
from xdist.scheduler import LoadScopeScheduling


class BySuite(LoadScopeScheduling):  # type: ignore[misc] # xdist's has no types
    def _split_scope(self, nodeid: str) -> str:
        file, _, parameters = nodeid.partition("[")
        return next((suite for suite in SUITES if suite in parameters), file.partition("::")[0])


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> BySuite:
    return BySuite(config, log)
