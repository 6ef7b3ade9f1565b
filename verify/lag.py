"""Lag: how long rows take from one balancer to another, measured on the balancers themselves.

This is Jepsen's stable latency of a set (`set-full`): an element's time from its known addition to
the last read that missed it. Here the set is the stick table and the addition is a `set table` on
the source: known when its answer has been read. Each look at the target is a read: it spans the time
from its beginning to its end, and HAProxy looked some time in between. So, with the two clocks::

    source     sent ---- written ---- known
    target         missed -------- came -------- saw
                   (the last look that missed the row began, the first one that saw it was done)

    true lag    came - written
    lag         missed - known, at least 0
    resolution  (saw - sent) - lag: one look to the next, and how long the write took,
                and the errors of both clocks' readings

and the true lag is at least `lag` less the clocks' errors, and at most `lag + resolution`. Where no
look after the write missed the row, the lag is 0 and the resolution all that is known of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, permutations

from verify.errors import VerifyError
from verify.history import Lag
from verify.hosts import Host
from verify.runtime_api import RuntimeApi
from verify.runtime_text import parse_done
from verify.waiting import wait_for

ANSWER, CLEAR = 10.0, 10.0  # s


def measure(
    hosts: Mapping[str, Host],
    sockets: Mapping[str, str],
    table: str,
    server_id: int,
    keys: Sequence[str],
    seconds: float = 5,
) -> Iterator[Lag]:
    """Writes each key on one balancer and watches another, every ordered pair in turn.

    At the end, however it comes, the keys are cleared on all balancers.

    Args:
        hosts: the balancers, at least two, by name.
        sockets: the paths of their admin sockets, by name.
        table: the shared table.
        server_id: a server's id in the table's backend: rows that no server has are of no use.
        keys: one a sample, the verifier's own, none of them in the table yet.
        seconds: how long a row may take.

    Yields:
        The samples, `lag_ns` None where the row did not come.

    Raises:
        HostError: a host can't be reached, or a socket does not answer.
        RuntimeApiError: the row could not be written.
        VerifyError: a key was in the table before.
        WaitTimeout: rows that were cleared came back.
    """
    pairs = cycle(permutations(hosts, 2))
    used: list[str] = []
    try:
        for key, (source, target) in zip(keys, pairs, strict=False):
            used.append(key)
            watch = {"socket": sockets[target], "table": table, "key": key}
            write = {"socket": sockets[source], "commands": [f"set table {table} key {key} data.server_id {server_id}"]}
            yield _sample(hosts[source], hosts[target], watch, write, seconds)
    finally:
        apis = [RuntimeApi(host, sockets[name]) for name, host in hosts.items()]
        wait_for(f"the lag's own rows to be gone from {table}", lambda: _cleared(apis, table, used), CLEAR)


def _sample(
    source: Host, target: Host, watch: Mapping[str, object], write: Mapping[str, object], seconds: float
) -> Lag:
    (source_ahead, source_error), (target_ahead, target_error) = source.clock(), target.clock()
    errors = source_error + target_error
    with target.request("watch", within=seconds, **watch) as request:
        if request.part(ANSWER) is None:
            raise VerifyError(f"{target.name}: a key of the lag's measurement is in {watch['table']} already")
        (written,) = source.call("cli", ANSWER, **write)
        parse_done(f"{source.name}: set table {watch['table']}", written["text"])
        looks = request.answer(seconds + ANSWER)
    if looks["saw_ns"] is None:
        return Lag(source=source.name, target=target.name, lag_ns=None, resolution_ns=looks["gap_ns"] + errors)
    lag, resolution = bounds(
        written["sent_ns"] - source_ahead,
        written["done_ns"] - source_ahead,
        looks["missed_ns"] - target_ahead,
        looks["saw_ns"] - target_ahead,
    )
    return Lag(source=source.name, target=target.name, lag_ns=lag, resolution_ns=resolution + errors)


def bounds(sent: int, known: int, missed: int, saw: int) -> tuple[int, int]:
    """Returns lag and resolution (without the clocks' errors) of four times of one clock, see above."""
    lag = max(0, missed - known)
    return lag, max(0, saw - sent - lag)


def _cleared(apis: Sequence[RuntimeApi], table: str, keys: Sequence[str]) -> bool:
    """Clears rows everywhere and returns whether they stay away: what a peer had not sent yet comes later."""
    for api in apis:
        api.clear(table, keys)
    return not any(api.rows(table, keys) for api in apis)
