"""The command line and the report: exit codes, and one clear line instead of a traceback."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from verify.cli import main
from verify.errors import VerifyError, WaitTimeout
from verify.report import Report, verdict
from verify.step import Step
from verify.waiting import wait_for


def steps(*reasons: list[str]) -> list[Step]:
    """Steps with these reasons, one list each."""
    return [Step(n, f"step {n}", "something", r) for n, r in enumerate(reasons, 1)]


def test_pass() -> None:
    """Every step held."""
    assert verdict(steps([], []), 17, 78) == (
        0,
        "PASS: all 2 steps held (17 sessions, 78 answers)",
    )


def test_fail_names_every_step_and_the_first_reason() -> None:
    """One line, even with many reasons."""
    code, text = verdict(steps([], ["moved", "moved too"], ["lost"]), 17, 78)
    assert (code, text) == (1, "FAIL: steps 2, 3 did not hold: moved (and 1 more)")


@pytest.mark.parametrize(("sessions", "answers"), [(0, 0), (0, 3), (17, 0)])
def test_nothing_observed_is_unknown(sessions: int, answers: int) -> None:
    """No answer is never a pass, and no fail of the balancers' either."""
    assert verdict(steps([], []), sessions, answers)[0] == 2
    assert verdict([], 17, 78)[0] == 2


@pytest.mark.parametrize("terminal", [True, False])
def test_report(terminal: bool) -> None:
    """A host's text is printed as it is, long lines in one piece; colour needs a terminal."""
    out = io.StringIO()
    report = Report(Console(file=out, force_terminal=terminal, highlight=False, width=40))
    step = Step(1, "title", "proof")
    report.begin(step)
    report.line("x" * 60 + " [red]")
    step.reasons = ["moved"]
    report.end(step)
    report.verdict(1, "FAIL: it moved")
    text = out.getvalue()
    assert "x" * 60 + " [red]" in text
    assert "did not hold: moved" in text
    assert "FAIL: it moved" in text.rstrip().splitlines()[-1]
    assert ("\x1b[" in text) is terminal


@pytest.mark.parametrize(
    "arguments",
    [[], ["demo"], ["demo", "-i", "x", "--seed", "one"], ["nonsense"], ["demo", "-i", "/nowhere"]],
)
def test_bad_use(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What argparse refuses is bad use too."""
    assert main(arguments) == 64
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("bad use: ")
    assert printed.err.count("\n") == 1


def test_one_balancer_is_not_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The story needs two."""
    hosts = tmp_path / "hosts.ini"
    hosts.write_text("[balancers]\nlb verify_url=http://127.0.0.1:1\n")
    assert main(["demo", "-i", str(hosts)]) == 64
    assert "two balancers" in capsys.readouterr().err


def test_unreachable_balancers_are_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody listens for ssh on port 1: exit 2, and the host is named."""
    hosts = tmp_path / "hosts.ini"
    hosts.write_text(
        "[balancers]\na verify_url=http://127.0.0.1:1\nb verify_url=http://127.0.0.1:1\n"
        "[balancers:vars]\nansible_host=127.0.0.1\nansible_port=1\n"
    )
    assert main(["demo", "-i", str(hosts)]) == 2
    assert capsys.readouterr().err.startswith("UNKNOWN: a: ssh could not reach it")


def test_waiting_ends_with_its_bound() -> None:
    """A state that does not come says what was waited for and what stood in the way."""

    def refused() -> bool:
        raise VerifyError("refused")

    with pytest.raises(WaitTimeout, match=r"waited 0 s for the moon, in vain \(refused\)"):
        wait_for("the moon", refused, 0)
    wait_for("the sun", lambda: True, 0)
