"""The load, against real HTTP servers on loopback; its plan, pure."""

import itertools
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.verify.web import BOUND, Authority, Web, refusing, serving, target
from verify.client import Client
from verify.errors import BadUse
from verify.history import Operation, Session
from verify.load import Load, LoadSummary, Plan
from verify.waiting import wait_for

SESSIONS = tuple((f"s{number:05d}", f"svfy{number:028x}") for number in range(20))
FAST = 500.0  # requests a second: a test is over soon, and asserts no time


CLOSED = "the connection was closed before an answer"


class Run:
    """A load and what it wrote."""

    def __init__(self, plan: Plan, write: Callable[[Session | Operation], None] | None = None) -> None:
        self.records: list[Session | Operation] = []
        self.due = 0
        self.load = Load(
            plan,
            write=write or self.records.append,
            next_index=itertools.count(1).__next__,
            now=time.monotonic_ns,
            phase=self._phase,
            server_of=lambda answer: answer.header("X-Server"),
        )

    def _phase(self) -> str:
        self.due += 1
        return "quiet" if self.due <= 5 else "busy"

    def all(self) -> LoadSummary:
        self.load.start()
        return self.load.join()

    @property
    def operations(self) -> list[Operation]:
        """In the order in which they were planned."""
        found = [record for record in self.records if isinstance(record, Operation)]
        return sorted(found, key=lambda operation: operation.planned_ns)

    @property
    def sessions(self) -> list[Session]:
        return [record for record in self.records if isinstance(record, Session)]


def plan(*urls: str, **more: object) -> Plan:
    """A plan of 50 requests in the name of known sessions, unless told otherwise."""
    targets = {f"haproxy-{number}": target(url) for number, url in enumerate(urls, 1)}
    given = {"targets": targets, "seed": 7, "rate": FAST, "seconds": None, "cap": 50, "sessions": SESSIONS, **more}
    return Plan(**given)  # type: ignore[arg-type]


def test_every_request_becomes_an_operation(web: Web) -> None:
    with serving(Web("web-be2")) as other:
        run = Run(plan(web.url, other.url, seconds=0.1, cap=1000))
        summary = run.all()
    assert summary == LoadSummary(
        planned=50, sent=50, ok=50, fail=0, info=0, stopped_because=None, slipped_ns=summary.slipped_ns
    )
    assert {(one.balancer, one.server) for one in run.operations} == {
        ("haproxy-1", "web-be1"),
        ("haproxy-2", "web-be2"),
    }
    assert [one.index for one in sorted(run.operations, key=lambda one: one.sent_ns)] == list(range(1, 51))
    assert [one.phase for one in run.operations] == ["quiet"] * 5 + ["busy"] * 45
    for one in run.operations:
        assert one.planned_ns <= one.sent_ns <= one.done_ns
        assert (one.source, one.status, one.outcome, one.attempt, one.error) == ("load", 200, "ok", 1, None)
    keys = dict(SESSIONS)
    asked = sorted((path, cookie or "") for path, cookie in web.asked + other.asked)
    assert asked == sorted(("/", f"JSESSIONID={keys[one.session or '']}") for one in run.operations)
    assert not run.load.running
    web.wait_all_closed()


def test_requests_are_due_whatever_became_of_earlier_ones(web: Web) -> None:
    """A server stalls: requests stay planned as evenly, and each says how long it had to wait."""
    run = Run(plan(web.url, cap=300, connections=3))
    run.load.start()
    wait_for("ten requests to be due", lambda: run.due >= 10, BOUND)
    web.going.clear()
    stalled_ns, due = time.monotonic_ns(), run.due
    wait_for("a hundred more to be due", lambda: run.due >= due + 100, BOUND)
    resumed_ns = time.monotonic_ns()
    web.going.set()
    summary = run.load.join()

    assert (summary.planned, summary.sent, summary.ok) == (300, 300, 300)
    planned = [one.planned_ns for one in run.operations]
    assert {later - earlier for earlier, later in itertools.pairwise(planned)} == {2_000_000}
    hit = [one for one in run.operations if stalled_ns < one.planned_ns < resumed_ns]
    assert len(hit) > 10
    assert all(one.done_ns - one.planned_ns > resumed_ns - one.planned_ns for one in hit)
    # Three were sent, for as many connections there are; the others waited, and say so.
    late = [one for one in hit if one.sent_ns > resumed_ns]
    assert len(late) >= len(hit) - 3
    assert summary.slipped_ns == max(one.sent_ns - one.planned_ns for one in run.operations)
    assert summary.slipped_ns >= resumed_ns - late[0].planned_ns
    assert max(_at_once(run.operations)) <= 3


def _at_once(operations: list[Operation]) -> list[int]:
    moments = sorted([(one.sent_ns, 1) for one in operations] + [(one.done_ns, -1) for one in operations])
    return list(itertools.accumulate(change for _, change in moments))


def test_a_connection_is_kept_or_not(web: Web) -> None:
    run = Run(plan(web.url, keep_alive=True, connections=2))
    run.all()
    web.wait_all_closed()
    numbers = [one.connection for one in run.operations]
    assert len(set(numbers)) == web.opened <= 2
    with Client(target(web.url)) as client:
        assert client.ask(None).connection not in numbers

    opened = web.opened
    run = Run(plan(web.url))
    run.all()
    assert len({one.connection for one in run.operations}) == 50 == web.opened - opened
    web.wait_all_closed()


def test_a_kept_connection_that_was_closed_is_not_used_again(web: Web) -> None:
    """The server closes what was to be kept: the next request takes a new connection."""
    once = {"haproxy-1": target(web.url, path="/once")}
    run = Run(plan(targets=once, keep_alive=True, connections=1, rate=20.0, cap=10))
    summary = run.all()
    answered = [one for one in run.operations if one.outcome == "ok"]
    assert len({one.connection for one in answered}) == len(answered) == summary.ok
    # It may close just when the next one is sent.
    assert {one.error for one in run.operations} <= {None, f"{web.url}/once gave no whole answer: {CLOSED}"}


@pytest.mark.parametrize(
    ("path", "outcome", "status"),
    [("/down", "fail", 503), ("/gone", "info", None), ("/half", "info", None), ("/rubbish", "info", None)],
)
def test_outcomes(web: Web, path: str, outcome: str, status: int | None) -> None:
    run = Run(plan(web.url, targets={"haproxy-1": target(web.url, path=path)}, cap=5))
    run.all()
    for one in run.operations:
        assert (one.outcome, one.status, one.server) == (outcome, status, None)
        assert one.connection > 0
        assert (one.error is None) == (status is not None)


def test_no_answer_in_time_is_open(web: Web) -> None:
    run = Run(plan(web.url, targets={"haproxy-1": target(web.url, path="/never", seconds=1)}, cap=3))
    assert run.all().info == 3
    assert "did not answer within 1 s" in (run.operations[0].error or "")
    web.wait_all_closed()


def test_it_stops_where_too_many_fail() -> None:
    with refusing() as url:
        run = Run(plan(url, cap=5000))
        summary = run.all()
    assert summary.fail == summary.sent == len(run.operations) < 200
    assert summary.stopped_because == "20 of the last 20 requests did not succeed (error_rate 0.5)"
    assert {(one.outcome, one.connection, one.status) for one in run.operations} == {("fail", 0, None)}


def test_it_goes_on_where_fewer_fail(web: Web) -> None:
    """One of two balancers is away."""
    with refusing() as url:
        summary = Run(plan(web.url, url, cap=100, error_rate=1.0)).all()
        assert (summary.sent, summary.stopped_because) == (100, "it reached its cap of 100 requests")
        assert summary.fail > 0 < summary.ok
        assert Run(plan(url, cap=100, error_rate=None)).all().fail == 100


def test_stop(web: Web) -> None:
    run = Run(plan(web.url, cap=100_000, rate=100.0, keep_alive=True))
    run.load.start()
    wait_for("ten requests to be due", lambda: run.due >= 10, BOUND)
    assert run.load.running
    run.load.stop()
    summary = run.load.join()
    assert summary.sent == summary.ok == len(run.operations) < 5000
    assert summary.stopped_because == "it was told to"
    web.wait_all_closed()


def test_requests_still_out_at_the_end_are_recorded(web: Web) -> None:
    """Two are out and may have been served; three never found a connection, and are no operations."""
    never = {"haproxy-1": target(web.url, path="/never", seconds=BOUND)}
    run = Run(plan(web.url, targets=never, cap=5, connections=2, grace=1))
    summary = run.all()
    assert (summary.planned, summary.sent, summary.info) == (5, 2, 2)
    assert [one.outcome for one in run.operations] == ["info", "info"]
    assert "had not answered 1 s after the load's end" in (run.operations[0].error or "")
    web.wait_all_closed()


def test_new_sessions_of_the_clients(web: Web) -> None:
    run = Run(plan(web.url, cap=200, share_new=0.3, issued_by="client", key_length=32, new_again=0.02))
    run.all()
    assert 30 <= len(run.sessions) <= 90
    assert [session.label for session in run.sessions[:2]] == ["n00001", "n00002"]
    assert all(re.fullmatch("svfy[0-9a-f]{28}", session.key) for session in run.sessions)
    assert {(session.issued_by, session.length) for session in run.sessions} == {("client", 32)}
    assert_written_first(run)
    assert_asked_again(run, web)


def test_new_sessions_of_the_servers(web: Web) -> None:
    run = Run(plan(web.url, cap=200, share_new=0.3, new_again=0.02, sessions=()))
    run.all()
    assert len(run.sessions) >= 30
    assert {session.issued_by for session in run.sessions} == {"server"}
    assert sorted(session.key for session in run.sessions) == sorted(
        f"web-be1-{number}" for number in range(1, web.logins + 1)
    )
    assert_written_first(run)
    assert_asked_again(run, web)
    logins = [cookie for path, cookie in web.asked if path == "/login"]
    assert logins == [None] * web.logins


def assert_written_first(run: Run) -> None:
    known = {label for label, _ in SESSIONS}
    for record in run.records:
        if isinstance(record, Session):
            assert record.label not in known
            known.add(record.label)
        else:
            assert record.session in known


def assert_asked_again(run: Run, web: Web) -> None:
    """New sessions come back, with the key that they have."""
    cookies = [cookie for _, cookie in web.asked if cookie]
    for session in run.sessions:
        asked = sum(one.session == session.label for one in run.operations)
        assert cookies.count(f"JSESSIONID={session.key}") == asked - (session.issued_by == "server")
    assert len(run.operations) > len({one.session for one in run.operations})


def test_a_login_that_gave_nothing_is_no_session(web: Web) -> None:
    """Who is due in its name logs in again."""
    run = Run(plan(web.url, targets={"haproxy-1": target(web.url, login_path="/")}, sessions=(), share_new=0.1))
    run.all()
    assert run.sessions == []
    assert {one.session for one in run.operations} == {None}


def test_the_seed_decides(web: Web) -> None:
    with serving(Web()) as other:
        orders = []
        for seed in (1, 1, 2):
            run = Run(plan(web.url, other.url, seed=seed, share_new=0.2, issued_by="client"))
            run.all()
            orders.append([(one.session, one.balancer) for one in run.operations])
    assert orders[0] == orders[1] != orders[2]
    assert {balancer for _, balancer in orders[0]} == {"haproxy-1", "haproxy-2"}


def test_the_plan_is_spread_and_bounded() -> None:
    asked = list(plan("http://a", "http://b", rate=100.0, seconds=10, cap=5000, share_new=0.2).requests())
    assert len(asked) == 1000
    assert [one.after_ns for one in asked[:3]] == [0, 10_000_000, 20_000_000]
    assert asked[-1].after_ns < 10 * 10**9
    new = {one.label for one in asked} - {label for label, _ in SESSIONS}
    assert 150 <= len(new) <= 250
    assert {label for label, _ in SESSIONS} <= {one.label for one in asked}
    assert 400 <= sum(one.balancer == "haproxy-1" for one in asked) <= 600
    begun: dict[str, int] = {}
    for one in asked:
        if one.label in new:
            first = begun.setdefault(one.label, one.after_ns)
            assert one.after_ns == first or one.after_ns >= first + 10**9
    assert len(list(plan("http://a", rate=100.0, seconds=10, cap=7).requests())) == 7
    assert len(list(plan("http://a", seconds=None, cap=7).requests())) == 7


def test_tls(authority: Authority) -> None:
    with serving(Web(context=authority.context(ask_client=True))) as web:
        names = {"ca": authority.ca, "sni": "shop.test"}
        good = {"haproxy-1": target(web.url, client_cert=authority.client, **names)}
        for keep_alive in (False, True):
            summary = Run(plan(targets=good, cap=10, keep_alive=keep_alive, connections=2)).all()
            assert (summary.ok, summary.sent) == (10, 10)
        web.wait_all_closed()
        bad = {"haproxy-1": target(web.url, ca=authority.ca, client_cert=authority.client)}
        run = Run(plan(targets=bad, cap=3))
        assert run.all().fail == 3
        assert "certificate verify failed" in (run.operations[0].error or "")


def test_what_a_callable_raises_is_heard(web: Web) -> None:
    def write(record: object) -> None:
        raise OSError("no space left")

    run = Run(plan(web.url, cap=100_000), write)
    with pytest.raises(OSError, match="no space left"):
        run.all()
    assert not run.load.running


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("rate", 0, "rate 0 can't be: give requests a second"),
        ("rate", float("nan"), "rate nan"),
        ("seconds", 0, "seconds 0"),
        ("cap", 0, "cap 0"),
        ("share_new", 1.5, "share_new 1.5 can't be: give a share, 0 to 1"),
        ("new_again", -1, "new_again -1"),
        ("connections", 0, "connections 0"),
        ("error_rate", 0, "error_rate 0"),
        ("grace", -1, "grace -1"),
        ("targets", {}, "targets"),
        ("sessions", (), "give sessions to ask, or a share_new above 0"),
        ("sessions", (("s1", "a"), ("s1", "b")), "give each label once"),
        ("targets", {"haproxy-1": target("http://a", http2=True)}, "http2 of haproxy-1"),
    ],
)
def test_a_plan_names_what_can_not_be(field: str, value: object, says: str) -> None:
    with pytest.raises(BadUse) as raised:
        plan("http://a", **{field: value})
    assert says in str(raised.value)


def test_an_unreadable_authority_is_found_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(BadUse, match=r"none\.pem can't be read"):
        Run(plan(targets={"haproxy-1": target("https://a", ca=str(tmp_path / "none.pem"))}))
