"""docs/verdicts.md lists every invariant with the words that the verifier prints, and what messages refer to."""

import re
from pathlib import Path

from verify.errors import EXIT_BAD_USE
from verify.invariants import INVARIANTS
from verify.invariants.circumstances import CAUSES
from verify.verdict import Verdict

PAGE = Path(__file__).parents[3] / "docs" / "verdicts.md"


def test_the_table_of_invariants() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+?) \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
    assert [(name, says) for name, says, _ in rows] == [(name, known.says) for name, known in INVARIANTS.items()]
    assert all(unknown for *_, unknown in rows)


def test_the_table_of_verdicts() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| (\w+(?: \w+)?) \|", PAGE.read_text(), re.MULTILINE))
    wanted = {str(verdict.exit_code): str(verdict) for verdict in Verdict} | {str(EXIT_BAD_USE): "bad use"}
    assert rows == wanted


def test_the_place_that_messages_refer_to() -> None:
    """GitHub's anchor of a heading: lower case, without punctuation, hyphens for blanks."""
    headings = re.findall(r"^## (.+)$", PAGE.read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    for cause in CAUSES.values():
        (anchor,) = re.findall(r"docs/verdicts\.md#([\w-]+)", cause)
        assert anchor in anchors
