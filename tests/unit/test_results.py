"""What README, docs and the role claim is what was run: tests/results.yml, docs/what-survives.json."""

import datetime
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from verify.report.repeats import Once, Rate, Repeated, Repeats
from verify.scenarios import GROUPS
from verify.verdict import Verdict

ROOT = Path(__file__).parents[2]
RESULTS = yaml.safe_load((ROOT / "tests" / "results.yml").read_text())
ROLE = ROOT / "roles" / "haproxy"


MARKED = re.compile(r"<!-- results (\w+) -->\n(.*?)<!-- end of results -->", re.DOTALL)


def results(*arguments: str, root: Path = ROOT) -> str:
    """Runs scripts/results; gives what it printed."""
    command = [sys.executable, str(root / "scripts" / "results"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_has_the_table() -> None:
    table = results("systems")
    assert table in (ROOT / "README.md").read_text(), f"README.md lacks what scripts/results prints:\n{table}"


def test_a_run_by_hand_has_its_date_and_command() -> None:
    for row in RESULTS:
        assert row["how"] in ("CI", "by hand", "not run"), row
        assert ({"date", "command"} <= set(row)) == (row["how"] == "by hand"), row
        assert isinstance(row.get("date", datetime.date.min), datetime.date), row


def test_every_platform_of_the_role_is_in_the_table() -> None:
    platforms = yaml.safe_load((ROLE / "vars/main/platforms.yml").read_text())["__haproxy_platforms"]
    known = {
        (f"{name if name in ('Debian', 'Ubuntu') else 'RHEL family'} {major}", row["haproxy"])
        for name, rows in platforms.items()
        for major, row in rows.items()
    }
    listed = {(row["system"].split(".")[0], row["haproxy"]) for row in RESULTS if row["from"] == "distribution"}
    assert listed == known


def test_the_role_claims_no_system_that_was_not_run() -> None:
    claimed = yaml.safe_load((ROLE / "meta/main.yml").read_text())["galaxy_info"]["platforms"]
    names = {f"{platform['name']} {version}" for platform in claimed for version in platform["versions"]}
    assert names == {row["galaxy"] for row in RESULTS if row["how"] != "not run"}


def test_the_pages_show_the_tables_as_they_are() -> None:
    pages = {
        path.name: MARKED.findall(path.read_text()) for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    }
    assert [name for name, _ in pages["what-survives.md"]] == ["survives", "figures"]
    for page, tables in pages.items():
        for name, shown in tables:
            assert shown == results(name), (
                f"{page} shows another table than scripts/results {name}: scripts/results write"
            )


# Adding runs.


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Returns a checkout in which nothing was run."""
    for folder in ("scripts", "docs", "tests"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "scripts" / "results", tmp_path / "scripts")
    (tmp_path / "docs" / "what-survives.json").write_text("[]")
    (tmp_path / "README.md").write_text("before\n<!-- results survives -->\n<!-- end of results -->\nafter\n")
    return tmp_path


def told(checkout: Path, scenarios: list[str], moved: list[int], version: str = "2.6.12-1") -> str:
    """Writes what --json writes of runs in which so many of 1000 requests moved; gives the file's name."""
    runs = [
        Once(
            run=f"{version}-{number}",
            seed=number,
            verdict=Verdict.FAIL if count else Verdict.PASS,
            ended="",
            moved=Rate.made(count, 1000),
            rows=Rate.made(0, 2),
            failed=Rate.made(0, 900),
        )
        for number, count in enumerate(moved)
    ]
    found = [Repeated.of(scenario, runs) for scenario in scenarios]
    file = checkout / "runs.json"
    made = Repeats(verdict=Verdict.worst(each.verdict for each in found), versions={"A": version}, scenarios=found)
    file.write_bytes(made.to_json())
    return str(file)


def test_runs_are_added_and_told(checkout: Path) -> None:
    results("add", "stock", told(checkout, ["last-restart"], [30, 0, 10]), root=checkout)
    results("add", "guarded", told(checkout, ["last-restart"], [0] * 4, "3.0.11"), root=checkout)
    results("add", "guarded", told(checkout, ["last-restart"], [0] * 6), root=checkout)
    assert results("survives", root=checkout).splitlines()[2:] == [
        "| restart of the last balancer | `last-restart` | **40 of 3000 moved; failed runs 2 of 3; 2.6**"
        " | 0 of 10000 (< 0.03 %) moved; failed runs 0 of 10 (< 26 %); 2.6, 3.0 |"
    ]
    assert results("figures", root=checkout).splitlines()[2:] == [
        "| `last-restart` | 2.6.12 | stock | 2 of 3 | 40 of 3000 | 0-30 | 0 of 6 (< 39 %) | 0 of 2700 (< 0.11 %) |",
        "| `last-restart` | 2.6.12 | guarded | 0 of 6 (< 39 %) | 0 of 6000 (< 0.05 %) | 0-0 | 0 of 12 (< 22 %)"
        " | 0 of 5400 (< 0.055 %) |",
        "| `last-restart` | 3.0.11 | guarded | 0 of 4 (< 53 %) | 0 of 4000 (< 0.075 %) | 0-0 | 0 of 8 (< 31 %)"
        " | 0 of 3600 (< 0.083 %) |",
    ]


def test_runs_that_are_added_again_are_replaced(checkout: Path) -> None:
    for _ in range(2):
        results("add", "stock", told(checkout, ["last-restart"], [30, 10]), root=checkout)
    results("add", "stock", told(checkout, ["last-restart"], [30, 10, 20]), root=checkout)
    (row,) = json.loads((checkout / "docs" / "what-survives.json").read_text())
    assert [run["moved"]["count"] for run in row["runs"]] == [30, 10, 20]


def test_runs_that_came_to_no_verdict_or_broke_off_are_said(checkout: Path) -> None:
    file = Path(told(checkout, ["last-restart"], [0, 0]))
    text = file.read_text().replace('"pass"', '"unknown"')
    file.write_text(text.replace('"ended": ""', '"ended": "stopped at the cap"', 1))
    results("add", "guarded", str(file), root=checkout)
    assert "failed runs -, 2 unknown, 1 broke off; 2.6**" in results("survives", root=checkout)


def test_a_scenario_without_a_line_in_the_table_is_left_out(checkout: Path) -> None:
    said = results("add", "stock", told(checkout, ["lag", "crash"], [0]), root=checkout)
    assert said == "lag stands in no table: left out\n"
    assert re.findall(r"\| `([a-z-]+)` \|", results("survives", root=checkout)) == ["crash"]


def test_all_that_the_guard_is_for_has_its_words(checkout: Path) -> None:
    results("add", "stock", told(checkout, GROUPS["guard"], [1]), root=checkout)
    assert re.findall(r"\| `([a-z-]+)` \|", results("survives", root=checkout)) == GROUPS["guard"]


def test_the_tables_are_put_into_the_pages(checkout: Path) -> None:
    results("add", "hash", told(checkout, ["crossing"], [0]), root=checkout)
    for _ in range(2):
        results("write", root=checkout)
        page = (checkout / "README.md").read_text()
        ((name, shown),) = MARKED.findall(page)
        assert (name, shown) == ("survives", results("survives", root=checkout))
        assert MARKED.sub("", page) == "before\n\nafter\n"
        assert "`crossing`" in page
