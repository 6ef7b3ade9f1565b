"""access-1.sh and access-2.sh, against a server on loopback that answers like a balancer."""

import hashlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BOTH = pytest.mark.parametrize("script", ["access-1.sh", "access-2.sh"])
USAGE = "usage: access-1.sh A B, with whole numbers A <= B\n"


@dataclass
class Balancer:
    """Where the server listens, and the cookies that it was sent."""

    url: str
    cookies: list[str | None] = field(default_factory=list)


@pytest.fixture
def balancer() -> Iterator[Balancer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.cookies.append(self.headers["Cookie"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"Backend 6\n")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        asked = Balancer(f"http://127.0.0.1:{server.server_port}/")
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield asked
        server.shutdown()


def run(script: str, *arguments: str, url: str, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    """Runs one of the scripts with nothing else in its environment."""
    env = {"PATH": path, "URL": url}
    return subprocess.run([ROOT / script, *arguments], env=env, capture_output=True, text=True, timeout=30, check=False)


def session(n: int) -> str:
    """Gives the Cookie header of session n."""
    return f"c1=1; c2=2; JSESSIONID={hashlib.md5(f'_{n}'.encode()).hexdigest()}"


@BOTH
def test_one_line_and_one_request_for_each_session(balancer: Balancer, script: str) -> None:
    done = run(script, "21", "23", url=balancer.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "00021 - Backend 6\n00022 - Backend 6\n00023 - Backend 6\n"
    assert balancer.cookies == [session(21), session(22), session(23)]


def test_a_single_session(balancer: Balancer) -> None:
    assert run("access-1.sh", "7", "7", url=balancer.url).stdout == "00007 - Backend 6\n"
    assert balancer.cookies == [session(7)]


def test_md5_by_openssl_alone(balancer: Balancer, tmp_path: Path) -> None:
    for tool in ("sh", "curl", "printf", "cut", "sed", "dirname", "openssl"):
        found = shutil.which(tool)
        assert found, f"{tool} is not on this machine"
        (tmp_path / tool).symlink_to(found)
    done = run("access-1.sh", "1", "2", url=balancer.url, path=str(tmp_path))
    assert (done.stdout, done.stderr) == ("00001 - Backend 6\n00002 - Backend 6\n", "")
    assert balancer.cookies == [session(1), session(2)]


@BOTH
@pytest.mark.parametrize(
    "arguments",
    [[], ["1"], ["1", "2", "3"], ["1", "x"], ["-1", "2"], ["1.5", "2"], ["2", "1"], ["", ""], ["1", ""], ["08", "09"]],
    ids=lambda arguments: " ".join(arguments) or "none",
)
def test_wrong_arguments_are_bad_use(balancer: Balancer, script: str, arguments: list[str]) -> None:
    done = run(script, *arguments, url=balancer.url)
    assert (done.returncode, done.stdout, done.stderr) == (64, "", USAGE)
    assert balancer.cookies == []


def test_a_balancer_that_does_not_answer_is_an_error() -> None:
    with socket.socket() as bound:  # bound, but nobody listens
        bound.bind(("127.0.0.1", 0))
        done = run("access-1.sh", "1", "2", url=f"http://127.0.0.1:{bound.getsockname()[1]}/")
    assert done.returncode == 7
    assert "curl: (7)" in done.stderr
