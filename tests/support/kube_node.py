"""A host that looks like a kubeadm control plane: processes with real command lines, files with modes and owners.

The processes are tiny programs that only wait: what an audit reads of a process is its executable, its argv and its
environment, and those are as real as any.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.support.host import ENVIRONMENT, Entry, TestHost

ETCD = 998  # user and group number of etcd on the hosts

APISERVER = (
    "kube-apiserver", "--advertise-address=10.0.0.10", "--allow-privileged=true", "--authorization-mode=Node,RBAC",
    "--client-ca-file=/etc/kubernetes/pki/ca.crt", "--enable-admission-plugins=NodeRestriction",
    "--enable-bootstrap-token-auth=true", "--etcd-cafile=/etc/kubernetes/pki/etcd/ca.crt",
    "--etcd-certfile=/etc/kubernetes/pki/apiserver-etcd-client.crt", "--etcd-keyfile=/etc/kubernetes/pki/apiserver-etcd-client.key",
    "--etcd-servers=https://127.0.0.1:2379", "--kubelet-client-certificate=/etc/kubernetes/pki/apiserver-kubelet-client.crt",
    "--kubelet-client-key=/etc/kubernetes/pki/apiserver-kubelet-client.key",
    "--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
    "--proxy-client-cert-file=/etc/kubernetes/pki/front-proxy-client.crt",
    "--proxy-client-key-file=/etc/kubernetes/pki/front-proxy-client.key", "--requestheader-allowed-names=front-proxy-client",
    "--requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt",
    "--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group",
    "--requestheader-username-headers=X-Remote-User", "--secure-port=6443",
    "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
    "--service-account-key-file=/etc/kubernetes/pki/sa.pub", "--service-account-signing-key-file=/etc/kubernetes/pki/sa.key",
    "--service-cluster-ip-range=10.96.0.0/12", "--tls-cert-file=/etc/kubernetes/pki/apiserver.crt",
    "--tls-private-key-file=/etc/kubernetes/pki/apiserver.key",
)  # fmt: skip
CONTROLLER_MANAGER = (
    "kube-controller-manager", "--authentication-kubeconfig=/etc/kubernetes/controller-manager.conf",
    "--authorization-kubeconfig=/etc/kubernetes/controller-manager.conf", "--bind-address=127.0.0.1",
    "--client-ca-file=/etc/kubernetes/pki/ca.crt", "--cluster-name=kubernetes",
    "--cluster-signing-cert-file=/etc/kubernetes/pki/ca.crt", "--cluster-signing-key-file=/etc/kubernetes/pki/ca.key",
    "--controllers=*,bootstrapsigner,tokencleaner", "--kubeconfig=/etc/kubernetes/controller-manager.conf", "--leader-elect=true",
    "--requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt", "--root-ca-file=/etc/kubernetes/pki/ca.crt",
    "--service-account-private-key-file=/etc/kubernetes/pki/sa.key", "--use-service-account-credentials=true",
)  # fmt: skip
SCHEDULER = (
    "kube-scheduler", "--authentication-kubeconfig=/etc/kubernetes/scheduler.conf",
    "--authorization-kubeconfig=/etc/kubernetes/scheduler.conf", "--bind-address=127.0.0.1",
    "--kubeconfig=/etc/kubernetes/scheduler.conf", "--leader-elect=true",
)  # fmt: skip
ETCD_ARGV = (
    "etcd", "--advertise-client-urls=https://10.0.0.10:2379", "--cert-file=/etc/kubernetes/pki/etcd/server.crt",
    "--client-cert-auth=true", "--data-dir=/var/lib/etcd", "--initial-advertise-peer-urls=https://10.0.0.10:2380",
    "--initial-cluster=cp-1=https://10.0.0.10:2380", "--key-file=/etc/kubernetes/pki/etcd/server.key",
    "--listen-client-urls=https://127.0.0.1:2379,https://10.0.0.10:2379", "--listen-metrics-urls=http://127.0.0.1:2381",
    "--listen-peer-urls=https://10.0.0.10:2380", "--name=cp-1", "--peer-cert-file=/etc/kubernetes/pki/etcd/peer.crt",
    "--peer-client-cert-auth=true", "--peer-key-file=/etc/kubernetes/pki/etcd/peer.key",
    "--peer-trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt", "--snapshot-count=10000",
    "--trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt",
)  # fmt: skip
KUBELET = (
    "/usr/bin/kubelet", "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf", "--kubeconfig=/etc/kubernetes/kubelet.conf",
    "--config=/var/lib/kubelet/config.yaml", "--config-dir=/etc/kubernetes/kubelet.conf.d",
    "--container-runtime-endpoint=unix:///run/containerd/containerd.sock", "--pod-infra-container-image=registry.k8s.io/pause:3.10",
)  # fmt: skip
KUBE_PROXY = ("/usr/local/bin/kube-proxy", "--config=/var/lib/kube-proxy/config.conf", "--hostname-override=cp-1")
COMPONENTS: dict[str, Sequence[str]] = {
    "kube-apiserver": APISERVER, "kube-controller-manager": CONTROLLER_MANAGER, "kube-scheduler": SCHEDULER, "etcd": ETCD_ARGV,
    "kubelet": KUBELET, "kube-proxy": KUBE_PROXY,
}  # fmt: skip
EXECUTABLES = {"kubelet": "/usr/bin/kubelet", "etcd": "/usr/local/bin/etcd"}
STATIC = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")

KUBELET_CONFIG = """\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous:
    enabled: false
  webhook:
    cacheTTL: 0s
    enabled: true
  x509:
    clientCAFile: /etc/kubernetes/pki/ca.crt
authorization:
  mode: Webhook
cgroupDriver: systemd
clusterDNS:
- 10.96.0.10
clusterDomain: cluster.local
rotateCertificates: true
staticPodPath: /etc/kubernetes/manifests
"""
DROP_IN = """\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
readOnlyPort: 0
eventRecordQPS: 5
"""
#: What such a kubelet has in force, where it isn't what the recorded cluster's has.
CONFIGZ = {"rotateCertificates": True, "cgroupDriver": "systemd", "clusterDomain": "cluster.local", "eventRecordQPS": 5,
           "authentication": {"anonymous": {"enabled": False}, "webhook": {"cacheTTL": "0s", "enabled": True},
                              "x509": {"clientCAFile": "/etc/kubernetes/pki/ca.crt"}}}  # fmt: skip
KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{name: kubernetes, cluster: {server: "https://10.0.0.10:6443"}}]
contexts: [{name: default, context: {cluster: kubernetes, user: default}}]
current-context: default
users: [{name: default, user: {token: planted-kubeconfig-token}}]
"""


def manifest(component: str, argv: Sequence[str]) -> str:
    """Return a static pod's manifest as kubeadm writes it, reduced to what matters here."""
    flags = "\n".join(f"    - {a}" for a in argv[1:])
    return (
        f"apiVersion: v1\nkind: Pod\nmetadata:\n  labels: {{component: {component}, tier: control-plane}}\n  name: {component}\n"
        f"  namespace: kube-system\nspec:\n  hostNetwork: true\n  containers:\n  - name: {component}\n"
        f"    image: registry.k8s.io/{component}:v1.34.0\n    command:\n    - {component}\n{flags}\n"
    )


@cache
def certificate(name: str) -> str:
    """Return a certificate that a CA of this name signed itself; every name has a key of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(
        subject, subject, key.public_key(), x509.random_serial_number(), start, start + timedelta(3650)
    )
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


def files(components: Mapping[str, Sequence[str]]) -> list[Entry]:
    """Return a kubeadm node's files with the owners and modes kubeadm gives them (etcd's data belongs to etcd)."""
    manifests = [Entry(f"/etc/kubernetes/manifests/{c}.yaml", manifest(c, components[c]), 0o600) for c in STATIC if c in components]
    configs = [
        Entry(f"/etc/kubernetes/{n}.conf", KUBECONFIG, 0o600) for n in ("admin", "scheduler", "controller-manager", "kubelet")
    ]
    pki: list[Entry] = []
    pairs = ("ca", "apiserver", "apiserver-etcd-client", "apiserver-kubelet-client", "front-proxy-ca", "front-proxy-client",
             "etcd/ca", "etcd/server", "etcd/peer", "etcd/healthcheck-client")  # fmt: skip
    for name in pairs:
        pki += [
            Entry(f"/etc/kubernetes/pki/{name}.crt", certificate(name), 0o644),
            Entry(f"/etc/kubernetes/pki/{name}.key", "-----BEGIN PRIVATE KEY-----\nplanted-private-key\n", 0o600),
        ]
    return [
        *manifests, *configs, *pki,
        Entry("/etc/kubernetes/pki/sa.pub", "-----BEGIN PUBLIC KEY-----\n", 0o600),
        Entry("/etc/kubernetes/pki/sa.key", "-----BEGIN PRIVATE KEY-----\nplanted-private-key\n", 0o600),
        Entry("/var/lib/kubelet", None, 0o750),
        Entry("/var/lib/kubelet/config.yaml", KUBELET_CONFIG, 0o644),
        Entry("/etc/kubernetes/kubelet.conf.d/10-port.conf", DROP_IN, 0o644),
        Entry("/usr/lib/systemd/system/kubelet.service", "[Service]\nExecStart=/usr/bin/kubelet\n", 0o644),
        Entry("/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf", "[Service]\nRestart=always\n", 0o644),
        Entry("/var/lib/kube-proxy/config.conf", "kind: KubeProxyConfiguration\nmetricsBindAddress: 127.0.0.1:10249\n", 0o600),
        Entry("/var/lib/etcd", None, 0o700, ETCD, ETCD),
        Entry("/var/lib/etcd/member/snap/db", b"", 0o600, ETCD, ETCD),
        Entry("/etc/cni/net.d/10-bridge.conflist", '{"cniVersion": "1.0.0", "name": "bridge", "plugins": []}', 0o600),
    ]  # fmt: skip


@dataclass
class KubeNode(TestHost):
    """A test host that looks like a kubeadm control plane; ``components`` maps each to its argv, ``on_host`` are in no pod."""

    __test__ = False

    hostname: str = "cp-1"
    components: Mapping[str, Sequence[str]] = field(default_factory=lambda: dict(COMPONENTS))
    environments: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    version: str = "v1.34.0"
    on_host: Sequence[str] = ("kubelet",)

    def furniture(self) -> list[Entry]:
        """Return its files."""
        return files(self.components)

    def executable(self, component: str) -> str:
        """Return where a component's program is."""
        return EXECUTABLES.get(component, f"/usr/local/bin/{component}")

    def _furnish(self) -> None:
        super()._furnish()
        self.pids: dict[str, int] = {}
        self.place(*self.furniture())
        for component in self.components:
            self.place(Entry(self.executable(component), waiting_program(f"Kubernetes {self.version}"), 0o755))
            self.start_component(component)

    def start_component(self, component: str, argv: Sequence[str] | None = None) -> None:
        """Start a component, instead of the one that runs; with ``argv`` its command line is changed for good."""
        if component in self.pids:
            self.kill(self.pids.pop(component))
        if argv is not None:
            self.components = {**self.components, component: argv}
        contained = "" if component in self.on_host else f"/kubepods/burstable/pod-{component}/{'c' * 64}"
        self.pids[component] = self.spawn(
            self.components[component],
            executable=self.executable(component),
            env={**ENVIRONMENT, **self.environments.get(component, {})},
            container=contained,
            log=component,
        )


def waiting_program(says: str = "Kubernetes v1.34.0") -> bytes:
    """Return a real ELF program for this machine, of some 250 bytes: with ``--version`` it ``says`` so, otherwise it only waits."""
    words = says.encode() + b"\n"
    number, code = {"x86_64": (62, _x86_64), "aarch64": (183, _aarch64)}[platform.machine()]
    program = code(len(words)) + words
    base, header = 0x400000, 64 + 56
    elf = struct.pack("<4s5B7x2HI3QI6H", b"\x7fELF", 2, 1, 1, 0, 0, 2, number, 1, base + header, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    size = header + len(program)
    return elf + struct.pack("<2I6Q", 1, 5, 0, base, base, size, size, 0x1000) + program


def _x86_64(length: int) -> bytes:
    say = (
        bytes.fromhex("b80100000089c7488d3500000000ba")  # mov eax, 1 (write); mov edi, eax; lea rsi, [rip + words]; mov edx, length
        + struct.pack("<I", length)
        + bytes.fromhex("0f05b83c00000031ff0f05")  # syscall; mov eax, 60 (exit); xor edi, edi; syscall
    )
    wait = bytes.fromhex("b8220000000f05ebf7")  # mov eax, 34 (pause); syscall; jmp back
    say = say[:10] + struct.pack("<i", len(say) - 14 + len(wait)) + say[14:]
    asked = (
        bytes.fromhex("488b74241048b8")  # mov rsi, [rsp + 16] (argv[1]); mov rax, the text
        + b"--versio"
        + bytes.fromhex("48390675")  # cmp [rsi], rax; jne wait
        + bytes([len(say)])
    )
    return bytes.fromhex("48833c240275") + bytes([len(asked) + len(say)]) + asked + say + wait  # cmp argc, 2; jne wait


def _aarch64(length: int) -> bytes:
    to_wait = 0x54000001  # b.ne
    code = [
        0xF94003E0, 0xF100081F, to_wait | 15 << 5,  # ldr x0, [sp]; cmp x0, 2
        0xF9400BE1, 0xB9400022, 0x52800003 | 0x2D2D << 5, 0x72A00003 | 0x6576 << 5, 0x6B03005F, to_wait | 9 << 5,  # argv[1] is --ve...
        0xD2800020, 0x10000001 | 15 << 5, 0xD2800002 | length << 5, 0xD2800808, 0xD4000001,  # write(1, words, length)
        0xD2800000, 0xD2800BA8, 0xD4000001,  # exit(0)
        # mov x0..x4, 0; mov x8, 73 (ppoll); svc 0; b back
        0xD2800000, 0xD2800001, 0xD2800002, 0xD2800003, 0xD2800004, 0xD2800928, 0xD4000001, 0x17FFFFF9,
    ]  # fmt: skip
    return struct.pack(f"<{len(code)}I", *code)
