"""Scenarios: what can be played, in the order in which a run plays them."""

from verify.scenarios.across import ACROSS
from verify.scenarios.guarded import GUARDED
from verify.scenarios.loaded import Random
from verify.scenarios.quiet import AtOnce, Check, Crossing, Issued, Plant, Stickiness, Sync, SyncLag
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
        Crossing(),
        *ACROSS,
        *GUARDED,
        Random(),
    )
}

# Scenarios that can be asked for together.
GROUPS: dict[str, list[str]] = {
    group: [name for name, scenario in SCENARIOS.items() if scenario.group == group]
    for group in dict.fromkeys(scenario.group for scenario in SCENARIOS.values() if scenario.group)
}

__all__ = ["GROUPS", "SCENARIOS", "Check", "Plant", "Scenario", "Size"]
