"""Target: where and how a balancer is asked. What is asked functionally and by the load has one form."""

import re
import ssl
from urllib.parse import urlsplit

import msgspec

from verify.errors import BadUse

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a name of a method, header or cookie (RFC 9110, 5.6.2)
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # a header's value, as bytes in latin-1 (RFC 9110, 5.5)
_PATH = re.compile(r"/[\x21-\x7e]*")
_HOST = re.compile(r"\w[\w.-]*", re.ASCII)
_DEFAULTS = {
    "user-agent": ("User-Agent", "sticky-verify"),  # for whoever reads the balancer's log
    "accept": ("Accept", "*/*"),
    "accept-encoding": ("Accept-Encoding", "identity"),  # a page is to be read
}
_WITH_LENGTH = {"POST", "PUT", "PATCH"}  # a request of these without a body says so (RFC 9110, 8.6)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how one balancer is asked.

    Attributes:
        url: `http://HOST[:PORT]` or `https://...`, without a path.
        cookie: the session cookie's name.
        path: where sessions are asked.
        login_path: where a newcomer is issued a session.
        method: the request's method; requests have no body.
        headers: sent with every request, in place of the verifier's own (`Host`, `User-Agent`); a `Cookie`
            is kept, and the session's comes after it.
        ca: a PEM file of the authorities to trust; None for the system's.
        client_cert: a PEM file with a certificate and its key, to show to the balancer.
        sni: the name to ask for in the TLS handshake, and to find in the certificate; None for the URL's host.
        http2: HTTP/2 and nothing else, over http:// too (with prior knowledge, as HAProxy's own ports take it).
        seconds: bounds each phase of a request: to connect, to write, to wait for a piece of the answer.
    """

    url: str
    cookie: str
    path: str = "/"
    login_path: str = "/"
    method: str = "GET"
    headers: dict[str, str] = {}
    ca: str | None = None
    client_cert: str | None = None
    sni: str | None = None
    http2: bool = False
    seconds: float = 5.0

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            BadUse: a value that no request can be made of.
        """
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in {"http", "https"} and parts.port != 0 and (parts.hostname or "").encode("idna")
        except ValueError:  # no such port, half an IPv6 address, or no host's name
            usable = False
        if not usable or parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc:
            raise BadUse(f"url {self.url!r} can't be asked: write http://HOST[:PORT] or https://HOST[:PORT], no path")
        for name, value in (("cookie", self.cookie), ("method", self.method), *(("header", h) for h in self.headers)):
            if not _TOKEN.fullmatch(value):
                raise BadUse(f"{name} {value!r} is no name: write letters, digits and -._~!#$%&'*+^`| only")
        for name, value in self.headers.items():
            if not _VALUE.fullmatch(value):
                raise BadUse(f"header {name}: {value!r} can't be sent: write it on one line, in latin-1")
        for name, value in (("path", self.path), ("login_path", self.login_path)):
            if not _PATH.fullmatch(value):
                raise BadUse(f"{name} {value!r} can't be asked: begin with / and write other than ASCII as %XX")
        for name in ("ca", "client_cert", "sni"):
            if getattr(self, name) is not None and parts.scheme != "https":
                raise BadUse(f"{name} is given for {self.url}, which has no TLS: write https://, or leave it out")
        if self.sni is not None and not _HOST.fullmatch(self.sni):
            raise BadUse(f"sni {self.sni!r} is no host's name: write letters, digits, dots and hyphens")
        if not self.seconds > 0:
            raise BadUse(f"seconds {self.seconds:g} is no bound: give more than 0")

    @property
    def host(self) -> str:
        """The URL's host; an IPv6 address without brackets."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The URL's port, or its scheme's."""
        return urlsplit(self.url).port or (443 if self.tls else 80)

    @property
    def tls(self) -> bool:
        """Whether it is https."""
        return self.url.lower().startswith("https:")

    def headers_for(self, key: str | None) -> list[tuple[bytes, bytes]]:
        """Returns a request's headers, in the name of a session or of a newcomer (None)."""
        headers = {"host": ("Host", urlsplit(self.url).netloc)} | _DEFAULTS
        if self.method in _WITH_LENGTH:
            headers["content-length"] = ("Content-Length", "0")
        headers |= {name.lower(): (name, value) for name, value in self.headers.items()}
        if key is not None:
            _, others = headers.get("cookie", ("", ""))
            headers["cookie"] = ("Cookie", "; ".join(filter(None, [others, f"{self.cookie}={key}"])))
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.values()]

    def ssl_context(self) -> ssl.SSLContext:
        """Returns what a TLS connection to the target needs; certificates are always verified.

        Raises:
            BadUse: `ca` or `client_cert` can't be read.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise BadUse(f"ca {self.ca} can't be read ({error}): name a PEM file of certificates") from None
        context.set_alpn_protocols(["http/1.1"])  # httpx sets its own
        if self.client_cert is not None:
            try:
                context.load_cert_chain(self.client_cert, password=_no_password)
            except (OSError, ValueError) as error:
                raise BadUse(
                    f"client_cert {self.client_cert} can't be read ({error}): name a PEM file with a certificate"
                    " and its key, without a password"
                ) from None
        return context


def _no_password() -> str:
    """Keeps OpenSSL from asking the terminal for one."""
    raise ValueError("its key has a password")
