"""Requests that are sent in pieces, against real HTTP servers on loopback."""

import threading

import pytest

from tests.verify.web import BOUND, Authority, Web, refusing, serving, target
from verify.errors import HttpError
from verify.slow import PIECE, Slow


def test_without_its_head_a_request_is_not_read_yet(web: Web) -> None:
    with Slow(target(web.url), "0a1b", "head") as slow:
        assert web.asked == []
        answer = slow.answer()
    assert (answer.status, answer.connection) == (200, slow.number)
    assert web.asked == [("/", "JSESSIONID=0a1b")]
    assert "Connection: close" in answer.body


def test_without_its_body_a_request_is_at_the_server(web: Web) -> None:
    """The server has the headers, and the body comes in pieces."""
    read = threading.Event()
    web.asked = _Telling(read)
    with Slow(target(web.url, path="/whole"), "0a1b", "body", 3) as slow:
        assert read.wait(BOUND), "waited for the server to have read the headers, in vain"
        slow.send()
        assert len(slow.pieces) == 2
        answer = slow.answer()
    assert f"Content-Length: {3 * PIECE}" in answer.body


class _Telling(list[tuple[str, str | None]]):
    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def append(self, asked: tuple[str, str | None]) -> None:
        super().append(asked)
        self._event.set()


def test_over_tls(authority: Authority) -> None:
    with serving(Web(context=authority.context())) as web:
        trusted = target(web.url.replace("127.0.0.1", "localhost"), ca=authority.ca, sni="shop.test")
        with Slow(trusted, "0a1b", "head") as slow:
            assert slow.answer().status == 200


def test_nobody_listens() -> None:
    with refusing() as url, pytest.raises(HttpError, match="accepted no connection") as caught:
        Slow(target(url), "0a1b", "head")
    assert caught.value.outcome == "fail"


@pytest.mark.parametrize("path", ["/gone", "/half", "/rubbish"])
def test_no_whole_answer(web: Web, path: str) -> None:
    with Slow(target(web.url, path=path), "0a1b", "head") as slow, pytest.raises(HttpError) as caught:
        slow.answer()
    assert caught.value.outcome == "info"
    assert "gave a slow request no whole answer" in str(caught.value)
