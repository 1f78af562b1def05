"""A real swarm: two managers configured both ways, a worker, and everything secret that they must not tell."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from auditor.engine import judge, needs
from auditor.facts.docker import Engine
from auditor.facts.host import Processes, System
from auditor.facts.swarm import Swarm
from auditor.model import Evidence, Fact, Finding, Problem, Target
from auditor.transports.docker import collect_engine
from tests.support.collecting import benchmarks, collect, spec
from tests.support.engine import SOCKET, DockerHost

pytestmark = pytest.mark.live

FACTS: frozenset[Fact] = frozenset({System(), Processes(), Swarm(), Engine("networks")})
SECRETS = {"db-pass": "hush-hush-1", "tls": "hush-hush-2"}
CONFIG = "config-content-that-stays"
PASSWORD = "hunter2-in-the-environment"
NODE_KEY = "/var/lib/docker/swarm/certificates/swarm-node.key"


def connect(one: DockerHost, other: DockerHost) -> None:
    """Lay a second network between two hosts: 10.77.0.1 and 10.77.0.2 on eth1."""
    there = ["ip", "link", "add", "eth1", "netns", str(one.pid), "type", "veth", "peer", "name", "eth1", "netns", str(other.pid)]
    subprocess.run(there, check=True)
    for host, address in ((one, "10.77.0.1"), (other, "10.77.0.2")):
        host.run("ip", "addr", "add", f"{address}/24", "dev", "eth1")
        host.run("ip", "link", "set", "eth1", "up")


def second_network(host: DockerHost) -> None:
    """Give a host a third interface with 10.78.0.1, which leads nowhere."""
    host.run("ip", "link", "add", "eth2", "type", "veth", "peer", "name", "eth3")
    host.run("ip", "addr", "add", "10.78.0.1/24", "dev", "eth2")
    host.run("ip", "link", "set", "eth2", "up")


def fill(host: DockerHost) -> None:
    """Make a secret, a config and a service that uses both, and one that carries a password."""
    for name, value in SECRETS.items():
        host.docker("secret", "create", name, "-", stdin=value.encode())
    host.docker("config", "create", "app", "-", stdin=CONFIG.encode())
    create = ("service", "create", "--detach", "--no-resolve-image")
    host.docker(
        *create, "--name", "good", "--secret", "db-pass", "--config", "app", "-e", "DB_PASSWORD_FILE=/run/secrets/db-pass", "x"
    )
    host.docker(*create, "--name", "bad", "-e", f"DB_PASSWORD={PASSWORD}", "x", "--token", PASSWORD)


def found(host: DockerHost, **ssh: Any) -> tuple[Evidence, dict[str, Finding]]:
    """Return what was collected of a host, and the swarm controls' findings."""
    (evidence,) = collect(spec(host, **ssh), facts=FACTS).values()
    assert evidence.error is None, evidence.error
    return evidence, {f.control: f for f in judge(benchmarks(), evidence) if f.id.startswith("7.") and f.benchmark == "cis-docker"}


def statuses(findings: Mapping[str, Finding]) -> dict[str, str]:
    return {key.removeprefix("docker-swarm-"): str(f.status) for key, f in findings.items()}


def shown(finding: Finding) -> str:
    return " | ".join(f"{o.subject}: {o.status}: {o.actual}" for o in finding.observations) + finding.reason


@pytest.fixture(scope="module")
def plain(needs_docker: None) -> Iterator[DockerHost]:
    """A swarm as it comes."""
    with DockerHost(containers={}) as host:
        host.docker("swarm", "init", "--advertise-addr", host.address)
        fill(host)
        yield host


@pytest.fixture(scope="module")
def pair(needs_docker: None) -> Iterator[tuple[DockerHost, DockerHost]]:
    """A hardened manager, and a worker of its swarm."""
    with DockerHost(containers={}) as manager, DockerHost(hostname="docker-worker", containers={}) as worker:
        connect(manager, worker)
        second_network(manager)
        manager.docker(
            "swarm", "init", "--advertise-addr", "10.77.0.1", "--listen-addr", "10.77.0.1:2377", "--data-path-addr", "10.78.0.1",
            "--autolock", "--cert-expiry", "48h",
        )  # fmt: skip
        manager.docker("network", "rm", "ingress", stdin=b"y\n")
        # The name is free only when the manager is done with the old one, which it says nowhere.
        create = ("network", "create", "--driver", "overlay", "--ingress", "--opt", "encrypted", "ingress")
        manager.wait_for(lambda: bool(manager.docker(*create, check=False)), "the old ingress network to go", 30)
        manager.docker("network", "create", "--driver", "overlay", "--opt", "encrypted", "shop")
        token = manager.docker("swarm", "join-token", "-q", "worker").strip()
        worker.docker(
            "swarm", "join", "--token", token, "--listen-addr", "10.77.0.2:2377", "--advertise-addr", "10.77.0.2", "10.77.0.1:2377"
        )
        yield manager, worker


def test_inactive(needs_docker: None, docker_host: DockerHost) -> None:
    _, findings = found(docker_host)
    assert set(statuses(findings).values()) == {"not_applicable"}
    assert {f.reason for f in findings.values()} == {"the engine is not a member of a swarm"}


def test_as_it_comes(plain: DockerHost) -> None:
    _, findings = found(plain)
    assert statuses(findings) == {
        "manager-count": "pass", "listen-address": "fail", "overlay-encrypted": "fail", "secrets": "fail", "autolock": "fail",
        "unlock-key-rotation": "not_applicable", "node-certificate": "pass", "ca-rotation": "pass", "plane-separation": "fail",
    }, {k: shown(f) for k, f in findings.items()}  # fmt: skip
    services = {o.subject: o.status for o in findings["docker-swarm-secrets"].observations}
    assert services == {"service/good": "pass", "service/bad": "fail"}
    assert "env DB_PASSWORD" in shown(findings["docker-swarm-secrets"])
    assert "argument --token" in shown(findings["docker-swarm-secrets"])
    assert "docker-host (leader)" in shown(findings["docker-swarm-manager-count"])


def test_by_sudo_and_by_the_command_line(plain: DockerHost) -> None:
    """The same facts as root, by sudo, and without curl."""

    def swarm(**ssh: Any) -> Any:
        (entry,) = found(plain, **ssh)[0].facts["swarm"]
        return {**entry["data"], "time": ""}

    by_root = swarm()
    assert swarm(user="auditor") == by_root
    plain.run("mv", "/usr/bin/curl", "/usr/bin/curl.away")
    try:
        assert swarm() == by_root
    finally:
        plain.run("mv", "/usr/bin/curl.away", "/usr/bin/curl")


def test_without_rights(plain: DockerHost) -> None:
    """An account that may do nothing gets errors, never a verdict."""
    evidence, findings = found(plain, user="plain", become="none")
    assert set(statuses(findings).values()) == {"error"}
    assert "denied" in json.dumps(evidence.facts["swarm"])


def test_by_url(plain: DockerHost) -> None:
    """The API alone gives the same facts about the swarm; what only the host knows is missing."""

    class Spec:
        url = f"unix:///proc/{plain.pid}/root/run/docker.sock"  # /var/run leads to this machine's own
        tls_ca = tls_cert = tls_key = None
        timeout = 20.0

    facts = collect_engine(Spec(), frozenset(f.key for f in needs(benchmarks(), "host")))
    evidence = Evidence(Target("api", "docker"), "", facts)
    findings = {f.control: f for f in judge(benchmarks(), evidence) if f.id.startswith("7.") and f.benchmark == "cis-docker"}
    assert statuses(findings) == {
        "manager-count": "pass", "listen-address": "error", "overlay-encrypted": "fail", "secrets": "fail", "autolock": "fail",
        "unlock-key-rotation": "not_applicable", "node-certificate": "error", "ca-rotation": "pass", "plane-separation": "error",
    }  # fmt: skip
    (by_url,), (by_host,) = facts["swarm"], found(plain)[0].facts["swarm"]
    same = ("info", "trust_root", "nodes", "services", "secrets", "configs")
    assert {k: by_url["data"][k] for k in same} == {k: by_host["data"][k] for k in same}


def secrets_of(host: DockerHost) -> dict[str, str]:
    """Return everything of a swarm that must stay where it is."""
    told = json.loads(host.run("curl", "-s", "--unix-socket", SOCKET, "http://x/swarm"))
    key = json.loads(host.run("curl", "-s", "--unix-socket", SOCKET, "http://x/swarm/unlockkey"))
    lines = [line for line in host.run("cat", NODE_KEY).splitlines() if len(line) > 20]
    return {**SECRETS, "config": CONFIG, "password": PASSWORD, "worker": told["JoinTokens"]["Worker"],
            "manager": told["JoinTokens"]["Manager"], "unlock": key["UnlockKey"], "key": lines[-1]}  # fmt: skip


def test_nothing_secret_is_kept(plain: DockerHost) -> None:
    """Join tokens, the unlock key, private keys, secrets, configs and passwords are not in the evidence."""
    plain.docker("swarm", "update", "--autolock=true")
    try:
        planted = secrets_of(plain)
        assert all(planted.values()), planted.keys()
        evidence, findings = found(plain)
        kept = json.dumps(evidence.facts, default=str) + "".join(map(shown, findings.values()))
        assert [name for name, value in planted.items() if value in kept] == []
        assert not re.search(r"SWMTKN|SWMKEY|PRIVATE KEY", kept)
        assert statuses(findings)["autolock"] == "pass"
        assert statuses(findings)["unlock-key-rotation"] == "pass"  # the swarm is younger than a key may be
    finally:
        plain.docker("swarm", "update", "--autolock=false")


def test_secrets_do_not_leave_the_host(plain: DockerHost) -> None:
    """A config's data is taken out on the host itself, and what gives tokens is not asked for."""
    from auditor.facts.script import compose

    script, _ = compose(FACTS, "feed")
    said = plain.run("sh", "-s", "root", stdin=script)
    assert '"Data":""' in said
    planted = secrets_of(plain)
    travels = [name for name, value in planted.items() if value and value in said]
    assert travels == ["password"]  # a service's environment is reduced on arrival
    assert "SWMTKN" not in said
    assert re.findall(r"\$url/swarm\b|unlockkey", re.sub(r"(?m)^#.*", "", script.decode())) == []


def test_hardened(pair: tuple[DockerHost, DockerHost]) -> None:
    manager, _ = pair
    _, findings = found(manager)
    assert statuses(findings) == {
        "manager-count": "pass", "listen-address": "pass", "overlay-encrypted": "pass", "secrets": "not_applicable", "autolock": "pass",
        "unlock-key-rotation": "pass", "node-certificate": "pass", "ca-rotation": "pass", "plane-separation": "pass",
    }, {k: shown(f) for k, f in findings.items()}  # fmt: skip
    assert "data 10.78.0.1 on eth2, management 10.77.0.1 on eth1" in shown(findings["docker-swarm-plane-separation"])
    assert "2 days" in shown(findings["docker-swarm-node-certificate"])
    assert "2377/tcp on 10.77.0.1" in shown(findings["docker-swarm-listen-address"])
    assert "1 of 2 nodes" in shown(findings["docker-swarm-manager-count"])


def test_worker(pair: tuple[DockerHost, DockerHost]) -> None:
    """What only a manager knows does not apply to a worker; what is its own is judged."""
    _, findings = found(pair[1])
    assert statuses(findings) == {
        "manager-count": "not_applicable", "listen-address": "pass", "overlay-encrypted": "not_applicable",
        "secrets": "not_applicable", "autolock": "not_applicable", "unlock-key-rotation": "not_applicable",
        "node-certificate": "pass", "ca-rotation": "pass", "plane-separation": "fail",
    }, {k: shown(f) for k, f in findings.items()}  # fmt: skip
    # Its own certificate counts: a first manager issues some of 90 days before it heeds what init was told.
    assert re.search(r"until .* UTC: (90|2) days", shown(findings["docker-swarm-node-certificate"]))


def test_even_managers(pair: tuple[DockerHost, DockerHost]) -> None:
    """Two managers are an even number; with one of them away there is no quorum, and nothing is told."""
    manager, worker = pair
    node = worker.docker("info", "--format", "{{.Swarm.NodeID}}").strip()
    manager.docker("node", "promote", node)
    worker.wait_for(
        lambda: worker.docker("info", "--format", "{{.Swarm.ControlAvailable}}").strip() == "true", "a second manager", 30
    )
    for host in pair:
        _, findings = found(host)
        assert statuses(findings)["manager-count"] == "fail", shown(findings["docker-swarm-manager-count"])
        assert "2 of 2 nodes" in shown(findings["docker-swarm-manager-count"])
    manager.docker("node", "demote", node)
    worker.wait_for(lambda: worker.docker("info", "--format", "{{.Swarm.ControlAvailable}}").strip() == "false", "a worker", 30)


def test_locked(needs_docker: None) -> None:
    """A restarted manager that waits for its key proves autolock, and tells nothing else."""
    with DockerHost(containers={}) as host:
        host.docker("swarm", "init", "--advertise-addr", host.address, "--autolock")
        host.kill(host.dockerd)
        host.remove("/var/run/docker.pid")
        host.spawn(["/usr/sbin/dockerd", "-H", f"unix://{SOCKET}"], log="dockerd-again")
        host.wait_for(lambda: "API listen on" in host.log("dockerd-again"), "dockerd to listen again")
        _, findings = found(host)
        assert statuses(findings) == dict.fromkeys(statuses(findings), "error") | {"autolock": "pass"}
        assert "locked" in shown(findings["docker-swarm-listen-address"])


def test_rotated_root(plain: DockerHost) -> None:
    """A rotation of the root is seen by what is trusted afterwards."""
    (before,) = found(plain)[0].facts["swarm"]
    plain.docker("swarm", "ca", "--rotate", "--quiet", "--detach")

    def settled() -> bool:
        (entry,) = found(plain)[0].facts["swarm"]
        return not entry["data"]["info"]["Cluster"]["RootRotationInProgress"]

    plain.wait_for(settled, "the rotation to end", 30)
    evidence, findings = found(plain)
    (after,) = evidence.facts["swarm"]
    assert not isinstance(after, Problem)
    assert [c["sha256"] for c in after["data"]["trust_root"]] != [c["sha256"] for c in before["data"]["trust_root"]]
    assert [c["sha256"] for c in after["data"]["root_certificates"]["data"]] == [c["sha256"] for c in after["data"]["trust_root"]]
    assert statuses(findings)["ca-rotation"] == "pass"
