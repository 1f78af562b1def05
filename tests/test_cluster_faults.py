"""A cluster that answers oddly, late, not at all, or not to us: what is lost, and what is said of it."""

import json
import socket
import time
from pathlib import Path

import pytest
import yaml

from auditor.facts.kubernetes import KINDS
from auditor.model import Problem, Reason
from auditor.transports import kubernetes as transport
from auditor.transports.kubernetes import collect_cluster
from tests.support.apiserver import PODS, ApiServer, write_certificates
from tests.support.cluster import SERVED, Spec, collect, refused


@pytest.fixture
def server(tmp_path: Path):
    with ApiServer(tmp_path / "server") as running:
        yield running


@pytest.mark.parametrize(
    "body",
    [b"<html>log in</html>", b"{}", b"[]", b"null", b'{"kind":"Status"}', b'{"kind":"PodList","items":[{"metadata":5}]}', b""],
)
def test_an_answer_that_is_no_list_is_unparsable_and_never_an_empty_cluster(server, body):
    server.bodies[PODS] = body
    answers = collect(server)
    assert answers["objects:pods"].reason is Reason.UNPARSABLE
    assert len(answers["objects:namespaces"]) == 9


def test_a_busy_server_is_waited_for(server):
    server.busy[PODS] = 2
    assert sum(p.get("count", 1) for p in collect(server)["objects:pods"]) == 10
    server.busy[PODS] = 100
    assert str(collect(server)["objects:pods"]).endswith("answered 429: Too many requests, please try again later.")


def test_an_internal_error_costs_that_kind_only(server):
    server.statuses[PODS] = 500
    answers = collect(server)
    assert "answered 500: an error on the server" in str(answers["objects:pods"])
    assert len(answers["objects:namespaces"]) == 9


def test_a_slow_kind_times_out_alone(server):
    server.slow[PODS] = 3
    answers = collect(server, timeout=1)
    assert answers["objects:pods"] == Problem(Reason.TIMEOUT, "GET /api/v1/pods: no answer within 1 s")
    assert len(answers["objects:roles"]) == 8


def test_a_server_that_keeps_timing_out_is_not_asked_for_everything(server):
    server.slow = {kind.path: 3.0 for kind in KINDS.values()}
    started = time.monotonic()
    answers = collect(server, timeout=1)
    assert time.monotonic() - started < 12
    assert {v.reason for k, v in answers.items() if k != "server" and not KINDS[k.removeprefix("objects:")].addon} == {
        Reason.TIMEOUT
    }


def test_a_page_too_large_is_truncated(server, monkeypatch):
    monkeypatch.setattr(transport, "MAX_PAGE_BYTES", 20_000)
    answer = collect(server)["objects:pods"]
    assert answer == Problem(Reason.TRUNCATED, "GET /api/v1/pods: a page is larger than 20000 bytes")


def test_more_objects_than_are_read_are_truncated(server, monkeypatch):
    monkeypatch.setattr(transport, "MAX_OBJECTS", 1000)
    server.generate_pods(1001)
    answer = collect(server)["objects:pods"]
    assert answer == Problem(Reason.TRUNCATED, "there are more than 1000 pods; they were not all read")


def test_wrong_token(server):
    problem = refused(Spec(str(server.kubeconfig("token-wrong"))))
    assert problem == Problem(Reason.DENIED, "the API server does not accept the credentials (401)")


def test_a_token_that_expires_in_the_middle_loses_the_rest_and_not_what_was_read(server):
    refusing = {k.path for n, k in KINDS.items() if n > "pods"}
    server.statuses = dict.fromkeys(refusing, 401)
    answers = collect(server)
    assert sum(p.get("count", 1) for p in answers["objects:pods"]) == 10
    lost = {k: v for k, v in answers.items() if k.removeprefix("objects:") in SERVED and k > "objects:pods"}
    assert set(lost.values()) == {Problem(Reason.DENIED, "the API server does not accept the credentials (401)")}
    assert len(lost) > 5


def test_a_login_plugin_that_fails_at_the_renewal_loses_the_rest(server, tmp_path):
    given = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    given["status"] = {"token": "token-auditor", "expirationTimestamp": "2020-01-01T00:00:00Z"}
    words = f"n=$(cat {tmp_path}/n 2>/dev/null | wc -l); echo >>{tmp_path}/n; test $n -lt 4 && echo '{json.dumps(given)}'"
    path = server.kubeconfig()
    document = yaml.safe_load(path.read_text())
    document["users"][0]["user"] = {"exec": {"apiVersion": given["apiVersion"], "command": "sh", "args": ["-c", words]}}
    path.write_text(yaml.safe_dump(document))
    answers = collect_cluster(Spec(str(path)), frozenset({"objects:namespaces", "objects:pods", "objects:roles"}))
    assert len(answers["objects:namespaces"]) == 9
    assert "the kubeconfig's login plugin sh ended with the code 1" in str(answers["objects:roles"])


def test_no_credentials(server):
    problem = refused(Spec(str(server.kubeconfig(None))))
    assert problem.reason is Reason.DENIED
    assert "system:anonymous" in problem.detail


def test_refused_port(server):
    with socket.socket() as taken:  # so that nobody else comes to listen there
        taken.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{taken.getsockname()[1]}"
        problem = refused(Spec(str(server.kubeconfig(url=url))))
    assert problem == Problem(Reason.UNREACHABLE, f"{url}: Connection refused")


def test_wrong_ca(server, tmp_path):
    other, _, _ = write_certificates(tmp_path / "other")
    problem = refused(Spec(str(server.kubeconfig(ca=other))))
    assert problem.reason is Reason.UNREACHABLE
    assert "certificate verify failed" in problem.detail


def test_another_name_than_the_certificate_has(server):
    problem = refused(Spec(str(server.kubeconfig(url=server.url.replace("127.0.0.1", "localhost")))))
    assert "certificate" in problem.detail


def test_a_port_that_accepts_and_says_nothing(server):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"https://127.0.0.1:{deaf.getsockname()[1]}"
        problem = refused(Spec(str(server.kubeconfig(url=url)), timeout=1))
    assert problem.reason is Reason.TIMEOUT


def test_an_unknown_name(server):
    problem = refused(Spec(str(server.kubeconfig(url="https://nowhere.invalid:6443"))))
    assert problem.reason is Reason.UNREACHABLE
    assert "nowhere.invalid" in problem.detail
    assert "object at 0x" not in problem.detail


def test_no_kubeconfig(tmp_path):
    problem = refused(Spec(str(tmp_path / "none")))
    assert f"kubeconfig {tmp_path}/none can't be used" in problem.detail


def test_a_context_that_is_not_there(server):
    problem = refused(Spec(str(server.kubeconfig()), context="prod"))
    assert "context prod can't be used" in problem.detail


def test_a_broken_kubeconfig_is_not_quoted(tmp_path):
    path = tmp_path / "config"
    path.write_text("users:\n- name: u\n  user: {token: 'very-secret\n")
    problem = refused(Spec(str(path)))
    assert "can't be used" in problem.detail
    assert "very-secret" not in problem.detail


@pytest.mark.parametrize("address", ["https://me:very-secret@127.0.0.1:1", "https://me:very-secret@x:y", "ftp://very-secret@x/"])
def test_an_account_in_the_servers_address_is_not_quoted(server, address):
    problem = refused(Spec(str(server.kubeconfig(url=address))))
    assert "no account belongs into the server's address" in problem.detail
    assert "very-secret" not in problem.detail


def test_no_token_goes_to_a_server_that_nobody_proves(server):
    path = server.kubeconfig()
    document = yaml.safe_load(path.read_text())
    cluster = document["clusters"][0]["cluster"]
    for server_, more, said in ((server.url, {"insecure-skip-tls-verify": True}, "whoever answers would get the credentials"),
                                ("http://192.0.2.1:8001", {}, "is not https://")):  # fmt: skip
        document["clusters"][0]["cluster"] = {**cluster, "server": server_, **more}
        path.write_text(yaml.safe_dump(document))
        problem = refused(Spec(str(path)))
        assert problem.reason is Reason.DENIED
        assert said in problem.detail
    assert not server.requests
    cluster.pop("certificate-authority")
    path.write_text(
        yaml.safe_dump({**document, "clusters": [{"name": "c", "cluster": {**cluster, "server": "http://127.0.0.1:1"}}]})
    )
    assert "Connection refused" in refused(Spec(str(path))).detail, "kubectl proxy is on this machine"


def test_what_a_server_says_is_shown_without_secrets():
    body = b'{"kind": "Status", "message": "no: Bearer very-secret-token, https://me:very-secret@proxy/"}'
    problem = transport._refusal(500, "/api/v1/pods", body, {}).problem
    assert "GET /api/v1/pods: the API server answered 500: no: Bearer" in problem.detail
    assert "very-secret" not in problem.detail


def test_not_in_a_cluster():
    problem = refused(Spec(None, in_cluster=True))
    assert "the service account of this pod can't be used" in problem.detail


def test_the_kubeconfig_is_not_written_to(server):
    path = server.kubeconfig()
    before = path.read_bytes()
    collect_cluster(Spec(str(path)), frozenset())
    assert path.read_bytes() == before
