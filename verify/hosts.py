"""Host: commands on a balancer, as root, over one multiplexed ssh connection."""

import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType

from verify.errors import HostError
from verify.topology import Balancer

SSH_FAILED = 255


class Host:
    """A balancer's shell; a context manager, which closes the connection at its end."""

    def __init__(self, balancer: Balancer) -> None:
        """Nothing is connected before the first command."""
        self.name = balancer.name
        # A UNIX socket's path must be short (104 characters on macOS), and ssh appends to it.
        self._folder = Path(tempfile.mkdtemp(prefix="v-"))
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "10",
            "ControlMaster": "auto",
            "ControlPath": str(self._folder / "s"),
            "ControlPersist": "60",
        }
        # Before the inventory's arguments: ssh takes the first value that it sees.
        self._ssh = ["ssh", *(word for pair in options.items() for word in ("-o", "=".join(pair)))]
        self._ssh += ["-p", str(balancer.port)] if balancer.port else []
        self._ssh += ["-l", balancer.user] if balancer.user else []
        self._ssh += ["-i", str(balancer.key_file)] if balancer.key_file else []
        self._ssh += balancer.ssh_args
        self._address = balancer.address

    def __enter__(self) -> "Host":
        """Returns the host itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the connection."""
        self.close()

    def close(self) -> None:
        """Ends the shared ssh connection, if there is one."""
        subprocess.run(
            [*self._ssh, "-O", "exit", self._address],
            capture_output=True,
            timeout=10,
            check=False,
        )
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, argv: Sequence[str], seconds: float = 30, check: bool = True) -> str:
        """Runs a command as root and returns what it wrote to standard output.

        Args:
            argv: the command and its arguments; they are quoted for the remote shell.
            seconds: how long it may take.
            check: whether an exit status other than 0 is an error.

        Raises:
            HostError: unreachable, too late, or (with `check`) a bad exit status.
        """
        return self._run([*self._become, *argv], seconds, check)

    @cached_property
    def _become(self) -> list[str]:
        """Whom ssh logs in as can hang on ssh's own configuration: the host is asked."""
        return [] if self._run(["id", "-u"], 20, True).strip() == "0" else ["sudo", "-n"]

    def _run(self, argv: Sequence[str], seconds: float, check: bool) -> str:
        command = shlex.join(argv)
        # A file, not a pipe: an old ssh's connection in the background keeps stderr open for ever.
        with tempfile.TemporaryFile("w+") as stderr:
            rc: int | None
            try:
                done = subprocess.run(
                    [*self._ssh, self._address, command],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    text=True,
                    timeout=seconds,
                    check=False,
                )
                rc, stdout = done.returncode, done.stdout
            except subprocess.TimeoutExpired:
                rc, stdout = None, ""
            stderr.seek(0)
            if rc in (None, SSH_FAILED) or (check and rc != 0):
                raise HostError(self.name, command, rc, stderr.read())
        return stdout
