"""Three balancers: any two may die; a fourth comes and one goes on the running cluster; no session moves."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import combinations

import pytest
from deployment import INVENTORY, Run, connect, play, wait_for
from node import Node
from traffic import Traffic, traffic

from verify.inventory import balancers_of

TABLE = "back-session"
SESSIONS = [f"three-{number}" for number in range(40)]
THREE, FOUR, WITHOUT_SECOND = "first_three", "balancers", "without_second"


@pytest.fixture(scope="module")
def every() -> Iterator[dict[str, Node]]:
    """Give all four balancers' hosts, by name."""
    with ExitStack() as stack:
        yield {host.name: stack.enter_context(Node.of(host)) for host in balancers_of(INVENTORY, FOUR)}


def members(group: str) -> list[str]:
    return [host.name for host in balancers_of(INVENTORY, group)]


def has_all(node: Node) -> bool:
    return None not in node.bindings(TABLE, SESSIONS).values()


def planted(nodes: list[Node]) -> dict[str, str | None]:
    """Give the sessions with their servers, which every one of the balancers knows."""
    for number, session in enumerate(SESSIONS):
        nodes[number % len(nodes)].client.ask(session)
    for node in nodes:
        wait_for(f"{node.name} to have every row", partial(has_all, node))
    return nodes[0].bindings(TABLE, SESSIONS)


def hear_each_other(names: list[str]) -> None:
    for name in names:
        connect(name).check_output("haproxy-peers wait --every-peer")


@pytest.mark.parametrize("dead", list(combinations(range(3), 2)), ids=lambda pair: "+".join(str(n + 1) for n in pair))
def test_any_two_may_die(every: dict[str, Node], dead: tuple[int, int]) -> None:
    names = members(THREE)
    found = planted([every[name] for name in names])
    (left,) = (every[name] for number, name in enumerate(names) if number not in dead)
    try:
        for number in dead:
            connect(names[number]).check_output("systemctl kill --signal=KILL haproxy; systemctl stop haproxy")
        for session in reversed(SESSIONS):
            left.client.ask(session)
        assert left.bindings(TABLE, SESSIONS) == found
    finally:
        for number in dead:
            connect(names[number]).check_output("systemctl reset-failed haproxy; systemctl start haproxy")
    hear_each_other(names)
    assert [every[name].bindings(TABLE, SESSIONS) for name in names] == [found] * 3


def under_load(every: dict[str, Node], asked: list[str], change: Callable[[], Run]) -> tuple[Run, Traffic]:
    with traffic({name: every[name].client.url for name in asked}) as seen:
        run = change()
    return run, seen


def test_a_fourth_one_comes(every: dict[str, Node]) -> None:
    found = planted([every[name] for name in members(THREE)])
    run, seen = under_load(every, members(THREE), lambda: play("site.yml"))
    assert run.rc == 0, run.output
    assert not seen.failed, seen
    hear_each_other(members(FOUR))
    assert [every[name].bindings(TABLE, SESSIONS) for name in members(FOUR)] == [found] * 4


def test_one_goes(every: dict[str, Node]) -> None:
    found = planted([every[name] for name in members(FOUR)])
    gone, left = connect("haproxy-2"), members(WITHOUT_SECOND)
    gone.check_output("systemctl disable --now haproxy")
    run, seen = under_load(every, left, lambda: play("site.yml", "-e", f"haproxy_group={WITHOUT_SECOND}"))
    assert run.rc == 0, run.output
    assert not seen.failed, seen
    hear_each_other(left)
    assert [every[name].bindings(TABLE, SESSIONS) for name in left] == [found] * 3
    assert "haproxy-2" not in connect(left[0]).check_output("cat /etc/haproxy/haproxy.cfg")


def test_the_first_three_are_back(every: dict[str, Node]) -> None:
    """What was taken out comes back as what was added does, with its old table forgotten."""
    found = planted([every[name] for name in members(WITHOUT_SECOND)])
    run = play("site.yml")
    assert run.rc == 0, run.output
    hear_each_other(members(FOUR))
    assert [every[name].bindings(TABLE, SESSIONS) for name in members(FOUR)] == [found] * 4
