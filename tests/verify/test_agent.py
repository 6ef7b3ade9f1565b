"""The agent, run here by the pipe that runs it on hosts: real processes, and a socket for HAProxy's plumbing."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from verify import agent
from verify.errors import HostError
from verify.pipe import Json, Pipe

SOURCE = Path(agent.__file__).read_bytes()
READ = f"import sys; exec(compile(sys.stdin.buffer.read({len(SOURCE)}), 'agent.py', 'exec'))"
BOUND = 20.0  # for what takes no time


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe("here", [sys.executable, "-I", "-c", READ], SOURCE)
    yield pipe
    pipe.close()


def ask(pipe: Pipe, do: str, **arguments: object) -> Json:
    with pipe.request(do, do, arguments) as request:
        return request.answer(BOUND)


def await_true(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < deadline, f"waited {BOUND:g} s for {what}, in vain"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_command(pipe: Pipe) -> None:
    done = ask(pipe, "run", argv=["sh", "-c", "echo out; echo err >&2; exit 3"], within=BOUND)
    assert done == {"rc": 3, "stdout": "out\n", "stderr": "err\n"}


def test_a_command_is_not_translated(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(pipe, "run", argv=["sh", "-c", "echo $LC_ALL"], within=BOUND)["stdout"] == "C\n"


def test_big_outputs_on_both_sides(pipe: Pipe) -> None:
    write = "import sys; sys.stderr.write('e' * 20_000_000); sys.stdout.write('ä\\n' * 5_000_000)"
    done = ask(pipe, "run", argv=[sys.executable, "-X", "utf8", "-c", write], within=BOUND)
    assert (len(done["stderr"]), len(done["stdout"])) == (20_000_000, 10_000_000)


def test_a_late_command_is_killed_with_all_that_it_started(pipe: Pipe, tmp_path: Path) -> None:
    script = f"tail -f /dev/null & echo $! > {tmp_path}/pid; echo begun >&2; wait"
    with pytest.raises(HostError, match="did not end in time: begun") as caught:
        ask(pipe, "run", argv=["sh", "-c", script], within=1)
    assert caught.value.rc is None
    pid = int((tmp_path / "pid").read_text())
    await_true("the command's child to be dead", lambda: not alive(pid))


def test_many_requests_at_once_get_their_own_answers(pipe: Pipe) -> None:
    def echo(number: int) -> bool:
        return bool(ask(pipe, "run", argv=["echo", str(number)], within=BOUND)["stdout"] == f"{number}\n")

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(echo, range(80)))


def test_a_long_watch_blocks_nobody(pipe: Pipe, haproxy: Callable[[dict[str, bytes]], str]) -> None:
    answers: dict[str, bytes] = {}
    arguments = {"socket": haproxy(answers), "table": "t", "key": "svfy", "within": BOUND}
    with pipe.request("watch", "watch", arguments) as watch:
        assert watch.part(BOUND) == "missed"
        before = ask(pipe, "clock")
        assert ask(pipe, "run", argv=["echo", "short"], within=BOUND)["stdout"] == "short\n"
        answers["show table t key svfy"] = b"# table: t\n0x1: key=svfy use=0 exp=9 server_id=1\n\n"
        seen = watch.answer(BOUND)
    assert seen["began_ns"] <= before <= seen["saw_ns"] <= ask(pipe, "clock")
    assert seen["began_ns"] <= seen["missed_ns"] < seen["saw_ns"]
    assert seen["looks"] > 1
    assert seen["gap_ns"] > 0


def test_a_watch_of_what_never_comes(pipe: Pipe, haproxy: Callable[[dict[str, bytes]], str]) -> None:
    arguments = {"socket": haproxy({}), "table": "t", "key": "svfy", "within": 0.1}
    looks = ask(pipe, "watch", **arguments)
    assert looks["saw_ns"] is None
    assert looks["missed_ns"] > looks["began_ns"]


def test_a_watch_of_what_is_there_already(pipe: Pipe, haproxy: Callable[[dict[str, bytes]], str]) -> None:
    socket = haproxy({"show table t key svfy": b"# table: t\n0x1: key=svfy use=0 exp=9 server_id=1\n\n"})
    with pipe.request("watch", "watch", {"socket": socket, "table": "t", "key": "svfy", "within": 1}) as watch:
        assert watch.part(BOUND) is None
        assert watch.answer(BOUND)["missed_ns"] is None


def test_a_watch_that_haproxy_refuses(pipe: Pipe, haproxy: Callable[[dict[str, bytes]], str]) -> None:
    arguments = {"socket": haproxy({"show table t key svfy": b"No such table\n\n"}), "table": "t", "key": "svfy"}
    with pytest.raises(HostError, match="`watch` ended with 1: No such table"):
        ask(pipe, "watch", within=BOUND, **arguments)


def test_an_answers_times_are_the_hosts_own(pipe: Pipe, haproxy: Callable[[dict[str, bytes]], str]) -> None:
    before = ask(pipe, "clock")
    (answer,) = ask(pipe, "cli", socket=haproxy({}), commands=["set table t key svfy data.server_id 1"])
    assert before <= answer["sent_ns"] < answer["done_ns"] <= ask(pipe, "clock")


def test_the_death_of_the_agent_is_told_to_all_who_wait(pipe: Pipe) -> None:
    (parent,) = ask(pipe, "run", argv=["sh", "-c", "echo $PPID"], within=BOUND)["stdout"].split()
    sleep = {"argv": ["sleep", "3"], "within": BOUND}  # after a kill -9 there is nobody to end it
    with pipe.request("one", "run", sleep) as one, pipe.request("two", "run", sleep) as two:
        killing = pipe.request("kill", "run", {"argv": ["kill", "-9", parent], "within": BOUND})
        for request, name in ((one, "one"), (two, "two"), (killing, "kill")):
            with pytest.raises(HostError, match=f"here: `{name}` ended with -9: the connection was lost"):
                request.answer(BOUND)
    assert pipe.dead
    with pytest.raises(HostError, match="`later` ended with -9"):
        pipe.request("later", "clock", {})


def test_the_end_of_the_connection_ends_what_runs(pipe: Pipe, tmp_path: Path) -> None:
    script = f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; exec tail -f /dev/null"
    with pipe.request("run", "run", {"argv": ["sh", "-c", script], "within": BOUND}):
        await_true("the command to begin", (tmp_path / "pid").exists)
        pipe.close()
    pid = int((tmp_path / "pid").read_text())
    await_true("the command to be dead", lambda: not alive(pid))


def test_whoever_waits_while_it_is_closed_learns_it(pipe: Pipe) -> None:
    with pipe.request("sleep", "run", {"argv": ["tail", "-f", "/dev/null"], "within": BOUND}) as request:
        closing = threading.Timer(0.1, pipe.close)
        closing.start()
        with pytest.raises(HostError, match="`sleep` ended with 0: the connection was lost"):
            request.answer(BOUND)
        closing.join()


def test_an_agent_that_breaks_says_why(pipe: Pipe) -> None:
    pipe.send({"no": "id"})
    with pytest.raises(HostError, match="ended with 1: KeyError: 'id'"), pipe.request("x", "hello", {}) as request:
        request.answer(BOUND)


def test_a_request_that_nobody_knows(pipe: Pipe) -> None:
    with pytest.raises(HostError, match="`dance` ended with 1: KeyError: 'dance'"):
        ask(pipe, "dance")
    with pytest.raises(HostError, match=r"`run` ended with 1: TypeError: .*'legs'"):
        ask(pipe, "run", legs=2)


def test_a_login_shell_may_greet() -> None:
    pipe = Pipe("here", ["sh", "-c", 'echo Welcome; exec "$@"', "sh", sys.executable, "-I", "-c", READ], SOURCE)
    assert ask(pipe, "clock") > 0
    pipe.close()


def test_signs_of_life_are_no_answers() -> None:
    lively = SOURCE.replace(b"ALIVE_SECONDS = 30", b"ALIVE_SECONDS = 1e-3")
    read = READ.replace(str(len(SOURCE)), str(len(lively)))
    pipe = Pipe("here", [sys.executable, "-I", "-c", read], lively)
    assert ask(pipe, "run", argv=["sleep", "0.1"], within=BOUND)["rc"] == 0
    pipe.close()


@pytest.mark.parametrize("said", ["garbage", "[]", "{}", '{"id":'])
def test_garbage_ends_the_connection(said: str) -> None:
    first = """'{"id": 1, "answer": 5}'"""
    # The answer comes after its request: an earlier one would be nobody's.
    say = f"read source; read request; echo {first}; read request; echo '{said}'; exec tail -f /dev/null"
    pipe = Pipe("here", ["sh", "-c", say], b"\n")
    assert ask(pipe, "clock") == 5
    with pytest.raises(HostError) as caught:
        ask(pipe, "clock")
    assert caught.value.stderr.endswith(said)
    assert pipe.dead
    pipe.close()


def test_nothing_heard_is_an_error_of_its_own() -> None:
    pipe = Pipe("here", ["sh", "-c", "exec tail -f /dev/null"], b"")
    with pytest.raises(HostError, match="`clock` did not end in time"), pipe.request("clock", "clock", {}) as request:
        request.answer(0.1)
    pipe.close()
    assert pipe.dead
