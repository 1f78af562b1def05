"""Control planes that are set up in another way, each on a host of its own, and what an account may not see of one."""

from __future__ import annotations

import pytest

from auditor.engine import judge, needs
from tests.live.test_kube_node import KEY
from tests.support.collecting import benchmarks, collect, judged, spec
from tests.support.host import Entry
from tests.support.kube_node import (
    APISERVER,
    COMPONENTS,
    ETCD_ARGV,
    KUBELET,
    KubeNode,
    certificate,
)

pytestmark = pytest.mark.live


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


ENCRYPTION = """\
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - aescbc:
      keys:
      - name: key1
        secret: cGxhbnRlZC1lbmNyeXB0aW9uLWtleS1vZi0zMi1ieXRlcw==
  - identity: {}
"""


ONE_LINE = (
    '{"kind":"EncryptionConfiguration","resources":[{"resources":["secrets"],"providers":'
    '[{"secretbox":{"keys":[{"name":"key1","secret":"cGxhbnRlZC1lbmNyeXB0aW9uLWtleS1vZi0zMi1ieXRlcw=="}]}},{"identity":{}}]}]}'
)


@pytest.mark.parametrize(("text", "writes"), [(ENCRYPTION, "aescbc"), (ONE_LINE, "secretbox")])
def test_encryption_keys_stay_on_the_host(needs_hosts: None, text: str, writes: str) -> None:
    """How secrets are encrypted is judged without the key: it isn't even sent."""
    with KubeNode(components={"kube-apiserver": COMPONENTS["kube-apiserver"]}) as node:
        node.place(Entry("/etc/kubernetes/enc.yaml", text, 0o600))
        node.start_component("kube-apiserver", [*APISERVER, "--encryption-provider-config=/etc/kubernetes/enc.yaml"])
        selected = benchmarks()
        (evidence,) = collect(spec(node), facts=needs(selected, "host")).values()
    findings = {f.control: f for f in judge(selected, evidence)}
    for control in ("k8s-apiserver-encryption-configured", "k8s-apiserver-encryption-providers"):
        assert findings[control].status == "pass", findings[control]
        assert f"secrets: {writes}, identity" in findings[control].observations[0].actual
    assert "cGxhbnRlZC1" not in str(evidence.facts)
    assert "planted" not in str(evidence.facts)


def test_an_account_without_rights_passes_nothing_that_it_could_not_see(needs_hosts: None) -> None:
    """What only root may look at is an error, and nothing that root finds wrong is right for others."""
    with KubeNode() as node:
        as_root, plain = judged(node), judged(node, user="plain")
    for control, finding in plain.items():
        if finding.status == "pass":
            assert as_root[control].status == "pass", control
    for control in ("k8s-pki-keys-mode", "k8s-etcd-data-mode", "k8s-etcd-own-ca", "k8s-kubelet-client-ca-mode"):
        assert plain[control].status in ("error", "pass"), (control, plain[control])
    assert plain["k8s-pki-keys-mode"].status == "error", plain["k8s-pki-keys-mode"]


def test_the_unit_of_a_kubelet_on_a_host_without_systemd(needs_hosts: None) -> None:
    """Version 1.11 asks systemd about the kubelet's unit; no answer is no pass."""
    from auditor.catalogue import packaged
    from checks import check_types

    selected = [packaged(check_types()).load("cis-kubernetes@1.11")]
    with KubeNode(components={"kubelet": KUBELET}) as node:
        (evidence,) = collect(spec(node), facts=needs(selected, "host")).values()
    found = {f.control: f for f in judge(selected, evidence)}
    assert found["k8s-kubelet-unit-ip-filter"].status == "error", found["k8s-kubelet-unit-ip-filter"]


def test_certificates_of_an_rke2_server(needs_hosts: None) -> None:
    """Its API server's flags name some of them; the folder on the host holds the rest."""
    tls = "/var/lib/rancher/rke2/server/tls"
    argv = ["kube-apiserver", f"--client-ca-file={tls}/client-ca.crt", f"--tls-private-key-file={tls}/serving.key"]
    with KubeNode(components={"kube-apiserver": argv}) as node:
        node.place(
            Entry(f"{tls}/client-ca.crt", certificate("rke2"), 0o644),
            Entry(f"{tls}/serving.key", KEY, 0o600),
            Entry(f"{tls}/etcd/peer-ca.key", KEY, 0o644),
        )
        node.spawn(["rke2", "server"], executable="/usr/local/bin/kube-apiserver")
        finding = judged(node)["k8s-pki-keys-mode"]
    assert {o.subject: str(o.status) for o in finding.observations} == {
        f"file/{tls}/etcd/peer-ca.key": "fail", f"file/{tls}/serving.key": "pass",
    }  # fmt: skip
