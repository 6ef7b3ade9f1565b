"""scripts/closing-lines, on JUnit files as pytest writes them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "closing-lines"
RUNS = ("unit", "default")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Returns a checkout in which every run has passed three tests."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / ".cache" / "junit").mkdir(parents=True)
    shutil.copy(SCRIPT, tmp_path / "scripts")
    for name in RUNS:
        write(tmp_path, name, tests=3)
    return tmp_path


def write(checkout: Path, run: str, **numbers: int) -> None:
    """Writes the JUnit file of one run."""
    counted = {"errors": 0, "failures": 0, "skipped": 0, **numbers}
    attributes = " ".join(f'{name}="{number}"' for name, number in counted.items())
    text = f'<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest" {attributes} /></testsuites>'
    (checkout / ".cache" / "junit" / f"{run}.xml").write_text(text)


def closing_lines(checkout: Path) -> tuple[int, str, str]:
    """Runs the script; gives its exit code and what it printed."""
    command = [sys.executable, str(checkout / "scripts" / "closing-lines"), *RUNS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


def test_all_runs_are_counted(checkout: Path) -> None:
    write(checkout, "unit", tests=40)
    assert closing_lines(checkout) == (0, f"{40 + 3 * (len(RUNS) - 1)} passed, 0 failed, 0 skipped\n", "")


@pytest.mark.parametrize("run", RUNS)
def test_a_missing_run_is_named_and_fails(checkout: Path, run: str) -> None:
    (checkout / ".cache" / "junit" / f"{run}.xml").unlink()
    code, out, err = closing_lines(checkout)
    assert (code, out) == (1, "")
    assert err.startswith(f"{run}: no tests ran (")


def test_a_known_fault_is_said_and_does_not_fail(checkout: Path) -> None:
    file = checkout / ".cache" / "junit" / f"{RUNS[0]}.xml"
    case = '<testcase><properties><property name="known fault" value="2 of 20 lost" /></properties></testcase>'
    file.write_text(file.read_text().replace(" /></testsuites>", f">{case}</testsuite></testsuites>"))
    counted = f"{3 * len(RUNS)} passed, 0 failed, 0 skipped"
    assert closing_lines(checkout) == (0, f"known fault: 2 of 20 lost\n{counted}\n", "")


@pytest.mark.parametrize(
    ("kind", "counted"),
    [("failures", "1 failed, 0 skipped"), ("errors", "1 failed, 0 skipped"), ("skipped", "0 failed, 1 skipped")],
)
def test_what_did_not_pass_fails(checkout: Path, kind: str, counted: str) -> None:
    write(checkout, RUNS[-1], tests=3, **{kind: 1})
    assert closing_lines(checkout) == (1, f"{3 * len(RUNS) - 1} passed, {counted}\n", "")


def test_a_test_that_failed_is_named_with_the_first_line_of_why(checkout: Path) -> None:
    (checkout / ".cache" / "junit" / "default.xml").write_text(
        """<testsuites><testsuite name="pytest" tests="2" errors="0" failures="1" skipped="0">
        <testcase classname="test_web" name="test_fine" />
        <testcase classname="test_web" name="test_bad"><failure message="assert: no&#10;more">x</failure></testcase>
        </testsuite></testsuites>"""
    )
    code, out, _ = closing_lines(checkout)
    assert code == 1
    assert out == "failure: test_web.test_bad: assert: no\n4 passed, 1 failed, 0 skipped\n"


@pytest.mark.parametrize("run", RUNS)
def test_a_run_without_tests_is_named_and_fails(checkout: Path, run: str) -> None:
    write(checkout, run, tests=0)
    code, out, err = closing_lines(checkout)
    assert (code, out) == (1, "")
    assert err.startswith(f"{run}: no tests ran (")
