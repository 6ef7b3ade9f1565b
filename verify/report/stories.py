"""Stories: small histories of single sessions, as tables of the page. Pure."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from verify.history import AnyRecord, Fault, History, Operation
from verify.invariants.pairs import told
from verify.invariants.proof import tell
from verify.report.markup import Markup, element, folded, listed, markup, table
from verify.report.statistics import by_session
from verify.report.text import milliseconds, plural, seconds
from verify.verdict import Result, Violation

MAX_STORIES = 12
MAX_ROWS = 60  # of one story
HEAD = ("session", "sent", "asked", "answered by", "outcome")


def piece(records: Sequence[AnyRecord]) -> Markup:
    """Returns a table of the records that prove something."""
    return table(HEAD, map(_row, records), class_="story")


def worst(history: History, results: Sequence[Result]) -> Markup:
    """Returns the stories of the sessions with violations, then of those that were not always answered."""
    violations: dict[str, list[Violation]] = {}
    for result in results:
        for found in result.violations:
            if found.session is not None:
                violations.setdefault(found.session, []).append(found)
    asked = by_session(history)
    unanswered = {label: sum(o.outcome != "ok" for o in operations) for label, operations in asked.items()}
    others = sorted(set(unanswered) - set(violations), key=lambda label: (-unanswered[label], label))
    worst = [*violations, *(label for label in others if unanswered[label])]
    if not worst:
        return element("p", "No session speaks against an invariant, and every request was answered.")
    stories = [
        _story(
            history, label, asked.get(label, []), violations.get(label, []), bool(violations.get(label)) and place < 2
        )
        for place, label in enumerate(worst[:MAX_STORIES])
    ]
    left = len(worst) - len(stories)
    more = f"Left out: {plural(left, 'session')} with violations or unanswered requests." if left else ""
    return markup(*stories, element("p", more))


def _story(
    history: History, label: str, operations: Sequence[Operation], violations: Sequence[Violation], opened: bool
) -> Markup:
    proving = {index for found in violations for index in found.operations}
    rows = _cut(list(_rows(history, operations, proving)))
    bad = sum(operation.outcome != "ok" for operation in operations)
    servers = list(dict.fromkeys(o.server for o in operations if o.known and o.server))
    title = f"{label}: {plural(len(operations), 'request')}, {bad} not answered; {' → '.join(servers) or 'no server'}"
    return folded(title, listed(found.text for found in violations), table(HEAD, rows, class_="story"), opened=opened)


def _cut(rows: Sequence[tuple[bool, Markup]]) -> list[Markup]:
    """Returns so many rows as a story may have: those about the first one that proves something."""
    first = next((place for place, (proves, _) in enumerate(rows) if proves), 0)
    begin = max(0, min(first - MAX_ROWS // 2, len(rows) - MAX_ROWS))
    kept = [row for _, row in rows[begin : begin + MAX_ROWS]]
    after = len(rows) - begin - len(kept)
    if begin:
        kept.insert(0, _more(f"… {plural(begin, 'row')} before"))
    return [*kept, _more(f"… {plural(after, 'row')} after")] if after else kept


def _rows(history: History, operations: Sequence[Operation], proving: set[int]) -> Iterator[tuple[bool, Markup]]:
    """Yields a session's requests and the faults between them, and whether each proves something.

    The middle of a uniform run is only counted.
    """
    if not operations:
        return
    events: list[tuple[int, Operation | Fault]] = [(operation.sent_ns, operation) for operation in operations]
    for fault in history.faults:
        if (
            fault.injected_ns < operations[-1].sent_ns
            and (fault.healed_ns or fault.injected_ns) > operations[0].sent_ns
        ):
            events.append((fault.injected_ns, fault))
    events.sort(key=lambda event: event[0])

    def kind(event: tuple[int, Operation | Fault]) -> tuple[object, ...]:
        record = event[1]
        if isinstance(record, Fault) or record.index in proving or record.outcome != "ok":
            return (id(record),)
        return ("ok", record.server)

    for _, group in groupby(events, kind):
        run = [record for _, record in group]
        left = len(run) - 2 if len(run) > 4 else 0
        for record in (run[0], run[-1]) if left else run:
            yield isinstance(record, Operation) and record.index in proving, _row(record, proving)
            if left and record is run[0] and isinstance(record, Operation):
                server = record.server or "an unknown server"
                yield False, _more(f"… {left} more requests, all answered by {server}")


def _more(text: str) -> Markup:
    return element("tr", element("td", text, colspan="5", class_="more"))


def _row(record: AnyRecord, proving: frozenset[int] | set[int] = frozenset()) -> Markup:
    match record:
        case Operation():
            took = f"{milliseconds((record.done_ns - record.sent_ns) / 1e6)} ms"
            outcome = [record.outcome, f"HTTP {record.status}" if record.status else "", took, record.error or ""]
            cells = (
                record.session or "-",
                seconds(record.sent_ns),
                record.balancer,
                record.server or "-",
                ", ".join(filter(None, outcome)),
            )
            classes = " ".join(filter(None, [record.outcome, "proves" if record.index in proving else ""]))
            return element("tr", *(element("td", cell) for cell in cells), class_=classes)
        case Fault():
            over = f"healed {seconds(record.healed_ns)}" if record.healed_ns is not None else "not healed"
            text = f"{told(record)}, injected {seconds(record.injected_ns)}, {over}"
        case _:
            text = tell(record)
    return element("tr", element("td", text, colspan="5"), class_="fault")
