"""Evidence: what may stand in a report of a journal."""

from verify.evidence import said

JOURNAL = """\
2026-11-22T20:11:32+0000 lb haproxy[17608]: [NOTICE]   (17608) : New worker (17610) forked
2026-11-22T20:11:32+0000 lb systemd[1]: Started haproxy.service - HAProxy Load Balancer.
2026-11-22T20:11:33+0000 lb haproxy[17610]: 192.0.2.1:1 [22/Nov/2026] front b/one "GET /;jsessionid=abc HTTP/1.1"
2026-11-22T20:11:34+0000 lb haproxy[17608]: [WARNING]  (17608) : Former worker (10368) exited with code 0 (Exit)
"""


def test_requests_that_go_to_standard_output_stay_out() -> None:
    """`log stdout` writes anybody's requests where HAProxy's own words go."""
    kept = said(JOURNAL)
    assert [line.split()[2] for line in kept.splitlines()] == ["haproxy[17608]:", "systemd[1]:", "haproxy[17608]:"]
    assert "jsessionid" not in kept
