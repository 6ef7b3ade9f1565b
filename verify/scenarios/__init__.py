"""Scenarios: what can be played, in the order in which a run plays them."""

from verify.scenarios.across import ACROSS
from verify.scenarios.loaded import Random, ReloadUnderLoad
from verify.scenarios.quiet import AtOnce, Check, Issued, Plant, Stickiness, Sync, SyncLag
from verify.scenarios.scenario import Scenario, Size
from verify.scenarios.story import Story

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Story(),
        Stickiness(),
        Issued(),
        Sync(),
        SyncLag(),
        AtOnce(),
        *ACROSS,
        ReloadUnderLoad(),
        Random(),
    )
}

__all__ = ["SCENARIOS", "Check", "Plant", "Scenario", "Size"]
