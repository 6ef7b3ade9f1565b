"""Layers of the verifier: a module imports only from layers before its own; judging has no I/O."""

import ast
from pathlib import Path

import pytest

VERIFY = Path(__file__).parent.parent.parent / "verify"
# In order; a package stands for all of its modules. Two names of one layer may import each other.
LAYERS = [
    {"errors"},
    {"history"},
    {"verdict"},
    {"invariants"},
    {"topology", "waiting", "teller"},
    {"configuration", "intent", "inventory", "table_text", "peers_text", "runtime_text", "agent", "pipe", "hosts"},
    {"runtime_api", "inspection", "seen", "lints", "look"},
    {"target", "client", "identity", "plan", "http1", "budget", "recorder", "load", "lag", "slow"},
    {"faults"},
    {"tables"},
    {"cluster", "evidence"},
    {"scenarios"},
    {"report"},
    {"run"},
    {"options"},
    {"cli"},
    {"__main__"},
]
PURE = ["errors", "history", "verdict", "invariants"]
OUTSIDE = {"socket", "subprocess", "threading", "asyncio", "time", "random", "httpx", "rich", "os"}


def modules() -> list[Path]:
    return [path for path in sorted(VERIFY.rglob("*.py")) if path != VERIFY / "__init__.py"]


def noun(path: Path) -> str:
    return path.relative_to(VERIFY).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.module == "verify":
                found |= {f"verify.{alias.name}" for alias in node.names}
            else:
                found.add(node.module or "")
    return found


def layer(name: str) -> int:
    (number,) = [number for number, names in enumerate(LAYERS) if name in names]
    return number


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(VERIFY)))
def test_a_module_imports_only_from_layers_before_its_own(path: Path) -> None:
    for name in imports(path):
        if name.startswith("verify."):
            assert layer(name.split(".")[1]) <= layer(noun(path)), f"{path.name} imports {name}"


@pytest.mark.parametrize("path", [path for path in modules() if noun(path) in PURE], ids=lambda path: path.name)
def test_judging_has_no_io(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & OUTSIDE
