"""Measures the load generator: requests per second of its thread's processor time. Not a test; see `verify.load`.

python tests/bench_load.py            one connection a request: python tests/bench_load.py close
"""

import asyncio
import multiprocessing
import sys
import threading
import time
from multiprocessing.connection import Connection as Pipe

from verify.load import Load, Plan
from verify.target import Target

RATE, SECONDS = 1000, 5
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Type: text/html\r\nX-Server: web-be1\r\n\r\nBackend 1\n"


class Answerer(asyncio.Protocol):
    """Answers whatever comes, without a look at it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way back."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers."""
        self.transport.write(ANSWER)


def serve(pipe: Pipe) -> None:
    """Serves on a free port, which it sends, until it is ended."""

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Answerer, "127.0.0.1", 0, backlog=1000)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def main() -> None:
    """Runs the load for some seconds and prints what it cost."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    plan = Plan(
        targets={"local": Target(url=f"http://127.0.0.1:{ours.recv()}", cookie="JSESSIONID")},
        seed=1,
        rate=RATE,
        seconds=SECONDS,
        cap=RATE * SECONDS,
        sessions=tuple((f"s{number:05d}", f"svfy{number:028x}") for number in range(1000)),
        keep_alive="close" not in sys.argv,
    )
    numbers = iter(range(plan.cap))
    load = Load(
        plan,
        write=lambda record: None,
        next_index=lambda: next(numbers),
        now=time.monotonic_ns,
        phase=lambda: "bench",
        server_of=lambda answer: answer.header("x-server"),
    )
    before = time.process_time()
    load.start()
    summary = load.join()
    spent = time.process_time() - before
    server.terminate()
    print(summary)
    print(f"{summary.sent / spent:.0f} requests per core-second, {threading.active_count()} threads at the end")


if __name__ == "__main__":
    main()
