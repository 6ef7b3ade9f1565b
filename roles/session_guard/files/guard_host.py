"""This host: the unit, its configuration, the guard's own files."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
from pathlib import Path
from typing import Any

import haproxy_peers
from guard_configuration import Configuration
from guard_state import metrics
from guard_worker import gate_status


class Host:
    """The unit, its configuration and the guard's own files."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Take the settings, as the role wrote them."""
        self.settings = settings
        self.state_directory = Path(settings["state"])
        self.configuration = Path(settings["config"])
        self.dump = self.state_directory / "tables.dump"
        self.running_copy = self.state_directory / "running.cfg"
        self.hold = self.state_directory / "hold"
        self.state = self._state()
        haproxy_peers.UNIT = f"{settings['unit']}.service"
        haproxy_peers.CONFIGURATION = self.configuration
        self.arguments = self._arguments()
        if "-S" in self.arguments[:-1]:
            haproxy_peers.MASTER_SOCKET = self.arguments[self.arguments.index("-S") + 1].split(",")[0]

    def _arguments(self) -> list[str]:
        """Give the unit's command line: the running master's, which a reload uses again, or what it would be."""
        master = haproxy_peers.master_pid()
        if master:
            words = Path(f"/proc/{master}/cmdline").read_text().split("\0")[:-1]
            # A reload adds -sf PID... and -x ADDRESS (mworker_reexec in HAProxy's src/haproxy.c).
            text = re.sub(r" -s[ft]( \d+)+| -x \S+", "", " ".join(words))
            return text.split(" ")
        found = re.search(r"argv\[\]=(.*?) ;", haproxy_peers.property_of_unit("ExecStart"))
        own = haproxy_peers.property_of_unit("Environment")
        return [*(found[1].split() if found else []), *re.split(r"[\s\"=]+", own), *haproxy_peers.extra_options()]

    def _state(self) -> dict[str, Any]:
        """Read what was written down."""
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads((self.state_directory / "state.json").read_text()))
        return {}

    def read(self) -> Configuration:
        """Read the configuration as it is on disk."""
        return Configuration(haproxy_peers.text_of(self.configuration))

    def local_peer(self) -> str:
        """Give the local peer's name."""
        return self.read().local_peer(self.arguments, socket.gethostname())

    def version(self) -> tuple[int, ...]:
        """Give major and minor of the HAProxy that the unit starts."""
        return haproxy_peers.parts(haproxy_peers.version(haproxy_peers.binary()))

    def invocation(self) -> str:
        """Give what systemd tells this start of the unit from others by."""
        return haproxy_peers.property_of_unit("InvocationID")

    def has_lua(self) -> bool:
        """Whether HAProxy was built with Lua."""
        return "+LUA" in haproxy_peers.run(str(haproxy_peers.binary()), "-vv").stdout

    def needs(self, configuration: Configuration) -> dict[str, list[str]]:
        """Give the lines that a configuration needs, by section; none without the gate."""
        if not self.settings["gate"]:
            return {}
        given = self.settings
        return configuration.needs(given["lua"], given["socket"], given["exempt"], given["bounds"], self.version())

    def unserved(self, configuration: Configuration) -> list[str]:
        """Say what of a configuration the guard can't serve."""
        return self._other_files() + configuration.unserved(
            self.version(), self.has_lua(), "-S" in self.arguments, self.settings["gate"]
        )

    def _other_files(self) -> list[str]:
        """Say what the unit reads beside, or instead of, the configuration that the guard reads; of a folder its *.cfg.

        What systemd puts in for a variable is known once the unit runs.
        """
        named = [Path(word) for before, word in zip(self.arguments, self.arguments[1:]) if before == "-f"]
        read = [file for path in named for file in (sorted(path.glob("[!.]*.cfg")) if path.is_dir() else [path])]
        if all(file.resolve() == self.configuration.resolve() or str(file).startswith("$") for file in read):
            return []
        return [
            f"the unit reads {', '.join(map(str, read))}, and the guard {self.configuration} alone"
            " (session_guard_config): have the unit read that one file"
        ]

    def keep_running_copy(self) -> None:
        """Keep a copy of the configuration that runs now."""
        self.write(self.running_copy, haproxy_peers.text_of(self.configuration))

    def record(self, **found: object) -> None:
        """Write down what happened: in state.json, and for Prometheus; the timer may have done so meanwhile."""
        # The gate as it is now: a configuration without one may have come meanwhile.
        self.state = {**self.state, **self._state(), **found}
        self.state["gate"] = gate_status(self.state.get("gate"))
        files = [(self.state_directory / "state.json", json.dumps(self.state, indent=1) + "\n", 0o600)]
        if self.settings["textfile"]:
            text = metrics(self.state, timer=self.settings["dump"] in ("timer", "both"))
            files.append((Path(self.settings["textfile"]), text, 0o644))
        for file in files:
            self.write(*file)

    def write(self, file: Path, text: str, mode: int = 0o600) -> None:
        """Replace a file by a whole one; a full disk is a line in the log."""
        try:
            write(file, text, mode)
        except OSError as error:
            log(f"{file} could not be written: {error.strerror}")


def log(text: str) -> None:
    """Say something; what a unit's commands say is in the journal."""
    print(f"session-guard: {text}", file=sys.stderr, flush=True)


def write(file: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file by a whole one."""
    temporary = file.with_name(f".{file.name}.new")
    temporary.unlink(missing_ok=True)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as into:
            into.write(text)
        temporary.chmod(mode)
        temporary.replace(file)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
