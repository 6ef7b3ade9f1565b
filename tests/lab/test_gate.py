"""The session guard's gate in real HAProxies, two of Debian's or Ubuntu's versions, on loopback.

Cookies k0, k1 ... are known: the table binds them to the servers in turn. All others are not.
"""

import itertools
import random
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml
from gated import COOKIE, ROOT, SECONDS, SUITES, Bench, Haproxy, bench_of, end, ended, gate, run_as_root, wait_for

ROWS = {f"k{number}": number % 4 + 1 for number in range(10_000)}
CLIENTS = 8
WARM = 500  # answers before anything is done, and after
RELOADS = 4
KEYS = pytest.mark.parametrize(
    ("expression", "table", "key", "cookie"),
    [
        ("req.cook(JSESSIONID)", "string len 32", "new", "new"),
        ("req.cook(JSESSIONID)", "string len 8", "12345678", "123456789"),
        ("src", "ip", "127.0.0.1", "any"),
        ("req.cook(JSESSIONID)", "integer", "17", "17"),
    ],
    ids=["string", "longer", "ip", "integer"],
)


@pytest.fixture(scope="module", params=SUITES)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Gives a place for the HAProxies of one suite."""
    with bench_of(request.param) as made:
        yield made


numbers = itertools.count()


@pytest.fixture
def alone(bench: Bench) -> Iterator[Haproxy]:
    """Gives a HAProxy whose other peer is not there: its gate stays shut."""
    made = bench.haproxy(f"alone{next(numbers)}")
    yield made
    end(made)


def start(
    bench: Bench, haproxy: Haproxy, lua: str = "", expression: str = COOKIE, table: str = "string len 32"
) -> None:
    """Starts a HAProxy with a gate, and with a peer that is not there."""
    bench.configure(
        haproxy, bench.haproxy("nobody"), lua=lua or gate(haproxy.address), expression=expression, table=table
    )
    haproxy.start()


# --- requests -------------------------------------------------------------------------------------


class Client:
    """A client with a connection that it keeps, as long as the server does."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connection: socket.socket | None = None

    def ask(self, cookie: str = "", path: str = "/", header: str = "") -> str:
        """Gives the name of the server that answered.

        Raises:
            OSError: none did; on a connection that was kept the request is sent once more first, as browsers do.
        """
        lines = [f"GET {path} HTTP/1.1", "Host: test", *([f"Cookie: JSESSIONID={cookie}"] if cookie else [])]
        request = "\r\n".join([*lines, *([header] if header else []), "\r\n"]).encode()
        if self.connection:
            with suppress(OSError):
                return self.exchange(self.connection, request)
        self.connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        return self.exchange(self.connection, request)

    def exchange(self, connection: socket.socket, request: bytes) -> str:
        """Sends a request and gives the answer's body."""
        self.connection = None
        try:
            connection.sendall(request)
            answer = b""
            while not (found := re.match(rb"HTTP/1.1 (\d+)(.*?)\r\n\r\n(.*)", answer, re.DOTALL)):
                more = connection.recv(4096)
                if not more:
                    raise ConnectionError("the connection was closed instead of an answer")
                answer += more
        except OSError:
            connection.close()
            raise
        status, head, body = (part.decode() for part in found.groups())
        if status != "200":
            connection.close()
            raise ConnectionError(f"status {status}")
        if "connection: close" in head.lower():
            connection.close()
        else:
            self.connection = connection
        return body


@contextmanager
def asking(haproxy: Haproxy, *cookies: str, path: str = "/", header: str = "") -> Iterator[list[str]]:
    """Asks for each cookie at the same time; gives the answers as they come. All have come when the context is left."""
    answers: list[str] = []

    def ask(cookie: str) -> None:
        answers.append(Client(haproxy.front).ask(cookie, path, header))

    threads = [threading.Thread(target=ask, args=(cookie,)) for cookie in cookies]
    for thread in threads:
        thread.start()
    yield answers
    for thread in threads:
        thread.join(30)
    assert len(answers) == len(cookies)


@dataclass
class Load:
    """What clients saw that ask for known cookies all the time, in random order.

    Attributes:
        answers: how many there were.
        wrong: cookies that another server answered.
        lost: cookies whose rows a reload did not carry.
        failed: what went wrong, for each request without an answer.
        over: whether to stop.
    """

    answers: int = 0
    wrong: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)
    over: bool = False

    def run(self, port: int, seed: int) -> None:
        """Is one client."""
        client, cookies, choose = Client(port), list(ROWS), random.Random(seed)
        while not self.over:
            cookie = choose.choice(cookies)
            try:
                if client.ask(cookie) != f"s{ROWS[cookie]}":
                    self.wrong.add(cookie)
                self.answers += 1
            except OSError as error:
                self.failed.append(str(error))
                time.sleep(0.01)  # nobody listens

    def await_more(self) -> None:
        """Waits for further answers."""
        enough = self.answers + WARM
        wait_for("further answers", lambda: self.answers >= enough)


@contextmanager
def load(haproxy: Haproxy) -> Iterator[Load]:
    """Asks all the time, until the context is left."""
    seen = Load()
    threads = [threading.Thread(target=seen.run, args=(haproxy.front, seed)) for seed in range(CLIENTS)]
    with ExitStack() as stack:
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(setattr, seen, "over", True)
        seen.await_more()
        yield seen
        seen.await_more()


# --- while it is shut -----------------------------------------------------------------------------


def test_haproxy_takes_the_lines_and_warns_of_nothing(bench: Bench, alone: Haproxy) -> None:
    bench.configure(alone, lua=gate(alone.address))
    done = alone.check()
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr


def test_known_cookies_no_cookie_and_exempt_paths_pass(bench: Bench, alone: Haproxy) -> None:
    start(bench, alone)
    alone.plant({"known": 3})
    client = Client(alone.front)
    assert client.ask("known") == "s3"
    assert client.ask()
    assert client.ask("unknown", "/health")
    seen = alone.status()
    assert (seen["state"], seen["held_total"]) == ("shut", 0)


@KEYS
def test_a_row_that_arrives_releases_its_request(
    bench: Bench, alone: Haproxy, expression: str, table: str, key: str, cookie: str
) -> None:
    start(bench, alone, expression=expression, table=table)
    with asking(alone, cookie) as answers:
        wait_for("a held request", lambda: alone.status()["held"] == 1)
        assert not answers
        alone.plant({key: 3})
    assert answers == ["s3"]
    seen = alone.status()
    assert (seen["state"], seen["held"], seen["held_most"], seen["held_total"]) == ("shut", 0, 1, 1)


def test_above_the_cap_requests_pass_and_are_counted(bench: Bench, alone: Haproxy) -> None:
    start(bench, alone, gate(alone.address, held=2))
    with asking(alone, "one", "two"):
        wait_for("two held requests", lambda: alone.status()["held"] == 2)
        assert Client(alone.front).ask("three")
        seen = alone.status()
        assert (seen["state"], seen["held"], seen["passed"]) == ("shut", 2, 1)
        alone.ask("@1 session-guard open by-hand")


def test_the_cap_is_half_of_maxconn(bench: Bench, alone: Haproxy) -> None:
    bench.configure(alone, bench.haproxy("nobody"), lua=gate(alone.address), settings=("maxconn 5",))
    alone.start()
    with asking(alone, "one", "two"):
        wait_for("two held requests", lambda: alone.status()["held"] == 2)
        assert Client(alone.front).ask("three")
        alone.ask("@1 session-guard open by-hand")
    assert alone.status()["passed"] == 1


# --- how it opens ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["learnt", "restored", "alone", "by-hand"])
def test_others_open_it_by_the_command_line(bench: Bench, alone: Haproxy, reason: str) -> None:
    start(bench, alone)
    with asking(alone, "one", "two"):
        wait_for("two held requests", lambda: alone.status()["held"] == 2)
        assert "REASON is" in alone.ask("@1 session-guard open nonsense")
        assert alone.status()["state"] == "shut"
        alone.ask(f"@1 session-guard open {reason}")
    seen = alone.status()
    assert (seen["state"], seen["kind"], seen["reason"], seen["held"]) == ("open", "cold", reason, 0)
    alone.ask("@1 session-guard open by-hand")
    again = alone.status()
    assert (again["reason"], again["shut_ms"]) == (reason, seen["shut_ms"])
    assert seen["pid"] == alone.worker()


@pytest.mark.parametrize("asks", [True, False])
def test_the_deadline_opens_it(bench: Bench, alone: Haproxy, asks: bool) -> None:
    text = gate(alone.address if asks else "/nowhere", deadline=1)
    start(bench, alone, text)
    with asking(alone, "one"):
        wait_for("a held request", lambda: alone.status()["held_total"] == 1)
    seen = alone.status()
    assert (seen["reason"], seen["errors"]) == ("deadline", 0)


@pytest.mark.parametrize(
    "what", ["local function wait(txn, name, key)\n", 'local answer = ask("show info;show peers\\n")']
)
def test_an_error_opens_it(bench: Bench, alone: Haproxy, what: str) -> None:
    text = gate(alone.address)
    assert what in text
    start(bench, alone, text.replace(what, f'{what} error("injected")'))
    assert Client(alone.front).ask("one")
    seen = alone.status()
    assert (seen["state"], seen["reason"], seen["errors"]) == ("open", "error", 1)


def test_a_table_that_is_not_there_opens_it(bench: Bench, alone: Haproxy) -> None:
    start(bench, alone, gate(alone.address).replace("txn.c:in_table(key, name)", 'txn.c:in_table(key, "nowhere")'))
    assert Client(alone.front).ask("one")
    assert alone.status()["reason"] == "error"


def test_once_open_haproxy_calls_no_lua(bench: Bench, alone: Haproxy) -> None:
    head = '{ "http-req" }, function(txn, name, variable)\n'
    text = gate(alone.address)
    assert head in text
    start(bench, alone, text.replace(head, f"{head} passed = passed + 1\n"))
    alone.ask("@1 session-guard open by-hand")
    client = Client(alone.front)
    for number in range(20):
        client.ask(f"unknown{number}")
    assert alone.status()["passed"] == 1  # the first one, which told HAProxy


def test_flags_alone_open_no_cold_start(bench: Bench, alone: Haproxy) -> None:
    start(bench, alone)
    wait_for("the end of the resync, without anybody to teach", alone.in_sync)
    with asking(alone, "one"):
        wait_for("a held request", lambda: alone.status()["held"] == 1)
        alone.ask("@1 session-guard open alone")
    assert alone.status()["reason"] == "alone"


def test_two_that_start_together_teach_each_other_nothing(bench: Bench) -> None:
    """Each calls itself in sync after some time, with a session with the other."""
    both = [bench.haproxy(f"cold{number}") for number in (1, 2)]
    for one, another in (both, reversed(both)):
        bench.configure(one, another, lua=gate(one.address))
    with ExitStack() as stack:
        for one in both:
            stack.callback(end, one)
            one.start()
        for one in both:
            wait_for("the end of the resync", one.in_sync)
        wait_for("a session", lambda: all("last_status=ESTA" in one.ask("@1 show peers") for one in both))
        time.sleep(1)  # more than the gate's SETTLE
        assert [one.status()["state"] for one in both] == ["shut", "shut"]


# --- a pair ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(bench: Bench) -> tuple[Haproxy, Haproxy]:
    """Gives two HAProxies that are peers and in sync."""
    a, b = bench.haproxy("a"), bench.haproxy("b")
    bench.configure(a, b, lua=gate(a.address))
    bench.configure(b, a, lua=gate(b.address))
    b.start()
    wait_for("the end of the first one's resync", b.in_sync)
    b.ask("@1 session-guard open alone")
    a.start()
    return a, b


def plant(*pair: Haproxy) -> None:
    """Has both know ROWS."""
    wait_for("the pair in sync", lambda: all(one.in_sync() for one in pair))
    pair[0].plant(ROWS)
    wait_for("the rows on both", lambda: all(bindings(one) == ROWS for one in pair))


def bindings(haproxy: Haproxy) -> dict[str, int]:
    """Gives the server ids of the known cookies' rows."""
    found = re.findall(r" key=(k\d+) .* server_id=(\d+)", haproxy.ask("@1 show table b"))
    return {key: int(number) for key, number in found}


def opened(haproxy: Haproxy) -> dict[str, Any]:
    """Gives what the gate says once it is open, which is some time after the tables are there."""
    wait_for("the gate's opening", lambda: haproxy.status()["state"] == "open")
    return haproxy.status()


def reload_under_load(a: Haproxy) -> Load:
    """Reloads a HAProxy RELOADS times, each time when it is in sync; gives what the clients saw.

    HAProxy 2.6 itself loses a row or two in one of some 200 such reloads, which no gate can wait for: such rows are
    counted, and written again.
    """
    with load(a) as seen:
        for _ in range(RELOADS):
            a.reload()
            wait_for("the tables", a.in_sync)
            lost = ROWS.keys() - bindings(a).keys()
            a.plant({cookie: ROWS[cookie] for cookie in lost})
            seen.lost |= lost
            seen.await_more()
    return seen


def test_reloads_under_load_move_no_session(bench: Bench, pair: tuple[Haproxy, Haproxy]) -> None:
    a, b = pair
    plant(a, b)
    seen = reload_under_load(a)
    assert seen.failed == []
    assert seen.wrong <= seen.lost
    assert len(seen.lost) <= RELOADS
    assert bindings(a).items() <= ROWS.items()
    told = opened(a)
    assert (told["state"], told["kind"], told["reason"]) == ("open", "reload", "learnt")


@pytest.mark.parametrize("abstract", [False, True])
def test_a_crash_with_the_other_peer_up_moves_no_session(
    bench: Bench, pair: tuple[Haproxy, Haproxy], abstract: bool
) -> None:
    a, b = pair
    plant(a, b)
    address = f"abns@{a.folder.name}" if abstract else a.address
    bench.configure(a, b, lua=gate(address), address=address)
    with load(a) as seen:
        a.kill()
        a.start()
        seen.await_more()
    assert not seen.wrong
    assert bindings(a) == bindings(b) == ROWS
    told = opened(a)
    assert (told["state"], told["kind"], told["reason"]) == ("open", "cold", "learnt")


def test_the_word_of_another_process_does_not_count(
    bench: Bench, pair: tuple[Haproxy, Haproxy], alone: Haproxy
) -> None:
    _, b = pair
    wait_for("the other one in sync", b.in_sync)
    text, counted = gate(b.address), "if answer then return answer end"
    assert counted in text
    start(bench, alone, text.replace(counted, "if answer then passed = passed + 1 return answer end"))
    wait_for("some answers", lambda: alone.status()["passed"] >= 3)
    assert alone.status()["state"] == "shut"


def test_rows_that_only_a_restore_brings_are_waited_for(bench: Bench, pair: tuple[Haproxy, Haproxy]) -> None:
    a, b = pair
    plant(a, b)
    mark = a.folder / "restoring"
    mark.touch()
    bench.configure(a, b, lua=gate(a.address, mark=a.inside(mark.name)))
    a.reload()
    wait_for("the tables", a.in_sync)
    with asking(a, "one"):
        wait_for("a held request", lambda: a.status()["held"] == 1)
        a.plant({"one": 3})
        a.ask("@1 session-guard open restored")
    mark.unlink()
    assert a.status()["reason"] == "restored"


def test_without_the_gate_reloads_move_sessions(bench: Bench, pair: tuple[Haproxy, Haproxy]) -> None:
    a, b = pair
    bench.configure(a, b)
    a.reload()
    plant(a, b)
    assert reload_under_load(a).wrong


# --- an old worker --------------------------------------------------------------------------------


@contextmanager
def slow_heads(haproxy: Haproxy, cookies: list[str]) -> Iterator[dict[str, Client]]:
    """Sends the first part of a request for each cookie, and waits until all of them are known to the worker."""
    before = connections(haproxy)
    with ExitStack() as stack:
        clients = {cookie: Client(haproxy.front) for cookie in cookies}
        for cookie, client in clients.items():
            client.connection = stack.enter_context(socket.create_connection(("127.0.0.1", haproxy.front), timeout=30))
            client.connection.sendall(f"GET / HTTP/1.1\r\nHost: test\r\nCookie: JSESSIONID={cookie}\r\n".encode())
        wait_for("the heads' connections", lambda: connections(haproxy) - before == len(cookies))
        yield clients


def connections(haproxy: Haproxy) -> int:
    """Gives how many connections the frontend of the current worker has."""
    (row,) = (row.split(",") for row in haproxy.ask("@1 show stat").splitlines() if row.startswith("f,FRONTEND"))
    return int(row[4])


def complete(clients: dict[str, Client]) -> dict[str, str]:
    """Sends the rest of the heads, one after another; gives who answered."""
    found = {}
    for cookie, client in clients.items():
        assert client.connection
        found[cookie] = client.exchange(client.connection, b"\r\n")
    return found


def refuses(port: int) -> bool:
    """Whether nobody listens on a port of loopback."""
    with suppress(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()
        return False
    return True


def forgotten(haproxy: Haproxy, pid: int) -> bool:
    """Whether an old worker has emptied its table."""
    return bool(re.search(r"table: b,.* used:0$", haproxy.ask(f"@!{pid} show table b"), re.MULTILINE))


def sessions(name: str) -> dict[str, int]:
    """Gives sessions that no other test has, in no order that the balancer's turn could meet.

    Rows that were overwritten by the command line won't do: it changes the server's id, and HAProxy goes by its name.
    """
    order = [number % 4 + 1 for number in range(40)]
    random.shuffle(order)
    return {f"{name}{number}": server for number, server in enumerate(order)}


def answers(rows: dict[str, int]) -> dict[str, str]:
    """Gives who is to answer."""
    return {cookie: f"s{server}" for cookie, server in rows.items()}


@contextmanager
def replaced(a: Haproxy, b: Haproxy, rows: dict[str, int], *others: str) -> Iterator[tuple[int, dict[str, Client]]]:
    """Gives an old worker that has taught and forgotten the rows, and slow heads for them and others."""
    a.plant(rows)
    wait_for("the rows on both", lambda: all(f"key={key} " in b.ask("@1 show table b") for key in rows))
    wait_for("the pair in sync", a.in_sync)
    old = a.worker()
    with slow_heads(a, [*rows, *others]) as clients:
        a.reload()
        wait_for("an old worker that has forgotten", lambda: forgotten(a, old))
        yield old, clients
    wait_for("the end of the old worker", lambda: ended(old))


def test_an_old_worker_follows_the_new_one(bench: Bench, pair: tuple[Haproxy, Haproxy]) -> None:
    a, b = pair
    bench.configure(a, b, lua=gate(a.address))
    a.reload()
    known, born = sessions("followed"), sessions("born")
    with replaced(a, b, known, *born) as (_, clients):
        a.plant(born)
        assert complete(clients) == answers(known | born)
    rows = a.ask("@1 show table b")
    assert all(re.search(rf" key={key} .* server_id={server}\b", rows) for key, server in (known | born).items())


@KEYS
def test_an_old_worker_asks_for_keys_of_every_type(
    bench: Bench, alone: Haproxy, expression: str, table: str, key: str, cookie: str
) -> None:
    start(bench, alone, expression=expression, table=table)
    with slow_heads(alone, [cookie]) as clients:
        alone.reload()
        alone.plant({key: 3})
        assert complete(clients) == {cookie: "s3"}


def test_without_the_rule_an_old_worker_moves_sessions(bench: Bench, pair: tuple[Haproxy, Haproxy]) -> None:
    a, b = pair
    bench.configure(a, b, lua=gate(a.address))
    file = a.folder / f"{a.name}.cfg"
    text = file.read_text()
    assert "stopping,not,and(" in text
    file.write_text(text.replace("stopping,not,and(", "var("))
    a.reload()
    opened(a)
    assert Client(a.front).ask("unknown")  # tells HAProxy that the gate is open
    known = sessions("moved")
    with replaced(a, b, known) as (_, clients):
        assert complete(clients) != answers(known)


def test_an_old_worker_waits_for_what_the_new_one_still_learns(bench: Bench, pair: tuple[Haproxy, Haproxy]) -> None:
    a, b = pair
    mark = a.folder / "restoring"
    bench.configure(a, b, lua=gate(a.address, mark=a.inside(mark.name)))
    a.reload()
    opened(a)
    mark.touch()
    with replaced(a, b, {"taught": 1}, "restored", "new") as (old, clients):
        mark.unlink()
        found: dict[str, str] = {}
        thread = threading.Thread(target=lambda: found.update(complete(clients)))
        thread.start()
        wait_for("a held request", lambda: '"held":1' in a.ask(f"@!{old} session-guard status"))
        a.plant({"restored": 3})
        wait_for("the one after it", lambda: '"held_total":3' in a.ask(f"@!{old} session-guard status"))
        a.ask("@1 session-guard open restored")
        thread.join(SECONDS)
    assert found["taught"] == "s1"
    assert found["restored"] == "s3"
    assert found["new"]


class Slow(ThreadingHTTPServer):
    """A server that answers with its name, once it may; a request for /login/ID gets that session.

    Attributes:
        name: the server's.
        free: whether it may.
        asked: the requests so far.
    """

    daemon_threads = True

    def __init__(self, name: str, free: threading.Event) -> None:
        super().__init__(("127.0.0.1", 0), SlowAnswer)
        self.name, self.free, self.asked = name, free, list[str]()


class SlowAnswer(BaseHTTPRequestHandler):
    """One request for a slow server."""

    server: Slow

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.free.wait(SECONDS)
        new = f"Set-Cookie: JSESSIONID={self.path.removeprefix('/login/')}\r\n" if self.path != "/" else ""
        head = f"HTTP/1.1 200 OK\r\n{new}Connection: close\r\nContent-Length: {len(self.server.name)}\r\n\r\n"
        self.wfile.write((head + self.server.name).encode())

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


@dataclass
class Begun:
    """A pair, one of which was reloaded while sessions began.

    Attributes:
        pair: the one, and its peer.
        free: lets the servers answer.
        sessions: who answered on the old worker, by session.
    """

    pair: tuple[Haproxy, Haproxy]
    free: threading.Event
    sessions: dict[str, str] = field(default_factory=dict)

    def asked_again(self, haproxy: Haproxy) -> dict[str, str]:
        """Gives who answers now; in an order that the balancer's turn can't meet."""
        order = random.sample(list(self.sessions), len(self.sessions))
        return {session: Client(haproxy.front).ask(session) for session in order}


BEGUN = 20  # sessions of each kind


@contextmanager
def begun(bench: Bench, told: bool = True, first: int = 1) -> Iterator[Begun]:
    """Reloads while servers have logins and requests of unknown sessions; they answer when `free` is set, or after it.

    Args:
        bench: where.
        told: whether the configuration has the lines that tell.
        first: the first server's id from the reload on.
    """
    with ExitStack() as stack:
        free = threading.Event()
        servers = [Slow(f"s{number}", free) for number in range(1, 5)]
        for server in servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
        slow = replace(bench, servers={server.name: server.server_port for server in servers})
        number = next(numbers)
        a, b = (bench.haproxy(f"{name}{number}") for name in ("begun", "peer"))
        for one, other in ((a, b), (b, a)):
            stack.callback(end, one)
            slow.configure(one, other, lua=gate(one.address))
            if not told:
                file = one.folder / f"{one.name}.cfg"
                file.write_text(re.sub(r".*session_guard_tell.*\n", "", file.read_text()))
            one.start()
        wait_for("the pair in sync", lambda: a.in_sync() and b.in_sync())
        for one in (a, b):
            one.ask("@1 session-guard open alone")
        made = Begun((a, b), free)

        def ask(session: str, login: bool) -> None:
            path, cookie = (f"/login/{session}", "") if login else ("/", session)
            made.sessions[session] = Client(a.front).ask(cookie, path)

        threads = [
            threading.Thread(target=ask, args=(f"{kind}{turn}", kind == "login"))
            for turn in range(BEGUN)
            for kind in ("login", "unknown")
        ]
        for thread in threads:
            thread.start()
        wait_for("the requests at the servers", lambda: sum(len(server.asked) for server in servers) == 2 * BEGUN)
        slow.configure(a, b, lua=gate(a.address), first=first)
        a.reload()
        assert opened(a)["reason"] == "learnt"
        yield made
        free.set()
        for thread in threads:
            thread.join(SECONDS)


def answer(made: Begun) -> None:
    """Has the servers answer, and waits for all."""
    made.free.set()
    wait_for("the answers", lambda: len(made.sessions) == 2 * BEGUN)


def test_sessions_that_begin_on_an_old_worker_are_known(bench: Bench) -> None:
    with begun(bench) as made:
        answer(made)
        for haproxy in made.pair:
            assert made.asked_again(haproxy) == made.sessions
        assert "the new process" not in made.pair[0].said()


def test_without_the_lines_they_are_moved(bench: Bench) -> None:
    with begun(bench, told=False) as made:
        answer(made)
        assert made.asked_again(made.pair[0]) != made.sessions


def test_a_server_may_have_another_id_after_the_reload(bench: Bench) -> None:
    with begun(bench, first=11) as made:
        answer(made)
        assert made.asked_again(made.pair[0]) == made.sessions


def test_what_the_new_worker_knows_is_not_overwritten(bench: Bench) -> None:
    with begun(bench) as made:
        a, _ = made.pair
        rows = {f"{kind}{turn}": random.randint(1, 4) for turn in range(BEGUN) for kind in ("login", "unknown")}
        a.plant(rows)
        answer(made)
        assert made.asked_again(a) == answers(rows) != made.sessions


@pytest.mark.parametrize("session", ["two words", "a;b", "back\\slash", "#", "sh<<"])
def test_a_key_is_told_as_it_is(bench: Bench, alone: Haproxy, session: str) -> None:
    start(bench, alone, expression="req.hdr(X-Key)")
    alone.ask("@1 session-guard open by-hand")
    asked = f"X-Key: {session}"
    with slow_heads(alone, ["any"]) as clients:
        alone.reload()
        alone.ask("@1 session-guard open by-hand")
        (client,) = clients.values()
        assert client.connection
        server = client.exchange(client.connection, f"{asked}\r\n\r\n".encode())
    Client(alone.front).ask()  # it was that server's turn
    assert Client(alone.front).ask(header=asked) == server


def test_a_key_that_is_no_word_is_left_out(bench: Bench, alone: Haproxy) -> None:
    start(bench, alone, expression="req.hdr(X-Key)")
    alone.ask("@1 session-guard open by-hand")
    with slow_heads(alone, ["any"]) as clients:
        alone.reload()
        alone.ask("@1 session-guard open by-hand")
        (client,) = clients.values()
        assert client.connection
        assert client.exchange(client.connection, b"X-Key: a\tb\r\n\r\n")
    assert re.search(r"used:0$", alone.ask("@1 show table b"), re.MULTILINE)


def test_a_worker_without_a_successor_asks_nobody(bench: Bench, alone: Haproxy) -> None:
    start(bench, alone)
    alone.ask("@1 session-guard open by-hand")
    with slow_heads(alone, ["one", "two"]) as clients:
        run_as_root("kill", "-USR1", str(alone.worker()))
        wait_for("the end of its listening", lambda: refuses(alone.front))
        assert all(complete(clients).values())
    assert alone.said().count("no new process is there to be asked") == 1


def test_the_eleventh_reload_ends_the_oldest_worker(bench: Bench, alone: Haproxy) -> None:
    defaults = yaml.safe_load((ROOT / "roles/session_guard/defaults/main.yml").read_text())
    most = defaults["session_guard_old_workers"]
    bounds = (
        f"hard-stop-after {defaults['session_guard_old_worker_seconds']}s",
        f"mworker-max-reloads {most}",
    )
    bench.configure(alone, settings=bounds)
    oldest = alone.start().worker()
    with slow_heads(alone, ["one"]):
        for _ in range(most):
            alone.reload()
        assert not ended(oldest)
        alone.reload()
        wait_for("the end of the oldest worker", lambda: ended(oldest))
