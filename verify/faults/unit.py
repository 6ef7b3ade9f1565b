"""Unit: a systemd unit and its processes, as the host shows them."""

from dataclasses import dataclass

from verify.hosts import Host

# A cgroup's path is the last column but one and padded: wide enough for a dozen controllers of cgroup v1.
_PS = ["ps", "-ww", "-eo", "pid=,ppid=,stat=,comm=,cgroup:8192=,args="]


@dataclass(frozen=True)
class Unit:
    """What systemd says of a unit.

    Attributes:
        active: `active`, `inactive`, `failed`, `activating`, ...
        main: the main process: HAProxy's master. 0 if there is none.
        invocation: another one after each start.
    """

    active: str
    main: int
    invocation: str

    @classmethod
    def of(cls, host: Host, name: str) -> "Unit":
        """Asks systemd.

        Raises:
            HostError: systemd or the host can't be asked.
        """
        names = ["ActiveState", "MainPID", "InvocationID"]
        shown = host.run(["systemctl", "show", *(f"--property={known}" for known in names), name])
        values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        return cls(values.get("ActiveState", ""), int(values.get("MainPID") or 0), values.get("InvocationID", ""))


@dataclass(frozen=True)
class Process:
    """A process.

    Attributes:
        state: ps's letters; `T` is a stopped process.
        cgroups: its cgroups' paths.
    """

    pid: int
    parent: int
    state: str
    command: str
    cgroups: str
    arguments: str

    def belongs_to(self, unit: str) -> bool:
        """Whether it is in the unit's cgroup, whatever the cgroups' version."""
        return f"/{unit.removesuffix('.service')}.service" in self.cgroups


def parse_processes(text: str) -> list[Process]:
    """Reads what `ps` wrote; a line of another form, such as of a command with a space, is left out."""
    found = []
    for line in text.splitlines():
        columns = line.split(None, 5)
        if len(columns) == 6 and columns[0].isdecimal() and columns[1].isdecimal():
            pid, parent, *texts = columns
            found.append(Process(int(pid), int(parent), *texts))
    return found


def processes(host: Host) -> list[Process]:
    """Returns all processes of a host.

    Raises:
        HostError: `ps` failed, or the host can't be asked.
    """
    return parse_processes(host.run(_PS))


def processes_of(host: Host, unit: str) -> list[Process]:
    """Returns the processes of a unit: HAProxy's master, its worker, and old workers."""
    return [process for process in processes(host) if process.belongs_to(unit)]
