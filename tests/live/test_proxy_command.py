"""``ProxyCommand`` of ~/.ssh/config: it is the way to a host, or that host is an error; never is it left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.auditing import auditor, host_entry, write_inventory
from tests.support.host import TestHost

pytestmark = pytest.mark.live

CONFIG = """\
Host way
  HostName {address}
  ProxyCommand sh -c 'echo "%h %p %r 100%%" >>{log}; exec busybox nc %h %p'
Host ends
  ProxyCommand exit 7
Host hangs
  ProxyCommand sleep 98765 & wait
Host two-ways
  ProxyCommand busybox nc %h %p
  ProxyJump way
Host handed-over
  ProxyCommand anything
  ProxyUseFdpass yes
Host token
  ProxyCommand busybox nc %n %p
Host inside
  HostName {address}
  ProxyJump way
"""
SAID = {
    "way": None,
    "inside": None,
    "odd;name": "holds what means something to a shell",
    "unknown": "unknown host key",
    "ends": "(did the command end?)",
    "hangs": "by ProxyCommand: no SSH server answered in time",
    "two-ways": "beside it stands a ProxyJump",
    "handed-over": "ProxyUseFdpass is not supported",
    "token": "the token %n is not supported",
}


def test_proxy_command(bare_host: TestHost, tmp_path: Path) -> None:
    """One audit with a host for each section of a configuration: the port is the inventory's, the key is checked as ever."""
    log = tmp_path / "ways"
    home = tmp_path / "home" / ".ssh"
    home.mkdir(parents=True)
    odd = "Host odd;name\n  ProxyCommand busybox nc %h %p\n"
    (home / "config").write_text(CONFIG.format(address=bare_host.address, log=log) + odd)
    (tmp_path / "nobody").touch()

    def entry(name: str, address: str = "", **ssh: Any) -> dict[str, Any]:
        return host_entry(bare_host, name, address=address or name, ssh={"become": "none", "connect_timeout": 2, **ssh})

    # The jump host of the configuration takes its account and its key from there.
    (home / "config").write_text((home / "config").read_text() + "".join(
        f"Host way\n  {k} {v}\n" for k, v in (("User", "root"), ("Port", bare_host.port), ("IdentityFile", bare_host.identity),
                                              ("UserKnownHostsFile", bare_host.known_hosts))))  # fmt: skip
    hosts = [entry(n) for n in SAID if n != "unknown"]
    hosts.append(entry("unknown", "way", known_hosts=str(tmp_path / "nobody")))
    inventory = write_inventory(tmp_path, hosts)
    only = ("--only", "docker-daemon-icc", "--format", "json", "--no-store")
    result = auditor(tmp_path, "audit", "-i", str(inventory), "-o", str(tmp_path / "out"), *only)
    assert result.code == 3, result.stderr
    errors = {t["name"]: t["error"] for t in result.document["targets"]}
    assert {n for n, e in errors.items() if e is None} == {"way", "inside"}, errors
    assert {n: words for n, words in SAID.items() if words and words not in errors[n]} == {}, errors
    assert set(log.read_text().splitlines()) == {f"{bare_host.address} {bare_host.port} root 100%"}
    assert [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"98765" in _read(p)] == [], "a command was left behind"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
