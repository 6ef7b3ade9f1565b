"""The session guard beside a hand-written haproxy.cfg of the distribution's HAProxy: on, through faults, off again."""

import json
import random
import re
import shlex
import ssl
import uuid
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path

import httpx
import pytest
from deployment import ROOT, Run, play, wait_for
from guarded import files, has_new_worker, is_open, state, stop_and_start
from node import Node
from testinfra.host import Host
from traffic import Traffic, traffic

BY_HAND = (ROOT / "molecule/guard-by-hand/haproxy.cfg").read_text()
CONFIGURATION = "/etc/haproxy/haproxy.cfg"
TEXTFILE = "/var/lib/session-guard.prom"
ON, OFF = "session_guard_state=present", "session_guard_state=absent"
OLDEST = ROOT / ".venv-2.16"
# The tables of sessions, and a backend that sticks by each; those of the rate limits are none.
TABLES = {"shop": "shop", "lb_peers/clients": "api", "chat": "chat", "wiki": "wiki"}
LIMIT = 20  # requests in 10 s
PATIENCE = 30  # seconds of a client: more than the gate's deadline

Found = dict[str, dict[str, str | None]]  # table, key, server or page


class Site:
    """The service of one balancer, as its users see it."""

    def __init__(self, host: Host, ca: str) -> None:
        published = [port.split(":") for port in host.ansible.get_variables()["lab_publish"]]
        self.ports = {int(inside): int(outside) for outside, inside in published}
        self.http = httpx.Client(
            verify=ssl.create_default_context(cafile=ca),
            headers={"Connection": "close"},  # one that is kept would be the old process's after a reload
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),  # keeps none
            timeout=30,
            trust_env=False,
        )

    def get(self, path: str = "/", port: int = 443, **headers: str) -> httpx.Response:
        """Asks for a page; a header's name has `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        scheme = "https" if port == 443 else "http"
        return self.http.get(f"{scheme}://127.0.0.1:{self.ports[port]}{path}", headers=named)

    def page(self, table: str, key: str) -> str:
        """Gives the page that a session of a table gets; a shop's is asked for in the other backend of that table."""
        asked = {
            "shop": partial(self.get, "/upload", Cookie=f"JSESSIONID={key}"),
            "lb_peers/clients": partial(self.get, Host="api.shop.example", X_Client_Id=key.upper()),
            "chat": partial(self.get, Host="chat.shop.example", X_Real_IP=key),
            "wiki": partial(self.get, port=8090, Cookie=f"wiki_sid={key}"),
        }
        answer = asked[table]()
        assert answer.status_code == 200, f"{table}: {answer.status_code}"
        return answer.text.strip()

    def log_in(self) -> str:
        """Gives a session that the shop has issued."""
        found = re.match("JSESSIONID=([^;]+)", self.get("/login").headers["set-cookie"])
        assert found
        return found[1]


def address() -> str:
    """Gives an address that nobody has asked from."""
    return f"198.18.{random.randrange(256)}.{random.randrange(1, 255)}"


@pytest.fixture(scope="module")
def trusted(balancers: list[Host], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Gives a file of both certificates."""
    file: Path = tmp_path_factory.mktemp("tls") / "both.crt"
    file.write_text("\n".join(host.check_output("cat /etc/haproxy/shop.crt") for host in balancers))
    return str(file)


@pytest.fixture(scope="module")
def sites(balancers: list[Host], trusted: str) -> list[Site]:
    return [Site(host, trusted) for host in balancers]


@pytest.fixture(scope="module", autouse=True)
def stock(balancers: list[Host]) -> list[str]:
    """Gives the files before."""
    return [files(host) for host in balancers]


@pytest.fixture(scope="module")
def known() -> set[str]:
    """Collects every session of these tests."""
    return set()


@pytest.fixture
def planted(balancers: list[Host], nodes: list[Node], sites: list[Site], known: set[str]) -> Found:
    """Gives new sessions of every table with their servers, known to both balancers, which are up."""
    for host in balancers:
        host.check_output("systemctl start haproxy")
    for node in nodes:
        wait_for(f"{node.name} to be in sync", node.api.in_sync)
    name = uuid.uuid4().hex
    keys = {
        "shop": [sites[0].log_in() for _ in range(20)],
        "lb_peers/clients": [f"{name}-{number}" for number in range(20)],
        "chat": list({address() for _ in range(20)}),
        "wiki": [f"{name}-{number}" for number in range(20)],
    }
    for table in ("lb_peers/clients", "chat", "wiki"):
        for key in keys[table]:
            sites[0].page(table, key)
    known.update(key for table in keys for key in keys[table])
    found = bindings(nodes[0], keys)
    assert all(len(set(servers.values()) - {None}) > 1 for servers in found.values()), found
    wait_for("both to know the sessions", lambda: bindings(nodes[1], keys) == found)
    return found


def bindings(node: Node, keys: "Found | dict[str, list[str]]") -> Found:
    """Gives the server of each session, None where it has no row."""
    found: Found = {}
    for table, wanted in keys.items():
        ids = {server.id: server.name for server in node.api.servers(TABLES[table])}
        rows = {row.key: row.server or ids.get(row.server_id or 0) for row in node.api.stream_rows(table)}
        found[table] = {key: rows.get(key) for key in wanted}
    return found


def pages(site: Site, keys: Found) -> Found:
    return {table: {key: site.page(table, key) for key in wanted} for table, wanted in keys.items()}


def role(*arguments: str, venv: Path | None = None) -> Run:
    """Runs the role alone."""
    return play("playbooks/session_guard.yml", *(f"-e{argument}" for argument in arguments), venv=venv)


def assert_nothing_changed(run: Run, nodes: list[Node]) -> None:
    assert (run.rc, [run.changed(node.name) for node in nodes]) == (0, [0, 0]), run.output


def urls(nodes: list[Node]) -> dict[str, str]:
    return {node.name: node.client.url for node in nodes}


def assert_unnoticed(seen: Traffic) -> None:
    print(seen)
    assert (len(seen.failed), seen.moved) == (0, 0), seen


def pasted(text: str, lines: str) -> str:
    """Does what an operator does with what `session-guard lines` prints: after the head of the section it names."""
    wanted: dict[str, list[str]] = {}
    for row in filter(str.strip, lines.splitlines()):
        if found := re.match("# In `(.+)`", row):
            latest = wanted.setdefault(found[1], [])
        else:
            latest.append(row)
    rows = []
    for row in text.splitlines():
        rows += [row, *wanted.pop(row.strip(), [])]
    assert not wanted
    return "\n".join([*rows, ""])


def write(host: Host, text: str) -> None:
    """Replaces the configuration."""
    encoded = b64encode(text.encode()).decode()
    host.check_output(f"printf %s {encoded} | base64 --decode > {CONFIGURATION}")


def configuration(host: Host) -> str:
    return str(host.file(CONFIGURATION).content_string)


# --- on -------------------------------------------------------------------------------------------


def test_check_mode_on_a_pair_without_it_changes_nothing(
    balancers: list[Host], nodes: list[Node], stock: list[str]
) -> None:
    run = play("playbooks/session_guard.yml", "-e", ON, "--check", "--diff")
    assert run.rc == 0, run.output
    assert [files(host) for host in balancers] == stock


def test_the_first_run_stops_and_prints_the_lines(
    balancers: list[Host], nodes: list[Node], stock: list[str], trusted: str
) -> None:
    with traffic(urls(nodes), trusted, PATIENCE) as seen:
        run = role(ON)
    assert run.rc == 2, run.output
    said = " ".join(run.output.split())
    assert "global: missing: lua-load /etc/haproxy/session-guard/gate-" in said
    for head in ("global", "backend shop", "backend uploads", "backend api", "backend chat", "listen wiki"):
        assert f"# In `{head}`, " in said
    assert "backend static" not in said
    for host, before in zip(balancers, stock, strict=True):
        assert configuration(host) == BY_HAND
        assert set(before.splitlines()) <= set(files(host).splitlines())
        assert not host.file("/etc/systemd/system/haproxy.service.d/session-guard.conf").exists
    assert_unnoticed(seen)


def test_with_the_lines_it_converges_and_nobody_notices(
    balancers: list[Host], nodes: list[Node], planted: Found, trusted: str
) -> None:
    masters = [host.check_output("systemctl show -P MainPID haproxy") for host in balancers]
    with traffic(urls(nodes), trusted, PATIENCE) as seen:
        for host in balancers:
            write(host, pasted(configuration(host), host.check_output("session-guard lines")))
            host.check_output(f"haproxy -c -f {CONFIGURATION} && session-guard reload")
        run = role(ON)
        assert run.rc == 0, run.output
    assert_unnoticed(seen)
    assert [host.check_output("systemctl show -P MainPID haproxy") for host in balancers] == masters
    assert [bindings(node, planted) for node in nodes] == [planted, planted]


def test_a_second_run_changes_nothing(balancers: list[Host], nodes: list[Node]) -> None:
    assert_nothing_changed(role(ON), nodes)
    assert_nothing_changed(role(ON, venv=OLDEST), nodes)
    for host in balancers:
        host.check_output("session-guard check")


# --- faults ---------------------------------------------------------------------------------------


def test_reloads_under_load_lose_nothing(
    balancers: list[Host], nodes: list[Node], planted: Found, trusted: str
) -> None:
    with traffic(urls(nodes), trusted, PATIENCE) as seen:
        for host in balancers * 3:
            host.check_output("systemctl reload haproxy")
            assert state(host)["reload"]["outcome"] == "done"
    assert_unnoticed(seen)
    assert [bindings(node, planted) for node in nodes] == [planted, planted]


def test_a_crash_moves_nobody(balancers: list[Host], nodes: list[Node], planted: Found, trusted: str) -> None:
    with traffic(urls(nodes), trusted, PATIENCE) as seen:
        worker = nodes[0].api.info()["Pid"]
        balancers[0].check_output("kill -9 $(systemctl show --property MainPID --value haproxy)")
        wait_for("a new worker", partial(has_new_worker, nodes[0], worker))
        wait_for("its gate to open", partial(is_open, balancers[0]))
    print(seen)
    assert {operation.balancer for operation in seen.failed} <= {nodes[0].name}, seen
    assert not seen.moved, seen
    assert [bindings(node, planted) for node in nodes] == [planted, planted]


def test_the_last_balancer_restarts_with_the_sessions_of_every_table(
    balancers: list[Host], nodes: list[Node], sites: list[Site], planted: Found
) -> None:
    """A restored row names its server by id: each backend of the table must find the same one by it."""
    before = pages(sites[0], planted)
    sites[0].get("/account", X_Real_IP=address())
    balancers[1].check_output("systemctl stop haproxy")
    balancers[0].check_output("systemctl restart haproxy")
    assert state(balancers[0])["gate"]["reason"] == "restored"
    assert bindings(nodes[0], planted) == planted
    assert pages(sites[0], planted) == before


def test_a_dump_has_the_tables_of_sessions_and_no_others(balancers: list[Host], planted: Found) -> None:
    for host in balancers:
        host.check_output("session-guard dump")
        head, *rows = host.check_output("cat /var/lib/session-guard/tables.dump").splitlines()
        assert set(json.loads(head)["tables"]) == set(TABLES)
        assert {row.split()[0] for row in rows} == set(TABLES)


def test_both_restarted_lose_nothing(
    balancers: list[Host], nodes: list[Node], sites: list[Site], planted: Found
) -> None:
    before = pages(sites[1], planted)
    stop_and_start(balancers)
    assert [bindings(node, planted) for node in nodes] == [planted, planted]
    assert [pages(site, planted) for site in sites] == [before, before]


# --- what is no session ---------------------------------------------------------------------------


def test_rate_limits_work(sites: list[Site]) -> None:
    """One is counted over both balancers, the other by each for itself."""
    client = address()
    for path in ("/account", "/search"):
        codes = [sites[0].get(path, X_Real_IP=client).status_code for _ in range(LIMIT + 5)]
        assert 429 not in codes[:LIMIT]
        assert codes[-1] == 429
    told = [sites[1].get("/account", X_Real_IP=client).status_code for _ in range(LIMIT // 2)]
    assert 429 in told
    assert sites[1].get("/search", X_Real_IP=client).status_code != 429


def test_what_needs_no_session_never_waits(
    balancers: list[Host], nodes: list[Node], sites: list[Site], planted: Found
) -> None:
    """The gate is shut as long as the frozen balancer might still teach: sessions of every table wait."""
    site, session = sites[0], f"JSESSIONID={next(iter(planted['shop']))}"
    one = {table: dict([next(iter(servers.items()))]) for table, servers in planted.items()}
    before = pages(site, one)
    worker = nodes[0].api.info()["Pid"]
    balancers[1].check_output("systemctl kill --signal=STOP haproxy")
    try:
        balancers[0].check_output("systemctl restart --no-block haproxy")
        wait_for("a new worker", partial(has_new_worker, nodes[0], worker))
        with ThreadPoolExecutor(len(one)) as pool:
            held = {table: pool.submit(pages, site, {table: one[table]}) for table in one}
            wait_for("a request of each table to be held", lambda: state(balancers[0])["gate"].get("held") == len(held))
            asked = [
                site.get("/", port=80),
                site.get("/monitor", port=8404, Authorization=f"Basic {b64encode(b'admin:swordfish').decode()}"),
                site.get("/alive", port=8404),
                site.get("/static/shop.css", Cookie=session),
                site.get("/health", Cookie=session),
                site.get("/", port=8187),
                site.get("/login"),
            ]
            assert not is_open(balancers[0])
            assert not [table for table, answer in held.items() if answer.done()]
            assert [answer.status_code for answer in asked] == [301, 200, 200, 200, 404, 200, 200]
            assert {table: answer.result()[table] for table, answer in held.items()} == before
    finally:
        balancers[1].check_output("systemctl kill --signal=CONT haproxy")
    assert bindings(nodes[0], planted) == planted


def test_no_session_is_told(balancers: list[Host], known: set[str]) -> None:
    """Addresses are in HAProxy's own log, whatever the guard does; in what the guard says and writes they are not."""
    for host in balancers:
        said = host.check_output("journalctl --no-pager --output cat")
        own = "\n".join(row for row in said.splitlines() if "session-guard" in row)
        own += host.check_output(f"cat /var/lib/session-guard/state.json {TEXTFILE}")
        assert "session_guard_gate_open" in own
        assert [key for key in known if key in own] == []
        assert [key for key in known if key in said and not re.fullmatch(r"[\d.]+", key)] == []


# --- off ------------------------------------------------------------------------------------------


def test_off_again_the_pair_is_what_it_was(
    balancers: list[Host], nodes: list[Node], sites: list[Site], planted: Found, stock: list[str], trusted: str
) -> None:
    """What the guard was told counts for its removal, not what the run of the removal is told."""
    before = pages(sites[0], planted)
    with traffic(urls(nodes), trusted, PATIENCE) as seen:
        for host in balancers:
            host.check_output(f"sed -i {shlex.quote('/session[-_]guard/d')} {CONFIGURATION}")
            host.check_output("systemctl reload haproxy")
        run = role(OFF, "session_guard_unit=another", "session_guard_textfile=", venv=OLDEST)
        assert run.rc == 0, run.output
    assert not seen.failed, seen
    assert [configuration(host) for host in balancers] == [BY_HAND, BY_HAND]
    assert [files(host) for host in balancers] == stock
    assert not [host for host in balancers if host.file(TEXTFILE).exists]
    assert_nothing_changed(role(OFF), nodes)
    assert [bindings(node, planted) for node in nodes] == [planted, planted]
    assert [pages(site, planted) for site in sites] == [before, before]
