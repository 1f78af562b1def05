"""Collect from test hosts with every host fact there is, without any control."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auditor.catalogue import packaged
from auditor.collect import Collector
from auditor.engine import judge, needs
from auditor.facts.docker import DOCUMENTS, Engine
from auditor.facts.host import NODE_FILES, AuditRules, Config, EnginePackages, Files, Hardening, Listeners, Mounts, SocketGroups
from auditor.facts.node import Authorities, KubernetesVersion
from auditor.inventory import HostSpec, Inventory, SshOptions
from auditor.model import Benchmark, Evidence, Fact, Finding
from checks import check_types
from tests.support.host import TestHost

FACTS: frozenset[Fact] = frozenset(
    [
        *(Engine(document) for document in DOCUMENTS),
        AuditRules(),
        Config(process="dockerd", flag="--config-file", path="/etc/docker/daemon.json"),
        Config(process="kubelet", flag="--config", path="/var/lib/kubelet/config.yaml", dropins="--config-dir"),
        Files(path="/etc/docker/daemon.json"),
        Files(path="/etc/kubernetes/pki/*"),
        Files(path="/var/run/docker.sock"),
        Files(unit="docker.service"),
        Files(unit="kubelet.service"),
        *(Files(static_pod=c) for c in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")),
        Files(process="kubelet", flag="--config", path="/var/lib/kubelet/config.yaml"),
        Files(process="kubelet", flag="--config-dir", match="*.conf"),
        Files(process="etcd", flag="--data-dir"),
        Files(executable="kubelet"),
        *(Files(node=kind) for kind in NODE_FILES),
        Authorities(),
        KubernetesVersion(),
        Files(executable="dockerd"),
        Files(tree="/etc/docker/certs.d"),
        Files(binary="containerd-shim-runc-v2"),
        Files(process="dockerd", setting="tlskey"),
        Files(listener="dockerd"),
        Files(listener="containerd"),
        Config(process="containerd", flag="--config", path="/etc/containerd/config.toml"),
        EnginePackages(),
        Hardening(),
        Listeners(),
        Mounts(),
        SocketGroups(),
    ]
)


def spec(host: TestHost, name: str = "", user: str = "root", **ssh: Any) -> HostSpec:
    """Return how to reach a test host."""
    options = {"user": user, "port": host.port, "identity_file": host.identity, "known_hosts": host.known_hosts, **ssh}
    return HostSpec(name=name or host.hostname, address=host.address, ssh=SshOptions(**options))


def collect(*specs: HostSpec, facts: frozenset[Fact] = FACTS) -> dict[str, Evidence]:
    """Collect from hosts and return the evidence by name."""
    return {e.target.name: e for e in Collector(Inventory(hosts=specs), facts, frozenset()).run(list(specs))}


def one(host: TestHost, **ssh: Any) -> Mapping[str, Any]:
    """Collect from one host, which must answer, and return its facts."""
    (evidence,) = collect(spec(host, **ssh)).values()
    assert evidence.error is None, evidence.error
    return evidence.facts


def lasting(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts without the engine's clock: what two audits of an unchanged host must agree on."""
    engines = [{**e, "data": {k: v for k, v in e["data"].items() if k != "SystemTime"}} for e in facts["engine:info"]]
    return {**facts, "engine:info": engines}


def apart_from_who(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return lasting facts without those that say how the account got its rights."""
    return {**lasting(facts), "system": {k: v for k, v in facts["system"].items() if k != "user" and not k.startswith("become")}}


def benchmarks() -> list[Benchmark]:
    """Return the newest version of each packaged benchmark that is more than preliminary."""
    library = packaged(check_types())
    return [library.load({"cis-kubernetes": "cis-kubernetes@2.0.1"}.get(name, name)) for name in library.names()]


def judged(host: TestHost, **ssh: Any) -> dict[str, Finding]:
    """Collect from a host what the packaged benchmarks ask for, and return their findings by the controls' keys."""
    selected = benchmarks()
    (evidence,) = collect(spec(host, **ssh), facts=needs(selected, "host")).values()
    assert evidence.error is None, evidence.error
    return {finding.control: finding for finding in judge(selected, evidence)}
