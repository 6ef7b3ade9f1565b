"""What hosts print, as faults read it. The texts were recorded on Debian 12, cut where `...` stands."""

from verify.faults.cleanup import strays
from verify.faults.network import parse_counters, table_of
from verify.faults.unit import parse_processes
from verify.faults.worker import master_socket, workers

# `ps -ww -eo pid=,ppid=,stat=,comm=,cgroup:8192=,args=`: in a container on cgroup v1 with a v2 beside it.
V1 = "9:name=systemd:/libpod_parent/libpod-140d/{},8:pids:/libpod_parent/libpod-140d,0::/libpod_parent/libpod-140d/{}"
ARGUMENTS = "/usr/sbin/haproxy -Ws -f /etc/haproxy/haproxy.cfg -p /run/haproxy.pid -S /run/haproxy-master.sock"
UNIT, SSH = "system.slice/haproxy.service", "system.slice/ssh.service"
PS = f"""\
    317       1 Ss   haproxy         {V1.format(UNIT, UNIT)}        {ARGUMENTS}
    319     317 Tl   haproxy         {V1.format(UNIT, UNIT)}        {ARGUMENTS}
    790     784 Ss   bash            {V1.format(SSH, SSH)}          bash -c ps
      2       0 S    kthreadd        -
"""
# The same on cgroup v2, with a HAProxy that has left the unit and one that is somebody else's.
PS_V2 = f"""\
    900       1 Ss   haproxy         0::/{UNIT}                     {ARGUMENTS}
    901     900 Sl   haproxy         0::/{UNIT}                     {ARGUMENTS}
    777       1 Sl   haproxy         0::/user.slice/session.scope   {ARGUMENTS}
    555       1 Sl   haproxy         0::/docker/4f2                 haproxy -f /usr/local/etc/haproxy/haproxy.cfg
    560       1 S    python3         0::/user.slice/session.scope   python3 {ARGUMENTS}
    902       1 Sl   haproxy         0::/system.slice/my-haproxy.service   haproxy -f /etc/other.cfg
"""

# HAProxy 1.6.3 under its wrapper, right after a reload: each worker has a process that waits for it.
PS_1_6 = f"""\
   1592       1 Ss   haproxy-systemd 0::/{UNIT}                     /opt/haproxy/current/sbin/haproxy-systemd-wrapper
   1593    1592 S    haproxy         0::/{UNIT}                     /opt/haproxy/1.6.3/sbin/haproxy -Ds
   1594    1593 Ss   haproxy         0::/{UNIT}                     /opt/haproxy/1.6.3/sbin/haproxy -Ds
   1848    1592 S    haproxy         0::/{UNIT}                     /opt/haproxy/1.6.3/sbin/haproxy -Ds -sf 1594
   1849    1848 Ss   haproxy         0::/{UNIT}                     /opt/haproxy/1.6.3/sbin/haproxy -Ds -sf 1594
"""


def test_processes_of_a_unit() -> None:
    found = parse_processes(PS)
    assert [(process.pid, process.parent, process.state, process.command) for process in found] == [
        (317, 1, "Ss", "haproxy"),
        (319, 317, "Tl", "haproxy"),
        (790, 784, "Ss", "bash"),
    ]
    assert [process.pid for process in found if process.belongs_to("haproxy")] == [317, 319]
    assert [process.pid for process in found if process.belongs_to("haproxy.service")] == [317, 319]
    assert [process.pid for process in parse_processes(PS_V2) if process.belongs_to("haproxy")] == [900, 901]
    assert [process.pid for process in parse_processes(PS_V2) if process.belongs_to("my-haproxy")] == [902]


def test_only_a_haproxy_with_our_configuration_is_a_stray() -> None:
    found = strays(parse_processes(PS_V2), "haproxy", "/etc/haproxy/haproxy.cfg")
    assert [process.pid for process in found] == [777]
    assert strays(parse_processes(PS), "haproxy", "/etc/haproxy/haproxy.cfg") == []


def test_workers_are_known_from_those_that_wait_for_them() -> None:
    assert workers(parse_processes(PS_1_6), 1592) == [1594, 1849]
    assert workers([known for known in parse_processes(PS) if known.belongs_to("haproxy")], 317) == [319]


def test_the_masters_socket() -> None:
    found = parse_processes(PS)
    assert master_socket(found, 317) == "/run/haproxy-master.sock"
    assert master_socket(found, 790) is None
    for option, path in (("unix@/run/m.sock,mode,600", "/run/m.sock"), ("127.0.0.1:9", None), ("/m,level,admin", "/m")):
        line = PS_V2.replace("-S /run/haproxy-master.sock", f"-S {option} -L lb-1")
        assert master_socket(parse_processes(line), 900) == path


COUNTERS = """\
table inet sticky_verify_isolate {
	counter peers {
		packets 11 bytes 592
	}
	counter clients {
		packets 0 bytes 0
	}
}
"""


def test_counters() -> None:
    assert parse_counters(COUNTERS) == {"peers": 11, "clients": 0}
    assert parse_counters("") == {}


def test_a_table_is_named_after_its_fault() -> None:
    assert table_of("server-down-8083") == "sticky_verify_server_down_8083"
