"""The parts of the policy controls that evidence cases don't reach: requests for certificates, flags, selectors, levels."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from auditor.facts.kube_reduce import Alike, pod_of_its_owner, secret_names
from auditor.facts.kubernetes import KINDS
from auditor.model import Evidence, Target
from checks.expectation import Expect
from checks.masters_group import carries
from checks.pod_condition import Condition
from checks.pod_policies import api_servers
from checks.policy_rules import sees_new_pods, selects
from checks.rbac_rules import accounts
from checks.workload import Workload, enforced

KEY = ec.generate_private_key(ec.SECP256R1())


def request(*organisations: str, kind: _ASN1Type = _ASN1Type.UTF8String, name: str = "bob") -> str:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o, _type=kind) for o in organisations]
    subject = x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(KEY, hashes.SHA256())
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()


@pytest.mark.parametrize("kind", [_ASN1Type.UTF8String, _ASN1Type.PrintableString, _ASN1Type.BMPString])
def test_an_organisation_is_found_whatever_the_type_of_its_string(kind):
    assert carries(request("devs", "system:masters", kind=kind), "system:masters")


def test_only_the_whole_organisation_counts():
    assert not carries(request("devs", "system:masters2", "xsystem:masters"), "system:masters")
    assert not carries(request("devs", name="system:masters"), "system:masters")
    assert not carries(request(), "system:masters")


@pytest.mark.parametrize("wrong", ["", "%%%", "bm90aGluZw==", base64.b64encode(b"-----BEGIN X-----\nAAAA\n-----END X-----").decode(),
                                   base64.b64encode(b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----").decode()])  # fmt: skip
def test_what_is_no_request_is_never_taken_for_a_harmless_one(wrong):
    with pytest.raises(ValueError, match=r"."):
        carries(wrong, "system:masters")


def test_flags_of_api_servers():
    def seen(*args: str, **more: str) -> dict:
        components = [
            {"name": "s", "program": "kube-apiserver", "args": list(args), **more},
            {"name": "e", "program": "etcd", "args": []},
        ]
        (found,) = api_servers(Evidence(Target("c", "kubernetes"), "", {"objects:components": components}))
        return found

    assert seen("--enable-admission-plugins=A,B", "--enable_admission_plugins", "C", "--admission-control-config-file", "/a",
                "--admission-control-config-file=/b")["flags"] == {
        "enable-admission-plugins": ["A", "B", "C"], "admission-control-config-file": "/b",
    }  # fmt: skip
    assert seen()["flags"] == {}
    assert "without a value" in seen("--admission-control-config-file")["unreadable"]
    assert seen(unreadable="its command is sh")["unreadable"] == "its command is sh"


def test_of_an_environment_only_what_comes_from_secrets_is_kept():
    ref = {"valueFrom": {"secretKeyRef": {"name": "db"}}}
    spec = {"containers": [{"name": "a", "env": [{}, {"valueFrom": {}}, ref], "envFrom": [{}]}], "initContainers": [{"name": "b"}]}
    assert secret_names({"spec": spec}, "spec") == {
        "spec": {"containers": [{"name": "a", "env": [ref]}], "initContainers": [{"name": "b"}]}
    }
    assert secret_names({}, "spec.template.spec") == {}


def owned(name: str, kind: str = "ReplicaSet", owner: str = "web", namespace: str = "shop", **spec) -> dict:
    owners = [{"kind": kind, "name": owner, "controller": True}]
    return {"metadata": {"name": name, "namespace": namespace, "ownerReferences": owners}, "spec": spec}


def test_only_pods_that_differ_in_nothing_but_their_names_are_kept_as_one():
    alike = Alike(pod_of_its_owner)
    first = alike.new([owned("a"), owned("b"), owned("c", hostPID=True), owned("d", owner="api"), owned("e", namespace="x")])
    assert [(p["metadata"]["name"], p.get("count")) for p in first] == [("a", 2), ("c", None), ("d", None), ("e", None)]
    assert alike.new([owned("f"), {**owned("g"), "status": {"phase": "Failed"}}])[0]["metadata"]["name"] == "g"
    assert first[0]["count"] == 3
    # False is not 0, and an empty list is not nothing.
    assert len(alike.new([owned("h", x=False), owned("i", x=0), owned("j", x=[]), owned("k", x=None)])) == 4


def test_pods_without_an_owner_and_static_pods_keep_their_names():
    alone = [{"metadata": {"name": n, "namespace": "shop"}, "spec": {}} for n in "ab"]
    static = [owned(n, kind="Node", owner="n1") for n in "cd"]
    assert len(Alike(pod_of_its_owner).new([*alone, *static])) == 4


def test_kinds_know_their_group_version_and_namespace():
    seen = {n: (k.group, k.group_version, k.resource, k.namespace) for n, k in KINDS.items()}
    assert seen["pods"] == ("", "v1", "pods", "")
    assert seen["components"] == ("", "v1", "pods", "kube-system")
    assert seen["default/ingresses"] == ("networking.k8s.io", "networking.k8s.io/v1", "ingresses", "default")
    assert seen["clusterroles"] == ("rbac.authorization.k8s.io", "rbac.authorization.k8s.io/v1", "clusterroles", "")


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        (None, True),
        ({}, True),
        ({"matchLabels": {"a": "1"}}, True),
        ({"matchLabels": {"a": "2"}}, False),
        ({"matchLabels": {"b": "1"}}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, True),
        ({"matchExpressions": [{"key": "b", "operator": "In", "values": ["1"]}]}, False),
        ({"matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["1"]}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, False),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "DoesNotExist"}]}, True),
        ({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, False),
    ],
)
def test_selectors(selector, selected):
    assert selects(selector, {"a": "1"}) is selected


def test_an_operator_that_nobody_knows_is_no_answer():
    with pytest.raises(ValueError, match="Gt"):
        selects({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}, {})


@pytest.mark.parametrize(
    ("change", "seen"),
    [({}, True), ({"apiGroups": ["apps"]}, False), ({"operations": ["UPDATE"]}, False), ({"resources": ["pods/exec"]}, False),
     ({"scope": "Cluster"}, False), ({"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}, True)],
)  # fmt: skip
def test_rules_that_see_new_pods(change, seen):
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"], **change}
    assert sees_new_pods([rule]) is seen


@given(st.text(max_size=8), st.sampled_from(["", "latest", "v1.25", "v1.9", "1.25", "v2.0", "v1.x", "v1.2500"]))
def test_a_level_is_enforced_only_where_its_words_are_understood(level, version):
    labels = {"pod-security.kubernetes.io/enforce": level, "pod-security.kubernetes.io/enforce-version": version}
    got = enforced(labels, since=22)
    assert got == (level if level in ("privileged", "baseline", "restricted") and version in ("latest", "v1.25") else "")


def test_a_service_account_by_all_its_names():
    assert accounts({"kind": "ServiceAccount", "namespace": "a", "name": "b"}) == ("a", "b")
    assert accounts({"kind": "User", "name": "system:serviceaccount:a:b"}) == ("a", "b")
    assert accounts({"kind": "Group", "name": "system:serviceaccounts:a"}) == ("a", "*")
    assert accounts({"kind": "Group", "name": "system:serviceaccounts"}) == ("*", "*")
    for kind, name in (("User", "bob"), ("User", "system:serviceaccounts"), ("Group", "system:serviceaccount:a:b"), ("Group", "x")):
        assert accounts({"kind": kind, "name": name}) == ("", "")


@pytest.mark.parametrize("pattern", ["*", "pod/*", "pod/shop", "pod/*/x", "/shop/x", "pod/shop/", "pod/sh*p/x"])
def test_workloads_that_are_left_out_are_named(pattern):
    condition = Condition(pod="hostPID", expect=Expect(equals=False))
    with pytest.raises(ValueError, match="kind/namespace/name"):
        Workload(conditions=(condition,), exempt_workloads=(pattern,))
