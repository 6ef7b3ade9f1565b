"""Text: numbers and foreign texts as reports show them. Pure."""

from verify.history import SECOND

# What a terminal obeys and XML forbids: all control characters but tab and newline, lone
# surrogates (bytes that are no UTF-8), and the two that are no characters at all.
_UNPRINTABLE = {
    **dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF], "?"),
    ord("\t"): "\t",
    ord("\n"): "\n",
}


def printable(text: str) -> str:
    """Returns a text from a host with `?` in place of what no report may hold."""
    return text.translate(_UNPRINTABLE)


def seconds(ns: int) -> str:
    """Returns a time of the history, `12.345 s`."""
    return f"{ns / SECOND:.3f} s"


def milliseconds(value: float) -> str:
    """Returns a duration in milliseconds with about three digits: `0.12`, `3.4`, `1234`."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def plural(count: int, noun: str) -> str:
    """Returns `1 request`, `2 requests`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
