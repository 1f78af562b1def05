"""One trip: one connection, one channel, one command a host, in any shell, and no trace left there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from auditor.model import Problem
from tests.support.collecting import apart_from_who, collect, lasting, one, spec
from tests.support.counting import counting
from tests.support.engine import CONTAINERS, DockerHost
from tests.support.host import Entry, TestHost, busybox_applets
from tests.support.kube_node import COMPONENTS, KubeNode

pytestmark = pytest.mark.live


@pytest.mark.parametrize("user", ["root", "auditor", "limited", "plain"])
def test_one_connection_and_one_channel(docker_host: DockerHost, user: str) -> None:
    with counting(docker_host) as seen:
        assert one(docker_host, user=user)["system"]["hostname"] == docker_host.hostname
    assert (seen.connections, seen.logins, seen.channels, seen.sessions) == (1, (user,), ("session",), ("command",))


def test_no_problem_in_what_root_learns(docker_host: DockerHost) -> None:
    facts = one(docker_host)
    assert [key for key, answer in facts.items() if isinstance(answer, Problem)] == []
    assert '"problem"' not in json.dumps(facts)
    (engine,) = facts["engine:containers"]
    found = {c["Name"].strip("/"): c for c in engine["data"]}
    assert set(found) == set(CONTAINERS)
    running = {name for name, c in found.items() if "proc" in c}
    assert running == set(CONTAINERS) - {"privileged", "stopped"}
    assert found["good"]["proc"]["NoNewPrivs"] == "1"
    assert found["bad"]["proc"]["NoNewPrivs"] == "0"
    assert found["bad"]["proc"]["Seccomp"] == "0"
    assert found["good"]["proc"]["uid_map"] == [[0, 0, 4294967295]]


def test_sudo_learns_what_root_learns(docker_host: DockerHost) -> None:
    root, sudo = one(docker_host), one(docker_host, user="auditor")
    assert (root["system"]["become"], sudo["system"]["become"]) == ("root", "sudo")
    assert apart_from_who(sudo) == apart_from_who(root)


def test_become_none_uses_no_sudo(docker_host: DockerHost) -> None:
    facts = one(docker_host, user="auditor", become="none")
    assert facts["system"]["become"] == "none"
    assert facts["engine:info"][0]["problem"]["reason"] == "denied"


@pytest.fixture(scope="module")
def both(needs_docker: None) -> Iterator[DockerHost]:
    """A Docker host that is a control plane too, so that every question has an answer."""

    @dataclass
    class Both(DockerHost, KubeNode):
        __test__ = False

    with Both(hostname="both", settings={"live-restore": True}) as host:
        yield host


def change_shell(host: TestHost, shell: str) -> None:
    host.place(Entry("/bin/sh", link=shell))


def test_every_shell_gives_the_same_evidence(both: DockerHost) -> None:
    seen: dict[str, Any] = {}
    for shell in ("dash", "bash", "busybox"):
        change_shell(both, shell)
        assert both.ssh("readlink /proc/$$/exe; true") == f"/usr/bin/{shell}\n"
        seen[shell] = lasting(one(both))
    assert {p["name"] for p in seen["dash"]["processes"]} >= {*COMPONENTS, "dockerd"}
    assert seen["bash"] == seen["dash"]
    assert seen["busybox"] == seen["dash"]


def test_busybox_tools_and_docker_client_give_the_same_evidence(both: DockerHost) -> None:
    """Last in this module that uses the host: its tools are replaced, and curl taken away."""
    change_shell(both, "dash")
    before = lasting(one(both))
    both.remove("/usr/bin/curl")
    by_client = lasting(one(both))
    assert by_client == before
    both.place(*busybox_applets())
    change_shell(both, "busybox")
    assert both.ssh("readlink /usr/bin/grep; readlink /usr/bin/stat; readlink /usr/bin/timeout") == "busybox\n" * 3
    by_busybox = lasting(one(both))
    assert {k: v for k, v in by_busybox.items() if v != before[k]} == {}
    assert one(both, user="auditor")["processes"] == before["processes"]


@pytest.mark.parametrize("user", ["root", "auditor", "plain"])
def test_nothing_is_written_and_nothing_keeps_running(needs_docker: None, user: str) -> None:
    """But for what sudo itself notes below /run/sudo."""
    with DockerHost() as host:
        host.ssh("sudo -n true", user=user, check=False)
        processes, files = host.processes(), host.files()
        containers = host.docker("ps", "-a", "--no-trunc")
        one(host, user=user)
        host.wait_for(lambda: set(host.processes()) <= set(processes), "the audit's processes to end", 5)
        changed = sorted(path for path, facts in host.files().items() if files.get(path) != facts)
        assert [path for path in changed if not path.startswith("/run/sudo")] == []
        assert host.docker("ps", "-a", "--no-trunc").count("\n") == containers.count("\n")


def test_many_hosts_at_once(docker_host: DockerHost) -> None:
    with counting(docker_host) as seen:
        found = collect(*(spec(docker_host, f"h{i}") for i in range(12)))
    assert [e.error for e in found.values()] == [None] * 12
    assert (seen.connections, len(seen.channels)) == (12, 12)
    assert len({json.dumps(e.facts["engine:containers"], sort_keys=True) for e in found.values()}) == 1


@pytest.mark.parametrize(("user", "told"), [("root", "0700"), ("plain", "denied")])
def test_files_of_a_container_are_those_it_sees(needs_hosts: None, user: str, told: str) -> None:
    """etcd's folder is what its own mounts say; who can't look into them must not take the host's for it."""
    with KubeNode() as node:
        pid = node.pids["etcd"]
        node.run("nsenter", "-t", str(pid), "-m", "mount", "-t", "tmpfs", "-o", "mode=700", "tmpfs", "/var/lib/etcd")
        node.run("chmod", "755", "/var/lib/etcd")
        (file,) = one(node, user=user)["files:process=etcd,flag=--data-dir"]["files"]
    assert (file["problem"]["reason"] if "problem" in file else file["mode"]) == told, file
