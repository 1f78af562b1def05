"""A Docker host's fixes by Ansible: every kind of step there is, on a real dockerd. All controls' steps are the scripts' own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.test_docker_daemon import certificates
from tests.support.ansible import Ansible, program
from tests.support.auditing import Result, audit, auditor, host_entry
from tests.support.fixing import LooseDockerHost
from tests.support.proofs import DOCKER_ANSIBLE

pytestmark = pytest.mark.live
#: An owner, a mode, a key of daemon.json, the unit's drop-in, a container's limit and an audit rule.
SOME = ("cis-docker-3.17", "cis-docker-3.18", "cis-docker-2.2", "cis-docker-2.17", "cis-docker-5.29", "cis-docker-1.1.3")
ALIVE = ("/var/lib/docker", "/run", "/var/log", "/tmp", "/root", "/home", "/dev", "/var/lib/containerd", "/var/backups")


@pytest.fixture(scope="module")
def host(needs_docker: None) -> Iterator[LooseDockerHost]:
    program()
    with LooseDockerHost(certificates=tuple(certificates())) as started:
        yield started


def look(host: LooseDockerHost, folder: Path) -> Result:
    folder.mkdir()
    only = [word for key in DOCKER_ANSIBLE for word in ("--only", key)]
    return audit(folder, [host_entry(host)], "--no-sign", "--benchmark", "cis-docker", *only)


def test_fail_apply_pass_and_nothing_the_next_time(host: LooseDockerHost, tmp_path: Path) -> None:
    before = look(host, tmp_path / "before")
    assert set(before.statuses("loose").values()) == {"fail"}, before.statuses("loose")
    done = auditor(before.folder.parent, "fix", "out", "-o", "fixes", "--format", "ansible,shell")
    assert done.code == 0, done.stderr
    ansible = Ansible(tmp_path, host, before.folder.parent / "fixes")
    said = ansible.play("loose", "--tags", "all,disruptive")
    after = look(host, tmp_path / "after")
    assert set(after.statuses("loose").values()) == {"pass"}, (after.statuses("loose"), said)
    log = host.run("cat", "/run/systemctl.log").splitlines()
    assert log.count("restart docker") == 1
    assert "reload docker" not in log, "the restart has done it"
    settings = json.loads(host.run("cat", "/etc/docker/daemon.json"))
    assert settings["labels"] == ["täst=1"], "what nobody asked for stays"
    kept = host.run("sh", "-c", "cat /var/backups/cis-auditor/*/files/etc/docker/daemon.json")
    assert json.loads(kept) == host.settings
    state = {k: v[:5] for k, v in host.files(ignore=ALIVE).items()}
    said = ansible.play("loose", "--tags", ",".join(SOME))
    assert " changed=0 " in said, said
    host.run("sh", "-c", "cat >/root/fix.sh", stdin=(ansible.fixes / "loose.sh").read_bytes())
    assert ", 0 failed, 0 left out," in host.run("sh", "/root/fix.sh", "--check", "--disruptive"), "all is as planned"
    assert {k: v[:5] for k, v in host.files(ignore=ALIVE).items()} == state
