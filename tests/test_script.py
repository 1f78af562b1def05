"""The host script: three shells say the same, it is safe to cut, and it asks for nothing it may not."""

import re
import secrets
import shutil
import subprocess
from pathlib import Path

import pytest

from auditor.facts import answers
from auditor.facts.docker import DOCUMENTS, Engine
from auditor.facts.host import (
    AuditRules,
    Config,
    EnginePackages,
    Files,
    Hardening,
    Listeners,
    Mounts,
    Processes,
    SocketGroups,
    System,
)
from auditor.facts.node import KubernetesVersion
from auditor.facts.script import UnsafeQuestionError, bootstrap, compose
from auditor.model import Problem, Reason
from auditor.transports import local

FACTS = frozenset(
    {
        System(), Processes(), AuditRules(), Files(path="/etc"), Files(path="/etc/systemd/*"), Files(unit="ssh.service"),
        Files(static_pod="kube-apiserver"), Files(process="dockerd", flag="--config-file", path="/etc/docker/daemon.json"),
        Files(executable="dockerd"), Files(path="/etc/no such file"),
        Config(process="dockerd", flag="--config-file", path="/etc/docker/daemon.json"),
        Config(process="kubelet", flag="--config", dropins="--config-dir"), *(Engine(d) for d in DOCUMENTS),
        Mounts(), Listeners(), SocketGroups(), EnginePackages(), Files(tree="/etc/docker/certs.d"), Files(binary="runc"),
        Files(listener="dockerd"), Files(listener="containerd"), Files(process="dockerd", setting="tlskey"),
        Config(process="containerd", flag="--config", path="/etc/containerd/config.toml"), Hardening(), KubernetesVersion(),
    }
)  # fmt: skip
SHELLS = [s for s in ("dash", "bash", "busybox") if shutil.which(s)]


#: Other tests start programs meanwhile.
CHANGING = (
    "engine:",
    "config:",
    "files:executable",
    "files:listener",
    "files:process",
    "listeners",
    "socket_groups",
    "hardening",
    "kubernetes_version",
    "mounts",
)


def shell(name: str) -> list[str]:
    return [name, "sh", "-s", "root"] if name == "busybox" else [name, "-s", "root"]


def ask(name: str, facts: frozenset = FACTS) -> dict:
    marker = secrets.token_hex(16)
    script, ordered = compose(facts, marker)
    done = subprocess.run(shell(name), input=script, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return answers.facts_of(answers.split(done.stdout, done.stderr, marker), ordered)


def test_three_shells_give_the_same_facts() -> None:
    found = {name: ask(name) for name in SHELLS}
    assert len(SHELLS) >= 2
    first = found[SHELLS[0]]
    for other in SHELLS[1:]:
        for key in first:
            if key != "processes" and not key.startswith(CHANGING):  # other tests start programs
                assert found[other][key] == first[key], (other, key)


def test_a_shell_answers_what_is_true() -> None:
    facts = ask("dash")
    etc = facts[Files(path="/etc").key]
    assert [f["path"] for f in etc["files"]] == ["/etc"]
    assert etc["files"][0]["type"] == "directory"
    assert etc["files"][0]["mode"] == "0755"
    assert facts[Files(path="/etc/no such file").key] == {"files": [], "searched": ["/etc/no such file"]}
    assert facts["system"]["kernel"].startswith("Linux ")
    entries = facts[Files(path="/etc/systemd/*").key]
    assert "/etc/systemd/system" in {f["path"] for f in entries["files"]}


@pytest.mark.parametrize("name", SHELLS)
def test_a_part_of_the_script_runs_nothing(name: str) -> None:
    """A connection that breaks while the script is sent must not leave a shell running half of it."""
    script, _ = compose(FACTS, "feed")
    for size in range(1, len(script) - 40, 997):
        done = subprocess.run(shell(name), input=script[:size], capture_output=True, timeout=20, check=False)
        assert b"feed" not in done.stdout, size


@pytest.mark.parametrize(
    "fact",
    [
        Config(process="dockerd", flag="--tlskey"),
        Config(process="kubelet", flag="--config", dropins="--cert-dir"),
        Config(process="dockerd", flag="--config-file", path="/etc/shadow"),
        Files(tree="/home"),
        Files(binary="bash"),
        Files(process="dockerd", setting="data-root"),
    ],
)
def test_only_configuration_is_read(fact: Config | Files) -> None:
    with pytest.raises(UnsafeQuestionError):
        compose({fact}, "feed")


def test_words_from_benchmarks_are_quoted() -> None:
    evil = "/etc/$(touch /tmp/cis-auditor-pwned)'; touch /tmp/cis-auditor-pwned; '"
    facts = ask("dash", frozenset({System(), Processes(), Files(path=evil), Files(unit=evil), Files(static_pod='x"; id; "')}))
    assert all("problem" in f for f in facts[Files(path=evil).key]["files"])
    assert not Path("/tmp/cis-auditor-pwned").exists()


def test_nothing_is_written_by_name() -> None:
    """No redirection of the script goes anywhere but /dev/null and other file descriptors."""
    script, _ = compose(FACTS, "feed")
    lines = [line for line in script.decode().splitlines() if "awk" not in line and "getline" not in line]
    targets = {t for line in lines for t in re.findall(r">>?\s*([^\s;)|>]+)", line)}
    assert targets <= {"/dev/null", "&1", "&2", "&3", "&4", "&-"}, targets


def test_a_slow_host_is_an_error_of_what_it_did_not_say() -> None:
    marker = "feed"
    script, ordered = compose(frozenset({System(), Processes(), Files(path="/etc")}), marker)
    slow = script.replace(b"\nb plan", b"\nsleep 60\nb plan")
    answer = local.run("exec sh -s root", slow, 2)
    assert answer.lost is not None
    facts = answers.facts_of(answers.split(answer.stdout, answer.stderr, marker, answer.lost), ordered)
    missing = facts[Files(path="/etc").key]
    assert isinstance(missing, Problem)
    assert missing.reason is Reason.TIMEOUT


def test_bootstrap_is_one_quoted_command() -> None:
    assert bootstrap("none", b"").startswith("exec sh -c '")
    assert bootstrap("sudo", b"").count("sudo -n") == 1
