"""The verifier is a Python package, sticky-peers: `pip install .` gives the command sticky-verify."""

import re
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WHEEL_SECONDS = 180


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the wheel that pip makes of the checkout; its build backend comes from where pip gets everything."""
    out = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--wheel-dir", str(out)]
    done = subprocess.run(
        [*pip, str(ROOT)], cwd=out, capture_output=True, text=True, timeout=WHEEL_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def files(wheel: Path) -> dict[str, str]:
    """Returns the wheel's files as text, by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


@pytest.fixture(scope="module")
def metadata(files: dict[str, str]) -> Message:
    return Parser().parsestr(next(text for name, text in files.items() if name.endswith(".dist-info/METADATA")))


def test_the_whole_package_is_in_it_and_nothing_else(files: dict[str, str]) -> None:
    ours = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "verify").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in files if not re.match(r"sticky_peers-[\d.]+\.dist-info/", name)} == ours


def test_it_gives_the_command(wheel: Path, files: dict[str, str], tmp_path: Path) -> None:
    (points,) = [text for name, text in files.items() if name.endswith("entry_points.txt")]
    assert points.split() == ["[console_scripts]", "sticky-verify", "=", "verify.cli:main"]
    program = f"import sys; sys.path.insert(0, {str(wheel)!r}); from verify.cli import main; main(['--help'])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")


def test_one_version_everywhere(metadata: Message) -> None:
    assert metadata["Name"] == "sticky-peers"
    assert metadata["Version"] == yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]


def test_what_it_needs_is_pinned_for_the_checkout(metadata: Message) -> None:
    """Each dependency stands in requirements.txt too, with the same extras, in a version that is not too old."""
    pins = dict(re.findall(r"^([\w.\[\]-]+)==([\d.]+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    needed = dict(re.findall(r"(\S+)>=([\d.]+)", "\n".join(metadata.get_all("Requires-Dist", []))))
    assert len(needed) == len(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    for name, least in needed.items():
        assert [*map(int, pins[name].split("."))] >= [*map(int, least.split("."))], name


def test_no_pin_is_missing_among_the_constraints() -> None:
    constraints = set((ROOT / "constraints.txt").read_text().splitlines())
    pins = re.findall(r"^([\w.-]+)(?:\[\S+\])?(==[\d.]+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert pins
    assert [name for name, version in pins if name + version not in constraints] == []
