"""What the role session_guard refuses and renders, and when: as far as it needs no host."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PRESENT: dict[str, object] = {"session_guard_state": "present"}
OTHER = {"unit": "haproxy-b", "config": "/etc/b.cfg", "socket": "/run/b.sock", "textfile": "/var/lib/b.prom"}
# A program that finds what is below "gate-off" in the configuration, and prints no lines.
OUTDATED = "sh -c 'echo global: outdated: lua-load gate-0.lua; exit 1' sh"

# Host -> its variables, and what is said to them.
REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "held": (
        PRESENT | {"session_guard_gate_held": "lots"},
        "session_guard_gate_held is lots. Allowed are 0 to 10000000.",
    ),
    "wait": (
        PRESENT | {"session_guard_reload_wait": "never"},
        "session_guard_reload_wait is never. Allowed are 0 to 30.",
    ),
    "dump": (
        PRESENT | {"session_guard_dump": "sometimes"},
        "value of session_guard_dump must be one of: none, stop, timer, both, got: sometimes",
    ),
    "unsynced": (
        PRESENT | {"session_guard_reload_unsynced": "wait"},
        "value of session_guard_reload_unsynced must be one of: proceed, refuse, got: wait",
    ),
    "gate": (PRESENT | {"session_guard_gate": "of"}, "session_guard_gate"),
    "state": (
        {"session_guard_state": "presnt"},
        "value of session_guard_state must be one of: present, absent, got: presnt",
    ),
    "unit": (
        PRESENT | {"session_guard_unit": "haproxy.service"},
        "session_guard_unit 'haproxy.service' is no name of a unit without .service. Allowed are letters, digits,"
        " ':', '_', '.', '@' and '-'. Name it as haproxy, where it is haproxy.service.",
    ),
    "exemption": (
        PRESENT | {"session_guard_exempt": "{ path_beg /health }\n"},
        'is no condition of HAProxy\'s. Allowed is one in braces, as "{ path_beg /health }", or nothing.',
    ),
    "textfile": (PRESENT | {"session_guard_textfile": "/g.prom\n"}, "is no absolute path without blanks."),
    "lines-without-files": (
        {"session_guard_state": "absent", "haproxy_session_guard": True},
        "session_guard_state is 'absent', and haproxy_session_guard is set: the configuration would name files that"
        " are not there. Allowed with it is present. Leave session_guard_state out, or set haproxy_session_guard to"
        " false.",
    ),
    "another": (
        PRESENT,
        "session_guard_unit is 'haproxy', and another has the session guard for the unit 'haproxy-b': it guards one"
        " HAProxy a host. Allowed is 'haproxy-b'. Set it to that, or take the guard off first (session_guard_state:"
        " absent).",
    ),
    "gate-off": (
        PRESENT | {"session_guard_gate": False, "command": OUTDATED},
        "/etc/haproxy/haproxy.cfg is not what the session guard needs: global: outdated: lua-load gate-0.lua"
        " -- session_guard_gate is false: remove what is called outdated, reload HAProxy, and run this again.",
    ),
}
SERVED: dict[str, dict[str, object]] = {
    "the-defaults": PRESENT,
    "all-chosen": PRESENT
    | {
        "session_guard_gate": "no",
        "session_guard_gate_held": "100",
        "session_guard_exempt": "{ path_beg /health }",
        "session_guard_unit": "haproxy@shop",
        "session_guard_textfile": "/g.prom",
    },
    "never-there": {"session_guard_state": "absent"},
    "taken-off": {"session_guard_state": "absent"},
}


@pytest.fixture(scope="module")
def said(ansible: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """Returns a function that gives what was said of a host; all are asked at once."""
    out = tmp_path_factory.mktemp("guard")
    for name in ("another", "taken-off"):
        (out / name).mkdir()
        (out / name / "settings.json").write_text(json.dumps(OTHER))
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {name: variables for name, (variables, _) in REFUSED.items()} | SERVED
    (out / "hosts.json").write_text(json.dumps({"all": {"vars": here, "hosts": hosts}}))
    # Above the role's own variables. Whoever says nothing of the lines has them.
    given = {"out": str(out), "__session_guard_folder": "{{ out }}/{{ inventory_hostname }}"}
    given["__session_guard_command"] = "{{ command | default('true') }}"
    ansible("ansible-playbook", "-i", out / "hosts.json", "-e", json.dumps(given), HERE / "render/guard_role.yml")
    return lambda name: dict(json.loads((out / f"{name}.json").read_text()))


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_refused_by_name(said: Callable[[str], dict[str, Any]], name: str) -> None:
    assert REFUSED[name][1] in " ".join(said(name)["refused"].split())


@pytest.mark.parametrize("name", SERVED)
def test_what_is_right_is_not_refused(said: Callable[[str], dict[str, Any]], name: str) -> None:
    assert said(name)["refused"] == ""


def test_what_is_removed_is_what_the_host_was_told(said: Callable[[str], dict[str, Any]]) -> None:
    """Whoever put the guard on with -e may take it off without."""
    assert said("taken-off")["told"] == OTHER
    assert said("taken-off")["drop_in"] == "/etc/systemd/system/haproxy-b.service.d"
    assert said("never-there")["drop_in"] == "/etc/systemd/system/haproxy.service.d"


@pytest.mark.parametrize("playbook", ["balancers", "upgrade"])
def test_the_drop_in_is_there_before_haproxy_takes_the_lines_in(ansible: Callable[..., str], playbook: str) -> None:
    listed = ansible("ansible-playbook", "-i", HERE / "cases/demo.yml", "--list-tasks", f"playbooks/{playbook}.yml")
    names = ["The unit reloads, stops and starts with the guard", "HAProxy runs, now and after a boot"]
    drop_in, service = (listed.find(name) for name in names)
    assert 0 < drop_in < service


def test_files_of_the_program_that_differ_are_installed_again(ansible: Callable[..., str], tmp_path: Path) -> None:
    places = {"library": "lib/guard", "folder": "etc/haproxy/guard", "state_directory": "state", "command": "guard"}
    given = {f"__session_guard_{name}": str(tmp_path / place) for name, place in places.items()} | PRESENT
    given |= {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (tmp_path / "lib").mkdir()

    def installed() -> dict[str, tuple[int, bytes]]:
        """Installs; gives each file's mode and content."""
        ansible("ansible-playbook", "-i", "localhost,", "-e", json.dumps(given), HERE / "render/guard_files.yml")
        return {file.name: (file.stat().st_mode, file.read_bytes()) for file in (tmp_path / "lib/guard").iterdir()}

    before = installed()
    changed, opened, gone, *others = sorted((tmp_path / "lib/guard").iterdir())
    times = {file: file.stat().st_ctime_ns for file in others}
    changed.write_text("")
    opened.chmod(0o600)
    gone.unlink()
    assert installed() == before
    assert {file: file.stat().st_ctime_ns for file in others} == times


ALL = ["ExecReload=", "ExecReload=guard reload", "ExecStop=-guard stopping", "ExecStartPost=-guard started"]
RELOAD, STOP, START = ALL[:2], ALL[2:3], ALL[3:]


@pytest.mark.parametrize(
    ("gate", "safe_reload", "dump", "lines"),
    [
        (True, True, "both", ALL),
        (False, True, "both", ALL),
        (True, False, "both", STOP + START),
        (True, True, "none", RELOAD + START),
        (True, True, "timer", RELOAD + START),
        (False, True, "none", RELOAD),
        (False, False, "none", []),
    ],
)
def test_the_drop_in_runs_what_is_switched_on(gate: bool, safe_reload: bool, dump: str, lines: list[str]) -> None:
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters["bool"] = bool
    text = (ROOT / "roles/session_guard/templates/session-guard.conf.j2").read_text()
    rendered = environment.from_string(text).render(
        __session_guard_command="guard",
        session_guard_gate=gate,
        session_guard_safe_reload=safe_reload,
        session_guard_dump=dump,
    )
    assert [row for row in rendered.splitlines() if row.startswith("Exec")] == lines
