"""Measures the session guard's gate: what it costs once it is open, and what it costs to hold requests. Not a test.

python tests/bench_gate.py [SUITE [HELD]]     a suite of Debian or Ubuntu: bookworm; requests held: 2000

Once open: a HAProxy with the gate's lines and one without take turns, RUNS times, and wrk asks for known cookies as
fast as it can. The servers and wrk share the machine: the processor time for a request says more than the rate.
Held: so many clients ask for unknown cookies; how busy the worker is, how much it grows, and how the requests come out.
Needs root, and wrk.
"""

import os
import re
import selectors
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "shared"))

from gated import Bench, Haproxy, bench_of, gate, wait_for

RUNS, SECONDS = 7, 3
COOKIES = 10_000
ASK = f"""
request = function() return wrk.format(nil, nil, {{ Cookie = "JSESSIONID=k" .. math.random(0, {COOKIES - 1}) }}) end
"""
WATCHED = 5  # seconds of holding
SLOT = 0.1  # seconds


def processor_seconds(haproxy: Haproxy) -> float:
    """Gives the processor time of the worker, in seconds."""
    fields = Path(f"/proc/{haproxy.worker()}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(haproxy: Haproxy) -> int:
    """Gives the resident memory of the worker, in bytes."""
    fields = Path(f"/proc/{haproxy.worker()}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Run:
    """What one run of wrk gave: requests per second, and the worker's processor time for each, in microseconds."""

    rate: float
    cost: float


def ask_known(haproxy: Haproxy) -> Run:
    """Asks for known cookies for some seconds."""
    script = haproxy.folder / "ask.lua"
    script.write_text(ASK)
    command = ["wrk", "-t1", "-c32", f"-d{SECONDS}", "-s", str(script), f"http://127.0.0.1:{haproxy.front}/"]
    before = processor_seconds(haproxy)
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    spent = processor_seconds(haproxy) - before
    answers = re.search(r"(\d+) requests in", said)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert answers, said
    assert rate, said
    assert "Non-2xx" not in said, said
    return Run(float(rate.group(1)), spent / int(answers.group(1)) * 1e6)


def compare_once_open(bench: Bench, name: str, *settings: str) -> None:
    """Prints the ratio of a HAProxy with the gate, open, to one without."""
    plain, gated = bench.haproxy("plain"), bench.haproxy("gated")
    for haproxy, lua in ((plain, None), (gated, gate(gated.address))):
        bench.configure(haproxy, bench.haproxy("nobody"), lua=lua, settings=settings)
        haproxy.start()
        haproxy.plant({f"k{number}": number % 4 + 1 for number in range(COOKIES)})
    gated.ask("@1 session-guard open by-hand")
    Client(gated, "unknown").answer()  # tells HAProxy that the gate is open
    runs = [(ask_known(plain), ask_known(gated)) for _ in range(RUNS)]
    rate = statistics.median(two.rate / one.rate for one, two in runs)
    cost = statistics.median(two.cost / one.cost for one, two in runs)
    without, with_it = (statistics.median(run[which].rate for run in runs) for which in (0, 1))
    print(
        f"once open, {name}: requests/s {without:.0f} without, {with_it:.0f} with, median ratio {rate:.3f};"
        f" processor time a request: median ratio {cost:.3f}"
    )
    for haproxy in (plain, gated):
        haproxy.kill()


class Client:
    """One request for an unknown cookie, on a connection of its own."""

    def __init__(self, haproxy: Haproxy, cookie: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", haproxy.front))
        self.socket.sendall(f"GET / HTTP/1.1\r\nHost: test\r\nCookie: JSESSIONID={cookie}\r\n\r\n".encode())

    def answer(self) -> None:
        """Waits for the answer."""
        assert self.socket.recv(4096).startswith(b"HTTP/1.1 200")
        self.socket.close()


def hold(bench: Bench, number: int, spread: int) -> None:
    """Prints what it costs to hold so many requests, and how they come out."""
    haproxy = bench.haproxy(f"held-{spread}")
    lua = gate(haproxy.address, held=number, spread=spread)
    bench.configure(haproxy, bench.haproxy("nobody"), lua=lua, settings=("maxconn 9500",))
    haproxy.start()
    idle = memory(haproxy)
    clients = [Client(haproxy, f"u{one}") for one in range(number)]
    wait_for("the held requests", lambda: haproxy.status()["held"] == number)
    before, started = processor_seconds(haproxy), time.monotonic()
    time.sleep(WATCHED)
    busy = (processor_seconds(haproxy) - before) / (time.monotonic() - started)
    grown = (memory(haproxy) - idle) / number
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
        haproxy.ask("@1 session-guard open by-hand")
        opened = time.monotonic()
        came: list[float] = []
        while len(came) < number:
            for key, _ in selector.select():
                selector.unregister(key.fileobj)
                key.data.answer()
                came.append(time.monotonic() - opened)
    slots = [int(moment / SLOT) for moment in came]
    most = max(map(slots.count, set(slots)))
    rows = [row.split(",") for row in haproxy.ask("@1 show stat").splitlines() if row.startswith("b,s")]
    at_once = sum(int(row[5]) for row in rows)  # smax
    print(
        f"{number} held, spread {spread}: {busy:.0%} of a core, {grown / 1024:.0f} kB a request;"
        f" once open the last answer after {max(came):.2f} s, at most {most} answers in {SLOT} s,"
        f" {at_once} connections to the servers at a time"
    )
    haproxy.kill()


def main() -> None:
    """Measures everything."""
    suite, held = [*sys.argv[1:], *["bookworm", "2000"][len(sys.argv) - 1 :]]
    with bench_of(suite) as bench:
        print(
            f"python tests/bench_gate.py {suite} {held}: HAProxy {'.'.join(map(str, bench.haproxy('any').version()))}"
        )
        compare_once_open(bench, "nbthread 1", "nbthread 1")
        compare_once_open(bench, "all cores")
        for spread in (0, 100):
            hold(bench, int(held), spread)


if __name__ == "__main__":
    main()
