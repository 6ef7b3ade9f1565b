"""The templates of the roles haproxy and apache, rendered by ansible-playbook for the inventories in cases/."""

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parent
KEYWORDS = {
    "acl": "acl",
    "backlog": "backlog",
    "balance": "balance",
    "bind": "bind",
    "compression": "compression",
    "cookie": "cookie",
    "default_backend": "default_backend",
    "default_server": "default-server",
    "description": "description",
    "errorfile": "errorfile",
    "filter": "filter",
    "fullconn": "fullconn",
    "hash_type": "hash-type",
    "http_after_response": "http-after-response",
    "http_check": "http-check",
    "http_request": "http-request",
    "http_response": "http-response",
    "http_reuse": "http-reuse",
    "log": "log",
    "log_format": "log-format",
    "log_tag": "log-tag",
    "maxconn": "maxconn",
    "mode": "mode",
    "monitor_uri": "monitor-uri",
    "option": "option",
    "redirect": "redirect",
    "retries": "retries",
    "stats": "stats",
    "stick": "stick",
    "stick_table": "stick-table",
    "tcp_request": "tcp-request",
    "tcp_response": "tcp-response",
    "timeout": "timeout",
    "use_backend": "use_backend",
}

Rendered = Callable[[str, str], str]


@pytest.fixture(scope="module")
def rendered(ansible: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Returns a function that gives the text of one rendered file of one case; all cases are rendered at once."""
    folders = {case.stem: tmp_path_factory.mktemp(case.stem) for case in (HERE / "cases").glob("*.yml")}

    def render(case: str) -> None:
        playbook = HERE / "render" / ("apache.yml" if case == "apache" else "haproxy.yml")
        inventory = HERE / "cases" / f"{case}.yml"
        ansible("ansible-playbook", "-i", inventory, "--tags", "render", "-e", f"out={folders[case]}", playbook)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(render, folders))
    return lambda case, file: (folders[case] / file).read_text()


def sections(text: str) -> dict[str, list[str]]:
    """Gives the lines of each section of a haproxy.cfg, by its header."""
    found: dict[str, list[str]] = {}
    header = ""
    for row in text.splitlines():
        if row.startswith("  "):
            found[header].append(row.strip())
        elif row and not row.startswith("#"):
            header = row
            found[header] = []
    return found


def servers(text: str) -> dict[str, str]:
    """Gives the lines of the servers of the default backend, by the server's name."""
    rows = [row for row in sections(text)["backend back-session"] if row.startswith("server ")]
    return {row.split()[1]: row for row in rows}


# --- the demo -------------------------------------------------------------------------------------


def test_demo_is_the_golden_file(rendered: Rendered) -> None:
    assert rendered("demo", "haproxy-1.cfg") == (HERE / "golden" / "haproxy.cfg").read_text()


def test_the_session_guards_lines_are_those_of_the_golden_file(rendered: Rendered) -> None:
    """tests/unit/test_session_guard.py has the program judge it."""
    assert rendered("guard", "haproxy-1.cfg") == (HERE / "golden" / "guard.cfg").read_text()


def test_every_balancer_has_the_same_bytes(rendered: Rendered) -> None:
    assert rendered("demo", "haproxy-1.cfg") == rendered("demo", "haproxy-2.cfg")
    assert rendered("addresses", "lb-1.cfg") == rendered("addresses", "lb-2.cfg") == rendered("addresses", "lb-3.cfg")


def test_a_balancer_is_named_in_its_peer_line_alone(rendered: Rendered) -> None:
    rows = rendered("demo", "haproxy-1.cfg").splitlines()
    assert [row.strip() for row in rows if "haproxy-1" in row] == ["peer haproxy-1 192.0.2.11:1024"]


def test_ansible_host_is_no_address_of_the_configuration(rendered: Rendered) -> None:
    assert "203.0.113.1" not in rendered("demo", "haproxy-1.cfg")


# --- servers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["web-be2", "web-be6", "web-be7"])
def test_a_server_keeps_its_line_when_others_come_and_go(rendered: Rendered, name: str) -> None:
    before, after = servers(rendered("demo", "haproxy-1.cfg")), servers(rendered("servers", "haproxy-1.cfg"))
    assert after[name] == before[name]


def test_only_served_virtual_hosts_are_servers(rendered: Rendered) -> None:
    names = list(servers(rendered("servers", "haproxy-1.cfg")))
    assert names == [f"web-be{n}" for n in (2, 5, 6, 7, 8)] + [f"web-2-be{n}" for n in range(1, 8)]


def test_an_explicit_id_wins(rendered: Rendered) -> None:
    assert servers(rendered("servers", "haproxy-1.cfg"))["web-be5"] == "server web-be5 192.0.2.10:8085 id 5 check"


@pytest.mark.parametrize(
    ("name", "address"),
    [("web-be8", "192.0.2.10:80"), ("web-2-be1", "192.0.2.20:8081"), ("web-2-be7", "192.0.2.20:8087")],
)
def test_an_id_follows_from_the_name(rendered: Rendered, name: str, address: str) -> None:
    number = int(hashlib.sha1(name.encode()).hexdigest()[:7], 16)
    assert servers(rendered("servers", "haproxy-1.cfg"))[name] == f"server {name} {address} id {number} check"


# --- addresses ------------------------------------------------------------------------------------


def test_three_peers_by_ipv6_in_another_group(rendered: Rendered) -> None:
    assert sections(rendered("addresses", "lb-1.cfg"))["peers haproxy-peers"] == [
        "peer lb-1 2001:db8::11:1024",
        "peer second 2001:db8::12:10001",
        "peer lb-3 2001:db8::13:10000",
    ]


def test_web_host_by_ipv6_in_another_group(rendered: Rendered) -> None:
    rows = servers(rendered("addresses", "lb-1.cfg"))
    assert {name: row.split()[2] for name, row in rows.items()} == {"app-1-shop": "2001:db8::10:8080"}


# --- a service in production ----------------------------------------------------------------------


def test_frontend_with_tls_and_rules_in_the_order_of_haproxy(rendered: Rendered) -> None:
    assert sections(rendered("production", "lb-1.cfg"))["frontend shop"] == [
        "bind *:443 ssl crt-list /etc/haproxy/crt-list alpn h2,http/1.1 accept-proxy",
        "bind :::443 v6only ssl crt-list /etc/haproxy/crt-list alpn h2,http/1.1",
        "acl is_api path_beg /api/",
        "http-request track-sc0 src table rates",
        "http-request deny deny_status 429 if { sc_http_req_rate(0) gt 100 }",
        "use_backend api if is_api",
        "default_backend shop",
        "unique-id-header X-Request-ID",
    ]


def test_backend_with_several_stick_rules_and_servers_last(rendered: Rendered) -> None:
    assert sections(rendered("production", "lb-1.cfg"))["backend shop"] == [
        "stick-table type string len 64 size 1m srvkey name peers shop-peers",
        "balance leastconn",
        "stick match req.cook(SID)",
        "stick store-request req.cook(SID)",
        "stick store-response res.cook(SID) if { status 200 }",
        "default-server inter 2s fall 2",
        "default-server maxconn 50",
        "email-alert to root",
        "email-alert level err",
        "server app-1-shop 192.0.2.21:8080 id 1 check",
        "server app-2-shop 192.0.2.22:8080 id 2 check",
        "server sorry 192.0.2.40:80 backup",
    ]


def test_backend_with_a_table_of_its_own_and_servers_of_its_own(rendered: Rendered) -> None:
    assert sections(rendered("production", "lb-1.cfg"))["backend api"] == [
        "stick-table type ip size 10k expire 5m nopurge",
        "stick on src",
        "server api-1 192.0.2.51:9000 id 7 check ssl verify none",
        "server api-2 api.example.org check",
    ]


def test_backend_that_is_only_a_table_of_rates(rendered: Rendered) -> None:
    assert sections(rendered("production", "lb-1.cfg"))["backend rates"] == [
        "stick-table type ipv6 size 100k expire 1m peers shop-peers store http_req_rate(10s),gpc0"
    ]


def test_lines_of_the_peers_section_come_before_the_peers(rendered: Rendered) -> None:
    assert sections(rendered("production", "lb-1.cfg"))["peers shop-peers"] == [
        "default-server ssl crt /etc/haproxy/peer.pem ca-file /etc/haproxy/ca.pem verify required",
        "peer lb-1 192.0.2.31:1024",
    ]


def test_no_section_but_those_asked_for(rendered: Rendered) -> None:
    assert list(sections(rendered("production", "lb-1.cfg"))) == [
        "global",
        "defaults",
        "peers shop-peers",
        "frontend shop",
        "backend shop",
        "backend api",
        "backend rates",
    ]


# --- the verifier's header ------------------------------------------------------------------------

SIGN = "http-request set-var(txn.sticky_verify) bool(true) if { req.hdr(X-Sticky-Token) -m str 0123456789abcdef }"
FORGET = "http-request del-header X-Sticky-Token"
TELL = "http-response set-header X-Sticky-Server %s if { var(txn.sticky_verify) -m bool }"


@pytest.mark.parametrize("section", ["backend plain", "listen both"])
def test_a_sticky_section_tells_the_verifier_its_server(rendered: Rendered, section: str) -> None:
    rows = sections(rendered("verify", "lb-1.cfg"))[section]
    assert [row for row in rows if row.startswith("http-")] == [SIGN, FORGET, TELL]


def test_the_verifiers_rules_come_before_others(rendered: Rendered) -> None:
    assert sections(rendered("verify", "lb-1.cfg"))["backend ruled"][:5] == [
        SIGN,
        FORGET,
        "http-request deny if { path /no }",
        TELL,
        "http-response del-header Server",
    ]


@pytest.mark.parametrize("section", ["defaults", "frontend front-session", "backend tcp", "backend rates"])
def test_no_other_section_knows_the_verifier(rendered: Rendered, section: str) -> None:
    assert "sticky" not in " ".join(sections(rendered("verify", "lb-1.cfg"))[section]).lower()


# --- keywords, and the user's own file ------------------------------------------------------------


def test_every_key_is_rendered_as_its_keyword(rendered: Rendered) -> None:
    case = yaml.safe_load((HERE / "cases" / "keywords.yml").read_text())
    (given,) = case["balancers"]["vars"]["haproxy_listens"]
    given |= {"stick_table": "type ip size 1k"}
    expected = [
        f"{KEYWORDS[key]} {value}"
        for key, values in given.items()
        if key != "name"
        for value in (values if isinstance(values, list) else [values])
    ]
    assert sorted(sections(rendered("keywords", "lb-1.cfg"))["listen everything"]) == sorted(expected)


def test_every_key_is_tried() -> None:
    known = yaml.safe_load((HERE.parents[1] / "roles/haproxy/vars/main/main.yml").read_text())["__haproxy_keywords"]
    case = yaml.safe_load((HERE / "cases" / "keywords.yml").read_text())
    assert set(known) == set(KEYWORDS)
    assert set(known) == set(case["balancers"]["vars"]["haproxy_listens"][0]) - {"name"}


def test_own_configuration_takes_the_place_of_the_generated_one(rendered: Rendered) -> None:
    assert rendered("own", "haproxy-1.cfg") == "peers haproxy-peers\n# web-be1 192.0.2.10:8081\n"


# --- apache ---------------------------------------------------------------------------------------


def test_listen_lines_follow_from_the_served_virtual_hosts(rendered: Rendered) -> None:
    rows = rendered("apache", "ports.conf").splitlines()
    assert [row for row in rows if row.startswith("Listen")] == [
        "Listen 80",
        "Listen 8080",
        "Listen [2001:db8::10]:8086",
    ]


def test_virtual_host_with_everything(rendered: Rendered) -> None:
    assert [row for row in rendered("apache", "shop.conf").splitlines() if not row.lstrip().startswith("#")] == [
        "<VirtualHost *:8080>",
        "    ServerName shop.example.org",
        "    ServerAlias www.example.org shop",
        '    DocumentRoot "/srv/shop"',
        '    <Directory "/srv/shop">',
        "        Require all granted",
        "    </Directory>",
        "    ErrorLog ${APACHE_LOG_DIR}/shop-error.log",
        "    CustomLog ${APACHE_LOG_DIR}/shop-access.log combined",
        '    Alias "/login" "/srv/shop/index.html"',
        '    <Location "/login">',
        '        Header always set Set-Cookie "SID=%{UNIQUE_ID}e; Path=/; HttpOnly"',
        "    </Location>",
        "    Header set X-Shop 1",
        "    Timeout 5",
        "</VirtualHost>",
    ]


def test_virtual_host_with_nothing_but_a_name(rendered: Rendered) -> None:
    assert [row.strip() for row in rendered("apache", "plain.conf").splitlines()] == [
        "<VirtualHost *:80>",
        'DocumentRoot "/var/www/plain"',
        '<Directory "/var/www/plain">',
        "Require all granted",
        "</Directory>",
        "ErrorLog ${APACHE_LOG_DIR}/plain-error.log",
        "CustomLog ${APACHE_LOG_DIR}/plain-access.log combined",
        "</VirtualHost>",
    ]


def test_what_is_absent_or_disabled_is_not_in_the_file(rendered: Rendered) -> None:
    served = [row.split("/")[1] for row in rendered("apache", "virtual-hosts.conf").splitlines() if "ErrorLog" in row]
    assert served == [f"{name}-error.log" for name in ("plain", "shop", "blog", "six", "both")]


def test_virtual_host_by_ipv6(rendered: Rendered) -> None:
    assert "<VirtualHost [2001:db8::10]:8086>" in rendered("apache", "six.conf").splitlines()


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("web", ["web-be2", "web-be5", "web-be6", "web-be7", "web-be8"]),
        ("web-2", [f"web-2-be{number}" for number in range(1, 8)]),
        ("web-be5, web-2-be1", ["web-be5", "web-2-be1"]),
    ],
)
def test_a_web_host_that_is_drained_means_its_own_servers(
    ansible: Callable[..., str], tmp_path: Path, asked: str, meant: list[str]
) -> None:
    """Not those of the host whose name begins with its own."""
    given = json.dumps({"haproxy_drain_servers": asked, "out": str(tmp_path)})
    inventory, playbook = HERE / "cases/servers.yml", HERE / "render/drain.yml"
    ansible("ansible-playbook", "-i", inventory, "--tags", "render", "-e", given, playbook)
    assert json.loads((tmp_path / "meant.json").read_text()) == meant
