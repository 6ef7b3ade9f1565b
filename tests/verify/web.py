"""Real servers on loopback for the tests of client and load, and a throwaway certificate authority."""

import asyncio
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events

from verify.target import Target

BOUND = 10.0  # seconds that anything here may take


class Web(ThreadingHTTPServer):
    """An HTTP/1.1 server whose paths behave in different ways; see `Pages`.

    Attributes:
        name: comes back in the header X-Server.
        going: cleared, all answers wait until it is set again.
        asked: the requests' paths and Cookie headers.
    """

    daemon_threads = True
    request_queue_size = 200

    def __init__(self, name: str = "web-be1", context: ssl.SSLContext | None = None) -> None:
        self.name, self.context = name, context
        self.going = threading.Event()
        self.going.set()
        self.asked: list[tuple[str, str | None]] = []
        self.changed = threading.Condition()
        self.opened = self.closed = self.logins = 0
        super().__init__(("127.0.0.1", 0), Pages)

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.server_port}"

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        connection.settimeout(BOUND)
        if self.context:  # the handshake is made by the connection's own thread, when it reads
            connection = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no error here."""

    def count(self, opened: int = 0, closed: int = 0) -> None:
        with self.changed:
            self.opened += opened
            self.closed += closed
            self.changed.notify_all()

    def wait_all_closed(self) -> None:
        with self.changed:
            done = self.changed.wait_for(lambda: self.opened == self.closed, BOUND)
        assert done, f"waited {BOUND} s for {self.opened - self.closed} connections to be closed"


class Pages(BaseHTTPRequestHandler):
    """What paths do; any other is a page that tells the request."""

    protocol_version = "HTTP/1.1"
    server: Web

    def handle(self) -> None:
        self.server.count(opened=1)
        try:
            super().handle()
        finally:
            self.server.count(closed=1)

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Cookie"]))
        assert self.server.going.wait(BOUND)
        match self.path:
            case "/gone":  # closes without an answer
                self.close_connection = True
            case "/half":  # closes half-way
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nBackend 1")
                self.close_connection = True
            case "/never":  # until the client closes
                self.rfile.read(1)
                self.close_connection = True
            case "/rubbish":
                self.wfile.write(b"220 mail.example ESMTP\r\n")
                self.close_connection = True
            case "/once":  # answers, and closes what was to be kept
                self._answer(200, [])
                self.close_connection = True
            case "/whole":  # reads all of the request first
                self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(200, [])
            case "/down":
                self._answer(503, [])
            case "/login":
                with self.server.changed:
                    self.server.logins += 1
                    key = f"{self.server.name}-{self.server.logins}"
                self._answer(200, ["OTHER=1; Path=/", f"JSESSIONID={key}; Path=/; HttpOnly"])
            case _:
                self._answer(200, [])

    do_POST = do_GET

    def _answer(self, status: int, cookies: list[str]) -> None:
        told = [f"{name}: {value}" for name, value in self.headers.items()]
        body = "\n".join(["Backend 12", f"{self.command} {self.path}", *told]).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Server", self.server.name)
        for cookie in cookies:
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Keeps the tests' output clean."""


@contextmanager
def serving(web: Web) -> Iterator[Web]:
    """Serves, until the end."""
    thread = threading.Thread(target=web.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield web
    finally:
        web.going.set()
        web.shutdown()
        thread.join(BOUND)
        web.server_close()


def target(url: str, **more: object) -> Target:
    """Makes a target whose pages are a `Web`'s."""
    return Target(**{"url": url, "cookie": "JSESSIONID", "login_path": "/login", **more})  # type: ignore[arg-type]


@contextmanager
def refusing() -> Iterator[str]:
    """Gives a URL where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but not listening
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


class Http2(asyncio.Protocol):
    """Answers every HTTP/2 request with its `:authority` and path."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.http.initiate_connection()
        transport.write(self.http.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self.http.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                asked = {bytes(name): bytes(value) for name, value in event.headers or []}
                page = b"%s %s %s" % (asked[b":authority"], asked[b":path"], asked.get(b"cookie", b"-"))
                self.http.send_headers(event.stream_id or 0, [(":status", "200")])
                self.http.send_data(event.stream_id or 0, page, end_stream=True)
        self.transport.write(self.http.data_to_send())


@contextmanager
def serving_http2(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serves HTTP/2, with prior knowledge or over TLS; gives the port."""
    ready: Future[tuple[asyncio.AbstractEventLoop, int]] = Future()
    ended = asyncio.Event()

    async def run() -> None:
        made: list[Http2] = []

        def accept() -> Http2:
            made.append(Http2())
            return made[-1]

        server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0, ssl=context)
        ready.set_result((asyncio.get_running_loop(), server.sockets[0].getsockname()[1]))
        await ended.wait()
        server.close()
        for connection in made:
            connection.transport.abort()
        await asyncio.sleep(0)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    loop, port = ready.result(BOUND)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(BOUND)


_NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"


@dataclass(frozen=True)
class Authority:
    """A certificate authority of its own, which signed a server's certificate for shop.test, and a client's."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Authority":
        made = cls(folder)
        made.openssl(f"req -x509 {_NEW_KEY} -days 2 -subj /CN=throwaway -keyout ca.key -out ca.pem")
        for name, more in (("server", "subjectAltName=DNS:shop.test"), ("client", "extendedKeyUsage=clientAuth")):
            (folder / f"{name}.ext").write_text(f"{more}\n")
            made.openssl(f"req {_NEW_KEY} -subj /CN={name} -keyout {name}.key -out {name}.csr")
            signer = "-CA ca.pem -CAkey ca.key -CAcreateserial"
            made.openssl(f"x509 -req -in {name}.csr {signer} -days 2 -extfile {name}.ext -out {name}.crt")
            (folder / f"{name}.pem").write_text(made.read(f"{name}.crt") + made.read(f"{name}.key"))
        return made

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def openssl(self, words: str) -> None:
        subprocess.run(["openssl", *words.split()], cwd=self.folder, capture_output=True, check=True, timeout=60)

    @property
    def ca(self) -> str:
        return str(self.folder / "ca.pem")

    @property
    def client(self) -> str:
        return str(self.folder / "client.pem")

    def context(self, ask_client: bool = False, alpn: str = "http/1.1") -> ssl.SSLContext:
        """Makes a server's context; `ask_client` makes it take nobody without a certificate of ours."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.pem")
        context.set_alpn_protocols([alpn])
        if ask_client:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context
