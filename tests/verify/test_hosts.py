"""The host, by a stand-in for ssh that runs the command here; and the runtime API's socket."""

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from verify.errors import HostError, RuntimeApiError
from verify.hosts import Host
from verify.runtime_api import RuntimeApi
from verify.topology import Balancer

SSH = """#!/bin/sh
echo "$@" >> {log}
case "$*" in *"-O exit"*) exit;; *unreachable*) echo "no route to host" >&2; exit 255;; esac
for command; do :; done
eval "$command"
"""


def balancer(address: str) -> Balancer:
    """A balancer with every connection variable."""
    return Balancer("lb", "http://x", address, 2211, "admin", Path("/k"), ("-o", "LogLevel=ERROR"))


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts a stand-in for ssh and an `id` of root on PATH; returns the log of ssh's calls."""
    for name, text in {
        "ssh": SSH.format(log=tmp_path / "log"),
        "id": "#!/bin/sh\necho 0\n",
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path / "log"


def test_arguments_arrive_unchanged(log: Path) -> None:
    """Spaces, quotes and dollars mean nothing to the remote shell."""
    with Host(balancer("here")) as host:
        assert host.run(["printf", "%s|", "a b", "$HOME", "it's"]) == "a b|$HOME|it's|"
    first, *_, last = log.read_text().splitlines()
    assert "BatchMode=yes" in first
    assert "-p 2211 -l admin -i /k -o LogLevel=ERROR here id -u" in first
    assert last.endswith("-O exit here")


def test_sudo_for_who_is_not_root(log: Path) -> None:
    """The host is asked who one is there."""
    (log.parent / "id").write_text("#!/bin/sh\necho 1000\n")
    (log.parent / "sudo").write_text('#!/bin/sh\necho sudo "$@"\n')
    (log.parent / "sudo").chmod(0o755)
    with Host(balancer("here")) as host:
        assert host.run(["service", "haproxy", "stop"]) == "sudo -n service haproxy stop\n"


def test_failed_command(log: Path) -> None:
    """The error carries the command, its status and what it wrote; `check=False` lets it pass."""
    with Host(balancer("here")) as host:
        with pytest.raises(HostError, match=r"lb: .*ended with 2: last") as caught:
            host.run(["sh", "-c", "echo first >&2; echo last >&2; exit 2"])
        assert caught.value.rc == 2
        assert caught.value.stderr == "first\nlast\n"
        assert host.run(["sh", "-c", "echo inactive; exit 3"], check=False) == "inactive\n"


def test_unreachable(log: Path) -> None:
    """Ssh's own failure is one even where any status will do."""
    with Host(balancer("unreachable")) as host, pytest.raises(HostError, match="no route to host"):
        host.run(["true"], check=False)


def test_too_late(log: Path) -> None:
    """A command that does not end is given up."""
    with Host(balancer("here")) as host:
        host.run(["true"])
        with pytest.raises(HostError, match="did not end in time") as caught:
            host.run(["sh", "-c", "exec tail -f /dev/null"], seconds=0.2)
    assert caught.value.rc is None


@pytest.fixture
def haproxy(tmp_path: Path, recorded: Callable[[str], str]) -> Iterator[Path]:
    """A UNIX socket that gives recorded answers, one command a connection."""
    answers = {
        b"show table back key abc\n": recorded("table-2.6").splitlines()[0]
        + "\n0x1: key=abc use=0 exp=9 server_id=1 server_key=web-1\n\n",
        b"show table back key a\\ b\n": recorded("nokey-2.6"),
        b"show info\n": recorded("info-2.6"),
    }

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                command = connection.recv(1000)
                if not command:
                    return
                connection.sendall(answers.get(command, recorded("unknown-2.6")).encode())

    path = tmp_path / "api"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(path))
        thread.join()


def test_runtime_api(haproxy: Path) -> None:
    """Each command takes a connection; keys are escaped; an unknown text is an error."""

    def run(argv: Sequence[str]) -> str:
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    api = RuntimeApi(run, str(haproxy))
    rows = api.rows("back", ["abc", "a b"])
    assert {key: row.server for key, row in rows.items()} == {"abc": "web-1"}
    assert api.rows("back", []) == {}
    assert api.info()["Name"] == "HAProxy"
    with pytest.raises(RuntimeApiError):
        api.peers()
