"""A look at the balancers: they are found well, a row that one lacks is found, and nothing is asked or changed."""

import csv
from collections.abc import Iterator
from functools import partial

import pytest
from deployment import wait_for
from node import Node

from verify.look import Look, look
from verify.runtime_api import RuntimeApi
from verify.table_text import Row

TABLE = "back-session"
KEYS = [f"svfylook{number:024x}" for number in range(20)]


@pytest.fixture
def apis(nodes: list[Node]) -> Iterator[dict[str, RuntimeApi]]:
    """Give the runtime APIs of balancers that share these rows and no other: other tests leave what they like."""
    known = {node.name: node.api for node in nodes}
    for node in nodes:
        node.await_sync(TABLE)
    clear(known)
    for number, key in enumerate(KEYS):
        nodes[number % len(nodes)].api.set_row(TABLE, key, nodes[0].api.servers(TABLE)[0].id)
    for name, api in known.items():
        wait_for(f"{name} to have the rows", partial(complete, api))
    yield known
    clear(known)


def clear(apis: dict[str, RuntimeApi]) -> None:
    """Empty the table everywhere, twice: a row may have been on its way."""
    for api in [*apis.values(), *apis.values()]:
        assert api.ask(f"clear table {TABLE}") == ["\n"]


def complete(api: RuntimeApi) -> bool:
    return len(api.rows(TABLE, KEYS)) == len(KEYS)


def found(result: Look, severity: str) -> list[str]:
    """Return what a look found, with its lint and balancer."""
    return [
        f"{finding.lint} {finding.balancer}: {finding.what}"
        for finding in result.findings
        if finding.severity == severity
    ]


def blind(apis: dict[str, RuntimeApi]) -> bool:
    """Whether HAProxy, before 2.0, does not tell the peers' states: a look says so, and judges nothing."""
    missing = {name for name, api in apis.items() if api.peers() is None}
    told = {row.split()[1].rstrip(":") for row in found(look(apis), "risky") if row.startswith("no-show-peers ")}
    assert told == missing
    return bool(missing)


def requests(api: RuntimeApi) -> dict[str, str]:
    """Return how many requests each frontend has had; commands of the runtime API count as none there."""
    rows = csv.DictReader(api.ask("show stat")[0].removeprefix("# ").splitlines())
    return {row["pxname"]: row["req_tot"] for row in rows if row["svname"] == "FRONTEND"}


def test_the_balancers_are_well(apis: dict[str, RuntimeApi]) -> None:
    result = look(apis)
    assert found(result, "wrong") == []
    if blind(apis):
        assert result.verdict == "unknown"
        return
    assert result.verdict == "pass"
    for balancer in result.balancers:
        (table,) = [table for table in balancer.tables if table.name == TABLE]
        assert {done.other for done in table.compared} == set(apis) - {balancer.name}
        assert all(done.asked >= len(KEYS) for done in table.compared)


def test_a_look_asks_for_nothing_and_changes_nothing(apis: dict[str, RuntimeApi]) -> None:
    def bound(row: Row) -> tuple[int | None, str | None]:
        return row.server_id, row.server

    asked = {name: requests(api) for name, api in apis.items()}
    rows = {name: api.rows(TABLE, KEYS) for name, api in apis.items()}
    look(apis)
    assert {name: requests(api) for name, api in apis.items()} == asked
    for name, api in apis.items():
        after = api.rows(TABLE, KEYS)
        assert {key: bound(row) for key, row in after.items()} == {key: bound(row) for key, row in rows[name].items()}
        assert all(row.expire_ms <= rows[name][key].expire_ms for key, row in after.items())


def test_a_row_that_one_balancer_lacks_is_found(apis: dict[str, RuntimeApi]) -> None:
    lacking, *others = apis
    apis[lacking].clear(TABLE, KEYS[:3])
    result = look(apis)
    if blind(apis):
        assert result.verdict == "unknown"
        return
    assert result.verdict == "fail"
    for other in others:
        assert [what for what in found(result, "wrong") if what.startswith(f"rows-missing {other}: 3 of ")]
    assert not [key for key in KEYS if key in repr(result)]
