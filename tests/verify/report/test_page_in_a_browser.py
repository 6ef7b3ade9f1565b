"""The page in Debian's Chromium, headless: nothing is complained of, and every figure has its marks."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.verify.report.histories import Run, made
from verify.report.page import page

SECONDS = 120
BROWSER = shutil.which("chromium")

Browse = Callable[[Path], tuple[str, list[str]]]


@pytest.fixture
def browse(tmp_path: Path) -> Browse:
    """Returns a function that opens a file, and gives the document as it became and the console's lines."""
    if BROWSER is None:
        pytest.fail("the page needs a browser to be tested in: install chromium with scripts/install-missing")

    def opened(file: Path) -> tuple[str, list[str]]:
        command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        command += ["--no-first-run", "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}"]
        # No name resolves: the page has to do without a network. Console lines go to standard error.
        command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0"]
        command += ["--allow-file-access-from-files", "--virtual-time-budget=20000", "--dump-dom", file.as_uri()]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HOME": str(tmp_path)},
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            pytest.fail(f"chromium did not show {file.name} within {SECONDS} s")
        assert process.returncode == 0, err
        return out, [line for line in err.splitlines() if ":CONSOLE:" in line]

    return opened


def points(dom: str) -> dict[str, int]:
    """Returns how many marks each figure drew, by its title."""
    body = dom[dom.index("<body") :]
    sections = re.findall(r"<section><h2>(.*?)</h2>(.*?)</section>", body, re.DOTALL)
    return {title: len(re.findall('class="point[ "]', inside)) for title, inside in sections if "<figure>" in inside}


def write(folder: Path, run: Run) -> Path:
    """Writes a run's page, returns the file."""
    file = folder / "report.html"
    file.write_text(page(run.document, run.history, run.results), encoding="utf-8")
    return file


@pytest.mark.parametrize("good", [True, False], ids=["pass", "fail"])
def test_every_figure_has_its_marks(tmp_path: Path, browse: Browse, good: bool) -> None:
    run = made(good)
    dom, console = browse(write(tmp_path, run))
    assert console == []
    drawn = points(dom)
    requests = len(run.history.operations)
    assert drawn["Sessions over time"] >= requests
    assert drawn["Latency over time"] >= requests
    assert drawn["Requests and errors over time"] >= 80
    assert drawn["Sync lag"] >= 10
    assert f"{run.document.verdict.upper()}</span>" in dom
    for fault in run.history.faults:
        assert f">{fault.id} {fault.kind}</text>" in dom


def test_a_figure_without_data_is_a_sentence(tmp_path: Path, browse: Browse) -> None:
    dom, console = browse(write(tmp_path, made(good=True, sessions=5, operations=30, lags=False)))
    assert console == []
    assert points(dom)["Sync lag"] == 0
    assert "Not measured in this scenario." in dom


def test_a_large_history_is_drawn(tmp_path: Path, browse: Browse) -> None:
    dom, console = browse(write(tmp_path, made(good=False, sessions=1500, operations=20_000)))
    assert console == []
    assert points(dom)["Latency over time"] >= 5000


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_is_no_wider_than_its_window(tmp_path: Path, browse: Browse, width: int) -> None:
    write(tmp_path, made(good=False))
    frame = tmp_path / "frame.html"
    frame.write_text(f"""<!doctype html><p id="said"></p>
        <iframe id="page" src="report.html" style="width: {width}px; height: 800px"></iframe>
        <script>page.onload = () => {{
          const root = page.contentDocument.documentElement;
          said.textContent = `${{root.scrollWidth}} of ${{root.clientWidth}}`;
        }}</script>""")
    dom, console = browse(frame)
    assert console == []
    wide, window = re.findall(r"(\d+) of (\d+)</p>", dom)[0]
    assert int(wide) == int(window) > 0


def test_what_the_page_forbids_is_complained_of(tmp_path: Path, browse: Browse) -> None:
    """The other tests' silence means something, and the page's policy is in force."""
    file = write(tmp_path, made(good=True, sessions=5, operations=30))
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("</main>", '</main><img src="http://192.0.2.1/x"><script>alert(1)</script>'))
    _, console = browse(file)
    assert len([line for line in console if "Content Security Policy" in line]) == 2
