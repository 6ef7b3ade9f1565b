"""Schema: the published JSON Schemas of `verdict.json`, of a line of `history.jsonl`, and of what `--json` writes.

They are made of the types: `python -m verify.report.schema` writes them, and a test compares.
"""

import re
from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec

from verify.history import AnyRecord
from verify.report.document import Document
from verify.report.repeats import Repeats

FILES: dict[str, Any] = {"verdict": Document, "history": AnyRecord, "repeats": Repeats}
TITLES = {
    "verdict": "The verdict of one run of one scenario",
    "history": "One line of a run's history",
    "repeats": "The figures over several runs of scenarios",
}


def path(name: str) -> Path:
    """Returns where a schema is published: `verdict`, `history` or `repeats`."""
    return Path(__file__).with_name(f"{name}.schema.json")


def schema(name: str) -> bytes:
    """Returns a schema's text; docstrings become descriptions, also those of attributes."""
    made = msgspec.json.schema(FILES[name])
    for definition in made.get("$defs", {}).values():
        _describe(definition)
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:sticky-peers:{name}:1",
        "title": TITLES[name],
        **made,
    }
    return msgspec.json.format(msgspec.json.encode(whole)) + b"\n"


def _describe(definition: dict[str, Any]) -> None:
    """Moves what a docstring says of its attributes to the properties."""
    # Python 3.13 takes the indentation away itself, older ones do not.
    text, _, attributes = cleandoc(definition.get("description", "")).partition("Attributes:\n")
    definition["description"] = text.strip()
    for name, said in re.findall(r"^ {4}(\w+): (.+(?:\n {5,}.+)*)", attributes, re.MULTILINE):
        definition["properties"][name]["description"] = " ".join(said.split())


if __name__ == "__main__":
    for each in FILES:
        path(each).write_bytes(schema(each))
