"""A real Docker host: the expected verdict of every control, for each container, as root and by sudo."""

from __future__ import annotations

from typing import Any

import pytest

from auditor.model import Finding
from tests.support.auditing import Result, audit, host_entry
from tests.support.collecting import judged
from tests.support.engine import DockerHost

pytestmark = pytest.mark.live

EVERY = {"bad", "good", "plain", "privileged", "sidecar", "stopped"}


def containers(*, failing: set[str], of: set[str] = EVERY) -> dict[str, str]:
    """Return the observations about containers when some fail and the others pass."""
    return {f"container/{name}": "fail" if name in failing else "pass" for name in of}


#: Control -> its verdict and what it says of each subject. The host is `DockerHost` as it comes: no daemon.json.
EXPECTED: dict[str, tuple[str, dict[str, str]]] = {
    "docker-daemon-icc": ("fail", {"daemon/dockerd": "fail"}),
    "docker-daemon-no-new-privileges": ("fail", {"daemon/dockerd": "fail"}),
    "docker-live-restore": ("fail", {"daemon/dockerd": "fail"}),
    "docker-daemon-userland-proxy": ("fail", {"daemon/dockerd": "fail"}),
    "docker-daemon-tls": ("not_applicable", {}),
    "docker-swarm-inactive": ("pass", {"daemon/dockerd": "pass"}),
    "docker-service-owner": (
        "pass",
        {
            "file//usr/lib/systemd/system/docker.service": "pass",
            "file//etc/systemd/system/docker.service.d/limits.conf": "pass",
        },
    ),
    "docker-service-mode": (
        "pass",
        {
            "file//usr/lib/systemd/system/docker.service": "pass",
            "file//etc/systemd/system/docker.service.d/limits.conf": "pass",
        },
    ),
    "docker-socket-unit-owner": ("pass", {"file//usr/lib/systemd/system/docker.socket": "pass"}),
    "docker-socket-unit-mode": ("pass", {"file//usr/lib/systemd/system/docker.socket": "pass"}),
    "docker-etc-owner": ("pass", {"file//etc/docker": "pass"}),
    "docker-etc-mode": ("pass", {"file//etc/docker": "pass"}),
    "docker-daemon-json-owner": ("not_applicable", {}),
    "docker-daemon-json-mode": ("not_applicable", {}),
    # What a process is can be told of running containers only.
    "docker-container-user": ("fail", containers(failing={"bad", "plain"}, of={"bad", "good", "plain", "sidecar"})),
    "docker-image-healthcheck": ("fail", {"image/shop/base:1": "fail", "image/shop/web:1.4": "pass"}),
    "docker-image-trusted-source": ("manual", {"image/shop/base:1": "manual", "image/shop/web:1.4": "manual"}),
    "docker-image-packages": ("manual", {"image/shop/base:1": "manual", "image/shop/web:1.4": "manual"}),
    "docker-image-rebuilt": ("manual", {"image/shop/base:1": "manual", "image/shop/web:1.4": "manual"}),
    "docker-content-trust": ("fail", {"client/docker": "fail"}),
    # The base was imported: how it was made isn't told.
    "docker-image-lone-update": ("pass", {"image/shop/base:1": "not_applicable", "image/shop/web:1.4": "pass"}),
    "docker-image-setuid-files": ("pass", {"image/shop/base:1": "pass", "image/shop/web:1.4": "pass"}),
    "docker-image-copy-not-add": ("pass", {"image/shop/base:1": "not_applicable", "image/shop/web:1.4": "pass"}),
    "docker-image-secrets": ("manual", {"image/shop/base:1": "manual", "image/shop/web:1.4": "manual"}),
    "docker-image-verified-packages": ("pass", {"image/shop/base:1": "not_applicable", "image/shop/web:1.4": "pass"}),
    "docker-image-signatures": ("manual", {"image/shop/base:1": "manual", "image/shop/web:1.4": "manual"}),
    "docker-container-apparmor": ("not_applicable", {}),
    "docker-container-selinux": ("not_applicable", {}),
    "docker-container-capabilities": ("fail", containers(failing={"bad", "privileged"})),
    "docker-container-privileged": ("fail", containers(failing={"privileged"})),
    "docker-container-sensitive-mounts": ("fail", containers(failing={"bad"})),
    "docker-container-host-network": ("fail", containers(failing={"bad"})),
    "docker-container-memory": ("fail", containers(failing=EVERY - {"good"})),
    "docker-container-cpu-shares": ("fail", containers(failing=EVERY - {"good"})),
    "docker-container-no-new-privileges": ("fail", containers(failing=EVERY - {"good"})),
    "docker-container-pids-limit": ("fail", containers(failing=EVERY - {"good"})),
    "docker-container-engine-socket": ("fail", containers(failing={"bad"})),
    "docker-audit-dockerd": ("fail", {"file//usr/sbin/dockerd": "fail"}),  # there is no audit system on it
    "docker-data-root-mount": ("pass", {"file//var/lib/docker": "pass"}),
    "docker-socket-users": ("pass", {"file//var/run/docker.sock": "pass"}),
    "docker-audit-containerd-state": ("fail", {"file//var/run/docker/containerd/daemon": "fail"}),
    "docker-audit-data-root": ("fail", {"file//var/lib/docker": "fail"}),
    "docker-audit-config-folder": ("fail", {"file//etc/docker": "fail"}),
    "docker-audit-service-unit": ("fail", {"file//usr/lib/systemd/system/docker.service": "fail"}),
    "docker-audit-containerd-socket": ("fail", {"file//var/run/docker/containerd/containerd.sock": "fail"}),
    "docker-audit-engine-socket": ("fail", {"file//var/run/docker.sock": "fail"}),
    "docker-audit-etc-default": ("not_applicable", {}),
    "docker-audit-daemon-json": ("not_applicable", {}),
    "docker-audit-containerd-config": ("fail", {"file//var/run/docker/containerd/containerd.toml": "fail"}),
    "docker-audit-etc-sysconfig": ("not_applicable", {}),
    "docker-audit-containerd": ("fail", {"file//usr/bin/containerd": "fail"}),
    "docker-audit-shim": ("fail", {"file//usr/bin/containerd-shim": "fail"}),
    "docker-audit-shim-runc-v1": ("fail", {"file//usr/bin/containerd-shim-runc-v1": "fail"}),
    "docker-audit-shim-runc-v2": ("fail", {"file//usr/bin/containerd-shim-runc-v2": "fail"}),
    "docker-audit-runc": ("fail", {"file//usr/sbin/runc": "fail"}),
    "docker-host-hardening": (
        "manual",
        {
            "host/kernel": "manual",
            "host/listening": "manual",
            "host/sshd": "manual",
            "host/updates": "manual",
            "host/system": "pass",
        },
    ),
    "docker-engine-version": ("manual", {"daemon/dockerd": "manual"}),
    "docker-daemon-rootless": ("fail", {"daemon/dockerd": "fail"}),
    "docker-daemon-log-level": ("pass", {"daemon/dockerd": "pass"}),
    "docker-daemon-iptables": ("pass", {"daemon/dockerd": "pass"}),
    "docker-daemon-insecure-registries": ("pass", {"daemon/dockerd": "pass"}),
    "docker-storage-aufs": ("pass", {"daemon/dockerd": "pass"}),
    "docker-storage-devicemapper": ("pass", {"daemon/dockerd": "pass"}),
    "docker-daemon-ulimits": ("fail", {"daemon/dockerd": "fail"}),
    "docker-daemon-userns-remap": ("fail", {"daemon/dockerd": "fail"}),
    "docker-daemon-cgroup-parent": ("pass", {"daemon/dockerd": "pass"}),
    "docker-storage-basesize": ("not_applicable", {}),
    "docker-daemon-authorization": ("fail", {"daemon/dockerd": "fail"}),
    "docker-daemon-remote-logs": ("fail", {"daemon/dockerd": "fail"}),
    "docker-daemon-seccomp": ("pass", {"daemon/dockerd": "pass"}),
    "docker-daemon-experimental": ("pass", {"daemon/dockerd": "pass"}),
    "docker-registry-certs-owner": ("not_applicable", {}),
    "docker-registry-certs-mode": ("not_applicable", {}),
    "docker-tls-ca-owner": ("not_applicable", {}),
    "docker-tls-ca-mode": ("not_applicable", {}),
    "docker-tls-cert-owner": ("not_applicable", {}),
    "docker-tls-cert-mode": ("not_applicable", {}),
    "docker-tls-key-owner": ("not_applicable", {}),
    "docker-tls-key-mode": ("not_applicable", {}),
    "docker-socket-owner": ("pass", {"file//var/run/docker.sock": "pass"}),
    "docker-socket-mode": ("pass", {"file//var/run/docker.sock": "pass"}),
    "docker-etc-default-owner": ("not_applicable", {}),
    "docker-etc-default-mode": ("not_applicable", {}),
    "docker-etc-sysconfig-mode": ("not_applicable", {}),
    "docker-etc-sysconfig-owner": ("not_applicable", {}),
    "docker-containerd-socket-owner": ("pass", {"file//var/run/docker/containerd/containerd.sock": "pass"}),
    "docker-containerd-socket-mode": ("pass", {"file//var/run/docker/containerd/containerd.sock": "pass"}),
}

SWARM = (
    "manager-count",
    "listen-address",
    "overlay-encrypted",
    "secrets",
    "autolock",
    "unlock-key-rotation",
    "node-certificate",
    "ca-rotation",
    "plane-separation",
)
#: Control -> its verdict and the containers (or else) that fail; whatever else it says passes or does not apply.
FAILING: dict[str, tuple[str, set[str]]] = {
    "docker-container-ssh-server": ("pass", set()),
    "docker-container-privileged-ports": ("manual", set()),  # `bad` uses the host's network: its ports are not known
    "docker-container-needed-ports": ("fail", {"plain"}),
    "docker-container-readonly-rootfs": ("fail", EVERY - {"good"}),
    "docker-container-bound-address": ("fail", {"plain"}),
    "docker-container-restart-policy": ("fail", {"bad"}),
    "docker-container-host-pid": ("fail", {"bad"}),
    "docker-container-host-ipc": ("fail", {"bad"}),
    "docker-container-host-uts": ("fail", {"bad"}),
    "docker-container-devices": ("fail", {"privileged"}),
    "docker-container-ulimits": ("pass", set()),
    "docker-container-mount-propagation": ("pass", set()),
    "docker-container-seccomp": ("fail", {"bad", "privileged"}),
    "docker-exec-privileged": ("manual", set()),  # none to be seen; the host has no audit log
    "docker-exec-root": ("manual", set()),
    "docker-container-cgroup-parent": ("pass", set()),
    "docker-container-health": ("fail", {"bad", "plain"}),
    "docker-container-current-image": ("pass", set()),
    "docker-container-default-bridge": ("fail", {"good", "plain", "sidecar"}),
    "docker-container-host-userns": ("pass", set()),
    "docker-unused-images": ("pass", set()),
    "docker-stopped-containers": ("manual", set()),
    **{f"docker-swarm-{name}": ("not_applicable", set()) for name in SWARM},  # the engine is in no swarm
}


@pytest.fixture(scope="module")
def audited(docker_host: DockerHost, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The same host twice in one run: as root, and as a user who may use sudo."""
    folder = tmp_path_factory.mktemp("docker")
    hosts = [host_entry(docker_host, "by-root"), host_entry(docker_host, "by-sudo", user="auditor")]
    return audit(folder, hosts, formats="json,html,pdf")


def test_run(audited: Result) -> None:
    assert audited.code == 0, audited.stderr
    for target, account in (("by-root", "root"), ("by-sudo", "auditor (root by sudo)")):
        listed = audited.target(target)
        assert (listed["status"], listed["kind"], listed["roles"]) == ("audited", "docker-host", ["docker-engine"])
        assert listed["facts"]["account"] == account
        assert listed["facts"]["containers"] == "6"
    assert {"report.html", "report.pdf", "results.json"} <= set(audited.written())


@pytest.mark.parametrize("target", ["by-root", "by-sudo"])
@pytest.mark.parametrize("control", EXPECTED)
def test_verdict(audited: Result, target: str, control: str) -> None:
    status, subjects = EXPECTED[control]
    finding = audited.findings(target)[control]
    assert (finding["status"], audited.observed(target, control)) == (status, subjects), finding
    assert finding["reason"] or finding["observations"]


@pytest.mark.parametrize("target", ["by-root", "by-sudo"])
@pytest.mark.parametrize("control", FAILING)
def test_what_fails(audited: Result, target: str, control: str) -> None:
    status, names = FAILING[control]
    finding = audited.findings(target)[control]
    failed = {subject for subject, verdict in audited.observed(target, control).items() if verdict == "fail"}
    assert (finding["status"], failed) == (status, {f"container/{name}" for name in names}), finding


def test_no_control_is_left_out(audited: Result) -> None:
    """A control that comes new needs its expected verdict on this host."""
    docker = {f["control"] for f in audited.document["findings"] if f["benchmark"] == "cis-docker"}
    assert docker - set(EXPECTED) - set(FAILING) == set()


def test_no_error_as_root(audited: Result) -> None:
    assert [key for key, status in audited.statuses("by-root").items() if status == "error"] == []


def test_kubernetes_does_not_apply(audited: Result) -> None:
    kubernetes = [f for f in audited.document["findings"] if f["benchmark"] == "cis-kubernetes"]
    assert kubernetes
    assert {f["status"] for f in kubernetes} == {"not_applicable"}
    assert all("runs here" in f["reason"] or "there is no such file" in f["reason"] for f in kubernetes)


def test_sudo_finds_what_root_finds(audited: Result) -> None:
    def without_target(name: str) -> list[dict[str, Any]]:
        return [{**f, "target": ""} for f in audited.document["findings"] if f["target"] == name]

    assert without_target("by-sudo") == without_target("by-root")
    assert audited.evidence("by-sudo")["engine:containers"] == audited.evidence("by-root")["engine:containers"]


SETTINGS = {"icc": False, "no-new-privileges": True, "live-restore": True, "userland-proxy": False}
CONTROLS = {
    "docker-daemon-icc": "icc",
    "docker-daemon-no-new-privileges": "no-new-privileges",
    "docker-live-restore": "live-restore",
    "docker-daemon-userland-proxy": "userland-proxy",
}


def sources(finding: Finding) -> str:
    return " ".join(o.source for o in finding.observations)


def test_settings_from_the_file(needs_docker: None) -> None:
    """A hardened daemon.json turns the same controls to pass, and the source says where the value stands."""
    with DockerHost(settings=SETTINGS, containers={}) as host:
        found = judged(host)
        assert {key: found[key].status for key in CONTROLS} == dict.fromkeys(CONTROLS, "pass")
        assert "/etc/docker/daemon.json" in sources(found["docker-daemon-userland-proxy"])
        assert found["docker-daemon-json-mode"].status == "pass"
        host.run("chmod", "666", "/etc/docker/daemon.json")
        host.run("chown", "plain", "/etc/docker/daemon.json")
        found = judged(host)
        assert (found["docker-daemon-json-mode"].status, found["docker-daemon-json-owner"].status) == ("fail", "fail")


def test_settings_from_flags(needs_docker: None) -> None:
    """Flags that dockerd takes count like the file, and name themselves as the source."""
    flags = ["--icc=false", "--no-new-privileges", "--live-restore=true", "--userland-proxy=false"]
    with DockerHost(flags=flags, containers={}) as host:
        found = judged(host)
        assert {key: found[key].status for key in CONTROLS} == dict.fromkeys(CONTROLS, "pass")
        assert "--userland-proxy" in sources(found["docker-daemon-userland-proxy"])


def test_default_no_new_privileges_reaches_containers(needs_docker: None) -> None:
    """The engine's default counts for containers that say nothing, and one that opts out fails."""
    from tests.support.engine import BASE

    out = ("run", "-d", "--security-opt", "no-new-privileges=false", BASE, "sleep", "100000")
    chosen = {"silent": ("run", "-d", BASE, "sleep", "100000"), "out": out, "waiting": ("create", BASE, "true")}
    with DockerHost(settings={"no-new-privileges": True}, containers=chosen) as host:
        finding = judged(host)["docker-container-no-new-privileges"]
        seen = {o.subject: o.status for o in finding.observations}
        assert seen == {"container/silent": "pass", "container/out": "fail", "container/waiting": "pass"}


def test_containers_that_change_between_audits(needs_docker: None) -> None:
    """Verdicts follow the host: a fixed container passes, a new bad one fails, a removed one is gone."""
    from tests.support.engine import BASE, CONTAINERS

    with DockerHost(containers={"plain": CONTAINERS["plain"]}) as host:
        assert {o.subject: o.status for o in judged(host)["docker-container-memory"].observations} == {"container/plain": "fail"}
        host.docker("update", "--memory", "64m", "--memory-swap", "64m", "plain")
        host.docker("run", "-d", "--name", "new", "--network", "host", BASE, "sleep", "1000")
        found = judged(host)
        assert {o.subject: o.status for o in found["docker-container-memory"].observations} == {
            "container/plain": "pass",
            "container/new": "fail",
        }
        assert found["docker-container-host-network"].status == "fail"
        host.docker("rm", "-f", "new")
        assert judged(host)["docker-container-host-network"].status == "pass"


def test_container_that_shares_the_network_of_one_on_the_host(needs_docker: None) -> None:
    """container:NAME is as bad as what it leads to."""
    from tests.support.engine import BASE, CONTAINERS

    sidecar = ("run", "-d", "--network", "container:bad", BASE, "sleep", "100000")
    with DockerHost(containers={"bad": CONTAINERS["bad"], "sidecar": sidecar}) as host:
        finding = judged(host)["docker-container-host-network"]
        assert {o.subject: o.status for o in finding.observations} == {"container/bad": "fail", "container/sidecar": "fail"}


def test_results_are_private(audited: Result) -> None:
    """Reports hold a host's weaknesses: nobody else may read them."""
    for path in [audited.folder, *audited.folder.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
