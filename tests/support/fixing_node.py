"""A control plane on which every fix has something to do. The test is its kubelet: it starts again what changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import yaml

from tests.support.host import Entry
from tests.support.kube_node import (
    APISERVER,
    CONTROLLER_MANAGER,
    ETCD_ARGV,
    KUBECONFIG,
    KUBELET,
    KUBELET_CONFIG,
    SCHEDULER,
    STATIC,
    KubeNode,
    files,
)

PLAIN = 2003
#: Notes what it is told. Ansible asks it whether the unit is there before it restarts that.
SYSTEMCTL = """\
#!/bin/sh
case $1 in
show) printf 'LoadState=loaded\\nActiveState=active\\nSubState=running\\n' ;;
*) echo "$*" >>/run/systemctl.log ;;
esac
"""


def _without(argv: Sequence[str], *names: str) -> list[str]:
    return [a for a in argv if a.partition("=")[0] not in names]


LOOSE: dict[str, Sequence[str]] = {
    "kube-apiserver": (
        *_without(APISERVER, "--authorization-mode", "--enable-admission-plugins"), "--authorization-mode=AlwaysAllow",
        "--enable-admission-plugins=AlwaysAdmit,PodSecurity", "--disable-admission-plugins=ServiceAccount,NamespaceLifecycle",
        "--token-auth-file=/etc/kubernetes/tokens.csv", "--audit-log-path=/var/log/audit.log", "--audit-log-maxage=7", "--audit-log-maxbackup=1", "--audit-log-maxsize=5",
        "--service-account-lookup=false", "--request-timeout=1h0m0s",
    ),
    "kube-controller-manager": (
        *_without(CONTROLLER_MANAGER, "--bind-address", "--use-service-account-credentials"), "--terminated-pod-gc-threshold=0",
        "--feature-gates=RotateKubeletServerCertificate=false,SomethingElse=true",
    ),
    "kube-scheduler": (*_without(SCHEDULER, "--bind-address"), "--bind-address=0.0.0.0"),
    "etcd": (
        *_without(ETCD_ARGV, "--client-cert-auth", "--peer-client-cert-auth", "--initial-cluster"), "--auto-tls=true", "--peer-auto-tls=true",
        "--client-cert-auth=false", "--initial-cluster=cp-1=https://10.0.0.10:2380,cp-2=https://10.0.0.11:2380",
    ),
    "kubelet": KUBELET,
    "kube-proxy": ("/usr/local/bin/kube-proxy", "--kubeconfig=/var/lib/kube-proxy/kubeconfig"),
}  # fmt: skip
LOOSE_CONFIG = (
    "# Set up by hand, long ago.\n"
    + KUBELET_CONFIG.replace("enabled: false", "enabled: true   # for the old monitoring").replace("Webhook", "AlwaysAllow")
    .replace("rotateCertificates: true\n", "featureGates:\n  RotateKubeletServerCertificate: false\nmakeIPTablesUtilChains: false\n")
)  # fmt: skip
LOOSE_DROP_IN = "kind: KubeletConfiguration\nreadOnlyPort: 10255\neventRecordQPS: 0\n"
#: Files that others may read and write and that aren't root's: one for every control about modes or owners.
OPEN = (
    *(f"/etc/kubernetes/manifests/{c}.yaml" for c in STATIC), "/etc/cni/net.d/10-bridge.conflist", "/etc/kubernetes/pki/ca.crt",
    *(f"/etc/kubernetes/{n}.conf" for n in ("admin", "scheduler", "controller-manager", "kubelet")), "/var/lib/kubelet/config.yaml",
    "/usr/lib/systemd/system/kubelet.service", "/etc/kubernetes/pki/ca.key", "/var/lib/kube-proxy/kubeconfig",
)  # fmt: skip
TIGHT = ("/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf", "/etc/kubernetes/kubelet.conf.d/10-port.conf")
CONTENT = {"/var/lib/kubelet/config.yaml": LOOSE_CONFIG, "/etc/kubernetes/kubelet.conf.d/10-port.conf": LOOSE_DROP_IN}


def _loosened(entry: Entry) -> Entry:
    entry = replace(entry, content=CONTENT.get(entry.path, entry.content))
    if entry.path in OPEN:
        return replace(entry, mode=0o666, uid=PLAIN, gid=PLAIN)
    if entry.path == "/var/lib/etcd":
        return replace(entry, mode=0o755, uid=0, gid=0)
    return replace(entry, mode=0o600) if entry.path in TIGHT else entry


@dataclass
class LooseKubeNode(KubeNode):
    """A control plane that is set up badly: its flags, its kubelet's files, and whom its files belong to."""

    __test__ = False

    components: Mapping[str, Sequence[str]] = field(default_factory=lambda: dict(LOOSE))

    def furniture(self) -> list[Entry]:
        """Return its files, which others may read and write, and which aren't root's."""
        found = [*files(self.components), Entry("/var/lib/kube-proxy/kubeconfig", KUBECONFIG)]
        return [*map(_loosened, found), Entry("/usr/bin/systemctl", SYSTEMCTL, 0o755), Entry("/run/systemd/system", None, 0o755)]

    def loosen(self) -> None:
        """Put everything back to what it was at first."""
        self.remove("/run/systemctl.log")
        self.components = dict(LOOSE)
        self.place(*self.furniture())
        for component, argv in LOOSE.items():
            self.start_component(component, argv)

    def act_as_kubelet(self) -> list[str]:
        """Start anew each program whose manifest has other arguments now, and the kubelet if it was to be; return which."""
        done = []
        for component in STATIC:
            pod = yaml.safe_load(self.run("cat", f"/etc/kubernetes/manifests/{component}.yaml"))
            (container,) = pod["spec"]["containers"]
            if container["command"] != list(self.components[component]):
                self.start_component(component, container["command"])
                done.append(component)
        if "restart kubelet" in self.run("sh", "-c", "cat /run/systemctl.log 2>/dev/null || :"):
            self.remove("/run/systemctl.log")
            self.start_component("kubelet", KUBELET)
            done.append("kubelet")
        return done
