"""Client: asks a balancer over HTTP, one request after another. The only module that uses httpx."""

import itertools
import re
import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from weakref import WeakKeyDictionary

import httpx

from verify.errors import HttpError
from verify.history import Outcome
from verify.target import Target as Target

MAX_CONNECTIONS = 8  # httpx collapses as its pool grows: functional checks only, no load

# One sequence for all clients and the load, so that a number tells a connection in a whole history; from 1.
next_connection = itertools.count(1).__next__


@dataclass(frozen=True)
class Answer:
    """What came back for one request.

    Attributes:
        status: the HTTP status.
        headers: by their names in lower case; of several with one name, all values, joined by `, `.
        body: the page; bytes that are no UTF-8 are replaced.
        issued: the value of the session's cookie that the answer sets, if it sets one.
        connection: the connection's number; two answers with one number came over one connection.
    """

    status: int
    headers: dict[str, str] = field(repr=False)
    body: str
    issued: str | None
    connection: int

    @classmethod
    def of(
        cls, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes, cookie: str, connection: int
    ) -> "Answer":
        """Makes an answer of what came over the wire; `cookie` is the session cookie's name."""
        joined: dict[str, str] = {}
        set_cookies = []
        for raw_name, raw_value in headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
            if name == "set-cookie":
                set_cookies.append(value)
        return cls(status, joined, body.decode("utf-8", "replace"), _issued(set_cookies, cookie), connection)

    def header(self, name: str) -> str | None:
        """Returns a header's value; upper and lower case are the same."""
        return self.headers.get(name.lower())


_PAIR = re.compile(r"\s*([^=;]*?)\s*=\s*([^;]*?)\s*(?:;|$)")


def _issued(set_cookies: Iterable[str], cookie: str) -> str | None:
    """Returns the last value that the headers give to a cookie, None if that takes it away.

    Read as browsers do (RFC 6265, 5.2): quotes are a part of the value, come back with it, and
    stand in HAProxy's table too (2.6: `key="svfy..."`).
    """
    value = None
    for pair in filter(None, map(_PAIR.match, set_cookies)):
        if pair[1] == cookie:
            value = pair[2] or None
    return value


def outcome_of(status: int) -> Outcome:
    """Says what an HTTP status tells: a balancer answers with some of them itself.

    * `ok`: below 500. A server answered; a balancer's own redirect or refusal (301, 403, 429) looks
      the same, but its page and headers name no server, so that who answered stays unknown.
    * `fail`: 408 and 503. HAProxy answers so where the request was not complete, and where no server
      took it; a server that says it did no work either.
    * `info`: all others. 502 and 504 mean that a server had the request and gave no (whole) answer in
      time; 500 and the rest that a server or the balancer broke down at it, before or after its work.
    """
    if status in {408, 503}:
        return "fail"
    return "ok" if status < 500 else "info"


# No connection, or no TLS on it. Under TLS 1.3 a balancer refuses a client's certificate only after
# that, when the request is on its way: a ReadError.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Client(AbstractContextManager["Client"]):
    """Asks one target; a context manager. Threads may share it."""

    def __init__(self, target: Target, keep_alive: bool = False) -> None:
        """Nothing is connected before the first request.

        Args:
            target: where and how to ask.
            keep_alive: whether a connection is used again. By default each request takes one of its
                own, as curl does: one that is kept alive could be answered by the old process after
                a reload, from the old process's table.

        Raises:
            BadUse: the target's `ca` or `client_cert` can't be read.
        """
        self.target, self.url = target, target.url
        self._extensions = {"sni_hostname": target.sni} if target.sni else {}
        close = not keep_alive and not target.http2  # HTTP/2 has no such header
        self._close = [(b"Connection", b"close")] if close else []
        self._numbers: WeakKeyDictionary[object, int] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._http = httpx.Client(
            timeout=target.seconds,
            limits=httpx.Limits(
                max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS if keep_alive else 0
            ),
            verify=target.ssl_context() if target.tls else False,
            http1=not target.http2,
            http2=target.http2,
            trust_env=False,  # no proxy between the verifier and what it observes
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),  # keeps none
        )

    def __exit__(self, *error: object) -> None:
        """Closes the connections."""
        self._http.close()

    def ask(self, key: str | None, path: str | None = None) -> Answer:
        """Asks for a page, in the name of a session or of a newcomer; redirects are not followed.

        Args:
            key: the session cookie's value, None to send none.
            path: None for the target's own.

        Raises:
            HttpError: no HTTP answer at all; an error status is an answer.
        """
        target, path = self.target, path or self.target.path
        events: list[str] = []
        try:
            response = self._http.request(
                target.method,
                f"{target.url.rstrip('/')}{path}",
                headers=[*target.headers_for(key), *self._close],
                extensions=self._extensions | {"trace": lambda event, _: events.append(event)},
            )
        except httpx.HTTPError as error:
            sent = not isinstance(error, _UNSENT)
            # A LocalProtocolError is h2's, which takes no answer after GOAWAY, although balancers still give it.
            broken = isinstance(error, httpx.ProtocolError | httpx.ReadError | httpx.WriteError)
            closed = broken and "connection.connect_tcp.complete" not in events
            why = str(error) or type(error).__name__
            raise HttpError(f"{target.url}{path} did not answer: {why}", "info" if sent else "fail", closed) from error
        stream = response.extensions["network_stream"]  # the same object as long as the connection lives
        with self._lock:
            connection = self._numbers.get(stream) or self._numbers.setdefault(stream, next_connection())
        return Answer.of(response.status_code, response.headers.raw, response.content, target.cookie, connection)
