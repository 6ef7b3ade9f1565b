"""Every fault that is possible on the hosts: injected, seen, healed; and what must never happen, refused."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import pytest
from deployment import INVENTORY, wait_for
from msgspec.structs import replace

from verify import waiting
from verify.errors import Refused, VerifyError
from verify.faults import (
    FAULTS,
    ClockStep,
    Drain,
    Injection,
    Isolate,
    Kill,
    Nemesis,
    Permission,
    Reload,
    Site,
    Stop,
    lock_all,
    open_site,
    possible,
)
from verify.faults.backend import drained
from verify.faults.injection import Command
from verify.faults.unit import Unit, processes_of
from verify.faults.worker import old_workers
from verify.history import AnyRecord, Cleanup, Evidence, Fault
from verify.inventory import dump, topology_of
from verify.topology import Topology

KEYS = [f"svfy{number:028x}" for number in range(10)]
UNDO_SECONDS = 10


@pytest.fixture(scope="module")
def topology() -> Topology:
    return topology_of(INVENTORY)


@pytest.fixture(scope="module")
def deployed(topology: Topology) -> Iterator[Site]:
    """Give the hosts, which know the verifier's own sessions."""
    with open_site(topology) as site:
        site.own_keys = lambda: KEYS
        yield site
        for api in site.apis.values():
            api.clear(site.service.table.name, KEYS)


class Run:
    """A nemesis that may do anything, and what it wrote."""

    def __init__(self, site: Site) -> None:
        self.records: list[AnyRecord] = []
        everywhere = Permission(destructive=True, on=frozenset(site.hosts))
        self.nemesis = Nemesis(site, self.records.append, time.monotonic_ns, everywhere)

    def faults(self) -> dict[int, Fault]:
        return {record.id: record for record in self.records if isinstance(record, Fault)}

    def found(self) -> list[str]:
        self.nemesis.search()
        return [
            f"{record.host}: {text}" for record in self.records if isinstance(record, Cleanup) for text in record.found
        ]


@pytest.fixture
def run(deployed: Site) -> Iterator[Run]:
    """Give a nemesis, with rows of the verifier's own on every balancer, and see to it that nothing is left."""
    for balancer in deployed.topology.balancers:
        for key in KEYS:
            cookie = {"Cookie": f"{deployed.service.cookie}={key}"}
            urllib.request.urlopen(urllib.request.Request(f"{balancer.url}/", headers=cookie), timeout=10).close()
    yield Run(deployed)
    assert Run(deployed).found() == []


def unseen(evidence: list[Evidence]) -> list[str]:
    return [f"{known.what}: {known.text}" for known in evidence if not known.seen]


@pytest.mark.parametrize("kind", [kind for kind in FAULTS if kind != ClockStep.kind])
def test_a_fault_is_seen_and_healed(kind: str, deployed: Site, run: Run) -> None:
    fault = FAULTS[kind](deployed, FAULTS[kind].choices(deployed)[0])
    run.nemesis.check([fault])
    with run.nemesis.inject(fault) as injected:
        assert (injected.healed_ns, unseen(injected.evidence)) == (None, [])
    (healed,) = run.faults().values()
    assert healed.healed_ns is not None
    assert healed.healed_ns > healed.injected_ns
    assert healed.evidence == injected.evidence
    assert healed.evidence
    assert healed.heal_evidence
    assert unseen(healed.heal_evidence) == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for little more than one look: what does not happen needs no long wait."""
    whole = waiting.wait_for

    def short(what: str, probe: Callable[[], bool], seconds: float) -> None:
        whole(what, probe, min(seconds, 0.2))

    monkeypatch.setattr("verify.faults.injection.wait_for", short)


def without_command(base: type[Injection]) -> type[Injection]:
    def injecting(self: Injection) -> list[Command]:
        return [(host, "true") for host, _ in base.injecting(self)]

    return type("Neutral", (base,), {"injecting": injecting})


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_that_does_nothing_is_not_seen(kind: str, deployed: Site, run: Run) -> None:
    """The twin of the test above: its command is `true`."""
    neutral = without_command(FAULTS[kind])
    assert unseen(neutral(deployed, neutral.choices(deployed)[0]).inject())


def test_an_old_worker_may_stay_for_its_connections(deployed: Site, run: Run) -> None:
    name = deployed.balancers[0]
    url = urlsplit(deployed.balancer(name).url or "")
    reload = Reload(deployed, name)
    with socket.create_connection((str(url.hostname), url.port or 80), 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: unfinished\r\n")
        held = "a connection on the present worker"
        wait_for(held, lambda: int(deployed.apis[name].info()["CurrConns"]) > 0)
        assert unseen(reload.inject()) == []
        evidence = reload.heal()
        assert unseen(evidence) == []
        assert "has 1 connections" in evidence[-1].text
    wait_for("the old worker to go", lambda: not old_workers(deployed, name))


# Holds a session of the runtime API open, which a worker that is to go waits for; prints the pid of who holds it.
HOLD = """
import os, socket, sys
held = socket.socket(socket.AF_UNIX)
held.connect(sys.argv[1])
held.sendall(b"prompt\\n")
held.recv(9)
pid = os.fork()
if pid:
    print(pid)
else:
    os.close(1), os.close(2), held.recv(9)
"""


@pytest.mark.usefixtures("impatient")
def test_an_old_worker_without_connections_is_seen_and_found(deployed: Site, run: Run) -> None:
    name = deployed.balancers[0]
    host = deployed.hosts[name]
    pid = host.run(["python3", "-c", HOLD, deployed.balancer(name).socket]).strip()
    reload = Reload(deployed, name)
    try:
        reload.inject()
        assert any("without connections" in text and "has 0 connections" in text for text in unseen(reload.heal()))
        assert any("an old worker is left" in text for text in run.found())
    finally:
        host.run(["kill", pid])
    wait_for("the old worker to go", lambda: not old_workers(deployed, name))


class HealsNot(Drain):
    """A drain that is not healed, but by the host."""

    def heal(self) -> list[Evidence]:
        return self._drained(False)


@pytest.mark.usefixtures("impatient")
def test_what_is_not_healed_is_seen_and_left_to_the_host(deployed: Site, run: Run) -> None:
    with run.nemesis.inject(HealsNot(deployed, deployed.service.servers[0].name, bound=3)):
        pass
    (fault,) = run.faults().values()
    assert len(unseen(fault.heal_evidence)) == len(deployed.balancers)
    assert any("sticky-verify-undo-drain-" in text for text in Run(deployed).found())
    assert any("is in drain" in text for text in run.found())
    wait_for("the hosts to heal themselves", lambda: Run(deployed).found() == [])


def test_a_host_that_heals_itself_too_early_is_seen(deployed: Site, run: Run) -> None:
    server = deployed.service.servers[0].name
    with run.nemesis.inject(Drain(deployed, server, bound=2)):
        wait_for("the undo", lambda: not any(server in drained(deployed, name) for name in deployed.balancers))
        wait_for("the bound", lambda: time.monotonic_ns() - run.faults()[1].injected_ns > 2e9)
    assert unseen(run.faults()[1].evidence)[0].startswith("it lasted until it was healed: it was to last 2 s at most")


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_fault_is_healed_whatever_happens(failure: type[BaseException], deployed: Site, run: Run) -> None:
    server = deployed.service.servers[0].name

    def fail() -> None:
        with run.nemesis.inject(Drain(deployed, server)):
            assert all(server in drained(deployed, name) for name in deployed.balancers)
            raise failure

    with pytest.raises(failure):
        fail()
    assert run.faults()[1].healed_ns is not None


def test_faults_nest_and_the_last_balancer_stays(deployed: Site, run: Run) -> None:
    first, second = deployed.balancers[:2]
    others_run = Run(deployed)
    with run.nemesis.inject(Stop(deployed, second)):
        for fault in (Stop, Kill, Isolate, FAULTS["restart"], FAULTS["pause"]):
            for nemesis in (run.nemesis, others_run.nemesis):  # the other has to look for itself
                with pytest.raises(Refused, match=f"take away {first}, the last balancer that serves"):
                    nemesis.inject(fault(deployed, first)).__enter__()
        with pytest.raises(Refused, match="going on already"):
            run.nemesis.inject(Stop(deployed, second)).__enter__()
        with pytest.raises(Refused, match="which a run has left"):
            others_run.nemesis.check([Reload(deployed, first)])
        with run.nemesis.inject(Reload(deployed, first)) as inner:
            assert unseen(inner.evidence) == []
    assert [fault.kind for fault in run.faults().values()] == ["stop", "reload"]
    for done in run.faults().values():
        assert unseen(done.evidence + done.heal_evidence) == []
    assert others_run.records == []


def test_what_is_impossible_is_refused(deployed: Site, run: Run) -> None:
    name = deployed.balancers[0]

    class NeedsMore(Reload):
        tools: ClassVar = ("no-such-tool",)

    with pytest.raises(Refused, match=f"{name} lacks no-such-tool, which reload needs: apt-get install no-such-tool"):
        run.nemesis.check([NeedsMore(deployed, name)])
    kind = deployed.hosts[name].facts.kind
    assert (ClockStep in {type(draw()) for draw in possible(deployed)}) == (kind == "vm")
    if kind != "vm":
        with pytest.raises(Refused, match=f"clock-step is possible on a vm only, and {name} is a {kind}"):
            run.nemesis.check([ClockStep(deployed, name)])


def test_ssh_is_never_cut(topology: Topology, deployed: Site) -> None:
    name = deployed.balancers[0]
    port = int(deployed.hosts[name].run(["sh", "-c", "sshd -T | sed -n 's/^port //p'"]).split()[0])
    balancers = tuple(replace(balancer, ports=(80, port)) for balancer in topology.balancers)
    wrong = Site(replace(topology, balancers=balancers), deployed.hosts, deployed.apis)
    with pytest.raises(Refused, match=f"port {port} is one of ssh's"):
        Run(wrong).nemesis.check([Isolate(wrong, name)])


def test_a_second_run_is_told_who_has_the_lock(topology: Topology) -> None:
    with open_site(topology) as first, open_site(topology) as second:
        lock_all(first, "the first run")
        with pytest.raises(Refused, match="the first run"):
            lock_all(second, "the second run")
        for host in first.hosts.values():
            host.close()
        lock_all(second, "the second run")


def test_what_is_left_is_found_and_keeps_the_next_run_out(deployed: Site, run: Run) -> None:
    name = deployed.balancers[0]
    host, config = deployed.hosts[name], deployed.balancer(name).config
    host.run(["nft", "add table inet sticky_verify_left"])
    host.run(["cp", config, f"{config}.sticky-verify"])
    host.arm("left", 600, "true")
    try:
        found = run.found()
        with pytest.raises(Refused, match="sticky_verify_left"):
            run.nemesis.check([Reload(deployed, name)])
    finally:
        host.disarm("left")
        host.run(["rm", f"{config}.sticky-verify"])
        host.run(["nft", "delete table inet sticky_verify_left"])
    assert f"{name}: nftables has the table sticky_verify_left" in found
    assert f"{name}: there is {config}.sticky-verify" in found
    assert any("sticky-verify-undo-left.timer" in text for text in found)


INJECT = """
import sys, time
from contextlib import ExitStack
from pathlib import Path
from verify.faults import FAULTS, Nemesis, Permission, open_site
from verify.inventory import load
path, bound, *pairs = sys.argv[1:]
with ExitStack() as stack:
    site = stack.enter_context(open_site(load(Path(path))))
    nemesis = Nemesis(site, lambda _: None, time.monotonic_ns, Permission(True, frozenset(site.hosts)))
    for kind, target in zip(pairs[::2], pairs[1::2]):
        stack.enter_context(nemesis.inject(FAULTS[kind](site, target, int(bound))))
    time.sleep(600)
"""


def stopped(site: Site, name: str) -> bool:
    return Unit.of(site.hosts[name], site.balancer(name).unit).active != "active"


def paused(site: Site, name: str) -> bool:
    return any("T" in known.state for known in processes_of(site.hosts[name], site.balancer(name).unit))


def cut(site: Site, name: str) -> bool:
    return "sticky_verify_peers_cut" in site.hosts[name].run(["nft", "list", "tables"])


def reconfigured(site: Site, name: str) -> bool:
    return "sticky-verify-added" in site.hosts[name].run(["cat", site.balancer(name).config])


def draining(site: Site, name: str) -> bool:
    with suppress(VerifyError):
        return any(name in drained(site, balancer) for balancer in site.balancers)
    return True


STATES = {"stop": stopped, "pause": paused, "peers-cut": cut, "reload-config": reconfigured, "drain": draining}


@pytest.mark.parametrize("kinds", [("reload-config", "stop", "peers-cut"), ("drain", "pause")])
def test_a_host_heals_itself_when_the_verifier_is_killed(
    kinds: tuple[str, ...], topology: Topology, deployed: Site, run: Run, tmp_path: Path
) -> None:
    dump(topology, tmp_path / "topology.json")
    first, second = deployed.balancers[:2]
    targets = {"stop": second, "pause": second, "drain": deployed.service.servers[0].name}
    pairs = {kind: targets.get(kind, first) for kind in kinds}
    words = [word for pair in pairs.items() for word in pair]
    command = [sys.executable, "-c", INJECT, str(tmp_path / "topology.json"), str(UNDO_SECONDS), *words]
    with subprocess.Popen(command) as verifier:
        try:
            for kind, target in pairs.items():
                wait_for(f"{kind} on {target}", partial(STATES[kind], deployed, target))
        finally:
            verifier.kill()
    for kind, target in pairs.items():
        assert STATES[kind](deployed, target), f"{kind} was healed before the verifier was killed"
    for kind, target in pairs.items():
        wait_for(
            f"{target} to heal itself of {kind}",
            partial(lambda state, on: not state(deployed, on), STATES[kind], target),
        )
    wait_for("all undos to be over", lambda: Run(deployed).found() == [])
