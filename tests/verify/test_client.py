"""The client, against real HTTP servers on loopback."""

import socket
import threading
from pathlib import Path

import pytest

from tests.verify.web import BOUND, Authority, Web, refusing, serving, serving_http2, target
from verify.client import Answer, Client, outcome_of
from verify.errors import BadUse, HttpError


def test_session_is_sent_after_the_targets_own_cookies(web: Web) -> None:
    with Client(target(web.url, headers={"Cookie": "c1=1; c2=2"})) as client:
        assert "Cookie: c1=1; c2=2; JSESSIONID=0a1b" in client.ask("0a1b").body.splitlines()
        assert "Cookie: c1=1; c2=2" in client.ask(None).body.splitlines()
    with Client(target(web.url)) as client:
        assert "Cookie:" not in client.ask(None).body


def test_method_path_and_headers_are_the_targets(web: Web) -> None:
    headers = {"X-Probe": "caf\xe9", "host": "shop.test", "user-agent": "probe"}
    with Client(target(web.url, method="POST", path="/shop?page=1", headers=headers)) as client:
        asked = client.ask("0a1b").body.splitlines()
        assert asked[:2] == ["Backend 12", "POST /shop?page=1"]
        assert {"X-Probe: caf\xe9", "host: shop.test", "user-agent: probe", "Content-Length: 0"} <= set(asked)
        assert len([line for line in asked if line.lower().startswith(("host:", "user-agent:"))]) == 2
        assert client.ask(None, "/other").body.splitlines()[1] == "POST /other"


def test_issued_session_is_told_and_not_kept(web: Web) -> None:
    with Client(target(web.url)) as client:
        assert client.ask(None, "/login").issued == "web-be1-1"
        assert "Cookie:" not in client.ask(None).body


@pytest.mark.parametrize(
    ("set_cookies", "issued"),
    [
        (["JSESSIONID=1f"], "1f"),
        (["OTHER=2", "JSESSIONID=1f; Path=/; HttpOnly", "LAST=3"], "1f"),
        (["JSESSIONID=first", "JSESSIONID=second; Secure"], "second"),
        (["  JSESSIONID =  1f  ;Path=/"], "1f"),
        (['JSESSIONID="1f"; Path=/'], '"1f"'),  # comes back with its quotes, and HAProxy's table has them
        (["JSESSIONID=a=b==; Path=/"], "a=b=="),
        (["JSESSIONID=1f; Path=/; JSESSIONID=2"], "1f"),
        (["XJSESSIONID=1; Path=/", "JSESSIONIDX=2", "jsessionid=3"], None),
        (["JSESSIONID=1f", "JSESSIONID=; Max-Age=0"], None),
        (["JSESSIONID", "=1f", ""], None),
        (["OTHER=JSESSIONID=1f", "OTHER=1; note=JSESSIONID=1f"], None),
        ([], None),
    ],
)
def test_issued_is_the_last_value_of_the_cookie(set_cookies: list[str], issued: str | None) -> None:
    headers = [(b"Set-Cookie", text.encode()) for text in set_cookies]
    assert Answer.of(200, headers, b"", "JSESSIONID", 1).issued == issued


def test_headers_are_found_in_any_case(web: Web) -> None:
    with Client(target(web.url)) as client:
        answer = client.ask("0a1b", "/login")
    assert (answer.header("x-SERVER"), answer.header("X-None")) == ("web-be1", None)
    assert answer.headers["set-cookie"].startswith("OTHER=1; Path=/, JSESSIONID=")


def test_error_page_is_an_answer(web: Web) -> None:
    with Client(target(web.url)) as client:
        answer = client.ask("0a1b", "/down")
    assert (answer.status, outcome_of(answer.status)) == (503, "fail")


@pytest.mark.parametrize(
    ("outcome", "statuses"),
    [
        ("ok", [101, 200, 204, 301, 302, 304, 400, 403, 404, 429]),
        ("fail", [408, 503]),
        ("info", [500, 501, 502, 504, 507, 599]),
    ],
)
def test_outcome_of_a_status(outcome: str, statuses: list[int]) -> None:
    assert {outcome_of(status) for status in statuses} == {outcome}


def test_refused_certainly_failed() -> None:
    with refusing() as url, Client(target(url)) as client, pytest.raises(HttpError, match=url) as raised:
        client.ask("0a1b")
    assert raised.value.outcome == "fail"


def test_no_room_for_a_connection_certainly_failed() -> None:
    """A listener whose queue is full, as that of a stopped process, accepts nothing in time."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        with Client(target(f"http://127.0.0.1:{listener.getsockname()[1]}", seconds=0.2)) as client:
            outcomes = []
            for _ in range(3):  # the kernel may take one or two more than it was told
                with pytest.raises(HttpError) as raised:
                    client.ask("0a1b")
                outcomes.append(raised.value.outcome)
    assert outcomes[-1] == "fail"


@pytest.mark.parametrize("path", ["/gone", "/half", "/never", "/rubbish"])
def test_no_whole_answer_is_open(web: Web, path: str) -> None:
    seconds = 0.3 if path == "/never" else BOUND
    with Client(target(web.url, seconds=seconds)) as client, pytest.raises(HttpError, match=path) as raised:
        client.ask("0a1b", path)
    assert raised.value.outcome == "info"


def test_each_request_takes_a_connection_of_its_own(web: Web) -> None:
    with Client(target(web.url)) as client:
        answers = [client.ask("0a1b") for _ in range(3)]
        assert len({answer.connection for answer in answers}) == 3
        assert "Connection: close" in answers[0].body.splitlines()
    assert web.opened == 3


def test_kept_connection_has_one_number(web: Web) -> None:
    with Client(target(web.url), keep_alive=True) as client, Client(target(web.url), keep_alive=True) as other:
        numbers = [client.ask("0a1b").connection for _ in range(3)]
        assert len(set(numbers)) == 1
        assert other.ask("0a1b").connection not in numbers
        client.ask("0a1b", "/once")
        assert client.ask("0a1b").connection not in numbers
    assert web.opened == 3
    web.wait_all_closed()


def test_threads_share_a_client(web: Web) -> None:
    """Two requests at once never have one connection's number."""
    web.going.clear()
    answers: list[Answer] = []
    with Client(target(web.url), keep_alive=True) as client:
        threads = [threading.Thread(target=lambda: answers.append(client.ask("0a1b"))) for _ in range(4)]
        for thread in threads:
            thread.start()
        with web.changed:
            assert web.changed.wait_for(lambda: web.opened == 4, BOUND), "waited for four connections"
        web.going.set()
        for thread in threads:
            thread.join(BOUND)
    assert len({answer.connection for answer in answers}) == 4


def test_tls_asks_for_another_name_and_shows_a_certificate(authority: Authority) -> None:
    with serving(Web(context=authority.context(ask_client=True))) as web:
        names = {"ca": authority.ca, "sni": "shop.test"}
        with Client(target(web.url, client_cert=authority.client, **names)) as client:
            answer = client.ask("0a1b")
            assert answer.status == 200
            assert f"Host: 127.0.0.1:{web.server_port}" in answer.body.splitlines()
        with Client(target(web.url, **names)) as client, pytest.raises(HttpError):
            client.ask("0a1b")
        assert len(web.asked) == 1


@pytest.mark.parametrize("lack", ["ca", "sni"])
def test_tls_is_verified(authority: Authority, lack: str) -> None:
    """An unknown authority, or a certificate for another name, is no connection."""
    names = {"ca": authority.ca, "sni": "shop.test"}
    del names[lack]
    with serving(Web(context=authority.context())) as web, Client(target(web.url, **names)) as client:
        with pytest.raises(HttpError, match="certificate verify failed") as raised:
            client.ask("0a1b")
        assert raised.value.outcome == "fail"
        assert web.asked == []


def test_tls_to_a_server_without_it_certainly_failed(web: Web) -> None:
    url = web.url.replace("http:", "https:")
    with Client(target(url)) as client, pytest.raises(HttpError) as raised:
        client.ask("0a1b")
    assert raised.value.outcome == "fail"


def test_http2_over_tls(authority: Authority) -> None:
    with serving_http2(authority.context(alpn="h2")) as port:
        names = {"ca": authority.ca, "sni": "shop.test", "http2": True}
        with Client(target(f"https://127.0.0.1:{port}", **names), keep_alive=True) as client:
            answers = [client.ask("0a1b", "/shop") for _ in range(2)]
    assert answers[0].body == f"127.0.0.1:{port} /shop JSESSIONID=0a1b"
    assert answers[0].connection == answers[1].connection


def test_http2_without_tls_needs_no_upgrade() -> None:
    with serving_http2() as port, Client(target(f"http://127.0.0.1:{port}", http2=True)) as client:
        answers = [client.ask("0a1b") for _ in range(2)]
    assert answers[0].status == 200
    assert answers[0].connection != answers[1].connection


def test_http2_never_falls_back(web: Web) -> None:
    with Client(target(web.url, http2=True)) as client, pytest.raises(HttpError):
        client.ask("0a1b")


def test_unreadable_files_are_bad_use(tmp_path: Path, authority: Authority) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for path in (empty, tmp_path / "none.pem"):
        with pytest.raises(BadUse, match=f"ca {path} can't be read"):
            Client(target("https://127.0.0.1", ca=str(path)))
        with pytest.raises(BadUse, match=f"client_cert {path} can't be read"):
            Client(target("https://127.0.0.1", client_cert=str(path)))
    locked = tmp_path / "locked.pem"
    authority.openssl(f"ec -in client.key -aes256 -passout pass:secret -out {locked}")
    locked.write_text(authority.read("client.crt") + locked.read_text())
    with pytest.raises(BadUse, match="without a password"):
        Client(target("https://127.0.0.1", client_cert=str(locked)))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("url", "", "url '' can't be asked"),
        ("url", "127.0.0.1:8080", "write http://HOST"),
        ("url", "ftp://host", "write http://HOST"),
        ("url", "http://host:99999", "can't be asked"),
        ("url", "http://host:0", "can't be asked"),
        ("url", "http://[::1", "can't be asked"),
        ("url", "http://a..b", "can't be asked"),
        ("url", "http://host/shop", "no path"),
        ("url", "http://me@host", "can't be asked"),
        ("cookie", "JSESSION ID", "cookie 'JSESSION ID' is no name"),
        ("cookie", "", "cookie '' is no name"),
        ("method", "GET /", "method 'GET /' is no name"),
        ("path", "shop", "path 'shop' can't be asked: begin with /"),
        ("login_path", "/l\xf6gin", "%XX"),
        ("headers", {"X Probe": "1"}, "header 'X Probe' is no name"),
        ("headers", {"X-Probe": "1\r\nX: 2"}, "on one line"),
        ("headers", {"X-Probe": "\u20ac"}, "in latin-1"),
        ("ca", "/ca.pem", "which has no TLS"),
        ("sni", "shop.test", "which has no TLS"),
        ("seconds", 0, "seconds 0 is no bound"),
    ],
)
def test_target_names_what_can_not_be_asked(field: str, value: object, says: str) -> None:
    with pytest.raises(BadUse) as raised:
        target(**{"url": "http://127.0.0.1", field: value})  # type: ignore[arg-type]
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1", 8080),
        ("http://shop.test/", "shop.test", 80),
        ("https://[::1]", "::1", 443),
        ("HTTPS://shop.test", "shop.test", 443),
    ],
)
def test_host_and_port(url: str, host: str, port: int) -> None:
    made = target(url)
    assert (made.host, made.port, made.tls) == (host, port, port == 443)
    with pytest.raises(BadUse, match="sni"):
        target("https://shop.test", sni=".test")


def test_a_kept_connection_that_was_closed_is_told_from_one_that_failed(web: Web) -> None:
    """Clients ask again in the first case only."""
    with Client(target(web.url), keep_alive=True) as client:
        assert client.ask("0a1b").connection == client.ask("0a1b").connection
        with pytest.raises(HttpError) as caught:
            client.ask("0a1b", "/gone")
        assert caught.value.closed
        with pytest.raises(HttpError) as caught:  # on a connection of its own
            client.ask("0a1b", "/gone")
        assert not caught.value.closed
