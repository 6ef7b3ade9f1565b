"""Terminal: tells people of runs: live progress on a terminal, plain lines elsewhere. Thread-safe.

Texts from hosts are printed as they are, without control characters; no line is broken here, so
that a command or a path can be copied whole. rich leaves the colours away where they are not wanted.
"""

import threading
import time
from collections.abc import Sequence
from types import TracebackType

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from verify.history import SECOND, Evidence, Fault, History
from verify.invariants.pairs import told
from verify.lints import SEVERITIES
from verify.look import Look
from verify.report.document import Document, NotApplicable
from verify.report.repeats import Repeats
from verify.report.text import plural, printable
from verify.verdict import Result, Verdict

STYLES = {Verdict.PASS: "green", Verdict.UNKNOWN: "yellow", Verdict.FAIL: "red"}
SEVERITY_STYLES = {"wrong": "red", "risky": "yellow", "note": ""}
EVERY = 5.0  # seconds between progress lines where there is no terminal
TOLD = 3  # violations of an invariant; the page has all that are known
NOTE_LINES = 15  # of a text from a host, the last ones; the page has all


class Terminal:
    """A `verify.teller.Teller` that prints, and what is printed of verdicts."""

    def __init__(self, console: Console | None = None, every: float = EVERY) -> None:
        """Prints nothing yet.

        Args:
            console: for tests; standard output by default.
            every: seconds between two progress lines where there is no terminal.
        """
        self._console = console or Console(highlight=False)
        self._every = every
        self._lock = threading.RLock()
        self._live: Progress | None = None
        self._task = TaskID(0)
        self._scenario = self._phase = ""
        self._faults: dict[int, str] = {}
        self._told = 0.0

    def __enter__(self) -> "Terminal":
        """Returns itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Leaves the terminal as it was."""
        self.close()

    def close(self) -> None:
        """Takes the live progress away, if there is some."""
        with self._lock:
            if self._live:
                self._live.stop()
                self._live = None

    # While a scenario is played.

    def scenario(self, name: str, describes: str) -> None:
        """A scenario begins."""
        with self._lock:
            self.close()
            self._scenario, self._phase, self._faults, self._told = name, "", {}, time.monotonic()
            self._print(f"\n{name}", "bold")
            self._print(f"  {describes}", "dim")
            if self._console.is_terminal and not self._console.is_dumb_terminal:
                self._live = Progress(
                    SpinnerColumn(),
                    TextColumn("{task.fields[what]}", markup=False),
                    BarColumn(bar_width=20),
                    TextColumn("{task.fields[counts]}", markup=False),
                    TextColumn("{task.fields[fault]}", markup=False, style="yellow"),
                    TimeElapsedColumn(),
                    console=self._console,
                    transient=True,
                )
                self._task = self._live.add_task("", total=None, what=name, counts="", fault="")
                self._live.start()

    def phase(self, name: str) -> None:
        """A phase of it begins."""
        with self._lock:
            self._phase = name
            if self._live:
                self._live.update(self._task, what=printable(f"{self._scenario}: {name}"))
            self._print(f"  {name}")

    def line(self, text: str) -> None:
        """Something happened that people may want to read."""
        with self._lock:
            self._print(f"    {text}")

    def fault(self, fault: Fault) -> None:
        """A fault was injected, or healed if its `healed_ns` says so."""
        with self._lock:
            if fault.healed_ns is None:
                self._faults[fault.id] = told(fault)
                self._print(f"  {told(fault)}: injected", "yellow")
                self._evidence(fault.evidence)
            else:
                self._faults.pop(fault.id, None)
                self._print(f"  {told(fault)}: healed after {(fault.healed_ns - fault.injected_ns) / SECOND:.2f} s")
                self._evidence(fault.heal_evidence)
            if self._live:
                self._live.update(self._task, fault=printable("; ".join(self._faults.values())))

    def progress(self, done: int, total: int | None, ok: int, fail: int, info: int) -> None:
        """So many requests are done, of so many that are planned."""
        with self._lock:
            all_of_them = plural(done, "request") if total is None else f"{done} of {plural(total, 'request')}"
            counts = f"{all_of_them}: {ok} ok, {fail} fail, {info} info"
            now = time.monotonic()
            if self._live:
                self._live.update(self._task, completed=done, total=total, counts=counts)
            elif now - self._told >= self._every:
                self._told = now
                self._print(f"    {counts}")

    def _evidence(self, evidence: Sequence[Evidence]) -> None:
        for each in evidence:
            seen = "seen" if each.seen else "NOT seen"
            self._print(f"    {seen}: {each.what} ({each.text})", "dim" if each.seen else "red")

    # When it was judged.

    def results(self, document: Document, results: Sequence[Result], history: History) -> None:
        """Tells what judging came to, and of what is not pass what proves it.

        Args:
            document: the run's verdict.
            results: of its invariants.
            history: the run's.
        """
        with self._lock:
            self.close()
            self._print()
            rows = [
                (result.invariant, result.verdict.value, str(result.judged), str(result.unjudged), result.summary)
                for result in results
            ]
            head = ("invariant", "verdict", "judged", "not judged", "summary")
            self._table(head, rows, [STYLES[result.verdict] for result in results])
            if document.ended:
                self._print(f"\nNot played to its end: {document.ended}", STYLES[Verdict.UNKNOWN])
            for result in results:
                if result.violations:
                    self._violations(document, result)
            if document.verdict is not Verdict.PASS:
                self._print(f"\nPlay it again: {document.replay}")
                self._notes(history)

    def _violations(self, document: Document, result: Result) -> None:
        self._print(f"\nAgainst {result.invariant}", "bold")
        proofs = document.proofs[result.invariant]
        for found, proof in list(zip(result.violations, proofs, strict=True))[:TOLD]:
            self._print(f"  {found.text}", STYLES[Verdict.FAIL])
            for line in proof:
                self._print(f"    {line}")
            if found.cause:
                self._print(f"    known: {found.cause}")
        left = max(result.violated, len(result.violations)) - TOLD
        if left > 0:
            self._print(f"  and {plural(left, 'violation')} more")

    def _notes(self, history: History) -> None:
        for note in history.notes:
            lines = note.text.splitlines()
            left = f", the last {NOTE_LINES} lines of {len(lines)}" if len(lines) > NOTE_LINES else ""
            self._print(f"\n{note.host}: {note.what}{left}", "bold")
            for line in lines[-NOTE_LINES:]:
                self._print(f"  {line}", "dim")

    def summary(self, documents: Sequence[Document], left_out: Sequence[NotApplicable] = ()) -> None:
        """Tells what a run of scenarios came to, and what was left out; its last line begins with the verdict."""
        with self._lock:
            self.close()
            self._print()
            rows = [
                (
                    document.scenario,
                    document.verdict.value,
                    str(document.counts.requests.total),
                    str(document.counts.moved),
                    f"{document.duration_s:.1f} s",
                    f"{document.directory}/report.html",
                )
                for document in documents
            ]
            head = ("scenario", "verdict", "requests", "moved", "time", "report")
            self._table(head, rows, [STYLES[document.verdict] for document in documents])
            for each in left_out:
                self._print(f"not applicable: {each.scenario} {each.why}")
            if len(rows) > len({document.scenario for document in documents}):
                self._repeats(Repeats.made(documents))
            verdict = Verdict.worst(document.verdict for document in documents)
            self._print(f"\n{verdict.upper()}: {_said(documents)}", f"bold {STYLES[verdict]}")

    def _repeats(self, repeats: Repeats) -> None:
        self._print("\nOver all runs; in brackets the bound of the true rate, at 95 %, where none was seen", "bold")
        rows = [
            (each.scenario, each.verdict.value, *map(str, (each.lost, each.moved, each.rows, each.failed)))
            for each in repeats.scenarios
        ]
        head = ("scenario", "verdict", "failed runs", "moved requests", "tables without rows", "unanswered requests")
        self._table(head, rows, [STYLES[each.verdict] for each in repeats.scenarios])

    # Without a run.

    def scenarios(self, known: Sequence[tuple[str, str, Sequence[str], Sequence[str]]]) -> None:
        """Lists scenarios: name, what it describes, the invariants that it checks, the faults it injects."""
        with self._lock:
            for name, describes, invariants, faults in known:
                self._print(name, "bold")
                self._print(f"  {describes}")
                self._print(f"  faults: {', '.join(faults) or 'none'}", "dim")
                self._print(f"  checks: {', '.join(invariants)}", "dim")

    def look(self, looked: Look) -> None:
        """Tells what a look at running balancers came to; its last line begins with the verdict."""
        with self._lock:
            self._table(*_facts(looked), [""] * len(looked.balancers))
            for finding in looked.findings:
                where = finding.balancer or "all balancers"
                title = f"{finding.severity}: {where}: {finding.what} ({finding.lint})"
                self._print(f"\n{title}", SEVERITY_STYLES[finding.severity])
                self._print(f"  {finding.advice}")
            of = {severity: sum(each.severity == severity for each in looked.findings) for severity in SEVERITIES}
            found = [f"{of[severity]} {severity}" for severity in ("wrong", "risky") if of[severity]]
            found += [plural(of["note"], "note")] if of["note"] else []
            seen = plural(len(looked.balancers), "balancer")
            self._print(
                f"\n{looked.verdict.upper()}: {seen} looked at; {', '.join(found) or 'nothing to say'}",
                f"bold {STYLES[looked.verdict]}",
            )

    def _table(self, head: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str]) -> None:
        """Prints columns side by side, the second one in the row's style; the last one may be long."""
        clean = [[printable(cell) for cell in row] for row in (head, *rows)]
        widths = [max(map(cell_len, column)) for column in zip(*clean, strict=True)][:-1]
        for row, style in zip(clean, ("bold", *styles), strict=True):
            text = Text(style="bold" if row is clean[0] else "")
            for number, (cell, width) in enumerate(zip(row, widths, strict=False)):
                text.append(cell, style=style if number == 1 else "")
                text.append(" " * (width - cell_len(cell) + 2))
            text.append(row[-1])
            self._console.print(text, soft_wrap=True)

    def _print(self, text: str = "", style: str = "") -> None:
        self._console.print(Text(printable(text), style=style), soft_wrap=True)


def _facts(looked: Look) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Returns the head and the rows of a table of balancers."""
    rows: list[Sequence[str]] = []
    for each in looked.balancers:
        sync = {None: "-", True: "yes", False: "no"}[each.in_sync]
        tables = ", ".join(f"{table.name} {table.used}/{table.size}" for table in each.tables) or each.error or "none"
        others = [peer.established for peer in each.peers if not peer.local]
        uptime = "-" if each.uptime is None else f"{each.uptime} s"
        rows.append((each.name, each.version or "-", uptime, sync, f"{sum(others)}/{len(others)}", tables))
    return ("balancer", "version", "up for", "in sync", "peers", "tables"), rows


def _said(documents: Sequence[Document]) -> str:
    if not documents:
        return "no scenario was played"
    of = {verdict: [each.scenario for each in documents if each.verdict is verdict] for verdict in Verdict}
    noun = "scenario" if len({each.scenario for each in documents}) == len(documents) else "run"
    judged = f"({sum(document.counts.observations for document in documents)} observations)"
    if len(of[Verdict.PASS]) == len(documents):
        return f"{plural(len(documents), noun)} held {judged}"
    words = {Verdict.FAIL: "failed", Verdict.UNKNOWN: "could not be judged", Verdict.PASS: "held"}
    parts = [
        f"{len(of[verdict])} {word}"
        + (f": {', '.join(dict.fromkeys(of[verdict]))}" if verdict is not Verdict.PASS else "")
        for verdict, word in words.items()
        if of[verdict]
    ]
    return f"of {plural(len(documents), noun)}, {'; '.join(parts)} {judged}"
