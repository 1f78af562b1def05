"""The test hosts are what the other live tests take them for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.counting import counting
from tests.support.engine import CONTAINERS, DockerHost
from tests.support.host import PREFIX, Entry, TestHost, sweep
from tests.support.kube_node import APISERVER, COMPONENTS, KubeNode

pytestmark = pytest.mark.live


def test_accounts_and_counts(bare_host: TestHost) -> None:
    with counting(bare_host) as seen:
        assert bare_host.ssh("id -u") == "0\n"
        assert bare_host.ssh("sudo -n id -u", user="auditor") == "0\n"
        for user in ("limited", "plain"):
            with pytest.raises(RuntimeError, match="a password is required"):
                bare_host.ssh("sudo -n id -u", user=user)
    assert seen.connections == 4
    assert seen.logins == ("root", "auditor", "limited", "plain")
    assert seen.channels == ("session",) * 4
    assert seen.sessions == ("command",) * 4


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_shells(needs_hosts: None, shell: str) -> None:
    with TestHost(shell=shell) as host:
        assert host.ssh("readlink /proc/$$/exe; true") == f"/usr/bin/{shell}\n"
        assert host.ssh("readlink -f /usr/bin/stat").endswith("busybox\n") is (shell == "busybox")


def test_placing_and_listing(bare_host: TestHost) -> None:
    before = bare_host.files()
    bare_host.place(Entry("/srv/a/b", "text", 0o640, 2003, 42))
    changed = {path for path, facts in bare_host.files().items() if before.get(path) != facts}
    assert changed == {"/srv", "/srv/a", "/srv/a/b"}
    assert bare_host.ssh("stat -c '%a %u %g' /srv/a/b; cat /srv/a/b") == "640 2003 42\ntext"
    assert not Path("/srv/a").exists()
    bare_host.remove("/srv/a")


def test_docker_host(docker_host: DockerHost) -> None:
    states = dict(line.split() for line in docker_host.ssh("docker ps -a --format '{{.Names}} {{.State}}'").splitlines())
    assert states == dict.fromkeys(CONTAINERS, "running") | {"privileged": "created", "stopped": "exited"}
    assert docker_host.processes()[docker_host.dockerd][0] == "/usr/sbin/dockerd"
    assert docker_host.inspect("privileged")["HostConfig"]["Privileged"] is True


def test_kube_node(kube_node: KubeNode) -> None:
    argvs = list(kube_node.processes().values())
    assert all(list(argv) in argvs for argv in COMPONENTS.values())
    kube_node.start_component("kube-apiserver", [*APISERVER, "--profiling=false"])
    pid = kube_node.pids["kube-apiserver"]
    assert kube_node.ssh(f"tr '\\0' '\\n' </proc/{pid}/cmdline").splitlines()[-1] == "--profiling=false"
    assert kube_node.ssh(f"readlink /proc/{pid}/exe") == "/usr/local/bin/kube-apiserver\n"
    assert kube_node.ssh("readlink /proc/1/ns/mnt") != kube_node.ssh(f"readlink /proc/{pid}/ns/mnt")
    assert kube_node.ssh("stat -c '%U %a' /var/lib/etcd") == "etcd 700\n"


def leftovers(owner: int) -> list[str]:
    """Return what is left on this machine of the hosts of one test process."""
    mark = f"{PREFIX}{owner}-"
    files = [str(p) for root in ("/dev/shm", "/tmp") for p in Path(root).glob(f"{mark}*")]
    cgroups = [str(p) for p in Path("/sys/fs/cgroup").glob(f"*/{mark}*")]
    commands = [p for p in Path("/proc").glob("[0-9]*/cmdline") if mark.encode() in _read(p)]
    return [*files, *cgroups, *map(str, commands)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


PROGRAM = """
import signal, sys, time
from tests.support.kube_node import KubeNode
signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite that was started in the background ignores it
with KubeNode() as host:
    print(host.interface, flush=True)
    if sys.argv[1] == "fail":
        raise SystemExit(3)
    time.sleep(60)
"""


@pytest.mark.parametrize("end", ["fail", "interrupt", "kill"])
def test_nothing_is_left(needs_hosts: None, end: str) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM, end], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        interface = process.stdout.readline().decode().strip()
        if end != "fail":
            assert Path("/sys/class/net", interface).exists()
            os.kill(process.pid, signal.SIGINT if end == "interrupt" else signal.SIGKILL)
        process.wait(timeout=20)
    if end == "kill":  # its processes are gone at once; the next host to start clears away its folder
        time.sleep(0.5)
        assert not [entry for entry in leftovers(process.pid) if entry.startswith("/proc")]
        sweep()
    assert leftovers(process.pid) == []
    assert not Path("/sys/class/net", interface).exists()
