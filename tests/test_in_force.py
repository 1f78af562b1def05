"""What the parts of a cluster say of themselves: API servers, kubelets and k3s, held against what else is known."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from auditor.model import Problem, Reason, Status
from tests.support.sides import ANONYMOUS, CONFIGZ, FLAGZ, LOOSE, cluster, host, judged, k3s, mirror, node, seen


@pytest.mark.parametrize("servers", [0, 2, 3])
def test_the_answer_of_one_of_several_api_servers_stands_for_none(servers):
    """No node of the control plane is visible: it's hosted, or its servers run no kubelet."""
    finding = judged(cluster(node("w-1"), flags=FLAGZ, servers=servers))[ANONYMOUS]
    assert finding.status is Status.ERROR
    assert "which one answered isn't known" in finding.observations[0].actual or servers == 0


def test_where_endpoints_are_denied_one_answer_stands_for_none():
    found = cluster(node("w-1"), flags=FLAGZ)
    denied = Problem(
        Reason.DENIED, 'the account may not list endpointslices in the API group "discovery.k8s.io" in the namespace default'
    )
    finding = judged(replace(found, facts={**found.facts, "objects:apiserver-endpoints": denied}))[ANONYMOUS]
    assert finding.status is Status.ERROR
    assert "may not list endpointslices" in finding.observations[0].actual


def test_what_k3s_was_given_decides_what_it_names_and_nothing_else():
    given = (
        "--kube-apiserver-arg",
        "profiling=false",
        "--kube-apiserver-arg=anonymous-auth=true",
        "--kubelet-arg",
        "read-only-port=10255",
    )
    found = judged(cluster(k3s("k3s-1", *given)))
    assert found["k8s-apiserver-profiling"].status is Status.PASS
    assert "annotation node-args" in found["k8s-apiserver-profiling"].observations[0].source
    assert found[ANONYMOUS].status is Status.FAIL
    assert found["k8s-kubelet-read-only-port"].status is Status.FAIL
    for key in ("k8s-apiserver-audit-log-path", "k8s-apiserver-no-always-admit", "k8s-apiserver-token-auth-file",
                "k8s-kubelet-anonymous-auth", "k8s-apiserver-encryption-configured", "k8s-scheduler-profiling"):  # fmt: skip
        assert found[key].status is Status.ERROR, key
    assert found["cluster-manifests-in-force"].status is Status.NOT_APPLICABLE


@pytest.mark.parametrize(("running", "status"), [
    (["--profiling=false", "--anonymous-auth=false", "--feature-gates=A=true,B=true"], "pass"),
    (["--profiling=0", "--feature-gates=A=true", "--feature-gates=B=true"], "pass"),
    (["--profiling=false", "--profiling=true", "--feature-gates=A=true,B=true"], "fail"),
    (["--feature-gates=A=true,B=true"], "fail"),
])  # fmt: skip
def test_what_k3s_noted_is_held_against_what_runs(running, status):
    given = (
        "--kube-apiserver-arg=profiling=false",
        "--kube-apiserver-arg=feature-gates=A=true,B=true",
        "--kube-apiserver-arg=v+=2",
    )
    found = judged(cluster(k3s("k3s-1", *given)), host("k3s-1", ("kube-apiserver", running)))
    assert seen(found["cluster-manifests-in-force"]) == {"node/k3s-1/process/kube-apiserver": status}


def test_a_server_whose_etcd_is_not_seen_is_an_error_beside_the_others():
    other = k3s("k3s-2")
    other["metadata"]["labels"]["node-role.kubernetes.io/etcd"] = "true"
    found = judged(cluster(k3s("k3s-1"), other), host("k3s-1", ("kubelet", []), ("etcd", ["--cert-file=/a", "--key-file=/b"])))
    assert seen(found["k8s-etcd-client-tls"]) == {"node/k3s-1/process/etcd": "pass", "node/k3s-2/process/etcd": "error"}


def test_the_only_api_server_says_more_than_what_k3s_was_given():
    found = judged(cluster(k3s("k3s-1"), flags=FLAGZ))
    assert seen(found[ANONYMOUS]) == {"node/k3s-1/process/kube-apiserver": "pass"}
    two = judged(cluster(k3s("k3s-1"), k3s("k3s-2"), flags=FLAGZ))
    assert two[ANONYMOUS].status is Status.ERROR, "of two, only one has answered"


def test_what_the_api_server_says_of_itself_stands_in_for_flags_that_nothing_else_shows():
    found = judged(cluster(node("k3s-1"), flags=FLAGZ))
    assert found[ANONYMOUS].status is Status.PASS
    assert "/flagz" in found[ANONYMOUS].observations[0].source
    assert found["k8s-apiserver-authorization-node"].status is Status.PASS
    assert found["k8s-apiserver-profiling"].status is Status.FAIL
    assert found["k8s-apiserver-node-restriction-plugin"].status is Status.FAIL
    assert found["k8s-scheduler-profiling"].status is Status.ERROR


@pytest.mark.parametrize(("args", "status"), [
    (["--anonymous-auth=false", "--authorization-mode=Node", "--authorization-mode=RBAC", "--request-timeout=60s"], "pass"),
    (["--anonymous-auth=0", "--profiling"], "pass"),
    (["--anonymous-auth=true"], "fail"),
    (["--tls-min-version=VersionTLS13"], "fail"),
    (["--some-flag-it-does-not-tell=1"], "pass"),
])  # fmt: skip
def test_the_manifest_is_held_against_what_the_api_server_says(args, status):
    found = judged(cluster(node("cp-1"), pods=[mirror("kube-apiserver", "cp-1", args)], flags=FLAGZ))
    assert seen(found["cluster-manifests-in-force"]) == {"node/cp-1/process/kube-apiserver": status}


def test_an_answer_of_one_of_two_api_servers_is_held_against_neither():
    pods = [mirror("kube-apiserver", n, ["--anonymous-auth=true"]) for n in ("cp-1", "cp-2")]
    assert judged(cluster(node("cp-1"), node("cp-2"), pods=pods, flags=FLAGZ))["cluster-manifests-in-force"].observations == ()


def test_a_kubelet_by_its_configuration_in_force():
    found = judged(cluster(node("node1"), configs={"node1": CONFIGZ}))
    assert found["k8s-kubelet-anonymous-auth"].status is Status.PASS
    assert "configz of node/node1" in found["k8s-kubelet-anonymous-auth"].observations[0].source
    assert found["k8s-kubelet-rotate-certificates"].status is Status.FAIL, "false is left out of the answer"
    assert found["k8s-kubelet-config-mode"].status is Status.ERROR
    assert judged(cluster(node("node1"), configs={"node1": LOOSE}))["k8s-kubelet-anonymous-auth"].status is Status.FAIL


@pytest.mark.parametrize(("cert", "key", "status"), [
    ("/var/lib/kubelet/pki/kubelet.crt", "/var/lib/kubelet/pki/kubelet.key", "error"),
    ("/data/kubelet/pki/kubelet.crt", "/data/kubelet/pki/kubelet.key", "error"),
    ("/etc/pki/tls/node.crt", "/etc/pki/tls/node.key", "pass"),
    ("", "", "fail"),
])  # fmt: skip
def test_the_pair_that_a_kubelet_signs_itself_looks_like_one_that_was_set(cert, key, status):
    """A kubelet without a certificate makes one and names it in the configuration that it tells."""
    config = {**CONFIGZ, "tlsCertFile": cert, "tlsPrivateKeyFile": key}
    finding = judged(cluster(node("node1"), configs={"node1": config}))["k8s-kubelet-serving-certificate"]
    assert finding.status == status
    rotated = judged(cluster(node("node1"), configs={"node1": {**config, "serverTLSBootstrap": True}}))
    assert rotated["k8s-kubelet-serving-certificate"].status is Status.PASS


def test_flags_that_a_kubelets_configuration_does_not_hold_are_not_known_to_be_unset():
    finding = judged(cluster(node("node1"), configs={"node1": CONFIGZ}))["k8s-kubelet-hostname-override"]
    assert finding.status is Status.ERROR
    assert "not known to be unset" in finding.observations[0].actual


def test_what_a_kubelets_answer_leaves_out_is_empty_whatever_the_default_is():
    assert not {"rotateCertificates", "readOnlyPort", "tlsCipherSuites"} & set(CONFIGZ)
    found = judged(cluster(node("node1"), configs={"node1": CONFIGZ}))
    assert found["k8s-kubelet-read-only-port"].status is Status.PASS, "0 is left out"
    for key in ("k8s-kubelet-rotate-certificates", "k8s-kubelet-ciphers"):
        assert found[key].status is Status.FAIL, key


@pytest.mark.parametrize("path", ["authentication.anonymous.enabled", "authentication", "authorization.mode", "podPidsLimit"])
def test_an_answer_without_what_every_kubelet_tells_decides_nothing(path):
    config = json.loads(json.dumps(CONFIGZ))
    *above, last = path.split(".")
    below = config
    for part in above:
        below = below[part]
    del below[last]
    found = judged(cluster(node("node1"), configs={"node1": config}))
    assert not [f.control for f in found.values() if f.status is Status.PASS]
    assert "which every kubelet tells" in found["k8s-kubelet-read-only-port"].observations[0].actual


@pytest.mark.parametrize("flags", [{"x": "y"}, {k: v for k, v in FLAGZ.items() if k != "token-auth-file"}])
def test_an_answer_without_what_every_api_server_tells_decides_nothing(flags):
    found = judged(cluster(node("n-1"), flags=flags))
    assert not [f.control for f in found.values() if f.status is Status.PASS]
    assert "which every API server tells" in found[ANONYMOUS].observations[0].actual


def test_a_flag_that_is_not_shown_to_anybody_is_not_known():
    found = judged(cluster(node("n-1"), flags={**FLAGZ, "token-auth-file": "CLASSIFIED", "authorization-mode": "CLASSIFIED"}))
    for key in ("k8s-apiserver-token-auth-file", "k8s-apiserver-authorization-not-always-allow"):
        assert found[key].status in (Status.ERROR, Status.FAIL), key


def configured(data: dict[str, Any], mtime: int = 1500) -> dict[str, Any]:
    document = {"path": "/var/lib/kubelet/config.yaml", "data": data, "mtime": mtime}
    return {"config:kubelet --config --config-dir/*.conf": [{"pid": 100, "documents": [document]}]}


@pytest.mark.parametrize(("file", "args", "status"), [
    ({"readOnlyPort": 0, "streamingConnectionIdleTimeout": "4h"}, [], "pass"),
    ({"authentication": {"anonymous": {"enabled": False}}}, [], "pass"),
    ({"authentication": {"anonymous": {"enabled": True}}}, [], "fail"),
    ({"readOnlyPort": 10255}, [], "fail"),
    ({"maxPods": 50}, ["--max-pods=110"], "pass"),
])  # fmt: skip
def test_a_kubelets_files_are_held_against_what_is_in_force(file, args, status):
    one = host("node1", ("kubelet", ["--config=/var/lib/kubelet/config.yaml", *args]), **configured(file))
    found = judged(cluster(node("node1"), configs={"node1": CONFIGZ}), one)
    assert seen(found["cluster-kubelets-in-force"]) == {"node/node1/process/kubelet": status}
