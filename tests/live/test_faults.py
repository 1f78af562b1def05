"""What goes wrong with one host is that host's error, with a clear reason; the others complete and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.auditing import Result, audit, auditor, collect, host_entry, write_inventory
from tests.support.collecting import judged
from tests.support.counting import counting
from tests.support.engine import BASE, DockerHost
from tests.support.host import TestHost
from tests.support.kube_node import KubeNode

pytestmark = pytest.mark.live

#: One host's accounts, each spoilt in its own way: what the server runs in place of what it is asked to.
SPOILT = {
    "hangs": "sleep 1000",
    "closes": "kill -9 $PPID",
    "refuses": "/usr/sbin/nologin",
    "garbles": "head -c 100000 /dev/urandom; exit 0",
    "drowns": "yes | head -c 200000000",
    "cut": "head -c 3000 | sh; exit 0",
    "merges": 'exec /bin/sh -c "$SSH_ORIGINAL_COMMAND" 2>&1',
    "hushes": 'exec /bin/sh -c "$SSH_ORIGINAL_COMMAND" 2>/dev/null',
    "chatters": 'echo welcome; echo "to this host" >&2; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"',
}


@dataclass
class Spoilt(KubeNode):
    """A host with one account for each way of going wrong."""

    __test__ = False

    def __post_init__(self) -> None:
        super().__post_init__()
        lines: list[str] = []
        for name, command in SPOILT.items():
            lines += [f"Match User {name}", f"ForceCommand {command}"]
        self.sshd_lines = lines

    def _furnish(self) -> None:
        super()._furnish()
        for number, name in enumerate(SPOILT, 3000):
            self.run("useradd", "-M", "-d", "/root", "-u", str(number), "-p", "*", "-s", "/bin/sh", name)
        self.run("mkdir", "-p", "/etc/ssh/keys")
        self.run("install", "-m", "644", "/root/.ssh/authorized_keys", "/etc/ssh/keys/all")
        config = self._sshd_config().replace("UsePAM no", "UsePAM no\nAuthorizedKeysFile .ssh/authorized_keys /etc/ssh/keys/all")
        self.run("dd", "of=/etc/ssh/sshd_config", stdin=config.encode())


@pytest.fixture(scope="module")
def spoilt(needs_hosts: None) -> Iterator[Spoilt]:
    with Spoilt(hostname="spoilt") as host:
        yield host


@pytest.fixture(scope="module")
def silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture(scope="module")
def closed_port() -> Iterator[int]:
    """A port that is taken, so that nobody else comes to listen there, and refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture(scope="module")
def faulty(
    spoilt: Spoilt, docker_host: DockerHost, silent: int, closed_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Result:
    """One audit of a good host among every fault there is."""
    folder = tmp_path_factory.mktemp("faults")
    unknown, changed = folder / "unknown", folder / "changed"
    unknown.write_text("")
    spoilt.write_known_hosts(changed, "other_host")
    quick = {"connect_timeout": 2, "timeout": 5}

    def entry(name: str, user: str = "root", **ssh: Any) -> dict[str, Any]:
        return host_entry(spoilt, name, user=user, ssh={**quick, **ssh})

    hosts = [
        host_entry(docker_host, "good"),
        entry("unknown-key", known_hosts=str(unknown)),
        entry("changed-key", known_hosts=str(changed)),
        entry("wrong-pin") | {"host_key": "SHA256:" + "A" * 43},
        entry("wrong-client-key", identity_file=str(spoilt.keys / "stranger")),
        entry("no-such-user", user="nobody-here"),
        entry("refused") | {"address": "127.0.0.1", "ssh": {**entry("x")["ssh"], "port": closed_port}},
        entry("silent") | {"address": "127.0.0.1", "ssh": {**entry("x")["ssh"], "port": silent}},
        entry("no-name") | {"address": "no-such-host.invalid"},
        *(entry(name, user=name) for name in SPOILT),
        entry("asks-password", user="limited"),
        entry("no-sudo-right", user="plain"),
        host_entry(spoilt, "fine"),
    ]
    return audit(folder, hosts, formats="json,html,pdf")


#: Target -> its status, and words its error must have.
LOST = {
    "unknown-key": ("unreachable", ("denied", "unknown host key", "ssh-ed25519", "SHA256:")),
    "changed-key": ("unreachable", ("denied", "host key changed", "SHA256:")),
    "wrong-pin": ("unreachable", ("denied", "host key changed", "pinned")),
    "wrong-client-key": ("unreachable", ("denied", "root@", "refused")),
    "no-such-user": ("unreachable", ("denied", "nobody-here@", "refused")),
    "refused": ("unreachable", ("unreachable", "Connection refused")),
    "silent": ("unreachable", ("timeout", "127.0.0.1")),
    "no-name": ("unreachable", ("unreachable", "no-such-host.invalid", "resolved")),
    "hangs": ("unreachable", ("timeout",)),
    "closes": (None, ()),
    "refuses": ("failed", ("did not run the audit script", "This account is currently not available")),
    "garbles": ("failed", ("unparsable",)),
    "drowns": ("failed", ()),
    "merges": ("failed", ("standard error did not arrive (does its login redirect it",)),
    "hushes": ("failed", ("standard error did not arrive (does its login redirect it",)),
}


def test_exit_code_says_that_targets_were_lost(faulty: Result) -> None:
    assert faulty.code == 3
    assert "Traceback" not in faulty.stdout + faulty.stderr
    assert {"report.html", "report.pdf", "results.json"} <= set(faulty.written())


@pytest.mark.parametrize("name", LOST)
def test_lost_target_says_why(faulty: Result, name: str) -> None:
    status, words = LOST[name]
    target = faulty.target(name)
    assert target["status"] == status if status else target["status"] in ("unreachable", "failed"), target
    assert target["error"], target
    assert [w for w in words if w not in target["error"]] == [], target["error"]
    assert "\n" not in target["error"]
    assert faulty.statuses(name) == {}  # no verdict about a host that was not seen
    assert f"not audited: {name}: " in faulty.stdout


def test_every_target_is_listed(faulty: Result) -> None:
    names = ["good", *LOST, "cut", "chatters", "asks-password", "no-sudo-right", "fine"]
    assert sorted(t["name"] for t in faulty.document["targets"]) == sorted(names)


def test_others_complete(faulty: Result, docker_host: DockerHost, spoilt: Spoilt) -> None:
    """The good hosts' verdicts are those they have when they are audited alone."""
    for target, host in (("good", docker_host), ("fine", spoilt)):
        alone = {key: str(finding.status) for key, finding in judged(host).items()}
        assert faulty.statuses(target) == alone
        assert "error" not in alone.values()


def test_noise_of_a_login_does_no_harm(faulty: Result) -> None:
    assert faulty.target("chatters")["status"] == "audited"
    alone = faulty.statuses("asks-password")  # no more rights than that one
    assert faulty.statuses("chatters") == alone


def test_cut_script_runs_nothing(faulty: Result) -> None:
    """A shell that got only the beginning of the script must not act on it, let alone be believed."""
    assert faulty.target("cut")["status"] in ("failed", "unreachable")
    assert faulty.statuses("cut") == {}


@pytest.mark.parametrize("name", ["asks-password", "no-sudo-right"])
def test_without_root_only_some_controls_are_errors(faulty: Result, name: str) -> None:
    target = faulty.target(name)
    assert target["status"] == "audited"
    assert "without root" in target["facts"]["account"]
    assert "a password is required" in target["facts"]["account"]
    found, full = faulty.statuses(name), faulty.statuses("fine")
    assert found["k8s-apiserver-anonymous-auth"] == full["k8s-apiserver-anonymous-auth"] == "fail"
    assert found["k8s-kubelet-anonymous-auth"] == "error"
    (observation,) = faulty.findings(name)["k8s-kubelet-anonymous-auth"]["observations"]
    assert observation["actual"].startswith("denied: /var/lib/kubelet/config.yaml")
    # Less is known than with root, but nothing else than with root, and no pass that root would not have given.
    for key, status in found.items():
        assert status in (full[key], "error"), (key, status, full[key])


@pytest.mark.parametrize("user", ["limited", "plain"])
def test_docker_host_without_root(docker_host: DockerHost, user: str) -> None:
    """Every verdict about containers is an error with its reason; none passes for want of containers."""
    found, full = judged(docker_host, user=user), judged(docker_host)
    for key, finding in found.items():
        if key.startswith("docker-container") and key not in ("docker-container-apparmor", "docker-container-selinux"):
            assert finding.status == "error", key
            assert "denied" in finding.observations[0].actual
        assert finding.status in (full[key].status, "error"), (key, finding.status, full[key].status)


def test_host_without_docker(bare_host: TestHost) -> None:
    found = judged(bare_host)
    assert {f.status for f in found.values()} == {"not_applicable"}, {k: f.status for k, f in found.items()}
    assert all(f.reason for f in found.values())


def test_host_without_sudo(needs_hosts: None, tmp_path: Path) -> None:
    with KubeNode() as node:
        node.remove("/usr/bin/sudo")
        result = audit(tmp_path, [host_entry(node, user="auditor")])
    assert result.code == 0
    assert "there is no sudo" in result.target("cp-1")["facts"]["account"]
    assert result.statuses("cp-1")["k8s-kubelet-anonymous-auth"] == "error"


def test_host_without_tools_to_ask_the_engine(needs_docker: None) -> None:
    with DockerHost(containers={}) as host:
        host.remove("/usr/bin/curl", "/usr/bin/docker", "/usr/local/bin/docker")
        found = judged(host)
    assert found["docker-container-privileged"].status == "error"
    assert "neither curl nor docker" in found["docker-container-privileged"].observations[0].actual
    assert found["docker-service-mode"].status == "pass"


def test_engine_that_hangs(needs_docker: None) -> None:
    """A stopped dockerd accepts and never answers: its controls run out of time, the host's files are judged."""
    one = {"web": ("run", "-d", BASE, "sleep", "100000")}
    with DockerHost(containers=one) as host:
        host.run("/bin/busybox", "kill", "-STOP", str(host.dockerd))
        try:
            start = time.monotonic()
            found = judged(host, timeout=10)
            assert time.monotonic() - start < 30
        finally:
            host.run("/bin/busybox", "kill", "-CONT", str(host.dockerd))
    assert found["docker-service-mode"].status == "pass"
    assert found["docker-container-privileged"].status == "error"
    assert "timeout" in found["docker-container-privileged"].observations[0].actual


def test_engine_that_is_gone(needs_docker: None) -> None:
    """Its socket is there, nobody answers: an error as long as the process is seen, never a pass."""
    with DockerHost(containers={}) as host:
        host.remove("/run/docker.sock")
        found = judged(host)
    assert found["docker-container-privileged"].status == "error"


def test_jump_host(needs_hosts: None, tmp_path: Path) -> None:
    """One connection leads through another; the server behind it listens where only the jump host reaches it."""
    with KubeNode(hostname="bastion") as host:
        host.run("cp", "/etc/ssh/sshd_config", "/etc/ssh/inner")
        host.spawn(
            ["/usr/sbin/sshd", "-D", "-e", "-f", "/etc/ssh/inner", "-p", "2222", "-o", "ListenAddress=127.0.0.1"], log="inner"
        )
        host.wait_for(lambda: "Server listening on 127.0.0.1" in host.log("inner"), "the inner sshd")
        known = tmp_path / "known_hosts"
        known.write_text(f"[127.0.0.1]:2222 {host.host_key()}\n")
        outer = host_entry(host)
        inner = host_entry(host, "inner", ssh={"port": 2222, "known_hosts": str(known)}) | {
            "address": "127.0.0.1",
            "jump": "bastion",
        }
        with counting(host) as seen:
            result = audit(tmp_path, [outer, inner], "--limit", "inner")
        assert result.code == 0, result.stdout + result.stderr
        assert result.target("inner")["facts"]["host name"] == "bastion"
        assert (seen.connections, seen.channels, seen.sessions) == (1, ("direct-tcpip",), ())
        broken = {**outer, "ssh": {**outer["ssh"], "identity_file": str(host.keys / "stranger")}}
        (tmp_path / "again").mkdir()
        result = audit(tmp_path / "again", [broken, inner], "--limit", "inner")
        assert result.code == 3
        assert "jump host" in result.target("inner")["error"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_keeps_what_is_there(spoilt: Spoilt, docker_host: DockerHost, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, or a service manager's signal, while one host hangs: the report has the finished host, and the other as not done."""
    hosts = [host_entry(docker_host, "good"), host_entry(spoilt, "hangs", user="hangs", ssh={"timeout": 100})]
    inventory = write_inventory(tmp_path, hosts)
    argv = ["audit", "-i", str(inventory), "-o", str(tmp_path / "out"), "--format", "json", "--no-store"]
    env = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "auditor", *argv]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True) as process:
        end = time.monotonic() + 20
        while not list(tmp_path.glob("out/evidence/good*")) and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(number)
        start = time.monotonic()
        _, stderr = process.communicate(timeout=60)
    assert time.monotonic() - start < 40
    assert "Traceback" not in stderr, stderr
    assert "interrupted: what was collected so far is reported" in stderr
    assert process.returncode == 3, stderr
    document = json.loads((tmp_path / "out/results.json").read_text())
    assert {t["name"]: t["status"] for t in document["targets"]} == {"good": "audited", "hangs": "failed"}
    assert {f["target"] for f in document["findings"]} == {"good"}


def test_collect_alone_has_the_same_exit_code(spoilt: Spoilt, tmp_path: Path) -> None:
    result = collect(tmp_path, [host_entry(spoilt), host_entry(spoilt, "refuses", user="refuses")])
    assert result.code == 3
    assert len([name for name in result.written() if name.endswith(".evidence.json")]) == 2
    again = auditor(tmp_path, "evaluate", str(tmp_path / "out"), "-o", str(tmp_path / "judged"), "--format", "json")
    assert again.code == 3
