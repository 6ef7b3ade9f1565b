"""What faults would run and say of themselves, without any host; and the commands' parts, run here."""

import subprocess
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from verify.errors import Refused
from verify.faults import (
    FAULTS,
    Drain,
    Isolate,
    Nemesis,
    Outage,
    PeersCut,
    Permission,
    PowerCut,
    Reload,
    ServerDown,
    Site,
    TableClear,
)
from verify.faults.config import ReloadConfig, ReloadConfigRemove
from verify.faults.injection import ANYWHERE, Command, Injection, runtime, watch
from verify.history import AnyRecord, Evidence, Fault
from verify.topology import Topology

DOCS = Path(__file__).parents[3] / "docs" / "faults.md"


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, timeout=20, check=False)


def each(site: Site) -> list[Injection]:
    return [fault(site, target) for fault in FAULTS.values() for target in fault.choices(site)]


def test_every_kind_has_a_target_here(site: Site) -> None:
    assert {injection.kind for injection in each(site)} == set(FAULTS)


def test_commands_are_injecting_then_healing_on_the_targets(site: Site) -> None:
    for injection in each(site):
        assert injection.commands() == [*injection.injecting(), *injection.healing()]
        assert {host for host, _ in injection.commands()} == set(injection.targets)
        assert all(line.strip() and "\n" not in line for _, line in injection.commands())
        for _, line in injection.commands():
            only_parse = subprocess.run(["/bin/sh", "-n", "-c", line], capture_output=True, timeout=20, check=False)
            assert only_parse.returncode == 0, only_parse.stderr


def test_all_but_a_cleared_table_can_be_undone_by_the_host(site: Site) -> None:
    for injection in each(site):
        undone = {host for host, _ in injection.healing()}
        assert undone == (set() if isinstance(injection, TableClear) else set(injection.targets))
        # systemd-run would replace these by the environment.
        assert all("${" not in line for _, line in injection.healing())


def test_names_tell_faults_on_one_host_apart(site: Site) -> None:
    taken: dict[tuple[str, str], set[str]] = {}
    for injection in each(site):
        for host in injection.targets:
            taken.setdefault((host, injection.undo), set()).add(injection.target)
    assert all(len(targets) == 1 for targets in taken.values()), taken


def test_a_balancer_that_is_taken_away_hears_nobody(site: Site) -> None:
    for injection in each(site):
        if isinstance(injection, Outage):
            assert injection.parts == [("lb-1", "lb-2"), ("lb-1", "lb-3"), ("lb-2", "lb-3")]
            assert injection.targets == injection.disturbs == site.balancers
        elif injection.takes_away:
            assert injection.parts == [(injection.target, other) for other in site.others(injection.target)]
            assert injection.disturbs == [injection.target]
    assert PeersCut(site, "lb-2").parts == [("lb-2", "lb-1"), ("lb-2", "lb-3")]
    assert PeersCut(site, "lb-2").disturbs == []
    assert Reload(site, "lb-1").parts == []


def test_which_servers_move(site: Site) -> None:
    assert ServerDown(site, "a").moves == ["a"]
    assert ServerDown(site, "a").targets == ["web-1"]
    assert ServerDown.choices(site) == ["a", "b", "c"]  # whose host is known
    assert FAULTS["web-stop"](site, "web-1").moves == ["a", "b"]
    assert FAULTS["web-stop"](site, "web-1").disturbs == site.balancers
    assert (Drain(site, "d").moves, Drain(site, "d").targets) == ([], site.balancers)
    assert (ReloadConfigRemove(site, "lb-1").moves, ReloadConfig(site, "lb-1").moves) == (["d"], [])
    assert [kind for kind, fault in FAULTS.items() if fault.may_move] == ["cold-start", "table-clear"]


def test_rules_spare_what_a_host_says_to_itself(site: Site) -> None:
    ((_, line),) = Isolate(site, "lb-1").injecting()
    assert line.startswith(
        "nft 'add table inet sticky_verify_isolate; delete table inet sticky_verify_isolate;"
        " table inet sticky_verify_isolate {"
    )
    assert 'hook input priority -10; policy accept; iifname "lo" accept; tcp dport { 1024 }' in line
    assert 'hook output priority -10; policy accept; oifname "lo" accept; tcp dport { 1024 }' in line
    assert "tcp dport { 80, 443 } counter name clients drop" in line
    assert "tcp sport { 80, 443 } counter name clients drop" in line
    assert " 22" not in line


def test_a_table_is_cleared_by_own_keys_only(site: Site) -> None:
    keys = [f"svfy{number:028x}" for number in range(1200)]
    site.own_keys = lambda: [*keys, "a;b c"]
    lines = [line for _, line in TableClear(site, "lb-1").injecting()]
    assert len(lines) == 3
    assert all(len(line) < 128 * 1024 for line in lines)  # Linux's limit of one argument
    assert "'clear table sessions key svfy0000000000000000000000000000 '" in lines[0]
    assert r"'clear table sessions key a\;b\ c '" in lines[2]
    assert sum(line.count("clear table sessions key ") for line in lines) == 1201


def test_a_power_cut_spares_what_is_older_than_the_way_between_two_dumps(site: Site) -> None:
    site.topology = msgspec.structs.replace(site.topology, dump_interval=40)
    assert PowerCut(site, "all balancers").spares == 55
    assert [kind for kind, fault in FAULTS.items() if fault(site, fault.choices(site)[0]).spares] == ["power-cut"]


def test_a_power_cut_runs_no_hook_and_leaves_the_unit_as_it_was(site: Site, tmp_path: Path) -> None:
    """The commands' parts that write and remove the unit's change, run here in another folder and without systemd."""
    cut = PowerCut(site, "all balancers")

    def here(line: str) -> None:
        line = line.replace("/run/systemd/system", str(tmp_path))
        done = shell(f"systemctl() {{ echo systemctl $* >> {tmp_path}/told; }}; {line}")
        assert (done.returncode, done.stderr) == (0, "")

    here(cut.injecting()[0][1])
    (written,) = tmp_path.glob("haproxy.service.d/*.conf")
    assert written.read_text().splitlines() == ["[Service]", "Restart=no", "ExecStop=", "ExecStopPost="]
    here(cut.healing()[0][1])
    assert not (tmp_path / "haproxy.service.d").exists()
    told = [line.removeprefix("systemctl ") for line in (tmp_path / "told").read_text().splitlines()]
    assert told == [
        "daemon-reload",
        "kill --signal=KILL haproxy",
        *("reset-failed haproxy", "daemon-reload", "start --no-block haproxy"),
    ]


def refused(nemesis: Nemesis, injection: Injection) -> str:
    with pytest.raises(Refused) as caught:
        nemesis.check([injection])
    with pytest.raises(Refused) as again, nemesis.inject(injection):
        pass
    assert str(caught.value) == str(again.value)
    return str(caught.value)


def test_nothing_is_asked_of_a_host_without_permission(site: Site) -> None:
    written: list[AnyRecord] = []

    def nemesis(permission: Permission) -> Nemesis:
        return Nemesis(site, written.append, lambda: 0, permission)

    named = frozenset({"lb-1", "lb-3"})
    assert "--destructive" in refused(nemesis(Permission(False, named)), Reload(site, "lb-1"))
    assert "add --on lb-2 (--on names lb-1, lb-3)" in refused(nemesis(Permission(True, named)), Reload(site, "lb-2"))
    assert "add --on lb-2" in refused(nemesis(Permission(True, named)), Drain(site, "a"))  # it is on all of them
    assert "--on names no host" in refused(nemesis(Permission(True)), ServerDown(site, "a"))
    assert written == []


class Told(Reload):
    """A fault that only tells what is done to it."""

    def __init__(self, told: list[str], recovers: bool) -> None:
        super().__init__(Site(Topology(balancers=()), {}, {}), "lb-1")
        self.told, self.recovers = told, recovers  # type: ignore[misc]

    @classmethod
    def choices(cls, site: Site) -> list[str]:
        return ["lb-1"]

    @property
    def targets(self) -> list[str]:
        return []

    def injecting(self) -> list[Command]:
        return []

    def healing(self) -> list[Command]:
        return []

    def inject(self) -> list[Evidence]:
        self.told.append("injected")
        return [Evidence(what="it is seen", seen=True, text="")]

    def heal(self) -> list[Evidence]:
        self.told.append("healed")
        return [Evidence(what="it is over", seen=True, text="")]


@pytest.mark.parametrize(("recovers", "more"), [(True, ["all that worked before works again"]), (False, [])])
def test_a_window_ends_where_its_fault_is_healed(recovers: bool, more: list[str]) -> None:
    """And not where all works again that did before, which some faults do not wait for at all."""
    told: list[str] = []
    faults: list[Fault] = []

    def write(record: AnyRecord) -> None:
        assert isinstance(record, Fault)
        told.append("written")
        faults.append(record)

    injection = Told(told, recovers)
    nemesis = Nemesis(injection.site, write, lambda: 0, Permission(True))
    with nemesis.inject(injection, lambda: told.append("window closed")):
        told.append("lasts")
    assert told == ["injected", "written", "lasts", "healed", "window closed", "written"]
    assert [known.what for known in faults[-1].heal_evidence] == ["it is over", *more]


def test_an_unknown_target_is_refused(site: Site) -> None:
    nemesis = Nemesis(site, lambda _: None, lambda: 0, Permission(True, frozenset({"lb-9"})))
    text = refused(nemesis, Reload(site, "lb-9"))
    assert text == "reload on lb-9 is impossible: the topology offers lb-1, lb-2, lb-3"


CONFIG = """\
# server d in a comment
global
  maxconn 100
backend other
  server d 192.0.2.9:80 id 4
backend back
\tbalance roundrobin
  stick-table type string size 1k peers mine
  server c 192.0.2.2:8081 id 3 check
  server d 192.0.2.2:80 id 77 weight 9 check # the last
listen stats
  server d 192.0.2.9:80
"""
LINE = "  server d 192.0.2.2:80 id 77 weight 9 check # the last\n"


def edited(injection: ReloadConfig, path: Path, text: str) -> subprocess.CompletedProcess[str]:
    path.write_text(text)
    return shell(f"{injection.editor} {path}")


def test_a_server_is_added_without_its_id(site: Site, tmp_path: Path) -> None:
    done = edited(ReloadConfig(site, "lb-1"), tmp_path / "cfg", CONFIG)
    added = "  server sticky-verify-added 192.0.2.2:80 weight 9 check weight 0\n"
    assert (done.returncode, done.stdout) == (0, CONFIG.replace(LINE, LINE + added))


def test_a_server_is_removed_from_its_backend_only(site: Site, tmp_path: Path) -> None:
    done = edited(ReloadConfigRemove(site, "lb-1"), tmp_path / "cfg", CONFIG)
    assert (done.returncode, done.stdout) == (0, CONFIG.replace(LINE, f"# sticky-verify: {LINE}"))


def test_a_configuration_without_the_server_is_no_candidate(site: Site, tmp_path: Path) -> None:
    for kind in (ReloadConfig, ReloadConfigRemove):
        assert edited(kind(site, "lb-1"), tmp_path / "cfg", CONFIG.replace(LINE, "")).returncode == 1


def test_a_runtime_command_fails_with_what_haproxy_objects(
    haproxy: Callable[[dict[str, bytes]], str],
) -> None:
    path = haproxy({"bad": b"No such server.\n\n", "held": b"Entry currently in use, cannot remove.\n\n"})
    assert shell(runtime(path, "good", "held")).returncode == 0
    done = shell(runtime(path, "good", "bad"))
    assert (done.returncode, done.stderr) == (1, "No such server.\n")
    assert shell(runtime(f"{path}.none", "good")).returncode != 0


def test_evidence_says_what_was_seen_last() -> None:
    looks = iter([(False, "1"), (False, "2"), (True, "3")])
    seen = watch("it is 3", lambda: next(looks), 10)
    assert (seen.what, seen.seen, seen.text) == ("it is 3", True, "3")
    unseen = watch("it is 3", lambda: (False, "2"), 0)
    assert (unseen.seen, unseen.text) == (False, "2; waited 0 s for it is 3, in vain")


def rows(text: str) -> Sequence[list[str]]:
    table = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_the_docs_say_what_the_faults_say() -> None:
    documented = {row[0].strip("`"): (row[1], row[3]) for row in rows(DOCS.read_text())}
    assert documented == {kind: (fault.does, fault.proves_not) for kind, fault in FAULTS.items()}


def test_every_fault_says_so_in_one_sentence() -> None:
    for fault in FAULTS.values():
        assert fault.possible_on <= ANYWHERE
        for text in (fault.does, fault.proves_not):
            assert text.endswith(".")
            assert "|" not in text
            assert all(not (one == "." and other == " ") for one, other in pairwise(text))
