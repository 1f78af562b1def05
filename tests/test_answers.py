"""Answers of hosts, hostile ones too: never an exception, never a verdict from what was not said."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.facts import answers
from auditor.facts.docker import DOCUMENTS, Engine
from auditor.facts.host import AuditRules, Config, Files, Processes, System
from auditor.facts.script import CONTENT_LIMIT
from auditor.model import Problem, Reason
from tests.support import streams

M = "c0ffee"
DAEMON = Config(process="dockerd", flag="--config-file", path="/etc/docker/daemon.json")
FACTS = sorted(
    [System(), Processes(), AuditRules(), Files(path="/etc/docker"), DAEMON, *(Engine(d) for d in DOCUMENTS)], key=lambda f: f.key
)
HEAD = (
    f'\n{M} system\n0\nroot\nhost\nLinux 6.1 x86_64\nroot\n\n{M} os-release\nPRETTY_NAME="Test 1"\n'
    f"\n{M} boot\n1000\n100\n\n{M} proc-mount\nproc rw 0 0\n"
).encode()


def stat_line(ticks: int) -> str:
    return "7 (a b) c) S " + " ".join(["1"] * 18) + f" {ticks} 1 1"


def process(pid: int, name: str, argv: bytes, *, uid: int = 0, contained: str = "no", ns: str = "same") -> bytes:
    head = f"\n{M} p {pid} {uid} {contained} {ns} {name}\n/usr/bin/{name}\n{stat_line(5000)}\n\n{M} a {pid}\n".encode()
    return head + argv + f"\n{M} rc 0\n\n{M} e {pid}\n".encode()


def facts(stdout: bytes, said: bytes = b"", ordered=FACTS) -> dict:
    """Return the facts of a stream; ``said`` is a marker with what the host says behind it on the other one."""
    marker = said[: said.find(b"\n", 1) + 1]
    return answers.facts_of(answers.split(stdout, streams.heard(stdout, M).replace(marker, said, 1), M), ordered)


SCANNED = f"\n{M} scanned\n".encode()
END = f"\n{M} end\n".encode()


def test_process_arguments_are_split_at_nul_and_redacted() -> None:
    found = facts(HEAD + process(7, "dockerd", b"dockerd\0--label\0a b\nc\0--token=s3cr3t\0") + SCANNED + END)["processes"]
    assert found[0]["args"][:2] == ["--label", "a b\nc"]
    assert "s3cr3t" not in json.dumps(found)
    assert found[0]["started"] == 1000 + 50


def test_hidden_processes_are_denied_not_absent() -> None:
    head = HEAD.replace(b"\n0\nroot\nhost", b"\n1000\naudit\nhost").replace(b"proc rw 0 0", b"proc rw,hidepid=2 0 0")
    found = facts(head + SCANNED + END)
    assert isinstance(found["processes"], Problem)
    assert found["processes"].reason is Reason.DENIED
    assert isinstance(found["engine:info"], Problem)


@pytest.mark.parametrize("cut", range(0, len(HEAD), 23))
def test_a_cut_stream_gives_problems(cut: int) -> None:
    found = facts(HEAD[:cut])
    assert isinstance(found["processes"], Problem)
    assert all(isinstance(found[f.key], Problem) for f in FACTS if f.key != "system"), found


def test_what_may_not_be_read_is_not_empty_when_only_that_is_lost() -> None:
    """The connection may break when one stream has arrived and the other has not."""
    stdout = HEAD + process(7, "dockerd", b"dockerd\0") + SCANNED + END
    marker = f"\n{M} e 7\n".encode()
    stderr = streams.heard(stdout, M).replace(marker, marker + b"cat: /proc/7/environ: Permission denied\n")
    found = []
    for cut in range(len(stderr) + 1):
        processes = answers.facts_of(answers.split(stdout, stderr[:cut], M), FACTS)["processes"]
        found.append(processes.reason if isinstance(processes, Problem) else processes[0]["environ"])
    assert found[-1] is None
    assert set(found) == {None, Reason.TRUNCATED}


def config_record(content: bytes, stat: str = "1700000000 5 regular file", code: int = 0) -> bytes:
    index = FACTS.index(DAEMON)
    return f"\n{M} c {index} 7 default /etc/docker/daemon.json\n{stat}\n".encode() + content + f"\n{M} rc {code}\n".encode()


def daemon(record: bytes, stderr: bytes = b"") -> list[dict]:
    stream = HEAD + process(7, "dockerd", b"dockerd\0") + SCANNED + record + f"\n{M} plan\n\n{M} stat\n\n{M} rc 0\n".encode() + END
    return facts(stream, stderr)[DAEMON.key][0]["documents"]


def test_a_configuration_file_is_parsed_and_redacted() -> None:
    (document,) = daemon(config_record(b'{"icc": false, "proxies": {"http-proxy": "http://me:hunter2@proxy:3128"}}'))
    assert document["data"]["icc"] is False
    assert "hunter2" not in json.dumps(document)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"icc": false', "unparsable"),
        (b'{"icc": false, "ICC": true}', "unparsable"),
        (b"\xff\xfe{}", "unparsable"),
        (b"{" + b'"a":{' * 5000, "unparsable"),
        (b"a: &a [1]\nb: *a\n", "unparsable"),
        (b"x" * (CONTENT_LIMIT + 1), "truncated"),
    ],
)
def test_an_odd_configuration_file_is_a_problem(content: bytes, reason: str) -> None:
    (document,) = daemon(config_record(content))
    assert document["problem"]["reason"] == reason


def test_a_denied_file_is_no_missing_file() -> None:
    said = f"\n{M} c {FACTS.index(DAEMON)} 7 default /etc/docker/daemon.json\nstat: can't stat 'x': Permission denied\n".encode()
    (document,) = daemon(config_record(b"", "", 1), said)
    assert document["problem"]["reason"] == "denied"
    gone = said.replace(b"Permission denied", b"No such file or directory")
    assert daemon(config_record(b"", "", 1), gone) == []


def engine(*records: bytes, name: str = "containers") -> object:
    stream = (
        HEAD
        + process(7, "dockerd", b"dockerd\0")
        + SCANNED
        + f"\n{M} engine 7 /run/docker.sock\n".encode()
        + b"".join(records)
        + END
    )
    return facts(stream)[f"engine:{name}"]


CONTAINER = {
    "Id": "a" * 64,
    "Name": "/web",
    "State": {"Status": "running", "Running": True, "Pid": 42},
    "Config": {},
    "HostConfig": {},
}


def test_a_container_gets_its_process() -> None:
    body = json.dumps(CONTAINER).encode()
    found = engine(
        f"\n{M} list containers\nlast {M} u 200 http://localhost/containers/json\n\n{M} rc 0\n\n{M} doc containers 1\n".encode()
        + body,
        f"\n{M} u 200 http://localhost/containers/a/json\n\n{M} s 42\nUid:\t100000\t100000\t100000\t100000\nNoNewPrivs:\t1\n".encode(),
        b"map          0     100000      65536\n" + f"\n{M} rc 0\n".encode(),
    )
    proc = found[0]["data"][0]["proc"]
    assert proc["NoNewPrivs"] == "1"
    assert proc["uid_map"] == [[0, 100000, 65536]]


def test_containers_that_were_not_told_are_not_forgotten() -> None:
    body = json.dumps(CONTAINER).encode()
    found = engine(
        f"\n{M} list containers\nlast {M} u 200 http://localhost/containers/json\n\n{M} rc 0\n\n{M} doc containers 3\n".encode()
        + body,
        f"\n{M} u 200 http://localhost/containers/a/json\n\n{M} rc 0\n".encode(),
    )
    assert found[0]["data"][-1]["problem"]["detail"].startswith("2 of 3 containers")


def test_a_refused_list_is_a_problem() -> None:
    found = engine(
        f"\n{M} list containers\nlast {M} u 403 http://localhost/containers/json\n\n{M} rc 0\n\n{M} doc containers 0\n\n{M} rc 0\n".encode()
    )
    assert found[0]["problem"]["reason"] == "denied"


def test_an_engine_nobody_asked_is_a_problem() -> None:
    stream = HEAD + process(7, "dockerd", b"dockerd\0") + SCANNED + END
    assert facts(stream)["engine:info"][0]["problem"]["reason"] == "unparsable"


def test_a_dockerd_in_a_container_is_not_the_hosts() -> None:
    stream = HEAD + process(7, "dockerd", b"dockerd\0", contained="yes") + SCANNED + END
    assert facts(stream)["engine:info"] == []


@pytest.mark.parametrize(
    ("status", "rules", "code", "expected"),
    [
        ("enabled 1\nfailure 1\n", "-w /etc/docker -p rwxa\n", 0, {"enabled": 1, "rules": ["-w /etc/docker -p rwxa"]}),
        ("AUDIT_STATUS: enabled=2 flag=1\n", "No rules\n", 0, {"enabled": 2, "rules": []}),
        ("nonsense\n", "", 0, Reason.UNPARSABLE),
        ("enabled 1\n", "", 1, Reason.DENIED),
    ],
)
def test_audit_rules(status: str, rules: str, code: int, expected: object) -> None:
    stream = f"\n{M} audit-status\n{status}\n{M} rc 0\n\n{M} audit-rules\n{rules}\n{M} rc {code}\n".encode()
    said = f"\n{M} audit-rules\nYou must be root to run this program.\n".encode()
    found = facts(HEAD + SCANNED + stream + END, said)["audit_rules"]
    if isinstance(expected, Reason):
        assert found.reason is expected
    else:
        assert found == expected


RECORDS = st.sampled_from(
    ["p 7 0 no same dockerd", "a 7", "e 7", "c 0 7 default /x", "rc 0", "rc 1", "rc x", "plan", "stat", "engine 7 /s", "doc info", "doc images 3",
     "doc containers 2", "list containers", "u 200 http://l/x/json", "u 000 http://l", "s 42", "scanned", "end", "audit-status", "audit-rules",
     "audit-none", "", "p", "c", "u", "doc", "list", "engine", "\N{PILE OF POO}"]
)  # fmt: skip
BODIES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [b'{"Id": 1}', b'{"Id": "a"}', b"[]", b"[1]", b"null", b"{}", b"F 0 /x\n/x", b"644|0|0|root|root|1|regular file|/x"]
    ),
)


@given(st.lists(st.tuples(RECORDS, BODIES), max_size=12), st.binary(max_size=40))
def test_no_stream_breaks_the_parser(records: list[tuple[str, bytes]], stderr: bytes) -> None:
    stream = HEAD + SCANNED + b"".join(f"\n{M} {words}\n".encode() + body for words, body in records)
    found = facts(stream, f"\n{M} c 0 7 default /x\n".encode() + stderr)
    assert {f.key for f in FACTS} <= set(found)
    json.dumps({k: v for k, v in found.items() if not isinstance(v, Problem)})
