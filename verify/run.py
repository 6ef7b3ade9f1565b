"""Run: plays scenarios, each in a directory of its own, judges them and writes the reports."""

import dataclasses
import os
import shlex
import shutil
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import replace

from verify import evidence
from verify.budget import Budget
from verify.client import Client, Target
from verify.cluster import Cluster
from verify.errors import BadUse, Refused, VerifyError
from verify.faults import Nemesis, Permission, Site, lock_all, open_site
from verify.history import End, Header, History
from verify.identity import ServerFrom
from verify.inspection import inspect
from verify.invariants import judge
from verify.recorder import Recorder
from verify.report.document import Document, NotApplicable
from verify.report.junit import junit
from verify.report.page import page
from verify.report.terminal import Terminal
from verify.runtime_api import RESYNC
from verify.scenarios import Check, Plant, Scenario, Size
from verify.topology import Service, Topology
from verify.verdict import Result, Verdict, conclude

HISTORY, VERDICT, JUNIT, PAGE = "history.jsonl", "verdict.json", "junit.xml", "report.html"
CHOSEN = ("--seed", "--only", "--junit", "--json", "--repeat")  # options that a replay gives itself, or not


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run is told.

    Attributes:
        topology: the balancers and the service.
        targets: how each balancer is asked, by its name.
        server_from: how to learn who answered.
        issued_by: who makes the sessions.
        seed: decides everything that is drawn.
        size: how much is done.
        rate: functional requests a second.
        cap: requests in all, in one scenario.
        error_rate: the share of failures that ends a scenario.
        settle_ns: after this time an answered request is known to every balancer.
        permission: what may be broken.
        runs: the folder of the run directories.
        arguments: the command line, for the header.
    """

    topology: Topology
    targets: dict[str, Target]
    server_from: ServerFrom
    issued_by: Literal["client", "server"]
    seed: int
    size: Size
    rate: float
    cap: int
    error_rate: float
    settle_ns: int
    permission: Permission
    runs: Path
    arguments: list[str]

    @property
    def service(self) -> Service:
        """The service that is asked.

        Raises:
            BadUse: the topology has none.
        """
        if self.topology.service is None:
            raise BadUse("the topology names no service: use an inventory, or a topology file that has one")
        return self.topology.service


def play(
    scenarios: Sequence[Scenario], settings: Settings, terminal: Terminal, repeat: int = 1
) -> tuple[list[Document], list[NotApplicable]]:
    """Plays scenarios one after another, and tells of them; those that HAProxy's version can't offer are left out.

    All of them are played `repeat` times, each time with another seed, counted up from the settings' one.

    Raises:
        BadUse: what is asked for can't be done, or must not; nothing was changed.
        VerifyError: the hosts can't be reached.
    """
    documents = []
    with open_site(settings.topology) as site:
        lock_all(site, f"sticky-verify {shlex.join(settings.arguments)}")
        nemesis = Nemesis(site, lambda record: None, time.monotonic_ns, settings.permission)
        left_out = not_applicable(scenarios, site)
        scenarios = [known for known in scenarios if known.name not in {each.scenario for each in left_out}]
        if not scenarios:
            raise Refused(f"nothing to play: {'; '.join(f'{each.scenario} {each.why}' for each in left_out)}")
        for scenario in scenarios:
            _able(scenario, settings)
            nemesis.check(scenario.faults(site))
        for number in range(repeat):
            for scenario in scenarios:
                drawn = dataclasses.replace(settings, seed=settings.seed + number)
                documents.append(_play(scenario, site, drawn, terminal))
    terminal.summary(documents, left_out)
    return documents, left_out


def not_applicable(scenarios: Sequence[Scenario], site: Site) -> list[NotApplicable]:
    """Returns the scenarios with a fault that can't be seen, because HAProxy's version does not tell of its peers.

    Raises:
        BadUse: the topology lacks what a scenario needs.
        VerifyError: a balancer can't be asked.
    """
    silent = [name for name, api in site.apis.items() if api.peers() is None]
    if not silent:
        return []
    runs = f"{silent[0]} runs HAProxy {site.apis[silent[0]].version}"
    why = f"needs `show peers` to see its fault, and {runs}: 2.0 and up have it"
    return [NotApplicable(each.name, why) for each in scenarios if any(f.seen_by_peers for f in each.faults(site))]


def _able(scenario: Scenario, settings: Settings) -> None:
    """Refuses what can't come to a verdict, or has no leave.

    Raises:
        BadUse: with what to do about it.
    """
    if scenario.writes:
        names = [balancer.name for balancer in settings.topology.balancers]
        if not settings.permission.destructive or not settings.permission.on.issuperset(names):
            raise Refused(
                f"{scenario.name} writes rows of its own into the tables of all balancers:"
                f" allow it with --destructive --on {','.join(names)}"
            )
    if scenario.load_rate and settings.server_from.by_table:
        raise BadUse(f"{scenario.name} is too fast to ask the table who answered: give --server-from header: or body:")
    if scenario.load_rate and any(target.http2 for target in settings.targets.values()):
        raise BadUse(f"{scenario.name} has load, which speaks HTTP/1.1 only: leave --http2 out")


def rehearse(scenarios: Sequence[Scenario], settings: Settings, terminal: Terminal) -> None:
    """Tells every command that the scenarios' faults would run, and runs none."""
    terminal.line("What heals is armed on the host before, by systemd-run. Asking and looking are left out here.")
    with open_site(settings.topology) as site:
        for scenario in scenarios:
            terminal.line(f"{scenario.name}: {scenario.describes}")
            for injection in scenario.faults(site):
                terminal.line(f"  {injection.kind} on {', '.join(injection.targets)}")
                for host, command in injection.commands():
                    terminal.line(f"    {host}: {command}")


def recheck(folder: Path, terminal: Terminal) -> Document:
    """Judges an old run again, from its history alone.

    Raises:
        HistoryError: there is no history, or it can't be read.
    """
    history = History.read(folder / HISTORY)
    results = judge(history)
    document = Document.of(history, results, replay(history.header), folder)
    terminal.results(document, results, history)
    return document


def replay(header: Header) -> str:
    """Returns the command that plays the scenario again, with the same seed."""
    words = iter(header.arguments)
    if header.arguments[:1] != ["run"]:
        return shlex.join(["sticky-verify", *header.arguments])
    kept = []
    for word in words:
        if word in CHOSEN:
            next(words, None)
        elif not word.startswith(tuple(f"{option}=" for option in CHOSEN)):
            kept.append(word)
    return shlex.join(["sticky-verify", *kept, "--only", header.scenario, "--seed", str(header.seed)])


def plant(settings: Settings, state: Path, terminal: Terminal) -> Document:
    """Plants sessions and leaves them there; `state` gets all that `check` needs.

    Raises:
        BadUse: the state's file is there already, or can't be written.
        VerifyError: the hosts can't be reached.
    """
    if state.exists() or not state.parent.is_dir():
        raise BadUse(f"--state {state} can't be written: name a new file, in a folder that is there")
    ((document,), _) = play([Plant()], settings, terminal)
    shutil.copy(settings.runs / document.run / HISTORY, state)
    return document


def check(settings: Settings, planted: History, terminal: Terminal) -> Document:
    """Judges what became of the sessions that `plant` left, whatever happened in between."""
    with open_site(settings.topology) as site:
        lock_all(site, f"sticky-verify {shlex.join(settings.arguments)}")
        document = _play(Check(), site, settings, terminal, planted)
    terminal.summary([document])
    return document


def _play(
    scenario: Scenario, site: Site, settings: Settings, terminal: Terminal, earlier: History | None = None
) -> Document:
    versions = {name: api.version for name, api in site.apis.items()}
    kinds: dict[str, str] = {name: site.hosts[name].facts.kind for name in site.apis}
    folder = _directory(settings.runs, scenario.name)
    wall_ns = time.time_ns()
    began = earlier.header.wall_ns if earlier else wall_ns
    recorder = Recorder(folder / HISTORY, terminal, wall_ns - began)
    header = Header(
        run=folder.name,
        scenario=scenario.name,
        invariants=list(scenario.invariants),
        seed=settings.seed,
        arguments=settings.arguments,
        topology=msgspec.to_builtins(settings.topology),
        versions=versions,
        kinds=kinds,
        wall_ns=began,
        settle_ns=settings.settle_ns,
    )
    recorder.write(header)
    terminal.scenario(scenario.name, scenario.describes)
    for name in (name for name, api in site.apis.items() if api.peers() is None):
        terminal.line(
            f"{name}: HAProxy {versions[name]} has no `show peers`: its peers are not compared with what is intended,"
            f" and it counts as in sync {RESYNC} s after its start"
        )
    try:
        with ExitStack() as stack:
            cluster = Cluster(
                site=site,
                nemesis=Nemesis(site, recorder.write, recorder.now, settings.permission),
                service=settings.service,
                clients={name: stack.enter_context(Client(target)) for name, target in settings.targets.items()},
                server_from=settings.server_from,
                issued_by=settings.issued_by,
                settle_ns=settings.settle_ns,
                seed=f"{settings.seed} {scenario.name}",
                budget=Budget(settings.rate, settings.cap, settings.error_rate),
                recorder=recorder,
                teller=terminal,
            )
            if earlier:
                cluster.carry_over(earlier)
            end = _act(scenario, cluster, settings)
        recorder.write(end)
        return _judge(folder, header, site, recorder, terminal)
    finally:
        recorder.close()


def _act(scenario: Scenario, cluster: Cluster, settings: Settings) -> End:
    """Plays a scenario to its end, or to what stops it; cleans up in any case."""
    recorder, why = cluster.recorder, ""
    try:
        recorder.phase("look")
        for balancer in settings.topology.balancers:
            config = cluster.site.hosts[balancer.name].run(["cat", balancer.config])
            api = cluster.site.apis[balancer.name]
            seen = inspect(settings.topology, balancer, api, config, recorder.now())
            if cluster.leads(balancer.name) is False:
                url = cluster.clients[balancer.name].url
                seen = replace(seen, deviations=[*seen.deviations, f"{url} does not lead to {balancer.name}"])
            recorder.write(replace(seen, checks=seen.checks + 1))
        cluster.tables.await_sync()
        cluster.await_servers()
        scenario.play(cluster, settings.size)
    except VerifyError as error:
        why = str(error)
    except KeyboardInterrupt:
        why = "interrupted"
    except Exception as error:  # a defect of the verifier's own: the sessions have to go all the same
        why = f"a defect of the verifier: {error!r}"
        cluster.teller.line(traceback.format_exc())
    try:
        if not scenario.keeps:
            cluster.clean_up()
    except VerifyError as error:
        why = why or f"cleaning up: {error}"
    return End(at_ns=recorder.now(), completed=not why, why=why)


def _judge(folder: Path, header: Header, site: Site, recorder: Recorder, terminal: Terminal) -> Document:
    history = History.read(folder / HISTORY)
    results = judge(history)
    if conclude(history, results) is not Verdict.PASS:
        for note in evidence.collect(site, header, recorder.now()):
            recorder.write(note)
        history = History.read(folder / HISTORY)
    document = Document.of(history, results, replay(header), folder)
    _write(folder, document, history, results)
    terminal.results(document, results, history)
    if any(end.why == "interrupted" for end in history.ends):
        raise KeyboardInterrupt
    return document


def _write(folder: Path, document: Document, history: History, results: list[Result]) -> None:
    (folder / VERDICT).write_bytes(document.to_json())
    (folder / JUNIT).write_bytes(junit([document]))
    (folder / PAGE).write_text(page(document, history, results), encoding="utf-8")


def _directory(runs: Path, scenario: str) -> Path:
    """Makes a run's directory, and points `latest` to it.

    Raises:
        BadUse: it can't be made.
    """
    name = f"{datetime.now():%Y%m%dT%H%M%S.%f}"[:-3] + f"-{scenario}"  # milliseconds: names sort as runs began
    try:
        runs.mkdir(parents=True, exist_ok=True)
        folder = next(
            path for path in (runs / name, *(runs / f"{name}.{n}" for n in range(2, 100))) if not path.exists()
        )
        folder.mkdir()
        fresh = runs / f".latest-{os.getpid()}"
        with suppress(FileNotFoundError):
            fresh.unlink()
        fresh.symlink_to(folder.name)
        fresh.replace(runs / "latest")
    except OSError as error:
        raise BadUse(f"--runs {runs}: a run's directory can't be made there: {error.strerror}") from None
    return folder
