"""Which controls' fixes are proven on real hosts, and why others are not. Tests hold these lists to what they really exercise.

``python -m tests.support.proofs`` brings the table of docs/fixes.md up to date.
"""

from __future__ import annotations

from pathlib import Path

from auditor.catalogue import packaged
from auditor.fixes.kinds import ContainerOption, GrantReview, ImageBuild
from auditor.fixes.kindwords import in_words
from auditor.model import Control
from checks import check_types
from checks.audit_rule import AuditRule

DOCUMENT = Path(__file__).parents[2] / "docs" / "fixes.md"
MARK = "<!-- from here on: python -m tests.support.proofs -->"

#: Fixed by the script as it comes, without a restart (tests/live/test_fix_docker.py).
DOCKER_QUIET = (
    "docker-service-owner", "docker-service-mode", "docker-socket-unit-owner", "docker-socket-unit-mode", "docker-etc-owner",
    "docker-etc-mode", "docker-daemon-json-owner", "docker-daemon-json-mode", "docker-registry-certs-owner",
    "docker-registry-certs-mode", "docker-tls-ca-owner", "docker-tls-ca-mode", "docker-tls-cert-owner", "docker-tls-cert-mode",
    "docker-tls-key-owner", "docker-tls-key-mode", "docker-socket-owner", "docker-socket-mode", "docker-etc-default-owner",
    "docker-etc-default-mode", "docker-etc-sysconfig-owner", "docker-etc-sysconfig-mode", "docker-containerd-socket-owner",
    "docker-containerd-socket-mode", "docker-live-restore", "docker-daemon-insecure-registries", "docker-container-pids-limit",
    "docker-container-restart-policy",
    "docker-audit-dockerd", "docker-audit-containerd-state", "docker-audit-data-root", "docker-audit-config-folder",
    "docker-audit-service-unit", "docker-audit-containerd-socket", "docker-audit-engine-socket", "docker-audit-etc-default",
    "docker-audit-daemon-json", "docker-audit-containerd-config", "docker-audit-etc-sysconfig", "docker-audit-containerd",
    "docker-audit-shim", "docker-audit-shim-runc-v1", "docker-audit-shim-runc-v2", "docker-audit-runc",
)  # fmt: skip
#: Fixed by it with --disruptive.
DOCKER_DISRUPTIVE = (
    "docker-daemon-icc", "docker-daemon-no-new-privileges", "docker-daemon-userland-proxy", "docker-daemon-log-level",
    "docker-daemon-iptables", "docker-daemon-cgroup-parent", "docker-daemon-experimental", "docker-daemon-userns-remap",
)  # fmt: skip
#: On a Kubernetes node, and of objects of a cluster.
NODE: tuple[str, ...] = (
    "k8s-admin-kubeconfig-mode", "k8s-admin-kubeconfig-owner", "k8s-apiserver-always-pull-images",
    "k8s-apiserver-audit-log-maxage", "k8s-apiserver-audit-log-maxbackup", "k8s-apiserver-audit-log-maxsize",
    "k8s-apiserver-authorization-node", "k8s-apiserver-authorization-not-always-allow", "k8s-apiserver-authorization-rbac",
    "k8s-apiserver-ciphers", "k8s-apiserver-deny-external-ips", "k8s-apiserver-manifest-mode", "k8s-apiserver-manifest-owner",
    "k8s-apiserver-namespace-lifecycle-plugin", "k8s-apiserver-no-always-admit", "k8s-apiserver-node-restriction-plugin",
    "k8s-apiserver-profiling", "k8s-apiserver-request-timeout", "k8s-apiserver-service-account-lookup",
    "k8s-apiserver-service-account-plugin", "k8s-apiserver-token-auth-file", "k8s-apiserver-token-expiration",
    "k8s-cni-files-mode", "k8s-cni-files-owner", "k8s-controller-manager-bind-address",
    "k8s-controller-manager-kubeconfig-mode", "k8s-controller-manager-kubeconfig-owner", "k8s-controller-manager-manifest-mode",
    "k8s-controller-manager-manifest-owner", "k8s-controller-manager-pod-gc", "k8s-controller-manager-profiling",
    "k8s-controller-manager-rotate-kubelet-certificates", "k8s-controller-manager-service-account-credentials",
    "k8s-etcd-client-cert-auth", "k8s-etcd-data-mode", "k8s-etcd-data-owner", "k8s-etcd-manifest-mode",
    "k8s-etcd-manifest-owner", "k8s-etcd-no-auto-tls", "k8s-etcd-no-peer-auto-tls", "k8s-etcd-peer-cert-auth",
    "k8s-kube-proxy-kubeconfig-mode", "k8s-kube-proxy-kubeconfig-owner", "k8s-kubelet-anonymous-auth",
    "k8s-kubelet-authorization-mode", "k8s-kubelet-ciphers", "k8s-kubelet-client-ca-mode", "k8s-kubelet-client-ca-owner",
    "k8s-kubelet-config-mode", "k8s-kubelet-config-owner", "k8s-kubelet-drop-ins-mode", "k8s-kubelet-event-qps",
    "k8s-kubelet-iptables-chains", "k8s-kubelet-kubeconfig-mode", "k8s-kubelet-kubeconfig-owner", "k8s-kubelet-pod-pids-limit",
    "k8s-kubelet-read-only-port", "k8s-kubelet-rotate-certificates", "k8s-kubelet-rotate-server-certificates",
    "k8s-kubelet-seccomp-default", "k8s-kubelet-serving-certificate", "k8s-kubelet-unit-mode", "k8s-kubelet-unit-owner",
    "k8s-pki-certificates-mode", "k8s-pki-keys-mode", "k8s-pki-owner", "k8s-scheduler-bind-address",
    "k8s-scheduler-kubeconfig-mode", "k8s-scheduler-kubeconfig-owner", "k8s-scheduler-manifest-mode",
    "k8s-scheduler-manifest-owner", "k8s-scheduler-profiling",
)  # fmt: skip
CLUSTER: tuple[str, ...] = ()
#: Hides the containers that other fixes are about, so that it is proven by itself and last.
REMAPPED = "docker-daemon-userns-remap"
#: Proven with Ansible as well (tests/live/test_fix_ansible.py, test_fix_node.py).
DOCKER_ANSIBLE = (*DOCKER_QUIET, *DOCKER_DISRUPTIVE)
ANSIBLE: tuple[str, ...] = (*NODE, *DOCKER_ANSIBLE)
#: Of objects of a cluster: no test has an API server, so tests/test_fixes_cluster.py applies them to recorded objects. By hand they
#: were applied to a real one, which docs/fixes.md tells of.
_BY_HAND_ON_1_20 = (
    "k8s-default-service-accounts", "k8s-namespace-network-policy", "k8s-pod-admission", "k8s-pods-added-capabilities",
    "k8s-pods-capabilities", "k8s-pods-host-ipc", "k8s-pods-host-network", "k8s-pods-host-path", "k8s-pods-host-pid",
    "k8s-pods-host-ports", "k8s-pods-net-raw", "k8s-pods-privilege-escalation", "k8s-pods-privileged", "k8s-pods-proc-mount",
    "k8s-pods-root", "k8s-pods-seccomp", "k8s-service-account-tokens",
)  # fmt: skip
#: What could not be tried on the hosts that tests have, and why.
UNPROVEN: dict[str, str] = {
    **dict.fromkeys(_BY_HAND_ON_1_20, "by tests on recorded objects only; by hand on a real API server (1.20.2)"),
    "k8s-pods-windows-host-process": "tried on recorded objects; the real API server (1.20.2) doesn't know such containers",
    "k8s-kubelet-streaming-timeout": "only a flag can set it wrong, and a person takes that out",
    "docker-container-selinux": "test hosts have no SELinux",
    "docker-daemon-seccomp": "the engine of test hosts (20.10) can't be set so that this fails",
}
#: Not tried yet: each is to be moved to one of the others.
NOT_YET: tuple[str, ...] = ()
#: Kinds of fixes that end in words for a person.
_BY_HAND = (ImageBuild, GrantReview)


def by_hand(control: Control) -> bool:
    """Whether all that is generated for a control is for a person to do."""
    fixes = control.remediation.fix
    return bool(fixes) and all(isinstance(f, _BY_HAND) or (isinstance(f, ContainerOption) and not f.update) for f in fixes)


def proven() -> dict[str, str]:
    """Return the controls whose fixes are proven, each with the formats."""
    shell = dict.fromkeys((*DOCKER_QUIET, *DOCKER_DISRUPTIVE, *NODE), "shell")
    shell |= dict.fromkeys(CLUSTER, "manifest")
    return {key: f"{how}, Ansible" if key in ANSIBLE else how for key, how in shell.items()}


def _said(control: Control, done: dict[str, str]) -> str:
    if not control.remediation.fix:
        return "no fix: it takes a decision"
    if control.key in done:
        stand_ins = ", with stand-ins for auditctl and augenrules" if isinstance(control.check, AuditRule) else ""
        return f"proven: {done[control.key]}{stand_ins}"
    if control.key in UNPROVEN or control.key in NOT_YET:
        return f"not proven: {UNPROVEN.get(control.key, 'not tried yet')}"
    return "by hand"


def table() -> str:
    """Return the table of docs/fixes.md."""
    library, done, lines = packaged(check_types()), proven(), []
    for name in library.names():
        benchmark = library.load({"cis-kubernetes": "cis-kubernetes@2.0.1"}.get(name, name))
        lines += [f"### {benchmark.ref}", "", "| Control | What the fix does | State |", "| --- | --- | --- |"]
        for control in benchmark.controls:
            words = "; ".join(in_words(f) for f in control.remediation.fix)
            lines.append(f"| {control.id} {control.title} | {words.replace('|', '')} | {_said(control, done)} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Bring docs/fixes.md up to date."""
    head, mark, _ = DOCUMENT.read_text().partition(MARK)
    DOCUMENT.write_text(f"{head}{mark}\n{table()}")


if __name__ == "__main__":
    main()
