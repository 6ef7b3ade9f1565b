"""Measures the session guard's dump and restore: how long they take, what traffic notices of a dump. Not a test.

python tests/bench_dump.py [SUITE [ROWS]]     a suite of Debian or Ubuntu: bookworm; rows of the table: 1000000

Restore and dump by an admin's stats socket, as the stock configuration has one; --missing: when every row is there.
Live traffic: wrk asks for known cookies at a moderate rate, without a dump and while dumps are written one after the
other, at the timer's priority and pace; they take turns, RUNS times. Needs root, and wrk.
"""

import json
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "shared"))
sys.path.insert(0, str(Path(__file__).parents[1] / "roles/session_guard/files"))
sys.path.insert(0, str(Path(__file__).parents[1] / "roles/haproxy/files"))

import guard_dump
import haproxy_peers
from gated import Bench, Haproxy, bench_of
from guard_configuration import Configuration, Table
from guard_store import PAUSE_SECONDS

RUNS, SECONDS = 7, 5
ASK = """
request = function() return wrk.format(nil, nil, {{ Cookie = "JSESSIONID=k" .. math.random(0, {last}) }}) end
delay = function() return 5 end
"""


def write_dump(file: Path, rows: int) -> None:
    """Writes a dump of rows that last."""
    later = int(time.time()) + 86400
    with file.open("w") as text:
        text.write(json.dumps({"version": 1, "time": int(time.time()), "tables": {"b": {"rows": rows}}}) + "\n")
        text.writelines(f"b s{number % 4 + 1} {later} k{number}\n" for number in range(rows))


def timed(what: str, rows: int, does: Callable[[], object]) -> None:
    """Prints how long something took, and the processor time of this process for it."""
    began, spent = time.monotonic(), time.process_time()
    found = does()
    took, spent = time.monotonic() - began, time.process_time() - spent
    print(f"{what}: {took:.2f} s, {rows / took:.0f} rows/s, processor time of the program {spent:.2f} s; {found}")


def p99(haproxy: Haproxy, rows: int) -> float:
    """Gives the 99th percentile of the latencies of known cookies' requests, in milliseconds."""
    script = haproxy.folder / "ask.lua"
    script.write_text(ASK.format(last=rows - 1))
    command = [
        "wrk",
        "-t1",
        "-c16",
        f"-d{SECONDS}",
        "--latency",
        "-s",
        str(script),
        f"http://127.0.0.1:{haproxy.front}/",
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    assert found, said
    assert "Non-2xx" not in said, said
    return float(found[1]) * {"us": 1e-3, "ms": 1, "s": 1e3}[found[2]]


def dump_for_ever(file: Path, tables: list[Table]) -> None:
    """Writes dumps at the timer's priority."""
    os.nice(19)
    while True:
        guard_dump.write(file, tables, "bench", PAUSE_SECONDS)


def compare_live_traffic(haproxy: Haproxy, rows: int, file: Path, tables: list[Table]) -> None:
    """Prints the ratio of the latencies during a dump to those without."""
    pairs = []
    for _ in range(RUNS):
        without = p99(haproxy, rows)
        dumping = multiprocessing.get_context("fork").Process(target=dump_for_ever, args=(file, tables))
        dumping.start()
        pairs.append((without, p99(haproxy, rows)))
        dumping.kill()
        dumping.join()
    without, during = (statistics.median(pair[which] for pair in pairs) for which in (0, 1))
    ratio = statistics.median(two / one for one, two in pairs)
    print(f"p99 of live traffic: {without:.2f} ms without, {during:.2f} ms during dumps, median ratio {ratio:.2f}")


def measure(bench: Bench, rows: int) -> None:
    """Measures everything on one HAProxy."""
    haproxy = bench.haproxy("lb")
    admin = f"stats socket {haproxy.inside('admin.sock')} mode 600 level admin"
    bench.configure(haproxy, bench.haproxy("nobody"), settings=(admin,))
    haproxy.start()
    haproxy_peers.MASTER_SOCKET = str(haproxy.folder / "lb.sock")
    haproxy_peers.CONFIGURATION = haproxy.folder / "lb.cfg"
    haproxy_peers.admin_socket = lambda: str(haproxy.folder / "admin.sock")
    tables = Configuration(haproxy_peers.CONFIGURATION.read_text()).tables
    file = haproxy.folder / "tables.dump"
    write_dump(file, rows)
    timed("restore", rows, lambda: guard_dump.restore([file], tables, missing_only=False))
    timed("restore --missing", rows, lambda: guard_dump.restore([file], tables, missing_only=True))
    timed("dump", rows, lambda: guard_dump.write(file, tables.values(), "bench"))
    compare_live_traffic(haproxy, rows, file, list(tables.values()))


def main() -> None:
    """Measures everything."""
    suite, rows = [*sys.argv[1:], *["bookworm", "1000000"][len(sys.argv) - 1 :]]
    with bench_of(suite) as bench:
        version = ".".join(map(str, bench.haproxy("any").version()))
        print(f"python tests/bench_dump.py {suite} {rows}: HAProxy {version}")
        measure(bench, int(rows))


if __name__ == "__main__":
    main()
