"""Recording: a real HAProxy's recorded answers, to be read and asked again (tests/verify/fixtures)."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from verify.errors import HostError
from verify.table_text import parse_row, unescape

FIXTURES = Path(__file__).with_name("fixtures")
VERSIONS = ("2.2", "2.6", "3.0", "3.2")


class Recording:
    """The answers of one file, such as `2.6/pair-a`.

    Attributes:
        answers: by command.
        asked: the commands that were asked.
    """

    def __init__(self, name: str) -> None:
        """Reads a file of fixtures, without its ending."""
        text = (FIXTURES / f"{name}.txt").read_text()
        parts = re.split(r"^\$ (.*)\n", text, flags=re.MULTILINE)[1:]
        self.answers = dict(zip(parts[::2], parts[1::2], strict=True))
        self.asked: list[str] = []

    def change(self, command: str, old: str, new: str) -> "Recording":
        """Seeds a fault: replaces text of one answer, which has to have it."""
        changed = re.sub(old, new, self.answers[command], flags=re.MULTILINE)
        assert changed != self.answers[command], f"nothing to change in {command}: {old}"
        self.answers[command] = changed
        return self

    def cli(self, socket: str, commands: Sequence[str]) -> list[str]:
        """Answers as it was recorded, and keys from the rows that were."""
        self.asked += commands
        return [self._answer(command) for command in commands]

    def stream(self, socket: str, command: str) -> Iterator[str]:
        """Answers line by line."""
        self.asked.append(command)
        yield from self._answer(command).removesuffix("\n").split("\n")

    def _answer(self, command: str) -> str:
        key = re.fullmatch(r"show table (\S+) key (.*) ", command)
        if not key:
            if command not in self.answers:
                raise HostError("recording", command, 1, "this was not recorded")
            return self.answers[command]
        header, *rows = self.answers[f"show table {key[1]}"].rstrip("\n").split("\n")
        found = [row for row in rows if parse_row(row).key == unescape(key[2])]
        return "\n".join([header, *found, "", ""]) if found else "\n"
