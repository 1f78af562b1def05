"""Real containers, one for each way to be right or wrong: verdicts by their names, over SSH and by the engine's API."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from auditor.catalogue import packaged
from auditor.collect import Collector
from auditor.engine import judge, needs
from auditor.inventory import EngineSpec, Inventory
from auditor.model import Finding
from auditor.tailoring import load
from checks import check_types
from tests.support.collecting import collect, spec
from tests.support.engine import BASE, BUILT, SOCKET, UNIT_FILES, DockerHost
from tests.support.host import Entry

pytestmark = pytest.mark.live

EXPOSED = "shop/exposed:1"
SLEEP = (BASE, "sleep", "100000")
SSHD = "printf '#!/bin/sh\\nsleep 100000\\n' >/sshd; busybox chmod 755 /sshd; exec /sshd"
EMPTY_PROFILE = {"defaultAction": "SCMP_ACT_ALLOW"}
LOGGING_PROFILE = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"}]}

#: How each is made; named after what it is there for. In all else a container is as the engine makes it.
CONTAINERS: dict[str, tuple[str, ...]] = {
    "plain": ("run", "-d", *SLEEP),
    "sshd": ("run", "-d", BASE, "sh", "-c", SSHD),
    "port-81": ("run", "-d", "-p", "127.0.0.1:81:80", *SLEEP),
    "port-8081": ("run", "-d", "-p", "127.0.0.1:8081:80", EXPOSED, "sleep", "100000"),
    "port-everywhere": ("run", "-d", "-p", "8082:80", EXPOSED, "sleep", "100000"),
    "port-six": ("run", "-d", "-p", "[::]:8083:80", EXPOSED, "sleep", "100000"),
    "port-all": ("run", "-d", "-P", EXPOSED, "sleep", "100000"),
    "port-22": ("run", "-d", "-p", "127.0.0.1:2222:22", *SLEEP),
    "read-only": ("run", "-d", "--read-only", *SLEEP),
    "always": ("run", "-d", "--restart", "always", *SLEEP),
    "endless": ("run", "-d", "--restart", "on-failure", *SLEEP),
    "bounded": ("run", "-d", "--restart", "on-failure:5", *SLEEP),
    "host-net": ("run", "-d", "--network", "host", *SLEEP),
    "host-pid": ("run", "-d", "--pid", "host", *SLEEP),
    "join-pid": ("run", "-d", "--pid", "container:host-pid", *SLEEP),
    "host-ipc": ("run", "-d", "--ipc", "host", *SLEEP),
    "join-ipc": ("run", "-d", "--ipc", "container:host-ipc", *SLEEP),
    "share-ipc": ("run", "-d", "--ipc", "shareable", *SLEEP),
    "host-uts": ("run", "-d", "--uts", "host", *SLEEP),
    "host-user": ("run", "-d", "--userns", "host", *SLEEP),
    "device": ("run", "-d", "--device", "/dev/null:/dev/danger:r", *SLEEP),
    "device-rule": ("run", "-d", "--device-cgroup-rule", "c 1:3 rwm", *SLEEP),
    "privileged": ("create", "--privileged", *SLEEP),
    "ulimit": ("run", "-d", "--ulimit", "nofile=100:200", *SLEEP),
    "shared": ("run", "-d", "--mount", "type=bind,src=/srv,dst=/m,bind-propagation=rshared", *SLEEP),
    "slave": ("run", "-d", "-v", "/srv:/m:rslave", *SLEEP),
    "unconfined": ("run", "-d", "--security-opt", "seccomp=unconfined", *SLEEP),
    "filter-nothing": ("run", "-d", "--security-opt", "seccomp=/srv/empty.json", *SLEEP),
    "filter-own": ("run", "-d", "--security-opt", "seccomp=/srv/own.json", *SLEEP),
    "cgroup": ("run", "-d", "--cgroup-parent", "/elsewhere", *SLEEP),
    "healthy": ("run", "-d", "--health-cmd", "true", *SLEEP),
    "no-health": ("run", "-d", "--no-healthcheck", BUILT),
    "outdated": ("run", "-d", "shop/moving:1", "sleep", "100000"),
    "own-net": ("run", "-d", "--network", "shop", *SLEEP),
    "both-nets": ("run", "-d", "--network", "shop", *SLEEP),
    "join-plain": ("run", "-d", "--network", "container:plain", *SLEEP),
    "join-own": ("run", "-d", "--network", "container:own-net", *SLEEP),
    "exec-root": ("run", "-d", *SLEEP),
    "exec-privileged": ("run", "-d", *SLEEP),
    "stopped": ("run", BASE, "true"),
}
NOT_RUNNING = {"privileged", "stopped"}
RUNNING = set(CONTAINERS) - NOT_RUNNING
#: On the host's network, or on another container's: without ports of their own.
ELSEWHERE = {"host-net", "join-plain", "join-own"}

#: Control -> the containers that fail and those left to a person; the others pass, or have nothing to be judged.
EXPECTED: dict[str, tuple[set[str], set[str]]] = {
    "docker-container-ssh-server": ({"sshd"}, {"port-22"}),
    "docker-container-privileged-ports": ({"port-81"}, {"host-net"}),
    "docker-container-needed-ports": ({"port-81", "port-22", "port-all"}, {"host-net", "port-8081", "port-everywhere", "port-six"}),
    "docker-container-readonly-rootfs": (set(CONTAINERS) - {"read-only"}, set()),
    "docker-container-bound-address": ({"port-everywhere", "port-six", "port-all"}, {"host-net"}),
    "docker-container-restart-policy": ({"always", "endless"}, set()),
    "docker-container-host-pid": ({"host-pid", "join-pid"}, set()),
    "docker-container-host-ipc": ({"host-ipc", "join-ipc"}, set()),
    "docker-container-devices": ({"privileged"}, {"device", "device-rule"}),
    "docker-container-ulimits": (set(), {"ulimit"}),
    "docker-container-mount-propagation": ({"shared"}, set()),
    "docker-container-host-uts": ({"host-uts"}, set()),
    "docker-container-seccomp": ({"unconfined", "filter-nothing", "privileged"}, set()),
    "docker-exec-privileged": ({"exec-privileged"}, set()),
    "docker-exec-root": ({"exec-root"}, set()),
    "docker-container-cgroup-parent": ({"cgroup"}, set()),
    "docker-container-health": (RUNNING - {"healthy"}, set()),
    "docker-container-current-image": ({"outdated"}, set()),
    "docker-container-default-bridge": (RUNNING - {"host-net", "own-net", "join-own"}, set()),
    "docker-container-host-userns": ({"host-user"}, set()),
}
#: What needs the host: an engine's API says nothing of these.
HOST_ONLY = {"docker-container-ulimits": {"ulimit": "error"}}
PARAMETERS = {
    "docker-container-privileged-ports": {"allowed": [81]},
    "docker-container-needed-ports": {"declared": [{"container": "port-*", "ports": ["80/tcp"]}]},
    "docker-container-bound-address": {"allowed": [8082, 8083]},
    "docker-container-devices": {"allowed": ["/dev/null:rw"]},
    "docker-container-ulimits": {"allowed": ["nofile=1024"]},
    "docker-container-cgroup-parent": {"approved": ["/elsewhere"]},
    "docker-unused-images": {"most": 1},
    "docker-stopped-containers": {"most": 1},
}


@dataclass
class Host:
    """The Docker host with all these containers."""

    docker: DockerHost
    findings: dict[str, Finding]

    def observed(self, control: str) -> dict[str, str]:
        """Return what a control says of each container."""
        return {o.subject.removeprefix("container/"): str(o.status) for o in self.findings[control].observations}


def furnish(host: DockerHost) -> None:
    """Make what the containers are made of."""
    host.place(Entry("/srv/empty.json", json.dumps(EMPTY_PROFILE)), Entry("/srv/own.json", json.dumps(LOGGING_PROFILE)))
    host.run("mount", "--bind", "/srv", "/srv")
    host.run("mount", "--make-rshared", "/srv")
    host.docker("build", "-q", "-t", EXPOSED, "-", stdin=f"FROM {BASE}\nEXPOSE 80\n".encode())
    host.docker("tag", EXPOSED, "shop/moving:1")
    host.docker("network", "create", "shop")


@contextmanager
def commands(host: DockerHost) -> Iterator[None]:
    """Start a command as root in one container, and ask for a privileged one in another (it may not run here)."""
    process = subprocess.Popen(host.enter(["docker", "exec", "-u", "0", "exec-root", "sleep", "1000"]))
    wanted = json.dumps({"Privileged": True, "Cmd": ["true"]})
    url = "http://localhost/containers/exec-privileged/exec"
    host.run("curl", "-sf", "--unix-socket", SOCKET, "-H", "Content-Type: application/json", "-d", wanted, url)
    try:
        host.wait_for(lambda: bool(host.inspect("exec-root")["ExecIDs"]), "a command in a container")
        yield
    finally:
        process.kill()
        process.wait()


def findings(host: DockerHost, parameters: Mapping[str, Any] | None = None, folder: Path | None = None) -> dict[str, Finding]:
    library = packaged(check_types())
    if parameters is not None and folder is not None:
        path = folder / "tailoring.yaml"
        path.write_text(yaml.safe_dump({"tailoring": "1", "parameters": dict(parameters)}))
        library = load(library, path).library
    benchmark = library.load("cis-docker")
    (evidence,) = collect(spec(host), facts=needs([benchmark], "host")).values()
    assert evidence.error is None, evidence.error
    return {f.control: f for f in judge([benchmark], evidence)}


@pytest.fixture(scope="module")
def host(needs_docker: None) -> Iterator[Host]:
    with DockerHost(flags=["-H", "tcp://0.0.0.0:2375", "--tls=false"], containers={"seed": ("create", *SLEEP)}) as docker:
        docker.docker("rm", "seed")
        furnish(docker)
        for name, (verb, *rest) in CONTAINERS.items():
            docker.docker(verb, "--name", name, *rest)
        docker.docker("network", "connect", "bridge", "both-nets")
        docker.docker("build", "-q", "-t", "shop/moving:1", "-", stdin=f"FROM {BASE}\nENV VERSION=2\n".encode())
        with commands(docker):
            yield Host(docker, findings(docker))


@pytest.mark.parametrize("control", EXPECTED)
def test_verdicts_by_container(host: Host, control: str) -> None:
    failing, manual = EXPECTED[control]
    observed = host.observed(control)
    said = [(o.subject, str(o.status), o.actual) for o in host.findings[control].observations if o.status != "pass"]
    assert {name for name, status in observed.items() if status == "fail"} == failing, said
    assert {name for name, status in observed.items() if status == "manual"} == manual, said
    assert "error" not in observed.values(), said
    assert set(observed) <= set(CONTAINERS)


def test_every_container_is_judged(host: Host) -> None:
    """Stopped containers by their options, running ones by what they do."""
    for control in ("readonly-rootfs", "host-pid", "seccomp", "restart-policy"):
        assert set(host.observed(f"docker-container-{control}")) == set(CONTAINERS)
    for control in ("health", "ssh-server", "default-bridge", "bound-address"):
        assert set(host.observed(f"docker-container-{control}")) == RUNNING


def actual(host: Host, control: str, subject: str) -> str:
    return next(o.actual for o in host.findings[control].observations if o.subject == subject)


def test_what_reports_show(host: Host) -> None:
    assert "port-22" in host.observed("docker-container-ssh-server")
    assert actual(host, "docker-container-ssh-server", "container/sshd") == "sshd"
    assert actual(host, "docker-container-devices", "container/device") == "/dev/null:r"
    assert actual(host, "docker-container-ulimits", "container/ulimit") == "nofile=100:200"
    assert actual(host, "docker-container-bound-address", "container/port-six") == "[::]:8083->80/tcp"
    assert "allows all" in actual(host, "docker-container-seccomp", "container/filter-nothing")
    assert "sleep: user 0, running" in actual(host, "docker-exec-root", "container/exec-root")
    assert "true: privileged, not begun" in actual(host, "docker-exec-privileged", "container/exec-privileged")
    assert "container:host-pid -> host" in actual(host, "docker-container-host-pid", "container/join-pid")


def test_namespaces_are_those_of_the_kernel(host: Host) -> None:
    """What /proc says agrees with the options for every container that runs here."""
    (evidence,) = collect(spec(host.docker), facts=needs([packaged(check_types()).load("cis-docker")], "host")).values()
    for container in evidence.facts["engine:containers"][0]["data"]:
        if not container["State"]["Running"]:
            continue
        name, shared = container["Name"].lstrip("/"), set(container["proc"]["shared"])
        wanted = {"host-net": {"net"}, "host-pid": {"pid"}, "join-pid": {"pid"}, "host-ipc": {"ipc"}, "join-ipc": {"ipc"},
                  "host-uts": {"uts"}}.get(name, set())  # fmt: skip
        assert shared == wanted | {"user"}, name  # this engine remaps no users


def test_sprawl(host: Host) -> None:
    """Two containers don't run; the image that a tag has moved on to is used by none."""
    assert "2 of 40: privileged, stopped" in actual(host, "docker-stopped-containers", "daemon/dockerd")
    assert host.findings["docker-stopped-containers"].status == "manual"
    assert "1 of 4: shop/moving:1" in actual(host, "docker-unused-images", "daemon/dockerd")


def test_policy_decides(host: Host, tmp_path: Path) -> None:
    found = findings(host.docker, PARAMETERS, tmp_path)
    by = Host(host.docker, found)
    assert by.observed("docker-container-privileged-ports")["port-81"] == "pass"
    assert by.observed("docker-container-needed-ports") | {"port-22": "fail"} == by.observed("docker-container-needed-ports")
    assert by.observed("docker-container-needed-ports")["port-all"] == "pass"
    assert [n for n, s in by.observed("docker-container-bound-address").items() if s == "fail"] == ["port-all"]
    assert by.observed("docker-container-devices") | {"device": "pass", "device-rule": "fail"} == by.observed(
        "docker-container-devices"
    )
    assert found["docker-container-ulimits"].status == "pass"
    assert found["docker-container-cgroup-parent"].status == "pass"
    assert found["docker-unused-images"].status == "pass"
    assert found["docker-stopped-containers"].status == "fail"


@contextmanager
def relayed(address: str, port: int) -> Iterator[int]:
    """Give a port of this machine's loopback that leads to another machine's, as ``ssh -L`` does."""

    def accept() -> None:
        with suppress(OSError):
            while True:
                near, far = listening.accept()[0], socket.create_connection((address, port))
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=carry, args=(one, other), daemon=True).start()

    def carry(one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]


def test_the_api_alone_gives_the_same_verdicts(host: Host) -> None:
    benchmark = packaged(check_types()).load("cis-docker")
    with relayed(host.docker.address, 2375) as port:  # without TLS no other machine's engine is believed
        engine = EngineSpec(name="api", url=f"tcp://127.0.0.1:{port}")
        inventory = Inventory(engines=(engine,))
        (evidence,) = Collector(inventory, needs([benchmark], "host"), frozenset()).run([engine])
    assert evidence.error is None, evidence.error
    by = Host(host.docker, {f.control: f for f in judge([benchmark], evidence)})
    for control in EXPECTED:
        assert by.observed(control) == {**host.observed(control), **HOST_ONLY.get(control, {})}, control


AUDITED = [
    'type=EXECVE msg=audit(1767225600.123:9): argc=4 a0="docker" a1="exec" a2="web" a3="sh"',
    'type=EXECVE msg=audit(1767312000.000:10): argc=5 a0="/usr/bin/docker" a1="exec" a2="-itu" a3="root" a4="web"',
    'type=EXECVE msg=audit(1767398400.000:11): argc=5 a0="docker" a1="container" a2="exec" a3="--privileged" a4="web"',
    'type=EXECVE msg=audit(1767398400.000:12): argc=4 a0="docker" a1="run" a2="--privileged" a3="exec"',
    'type=SYSCALL msg=audit(1767398401.000:13): arch=c000003e syscall=59 comm="docker"',
]


@pytest.mark.parametrize("user", ["root", "auditor", "plain"])
def test_the_audit_log_is_evidence(needs_docker: None, user: str) -> None:
    """The log of a host tells of commands that have ended; who may not read it learns nothing, and says so."""
    with DockerHost(containers={"web": ("run", "-d", *SLEEP)}) as docker:
        docker.place(Entry("/var/log/audit", None, 0o700), Entry("/var/log/audit/audit.log", "\n".join(AUDITED) + "\n", 0o600))
        benchmark = packaged(check_types()).load("cis-docker")
        (evidence,) = collect(spec(docker, user=user), facts=needs([benchmark], "host")).values()
        found = {f.control: f for f in judge([benchmark], evidence)}
        if user == "plain":
            assert evidence.facts["exec_log"].reason == "denied"
            return
        assert evidence.facts["exec_log"]["since"] == 1767225600
        assert len(evidence.facts["exec_log"]["execs"]) == 3
        for control, when in (("docker-exec-privileged", "2026-01-03"), ("docker-exec-root", "2026-01-02")):
            (seen,) = found[control].observations
            assert (seen.subject, str(seen.status)) == ("file//var/log/audit/audit.log", "fail")
            assert f"1 in the log, the last: in web at {when} 00:00 UTC" in seen.actual


@pytest.mark.parametrize("shell", ["bash", "busybox"])
def test_other_shells_see_the_same(needs_docker: None, shell: str) -> None:
    chosen = {name: CONTAINERS[name] for name in ("plain", "sshd", "host-pid", "exec-root", "exec-privileged")}
    with DockerHost(shell=shell, containers=chosen) as docker, commands(docker):
        by = Host(docker, findings(docker))
        assert [n for n, s in by.observed("docker-container-ssh-server").items() if s == "fail"] == ["sshd"]
        assert [n for n, s in by.observed("docker-container-host-pid").items() if s == "fail"] == ["host-pid"]
        assert by.observed("docker-exec-root") == {"exec-root": "fail"}
        assert by.observed("docker-exec-privileged") == {"exec-privileged": "fail"}


@pytest.mark.parametrize(
    ("settings", "control", "expected"),
    [
        ({"seccomp-profile": "/etc/docker/own.json"}, "docker-container-seccomp", {"web": "manual"}),  # it stops one call only
        ({"default-ulimits": {"nofile": {"Name": "nofile", "Soft": 64, "Hard": 64}}}, "docker-container-ulimits", {"web": "pass"}),
        ({"bridge": "none"}, "docker-container-default-bridge", {}),
    ],
)
def test_what_the_engine_gives_to_all(needs_docker: None, settings: dict[str, Any], control: str, expected: dict[str, str]) -> None:
    network = ("--network", "none") if "bridge" in settings else ()
    units = (*UNIT_FILES, Entry("/etc/docker/own.json", json.dumps(LOGGING_PROFILE)))
    chosen = {"web": ("run", "-d", *network, *SLEEP)}
    with DockerHost(settings=settings, containers=chosen, unit_files=units) as docker:
        assert Host(docker, findings(docker)).observed(control) == expected


def test_tasks_of_a_swarm(needs_docker: None) -> None:
    """What a task's own description leaves out, its service says: the ports of the routing mesh and the restart policy."""
    with DockerHost(containers={"plain": CONTAINERS["plain"]}) as docker:
        docker.docker("swarm", "init", "--advertise-addr", docker.address)
        made = ("service", "create", "-d", "--no-resolve-image")
        docker.docker(*made, "--name", "endless", "--publish", "80:80", *SLEEP)
        docker.docker(*made, "--name", "bounded", "--restart-condition", "on-failure", "--restart-max-attempts", "3", *SLEEP)

        def tasks() -> list[str]:
            return [n for n in docker.docker("ps", "--format", "{{.Names}}").split() if n != "plain"]

        docker.wait_for(lambda: len(tasks()) == 2, "the services' containers", 60)
        by = Host(docker, findings(docker))

        def said(control: str) -> dict[str, str]:
            return {name.partition(".")[0]: status for name, status in by.observed(control).items()}

        assert said("docker-container-restart-policy") == {"plain": "pass", "endless": "fail", "bounded": "pass"}
        assert said("docker-container-privileged-ports") == {"plain": "pass", "endless": "fail", "bounded": "pass"}
        assert said("docker-container-bound-address") == {
            "plain": "not_applicable",
            "endless": "fail",
            "bounded": "not_applicable",
        }
