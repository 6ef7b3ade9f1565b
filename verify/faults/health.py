"""Health: signs that balancers work, to compare the time before a fault with the time after it."""

import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from verify.errors import VerifyError
from verify.faults.site import Site
from verify.faults.unit import Unit

CONNECT_SECONDS = 1.0


def accepts(url: str) -> bool:
    """Whether a URL's port accepts a connection from here."""
    parts = urlsplit(url)
    address = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection(address, CONNECT_SECONDS):
            return True
    except OSError:
        return False


def runs(site: Site, name: str) -> bool:
    """Whether a balancer's unit is active, and its runtime API answers."""
    try:
        if Unit.of(site.hosts[name], site.balancer(name).unit).active != "active":
            return False
        site.apis[name].info()
    except VerifyError:
        return False
    return True


def serves(site: Site, name: str) -> bool:
    """Whether a balancer runs, and its URL's port accepts a connection."""
    url = site.balancer(name).url
    return runs(site, name) and (url is None or accepts(url))


def takes_over(site: Site, name: str) -> bool:
    """Whether a balancer has learnt all it could, and has a server to send sessions to."""
    try:
        service = site.topology.service
        in_sync = site.apis[name].in_sync()
        servers = site.apis[name].servers(service.backend) if service else []
    except VerifyError:
        return False
    return in_sync and (service is None or any(server.up for server in servers))


def established(site: Site, name: str) -> set[str]:
    """Returns the peers, by their own names, that a balancer is known to have a session with.

    Raises:
        VerifyError: the balancer's runtime API can't be asked.
    """
    sections = site.apis[name].peers() or []
    return {peer.name for known in sections for peer in known.peers if not peer.local and peer.established}


def in_sync(site: Site, name: str) -> set[str]:
    """Returns the peers sections in which a balancer has learnt all it could.

    Where it does not tell which, it is "all sections" or none.

    Raises:
        VerifyError: the balancer's runtime API can't be asked.
    """
    api = site.apis[name]
    sections = api.peers()
    if sections is None:
        return {"all sections"} if api.in_sync() else set()
    return {section.name for section in sections if section.in_sync}


def signs(site: Site, away: Collection[str] = ()) -> set[str]:
    """Returns a sentence for each thing that works just now; what can't be asked does not work.

    Args:
        site: the balancers.
        away: those that are known not to work, and not asked: one that is paused answers late.
    """
    found = set()
    for name in site.balancers:
        if name in away or not serves(site, name):
            continue
        found.add(f"{name} serves")
        try:
            found |= {f"{name} hears {peer}" for peer in established(site, name)}
            found |= {f"{name} is in sync in {section}" for section in in_sync(site, name)}
            if site.topology.service is not None:
                servers = site.apis[name].servers(site.topology.service.backend)
                found |= {f"{name} has {server.name} up" for server in servers if server.up}
        except VerifyError:
            continue
    return found
