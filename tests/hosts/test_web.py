"""The web host: Apache and its virtual hosts."""

import json
import re

import pytest
from deployment import assert_runs, wait_for
from testinfra.host import Host

# Runs on the web host: asks one URL, and prints status, headers and body.
ASK = """
import json, sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Host": sys.argv[2]})
with urllib.request.urlopen(request, timeout=10) as answer:
    print(json.dumps([answer.status, answer.headers.get_all("Set-Cookie") or [], answer.read().decode()]))
"""


def ask(web: Host, port: int, path: str = "/", host: str = "localhost") -> tuple[int, list[str], str]:
    printed = web.check_output("python3 -c %s %s %s", ASK, f"http://127.0.0.1:{port}{path}", host)
    status, cookies, body = json.loads(printed)
    return status, cookies, body


def test_apache_runs(web: Host) -> None:
    assert_runs(web, "apache2")


@pytest.mark.parametrize("number", range(1, 8))
def test_each_virtual_host_answers_with_its_page(web: Host, number: int) -> None:
    assert ask(web, 8080 + number) == (200, [], f"Backend {number}\n")


def test_it_listens_on_the_ports_of_the_virtual_hosts_and_no_other(web: Host) -> None:
    listening = {socket.rpartition(":")[2] for socket in web.socket.get_listening_sockets() if "tcp" in socket}
    assert listening - {"22"} == {str(port) for port in range(8081, 8088)}


def test_login_issues_a_fresh_session_that_fits_the_table(web: Host) -> None:
    issued = [ask(web, 8083, "/login") for _ in range(3)]
    assert [(status, body) for status, _, body in issued] == [(200, "Backend 3\n")] * 3
    sessions = [re.fullmatch(r"JSESSIONID=([^;]+); Path=/; HttpOnly", cookies[0]) for _, cookies, _ in issued]
    values = [session.group(1) for session in sessions if session]
    assert len(set(values)) == 3
    assert all(len(value) <= 32 for value in values)


def test_each_virtual_host_has_logs_of_its_own(web: Host) -> None:
    ask(web, 8084, "/?who=be4")
    wait_for("the request in be4's log", lambda: web.file("/var/log/apache2/be4-access.log").contains("who=be4"))
    assert "who=be4" not in web.file("/var/log/apache2/be5-access.log").content_string
    assert web.file("/var/log/apache2/be4-error.log").exists


def test_the_default_site_is_gone(web: Host) -> None:
    assert not web.file("/etc/apache2/sites-enabled/000-default.conf").exists
