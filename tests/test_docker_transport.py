"""An engine by its API: a recorded engine served on real sockets, and every way in which one fails."""

import http.server
import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from auditor.catalogue import packaged
from auditor.engine import judge, needs
from auditor.facts.docker import DOCUMENTS, reduce
from auditor.model import Benchmark, Evidence, Problem, Reason, Status, Target
from auditor.transports.base import TargetError
from auditor.transports.docker import NO_HOST, collect_engine
from checks import check_types
from tests.support.engine_api import API, IDS, NAMES, Answer, Spec, engine, serving

EVERYTHING = frozenset(f"engine:{d}" for d in DOCUMENTS)


def data(facts: dict[str, Any], document: str) -> Any:
    (entry,) = facts[f"engine:{document}"]
    return entry["data"]


def problem(facts: dict[str, Any], document: str) -> dict[str, str]:
    (entry,) = facts[f"engine:{document}"]
    assert "data" not in entry
    found: dict[str, str] = entry["problem"]
    return found


def test_all_documents_of_an_engine(tmp_path: Path) -> None:
    with engine(tmp_path) as (spec, server):
        facts = collect_engine(spec, EVERYTHING)
    assert facts.keys() == EVERYTHING
    assert all(entry[0]["engine"] == spec.url and entry[0]["pid"] is None for entry in facts.values())
    for document in ("info", "version", "networks", "volumes"):
        assert data(facts, document) == reduce(document, json.dumps(API[document]).encode())  # type: ignore[arg-type]
    containers = {c["Name"]: c for c in data(facts, "containers")}
    assert containers.keys() == {c["Name"] for c in API["containers"].values()}
    assert containers["/good"]["proc"] == {"problem": {"reason": "absent", "detail": NO_HOST.detail}}
    assert "proc" not in containers["/stopped"]
    assert {i["RepoTags"][0] for i in data(facts, "images")} == {"app:1", "bb:1", "named:1", "nocheck:1"}
    assert {line.split()[0] for line in server.seen} == {"GET"}


def test_only_what_is_wanted_is_read_and_the_host_is_out_of_reach(tmp_path: Path) -> None:
    with engine(tmp_path) as (spec, server):
        facts = collect_engine(spec, frozenset({"engine:info", "system", "processes"}))
    assert facts["system"] == facts["processes"] == Problem(Reason.ABSENT, NO_HOST.detail)
    assert server.seen == ["GET /version", "GET /info"]  # the first agrees on a version of the API


def test_verdicts_about_a_recorded_engine(tmp_path: Path) -> None:
    """What was running there is in the names: see the controls' expectations below."""
    whole = packaged(check_types()).load("cis-docker@1.6.0")
    controls = tuple(
        c for c in whole.controls if c.key.startswith(("docker-container", "docker-image", "docker-live", "docker-swarm"))
    )
    benchmark = Benchmark(whole.name, whole.version, "", controls, 1, "")
    with engine(tmp_path) as (spec, _):
        facts = collect_engine(spec, frozenset(f.key for f in needs([benchmark], "host")))
    for c in data(facts, "containers"):
        if c["Id"] in API["proc"]:
            c["proc"] = API["proc"][c["Id"]]
    findings = {f.control: f for f in judge([benchmark], Evidence(Target("ci", "docker"), "", facts))}

    def bad(control: str) -> set[str]:
        return {o.subject.partition("/")[2] for o in findings[control].observations if o.status is Status.FAIL}

    everything = {"created", "good", "hid", "hostnet", "joins", "named", "priv", "seteuid", "sock", "stopped"}
    assert bad("docker-live-restore") == {"dockerd"}
    assert findings["docker-swarm-inactive"].status is Status.PASS
    assert bad("docker-container-user") == {"hid", "sock"}  # seteuid starts as root and gives it up
    assert findings["docker-container-user"].status is Status.FAIL
    assert bad("docker-image-healthcheck") == {"bb:1", "named:1", "nocheck:1"}
    assert findings["docker-container-apparmor"].status is Status.NOT_APPLICABLE
    assert findings["docker-container-selinux"].status is Status.ERROR
    assert bad("docker-container-capabilities") == {"joins", "priv"}
    assert bad("docker-container-privileged") == {"priv"}
    assert bad("docker-container-sensitive-mounts") == {"created", "hid", "named"}
    assert bad("docker-container-host-network") == {"hostnet", "joins", "priv"}
    assert bad("docker-container-memory") == bad("docker-container-pids-limit") == everything - {"good"}
    assert bad("docker-container-cpu-shares") == everything - {"good", "hid"}
    assert bad("docker-container-no-new-privileges") == {"hid", "hostnet", "joins", "named", "seteuid", "sock"}
    assert bad("docker-container-engine-socket") == {"created", "joins"}  # sock mounts one that only the host knows of
    unsure = {o.subject for o in findings["docker-container-engine-socket"].observations if o.status is Status.ERROR}
    assert unsure == {"container/hid", "container/named", "container/sock"}


def test_a_container_that_vanishes_is_left_out(tmp_path: Path) -> None:
    def gone(_: Any, path: str) -> Answer:
        return (404, b'{"message": "No such container"}') if path.startswith(f"/containers/{IDS['/good']}") else None

    with engine(tmp_path, gone) as (spec, _):
        names = {c["Name"] for c in data(collect_engine(spec, EVERYTHING), "containers")}
    assert "/good" not in names
    assert len(names) == len(IDS) - 1


def test_a_container_that_can_not_be_read_is_a_problem_in_its_place(tmp_path: Path) -> None:
    def odd(_: Any, path: str) -> Answer:
        for name, found in (
            ("/good", (403, b'{"message": "denied by plugin"}')),
            ("/priv", (200, b'{"Id": "x"}')),
            ("/hid", (500, b"oops")),
        ):
            if path.startswith(f"/containers/{IDS[name]}"):
                return found
        return None

    with engine(tmp_path, odd) as (spec, _):
        containers = {NAMES[c["Id"]]: c for c in data(collect_engine(spec, EVERYTHING), "containers")}
    assert containers["/good"]["problem"] == {"reason": "denied", "detail": containers["/good"]["problem"]["detail"]}
    assert "denied by plugin" in containers["/good"]["problem"]["detail"]
    assert containers["/priv"]["problem"]["reason"] == "unparsable"
    assert containers["/hid"]["problem"]["reason"] == "absent"
    assert "problem" not in containers["/named"]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ((403, b'{"message": "no"}'), "denied"), ((500, b"oops"), "absent"), ((404, b""), "absent"), ((302, b""), "absent"),
        ((200, b"<html>"), "unparsable"), ((200, b"[]"), "unparsable"), ((0, b""), "unreachable"),
    ],
)  # fmt: skip
def test_one_document_fails_and_the_others_stay(tmp_path: Path, reply: tuple[int, bytes], reason: str) -> None:
    with engine(tmp_path, lambda _, path: reply if path == "/info" else None) as (spec, _):
        facts = collect_engine(spec, EVERYTHING)
    assert problem(facts, "info")["reason"] == reason
    assert data(facts, "version")["Version"]
    assert len(data(facts, "containers")) == len(IDS)


def test_a_list_that_is_refused_is_not_an_empty_one(tmp_path: Path) -> None:
    with engine(tmp_path, lambda _, path: (403, b"{}") if path.startswith("/containers/json") else None) as (spec, _):
        facts = collect_engine(spec, EVERYTHING)
    assert problem(facts, "containers")["reason"] == "denied"
    assert data(facts, "images")


def test_an_answer_without_end_is_cut_off(tmp_path: Path) -> None:
    with engine(tmp_path, lambda _, path: (200, b" " * 40_000_000) if path == "/networks" else None) as (spec, _):
        facts = collect_engine(spec, EVERYTHING)
    assert problem(facts, "networks")["reason"] == "truncated"
    assert data(facts, "info")


@pytest.mark.parametrize("drip", [False, True], ids=["silent", "drop by drop"])
def test_an_engine_that_hangs_has_only_its_time(tmp_path: Path, drip: bool) -> None:
    def hang(handler: http.server.BaseHTTPRequestHandler, path: str) -> Answer:
        if path != "/volumes":
            return None
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        for _ in range(40):
            time.sleep(0.1)
            if drip:
                handler.wfile.write(b" " * 70_000)
        return 0, b""

    started = time.monotonic()
    with engine(tmp_path, hang) as (spec, _):
        spec.timeout = 1
        facts = collect_engine(spec, EVERYTHING)
        taken = time.monotonic() - started
    assert taken < 2.5
    assert problem(facts, "volumes")["reason"] == "timeout"
    assert problem(facts, "containers")["reason"] == "timeout"
    assert data(facts, "info")


def refused(spec: Spec) -> Problem:
    with pytest.raises(TargetError) as error:
        collect_engine(spec, EVERYTHING)
    assert "\n" not in error.value.problem.detail
    return error.value.problem


def test_no_socket(tmp_path: Path) -> None:
    found = refused(Spec(f"unix://{tmp_path}/none.sock"))
    assert found.reason is Reason.UNREACHABLE
    assert "none.sock" in found.detail


def test_nobody_listens() -> None:
    with socket.socket() as taken:  # so that nobody else comes to listen there
        taken.bind(("127.0.0.1", 0))
        assert refused(Spec(f"tcp://127.0.0.1:{taken.getsockname()[1]}")).reason is Reason.UNREACHABLE


def test_someone_else_listens() -> None:
    with serving(("127.0.0.1", 0), lambda _h, _p: (200, b"<html>")) as server:
        assert refused(Spec(f"tcp://127.0.0.1:{server.server_address[1]}")).reason is Reason.UNPARSABLE


def test_the_whole_engine_is_forbidden() -> None:
    with serving(("127.0.0.1", 0), lambda _h, _p: (403, b'{"message": "no"}')) as server:
        assert refused(Spec(f"tcp://127.0.0.1:{server.server_address[1]}")).reason is Reason.DENIED


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_a_socket_without_permission(tmp_path: Path) -> None:
    with engine(tmp_path) as (spec, _):
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o001:
                folder.chmod(0o755)
        Path(spec.url.removeprefix("unix://")).chmod(0o600)
        os.seteuid(65534)
        try:
            found = refused(spec)
        finally:
            os.seteuid(0)
    assert found.reason is Reason.DENIED


@pytest.mark.parametrize(
    "url", ["tcp://192.0.2.1:2375", "tcp://[2001:db8::1]:2375", "tcp://engine.test:2375", "tcp://127.0.0.1.test:1"]
)
def test_another_machines_engine_is_not_believed_without_tls(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: connected.append(address))
    found = refused(Spec(url))
    assert found.reason is Reason.DENIED
    assert "without TLS anybody on the way could answer" in found.detail
    assert connected == []


def test_a_password_in_the_address_is_not_told() -> None:
    found = refused(Spec("tcp://bob:hunter2@127.0.0.1:1"))
    assert "hunter2" not in found.detail


def test_an_address_that_is_none() -> None:
    assert refused(Spec("nonsense://x")).reason is Reason.UNREACHABLE


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority of our own, a server and a client that it signed, and a stranger."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*args: str) -> None:
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)

    for ca in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={ca}",
                "-keyout", f"{ca}.key", "-out", f"{ca}.pem")  # fmt: skip
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1")
    for name in ("server", "client"):
        openssl(
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            f"/CN={name}",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
        )
        openssl(
            "x509",
            "-req",
            "-in",
            f"{name}.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-out",
            f"{name}.pem",
            "-extfile",
            "san",
        )
    return folder


@contextmanager
def tls_engine(authority: Path) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    context.load_verify_locations(authority / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    with serving(("127.0.0.1", 0), tls=context) as server:
        yield f"tcp://127.0.0.1:{server.server_address[1]}"


def test_tls_both_ways_whatever_the_environment_trusts(authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority / "other.pem"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with tls_engine(authority) as url:
        facts = collect_engine(Spec(url, authority / "ca.pem", authority / "client.pem", authority / "client.key"), EVERYTHING)
    assert data(facts, "info")["Name"] == "web-1"


def test_an_engine_that_another_authority_signed_is_refused(authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority / "ca.pem"))
    with tls_engine(authority) as url:
        found = refused(Spec(url, authority / "other.pem", authority / "client.pem", authority / "client.key"))
    assert found.reason is Reason.UNREACHABLE
    assert "certificate" in found.detail.lower()


def test_without_the_clients_certificate(authority: Path) -> None:
    with tls_engine(authority) as url:
        refused(Spec(url, authority / "ca.pem"))


def test_a_key_file_that_is_not_there(authority: Path, tmp_path: Path) -> None:
    assert "key" in refused(Spec("tcp://127.0.0.1:1", authority / "ca.pem", authority / "client.pem", tmp_path / "none.key")).detail
