"""What runs inside containers: parsing what a host and an engine say of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.facts import inside_answers
from auditor.facts.docker import reduce
from auditor.facts.inside import ExecLog, Execs, Programs, parse_exec, program_names, reduce_exec, reduce_top
from auditor.facts.records import Record
from auditor.model import Evidence, Problem, Reason, Status, Target
from checks.container import Container
from checks.container_devices import Devices
from checks.container_life import RestartPolicy
from checks.container_limits import Ulimits
from checks.container_ports import DeclaredPorts, PrivilegedPorts
from checks.docker_exec import DockerExec
from checks.sprawl import StoppedContainers, UnusedImages

ID = "ab" * 32


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("docker exec web sh", ("web", False, "")),
        ("docker exec --privileged web sh", ("web", True, "")),
        ("docker exec --privileged=false web sh", ("web", False, "")),
        ("docker exec web sh --privileged -u root", ("web", False, "")),
        ("docker exec -u root web sh", ("web", False, "root")),
        ("docker exec -uroot web sh", ("web", False, "root")),
        ("docker exec -itu 0:0 web sh", ("web", False, "0:0")),
        ("docker exec -it --user=root web sh", ("web", False, "root")),
        ("docker exec -e u=root -w / --env-file x web sh", ("web", False, "")),
        ("docker -H tcp://a:1 --tls container exec --privileged web", ("web", True, "")),
        ("docker --context prod exec -d web", ("web", False, "")),
        ("docker run --privileged web exec", None),
        ("docker ps", None),
        ("docker exec", None),
        ("docker container ls exec", None),
        ("docker -l", None),
    ],
)
def test_command_lines_of_docker_exec(line: str, found: tuple[str, bool, str] | None) -> None:
    told = parse_exec(line.split())
    assert (told and (told["container"], told["privileged"], told["user"])) == found


@given(st.lists(st.text(max_size=12), max_size=8))
def test_any_command_line_is_read(words: list[str]) -> None:
    told = parse_exec(["docker", *words])
    assert told is None or "exec" in words


def record(body: str, *words: str, code: int | None = 0, stderr: str = "") -> Record:
    return Record(list(words), body.encode(), stderr, code)


EXEC = {
    "ID": "e" * 64, "Running": True, "ExitCode": None, "ContainerID": ID, "Pid": 4,
    "ProcessConfig": {"tty": True, "entrypoint": "psql", "arguments": ["--password=hunter2"], "privileged": False, "user": "0"},
}  # fmt: skip


def test_a_command_keeps_its_first_word_only() -> None:
    told = reduce_exec(json.dumps(EXEC).encode())
    assert told == {"Id": "e" * 64, "ContainerID": ID, "Running": True, "privileged": False, "user": "0", "command": "psql"}


@pytest.mark.parametrize(
    "wrong",
    [
        b"", b"[]", b"{}", b'{"message": "No such exec instance"}', json.dumps({**EXEC, "ContainerID": ""}).encode(),
        json.dumps({**EXEC, "ProcessConfig": None}).encode(), json.dumps({**EXEC, "ProcessConfig": {"privileged": "no"}}).encode(),
        b"[" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_command_is_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError):
        reduce_exec(wrong)


@given(st.binary(max_size=200))
def test_anything_is_read_or_refused(raw: bytes) -> None:
    for read in (reduce_exec, reduce_top):
        try:
            read(raw)
        except ValueError:
            continue


def test_programs_of_an_engine() -> None:
    top = {"Titles": ["PID", "COMMAND"], "Processes": [["1", "nginx"], ["2", "nginx"], ["3", "my tool"], ["4"]]}
    assert reduce_top(json.dumps(top).encode()) == {"programs": ["my tool", "nginx"]}
    with pytest.raises(ValueError, match="names no process"):
        reduce_top(b'{"Titles": ["PID"], "Processes": [["1"]]}')


def test_programs_of_a_host() -> None:
    other = "cd" * 32
    body = f"{ID} 5 sh\n{ID} 6 helper tool\n{other} 9 nginx\nnoise\n{'x' * 64} 7 sh\n'/proc/5/exe' -> '/bin/busybox'\n"
    body += "/proc/6/exe -> /opt/sshd (deleted)\n'/proc/77/exe' -> '/bin/other'\n"
    assert inside_answers.programs(record(body, "doc", "programs")) == [
        {"Id": ID, "programs": ["busybox", "helper tool", "sh", "sshd"]},
        {"Id": other, "programs": ["nginx"]},
    ]


def test_no_awk_is_a_problem() -> None:
    answer = inside_answers.programs(record("", "doc", "programs", code=127, stderr="sh: awk: not found"))
    assert isinstance(answer, Problem)
    assert answer.reason is Reason.ABSENT


def test_commands_of_a_host() -> None:
    answered = json.dumps(EXEC)
    trailers = [record("gone", "u", "200", "http://x/exec/1/json"), record("broken", "u", "404", "x"), record("", "u", "500", "x")]
    first = record(answered, "doc", "execs", "3", code=None)
    told = inside_answers.execs(first, trailers)
    assert isinstance(told, list)
    assert [("problem" in e, e["Id"]) for e in told] == [(False, "e" * 64), (True, "?")]
    cut = inside_answers.execs(record(answered, "doc", "execs", "2", code=None), trailers[:1])
    assert isinstance(cut, list)
    assert "1 of 2 commands" in cut[1]["problem"]["detail"]


def test_shared_namespaces() -> None:
    lines = [f"{n} /proc/{pid}/ns/{name}" for pid, n, name in ((2, 10, "net"), (2, 11, "pid"), (5, 10, "net"), (5, 99, "pid"))]
    body = "\n".join([*lines, "10 /proc/6/ns/net", "junk"])
    assert inside_answers.shared_namespaces(record(body, "n", "2")) == {5: ["net"]}  # of process 6 one is missing
    assert inside_answers.shared_namespaces(record(body, "n", "3")) == {}


LOG = (
    'audit(1767225600\ntype=EXECVE msg=audit(1767225601.1:9): argc=4 a0="docker" a1="exec" a2="-u" a3="root" a4="web" a5=73682078\n'
)


def test_the_audit_log() -> None:
    untold = Problem(Reason.TIMEOUT, "late")
    assert inside_answers.exec_log(None, untold) == untold
    assert inside_answers.exec_log(record("none\n", "exec-log"), untold) == {"since": None, "execs": []}
    denied = inside_answers.exec_log(record("denied\n", "exec-log"), untold)
    assert isinstance(denied, Problem)
    assert denied.reason is Reason.DENIED
    broken = inside_answers.exec_log(record("", "exec-log", stderr="grep: /var/log/audit/audit.log: Permission denied"), untold)
    assert isinstance(broken, Problem)
    assert inside_answers.exec_log(record(LOG, "exec-log"), untold) == {
        "since": 1767225600,
        "execs": [{"time": 1767225601, "container": "web", "privileged": False, "user": "root"}],
    }


@given(st.text(max_size=200), st.text(max_size=60))
def test_what_a_host_says_never_raises(body: str, said: str) -> None:
    for words in (("doc", "programs"), ("doc", "execs", "1"), ("n", "2"), ("exec-log",)):
        hostile = Record(list(words), body.encode("utf-8", "surrogatepass"), said, 0)
        inside_answers.programs(hostile)
        inside_answers.execs(hostile, [hostile])
        inside_answers.shared_namespaces(hostile)
        inside_answers.exec_log(hostile, Problem(Reason.ABSENT, ""))


def test_names_of_programs_are_short_and_hold_no_secret() -> None:
    assert program_names(["/usr/bin/x", "x", "", "a" * 100, "x (deleted)"]) == ["a" * 64, "x"]
    assert "hunter2" not in program_names(["https://me:hunter2@host"])[0]


CONTAINER = {"Id": ID, "Name": "/web", "State": {"Running": True}, "Config": {"Labels": {}}, "HostConfig": {}}


@pytest.mark.parametrize(
    ("profile", "empty"),
    [
        ({"defaultAction": "SCMP_ACT_ALLOW"}, True),
        ({"defaultAction": "SCMP_ACT_LOG", "syscalls": None}, True),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"}]}, False),
        ({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}, False),
        ({"defaultAction": 5}, False),
    ],
)
def test_profiles_that_filter_nothing_are_told_from_others(profile: dict[str, Any], empty: bool) -> None:
    document = {**CONTAINER, "HostConfig": {"SecurityOpt": [f"seccomp={json.dumps(profile)}"]}}
    (option,) = reduce("containers", json.dumps(document).encode())["HostConfig"]["SecurityOpt"]
    assert option.startswith("seccomp=[profile sha256:")
    assert ("allows all" in option) is empty


def test_only_a_swarms_labels_are_kept() -> None:
    labels = {"com.docker.swarm.service.id": "s1", "password": "hunter2"}
    reduced = reduce("containers", json.dumps({**CONTAINER, "Config": {"Labels": labels}}).encode())
    assert reduced["Config"]["Labels"] == {"com.docker.swarm.service.id": "s1"}


@pytest.mark.parametrize(
    "make",
    [
        lambda: PrivilegedPorts(allowed=(1024,)),
        lambda: PrivilegedPorts(allowed=(0,)),
        lambda: DeclaredPorts(ports=("80/tcp",)),
        lambda: DeclaredPorts(container="web", ports=("80",)),
        lambda: DeclaredPorts(container="web", ports=("web/tcp",)),
        lambda: RestartPolicy(max_retries=0),
        lambda: Devices(allowed=("/dev/fuse:x",)),
        lambda: Ulimits(allowed=("nofile=many",)),
        lambda: UnusedImages(most=-1),
        lambda: StoppedContainers(min_age_days=-1),
        lambda: Container(devices=Devices(), ulimits=Ulimits()),
    ],
)
def test_parameters_that_can_not_be_meant(make: Any) -> None:
    with pytest.raises(ValueError):
        make()


def test_two_engines_are_told_apart() -> None:
    def both(make: Any) -> list[dict[str, Any]]:
        return [{"engine": url, "pid": pid, "data": make(pid)} for pid, url in ((1, "unix:///a"), (2, "unix:///b"))]

    command = {"Id": "e", "ContainerID": ID, "Running": True, "privileged": True, "user": "", "command": "sh"}
    facts = {
        "engine:containers": both(lambda _: [CONTAINER]),
        Execs().key: both(lambda pid: [command] if pid == 2 else []),
        Programs().key: both(lambda _: []),
        ExecLog().key: {"since": None, "execs": []},
    }
    outcome = DockerExec(forbid="privileged").evaluate(Evidence(Target("t", "ssh"), "", facts))
    assert {o.subject: o.status for o in outcome.observations} == {
        "daemon/dockerd@unix:///a": Status.MANUAL,
        "container/web@unix:///b": Status.FAIL,
    }
