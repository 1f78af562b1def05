"""Facts about swarms: what is kept of a recorded one, what never is, and what a host's odd answers become."""

import base64
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.facts import swarm, swarm_answers
from auditor.facts.records import split
from auditor.model import Problem, Reason
from tests.support import streams
from tests.support.kube_node import certificate

RECORDED = json.loads((Path(__file__).parent / "recorded" / "docker" / "swarm-20.10.json").read_text())
API = RECORDED["api"]
UNTOLD = Problem(Reason.TRUNCATED, "cut")


def raw(document: Any) -> bytes:
    return json.dumps(document).encode()


def test_tokens_are_not_kept() -> None:
    """Even where an engine would tell join tokens, nothing keeps them."""
    tokens = API["swarm"]["JoinTokens"]
    info = {**API["info"], "JoinTokens": tokens, "Swarm": {**API["info"]["Swarm"], "Cluster": API["swarm"], "JoinTokens": tokens}}
    kept = json.dumps(swarm.reduce_info(raw(info)))
    assert API["swarm"]["ID"] in kept
    assert "SWMTKN" in json.dumps(info)
    assert "SWMTKN" not in kept
    assert "BEGIN CERTIFICATE" not in kept


def test_data_of_configs_and_services_is_not_kept() -> None:
    kept = json.dumps([swarm.reduce_part(part, raw(API[part])) for part in swarm.PARTS])
    assert API["configs"][0]["Spec"]["Data"] not in kept
    assert "hunter2" in json.dumps(API["services"])
    assert "hunter2" not in kept
    with_data = [{**API["secrets"][0], "Spec": {"Name": "x", "Data": "aHVzaA=="}}]
    assert "aHVzaA==" not in json.dumps(swarm.reduce_part("secrets", raw(with_data)))


def test_only_the_state_of_an_engine_that_is_no_member() -> None:
    assert swarm.reduce_info(raw({**API["info"], "Swarm": {"LocalNodeState": "inactive", "NodeAddr": ""}})) == {
        "info": {"LocalNodeState": "inactive"}
    }


def service(**container: Any) -> list[str]:
    """Return what is suspicious about a service."""
    told = [{"ID": "a", "Spec": {"Name": "a", "TaskTemplate": {"ContainerSpec": container}}}]
    (reduced,) = swarm.reduce_part("services", raw(told))
    return [f"{s['where']}: {s['kind']}" for s in reduced["Spec"]["TaskTemplate"]["ContainerSpec"]["suspicious"]]


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ({"Env": ["DB_PASSWORD=x"]}, ["env DB_PASSWORD: named like a secret"]),
        ({"Env": ["DB_PASSWORD_FILE=/run/secrets/x", "MODE=production", "TOKEN=", "USE_TOKEN=true"]}, []),
        ({"Env": ["DB_PASSWORD=/run/secrets/x"]}, []),
        ({"Env": ["DB_PASSWORD=/elsewhere/x"]}, ["env DB_PASSWORD: named like a secret"]),
        ({"Env": ["DB_PASSWORD=/elsewhere/x"], "Secrets": [{"SecretName": "x", "File": {"Name": "/elsewhere/x"}}]}, []),
        ({"Env": ["URL=postgres://u:p@db/x"]}, ["env URL: credentials in a URL"]),
        ({"Env": ["PEM=-----BEGIN RSA PRIVATE KEY-----\nMII"]}, ["env PEM: private key"]),
        ({"Env": ["X=ghp_0123456789abcdefghij"]}, ["env X: has the shape of a secret"]),
        ({"Args": ["--token=x", "--level", "3"]}, ["argument --token: named like a secret"]),
        ({"Command": ["server", "--password", "hunter2"]}, ["argument --password: named like a secret"]),
        ({"Args": ["--password", "/run/secrets/x", "--token=/run/secrets/y"]}, []),
        ({"Args": ["postgres://u:p@db/x"]}, ["argument: credentials in a URL"]),
    ],
)
def test_suspicious(container: dict[str, Any], expected: list[str]) -> None:
    assert service(**container) == expected


def test_recorded_host() -> None:
    """What the host's files and sockets say."""
    assert swarm.reduce_settings(RECORDED["files"]["docker-state.json"].encode())["ListenAddr"] == "0.0.0.0:2377"
    (root,) = swarm.certificates(RECORDED["files"]["certificates/swarm-root-ca.crt"].encode())
    assert swarm.reduce_info(raw(API["info"]))["trust_root"] == [root]
    (own,) = swarm.certificates(RECORDED["files"]["certificates/swarm-node.crt"].encode())
    assert own["from"] < own["until"]
    seen = {(s["protocol"], s["port"], s["address"]) for s in swarm.listeners(RECORDED["fd"], RECORDED["bound"])}
    assert {("tcp", 2377, "::"), ("tcp", 7946, "::"), ("udp", 7946, "::")} <= seen
    assert not {port for _, port, _ in seen} & {22, 4789}, "sshd's and the kernel's are not dockerd's"
    assert set(swarm.interfaces(RECORDED["addresses"]).values()) >= {"lo", "eth0"}


def test_addresses_of_both_kinds() -> None:
    """The tables hold addresses as four-byte numbers of a little-endian machine."""
    links = "lrwx------ 1 root root 64 Nov 21 23:42 25 -> socket:[7]\nlrwx------ 1 root root 64 Nov 21 23:42 26 -> socket:[8]\n"
    line = "   0: {} {}:0000 {} 00000000:00000000 00:00000000 00000000     0        0 {} 1 0 100 0 0 10 0"
    bound = "\n".join([
        "tcp", line.format("0100000A:0949", "00000000", "0A", 7), line.format("0200000A:0949", "00000000", "01", 7),
        line.format("0300000A:0949", "00000000", "0A", 9), "tcp6",
        line.format("B80D0120000000000000000001000000:0949", "0" * 32, "0A", 8),
        line.format("0000000000000000FFFF00000400000A:0949", "0" * 32, "0A", 8),
    ])  # fmt: skip
    assert [s["address"] for s in swarm.listeners(links, bound)] == ["10.0.0.1", "10.0.0.4", "2001:db8::1"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"17", b"{}", b'{"message": "This node is not a swarm manager"}', b"[1]", b"[" * 5000]
)
def test_other_shapes_are_refused(body: bytes) -> None:
    for part in swarm.PARTS:
        with pytest.raises(ValueError):
            swarm.reduce_part(part, body)
    for read in (swarm.reduce_info, swarm.reduce_settings, swarm.certificates):
        with pytest.raises(ValueError):
            read(body)


@given(st.binary(max_size=200))
def test_bytes_are_read_or_refused(body: bytes) -> None:
    for read in (swarm.reduce_info, swarm.reduce_settings, swarm.certificates, lambda b: swarm.reduce_part("services", b)):
        with contextlib.suppress(ValueError):
            read(body)


@given(st.text(max_size=200), st.text(max_size=200))
def test_tables_never_raise_but_value_errors(links: str, bound: str) -> None:
    with contextlib.suppress(ValueError):
        swarm.listeners(links, bound)
    swarm.interfaces(bound)


def said(**parts: str) -> dict[str, Any] | Problem:
    """Return the data that a script's records give; the parts are (words with underscores for blanks) and bodies."""
    stream = "".join(f"\nM w {name.replace('__', ' ')}\n{body}" for name, body in parts.items())
    stdout = (stream + "\nM end\n").encode()
    return swarm_answers.data_of(split(stdout, streams.heard(stdout, "M"), "M").records, UNTOLD)


def test_a_manager_that_said_nothing_more_is_missing_evidence() -> None:
    data = said(info=json.dumps(API["info"]))
    assert isinstance(data, dict)
    missing = {
        name for name in (*swarm.HOST_PARTS, *swarm.PARTS) if data[name] == {"problem": {"reason": "truncated", "detail": "cut"}}
    }
    assert missing == {*swarm.HOST_PARTS, *swarm.PARTS}


def test_a_refusal_is_told() -> None:
    data = said(info=json.dumps(API["info"]), nodes='{"message": "authorization denied"}\nM u 403 http://localhost/nodes\n')
    assert isinstance(data, dict)
    assert data["nodes"]["problem"] == {"reason": "denied", "detail": "the engine's nodes: answered 403 authorization denied"}


def test_nothing_was_said() -> None:
    assert said() == UNTOLD
    assert isinstance(said(info=""), Problem)
    assert isinstance(said(info='{"message": "x"}'), Problem)


def test_a_certificate_of_no_known_version_is_a_value_error() -> None:
    """Of the library's errors for broken certificates not all are one: the whole host was lost for it."""
    good = "".join(certificate("a").splitlines()[1:-1])
    broken = base64.b64decode(good).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01", 1)
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(broken) + b"-----END CERTIFICATE-----\n"
    with pytest.raises(ValueError, match="holds a certificate that can't be read"):
        swarm.certificates(pem)


def test_what_an_engine_says_instead_of_an_answer_need_be_no_utf8() -> None:
    assert swarm.decode_error(b'{"message": "no \xa0 manager"}') == ""
    assert swarm.decode_error(b'{"message": "no manager"}') == "no manager"


def test_a_port_of_many_digits_is_none() -> None:
    """Such a number can't be written as JSON: it ended the audit of all hosts."""
    with pytest.raises(ValueError, match="the port 'FFFFFFFFFF' is none"):
        swarm.listeners("socket:[7]", f"tcp\n0: 0100007F:{'F' * 5000} 00000000:0000 0A 0 0 0 0 0 7\n")
