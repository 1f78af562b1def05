"""What preflight says of real hosts is what an audit then finds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.auditing import audit, auditor, host_entry, write_inventory
from tests.support.counting import counting
from tests.support.engine import DockerHost
from tests.support.host import Entry, TestHost

pytestmark = pytest.mark.live

SITE, RULE = "/etc/sudoers.d/a-site", "/etc/sudoers.d/zz-auditor"
ONLY = ("--only", "docker-audit-dockerd")


def preflight(folder: Path, hosts: Sequence[Any], *options: str) -> tuple[int, dict[str, Any]]:
    done = auditor(folder, "preflight", "-i", str(write_inventory(folder, hosts)), "--format", "json", *options)
    return done.code, {t["target"]: t for t in json.loads(done.stdout)["targets"]}


def test_every_way_to_be_let_in_or_not(docker_host: DockerHost, tmp_path: Path) -> None:
    users = {"root": "root", "auditor": "auditor (root by sudo)", "limited": "limited", "plain": "plain"}
    hosts = [host_entry(docker_host, f"as-{u}", user=u) for u in users]
    hosts.append(host_entry(docker_host, "as-none", user="auditor", ssh={"become": "none"}))
    hosts.append(host_entry(docker_host, "stranger", ssh={"identity_file": str(docker_host.keys / "stranger")}))
    (tmp_path / "known").write_text("")
    hosts.append(host_entry(docker_host, "unknown", ssh={"known_hosts": str(tmp_path / "known")}))
    code, found = preflight(tmp_path, hosts)
    assert code == 3
    assert {n: t["account"] for n, t in found.items() if t["account"]} == {f"as-{u}": a for u, a in users.items()} | {
        "as-none": "auditor"
    }
    assert [n for n, t in found.items() if t["ready"]] == ["as-root", "as-auditor"]
    assert "refused" in found["stranger"]["error"]
    assert "host key" in found["unknown"]["error"]
    audited = audit(tmp_path, hosts)
    for name in ("as-limited", "as-plain", "as-none", "as-root", "as-auditor"):
        (told,) = [m["why"] for m in found[name]["missing"]] or [""]
        errors = {k for k, s in audited.statuses(name).items() if s == "error"}
        assert {c["control"] for c in found[name]["controls"]} == errors, name
        assert bool(errors) == bool(told) == (name in ("as-limited", "as-plain", "as-none"))
    assert "password is required" in found["as-limited"]["missing"][0]["why"]
    assert "become: none" in found["as-none"]["missing"][0]["why"]


@pytest.mark.parametrize("site", ["", "Defaults use_pty\nDefaults lecture=always\nDefaults noexec\n"], ids=["plain", "odd"])
def test_the_printed_file_is_enough_and_what_it_lacks_is_said(bare_host: TestHost, tmp_path: Path, site: str) -> None:
    hosts = [host_entry(bare_host, user="plain")]
    try:
        code, found = preflight(tmp_path, hosts, *ONLY)
        (lacking,) = found["test-host"]["missing"]
        assert code == 3
        assert lacking["why"].startswith("sudo refused:")
        printed = auditor(tmp_path, "privileges", "--ssh", "--subject", "user:plain", *ONLY).stdout
        assert lacking["line"] in printed.splitlines()
        bare_host.place(Entry(SITE, site, 0o440), Entry(RULE, printed, 0o440))
        with counting(bare_host) as seen:
            code, found = preflight(tmp_path, hosts, *ONLY)
        assert (code, found["test-host"]["account"]) == (0, "plain (root by sudo)")
        assert (seen.connections, seen.channels) == (1, ("session",))
        audited = audit(tmp_path, hosts, *ONLY)
        assert audited.target("test-host")["facts"]["account"] == "plain (root by sudo)"
        _, other = preflight(tmp_path, hosts, "--only", "docker-daemon-icc")
        assert "another selection of controls" in other["test-host"]["missing"][0]["why"]
    finally:
        bare_host.remove(SITE, RULE)


def test_a_sudo_that_lets_nothing_be_started_is_no_root(bare_host: TestHost, tmp_path: Path) -> None:
    try:
        bare_host.place(Entry(RULE, "plain ALL=(root) NOPASSWD:NOEXEC: ALL\n", 0o440))
        _, found = preflight(tmp_path, [host_entry(bare_host, user="plain")], *ONLY)
        assert "doesn't let the script run commands" in found["test-host"]["missing"][0]["why"]
        assert (
            found["test-host"]["error"]
            == audit(tmp_path, [host_entry(bare_host, user="plain")], *ONLY).target("test-host")["error"]
        )
    finally:
        bare_host.remove(RULE)


def test_a_command_that_is_not_there_is_said(needs_hosts: None, tmp_path: Path) -> None:
    with TestHost(hostname="no-awk") as host:
        host.remove("/usr/bin/awk", "/usr/bin/mawk", "/usr/bin/gawk")
        code, found = preflight(tmp_path, [host_entry(host)], *ONLY)
        assert code == 3
        assert [m["what"] for m in found["no-awk"]["missing"]] == ["the command awk"]
