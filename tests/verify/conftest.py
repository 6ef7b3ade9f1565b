"""What the verifier's tests share."""

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.verify.web import Authority, Web, serving


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[Callable[[dict[str, bytes]], str]]:
    """Returns a function that listens with these answers, `\\n` for others; it returns the socket's path."""
    with ExitStack() as stack:

        def listen(answers: dict[str, bytes]) -> str:
            class Handler(socketserver.StreamRequestHandler):
                def handle(self) -> None:
                    command = self.rfile.read().decode().rstrip("\n")
                    with suppress(ConnectionError):
                        self.wfile.write(answers.get(command, b"\n"))

            path = str(tmp_path / f"{len(list(tmp_path.iterdir()))}.sock")
            server = stack.enter_context(socketserver.ThreadingUnixStreamServer(path, Handler))
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join, 10)
            stack.callback(server.shutdown)
            return path

        yield listen


@pytest.fixture
def web() -> Iterator[Web]:
    """Gives a server that is asked over HTTP."""
    with serving(Web()) as web:
        yield web


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Makes one for all tests, as openssl takes its time."""
    return Authority.make(tmp_path_factory.mktemp("authority"))
