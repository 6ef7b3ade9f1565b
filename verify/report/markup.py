"""Markup: HTML elements, in which every text is escaped unless it is markup already. Pure."""

import html
from collections.abc import Iterable, Sequence

from verify.report.text import printable


class Markup(str):
    """HTML, as opposed to a text that still has to be escaped."""

    __slots__ = ()


def markup(*parts: str) -> Markup:
    """Joins texts and markup."""
    return Markup("".join(part if isinstance(part, Markup) else html.escape(printable(part)) for part in parts))


def element(name: str, *inside: str, **attributes: str) -> Markup:
    """Returns an element; `class_` and `aria_label` are `class` and `aria-label`."""
    given = "".join(
        f' {key.strip("_").replace("_", "-")}="{markup(value)}"' if value else f" {key}"
        for key, value in attributes.items()
    )
    return Markup(f"<{name}{given}>{markup(*inside)}</{name}>")


def table(head: Sequence[str], rows: Iterable[Sequence[str] | Markup], **attributes: str) -> Markup:
    """Returns a table that scrolls by itself where it is too wide; a row is its cells, or markup."""
    body = [row if isinstance(row, Markup) else element("tr", *(element("td", cell) for cell in row)) for row in rows]
    titles = element("tr", *(element("th", title, scope="col") for title in head))
    whole = element("table", element("thead", titles), element("tbody", *body), **attributes)
    return element("div", whole, class_="wide")


def listed(items: Iterable[str]) -> Markup:
    """Returns a list, or nothing of nothing."""
    found = [element("li", item) for item in items]
    return element("ul", *found) if found else Markup()


def folded(title: str, *inside: str, opened: bool = False) -> Markup:
    """Returns what is shown when its title is clicked."""
    attributes = {"open": ""} if opened else {}
    return element("details", element("summary", title), *inside, **attributes)
