"""What HAProxy says of itself and its servers, against what real ones answered."""

from collections.abc import Callable

import pytest

from tests.verify.recording import VERSIONS, Recording
from verify.errors import RuntimeApiError
from verify.runtime_text import parse_done, parse_info, parse_requests, parse_servers

EVERY_VERSION = pytest.mark.parametrize("version", VERSIONS)


@EVERY_VERSION
def test_info(version: str) -> None:
    info = parse_info(Recording(f"{version}/pair-a").answers["show info"])
    assert info["Version"].startswith(version)
    assert info["Pid"].isdecimal()
    assert info["Stopping"] == "0"


@EVERY_VERSION
@pytest.mark.parametrize(
    ("file", "states"),
    [
        ("answers", [("running", "ready", True), ("running", "ready", True)]),
        ("drain", [("running", "drain", True), ("running", "ready", True)]),
        ("maint", [("stopped", "maint", False), ("running", "ready", True)]),
        ("down", [("running", "ready", True), ("stopped", "ready", False)]),
    ],
)
def test_servers(version: str, file: str, states: list[tuple[str, str, bool]]) -> None:
    servers = parse_servers(Recording(f"{version}/{file}").answers["show servers state back"])
    assert [(server.id, server.name, server.weight) for server in servers] == [(1, "web-1", 1), (2, "web-2", 1)]
    assert [(server.operation, server.admin, server.up) for server in servers] == states


@EVERY_VERSION
@pytest.mark.parametrize(
    ("old", "new"),
    [("^1$", "2"), ("srv_admin_state", "srv_mood"), (r"127\.0\.0\.1 2 0", "127.0.0.1 9 0"), ("^# ", "")],
)
def test_servers_of_another_form_are_refused(version: str, old: str, new: str) -> None:
    recording = Recording(f"{version}/answers").change("show servers state back", old, new)
    with pytest.raises(RuntimeApiError):
        parse_servers(recording.answers["show servers state back"])


@EVERY_VERSION
@pytest.mark.parametrize("parse", [parse_info, parse_servers])
@pytest.mark.parametrize("command", ["show nonsense", "show table nosuch", "show servers state nosuch"])
def test_another_text_is_an_error_that_carries_it(version: str, parse: Callable[[str], object], command: str) -> None:
    text = Recording(f"{version}/answers").answers[command]
    with pytest.raises(RuntimeApiError) as caught:
        parse(text)
    assert caught.value.text == text


@pytest.mark.parametrize("parse", [parse_info, parse_servers])
def test_silence_is_unknown(parse: Callable[[str], object]) -> None:
    with pytest.raises(RuntimeApiError):
        parse("\n")


@EVERY_VERSION
@pytest.mark.parametrize(
    ("file", "command", "refused"),
    [
        ("answers", "set table back key set data.server_id 2", None),
        ("answers", "set table nosuch key set data.server_id 2", "No such table"),
        ("answers", "set table rates key 192.0.2.1 data.server_id 2", "Data type not stored in this table"),
        ("answers", "clear table back key set", None),
        ("answers", "clear table back key nosuch", None),
        ("answers", "clear table nosuch key set", "No such table"),
        ("answers", "set server back/nosuch state ready", "No such server"),
        ("answers", "set server nosuch/web-1 state ready", "No such backend"),
        ("answers", "set server back/web-1 state asleep", "expects 'ready', 'drain' and 'maint'"),
        ("drain", "set server back/web-1 state drain", None),
        ("denied", "clear table back key abc", "Permission denied"),
        ("in-use", "clear table rates key 127.0.0.1", "Entry currently in use, cannot remove"),
    ],
)
def test_a_change_is_done_or_refused_with_a_text(version: str, file: str, command: str, refused: str | None) -> None:
    text = Recording(f"{version}/{file}").answers[command]
    if refused is None:
        parse_done("change", text)
    else:
        with pytest.raises(RuntimeApiError, match=refused):
            parse_done("change", text)


@pytest.mark.parametrize("version", VERSIONS)
def test_requests_of_the_frontends_are_counted(version: str) -> None:
    """Three were sent; a frontend in mode tcp has none, and says so by an empty or a zero field."""
    assert parse_requests(Recording(f"{version}/stat").answers["show stat -1 1 -1"]) == 3


@pytest.mark.parametrize("text", ["", "Unknown command\n", "# pxname,svname,\nfront,FRONTEND,\n"])
def test_counters_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(RuntimeApiError):
        parse_requests(text)
