"""Page: one run of one scenario as a single HTML file that needs no network. Pure."""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from verify.history import Evidence, Fault, History, Snapshot
from verify.invariants.proof import proof
from verify.report import stories
from verify.report.document import Document
from verify.report.drawing import Figure
from verify.report.figures import figures
from verify.report.markup import Markup, element, folded, listed, markup, table
from verify.report.statistics import Latency, Spread, SyncLag
from verify.report.text import milliseconds, plural, seconds
from verify.verdict import Result, Verdict

UNFOLDED = 3  # violations of an invariant that are shown at once
SIGNS = {Verdict.PASS: "✓", Verdict.UNKNOWN: "?", Verdict.FAIL: "✗"}


def page(document: Document, history: History, results: Sequence[Result]) -> str:
    """Returns the whole page.

    Args:
        document: the run's verdict.
        history: the run's.
        results: what judging came to.
    """
    style = (Path(__file__).with_name("page.css")).read_text(encoding="utf-8")
    scripts = [get_plotlyjs(), (Path(__file__).with_name("page.js")).read_text(encoding="utf-8")]
    title = f"{document.verdict.upper()}: {document.scenario}, {document.run}"
    head = markup(
        Markup('<meta charset="utf-8">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", title),
        element("style", Markup(style)),
    )
    body = markup(
        element("main", *_sections(document, history, results)),
        element("footer", f"Written by the verifier of sticky.peers. The run's files: {document.directory}"),
        *(element("script", Markup(script)) for script in scripts),
    )
    return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>{body}</body>\n</html>\n'


def _policy(scripts: Sequence[str]) -> str:
    """Returns what the browser may do: run these scripts and no others, and load nothing."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"


def _sections(document: Document, history: History, results: Sequence[Result]) -> Iterator[Markup]:
    yield _banner(document)
    yield _tiles(document)
    yield _section("What was judged", _results(history, results))
    for figure in figures(history, results):
        yield _figure(figure)
        if figure.name == "latency":
            yield _latency(document)
        if figure.name == "sync-lag":
            yield _sync_lag(document)
    yield _section("Worst sessions", stories.worst(history, results))
    yield _section("Faults", _faults(history.faults))
    yield _section("Tables at rest", _snapshots(history.snapshots))
    yield _section("Hosts", _hosts(history))
    yield _section("How it was run", _how(document, history))
    yield _section("From the hosts, not judged", _notes(history))


def _section(title: str, *inside: str) -> Markup:
    return element("section", element("h2", title), *inside)


def _banner(document: Document) -> Markup:
    of = {verdict: sum(result.verdict == verdict for result in document.results) for verdict in Verdict}
    says = [f"{of[Verdict.PASS]} of {plural(len(document.results), 'invariant')} held"]
    says += [f"{of[Verdict.FAIL]} failed"] * bool(of[Verdict.FAIL])
    says += [f"{of[Verdict.UNKNOWN]} could not be judged"] * bool(of[Verdict.UNKNOWN])
    ended = f" The scenario was not played to its end: {document.ended}." if document.ended else ""
    versions = "; ".join(
        f"HAProxy {version} on {', '.join(name for name, other in document.versions.items() if other == version)}"
        for version in dict.fromkeys(document.versions.values())
    )
    return element(
        "header",
        element("span", f"{SIGNS[document.verdict]} {document.verdict.upper()}", class_="word"),
        element(
            "div",
            element("h1", document.scenario),
            element("p", f"{', '.join(says)}.{ended}"),
            element(
                "p", f"{document.began}, {document.duration_s:.1f} s, seed {document.seed}. {versions}", class_="soft"
            ),
        ),
        class_=f"banner {document.verdict}",
    )


def _tiles(document: Document) -> Markup:
    counts, requests = document.counts, document.counts.requests
    tiles = [
        ("sessions", str(counts.sessions), f"{counts.moved} saw more than one server"),
        ("requests", str(requests.total), f"{requests.ok} answered"),
        ("not answered", str(requests.fail + requests.info), f"{requests.fail} fail, {requests.info} info"),
        ("faults", str(counts.faults), "injected"),
        ("observations", str(counts.observations), "judged"),
        ("latency, p99", _slowest(document.latency), "the slower balancer"),
        ("sync lag, p99", _slowest(document.sync_lag), "the slower direction"),
    ]
    return element(
        "dl",
        *(
            element("div", element("dt", name), element("dd", value, element("small", says)))
            for name, value, says in tiles
        ),
        class_="tiles",
    )


def _slowest(of: Sequence[Latency] | Sequence[SyncLag]) -> str:
    times = [found.ms.p99 for found in of if found.ms]
    return f"{milliseconds(max(times))} ms" if times else "-"


def _results(history: History, results: Sequence[Result]) -> Markup:
    rows = [
        [
            element("span", result.invariant, class_="mono"),
            element("b", f"{SIGNS[result.verdict]} {result.verdict}", class_=result.verdict),
            str(result.judged),
            str(result.unjudged),
            result.summary,
        ]
        for result in results
    ]
    against = [_against(history, result) for result in results if result.violations]
    return markup(table(["invariant", "verdict", "judged", "not judged", "summary"], rows, class_="results"), *against)


def _against(history: History, result: Result) -> Markup:
    """Returns the violations of one invariant, the first ones unfolded, each with the piece that proves it."""
    shown = [
        element(
            "div",
            element("p", found.text),
            stories.piece(proof(history, found)) if found.operations or found.faults else "",
            element("p", f"Known: {found.cause}", class_="soft") if found.cause else "",
            class_="violation",
        )
        for found in result.violations
    ]
    all_of_them = max(result.violated, len(shown))
    more = folded(f"{len(shown) - UNFOLDED} more", *shown[UNFOLDED:]) if len(shown) > UNFOLDED else ""
    left = all_of_them - len(shown)
    rest = element("p", f"And {left} more, which are only counted.") if left else ""
    return markup(
        element("h3", f"Against {result.invariant}: {plural(all_of_them, 'violation')}"), *shown[:UNFOLDED], more, rest
    )


def _figure(figure: Figure) -> Markup:
    inside = [element("figcaption", figure.caption)]
    if figure.data:
        # Within a script, `<` could end it or begin a comment.
        json = msgspec.json.encode({"data": figure.data, "layout": figure.layout}).decode().replace("<", "\\u003c")
        place = {"id": figure.name, "style": f"height: {figure.layout['height']}px", "aria_label": figure.title}
        inside.append(element("div", class_="plot", role="img", **place))
        inside.append(element("noscript", element("p", "The figures are drawn by JavaScript.")))
        inside.append(element("script", Markup(json), type="application/json", id=f"{figure.name}-data"))
    return _section(figure.title, element("figure", *inside))


def _latency(document: Document) -> Markup:
    rows = [(found.balancer, str(found.answered), *_spread(found.ms)) for found in document.latency]
    return table(["balancer", "answered", "p50 ms", "p95 ms", "p99 ms", "max ms"], rows) if rows else Markup()


def _sync_lag(document: Document) -> Markup:
    rows = [
        (f"{found.source} → {found.target}", str(found.arrived), str(found.missing), *_spread(found.ms),
         milliseconds(found.resolution_ms))
        for found in document.sync_lag
    ]  # fmt: skip
    head = ["direction", "arrived", "never", "p50 ms", "p95 ms", "p99 ms", "max ms", "resolution ms"]
    return table(head, rows) if rows else Markup()


def _spread(spread: Spread | None) -> list[str]:
    return [milliseconds(time) for time in (spread.p50, spread.p95, spread.p99, spread.max)] if spread else ["-"] * 4


def _faults(faults: Sequence[Fault]) -> Markup:
    if not faults:
        return element("p", "None was injected.")
    rows = [
        (
            f"{fault.id} {fault.kind}",
            ", ".join(fault.hosts),
            markup(_at(fault.injected_ns), " to ", _at(fault.healed_ns) if fault.healed_ns is not None else "never"),
            _evidence(fault.evidence, "none: nothing shows that it happened"),
            _evidence(fault.heal_evidence, "none"),
            fault.proves_not or "-",
        )
        for fault in faults
    ]
    return table(
        ["fault", "hosts", "injected to healed", "evidence", "evidence of healing", "does not prove"],
        rows,
        class_="broad",
    )


def _evidence(found: Sequence[Evidence], nothing: str) -> Markup:
    if not found:
        return element("b", nothing, class_=Verdict.UNKNOWN)
    return listed(
        markup(element("b", "✓" if each.seen else "✗ not seen:", class_="pass" if each.seen else "fail"),
               f" {each.what} ({each.text})")
        for each in found
    )  # fmt: skip


def _snapshots(snapshots: Sequence[Snapshot]) -> Markup:
    if not snapshots:
        return element("p", "No table was looked at.")
    moments: dict[int, list[Snapshot]] = {}
    for snapshot in snapshots:
        moments.setdefault(snapshot.moment, []).append(snapshot)
    rows = []
    for moment, looks in sorted(moments.items()):
        seen = [
            [look.rows.get(label) for look in looks]
            for label in dict.fromkeys(label for look in looks for label in look.rows)
        ]
        equal = sum(None not in row and len(set(row)) == 1 for row in seen)
        missing = sum(None in row and set(row) != {None} for row in seen)
        nowhere = sum(set(row) == {None} for row in seen)
        differ = len(seen) - equal - missing - nowhere
        used = ", ".join(f"{look.balancer}: {look.used} of {look.size}" for look in looks)
        at = _at(looks[0].at_ns)
        rows.append((str(moment), at, looks[0].table, str(equal), str(differ), str(missing), str(nowhere), used))
    says = "The verifier's own sessions, looked up on every balancer; rows in use are everybody's."
    head = ["moment", "at", "table", "equal", "another server", "missing on some", "nowhere", "rows in use"]
    return markup(element("p", says, class_="soft"), table(head, rows, class_="broad"))


def _hosts(history: History) -> Markup:
    rows: list[list[str]] = [
        [
            each.balancer,
            _at(each.at_ns),
            f"{each.checks} checks against what is intended",
            listed(each.deviations) or _kept("as intended"),
        ]
        for each in history.inspections
    ]
    rows += [
        [
            each.host,
            _at(each.at_ns),
            f"searched for {', '.join(each.searched)}",
            listed(each.found) or _kept("nothing left"),
        ]
        for each in history.cleanups
    ]
    if not rows:
        return element("p", "No host was looked at.")
    return table(["host", "at", "looked at", "found"], rows, class_="broad")


def _how(document: Document, history: History) -> Markup:
    kinds = history.header.kinds
    rows = [(name, version, kinds.get(name, "-")) for name, version in document.versions.items()]
    return markup(
        element("p", "To play it again:"),
        element("pre", document.replay),
        element("p", "It was called with:"),
        element("pre", " ".join(history.header.arguments) or "no arguments"),
        table(["balancer", "HAProxy", "kind of host"], rows),
    )


def _notes(history: History) -> Markup:
    if not history.notes:
        return element("p", "Nothing was collected: that is done where the verdict is not pass.")
    return markup(
        *(
            folded(f"{note.host}: {note.what}, at {seconds(note.at_ns)}", element("pre", note.text))
            for note in history.notes
        )
    )


def _at(ns: int) -> Markup:
    return _kept(seconds(ns))


def _kept(text: str) -> Markup:
    """Returns a text that is not broken into lines."""
    return element("span", text, class_="kept")
