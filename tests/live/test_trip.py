"""One trip: one connection, one channel, one command a host, in any shell, and no trace left there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from auditor.collect import Collector
from auditor.inventory import Inventory
from auditor.model import Problem
from tests.support.auditing import host_entry, write_inventory
from tests.support.collecting import FACTS, apart_from_who, collect, lasting, one, spec
from tests.support.counting import counting
from tests.support.engine import CONTAINERS, DockerHost
from tests.support.host import Entry, TestHost, busybox_applets
from tests.support.kube_node import COMPONENTS, KubeNode

pytestmark = pytest.mark.live


@pytest.mark.parametrize("user", ["root", "auditor", "limited", "plain"])
def test_one_connection_and_one_channel(docker_host: DockerHost, user: str) -> None:
    with counting(docker_host) as seen:
        assert one(docker_host, user=user)["system"]["hostname"] == docker_host.hostname
    assert (seen.connections, seen.logins, seen.channels, seen.sessions) == (1, (user,), ("session",), ("command",))


def test_no_problem_in_what_root_learns(docker_host: DockerHost) -> None:
    facts = one(docker_host)
    assert [key for key, answer in facts.items() if isinstance(answer, Problem)] == []
    assert '"problem"' not in json.dumps(facts)
    (engine,) = facts["engine:containers"]
    found = {c["Name"].strip("/"): c for c in engine["data"]}
    assert set(found) == set(CONTAINERS)
    running = {name for name, c in found.items() if "proc" in c}
    assert running == set(CONTAINERS) - {"privileged", "stopped"}
    assert found["good"]["proc"]["NoNewPrivs"] == "1"
    assert found["bad"]["proc"]["NoNewPrivs"] == "0"
    assert found["bad"]["proc"]["Seccomp"] == "0"
    assert found["good"]["proc"]["uid_map"] == [[0, 0, 4294967295]]


def test_sudo_learns_what_root_learns(docker_host: DockerHost) -> None:
    root, sudo = one(docker_host), one(docker_host, user="auditor")
    assert (root["system"]["become"], sudo["system"]["become"]) == ("root", "sudo")
    assert apart_from_who(sudo) == apart_from_who(root)


def test_become_none_uses_no_sudo(docker_host: DockerHost) -> None:
    facts = one(docker_host, user="auditor", become="none")
    assert facts["system"]["become"] == "none"
    assert facts["engine:info"][0]["problem"]["reason"] == "denied"


@pytest.fixture(scope="module")
def both(needs_docker: None) -> Iterator[DockerHost]:
    """A Docker host that is a control plane too, so that every question has an answer."""

    @dataclass
    class Both(DockerHost, KubeNode):
        __test__ = False

    with Both(hostname="both", settings={"live-restore": True}) as host:
        yield host


def change_shell(host: TestHost, shell: str) -> None:
    host.place(Entry("/bin/sh", link=shell))


def test_every_shell_gives_the_same_evidence(both: DockerHost) -> None:
    seen: dict[str, Any] = {}
    for shell in ("dash", "bash", "busybox"):
        change_shell(both, shell)
        assert both.ssh("readlink /proc/$$/exe; true") == f"/usr/bin/{shell}\n"
        seen[shell] = lasting(one(both))
    assert {p["name"] for p in seen["dash"]["processes"]} >= {*COMPONENTS, "dockerd"}
    assert seen["bash"] == seen["dash"]
    assert seen["busybox"] == seen["dash"]


#: System calls that change something outside the process that makes them; what they are told decides (see `changes`).
CHANGING = (
    "open,openat,openat2,creat,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,chmod,"
    "fchmod,fchmodat,chown,lchown,fchown,fchownat,truncate,ftruncate,mknod,mknodat,utime,utimes,utimensat,futimesat,setxattr,"
    "lsetxattr,fsetxattr,removexattr,lremovexattr,fremovexattr,mount,umount2,pivot_root,sethostname,setdomainname,settimeofday,"
    "clock_settime,adjtimex,init_module,finit_module,delete_module,bpf,ptrace,process_vm_writev,kill,tkill,tgkill,pidfd_send_signal,"
    "reboot,swapon,swapoff,quotactl,setpriority,sched_setaffinity,prlimit64,bind,listen,connect,sendto,sendmsg,fallocate,copy_file_range"
)
FREE = re.compile(
    r"O_RDONLY|\"/dev/null\"|\"/dev/tty\"|ENOENT|"  # reading; nowhere; what isn't there
    r"^prlimit64\(0,|"  # of the process itself
    r"^bind\(\d+, \{sa_family=AF_NETLINK|"  # to ask the kernel
    r"^(connect|sendto|sendmsg)\(|"  # looked at apart
    r"^kill\(\d+, SIG_0\)"
)


def traced(log: str) -> tuple[list[tuple[str, str]], set[int]]:
    """Return the calls, each after its program, of the shell that sshd starts and of all that comes of it; and their processes."""
    programs: dict[int, str] = {}
    calls: list[tuple[str, str]] = []
    pending: dict[int, str] = {}
    for line in log.splitlines():
        number, _, call = line.partition(" ")
        pid, call = int(number), call.strip()
        if call.endswith("<unfinished ...>"):
            pending[pid] = call.removesuffix("<unfinished ...>")
            continue
        if resumed := re.match(r"<\.\.\. \w+ resumed>", call):
            call = pending.pop(pid, "") + call[resumed.end() :]
        if pid not in programs and "exec sh -c" not in call:
            continue
        if (started := re.match(r'execve\("([^"]*)"', call)) and call.endswith("= 0"):
            programs[pid] = started[1].rpartition("/")[2]
        if made := re.match(r"(?:clone3?|v?fork)\(.*= (\d+)$", call):
            programs[int(made[1])] = programs[pid]
        calls.append((programs.get(pid, ""), call))
    return calls, set(programs)


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize("user", ["root", "plain"])
def test_traced_audit_changes_nothing(both: DockerHost, user: str) -> None:
    """Every system call of the audit's shell and of all its children: nothing is opened for writing, made, moved or signalled."""
    change_shell(both, "dash")
    port = {"root": 2401, "plain": 2402}[user]
    config = both.run("cat", "/etc/ssh/sshd_config").replace("Port 22\n", f"Port {port}\n")
    both.place(Entry(f"/etc/ssh/traced{port}", config, 0o600))
    calls = f"trace=execve,clone,clone3,fork,vfork,{','.join('?' + c for c in CHANGING.split(','))}"
    argv = [str(shutil.which("strace")), "-f", "-qq", "-s", "400", "-e", "signal=none", "-e", calls, "-o", f"/run/trace{port}"]
    before = both.processes()
    tracer = both.spawn([*argv, "/usr/sbin/sshd", "-D", "-e", "-f", f"/etc/ssh/traced{port}"], log=f"traced{port}")
    try:
        both.wait_for(lambda: "Server listening" in both.log(f"traced{port}"), "the traced sshd")
        known = both.base / f"known{port}"
        known.write_text(f"[{both.address}]:{port} {both.host_key()}\n")
        facts = one(both, user=user, port=port, known_hosts=known)
        assert len(facts["processes"]) > 5
        both.wait_for(lambda: len(both.processes()) <= len(before) + 2, "all but the traced sshd to end")
    finally:
        for pid, command in both.processes().items():
            if command[0] == "/usr/sbin/sshd" and f"/etc/ssh/traced{port}" in command:
                both.kill(pid)
        both.kill(tracer)
    log = both.run("cat", f"/run/trace{port}")
    both.remove(f"/run/trace{port}", f"/etc/ssh/traced{port}")
    made, ours = traced(log)
    assert len(ours) > 20
    assert sum(call.startswith("execve(") for _, call in made) > 20
    own = "|".join(map(str, ours))
    told = re.compile(rf"^kill\((-?({own})|0), |^(execve|clone3?|v?fork)\(|\+\+\+ exited")
    said = [call for program, call in made if program != "sudo"]  # which keeps notes of its own, whoever calls it
    assert [c for c in said if not FREE.search(c) and not told.search(c)] == []
    # What others are told: requests to the engine that only read, questions to the kernel.
    told_others = [c for c in said if c.startswith(("sendto(", "sendmsg("))]
    assert [
        c for c in told_others if not re.search(r'^sendto\(\d+, "GET /|nlmsg_type=(RTM_GET|SOCK_DIAG|AUDIT_(GET|LIST))', c)
    ] == []
    places = {m[1] for c in said if (m := re.match(r"connect\(\d+, \{(.*?)\}", c))}
    # The last are how getaddrinfo sorts addresses: no packet is sent.
    asked = re.compile(r'sa_family=AF_UNIX, sun_path="/(var/)?run/(docker.sock|nscd/socket)"|.*("0\.0\.0\.0"|"::"|AF_UNSPEC).*')
    assert {p for p in places if not asked.fullmatch(p)} == set()
    assert any("GET /containers" in c for c in told_others) is (user == "root")


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_nothing_keeps_running_when_the_connection_is_cut(both: DockerHost, how: str, tmp_path: Path) -> None:
    """Cut in the middle of the answer, the script ends at its next word, as does what it was waiting for."""
    change_shell(both, "dash")
    tool = both.run("sh", "-c", "command -v auditctl || echo /usr/sbin/auditctl").strip()
    was = both.run("cat", tool, check=False)
    both.place(Entry(tool, "#!/bin/sh\nsleep 1.5\n", 0o755))
    before, files = set(both.processes()), both.files()
    host = spec(both)
    try:
        if how == "closed":
            collector = Collector(Inventory(hosts=(host,)), FACTS, frozenset())
            stream = collector.run([host])
            thread = threading.Thread(target=lambda: list(stream), daemon=True)
            thread.start()
            both.wait_for(lambda: any(tool in a for argv in both.processes().values() for a in argv), "the slow tool")
            collector.stop()
            thread.join(5)
            assert not thread.is_alive()
        else:
            inventory = write_inventory(tmp_path, [host_entry(both)])
            argv = [sys.executable, "-m", "auditor", "collect", "-i", str(inventory), "-o", str(tmp_path / "out")]
            env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
            with subprocess.Popen(argv, env=env, stderr=subprocess.DEVNULL) as process:
                both.wait_for(lambda: any(tool in a for argv in both.processes().values() for a in argv), "the slow tool")
                process.kill()
        both.wait_for(lambda: set(both.processes()) <= before, "the audit's processes to end", 6)
        assert [p for p, f in both.files().items() if files.get(p) != f] == []
    finally:
        both.place(Entry(tool, was, 0o755)) if was else both.remove(tool)


def test_busybox_tools_and_docker_client_give_the_same_evidence(both: DockerHost) -> None:
    """Last in this module that uses the host: its tools are replaced, and curl taken away."""
    change_shell(both, "dash")
    before = lasting(one(both))
    both.remove("/usr/bin/curl")
    by_client = lasting(one(both))
    assert by_client == before
    both.place(*busybox_applets())
    change_shell(both, "busybox")
    assert both.ssh("readlink /usr/bin/grep; readlink /usr/bin/stat; readlink /usr/bin/timeout") == "busybox\n" * 3
    by_busybox = lasting(one(both))
    assert {k: v for k, v in by_busybox.items() if v != before[k]} == {}
    assert one(both, user="auditor")["processes"] == before["processes"]


@pytest.mark.parametrize("user", ["root", "auditor", "plain"])
def test_nothing_is_written_and_nothing_keeps_running(needs_docker: None, user: str) -> None:
    """But for what sudo itself notes below /run/sudo."""
    with DockerHost() as host:
        host.ssh("sudo -n true", user=user, check=False)
        processes, files = host.processes(), host.files()
        containers = host.docker("ps", "-a", "--no-trunc")
        one(host, user=user)
        host.wait_for(lambda: set(host.processes()) <= set(processes), "the audit's processes to end", 5)
        changed = sorted(path for path, facts in host.files().items() if files.get(path) != facts)
        assert [path for path in changed if not path.startswith("/run/sudo")] == []
        assert host.docker("ps", "-a", "--no-trunc").count("\n") == containers.count("\n")


def test_many_hosts_at_once(docker_host: DockerHost) -> None:
    with counting(docker_host) as seen:
        found = collect(*(spec(docker_host, f"h{i}") for i in range(12)))
    assert [e.error for e in found.values()] == [None] * 12
    assert (seen.connections, len(seen.channels)) == (12, 12)
    assert len({json.dumps(e.facts["engine:containers"], sort_keys=True) for e in found.values()}) == 1


@pytest.mark.parametrize(("user", "told"), [("root", "0700"), ("plain", "denied")])
def test_files_of_a_container_are_those_it_sees(needs_hosts: None, user: str, told: str) -> None:
    """etcd's folder is what its own mounts say; who can't look into them must not take the host's for it."""
    with KubeNode() as node:
        pid = node.pids["etcd"]
        node.run("nsenter", "-t", str(pid), "-m", "mount", "-t", "tmpfs", "-o", "mode=700", "tmpfs", "/var/lib/etcd")
        node.run("chmod", "755", "/var/lib/etcd")
        (file,) = one(node, user=user)["files:process=etcd,flag=--data-dir"]["files"]
    assert (file["problem"]["reason"] if "problem" in file else file["mode"]) == told, file
