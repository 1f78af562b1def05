"""Logging in to a cluster: by a plugin, by a certificate, from a kubeconfig that anybody may have written."""

import base64
import datetime as dt
import json
import os
import signal
import tempfile
import time
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from auditor.model import Problem, Reason
from auditor.transports import local
from auditor.transports.kubernetes import collect_cluster
from tests.support.apiserver import ApiServer
from tests.support.cluster import Spec, refused


@pytest.fixture
def server(tmp_path: Path):
    with ApiServer(tmp_path / "server") as running:
        yield running


def logging_in(server, user: object) -> Path:
    """Return the server's kubeconfig with another user in it."""
    path = server.kubeconfig()
    document = yaml.safe_load(path.read_text())
    document["users"][0]["user"] = user
    path.write_text(yaml.safe_dump(document))
    return path


def plugin(*words: str) -> dict[str, object]:
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": words[0], "args": list(words[1:])}}


GIVEN = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}


@pytest.mark.parametrize(
    ("words", "reason", "said"),
    [
        (("/bin/false",), Reason.DENIED, "login plugin false ended with the code 1"),
        (("/bin/sh", "-c", "echo planted-8Xq; echo planted-8Xq >&2; exit 3"), Reason.DENIED, "ended with the code 3"),
        (("/bin/sh", "-c", "echo planted-8Xq"), Reason.UNPARSABLE, "gave no ExecCredential"),
        (("/bin/sh", "-c", "sleep 86431 & wait"), Reason.TIMEOUT, "did not end within 0.3 s"),
        (("/nowhere/planted",), Reason.DENIED, "can't be started: No such file or directory"),
        (("echo", json.dumps({**GIVEN, "status": {}})), Reason.DENIED, "neither a token nor a certificate"),
        (("echo", json.dumps({**GIVEN, "apiVersion": "v0", "status": {}})), Reason.UNPARSABLE, "of another version"),
    ],
)
def test_a_login_plugin_that_fails_is_no_anonymous_audit(server, capfd, words, reason, said):
    """It says why, in our words: what the plugin said may be a token. None of its processes is left."""
    problem = refused(Spec(str(logging_in(server, plugin(*words))), timeout=0.3))
    assert problem.reason is reason
    assert said in problem.detail
    assert "planted-8Xq" not in problem.detail
    assert capfd.readouterr() == ("", "")
    assert not server.requests
    assert [p for p in Path("/proc").glob("[0-9]*/cmdline") if "86431" in read(p)] == []


@pytest.mark.parametrize("words", ["exec yes", "yes >&2 & cat >/dev/null; yes"])
def test_a_program_that_never_stops_talking_is_ended(monkeypatch, words):
    monkeypatch.setattr(local, "MAX_OUTPUT", 100_000)
    answer = local.run(words, b"x" * 300_000, 20)
    assert answer.lost == Problem(Reason.TRUNCATED, "the host answered more than 100000 bytes")
    assert max(len(answer.stdout), len(answer.stderr)) == 100_000


def test_what_a_program_leaves_does_not_hold_it_up():
    """It has said all when its time is over, and what it started is gone."""
    assert local.output(["sh", "-c", "cat; sleep 86432 & exit 3"], b"all", 0.3) == (b"all", b"", 3, True)
    begun = time.monotonic()
    with tempfile.NamedTemporaryFile("r") as away:
        words = ["sh", "-c", f"setsid sh -c 'echo $$ >{away.name}; exec sleep 20' & cat"]
        assert local.output(words, b"all", 0.3)[::3] == (b"all", True)
        os.kill(int(away.read()), signal.SIGKILL)
    assert time.monotonic() - begun < 15
    assert local.output(["sh", "-c", "exec >&- 2>&- <&-; sleep 86432"], b"", 0.3)[3]
    assert local.output(["sh", "-c", "exit 4"], b"x" * 300_000, 5) == (b"", b"", 4, False)
    assert [p for p in Path("/proc").glob("[0-9]*/cmdline") if "86432" in read(p)] == []


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def test_a_login_plugin_gives_a_token(server):
    given = json.dumps({**GIVEN, "status": {"token": "token-auditor"}})
    path = logging_in(server, plugin("sh", "-c", f"test -n \"$KUBERNETES_EXEC_INFO\" && echo '{given}'"))
    assert "server" in collect_cluster(Spec(str(path), ""), frozenset())
    assert [user for user, _ in server.requests] == ["auditor"]


@pytest.mark.parametrize("by", ["kubeconfig", "plugin"])
def test_a_clients_key_is_never_on_a_disk(server, tmp_path, monkeypatch, by):
    """Nor does a descriptor stay open: a kill leaves nothing behind."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jo")])
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + dt.timedelta(36500)).sign(
        key, hashes.SHA256()
    )
    pem = certificate.public_bytes(forms.Encoding.PEM).decode()
    secret = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption()).decode()
    user: dict[str, object] = {"client-certificate-data": b64(pem), "client-key-data": b64(secret)}
    if by == "plugin":
        given = {**GIVEN, "status": {"clientCertificateData": pem, "clientKeyData": secret}}
        user = plugin("echo", json.dumps(given))
    path = logging_in(server, user)
    document = yaml.safe_load(path.read_text())
    cluster = document["clusters"][0]["cluster"]
    cluster["certificate-authority-data"] = b64(Path(cluster.pop("certificate-authority")).read_text())
    path.write_text(yaml.safe_dump(document))
    assert collect_cluster(Spec(str(path)), frozenset())["server"]["account"] == "jo (client certificate)"
    assert list(folder.iterdir()) == []
    assert [p for p in Path("/proc/self/fd").iterdir() if p.is_symlink() and "kubeconfig" in str(p.readlink())] == []


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


MISSING = """\
current-context: c
contexts: [{name: c, context: {cluster: k, user: u}}]
clusters: [{name: k, cluster: {server: https://x}}]
users: [{name: u, token: very-secret}]
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [x]\nusers: [*a, *a]\n", "line 1: anchors, aliases and tags are not read"),
        ("users:\n- {name: u, user: {token: !very-secret x}}\n", "line 2: anchors, aliases and tags are not read"),
        ("[" * 3000, "nested more than 40 deep"),
        ("a: '" + "very-secret" * 100_000 + "'\n", "it is larger than 1048576 bytes"),
        (MISSING, "Expected key user in "),
    ],
    ids=["alias", "tag", "deep", "large", "missing"],
)
def test_a_hostile_kubeconfig_is_refused_and_not_quoted(tmp_path, text, said):
    path = tmp_path / "config"
    path.write_text(text)
    detail = refused(Spec(str(path))).detail
    assert said in detail
    assert "very-secret" not in detail
