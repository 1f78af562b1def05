"""A Docker host's fixes by Ansible, on a real dockerd: what failed is applied in one play, passes, and is left alone by the next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditor.fixes import as_ansible
from auditor.fixes.steps import After, Effect, HaveLines, KeepBits, Plan, SetFlag, Step
from tests.support.ansible import Ansible, program
from tests.support.auditing import Result, audit, auditor, host_entry
from tests.support.fixing import LooseDockerHost, loose_certificates
from tests.support.host import Entry
from tests.support.proofs import DOCKER_ANSIBLE, REMAPPED

pytestmark = pytest.mark.live
#: Played again: an owner, a mode, a key of daemon.json, the unit's drop-in, a container's limit and an audit rule. The script's
#: check mode looks at all of them in a second, where a play takes half a minute.
SOME = ("cis-docker-3.17", "cis-docker-3.18", "cis-docker-2.2", "cis-docker-2.17", "cis-docker-5.29", "cis-docker-1.1.3")
ALIVE = ("/var/lib/docker", "/run", "/var/log", "/tmp", "/root", "/home", "/dev", "/var/lib/containerd", "/var/backups")


@pytest.fixture(scope="module")
def host(needs_docker: None) -> Iterator[LooseDockerHost]:
    program()
    with LooseDockerHost(certificates=loose_certificates()) as started:
        yield started


def look(host: LooseDockerHost, folder: Path, *keys: str) -> Result:
    folder.mkdir()
    only = [word for key in keys for word in ("--only", key)]
    return audit(folder, [host_entry(host)], "--no-sign", "--benchmark", "cis-docker", *only)


def fixes(host: LooseDockerHost, home: Path, *keys: str) -> Ansible:
    """Audit a host on which these controls fail, and write what puts them right."""
    before = look(host, home / "before", *keys)
    assert set(before.statuses("loose").values()) == {"fail"}, before.statuses("loose")
    done = auditor(before.folder.parent, "fix", "out", "-o", "fixes", "--format", "ansible,shell")
    assert done.code == 0, done.stderr
    return Ansible(home, host, before.folder.parent / "fixes")


def test_a_play_fails_when_all_but_what_was_left_out_is_done(host: LooseDockerHost, tmp_path: Path) -> None:
    """Here the reload of an engine whose service knows none. What was not asked for is neither left out nor done before."""
    reload = After("Reload the engine", service="docker", verb="reload")
    paths = {"cis-docker 1": "/etc/theirs/a", "cis-docker 2": "/etc/theirs/b", "cis-docker 3": "/etc/theirs/c"}
    host.place(
        Entry("/etc/theirs", None, 0o777), Entry("/etc/odd", "a:\t1\n"), *(Entry(path, "x", 0o666) for path in paths.values())
    )
    steps = [
        Step(action=KeepBits(path, 0o700), controls=(c,), subject="s", words=f"Close {path}", effect=Effect(2 * path.endswith("c")))
        for c, path in {"cis-docker 4": "/etc/theirs", **paths}.items()
    ]
    actions = (HaveLines("/etc/reloaded", ("x",)), SetFlag("/etc/odd", "p", "--x", "1"))
    steps += [Step(action=a, controls=("cis-docker 1",), subject="s", words="w", after=reload) for a in actions]
    plan = Plan(run="r", target="loose", kind="docker-host", address=host.address, steps=tuple(steps))
    (tmp_path / "loose.yml").write_text(as_ansible.render(plan))
    (tmp_path / "inventory.yml").write_text(as_ansible.inventory([plan]))
    host.run("mv", "/run/systemd", "/run/systemd.away")
    said = Ansible(tmp_path, host, tmp_path).play("loose", "--tags", "cis-docker-1", code=2)
    host.run("mv", "/run/systemd.away", "/run/systemd")
    assert "changed: [loose]" in said.partition("RUNNING HANDLER [Reload the engine, by its service manager]")[2], said
    last = said.partition("TASK [Say what was left out]")[2]
    assert "/etc/odd, /etc/theirs/a. /etc/theirs can be written by others than root" in last, said
    assert "/etc/theirs/b" not in last
    host.wait_for(lambda: "Reloaded configuration" in host.log("dockerd"), "dockerd to reload")
    Ansible(tmp_path, host, tmp_path).play("loose", "--skip-tags", "cis-docker-1")
    assert host.run("stat", "-c", "%a", "/etc/theirs", *paths.values()).split() == ["700", "666", "600", "666"]
    host.remove("/etc/theirs", "/etc/odd", "/etc/reloaded")


def test_fail_apply_pass_and_nothing_the_next_time(host: LooseDockerHost, tmp_path: Path) -> None:
    keys = [key for key in DOCKER_ANSIBLE if key != REMAPPED]
    ansible = fixes(host, tmp_path, *keys)
    said = ansible.play("loose", "--tags", "all,disruptive")
    after = look(host, tmp_path / "after", *keys)
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


def test_users_are_remapped(host: LooseDockerHost, tmp_path: Path) -> None:
    """By itself and last: the engine begins with an empty store."""
    ansible = fixes(host, tmp_path, REMAPPED)
    said = ansible.play("loose", "--tags", "all,disruptive")
    assert look(host, tmp_path / "after", REMAPPED).statuses("loose") == {REMAPPED: "pass"}, said
    assert " changed=0 " in ansible.play("loose", "--tags", "all,disruptive")
