"""Nodes of k3s, RKE2 and microk8s, a datastore and a worker by themselves: all controls of one version, over SSH."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from auditor.catalogue import packaged
from auditor.engine import judge, needs
from auditor.model import Benchmark, Evidence, Finding
from auditor.targets import result_of
from checks import check_types
from tests.support.collecting import collect, spec
from tests.support.host import Entry, TestHost
from tests.support.kube_node import COMPONENTS, KubeNode, waiting_program
from tests.support.kube_platforms import K3sNode, Microk8sNode, Rke2Node, line, microk8s_args, on_node

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("needs_hosts")]

SERVER_FAILS = (
    "apiserver-deny-external-ips apiserver-event-rate-limit apiserver-always-pull-images apiserver-audit-log-path "
    "apiserver-audit-log-maxage apiserver-audit-log-maxbackup apiserver-audit-log-maxsize apiserver-encryption-configured "
    "apiserver-encryption-providers apiserver-token-expiration audit-policy audit-policy-coverage"
)
KUBELET_FAILS = "kubelet-rotate-certificates kubelet-ciphers kubelet-pod-pids-limit kubelet-seccomp-default"
SERVER_ASKS = "controller-manager-pod-gc users-without-certificates users-without-service-account-tokens"
KUBELET_ASKS = "kubelet-rotate-server-certificates"
MANIFESTS = (
    "apiserver-manifest-mode apiserver-manifest-owner controller-manager-manifest-mode controller-manager-manifest-owner "
    "scheduler-manifest-mode scheduler-manifest-owner etcd-manifest-mode etcd-manifest-owner"
)
UNIT = "kubelet-unit-mode kubelet-unit-owner"
ETCD = (
    "etcd-data-mode etcd-data-owner etcd-client-tls etcd-client-cert-auth etcd-no-auto-tls etcd-peer-tls etcd-peer-cert-auth "
    "etcd-no-peer-auto-tls etcd-own-ca"
)
TO_ETCD = "apiserver-etcd-client-certificate apiserver-etcd-ca"
FILES = "scheduler-kubeconfig controller-manager-kubeconfig kube-proxy-kubeconfig kubelet-kubeconfig"


@cache
def benchmark() -> Benchmark:
    return packaged(check_types()).load("cis-kubernetes@1.12")


def audited(host: TestHost, **ssh: str) -> tuple[Evidence, dict[str, Finding]]:
    """Audit a host against all controls of 1.12 that are about nodes."""
    (evidence,) = collect(spec(host, **ssh), facts=needs([benchmark()], "host")).values()
    assert evidence.error is None, evidence.error
    findings = judge([benchmark()], evidence)
    assert "planted-private-key" not in str(evidence.facts)
    return evidence, {f.control.removeprefix("k8s-"): f for f in findings}


def assert_verdicts(findings: dict[str, Finding], **expected: str) -> None:
    """All findings are as said, by status; those that aren't named pass."""
    named = {name: status for status, names in expected.items() for name in names.split()}
    assert named.keys() <= findings.keys()
    wrong = {n: (str(f.status), f.reason, [o.actual for o in f.observations]) for n, f in findings.items()
             if f.status != named.get(n, "pass")}  # fmt: skip
    assert not wrong


def why(findings: dict[str, Finding], name: str) -> str:
    finding = findings[name]
    return " | ".join([finding.reason, *(f"{o.subject}: {o.actual} ({o.source})" for o in finding.observations)])


def test_a_server_of_k3s_that_keeps_its_data_elsewhere() -> None:
    """What runs inside it is judged by what it says in the real journal; all files are found below its own data folder."""
    with K3sNode(data="/srv/k3s") as host:
        evidence, found = audited(host)
        by_sudo = audited(host, user="auditor")[1]
    target = result_of(evidence)
    assert target.roles == ("control-plane", "etcd", "worker")
    assert target.facts["platform"] == "k3s (k3s runs; data in /srv/k3s)"
    assert_verdicts(found, not_applicable=f"{MANIFESTS} {UNIT} kubelet-hostname-override", fail=f"{SERVER_FAILS} {KUBELET_FAILS} etcd-data-owner",
                    manual=f"{SERVER_ASKS} {KUBELET_ASKS}")  # fmt: skip
    assert {n: f.status for n, f in by_sudo.items()} == {n: f.status for n, f in found.items()}
    assert "k3s has it built in" in found["apiserver-manifest-mode"].reason
    assert "runs inside k3s" in found["kubelet-unit-mode"].reason
    assert "--anonymous-auth of process/kube-apiserver (log of k3s (pid" in why(found, "apiserver-anonymous-auth")
    assert "/srv/k3s/agent/etc/kubelet.conf.d/00-k3s-defaults.conf" in why(found, "kubelet-anonymous-auth")
    assert "/srv/k3s/server/db/etcd/config" in why(found, "etcd-client-cert-auth")
    paths = {o.subject for name in FILES.split() for o in found[f"{name}-mode"].observations}
    cred, agent = "file//srv/k3s/server/cred", "file//srv/k3s/agent"
    assert paths == {f"{cred}/scheduler.kubeconfig", f"{cred}/controller.kubeconfig", f"{agent}/kubeproxy.kubeconfig",
                     f"{agent}/kubelet.kubeconfig"}  # fmt: skip
    keys = [o.subject for o in found["pki-keys-mode"].observations]
    assert len(keys) == len(set(keys)) == 13
    assert {o.subject for o in found["admin-kubeconfig-mode"].observations} == {
        "file//etc/rancher/k3s/k3s.yaml",
        f"{cred}/admin.kubeconfig",
    }


@pytest.mark.parametrize("shell", ["bash", "busybox"])
def test_k3s_asked_by_other_shells(shell: str) -> None:
    """Every shell finds the same: by default dash is asked."""
    with K3sNode(shell=shell) as host:
        _, found = audited(host)
    assert_verdicts(found, not_applicable=f"{MANIFESTS} {UNIT} kubelet-hostname-override", fail=f"{SERVER_FAILS} {KUBELET_FAILS} etcd-data-owner",
                    manual=f"{SERVER_ASKS} {KUBELET_ASKS}")  # fmt: skip


def test_k3s_without_etcd() -> None:
    """Nothing about etcd applies where the state is in a database, even where an old etcd left its files."""
    with K3sNode(etcd=False) as host:
        host.place(Entry(f"{host.data}/server/db/etcd/config", "data-dir: /old\n", 0o644), Entry("/old", None, 0o777))
        evidence, found = audited(host)
    assert result_of(evidence).roles == ("control-plane", "worker")
    assert_verdicts(found, not_applicable=f"{MANIFESTS} {UNIT} {ETCD} {TO_ETCD} kubelet-hostname-override",
                    fail=f"{SERVER_FAILS} {KUBELET_FAILS}", manual=f"{SERVER_ASKS} {KUBELET_ASKS}")  # fmt: skip
    assert "not in etcd" in found["etcd-client-tls"].reason
    assert "not in etcd" in found["etcd-data-mode"].reason


def test_an_agent_of_k3s() -> None:
    with K3sNode(mode="agent") as host:
        evidence, found = audited(host)
    assert result_of(evidence).roles == ("worker",)
    assert found["apiserver-anonymous-auth"].reason == "no kube-apiserver runs here"
    about_kubelet = {
        n: f for n, f in found.items() if n.startswith("kubelet") and n not in (*UNIT.split(), "kubelet-hostname-override")
    }
    assert_verdicts(about_kubelet, fail=KUBELET_FAILS, manual=KUBELET_ASKS)


#: What its log says in place of the usual, the control that tells, its verdict then, and what it says.
LOGS: dict[str, tuple[Callable[[K3sNode], list[str]], str, str, str]] = {
    "another flag": (
        lambda h: [*h.lines()[:1], h.lines()[1].replace("--anonymous-auth=false", "--anonymous-auth=true"), *h.lines()[2:]],
        "apiserver-anonymous-auth", "fail", "log of k3s"),
    "a later line, which may hold what others wrote": (
        lambda h: [*h.lines(), line("kube-apiserver", ["--anonymous-auth=true"])], "apiserver-anonymous-auth", "pass", "log of k3s"),
    "a line within another message": (
        lambda h: [h.lines()[0], 'I1122 02:00:09.1 agent: msg="Running kubelet --anonymous-auth=false"'],
        "kubelet-anonymous-auth", "error", "no line of this start"),
    "a value with spaces and quotes": (
        lambda h: [h.lines()[0], line("kubelet", [*on_node(h.data)["kubelet"], '--tls-cipher-suites=A B\\"C', "--anonymous-auth=true"])],
        "kubelet-anonymous-auth", "fail", "--anonymous-auth"),
    "nothing": (lambda _: [], "apiserver-authorization-rbac", "error", "the journal has no message"),
    "nothing about one": (lambda h: h.lines()[:-2], "kube-proxy-metrics-address", "error", "kube-proxy"),
    "nothing about whose file it is": (lambda h: h.lines()[:2], "kubelet-kubeconfig-mode", "error", "no line of this start"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOGS)
def test_verdict_follows_the_log_of_k3s(name: str) -> None:
    lines, control, status, said = LOGS[name]
    with K3sNode() as host:
        host.start(lines(host))
        host.wait_for(
            lambda: not lines(host) or "Starting" in host.run("journalctl", "-o", "cat", f"_PID={host.k3s}", check=False), ""
        )
        host.run("journalctl", "--sync", check=False)
        found = audited(host)[1][control]
    told = why({control: found}, control)
    assert found.status == status, told
    assert said in told


def test_a_journal_that_was_rotated_away() -> None:
    """What the journal no longer has is an error that says so; files in their usual places don't pass either."""
    with K3sNode() as host:
        host.run("journalctl", "--rotate")
        host.run("journalctl", "--vacuum-time=1s", "--vacuum-size=1", check=False)
        host.run("sh", "-c", "rm -rf /var/log/journal /run/log/journal")
        evidence, found = audited(host)
    assert result_of(evidence).roles == ("control-plane", "etcd", "worker")
    for control in ("apiserver-anonymous-auth", "kubelet-anonymous-auth", "scheduler-kubeconfig-mode", "pki-keys-mode"):
        assert found[control].status == "error", why(found, control)
        assert "rotated away" in why(found, control) or "could not be read" in why(found, control)


def test_an_account_that_may_not_read_the_journal() -> None:
    with K3sNode() as host:
        found = audited(host, user="plain")[1]
    assert found["apiserver-anonymous-auth"].status == "error"
    assert "may not read its log" in why(found, "apiserver-anonymous-auth")
    assert not [n for n, f in found.items() if f.status == "pass" and ("kubeconfig" in n or "pki" in n or "cni" in n)]
    assert "data folder of k3s" in why(found, "admin-kubeconfig-mode")


def test_k3s_that_logs_into_a_file() -> None:
    """Without systemd its messages go into a file, with those of starts before: only the present one's count."""
    with K3sNode(journal=False) as host:
        before, now = "2020-01-01T00:00:00Z", "2038-01-01T00:00:00Z"
        old = [line("kube-apiserver", ["--anonymous-auth=true"], before)]
        host.start([*old, *(text.replace("2026-11-22T02:00:00Z", now) for text in host.lines())])
        _, found = audited(host)
        assert found["apiserver-anonymous-auth"].status == "pass", why(found, "apiserver-anonymous-auth")
        (host.base / "logs" / "k3s").write_text("")
        host.start(old)
        _, found = audited(host)
    assert found["apiserver-anonymous-auth"].status == "error"


def test_a_server_of_rke2_that_keeps_its_data_elsewhere() -> None:
    with Rke2Node(data="/srv/rke2") as host:
        evidence, found = audited(host)
    target = result_of(evidence)
    assert target.roles == ("control-plane", "etcd", "worker")
    assert target.facts["platform"] == "RKE2 (rke2 runs; data in /srv/rke2)"
    modes = "apiserver-manifest-mode controller-manager-manifest-mode scheduler-manifest-mode etcd-manifest-mode"
    assert_verdicts(found, not_applicable=f"{UNIT} kubelet-hostname-override",
                    fail=f"{SERVER_FAILS} {KUBELET_FAILS} {modes} etcd-data-owner", manual=f"{SERVER_ASKS} {KUBELET_ASKS}")  # fmt: skip
    assert "/srv/rke2/agent/pod-manifests/kube-apiserver.yaml" in why(found, "apiserver-manifest-mode")
    assert "/srv/rke2/server/db/etcd/config" in why(found, "etcd-client-tls")
    assert "00-rke2-defaults.conf" in why(found, "kubelet-read-only-port")
    assert "file//srv/rke2/server/db/etcd" in why(found, "etcd-data-mode")


def test_microk8s() -> None:
    """Its programs read their arguments from files, with variables in them; its state is in dqlite."""
    with Microk8sNode() as host:
        evidence, found = audited(host)
    target = result_of(evidence)
    assert target.roles == ("control-plane", "worker")
    assert target.facts["platform"].startswith("microk8s (")
    config = "kubelet-config-mode kubelet-config-owner cni-files-mode cni-files-owner"
    for control in f"{MANIFESTS} {UNIT} {ETCD} {TO_ETCD} {config}".split():
        assert found[control].status == "not_applicable", why(found, control)
    assert "dqlite" in found["etcd-client-tls"].reason
    snap = "/var/snap/microk8s/7449"
    expected = {
        "apiserver-anonymous-auth": ("pass", "false (--anonymous-auth"), "kubelet-anonymous-auth": ("pass", f"{snap}/args/kubelet"),
        "apiserver-client-ca": ("pass", f"{snap}/certs/ca.crt"), "kubelet-authorization-mode": ("fail", "AlwaysAllow"),
        "scheduler-profiling": ("pass", f"{snap}/args/kube-scheduler"), "pki-keys-mode": ("fail", f"{snap}/certs/server.key"),
        "kubelet-kubeconfig-mode": ("fail", f"{snap}/credentials/kubelet.config"),
        "admin-kubeconfig-mode": ("fail", f"{snap}/credentials/client.config"),
    }  # fmt: skip
    for control, (status, said) in expected.items():
        assert found[control].status == status, why(found, control)
        assert said in why(found, control)


def test_microk8s_whose_files_changed_since_it_started() -> None:
    """What a file says that is newer than the program proves nothing."""
    with Microk8sNode() as host:
        path = "/var/snap/microk8s/7449/args/kube-apiserver"
        host.place(Entry(path, microk8s_args()["kube-apiserver"], 0o660))
        host.run("touch", "-d", "+1 hour", path)
        found = audited(host)[1]
    assert found["apiserver-anonymous-auth"].status == "error"
    assert "restart pending" in why(found, "apiserver-anonymous-auth")
    assert found["pki-keys-mode"].status in ("error", "fail")
    assert found["kubelet-anonymous-auth"].status == "pass"


def test_a_worker_of_microk8s() -> None:
    with Microk8sNode(control_plane=False) as host:
        evidence, found = audited(host)
    assert result_of(evidence).roles == ("worker",)
    assert "--start-control-plane=false" in found["apiserver-anonymous-auth"].reason


def test_a_datastore_by_itself() -> None:
    """An etcd of a host of its own, started by its unit, is judged; nothing else of a control plane applies."""
    with KubeNode(hostname="etcd-1", components={"etcd": COMPONENTS["etcd"]}, on_host=("etcd",)) as host:
        host.remove("/etc/kubernetes/manifests", "/etc/kubernetes/admin.conf", "/usr/lib/systemd/system/kubelet.service",
                    "/usr/lib/systemd/system/kubelet.service.d")  # fmt: skip
        evidence, found = audited(host)
    assert result_of(evidence).roles == ("etcd",)
    judged = {n for n, f in found.items() if f.status != "not_applicable"}
    assert judged == set(ETCD.split())
    assert_verdicts({n: found[n] for n in judged}, manual="etcd-own-ca")
    assert "does not run from a static pod" in found["etcd-manifest-mode"].reason


def test_a_worker() -> None:
    with KubeNode(hostname="worker-1", components={c: COMPONENTS[c] for c in ("kubelet", "kube-proxy")}) as host:
        host.remove("/etc/kubernetes/admin.conf", "/var/lib/etcd")
        evidence, found = audited(host)
    target = result_of(evidence)
    assert target.roles == ("worker",)
    assert target.facts["platform"].startswith("kubeadm (")
    judged = {n: f for n, f in found.items() if f.status != "not_applicable"}
    assert {n.split("-")[0] for n in judged} == {"kubelet", "kube", "cni"}
    assert_verdicts(judged, fail="kubelet-unit-mode kubelet-config-mode kubelet-serving-certificate kubelet-ciphers kubelet-pod-pids-limit "
                    "kubelet-seccomp-default", manual=KUBELET_ASKS)  # fmt: skip


#: How the kubelet of a managed service is started, and where its file is.
MANAGED = {
    "EKS": ("/usr/bin/kubelet", "--config-dir", "/etc/kubernetes/kubelet/config.json.d", "--kubeconfig", "/var/lib/kubelet/kubeconfig",
            "--config", "/etc/kubernetes/kubelet/config.json"),
    "GKE": ("/home/kubernetes/bin/kubelet", "--config=/home/kubernetes/kubelet-config.yaml", "--kubeconfig=/var/lib/kubelet/kubeconfig",
            "--node-labels=cloud.google.com/gke-nodepool=default-pool"),
    "AKS": ("/usr/local/bin/kubelet", "--node-labels=kubernetes.azure.com/cluster=c", "--kubeconfig=/var/lib/kubelet/kubeconfig",
            "--client-ca-file=/etc/kubernetes/certs/ca.crt", "--config=/etc/default/kubeletconfig.json"),
    "OpenShift": ("/usr/bin/kubelet", "--config=/etc/kubernetes/kubelet.conf", "--kubeconfig=/var/lib/kubelet/kubeconfig",
                  "--node-labels=node.openshift.io/os_id=rhel"),
}  # fmt: skip


@pytest.mark.parametrize("platform", MANAGED)
def test_workers_of_others(platform: str) -> None:
    """A kubelet's own flags say where its files are, whoever runs the cluster."""
    argv = MANAGED[platform]
    words = [w for a in argv for w in a.split("=", 1)]
    config = words[words.index("--config") + 1]
    text = '{"kind": "KubeletConfiguration", "authentication": {"x509": {"clientCAFile": "/etc/kubernetes/pki/ca.crt"}}}'
    with KubeNode(hostname="worker-1", components={}) as host:
        host.place(Entry(config, text, 0o640), Entry("/var/lib/kubelet/kubeconfig", "x", 0o644),
                   Entry("/etc/kubernetes/certs/ca.crt", "x", 0o666))  # fmt: skip
        host.place(Entry("/usr/bin/kubelet", waiting_program(), 0o755))
        host.start_component("kubelet", argv)
        evidence, found = audited(host)
    assert result_of(evidence).facts["platform"].startswith(f"{platform} (")
    assert "file//var/lib/kubelet/kubeconfig: 0644" in why(found, "kubelet-kubeconfig-mode")
    assert f"file/{config}: 0640" in why(found, "kubelet-config-mode")
    ca = "/etc/kubernetes/certs/ca.crt" if platform == "AKS" else "/etc/kubernetes/pki/ca.crt"
    assert f"file/{ca}: " in why(found, "kubelet-client-ca-mode")
    if platform != "OpenShift":
        assert f"control plane of {platform} is the provider's" in found["apiserver-anonymous-auth"].reason
        assert f"control plane of {platform} is the provider's" in found["etcd-data-mode"].reason


def test_somebody_who_calls_his_program_k3s() -> None:
    """It can't draw attention away from the real one's files, and nothing that it names is read for it as root."""
    with K3sNode(data="/srv/k3s") as host:
        fake = "/srv/plain/data/x/bin/k3s"
        host.place(Entry(fake, waiting_program(), 0o755), Entry("/srv/plain/server/cred/admin.kubeconfig", "x", 0o600, 2003, 2003))
        host.place(Entry("/srv/k3s/server/cred/admin.kubeconfig", "x", 0o644))
        host.spawn(
            ["setpriv", "--reuid=2003", "--regid=2003", "--clear-groups", fake, "server"], executable="/usr/bin/setpriv", log="fake"
        )
        host.wait_for(lambda: [fake, "server"] in host.processes().values(), "the fake")
        evidence, found = audited(host)
    assert result_of(evidence).roles == ("control-plane", "etcd", "worker")
    assert "file//srv/k3s/server/cred/admin.kubeconfig: 0644" in why(found, "admin-kubeconfig-mode")
    assert found["apiserver-anonymous-auth"].status == "error"
    assert "file//srv/k3s/server/db/etcd" in why(found, "etcd-data-mode")


def test_variables_that_hold_commands() -> None:
    """What a program's environment says is never run, nor put where it could be."""
    with Microk8sNode() as host:
        evil = "/x|e touch /ran;s|a|$(touch /ran)`touch /ran`"
        host.place(Entry("/tmp/args", "--kubeconfig=${SNAP_DATA}/a b\n--x=$SNAP_COMMON\n"))
        host.spawn(
            ["/snap/microk8s/7449/kubelite", "--kubelet-args-file=/tmp/args"],
            env=dict.fromkeys(("SNAP", "SNAP_DATA", "SNAP_COMMON"), evil),
        )
        evidence, _ = audited(host)
        assert host.run("ls", "/ran", check=False) == ""
    kubelets = [p for p in evidence.facts["processes"] if p["name"] == "kubelet"]
    assert [f"--kubeconfig={evil}/a b", f"--x={evil}"] in [p["args"] for p in kubelets]
