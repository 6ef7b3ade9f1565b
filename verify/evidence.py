"""Evidence: what a host can tell about a run's window when the verdict is bad. No foreign session stands in it."""

import re

from verify.errors import VerifyError
from verify.faults import Site
from verify.history import SECOND, Header, Note
from verify.topology import Balancer

JOURNAL_LINES = 200
_SAID = re.compile(r" systemd\[\d+\]: |\[(NOTICE|WARNING|ALERT)\]")


def collect(site: Site, header: Header, at_ns: int) -> list[Note]:
    """Returns `show peers`, the tables' counts and the unit's journal since the run began, of every balancer."""
    notes = []
    for balancer in site.topology.balancers:
        api = site.apis[balancer.name]
        looks = (
            ("show peers", lambda api=api: api.ask("show peers")[0]),
            ("show table", lambda api=api: api.ask("show table")[0]),  # the headers: counts, no rows
            ("journal", lambda balancer=balancer: _journal(site, balancer, header.wall_ns // SECOND)),
        )
        for what, look in looks:
            try:
                text = look()
            except VerifyError as error:
                text = f"not to be had: {error}"
            notes.append(Note(host=balancer.name, at_ns=at_ns, what=what, text=text.strip()))
    return notes


def _journal(site: Site, balancer: Balancer, since: int) -> str:
    """Returns what systemd and HAProxy's processes said.

    The log of requests, which may name anybody's session, stays out: it comes by syslog, or without a level.
    """
    unit = f"{balancer.unit}.service"
    text = site.hosts[balancer.name].run(
        [
            "journalctl",
            "--no-pager",
            "--output=short-iso",
            f"--lines={JOURNAL_LINES}",
            f"--since=@{since}",
            f"_SYSTEMD_UNIT={unit}",
            "_TRANSPORT=stdout",
            "+",
            f"UNIT={unit}",
        ]
    )
    return said(text)


def said(journal: str) -> str:
    """Returns the lines of systemd and those in which HAProxy speaks of itself."""
    return "\n".join(line for line in journal.splitlines() if _SAID.search(line))
