"""A control plane's verdicts follow its files and its command lines, both ways, and say where each value stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.auditing import audit, host_entry
from tests.support.collecting import judged
from tests.support.host import Entry
from tests.support.kube_node import (
    APISERVER,
    COMPONENTS,
    CONTROLLER_MANAGER,
    ETCD_ARGV,
    KUBELET,
    KUBELET_CONFIG,
    KubeNode,
    certificate,
)

pytestmark = pytest.mark.live

#: What a node has as kubeadm sets it up.
EXPECTED = {
    "k8s-apiserver-manifest-mode": "pass",
    "k8s-apiserver-manifest-owner": "pass",
    "k8s-controller-manager-manifest-mode": "pass",
    "k8s-controller-manager-manifest-owner": "pass",
    "k8s-scheduler-manifest-mode": "pass",
    "k8s-scheduler-manifest-owner": "pass",
    "k8s-etcd-manifest-mode": "pass",
    "k8s-etcd-manifest-owner": "pass",
    "k8s-cni-files-mode": "pass",
    "k8s-cni-files-owner": "pass",
    "k8s-etcd-data-mode": "pass",
    "k8s-etcd-data-owner": "pass",
    "k8s-admin-kubeconfig-mode": "pass",
    "k8s-admin-kubeconfig-owner": "pass",
    "k8s-scheduler-kubeconfig-mode": "pass",
    "k8s-scheduler-kubeconfig-owner": "pass",
    "k8s-controller-manager-kubeconfig-mode": "pass",
    "k8s-controller-manager-kubeconfig-owner": "pass",
    "k8s-pki-owner": "pass",
    "k8s-pki-certificates-mode": "pass",
    "k8s-pki-keys-mode": "pass",
    "k8s-apiserver-anonymous-auth": "fail",
    "k8s-apiserver-token-auth-file": "pass",
    "k8s-apiserver-deny-external-ips": "fail",
    "k8s-apiserver-kubelet-client-certificate": "pass",
    "k8s-apiserver-kubelet-ca": "fail",
    "k8s-apiserver-authorization-not-always-allow": "pass",
    "k8s-apiserver-authorization-node": "pass",
    "k8s-apiserver-authorization-rbac": "pass",
    "k8s-apiserver-event-rate-limit": "fail",
    "k8s-apiserver-no-always-admit": "pass",
    "k8s-apiserver-always-pull-images": "fail",
    "k8s-apiserver-service-account-plugin": "pass",
    "k8s-apiserver-namespace-lifecycle-plugin": "pass",
    "k8s-apiserver-node-restriction-plugin": "pass",
    "k8s-apiserver-profiling": "fail",
    "k8s-apiserver-audit-log-path": "fail",
    "k8s-apiserver-audit-log-maxage": "fail",
    "k8s-apiserver-audit-log-maxbackup": "fail",
    "k8s-apiserver-audit-log-maxsize": "fail",
    "k8s-apiserver-request-timeout": "pass",
    "k8s-apiserver-service-account-lookup": "pass",
    "k8s-apiserver-service-account-key": "pass",
    "k8s-apiserver-etcd-client-certificate": "pass",
    "k8s-apiserver-serving-certificate": "pass",
    "k8s-apiserver-client-ca": "pass",
    "k8s-apiserver-etcd-ca": "pass",
    "k8s-apiserver-encryption-configured": "fail",
    "k8s-apiserver-encryption-providers": "fail",
    "k8s-apiserver-ciphers": "fail",
    "k8s-apiserver-token-expiration": "fail",
    "k8s-controller-manager-pod-gc": "manual",
    "k8s-controller-manager-profiling": "fail",
    "k8s-controller-manager-service-account-credentials": "pass",
    "k8s-controller-manager-service-account-key": "pass",
    "k8s-controller-manager-root-ca": "pass",
    "k8s-controller-manager-rotate-kubelet-certificates": "pass",
    "k8s-controller-manager-bind-address": "pass",
    "k8s-scheduler-profiling": "fail",
    "k8s-scheduler-bind-address": "pass",
    "k8s-etcd-client-tls": "pass",
    "k8s-etcd-client-cert-auth": "pass",
    "k8s-etcd-no-auto-tls": "pass",
    "k8s-etcd-peer-tls": "pass",
    "k8s-etcd-peer-cert-auth": "pass",
    "k8s-etcd-no-peer-auto-tls": "pass",
    "k8s-etcd-own-ca": "pass",
    "k8s-users-without-certificates": "manual",
    "k8s-users-without-service-account-tokens": "manual",
    "k8s-users-without-bootstrap-tokens": "manual",
    "k8s-audit-policy": "fail",
    "k8s-audit-policy-coverage": "fail",
    "k8s-kubelet-unit-mode": "fail",
    "k8s-kubelet-unit-owner": "pass",
    "k8s-kube-proxy-kubeconfig-mode": "not_applicable",
    "k8s-kube-proxy-kubeconfig-owner": "not_applicable",
    "k8s-kubelet-kubeconfig-mode": "pass",
    "k8s-kubelet-kubeconfig-owner": "pass",
    "k8s-kubelet-client-ca-mode": "pass",
    "k8s-kubelet-client-ca-owner": "pass",
    "k8s-kubelet-config-mode": "fail",
    "k8s-kubelet-config-owner": "pass",
    "k8s-kubelet-anonymous-auth": "pass",
    "k8s-kubelet-authorization-mode": "pass",
    "k8s-kubelet-client-ca": "pass",
    "k8s-kubelet-read-only-port": "pass",
    "k8s-kubelet-streaming-timeout": "pass",
    "k8s-kubelet-iptables-chains": "pass",
    "k8s-kubelet-hostname-override": "pass",
    "k8s-kubelet-event-qps": "pass",
    "k8s-kubelet-serving-certificate": "fail",
    "k8s-kubelet-rotate-certificates": "pass",
    "k8s-kubelet-rotate-server-certificates": "manual",
    "k8s-kubelet-ciphers": "fail",
    "k8s-kubelet-pod-pids-limit": "fail",
    "k8s-kubelet-seccomp-default": "fail",
    "k8s-kube-proxy-metrics-address": "pass",
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


def also(*changes: Change) -> Change:
    def change(node: KubeNode) -> None:
        for one in changes:
            one(node)

    return change


def put(path: str, text: str, mode: int = 0o600) -> Change:
    return lambda node: node.place(Entry(path, text, mode))


def run(*argv: str) -> Change:
    return lambda node: node.run(*argv)


def etcd_with(**variables: str) -> Change:
    """Start etcd with variables in place of its flag for the data folder."""

    def change(node: KubeNode) -> None:
        node.environments = {"etcd": variables}
        node.start_component("etcd", without(ETCD_ARGV, "--data-dir"))

    return change


def restarted(node: KubeNode) -> None:
    """Start the kubelet anew, so that it has read its files."""
    node.start_component("kubelet", KUBELET)


KEY = "-----BEGIN RSA PRIVATE KEY-----\nplanted-private-key\n-----END RSA PRIVATE KEY-----\n"
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
    "a key that others may read, whatever its name": (
        put("/etc/kubernetes/pki/old.pem", certificate("old") + KEY, 0o644), "k8s-pki-keys-mode", "fail", "old.pem"),
    "a key outside of the folder, named by a flag": (
        also(put("/srv/tls/front.key", KEY, 0o640),
             restart("kube-apiserver", *APISERVER, "--proxy-client-key-file=/srv/tls/front.key")),
        "k8s-pki-keys-mode", "fail", "/srv/tls/front.key"),
    "a certificate that others may write": (
        run("chmod", "666", "/etc/kubernetes/pki/etcd/ca.crt"), "k8s-pki-certificates-mode", "fail", "etcd/ca.crt"),
    "a folder of certificates of somebody else": (
        run("chown", "plain", "/etc/kubernetes/pki/etcd"), "k8s-pki-owner", "fail", "/etc/kubernetes/pki/etcd"),
    "no certificates where they should be": (run("rm", "-r", "/etc/kubernetes/pki"), "k8s-pki-keys-mode", "error", "not found"),
    "the datastore's folder by a variable": (
        also(run("mkdir", "-m", "755", "/srv/etcd"), etcd_with(ETCD_DATA_DIR="/srv/etcd")),
        "k8s-etcd-data-mode", "fail", "/srv/etcd"),
    "the datastore's folder by its file": (
        also(run("mkdir", "-m", "755", "/srv/etcd"), put("/etc/etcd.yaml", "name: cp-1\ndata-dir: /srv/etcd\n"),
             restart("etcd", "etcd", "--config-file=/etc/etcd.yaml")),
        "k8s-etcd-data-mode", "fail", "/srv/etcd"),
    "the datastore's folder is root's": (run("chown", "-R", "0:0", "/var/lib/etcd"), "k8s-etcd-data-owner", "fail", "root"),
    "one CA in two files": (
        run("cp", "/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/pki/etcd/ca.crt"), "k8s-etcd-own-ca", "fail", "same key"),
    "a CA that is none": (put("/etc/kubernetes/pki/etcd/ca.crt", KEY), "k8s-etcd-own-ca", "error", "no certificate"),
    "the scheduler's credentials by its file": (
        also(put("/etc/sched.yaml", "clientConnection:\n  kubeconfig: /srv/sched.conf\n"), put("/srv/sched.conf", "x", 0o644),
             restart("kube-scheduler", "kube-scheduler", "--config=/etc/sched.yaml")),
        "k8s-scheduler-kubeconfig-mode", "fail", "/srv/sched.conf"),
    "the scheduler's flag beside a file": (
        also(put("/etc/sched.yaml", "kind: KubeSchedulerConfiguration\n"),
             restart("kube-scheduler", "kube-scheduler", "--config=/etc/sched.yaml", "--profiling=false")),
        "k8s-scheduler-profiling", "fail", "default"),
    "the kubelet's CA by a drop-in": (
        also(put("/srv/ca.crt", certificate("x"), 0o666),
             put("/etc/kubernetes/kubelet.conf.d/30-ca.conf", "authentication: {x509: {clientCAFile: /srv/ca.crt}}\n"), restarted),
        "k8s-kubelet-client-ca-mode", "fail", "/srv/ca.crt"),
    "the kubelet's CA is gone": (
        config(KUBELET_CONFIG.replace("pki/ca.crt", "pki/gone.crt")), "k8s-kubelet-client-ca-mode", "error", "gone.crt"),
    "pod networks where containerd is told to keep them": (
        also(put("/etc/containerd/config.toml", '[plugins."io.containerd.grpc.v1.cri".cni]\n  conf_dir = "/srv/cni"\n'),
             put("/srv/cni/10-net.conflist", "{}", 0o644),
             lambda node: node.spawn(["containerd"], executable="/usr/bin/containerd")),
        "k8s-cni-files-mode", "fail", "/srv/cni/10-net.conflist"),
    "addresses that are taken": (
        put("/var/lib/cni/networks/cbr0/10.244.0.5", "x", 0o644), "k8s-cni-files-mode", "fail", "10.244.0.5"),
    "a lock of pod networks is no configuration": (
        put("/etc/cni/net.d/cni.lock", "", 0o644), "k8s-cni-files-mode", "pass", "10-bridge.conflist"),
    "the second administrator's file": (
        put("/etc/kubernetes/super-admin.conf", "x", 0o640), "k8s-admin-kubeconfig-mode", "fail", "super-admin.conf"),
    "a policy that logs secrets in full": (
        also(put("/etc/audit.yaml", "kind: Policy\nrules:\n- level: RequestResponse\n"),
             restart("kube-apiserver", *APISERVER, "--audit-policy-file=/etc/audit.yaml", "--audit-log-path=-")),
        "k8s-audit-policy-coverage", "fail", "/etc/audit.yaml"),
    "a policy as it should be": (
        also(put("/etc/audit.yaml", "kind: Policy\nrules:\n- level: Metadata\n"),
             restart("kube-apiserver", *APISERVER, "--audit-policy-file", "/etc/audit.yaml", "--audit-log-path=-")),
        "k8s-audit-policy-coverage", "pass", "/etc/audit.yaml"),
    "kube-proxy's metrics for everybody": (
        also(put("/var/lib/kube-proxy/config.conf", 'metricsBindAddress: "0.0.0.0:10249"\n'),
             restart("kube-proxy", *COMPONENTS["kube-proxy"])),
        "k8s-kube-proxy-metrics-address", "fail", "config.conf"),
    "kube-proxy's credentials by its file": (
        also(put("/srv/proxy.conf", "x", 0o644),
             put("/var/lib/kube-proxy/config.conf", '{"clientConnection":{"kubeconfig":"/srv/proxy.conf"}}'),
             restart("kube-proxy", *COMPONENTS["kube-proxy"])),
        "k8s-kube-proxy-kubeconfig-mode", "fail", "/srv/proxy.conf"),
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
