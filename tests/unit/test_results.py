"""What README and the role claim to run on is what was run: tests/results.yml."""

import datetime
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
RESULTS = yaml.safe_load((ROOT / "tests" / "results.yml").read_text())
ROLE = ROOT / "roles" / "haproxy"


def test_the_readme_has_the_table() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "results")]
    table = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
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
