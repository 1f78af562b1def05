"""Collecting from a cluster: the real kubernetes client against a served recording of a real cluster."""

import base64
import datetime as dt
import json
from collections import Counter
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from auditor.facts.kubernetes import KINDS
from auditor.model import Evidence, Problem, Reason, Target
from auditor.targets import result_of
from auditor.transports.kubernetes import collect_cluster
from tests.support.apiserver import PODS, ApiServer, ListKind
from tests.support.cluster import SERVED, Spec, collect


@pytest.fixture
def server(tmp_path: Path):
    with ApiServer(tmp_path / "server") as running:
        yield running


def test_everything_is_read_with_one_get_a_kind_over_one_connection(server):
    answers = collect(server)
    assert answers["server"]["gitVersion"] == "v1.36.2"
    lists = {k: v for k, v in answers.items() if isinstance(v, list)}
    assert {k.removeprefix("objects:") for k in lists} == SERVED
    assert sum(p.get("count", 1) for p in lists["objects:pods"]) == 10
    assert len(lists["objects:clusterroles"]) == 76
    assert server.connections == 1
    assert set(server.methods) == {"GET"}
    assert {path: n for (_, path), n in server.requests.items() if n > 1} == {}
    assert all(query["limit"] == ["500"] for path, query in server.queries if path not in ("/version", "/apis"))


def jwt(subject: str) -> str:
    parts = ({"alg": "RS256"}, {"sub": subject, "iss": "https://kubernetes.default.svc"})
    return ".".join([*(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts), "c2lnbmF0dXJl"])


def certificate(folder: Path, name: str, *groups: str) -> dict[str, str]:
    """Make a client's certificate, which signs itself, and return it as a kubeconfig holds it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    oids = [(NameOID.COMMON_NAME, name), *((NameOID.ORGANIZATION_NAME, g) for g in groups)]
    subject = x509.Name([x509.NameAttribute(o, text) for o, text in oids])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    pem = builder.sign(key, hashes.SHA256()).public_bytes(forms.Encoding.PEM)
    secret = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    shown = {"client-certificate-data": pem, "client-key-data": secret}
    return {n: base64.b64encode(data).decode() for n, data in shown.items()}


def test_the_account_is_told_without_asking_for_it(server, tmp_path):
    """By the certificate before the token, as the API server does; a name that only the kubeconfig gives says so."""
    service = jwt("system:serviceaccount:audits:auditor")
    jo = certificate(tmp_path, "jo", "auditors", "cis")
    named = "the kubeconfig's user u, who may have another name there"
    for user, account in (
        ({"token": "token-auditor"}, named),
        ({"token": service}, "system:serviceaccount:audits:auditor (token)"),
        ({"token": jwt("jo@example.org")}, named),
        ({"token": "a.!!.b"}, named),
        ({**jo, "token": service}, "jo (client certificate, in auditors, cis)"),
        (certificate(tmp_path, "kubernetes-admin") | {"token": "token-auditor"}, "kubernetes-admin (client certificate)"),
    ):
        server.users[user["token"]] = "auditor"
        path = server.kubeconfig()
        document = yaml.safe_load(path.read_text())
        document["users"][0]["user"] = user
        path.write_text(yaml.safe_dump(document))
        answers = collect_cluster(Spec(str(path), "test"), frozenset({"objects:namespaces"}))
        assert answers["server"]["account"] == account
        found = result_of(Evidence(Target("prod", "kubernetes"), "2026-01-01T00:00:00Z", answers))
        assert found.facts["account"] == account
        assert set(server.methods) == {"GET"}
        assert service.partition(".")[2] not in json.dumps(answers["server"])


def test_the_evidence_holds_no_annotation_command_or_value(server):
    served = b"".join(server.lists[PODS].items)
    words = (b"last-applied-configuration", b"managedFields", b"fixture-inline-value", b"API_KEY", b'"command"')
    assert all(word in served for word in words)
    assert b"BEGIN CERTIFICATE" in b"".join(server.lists["/api/v1/configmaps"].items)
    text = json.dumps({k: v for k, v in collect(server).items() if not isinstance(v, Problem)})
    assert not [word for word in (*words, b"BEGIN CERTIFICATE") if word.decode() in text]
    assert [c["env"] for p in json.loads(text)["objects:pods"] for c in p["spec"]["containers"] if "env" in c] == [
        [{"valueFrom": {"secretKeyRef": {"name": "legacy-token"}}}]
    ]


def test_pods_that_one_owner_made_alike_are_kept_once_with_their_number(server):
    server.generate_pods(1604)  # eight to a ReplicaSet, over the borders of pages
    odd = json.loads(server.lists[PODS].items[900])
    odd["spec"]["hostPID"] = True
    server.lists[PODS].items[900] = json.dumps(odd).encode()
    pods = collect(server)["objects:pods"]
    assert sum(p.get("count", 1) for p in pods) == 1604
    counts = Counter(p.get("count", 1) for p in pods)
    assert counts == {8: 199, 7: 1, 4: 1, 1: 1}
    assert [p.get("count", 1) for p in pods if p["spec"].get("hostPID")] == [1]


def test_programs_of_the_control_plane_are_static_pods(server):
    seen = {c["program"]: c for c in collect(server, "token-auditor", "components")["objects:components"]}
    assert set(seen) == {"kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"}
    assert seen["kube-apiserver"]["node"] == "node1"
    assert "--enable-admission-plugins=NodeRestriction" in seen["kube-apiserver"]["args"]
    assert seen["etcd"]["started"] == 1795296743
    assert set(seen["etcd"]) == {"name", "namespace", "node", "program", "args", "environ", "started"}


def test_one_namespace_is_read_where_that_is_enough(server):
    answers = collect(server, "token-auditor", "default/configmaps", "components")
    assert answers["objects:default/configmaps"] == [{"metadata": {"name": "kube-root-ca.crt", "namespace": "default"}}]
    assert {path for _, path in server.requests} == {
        "/version", "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/kube-system/pods",
    }  # fmt: skip
    server.denied["limited"] = {"/api/v1/namespaces/default/configmaps"}
    problem = collect(server, "token-limited", "default/configmaps")["objects:default/configmaps"]
    assert problem == Problem(Reason.DENIED, 'the account may not list configmaps in the API group "" in the namespace default')


def test_secrets_are_never_asked_for(server):
    answers = collect_cluster(
        Spec(str(server.kubeconfig())), frozenset({"objects:secrets", "objects:../../api/v1/secrets", "processes"})
    )
    assert all(isinstance(answers[k], Problem) for k in answers if k != "server")
    assert {path for _, path in server.requests} == {"/version"}


def test_pages_are_put_together(server):
    server.generate_pods(1234)
    pods = collect(server, "token-auditor", "pods")["objects:pods"]
    assert sum(p.get("count", 1) for p in pods) == 1234
    assert server.requests["auditor", PODS] == 3
    assert "continue" in server.queries[-1][1]


def test_an_expired_continue_token_starts_that_kind_again(server):
    server.max_page = 4
    server.expired[PODS] = 2
    answers = collect(server)
    names = [p["metadata"]["name"] for p in answers["objects:pods"]]
    assert len(names) == len(set(names))
    assert sum(p.get("count", 1) for p in answers["objects:pods"]) == 10
    assert len(answers["objects:namespaces"]) == 9


def test_a_list_that_always_expires_is_an_error_of_that_kind(server):
    server.max_page = 4
    server.expired[PODS] = 100
    answers = collect(server)
    assert answers["objects:pods"] == Problem(
        Reason.TRUNCATED, "pods changed faster than they could be read: 3 attempts expired"
    )  # fmt: skip
    assert len(answers["objects:namespaces"]) == 9


def test_a_limited_account_loses_just_what_it_may_not_list(server):
    server.denied["limited"] = {PODS, "/apis/rbac.authorization.k8s.io/v1/clusterroles"}
    answers = collect(server, "token-limited")
    assert answers["objects:pods"] == Problem(Reason.DENIED, 'the account may not list pods in the API group "" cluster-wide')
    assert str(answers["objects:clusterroles"]).endswith('clusterroles in the API group "rbac.authorization.k8s.io" cluster-wide')
    assert sum(isinstance(v, list) for v in answers.values()) == len(SERVED) - 2


def test_a_kind_that_is_not_served_is_absent(server):
    del server.lists["/apis/batch/v1/cronjobs"]
    answer = collect(server)["objects:cronjobs"]
    assert answer == Problem(Reason.ABSENT, "the API server does not serve cronjobs (batch/v1)")


def test_a_plugin_kind_is_asked_for_only_where_its_group_is_served(server):
    server.denied["limited"] = {KINDS["ciliumnetworkpolicies"].path}
    assert collect(server, "token-limited")["objects:ciliumnetworkpolicies"].reason is Reason.ABSENT
    groups = json.loads(server.documents["/apis"])
    groups["groups"].append({"name": "cilium.io", "versions": [{"groupVersion": "cilium.io/v2", "version": "v2"}]})
    server.documents["/apis"] = json.dumps(groups).encode()
    assert collect(server, "token-limited")["objects:ciliumnetworkpolicies"].reason is Reason.DENIED
    server.denied["limited"].add("/apis")
    assert collect(server, "token-limited")["objects:caliconetworkpolicies"].reason is Reason.DENIED


def serve(server, path: str, *items: dict) -> None:
    """Serve a list of an extension, and its group in the discovery document."""
    server.lists[path] = ListKind("ThingList", "x/v1", [json.dumps(i).encode() for i in items])
    groups = json.loads(server.documents["/apis"])
    group, version = path.split("/")[2:4]
    groups["groups"].append({"name": group, "versions": [{"groupVersion": f"{group}/{version}", "version": version}]})
    server.documents["/apis"] = json.dumps(groups).encode()


def test_policies_of_engines_are_kept_without_what_nobody_judges(server):
    rule = {"name": "r", "match": {}, "validate": {"message": "words", "podSecurity": {"level": "baseline"}}}
    serve(
        server,
        "/apis/kyverno.io/v1/clusterpolicies",
        {"metadata": {"name": "p", "annotations": {"a": "b"}}, "spec": {"rules": [rule]}},
    )
    serve(
        server,
        "/apis/templates.gatekeeper.sh/v1/constrainttemplates",
        {"metadata": {"name": "t"}, "spec": {"crd": {"spec": {"names": {"kind": "K"}}}, "targets": [{"rego": "package x"}]}},
    )
    answers = collect(server)
    assert answers["objects:clusterpolicies"] == [
        {
            "metadata": {"name": "p"},
            "spec": {"rules": [{"match": {}, "name": "r", "validate": {"podSecurity": {"level": "baseline"}}}]},
        }
    ]
    (template,) = answers["objects:constrainttemplates"]
    assert (template["kind"], len(template["digest"])) == ("K", 32)
    assert "package x" not in json.dumps(template)
    assert answers["objects:k8spspprivilegedcontainer"].reason is Reason.ABSENT


def test_settings_of_kyverno_are_read_only_where_it_is(server):
    path = "/api/v1/namespaces/kyverno/configmaps"
    assert collect(server)["objects:kyvernoconfigs"].reason is Reason.ABSENT
    assert not [p for _, p in server.requests if p == path]
    serve(server, "/apis/kyverno.io/v1/clusterpolicies")
    server.lists[path] = ListKind("ConfigMapList", "v1", [
        json.dumps({"metadata": {"name": "kyverno"}, "data": {"resourceFilters": "[Event,*,*]", "other": "private"}}).encode()
    ])  # fmt: skip
    assert collect(server)["objects:kyvernoconfigs"] == [
        {"metadata": {"name": "kyverno"}, "data": {"resourceFilters": "[Event,*,*]"}}
    ]
    server.denied["limited"] = {path}
    assert collect(server, "token-limited")["objects:kyvernoconfigs"] == Problem(
        Reason.DENIED, 'the account may not list configmaps in the API group "" in the namespace kyverno'
    )


def test_a_group_that_is_not_served_is_absent(server):
    """Then the server's answer is no document of its own."""
    for path in [p for p in server.lists if p.startswith("/apis/batch/")]:
        del server.lists[path]
    answer = collect(server)["objects:cronjobs"]
    assert answer == Problem(Reason.ABSENT, "the API server does not serve cronjobs (batch/v1)")


def test_null_stands_for_nothing(server):
    """A server of 1.20 answers so where it was asked for metadata alone."""
    server.bodies[KINDS["csidrivers"].path] = (
        b'{"kind":"PartialObjectMetadataList","metadata":{"resourceVersion":"1"},"items":null}'
    )
    metadata = b'{"name":"db","namespace":"default","labels":null,"annotations":null}'
    server.bodies[KINDS["default/services"].path] = b'{"kind":"PartialObjectMetadataList","items":[{"metadata":%s}]}' % metadata
    answers = collect(server, "token-auditor", "csidrivers", "default/services")
    assert answers["objects:csidrivers"] == []
    assert answers["objects:default/services"] == [{"metadata": {"name": "db", "namespace": "default"}}]
