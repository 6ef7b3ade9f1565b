"""What people read on a terminal and in a log."""

import io
import threading

import msgspec
import pytest
from rich.console import Console

from tests.verify.report.histories import NASTY, Run, run_of
from verify.history import History
from verify.lints import Finding
from verify.look import BalancerFacts, Look, PeerFacts, TableFacts
from verify.report.document import NotApplicable
from verify.report.terminal import Terminal
from verify.teller import Teller
from verify.verdict import Verdict


def plain(width: int = 80) -> tuple[Terminal, io.StringIO]:
    """Returns a terminal that is a pipe, and what it printed."""
    out = io.StringIO()
    return Terminal(Console(file=out, highlight=False, width=width), every=0), out


def live() -> tuple[Terminal, io.StringIO]:
    """Returns a terminal that is one, and what it printed."""
    out = io.StringIO()
    console = Console(file=out, highlight=False, force_terminal=True, width=120, color_system="standard", _environ={})
    return Terminal(console), out


def play(teller: Teller, run: Run) -> None:
    """Tells of a run as if it happened now."""
    teller.scenario("reload-under-load", "Reloads a balancer.")
    teller.phase("plant")
    teller.progress(3, 10, 2, 1, 0)
    for fault in run.history.faults:
        teller.fault(msgspec.structs.replace(fault, healed_ns=None))
        teller.fault(fault)
    teller.line(NASTY)


def test_a_log_tells_the_whole_story(failed: Run) -> None:
    terminal, out = plain()
    play(terminal, failed)
    lines = [line.strip() for line in out.getvalue().splitlines()]
    for line in (
        "reload-under-load",
        "Reloads a balancer.",
        "plant",
        "3 of 10 requests: 2 ok, 1 fail, 0 info",
        "fault 1 (reload on haproxy-1): injected",
        "seen: the worker's pid changed (319 -> 349)",
        "fault 1 (reload on haproxy-1): healed after 0.26 s",
        "NOT seen: packets were dropped (0 packets)",
    ):
        assert line in lines


def test_a_log_has_no_control_characters(failed: Run, passed: Run) -> None:
    terminal, out = plain()
    for run in (failed, passed):
        play(terminal, run)
        terminal.results(run.document, run.results, run.history)
    terminal.summary([failed.document, passed.document])
    assert [letter for letter in out.getvalue() if ord(letter) < 32 and letter not in "\t\n"] == []


def test_the_summary_says_what_the_version_cant_offer(passed: Run) -> None:
    terminal, out = plain()
    terminal.summary([passed.document], [NotApplicable("pause", "needs more")])
    *_, left_out, _, verdict = out.getvalue().splitlines()
    assert left_out == "not applicable: pause needs more"
    assert verdict.startswith("PASS: ")


def test_texts_from_hosts_are_no_markup(passed: Run) -> None:
    terminal, out = plain()
    terminal.line("[bold]x[/bold] [/nothing] :smile: [link=http://x]y[/link]")
    assert out.getvalue() == "    [bold]x[/bold] [/nothing] :smile: [link=http://x]y[/link]\n"


def test_progress_lines_are_few() -> None:
    out = io.StringIO()
    terminal = Terminal(Console(file=out, width=80), every=3600)
    terminal.scenario("x", "y")
    for done in range(1000):
        terminal.progress(done, None, done, 0, 0)
    assert "request" not in out.getvalue()


def test_a_terminal_shows_progress_and_takes_it_away(failed: Run) -> None:
    terminal, out = live()
    with terminal:
        play(terminal, failed)
        terminal.progress(9, 10, 8, 1, 0)
        terminal.results(failed.document, failed.results, failed.history)
        assert "9 of 10 requests: 8 ok, 1 fail, 0 info" in out.getvalue()
        assert "reload-under-load: plant" in out.getvalue()
    assert out.getvalue().count("\x1b[?25l") == out.getvalue().count("\x1b[?25h") == 1  # the cursor is back


def test_the_cursor_comes_back_after_an_error() -> None:
    terminal, out = live()

    def interrupted() -> None:
        with terminal:
            terminal.scenario("x", "y")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert out.getvalue().rfind("\x1b[?25h") > out.getvalue().rfind("\x1b[?25l") >= 0


def test_no_colours_if_they_are_not_wanted(passed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    Terminal(Console(file=out, force_terminal=True, width=120)).summary([passed.document])
    assert "\x1b[3" not in out.getvalue()
    assert "PASS: 1 scenario held" in out.getvalue()


def test_results_prove_what_failed(failed: Run) -> None:
    terminal, out = plain(width=40)
    terminal.results(failed.document, failed.results, failed.history)
    text = out.getvalue()
    for result in failed.results:
        assert f"{result.invariant}  " in text
        assert result.summary in text
    assert failed.results[0].violations[0].text in text
    assert all(line in text for line in failed.document.proofs["one-server-per-session"][0])
    assert f"Play it again: {failed.document.replay}\n" in text  # whole, on however narrow a terminal
    assert "haproxy-2: show peers" in text


def test_a_pass_is_short(passed: Run) -> None:
    terminal, out = plain()
    terminal.results(passed.document, passed.results, passed.history)
    assert len(out.getvalue().splitlines()) == 2 + len(passed.results)


def test_many_violations_are_counted(failed: Run) -> None:
    first = msgspec.structs.replace(failed.results[0], violations=failed.results[0].violations * 3, violated=50)
    run = run_of(failed.history, [first])
    terminal, out = plain()
    terminal.results(run.document, run.results, run.history)
    assert "and 47 violations more" in out.getvalue()


def test_long_notes_are_cut(failed: Run) -> None:
    note = msgspec.structs.replace(failed.history.notes[0], text="".join(f"line {n}\n" for n in range(200)))
    run = run_of(History(failed.history.header, notes=[note]), [])
    terminal, out = plain()
    terminal.results(run.document, run.results, run.history)
    assert "haproxy-1: journal, the last 15 lines of 200" in out.getvalue()
    assert "line 199" in out.getvalue()
    assert "line 184\n" not in out.getvalue()


def test_the_last_line_is_the_verdict(failed: Run, passed: Run) -> None:
    unknown = run_of(History(passed.history.header), [])
    for runs, last in (
        ([passed, passed], "PASS: 2 runs held (8360 observations)"),
        ([passed, unknown], "UNKNOWN: of 2 runs, 1 could not be judged: reload-under-load; 1 held"),
        ([unknown, failed, passed], "FAIL: of 3 runs, 1 failed: reload-under-load; 1 could not be judged"),
        ([], "UNKNOWN: no scenario was played"),
    ):
        terminal, out = plain()
        terminal.summary([run.document for run in runs])
        assert out.getvalue().splitlines()[-1].startswith(last)


def test_the_summary_says_where_the_reports_are(failed: Run) -> None:
    terminal, out = plain(width=30)
    terminal.summary([failed.document])
    (line,) = [line for line in out.getvalue().splitlines() if line.startswith("reload-under-load")]
    assert line.split()[1:4] == ["fail", "2000", "3"]
    assert line.endswith(f"runs/{failed.history.header.run}/report.html")


def test_scenarios_are_listed() -> None:
    terminal, out = plain()
    terminal.scenarios([("reload", "Reloads one.", ["a", "b"], ["reload"]), ("sync", "Looks.", ["c"], [])])
    assert out.getvalue().splitlines() == [
        "reload",
        "  Reloads one.",
        "  faults: reload",
        "  checks: a, b",
        "sync",
        "  Looks.",
        "  faults: none",
        "  checks: c",
    ]


def test_a_look_says_what_to_do() -> None:
    peers = [
        PeerFacts(section="p", name=name, local=name == "a", address="192.0.2.1:1", status="ESTA", established=True)
        for name in ("a", "b")
    ]
    table = TableFacts(name="back", type="string", size=1000, used=7, shared=True, sampled=7, compared=[])
    facts = [
        BalancerFacts(name="a", version="2.6.12", uptime=99, in_sync=True, tables=[table], peers=peers),
        BalancerFacts(name="b", error="b: ssh could not reach it"),
    ]
    findings = [
        Finding(lint="x", severity="wrong", balancer="b", what=f"{NASTY} is wrong", advice="Mend it."),
        Finding(lint="y", severity="note", balancer=None, what="worth knowing", advice="Know it."),
    ]
    terminal, out = plain(width=30)
    terminal.look(Look(verdict=Verdict.FAIL, findings=findings, balancers=facts))
    lines = out.getvalue().splitlines()
    assert [line.split() for line in lines[1:3]] == [
        ["a", "2.6.12", "99", "s", "yes", "1/1", "back", "7/1000"],
        ["b", "-", "-", "-", "0/0", "b:", "ssh", "could", "not", "reach", "it"],
    ]
    shown = NASTY.replace("\x1b", "?")
    for line in (
        f"wrong: b: {shown} is wrong (x)",
        "  Mend it.",
        "note: all balancers: worth knowing (y)",
        "  Know it.",
    ):
        assert line in lines
    assert lines[-1] == "FAIL: 2 balancers looked at; 1 wrong, 1 note"


@pytest.mark.parametrize("make", [plain, live])
def test_many_threads_may_tell(failed: Run, make: type) -> None:
    terminal, out = make()
    terminal.scenario("x", "y")
    begin = threading.Barrier(8)

    def tell(number: int) -> None:
        begin.wait(10)
        for done in range(50):
            terminal.progress(done, 50, done, 0, 0)
            terminal.line(f"thread {number} line {done} end")

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    terminal.close()
    for number in range(8):
        for done in range(50):
            assert f"thread {number} line {done} end" in out.getvalue()
