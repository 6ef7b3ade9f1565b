"""The client, against a real HTTP server on loopback."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from verify.client import Client
from verify.errors import HttpError


class Pages(BaseHTTPRequestHandler):
    """Answers with the request's own Cookie header below "Backend 12"."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """`/login` issues a session, `/down` is an error page that names a backend."""
        body = f"<h1>Backend 12</h1>\n{self.headers['Cookie']}".encode()
        self.send_response(503 if self.path == "/down" else 200)
        self.send_header("Content-Length", str(len(body)))
        if self.path == "/login":
            self.send_header("Set-Cookie", "OTHER=1; Path=/")
            self.send_header("Set-Cookie", "JSESSIONID=fresh-1; Path=/; HttpOnly")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Keeps the tests' output clean."""


@pytest.fixture
def url() -> Iterator[str]:
    """The server's URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_session_is_sent_among_other_cookies(url: str) -> None:
    """The cookie header is the demo's, and the backend is read from the page."""
    with Client(url) as client:
        answer = client.ask("0a1b")
    assert answer.body.endswith("c1=1; c2=2; JSESSIONID=0a1b")
    assert (answer.status, answer.backend, answer.issued) == (200, 12, None)


def test_issued_session_is_told_and_not_kept(url: str) -> None:
    """A newcomer is a newcomer again after a login."""
    with Client(url) as client:
        assert client.ask(None, "/login").issued == "fresh-1"
        assert client.ask(None).body.endswith("\nc1=1; c2=2")


def test_error_page_is_an_answer_of_no_backend(url: str) -> None:
    """A status other than 200 counts as nobody's answer."""
    with Client(url) as client:
        answer = client.ask("0a1b", "/down")
    assert (answer.status, answer.backend) == (503, None)


def test_refused() -> None:
    """A port where nobody listens is an HttpError that names the URL."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but not listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with Client(url) as client, pytest.raises(HttpError, match=url):
            client.ask("0a1b")
