"""A real dockerd set up one way and the other: the verdict of every setting and file follows what runs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from auditor.model import Finding
from tests.support.collecting import judged
from tests.support.engine import DockerHost
from tests.support.engine_tls import CERTIFICATES, certificates
from tests.support.host import Entry

pytestmark = pytest.mark.live

TLS_FLAGS = [f"--tls{name}={CERTIFICATES}/{name}.pem" for name in ("cacert", "cert", "key")]
#: dockerd with sockets that it was handed over, as systemd does it: from file descriptor 3 on, for this very process.
HANDED_OVER = """
import os, socket, sys
unix = socket.socket(socket.AF_UNIX); unix.bind("/run/docker.sock"); os.chmod("/run/docker.sock", 0o660); unix.listen()
tcp = socket.socket(); tcp.bind(("0.0.0.0", 2375)); tcp.listen()
sockets = [unix, tcp][: int(sys.argv[1])]
for number, each in enumerate([s.detach() for s in sockets], 3):
    os.dup2(each, number + 20)
for number in range(3, 3 + len(sockets)):
    os.dup2(number + 20, number); os.set_inheritable(number, True)
os.environ.update(LISTEN_FDS=str(len(sockets)), LISTEN_PID=str(os.getpid()))
os.execv("/usr/sbin/dockerd", ["dockerd", "-H", "fd://", *sys.argv[2:]])
"""


@dataclass
class Prepared(DockerHost):
    """A Docker host with files that are there before its engine starts."""

    __test__ = False

    before: tuple[Entry, ...] = ()

    def place(self, *entries: Entry) -> None:
        super().place(*entries)
        if any(entry.path == "/etc/docker" for entry in entries):
            super().place(*self.before)

    def restart(self, *argv: str, settings: object = None) -> None:
        """Start another engine in place of the one that runs, with another daemon.json."""
        self.run("/bin/busybox", "kill", str(self.dockerd))
        self.wait_for(lambda: self.dockerd not in self.processes(), "dockerd to end")
        self.remove("/etc/docker/daemon.json", "/var/run/docker.pid")
        if settings is not None:
            self.place(Entry("/etc/docker/daemon.json", json.dumps(settings)))
        self.again = getattr(self, "again", 0) + 1
        name = f"dockerd-{self.again}"
        self.dockerd = self.spawn(list(argv), log=name)
        try:
            self.wait_for(lambda: "API listen on" in self.log(name), "dockerd to listen")
        except TimeoutError as error:
            error.add_note(f"it wrote {self.log(name)[-2000:]}")
            raise


def statuses(found: dict[str, Finding], controls: dict[str, str]) -> dict[str, str]:
    return {key: str(found[key].status) for key in controls}


def said(finding: Finding) -> str:
    return " ".join(f"{o.subject} {o.actual} {o.source}" for o in finding.observations) + finding.reason


GOOD_SETTINGS = {
    "icc": False, "log-level": "info", "live-restore": True, "userland-proxy": False, "no-new-privileges": True, "iptables": True,
    "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 64000, "Hard": 64000}}, "experimental": False, "log-driver": "gelf",
    "log-opts": {"gelf-address": "udp://192.0.2.1:12201"}, "cgroup-parent": "", "insecure-registries": ["127.0.0.1:5000"],
}  # fmt: skip
GOOD = {
    "docker-daemon-icc": "pass", "docker-daemon-log-level": "pass", "docker-live-restore": "pass",
    "docker-daemon-userland-proxy": "pass", "docker-daemon-no-new-privileges": "pass", "docker-daemon-iptables": "pass",
    "docker-daemon-ulimits": "pass", "docker-daemon-experimental": "pass", "docker-daemon-remote-logs": "pass",
    "docker-daemon-cgroup-parent": "pass", "docker-daemon-seccomp": "pass", "docker-daemon-tls": "pass",
    "docker-tls-ca-owner": "pass", "docker-tls-ca-mode": "pass", "docker-tls-cert-owner": "pass", "docker-tls-cert-mode": "pass",
    "docker-tls-key-owner": "pass", "docker-tls-key-mode": "pass", "docker-registry-certs-owner": "pass",
    "docker-registry-certs-mode": "pass", "docker-etc-default-owner": "pass", "docker-etc-default-mode": "pass",
    "docker-etc-sysconfig-owner": "pass", "docker-etc-sysconfig-mode": "pass", "docker-socket-owner": "pass",
    "docker-socket-mode": "pass", "docker-containerd-socket-owner": "pass", "docker-containerd-socket-mode": "pass",
    "docker-daemon-json-owner": "pass", "docker-daemon-json-mode": "pass", "docker-socket-users": "pass",
    "docker-storage-aufs": "pass", "docker-storage-devicemapper": "pass", "docker-storage-basesize": "not_applicable",
}  # fmt: skip
FILES = (
    Entry("/etc/docker/certs.d/reg.lan:5000", None, 0o755),
    Entry("/etc/docker/certs.d/reg.lan:5000/client key.key", "x", 0o400),
    Entry("/etc/default/docker", "# none\n"),
    Entry("/etc/sysconfig", None, 0o755),
    Entry("/etc/sysconfig/docker", "# none\n"),
)


@pytest.fixture(scope="module")
def host(needs_docker: None) -> Iterator[Prepared]:
    """A hardened engine with TLS; tests use it in the order in which they stand here."""
    flags = ["-H", "tcp://127.0.0.1:2376", "--tlsverify", *TLS_FLAGS]
    with Prepared(settings=GOOD_SETTINGS, flags=flags, containers={}, before=(*FILES, *certificates())) as started:
        yield started


def test_hardened_by_its_file_and_flags(host: Prepared) -> None:
    found = judged(host)
    assert statuses(found, GOOD) == GOOD, {k: said(found[k]) for k, v in GOOD.items() if found[k].status != v}
    assert found["docker-daemon-insecure-registries"].status == "fail", (
        "a registry by name is insecure, on the loopback address too"
    )
    assert "udp://192.0.2.1:12201" in said(found["docker-daemon-remote-logs"])


def test_files_that_are_loosened(host: Prepared) -> None:
    """The same engine, but its files belong to others and are open."""
    keyed = "/etc/docker/certs.d/reg.lan:5000/client key.key"
    paths = [*(f"{CERTIFICATES}/{n}.pem" for n in ("cacert", "cert", "key")), keyed, "/etc/default/docker", "/etc/sysconfig/docker",
             "/var/run/docker.sock", "/var/run/docker/containerd/containerd.sock", "/etc/docker/daemon.json"]  # fmt: skip
    host.run("chown", "plain", *paths)
    host.run("chmod", "666", *paths)
    found = judged(host)
    names = ("tls-ca", "tls-cert", "tls-key", "registry-certs", "etc-default", "etc-sysconfig", "socket", "containerd-socket",
             "daemon-json")  # fmt: skip
    bad = {f"docker-{name}-{what}": "fail" for name in names for what in ("owner", "mode")} | {"docker-socket-users": "fail"}
    assert statuses(found, bad) == bad, {k: said(found[k]) for k in bad if found[k].status != "fail"}
    host.run("chown", "root", *paths)
    host.run("chmod", "640", "/etc/docker/daemon.json")


def test_members_of_the_group_are_shown(host: Prepared) -> None:
    """By /etc/group and by the primary group alike."""
    host.run("chmod", "660", "/var/run/docker.sock")
    host.run("chown", "root:docker", "/var/run/docker.sock")
    host.run("sed", "-i", "s/^docker:x:995:.*/docker:x:995:auditor/", "/etc/group")
    host.run("sed", "-i", "s/^limited:x:2002:2002:/limited:x:2002:995:/", "/etc/passwd")
    finding = judged(host)["docker-socket-users"]
    assert finding.status == "manual"
    assert "auditor, limited" in said(finding)


def test_a_reload_counts_at_once(host: Prepared) -> None:
    """Running state beats files: registries and live restore change without a restart, the others are pending."""
    changed = {**GOOD_SETTINGS, "insecure-registries": [], "live-restore": False, "userland-proxy": True, "icc": True}
    host.place(Entry("/etc/docker/daemon.json", json.dumps(changed)))
    host.run("/bin/busybox", "touch", "-d", "2037-01-01 00:00:00", "/etc/docker/daemon.json")  # clearly after the engine started
    found = judged(host)
    assert found["docker-daemon-insecure-registries"].status == "fail"
    assert found["docker-live-restore"].status == "pass"
    host.run("/bin/busybox", "kill", "-HUP", str(host.dockerd))
    host.wait_for(lambda: "Reloaded configuration" in host.log("dockerd"), "dockerd to reload")
    found = judged(host)
    assert found["docker-daemon-insecure-registries"].status == "pass"
    assert found["docker-live-restore"].status == "fail"
    assert found["docker-daemon-icc"].status == "pass"  # the bridge is what it was
    assert "restart pending" in said(found["docker-daemon-userland-proxy"])
    assert found["docker-daemon-ulimits"].status == "error"
    assert "restart pending" in said(found["docker-daemon-ulimits"])


BAD_SETTINGS = {
    "log-level": "debug", "iptables": False, "insecure-registries": ["reg.lan:5000", "10.1.0.0/16"], "cgroup-parent": "/elsewhere",
    "experimental": True, "log-driver": "syslog", "data-root": "/srv/docker", "tlsverify": False, "tlscacert": f"{CERTIFICATES}/cacert.pem",
    "tlscert": f"{CERTIFICATES}/cert.pem", "tlskey": f"{CERTIFICATES}/key.pem",
}  # fmt: skip
BAD = {
    "docker-data-root-mount": "fail", "docker-daemon-log-level": "fail", "docker-daemon-iptables": "fail",
    "docker-daemon-insecure-registries": "fail", "docker-daemon-cgroup-parent": "fail", "docker-daemon-experimental": "fail",
    "docker-daemon-remote-logs": "fail", "docker-daemon-tls": "fail", "docker-daemon-icc": "fail", "docker-live-restore": "fail",
    "docker-daemon-userland-proxy": "fail", "docker-daemon-no-new-privileges": "fail", "docker-daemon-ulimits": "fail",
    "docker-daemon-userns-remap": "fail", "docker-daemon-authorization": "fail", "docker-daemon-rootless": "fail",
    "docker-tls-key-mode": "fail", "docker-tls-key-owner": "pass",
}  # fmt: skip


def test_weakened_by_its_file(host: Prepared) -> None:
    """TLS without client certificates, a moved data root, and what else the file can do."""
    host.restart("/usr/sbin/dockerd", "-H", "unix:///var/run/docker.sock", "-H", "tcp://127.0.0.1:2376", settings=BAD_SETTINGS)
    found = judged(host)
    assert statuses(found, BAD) == BAD, {k: said(found[k]) for k, v in BAD.items() if found[k].status != v}
    assert "/srv/docker is mounted on itself" in said(found["docker-data-root-mount"])
    assert "file//srv/docker" in said(found["docker-audit-data-root"])
    assert "without TLS client verification" in said(found["docker-daemon-tls"])
    assert {"10.1.0.0/16", "reg.lan:5000"} <= set(said(found["docker-daemon-insecure-registries"]).replace(",", "").split())


def test_weakened_by_its_flags(host: Prepared) -> None:
    """An open port, and spellings that other tools miss."""
    flags = ["-H", "tcp://127.0.0.1:2375", "-l", "debug", "--iptables=0", "--insecure-registry", "reg.lan:5000", "--cgroup-parent",
             "/elsewhere", "--experimental", "--default-ulimit", "nofile=1024:2048", "--exec-root", "/run/engine", "--log-driver=local",
             "--data-root=/srv/engine"]  # fmt: skip
    host.restart("/usr/sbin/dockerd", "-H", "unix:///var/run/docker.sock", *flags)
    found = judged(host)
    expected = {key: "fail" for key in BAD if not key.startswith("docker-tls-")} | {"docker-daemon-ulimits": "pass"}
    assert statuses(found, expected) == expected, {k: said(found[k]) for k, v in expected.items() if found[k].status != v}
    assert "without encryption" in said(found["docker-daemon-tls"])
    assert "file//run/engine/containerd/containerd.sock" in said(found["docker-containerd-socket-mode"])
    assert "file//run/engine/containerd/daemon" in said(found["docker-audit-containerd-state"])
    assert "nofile=1024:2048" in said(found["docker-daemon-ulimits"])


def test_sockets_from_systemd_and_remapped_users(host: Prepared) -> None:
    """fd:// is decided by the sockets that the engine holds, an open one included; users are remapped, seccomp is the site's own."""
    profile = Entry("/etc/docker/seccomp.json", json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}))
    host.place(profile, Entry("/etc/subuid", "plain:100000:65536\n"), Entry("/etc/subgid", "plain:100000:65536\n"))
    host.remove("/run/docker.sock")
    options = ("--userns-remap=plain", "--seccomp-profile=/etc/docker/seccomp.json", "--data-root=/srv/remapped", "--metrics-addr=127.0.0.1:9323",
               "--experimental")  # fmt: skip
    host.restart("/usr/bin/python3", "-c", HANDED_OVER, "2", *options)
    found = judged(host)
    assert found["docker-daemon-userns-remap"].status == "pass", said(found["docker-daemon-userns-remap"])
    assert found["docker-data-root-mount"].observations[0].subject == "file//srv/remapped"
    assert found["docker-daemon-seccomp"].status == "manual"
    assert "/etc/docker/seccomp.json" in said(found["docker-daemon-seccomp"])
    assert found["docker-daemon-tls"].status == "fail"
    assert "tcp://0.0.0.0:2375: no TLS" in said(found["docker-daemon-tls"])
    assert "9323" not in said(found["docker-daemon-tls"])
    host.remove("/run/docker.sock")
    host.restart("/usr/bin/python3", "-c", HANDED_OVER, "1", "--data-root=/srv/docker")
    found = judged(host)
    assert found["docker-daemon-tls"].status == "not_applicable", said(found["docker-daemon-tls"])
    assert found["docker-daemon-seccomp"].status == "pass"
    assert [o.subject for o in found["docker-socket-mode"].observations] == ["file//run/docker.sock"]


def test_two_engines(host: Prepared) -> None:
    """Each is judged by its own settings, sockets and data."""
    second = ["/usr/sbin/dockerd", "-H", "unix:///run/second.sock", "--data-root=/srv/second", "--exec-root=/run/second",
              "--pidfile=/run/second.pid", "--bridge=none", "--icc=false", "--userland-proxy=false", "--config-file=/srv/second.json"]  # fmt: skip
    host.place(Entry("/srv/second.json", json.dumps({"no-new-privileges": True}), 0o600))
    number = host.spawn(second, log="second")
    host.wait_for(lambda: "API listen on" in host.log("second"), f"the second dockerd; it wrote {host.log('second')[-2000:]}")
    found = judged(host)
    proxies = {o.subject: str(o.status) for o in found["docker-daemon-userland-proxy"].observations}
    assert proxies == {f"daemon/dockerd pid {host.dockerd}": "fail", f"daemon/dockerd pid {number}": "pass"}
    assert {o.subject for o in found["docker-data-root-mount"].observations} == {"file//srv/docker", "file//srv/second"}
    assert {o.subject for o in found["docker-socket-mode"].observations} == {"file//run/docker.sock", "file//run/second.sock"}
    assert "file//run/second/containerd/containerd.sock" in said(found["docker-containerd-socket-mode"])
    assert "file//srv/second.json" in said(found["docker-daemon-json-mode"])
    assert len(found["docker-daemon-rootless"].observations) == 2
    assert [f.control for f in found.values() if f.status == "error" and f.id[0] in "123"] == []


def test_openssl_agrees_that_the_port_demands_a_certificate(needs_docker: None) -> None:
    """Ground truth for the first test: what passes there refuses a client without a certificate."""
    flags = ["-H", "tcp://0.0.0.0:2376", "--tlsverify", *TLS_FLAGS]
    with Prepared(flags=flags, containers={}, before=tuple(certificates())) as started:
        argv = ["curl", "-sk", "-m", "5", "https://127.0.0.1:2376/_ping"]
        done = subprocess.run(started.enter(argv), capture_output=True, check=False, timeout=30)
        assert done.returncode == 56 or b"OK" not in done.stdout
        assert judged(started)["docker-daemon-tls"].status == "pass"
