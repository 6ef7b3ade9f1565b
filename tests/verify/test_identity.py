"""Who answered: learnt, or left open, and never guessed."""

from dataclasses import dataclass

import pytest

from verify.client import Answer
from verify.errors import BadUse
from verify.identity import ServerFrom
from verify.topology import Server, Service, Table


def service(*pages: str | None) -> Service:
    servers = tuple(
        Server(name=f"web-be{number}", address="192.0.2.1", port=8000 + number, page=page)
        for number, page in enumerate(pages, 1)
    )
    return Service(
        backend="shop", cookie="JSESSIONID", table=Table(name="shop", type="string", size=10), servers=servers
    )


PAGES = service(*(f"Backend {number}" for number in range(1, 13)))


def answer(body: str = "", **headers: str) -> Answer:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Answer.of(200, raw, body.encode(), "JSESSIONID", 1)


@dataclass
class Case:
    name: str
    where: str
    given: Answer
    server: str | None


CASES = [
    Case("header", "header:server-name", answer(**{"Server-Name": "web-be3"}), "web-be3"),
    Case("header of no server", "header:Server", answer(Server="Apache/2.4"), None),
    Case("header is missing", "header:X-Server", answer("web-be3"), None),
    Case("header twice", "header:X-Server", answer(**{"X-Server": "web-be1", "x-server": "web-be2"}), None),
    Case("a page is no header", "header:X-Server", answer(**{"X-Server": "Backend 3"}), None),
    Case("page", r"body:(Backend \d+)", answer("<h1>Backend 12</h1>"), "web-be12"),
    Case("no group: the whole match", r"body:Backend \d+", answer("<h1>Backend 12</h1>"), "web-be12"),
    Case("name in the page", r"body:served by ([\w-]+)", answer("served by web-be3."), "web-be3"),
    Case("unknown page", r"body:(Backend \d+)", answer("Backend 13"), None),
    Case("part of a page", r"body:Backend (\d+)", answer("Backend 3"), None),
    Case("no match", r"body:(Backend \d+)", answer("Apache2 Debian Default Page"), None),
    Case("the group did not match", r"body:(Backend \d+)?Apache", answer("Apache"), None),
    Case("twice the same", r"body:(Backend \d+)", answer("Backend 3 is Backend 3"), "web-be3"),
    Case("two servers", r"body:(Backend \d+)", answer("Backend 3, not Backend 4"), None),
    Case("table", "table", answer("Backend 3", **{"X-Server": "web-be3"}), None),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_server(case: Case) -> None:
    assert ServerFrom.parse(case.where).server(case.given, PAGES) == case.server


def test_a_page_of_two_servers_names_neither() -> None:
    assert ServerFrom.parse("body:.+").server(answer("Shop"), service("Shop", "Shop")) is None


@pytest.mark.parametrize(
    ("body", "server"),
    [
        ("Backend 1", "web-be1"),
        ("<h1>Backend 12</h1>\n", "web-be12"),
        ("Backend 123", None),
        ("xBackend 1", None),
        ("Backend 1 Backend 2", None),
        ("503 Service Unavailable", None),
    ],
)
def test_default_looks_for_the_known_pages(body: str, server: str | None) -> None:
    assert ServerFrom.default(PAGES).server(answer(body), PAGES) == server


def test_default_takes_pages_literally() -> None:
    shops = service("Shop (1)", "Shop (1)+", "a.b")
    default = ServerFrom.default(shops)
    assert [default.server(answer(page), shops) for page in ("Shop (1)", "<p>Shop (1)+</p>", "a.b", "aXb")] == [
        "web-be1",
        "web-be2",
        "web-be3",
        None,
    ]


def test_default_is_the_table_unless_every_page_is_known() -> None:
    assert ServerFrom.default(service("Backend 1", None)).by_table
    assert ServerFrom.default(service()).by_table
    assert not ServerFrom.default(PAGES).by_table


@pytest.mark.parametrize(
    "text", ["", "header", "header:", "header:X Server", "body", "body:", "Table", "table:shop", "cookie:SERVERID"]
)
def test_anything_else_is_bad_use(text: str) -> None:
    with pytest.raises(BadUse, match="write header:NAME, body:REGEX or table"):
        ServerFrom.parse(text)


def test_a_bad_expression_is_told() -> None:
    with pytest.raises(BadUse, match=r"body:\(Backend.*unterminated subpattern"):
        ServerFrom.parse("body:(Backend")
