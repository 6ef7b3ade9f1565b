"""Slow: a request that is sent in pieces, on a connection of its own, as a slow client sends it."""

import socket
from contextlib import AbstractContextManager, suppress
from typing import Literal

import h11

from verify.client import Answer, next_connection
from verify.errors import HttpError
from verify.target import Target

READ = 65536  # bytes at a time
# A server bounds a body's time: Debian's Apache has 10 s for the first piece, and a second for each further 500 bytes.
PIECE = 16384  # bytes


class Slow(AbstractContextManager["Slow"]):
    """One request under way; a context manager. HTTP/1.1, with or without TLS.

    With `head` its headers lack their end: the balancer has not chosen a server yet. With `body` it has, and
    the request's body is missing.
    """

    def __init__(self, target: Target, key: str, lacks: Literal["head", "body"], pieces: int = 1) -> None:
        """Connects, and sends all but `pieces` pieces.

        Raises:
            HttpError: no connection, or no TLS on it.
            BadUse: the target's `ca` or `client_cert` can't be read.
        """
        self._target, self._http = target, h11.Connection(h11.CLIENT)
        headers = [*target.headers_for(key), (b"Connection", b"close")]
        if lacks == "body":
            headers = [header for header in headers if header[0].lower() != b"content-length"]
            headers.append((b"Content-Length", str(PIECE * pieces).encode()))
        head = self._http.send(h11.Request(method=target.method, target=target.path, headers=headers)) or b""
        self.pieces = [b"x" * PIECE] * pieces if lacks == "body" else [head[-2:]]
        try:
            self._socket = socket.create_connection((target.host, target.port), target.seconds)
            if target.tls:
                name = target.sni or target.host
                self._socket = target.ssl_context().wrap_socket(self._socket, server_hostname=name)
            self._socket.settimeout(target.seconds)
            self._socket.sendall(head if lacks == "body" else head[:-2])
        except OSError as error:
            raise HttpError(f"{target.url} accepted no connection: {error}", "fail") from error
        self.number = next_connection()

    def __exit__(self, *error: object) -> None:
        """Closes the connection."""
        self._socket.close()

    def send(self) -> None:
        """Sends the next piece; what speaks against it shows in the answer, which may come early."""
        piece = self.pieces.pop()
        with suppress(OSError):
            self._socket.sendall(piece)

    def answer(self) -> Answer:
        """Sends what is left, and returns the answer.

        Raises:
            HttpError: no whole answer.
        """
        while self.pieces:
            self.send()
        response: h11.Response | None = None
        page = b""
        try:
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    self._http.receive_data(self._socket.recv(READ))
                elif isinstance(event, h11.Response):
                    response = event
                elif isinstance(event, h11.Data):
                    page += event.data
                elif isinstance(event, h11.EndOfMessage) and response:
                    break
                elif not isinstance(event, h11.InformationalResponse):
                    raise h11.RemoteProtocolError(f"{event} instead of an answer")
        except (OSError, h11.RemoteProtocolError) as error:
            url = f"{self._target.url}{self._target.path}"
            raise HttpError(f"{url} gave a slow request no whole answer: {error}", "info") from error
        return Answer.of(response.status_code, response.headers, page, self._target.cookie, self.number)
