"""A control plane's verdicts follow its files and its command lines, both ways, and say where each value stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.auditing import audit, host_entry
from tests.support.collecting import judged
from tests.support.host import Entry
from tests.support.kube_node import APISERVER, COMPONENTS, CONTROLLER_MANAGER, ETCD_ARGV, KUBELET, KUBELET_CONFIG, KubeNode

pytestmark = pytest.mark.live

#: What a node has as kubeadm sets it up.
EXPECTED = {
    "k8s-apiserver-manifest-mode": "pass",
    "k8s-apiserver-manifest-owner": "pass",
    "k8s-apiserver-anonymous-auth": "fail",
    "k8s-apiserver-authorization-not-always-allow": "pass",
    "k8s-apiserver-authorization-node": "pass",
    "k8s-apiserver-authorization-rbac": "pass",
    "k8s-controller-manager-profiling": "fail",
    "k8s-etcd-client-tls": "pass",
    "k8s-kubelet-config-mode": "fail",
    "k8s-kubelet-anonymous-auth": "pass",
    "k8s-kubelet-authorization-mode": "pass",
    "k8s-kubelet-client-ca": "pass",
    "k8s-kubelet-read-only-port": "pass",
    "k8s-kubelet-rotate-certificates": "pass",
}


@pytest.fixture(scope="module")
def node(needs_hosts: None) -> Iterator[KubeNode]:
    with KubeNode() as host:
        yield host


def test_as_kubeadm_sets_it_up(node: KubeNode, tmp_path: Path) -> None:
    result = audit(tmp_path, [host_entry(node), host_entry(node, "by-sudo", user="auditor")])
    assert result.code == 0, result.stderr
    assert result.target("cp-1")["kind"] == "node"
    assert result.target("cp-1")["roles"] == ["control-plane", "etcd", "worker"]
    for target in ("cp-1", "by-sudo"):
        found = result.statuses(target)
        assert {key: status for key, status in found.items() if key.startswith("k8s-")} == EXPECTED
        assert {status for key, status in found.items() if key.startswith("docker-")} == {"not_applicable"}


def without(argv: tuple[str, ...], flag: str) -> list[str]:
    return [a for a in argv if not a.startswith(flag + "=")]


Change = Callable[[KubeNode], object]


def restart(component: str, *argv: str) -> Change:
    return lambda node: node.start_component(component, argv)


def config(text: str) -> Change:
    def change(node: KubeNode) -> None:
        node.place(Entry("/var/lib/kubelet/config.yaml", text, 0o644))

    return change


def run(*argv: str) -> Change:
    return lambda node: node.run(*argv)


MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"
DROP_IN = "/etc/kubernetes/kubelet.conf.d/10-port.conf"
#: What is changed, the control that tells, its verdict then, and what its source says.
CHANGES: dict[str, tuple[Change, str, str, str]] = {
    "anonymous requests off by flag": (
        restart("kube-apiserver", *APISERVER, "--anonymous-auth=false"),
        "k8s-apiserver-anonymous-auth", "pass", "--anonymous-auth"),
    "the last of two flags wins": (
        restart("kube-apiserver", *APISERVER, "--anonymous-auth=false", "--anonymous-auth=true"),
        "k8s-apiserver-anonymous-auth", "fail", "--anonymous-auth"),
    "a flag spelled with underscores": (
        restart("kube-apiserver", *APISERVER, "--anonymous_auth=false"),
        "k8s-apiserver-anonymous-auth", "pass", "anonymous"),
    "everything allowed": (
        restart("kube-apiserver", *without(APISERVER, "--authorization-mode"), "--authorization-mode=AlwaysAllow"),
        "k8s-apiserver-authorization-not-always-allow", "fail", "--authorization-mode"),
    "no authorization mode: the default allows everything": (
        restart("kube-apiserver", *without(APISERVER, "--authorization-mode")),
        "k8s-apiserver-authorization-not-always-allow", "fail", "default"),
    "RBAC alone": (
        restart("kube-apiserver", *without(APISERVER, "--authorization-mode"), "--authorization-mode=RBAC"),
        "k8s-apiserver-authorization-node", "fail", "--authorization-mode"),
    "profiling off": (
        restart("kube-controller-manager", *CONTROLLER_MANAGER, "--profiling=false"),
        "k8s-controller-manager-profiling", "pass", "--profiling"),
    "etcd without a certificate": (
        restart("etcd", *without(ETCD_ARGV, "--cert-file")),
        "k8s-etcd-client-tls", "fail", "--cert-file"),
    "the manifest readable by all": (run("chmod", "644", MANIFEST), "k8s-apiserver-manifest-mode", "fail", MANIFEST),
    "the manifest tighter than asked": (run("chmod", "400", MANIFEST), "k8s-apiserver-manifest-mode", "pass", MANIFEST),
    "the manifest setuid": (run("chmod", "4600", MANIFEST), "k8s-apiserver-manifest-mode", "fail", MANIFEST),
    "the manifest of somebody else": (run("chown", "plain", MANIFEST), "k8s-apiserver-manifest-owner", "fail", MANIFEST),
    "kubelet files private": (
        run("chmod", "600", "/var/lib/kubelet/config.yaml", DROP_IN), "k8s-kubelet-config-mode", "pass", DROP_IN),
    "anonymous kubelet by its file": (
        config(KUBELET_CONFIG.replace("enabled: false", "enabled: true")),
        "k8s-kubelet-anonymous-auth", "fail", "/var/lib/kubelet/config.yaml"),
    "the kubelet's flag beats its file": (
        restart("kubelet", *KUBELET, "--anonymous-auth=true"), "k8s-kubelet-anonymous-auth", "fail", "--anonymous-auth"),
    "the file leaves it out": (
        config(KUBELET_CONFIG.replace("rotateCertificates: true\n", "")),
        "k8s-kubelet-rotate-certificates", "fail", "default"),
    "the drop-in beats the file": (
        lambda node: node.place(Entry("/etc/kubernetes/kubelet.conf.d/20-open.conf", DROP_IN_TEXT)),
        "k8s-kubelet-read-only-port", "fail", "20-open.conf"),
    "a drop-in of another name is not read": (
        lambda node: node.place(Entry("/etc/kubernetes/kubelet.conf.d/20-open.yaml", DROP_IN_TEXT)),
        "k8s-kubelet-read-only-port", "pass", "10-port.conf"),
    "the file is gone": (run("rm", "/var/lib/kubelet/config.yaml"), "k8s-kubelet-anonymous-auth", "error", "config.yaml"),
    "the file is no YAML": (config("authentication: [\n"), "k8s-kubelet-anonymous-auth", "error", "config.yaml"),
    "the file is 2 MB large": (
        config(KUBELET_CONFIG + "#" * 2_000_000), "k8s-kubelet-authorization-mode", "error", "config.yaml"),
}  # fmt: skip
DROP_IN_TEXT = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nreadOnlyPort: 10255\n"


@pytest.mark.parametrize("name", CHANGES)
def test_verdict_follows(needs_hosts: None, name: str) -> None:
    change, control, status, source = CHANGES[name]
    with KubeNode() as node:
        change(node)
        found = judged(node)
    finding = found[control]
    said = [f"{o.subject}: {o.status}: {o.actual} ({o.source})" for o in finding.observations]
    assert finding.status == status, said
    assert any(source in line for line in said), said


def test_parts_that_do_not_run_do_not_apply(needs_hosts: None) -> None:
    """A worker has no control plane; its controls say so and the kubelet's are judged."""
    with KubeNode(components={c: COMPONENTS[c] for c in ("kubelet", "kube-proxy")}) as node:
        found = judged(node)
    assert found["k8s-apiserver-anonymous-auth"].status == "not_applicable"
    assert "kube-apiserver" in found["k8s-apiserver-anonymous-auth"].reason
    assert found["k8s-kubelet-anonymous-auth"].status == "pass"


def test_etcd_by_its_environment(needs_hosts: None) -> None:
    """etcd takes each flag from a variable too."""
    argv = [a for a in ETCD_ARGV if not a.startswith(("--cert-file", "--key-file"))]
    variables = {"ETCD_CERT_FILE": "/etc/etcd/server.crt", "ETCD_KEY_FILE": "/etc/etcd/server.key"}
    with KubeNode(components={"etcd": argv}, environments={"etcd": variables}) as node:
        finding = judged(node)["k8s-etcd-client-tls"]
    assert finding.status == "pass"
    assert "ETCD_CERT_FILE" in " ".join(o.source for o in finding.observations)


def test_a_container_of_the_same_name_is_not_the_nodes_own_kubelet(needs_hosts: None) -> None:
    """A pod may run anything under any name; the node's kubelet is the one outside of containers."""
    with KubeNode(components={"kubelet": KUBELET}) as node:
        node.spawn(
            ["kubelet", "--anonymous-auth=true"], executable="/usr/bin/kubelet", container="/kubepods/besteffort/podx/" + "d" * 64
        )
        found = judged(node)["k8s-kubelet-anonymous-auth"]
    assert found.status == "pass", found
