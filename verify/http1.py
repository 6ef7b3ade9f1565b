"""HTTP/1.1: one connection on asyncio, for the load. The protocol itself is h11's, which httpx uses too."""

import asyncio
import ssl

import h11

from verify.client import Answer, next_connection
from verify.errors import HttpError
from verify.target import Target

READ = 65536  # bytes at a time
PAGE = 1 << 20  # bytes of a page that are kept; what follows is read and dropped


class Connection:
    """A connection to a target, for one request at a time.

    Attributes:
        number: tells it from all others in a history.
    """

    def __init__(self, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Takes over an open connection; see `open`."""
        self.number = next_connection()
        self._target, self._reader, self._writer = target, reader, writer
        self._http = h11.Connection(h11.CLIENT)

    @classmethod
    async def open(cls, target: Target, context: ssl.SSLContext | None) -> "Connection":
        """Connects, within the target's seconds; `context` is the target's, None without TLS.

        Raises:
            HttpError: no connection, or no TLS on it.
        """
        name = (target.sni or target.host) if context else None
        try:
            async with asyncio.timeout(target.seconds):
                streams = await asyncio.open_connection(target.host, target.port, ssl=context, server_hostname=name)
        except TimeoutError:
            raise HttpError(f"{target.url} did not accept a connection in {target.seconds:g} s", "fail") from None
        except OSError as error:
            raise HttpError(f"{target.url} accepted no connection: {error}", "fail") from error
        return cls(target, *streams)

    @property
    def usable(self) -> bool:
        """Whether it can take another request, as far as can be seen from here."""
        idle = self._http.states == {h11.CLIENT: h11.IDLE, h11.SERVER: h11.IDLE}
        return idle and not self._reader.at_eof() and not self._writer.is_closing()

    async def ask(self, key: str | None, path: str, last: bool) -> Answer:
        """Sends a request and returns its answer, which has to be complete within the target's seconds.

        Args:
            key: the session cookie's value, None to send none.
            path: what is asked for.
            last: whether to tell the balancer that the connection will not be used again.

        Raises:
            HttpError: no whole answer; a server may have had the request.
        """
        try:
            async with asyncio.timeout(self._target.seconds):
                return await self._exchange(key, path, last)
        except TimeoutError:
            raise HttpError(
                f"{self._target.url}{path} did not answer within {self._target.seconds:g} s", "info"
            ) from None
        except (OSError, h11.RemoteProtocolError) as error:
            raise HttpError(f"{self._target.url}{path} gave no whole answer: {error}", "info") from error

    async def _exchange(self, key: str | None, path: str, last: bool) -> Answer:
        headers = self._target.headers_for(key)
        if last:
            headers.append((b"Connection", b"close"))
        request = h11.Request(method=self._target.method, target=path, headers=headers)
        self._writer.write((self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b""))
        response: h11.Response | None = None
        page = bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                data = await self._reader.read(READ)
                if not data and not response:
                    raise h11.RemoteProtocolError("the connection was closed before an answer")
                self._http.receive_data(data)
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                page += event.data[: PAGE - len(page)]
            elif isinstance(event, h11.EndOfMessage) and response:
                break
            elif not isinstance(event, h11.InformationalResponse):
                raise h11.RemoteProtocolError(f"{event} instead of an answer")
        if self._http.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            self._http.start_next_cycle()
        return Answer.of(response.status_code, response.headers, bytes(page), self._target.cookie, self.number)

    def close(self) -> None:
        """Closes it at once, without waiting for the other side."""
        self._writer.transport.abort()
