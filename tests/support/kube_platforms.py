"""Hosts that look like nodes of k3s, RKE2 and microk8s: where each keeps its files, and how its programs are started.

What k3s says in its log goes through a real journald, with the number of the process that says it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.support.host import ENVIRONMENT, Entry, TestHost
from tests.support.kube_node import KUBECONFIG, KubeNode, certificate, manifest, waiting_program

KEY = "-----BEGIN EC PRIVATE KEY-----\nplanted-private-key\n-----END EC PRIVATE KEY-----\n"
_DROP_IN = """\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {{enabled: false}}
  webhook: {{cacheTTL: 2m0s, enabled: true}}
  x509: {{clientCAFile: {data}/agent/client-ca.crt}}
authorization: {{mode: Webhook}}
cgroupDriver: systemd
clusterDomain: cluster.local
eventRecordQPS: 50
readOnlyPort: 0
serializeImagePulls: false
staticPodPath: {data}/agent/pod-manifests
tlsCertFile: {data}/agent/serving-kubelet.crt
tlsPrivateKeyFile: {data}/agent/serving-kubelet.key
"""
_ETCD = """\
advertise-client-urls: https://10.0.0.20:2379
client-transport-security:
  cert-file: {data}/server/tls/etcd/server-client.crt
  client-cert-auth: true
  key-file: {data}/server/tls/etcd/server-client.key
  trusted-ca-file: {data}/server/tls/etcd/server-ca.crt
data-dir: {data}/server/db/etcd
initial-cluster: ''
listen-client-urls: https://127.0.0.1:2379,https://10.0.0.20:2379
listen-peer-urls: https://127.0.0.1:2380,https://10.0.0.20:2380
name: server-1-1a2b3c4d
peer-transport-security:
  cert-file: {data}/server/tls/etcd/peer-server-client.crt
  client-cert-auth: true
  key-file: {data}/server/tls/etcd/peer-server-client.key
  trusted-ca-file: {data}/server/tls/etcd/peer-ca.crt
"""
_PAIRS = ("client-ca", "server-ca", "client-kube-apiserver", "serving-kube-apiserver", "etcd/server-ca", "etcd/peer-ca",
          "etcd/server-client", "etcd/peer-server-client", "etcd/client", "client-auth-proxy", "request-header-ca")  # fmt: skip


def control_plane(data: str, *more: str, datastore: str = "https://127.0.0.1:2379") -> dict[str, list[str]]:
    """Return the arguments that k3s and RKE2 give the programs of the control plane; ``more`` go to the API server."""
    tls, cred = f"{data}/server/tls", f"{data}/server/cred"
    etcd = [
        f"--etcd-cafile={tls}/etcd/server-ca.crt",
        f"--etcd-certfile={tls}/etcd/client.crt",
        f"--etcd-keyfile={tls}/etcd/client.key",
    ]
    return {
        "kube-apiserver": [
            "--advertise-port=6443", "--allow-privileged=true", "--anonymous-auth=false",
            "--api-audiences=https://kubernetes.default.svc.cluster.local,k3s", "--authorization-mode=Node,RBAC",
            "--bind-address=127.0.0.1", f"--cert-dir={tls}/temporary-certs", f"--client-ca-file={tls}/client-ca.crt",
            "--enable-admission-plugins=NodeRestriction", *(etcd if datastore.startswith("https:") else []),
            f"--etcd-servers={datastore}", f"--kubelet-certificate-authority={tls}/server-ca.crt",
            f"--kubelet-client-certificate={tls}/client-kube-apiserver.crt", f"--kubelet-client-key={tls}/client-kube-apiserver.key",
            "--profiling=false", f"--service-account-key-file={tls}/service.key",
            f"--service-account-signing-key-file={tls}/service.current.key", f"--tls-cert-file={tls}/serving-kube-apiserver.crt",
            "--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            f"--tls-private-key-file={tls}/serving-kube-apiserver.key", *more,
        ],
        "kube-controller-manager": [
            f"--authentication-kubeconfig={cred}/controller.kubeconfig", f"--authorization-kubeconfig={cred}/controller.kubeconfig",
            "--bind-address=127.0.0.1", f"--kubeconfig={cred}/controller.kubeconfig", "--profiling=false",
            f"--root-ca-file={tls}/server-ca.crt", f"--service-account-private-key-file={tls}/service.current.key",
            "--use-service-account-credentials=true",
        ],
        "kube-scheduler": [
            f"--authentication-kubeconfig={cred}/scheduler.kubeconfig", f"--authorization-kubeconfig={cred}/scheduler.kubeconfig",
            "--bind-address=127.0.0.1", f"--kubeconfig={cred}/scheduler.kubeconfig", "--profiling=false",
        ],
    }  # fmt: skip


def on_node(data: str) -> dict[str, list[str]]:
    """Return the arguments that k3s and RKE2 give the programs of every node."""
    return {
        "kubelet": [
            f"--config-dir={data}/agent/etc/kubelet.conf.d", "--containerd=/run/k3s/containerd/containerd.sock",
            "--hostname-override=server-1", f"--kubeconfig={data}/agent/kubelet.kubeconfig", "--node-labels=",
        ],
        "kube-proxy": [
            "--cluster-cidr=10.42.0.0/16", "--healthz-bind-address=127.0.0.1", "--hostname-override=server-1",
            f"--kubeconfig={data}/agent/kubeproxy.kubeconfig", "--proxy-mode=iptables",
        ],
    }  # fmt: skip


def rancher_files(name: str, data: str, *, server: bool = True, etcd: bool = True) -> list[Entry]:
    """Return the files of a node of k3s or RKE2 with the modes that these give them."""
    found = [
        Entry(f"{data}/agent/etc/kubelet.conf.d/00-{name}-defaults.conf", _DROP_IN.format(data=data), 0o600),
        Entry(f"{data}/agent/kubelet.kubeconfig", KUBECONFIG, 0o600), Entry(f"{data}/agent/kubeproxy.kubeconfig", KUBECONFIG, 0o600),
        Entry(f"{data}/agent/client-ca.crt", certificate("client-ca"), 0o600),
        Entry(f"{data}/agent/serving-kubelet.crt", certificate("kubelet"), 0o600), Entry(f"{data}/agent/serving-kubelet.key", KEY, 0o600),
        Entry(f"{data}/agent/etc/cni/net.d/10-flannel.conflist", "{}", 0o600), Entry(f"{data}/agent/pod-manifests", None, 0o700),
    ]  # fmt: skip
    if not server:
        return found
    found += [Entry(f"{data}/server/tls", None, 0o700), Entry(f"{data}/server/tls/etcd", None, 0o700)]
    for pair in _PAIRS:
        found += [
            Entry(f"{data}/server/tls/{pair}.crt", certificate(pair), 0o644),
            Entry(f"{data}/server/tls/{pair}.key", KEY, 0o600),
        ]
    found += [Entry(f"{data}/server/tls/{n}.key", KEY, 0o600) for n in ("service", "service.current")]
    found += [Entry(f"{data}/server/cred/{n}.kubeconfig", KUBECONFIG, 0o600) for n in ("admin", "controller", "scheduler")]
    found.append(Entry(f"/etc/rancher/{name}/{name}.yaml", KUBECONFIG, 0o600))
    if etcd:
        found += [
            Entry(f"{data}/server/db/etcd", None, 0o700),
            Entry(f"{data}/server/db/etcd/config", _ETCD.format(data=data), 0o600),
        ]
    else:
        found.append(Entry(f"{data}/server/db/state.db", b"SQLite", 0o600))
    return found


def line(program: str, args: Sequence[str], when: str = "2026-11-22T02:00:00Z") -> str:
    """Return what k3s writes into its log when it starts a program."""
    return f'time="{when}" level=info msg="Running {program} {" ".join(args)}"'


@dataclass
class K3sNode(TestHost):
    """A node of k3s: one program with all the others inside, whose arguments stand in the journal. ``mode``: server or agent.

    ``etcd`` False makes it keep its state in SQLite. ``journal`` False: what it says goes into no journal.
    """

    __test__ = False

    hostname: str = "server-1"
    mode: str = "server"
    data: str = "/var/lib/rancher/k3s"
    etcd: bool = True
    journal: bool = True
    more: Sequence[str] = ()

    def lines(self) -> list[str]:
        """Return what it says when it starts."""
        store = "https://127.0.0.1:2379" if self.etcd else "unix://kine.sock"
        plane = control_plane(self.data, *self.more, datastore=store) if self.mode == "server" else {}
        said = [line(program, args) for program, args in {**plane, **on_node(self.data)}.items()]
        return [
            'time="2026-11-22T02:00:00Z" level=info msg="Starting k3s v1.31.4+k3s1 (a562d090)"',
            *said,
            "I1122 02:00:09.1 ready",
        ]

    def _furnish(self) -> None:
        super()._furnish()
        self.program = f"{self.data}/data/0b61a1e1f5a1/bin/k3s"
        self.place(Entry("/etc/machine-id", "0123456789abcdef0123456789abcdef\n"), Entry(self.program, waiting_program(), 0o755),
                   *rancher_files("k3s", self.data, server=self.mode == "server", etcd=self.etcd))  # fmt: skip
        if self.journal:
            self.spawn(["/lib/systemd/systemd-journald"], log="journald")
            self.wait_for(lambda: "stdout" in self.run("ls", "/run/systemd/journal", check=False), "journald")
        self.k3s = 0
        self.start()

    def start(self, lines: Sequence[str] | None = None) -> None:
        """Start k3s, instead of the one that runs; ``lines`` are what it says then."""
        if self.k3s:
            self.kill(self.k3s)
        self.place(Entry("/k3s.log", "\n".join(self.lines() if lines is None else lines) + "\n"))
        # It hides its arguments by writing a title over them, and says all this itself: so no other process may.
        script = f'while IFS= read -r l; do printf "%s\\n" "$l"; done </k3s.log >&2; exec -a "/usr/local/bin/k3s {self.mode}" {self.program}'
        argv = ["busybox", "sh", "-c", script]
        self.k3s = self.spawn([*(["systemd-cat"] if self.journal else []), *argv],
                              executable=f"/usr/bin/{'systemd-cat' if self.journal else 'busybox'}", log="k3s")  # fmt: skip
        self.wait_for(lambda: self.processes().get(self.k3s) == [f"/usr/local/bin/k3s {self.mode}"], "k3s to start")
        if self.journal and lines is None:
            self.wait_for(lambda: "ready" in self.run("journalctl", "-o", "cat", f"_PID={self.k3s}", check=False), "the journal")


def _in_pods(data: str) -> dict[str, Sequence[str]]:
    found: dict[str, Sequence[str]] = {n: [n, *a] for n, a in {**control_plane(data), **on_node(data)}.items()}
    return {**found, "etcd": ["etcd", f"--config-file={data}/server/db/etcd/config"]}


@dataclass
class Rke2Node(KubeNode):
    """A server of RKE2: its programs run by themselves, from static pods and under its own unit."""

    __test__ = False

    hostname: str = "server-1"
    data: str = "/var/lib/rancher/rke2"
    components: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def executable(self, component: str) -> str:
        """RKE2 unpacks its programs into its data folder."""
        return f"{self.data}/data/v1.31.4-rke2r1-abc/bin/{component}"

    def furniture(self) -> list[Entry]:
        """Its files: manifests that all may read, unless it was told to follow the benchmark."""
        pods = [Entry(f"{self.data}/agent/pod-manifests/{c}.yaml", manifest(c, self.components[c]), 0o644)
                for c in self.components if c != "kubelet"]  # fmt: skip
        return [*rancher_files("rke2", self.data), *pods]

    def _furnish(self) -> None:
        self.components = self.components or _in_pods(self.data)
        super()._furnish()
        self.place(Entry("/usr/local/bin/rke2", waiting_program(), 0o755))
        self.spawn(["/usr/local/bin/rke2 server"], executable="/usr/local/bin/rke2", log="rke2")


_SNAP = "/var/snap/microk8s/7449"


def microk8s_args() -> dict[str, str]:
    """Return the files of arguments that microk8s comes with, reduced to what matters here."""
    certs, cred = "${SNAP_DATA}/certs", "${SNAP_DATA}/credentials"
    return {
        "kube-apiserver": f"--cert-dir={certs}\n--authorization-mode=RBAC,Node\n# none of these\n--client-ca-file={certs}/ca.crt\n"
        f'--tls-cert-file={certs}/server.crt\n--tls-private-key-file={certs}/server.key\n--anonymous-auth="false"\n'
        "--etcd-servers='unix://${SNAP_DATA}/var/kubernetes/backend/kine.sock:12379'\n",
        "kube-controller-manager": f"--kubeconfig={cred}/controller.config\n--root-ca-file={certs}/ca.crt\n--profiling=false\n",
        "kube-scheduler": f"--kubeconfig={cred}/scheduler.config\n--profiling=false\n",
        "kubelet": f"--kubeconfig={cred}/kubelet.config\n--anonymous-auth=false\n--client-ca-file=$SNAP_DATA/certs/ca.crt\n",
        "kube-proxy": f"--kubeconfig={cred}/proxy.config\n",
    }


@dataclass
class Microk8sNode(TestHost):
    """A node of microk8s: kubelite with all the others inside, which read their arguments from files."""

    __test__ = False

    hostname: str = "micro-1"
    control_plane: bool = True

    def _furnish(self) -> None:
        super()._furnish()
        names = {"client", "controller", "scheduler", "kubelet", "proxy"}
        self.place(
            *(Entry(f"{_SNAP}/args/{name}", text, 0o660) for name, text in microk8s_args().items()),
            *(Entry(f"{_SNAP}/credentials/{name}.config", KUBECONFIG, 0o660) for name in sorted(names)),
            Entry(f"{_SNAP}/certs/ca.crt", certificate("ca"), 0o660), Entry(f"{_SNAP}/certs/server.crt", certificate("server"), 0o660),
            Entry(f"{_SNAP}/certs/server.key", KEY, 0o660), Entry("/var/snap/microk8s/current", link="7449"),
            Entry("/snap/microk8s/7449/kubelite", waiting_program(), 0o755), Entry("/snap/microk8s/7449/bin/k8s-dqlite", waiting_program(), 0o755),
        )  # fmt: skip
        flags = {n: f"--{n}-args-file={_SNAP}/args/{'' if n == 'kubelet' else 'kube-'}{n}"
                 for n in ("scheduler", "controller-manager", "proxy", "kubelet", "apiserver")}  # fmt: skip
        more = [f"--kubeconfig-file={_SNAP}/credentials/client.config", f"--start-control-plane={str(self.control_plane).lower()}"]
        program = "/snap/microk8s/7449/kubelite"
        variables = {"SNAP": "/snap/microk8s/7449", "SNAP_DATA": _SNAP, "SNAP_COMMON": "/var/snap/microk8s/common"}
        self.spawn([program, *flags.values(), *more], env={**ENVIRONMENT, **variables}, log="kubelite")
        self.spawn(["/snap/microk8s/7449/bin/k8s-dqlite", f"--storage-dir={_SNAP}/var/kubernetes/backend"], log="dqlite")
