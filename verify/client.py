"""Client: asks a balancer over HTTP as the demo's scripts do. The only module that uses httpx."""

import re
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType

import httpx

from verify.errors import HttpError

COOKIE = "JSESSIONID"
MAX_CONNECTIONS = 8  # httpx collapses as its pool grows: functional checks only, no load


@dataclass(frozen=True)
class Answer:
    """What came back for one request.

    Attributes:
        status: the HTTP status.
        body: the page.
        issued: the value of the JSESSIONID that the answer sets, if it sets one.
    """

    status: int
    body: str
    issued: str | None

    @property
    def backend(self) -> int | None:
        """The N of the page's "Backend N"; None for any other page or status."""
        found = re.search(r"\bBackend (\d+)\b", self.body)
        return int(found[1]) if found and self.status == httpx.codes.OK else None


class Client:
    """Asks one URL; a context manager.

    Each request takes a connection of its own, as curl does: one that is kept alive could be
    answered by the old process after a reload, from the old process's table.
    """

    def __init__(self, url: str, seconds: float = 5) -> None:
        """`url` is the base, `seconds` bounds each phase of a request (connect, write, read)."""
        self.url = url
        self._http = httpx.Client(
            base_url=url,
            timeout=seconds,
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=0),
            trust_env=False,  # no proxy between the verifier and what it observes
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),  # keeps none
        )

    def __enter__(self) -> "Client":
        """Returns the client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the connections."""
        self._http.close()

    def ask(self, session: str | None, path: str = "/") -> Answer:
        """Gets a page, in the name of a session or of a newcomer (None).

        Raises:
            HttpError: no HTTP answer at all; an error status is an answer.
        """
        cookies = ["c1=1", "c2=2"] + ([f"{COOKIE}={session}"] if session is not None else [])
        try:
            response = self._http.get(path, headers={"Cookie": "; ".join(cookies)})
        except httpx.HTTPError as error:
            raise HttpError(f"{self.url}{path} did not answer: {error or type(error)}") from error
        set_cookies = response.headers.get_list("set-cookie")
        issued = [value[1] for value in map(_OUR_COOKIE.match, set_cookies) if value]
        return Answer(response.status_code, response.text, issued[-1] if issued else None)


_OUR_COOKIE = re.compile(rf"\s*{COOKIE}=\"?([^;\"]*)")
