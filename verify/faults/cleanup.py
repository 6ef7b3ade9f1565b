"""Cleanup: looks for what faults may leave on a host."""

from collections.abc import Callable, Sequence, Set
from functools import partial
from typing import NamedTuple

from verify.errors import VerifyError
from verify.faults.backend import drained
from verify.faults.config import KEPT
from verify.faults.network import PREFIX
from verify.faults.site import Site
from verify.faults.unit import Process, Unit, processes
from verify.faults.worker import no_strays
from verify.hosts import UNDO, Host
from verify.topology import Balancer

_RULES = "! command -v nft >/dev/null || nft list tables"
_FILES = (
    "ls -d /run/sticky-verify* /run/systemd/system/*.d/*sticky-verify* {config}{kept}* 2>/dev/null;"
    " grep -Hn sticky-verify {config} 2>/dev/null || :"
)


class Search(NamedTuple):
    """One thing that is searched for; `look` returns a sentence for each one that is there."""

    what: str
    look: Callable[[], list[str]]

    def found(self) -> list[str]:
        """Returns what is there; what can't be looked for counts as there."""
        try:
            return self.look()
        except VerifyError as error:
            return [f"{self.what} can't be searched for: {error}"]


def leftovers(site: Site, name: str) -> list[Search]:
    """Returns the searches for what a run leaves that did not end well: it would disturb the next one."""
    host = site.hosts[name]
    config = next((known.config for known in site.topology.balancers if known.name == name), "/dev/null")
    return [
        Search("rules of nftables", partial(_rules, host)),
        Search("armed or failed undo timers", partial(_undos, host)),
        Search("files and changes of the configuration", partial(_files, host, config)),
    ]


def searches(site: Site, name: str, undrained: Set[str]) -> list[Search]:
    """Returns all searches of a host, at the end of a run.

    Args:
        site: the hosts.
        name: the host.
        undrained: the servers that the run has drained, and should have set ready again.
    """
    found = leftovers(site, name)
    for web_host in site.topology.web_hosts:
        if web_host.name == name:
            found.append(Search(f"a {web_host.unit} that is not active", partial(_inactive, site, name, web_host.unit)))
    for balancer in site.topology.balancers:
        if balancer.name == name:
            found += [
                Search(f"a {balancer.unit} that is not active", partial(_inactive, site, name, balancer.unit)),
                Search("stopped processes", partial(_stopped, site, balancer)),
                Search("old workers without connections", partial(_old_workers, site, balancer)),
                Search("HAProxy outside its unit", partial(_strays, site, balancer)),
                Search("servers in drain", partial(_drained, site, balancer, undrained)),
            ]
    return found


def strays(found: Sequence[Process], unit: str, config: str) -> list[Process]:
    """Returns the HAProxy processes that run a unit's configuration outside the unit; other HAProxies are not ours."""
    haproxies = [process for process in found if process.command.startswith("haproxy")]
    return [known for known in haproxies if config in known.arguments.split() and not known.belongs_to(unit)]


def _rules(host: Host) -> list[str]:
    tables = [line.split()[-1] for line in host.run(["/bin/sh", "-c", _RULES]).splitlines()]
    return [f"nftables has the table {table}" for table in tables if table.startswith(PREFIX)]


def _undos(host: Host) -> list[str]:
    shown = host.run(["systemctl", "list-units", "--all", "--plain", "--no-legend", f"{UNDO}*"])
    return [f"systemd has {' '.join(line.split()[:4])}" for line in shown.splitlines()]


def _files(host: Host, config: str) -> list[str]:
    shown = host.run(["/bin/sh", "-c", _FILES.format(config=config, kept=KEPT)])
    return [f"there is {line}" for line in shown.splitlines()]


def _inactive(site: Site, name: str, unit: str) -> list[str]:
    active = Unit.of(site.hosts[name], unit).active
    return [] if active == "active" else [f"{unit} is {active}"]


def _stopped(site: Site, balancer: Balancer) -> list[str]:
    found = processes(site.hosts[balancer.name])
    stopped = [process for process in found if process.belongs_to(balancer.unit) and "T" in process.state]
    return [f"process {process.pid} of {balancer.unit} is stopped ({process.state})" for process in stopped]


def _old_workers(site: Site, balancer: Balancer) -> list[str]:
    evidence = no_strays(site, balancer.name)
    return [] if evidence.seen else [f"an old worker is left: {evidence.text}"]


def _strays(site: Site, balancer: Balancer) -> list[str]:
    found = strays(processes(site.hosts[balancer.name]), balancer.unit, balancer.config)
    return [f"HAProxy {process.pid} runs {balancer.config} outside {balancer.unit}" for process in found]


def _drained(site: Site, balancer: Balancer, servers: Set[str]) -> list[str]:
    left = drained(site, balancer.name) & servers if servers else set()
    return [f"{server} is in drain" for server in sorted(left)]
