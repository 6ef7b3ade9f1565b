"""JUnit: verdicts as the XML that CI systems read. A suite is a scenario, a case an invariant. Pure.

Unknown is an error, never a pass and never skipped: whoever looks at colours alone must see it. Skipped is
what HAProxy's version can't offer, with the reason.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from verify.report.document import Document, NotApplicable
from verify.report.repeats import Repeats
from verify.report.text import plural, printable
from verify.verdict import Result, Verdict


def junit(documents: Sequence[Document], left_out: Sequence[NotApplicable] = ()) -> bytes:
    """Returns the XML of a run of scenarios; of none at all it is an error."""
    root = ET.Element("testsuites", {"name": "sticky-verify"})
    for document in documents:
        _suite(root, document)
    if len(documents) > len({document.scenario for document in documents}):
        _repeats(root, Repeats.made(documents))
    for each in left_out:
        suite = ET.SubElement(root, "testsuite", {"name": each.scenario, "time": "0.000"})
        ET.SubElement(_case(suite, each.scenario, "applicable"), "skipped", {"message": printable(each.why)})
        _count(suite)
    if not documents:
        suite = ET.SubElement(root, "testsuite", {"name": "verify", "time": "0.000"})
        _unknown(_case(suite, "verify", "observed"), "no scenario was played")
        _count(suite)
    _count(root)
    root.set("time", f"{sum(document.duration_s for document in documents):.3f}")
    ET.indent(root)
    xml: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return xml + b"\n"


def _suite(root: ET.Element, document: Document) -> None:
    suite = ET.SubElement(root, "testsuite", {"name": document.scenario})
    suite.set("time", f"{document.duration_s:.3f}")
    suite.set("timestamp", document.began.removesuffix("+00:00"))
    facts = {"run": document.run, "seed": str(document.seed), "replay": document.replay}
    facts |= {f"haproxy on {balancer}": version for balancer, version in document.versions.items()}
    properties = ET.SubElement(suite, "properties")
    for name, value in facts.items():
        ET.SubElement(properties, "property", {"name": name, "value": printable(value)})
    for result in document.results:
        case = _case(suite, document.scenario, result.invariant)
        match result.verdict:
            case Verdict.FAIL:
                failure = ET.SubElement(case, "failure", {"message": printable(result.summary), "type": "fail"})
                failure.text = printable(_body(document, result))
            case Verdict.UNKNOWN:
                _unknown(case, result.summary)
    if not document.results:
        _unknown(_case(suite, document.scenario, "observed"), "nothing was judged")
    if document.ended:
        _unknown(_case(suite, document.scenario, "played to its end"), document.ended)
    _count(suite)


def _repeats(root: ET.Element, repeats: Repeats) -> None:
    """Adds a suite with a case for each scenario, over all of its runs."""
    suite = ET.SubElement(root, "testsuite", {"name": "repeats", "time": "0.000"})
    for each in repeats.scenarios:
        case = _case(suite, "repeats", each.scenario)
        text = (
            f"failed runs {each.lost}, moved requests {each.moved}, tables without rows {each.rows},"
            f" unanswered requests {each.failed}"
        )
        match each.verdict:
            case Verdict.FAIL:
                ET.SubElement(case, "failure", {"message": text, "type": "fail"})
            case Verdict.UNKNOWN:
                _unknown(case, text)
            case Verdict.PASS:
                ET.SubElement(case, "system-out").text = text
    _count(suite)


def _case(suite: ET.Element, scenario: str, name: str) -> ET.Element:
    # Judging takes no time worth a number; the suite's time is the scenario's.
    return ET.SubElement(suite, "testcase", {"classname": f"verify.{scenario}", "name": name, "time": "0.000"})


def _unknown(case: ET.Element, message: str) -> None:
    ET.SubElement(case, "error", {"message": printable(message), "type": "unknown"})


def _count(element: ET.Element) -> None:
    for attribute, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(attribute, str(sum(1 for _ in element.iter(tag))))


def _body(document: Document, result: Result) -> str:
    """Returns every violation with the lines that prove it, and how to play it again."""
    lines = []
    proofs = document.proofs.get(result.invariant, [])
    for violation, proof in zip(result.violations, proofs, strict=True):
        lines += [violation.text, *(f"    {line}" for line in proof)]
        lines += [f"    known: {violation.cause}"] if violation.cause else []
    left = result.violated - len(result.violations)
    lines += [f"and {plural(left, 'violation')} more"] if left > 0 else []
    return "\n".join([*lines, f"Play it again: {document.replay}"])
