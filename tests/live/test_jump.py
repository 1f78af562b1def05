"""A jump host that breaks in the middle of a run, or that hosts behind it don't answer: nobody else's time, and the right one is named."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from auditor.collect import Collector
from auditor.inventory import HostSpec, Inventory, SshOptions
from tests.support import broken
from tests.support.host import TestHost

#: What a thread raises Python prints, in the middle of an audit.
pytestmark = [pytest.mark.live, pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")]

TARGETS = 24
#: A program that listens and takes no connection; there is no room for others to wait either, so that nobody is answered.
FULL = """
import socket, time
listener = socket.create_server(("127.0.0.2", 2999), backlog=0)
waiting = [socket.socket() for _ in range(2)]
for s in waiting:
    s.setblocking(False)
    s.connect_ex(("127.0.0.2", 2999))
print("full", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def host(needs_hosts: None) -> Iterator[TestHost]:
    with TestHost(hostname="gate") as host:
        yield host


def asked(
    host: TestHost, folder: Path, peer: broken.Peer, act: Callable[[], None], *others: HostSpec
) -> tuple[Counter[str], float]:
    """Ask a host by many names through itself behind a peer, and do something when six are done; return what became of the others."""
    known = folder / "known_hosts"
    known.write_text(f"127.0.0.1 {host.host_key()}\n[127.0.0.1]:{peer.port} {host.host_key()}\n")
    ssh = SshOptions(user="root", identity_file=host.identity, known_hosts=known, connect_timeout=1, timeout=10)
    gate = HostSpec(name="gate", address="127.0.0.1", ssh=replace(ssh, port=peer.port))
    behind = [*others, *(HostSpec(name=f"b{n}", address="127.0.0.1", jump="gate", ssh=ssh) for n in range(TARGETS))]
    errors: Counter[str] = Counter()
    begun = time.monotonic()
    for n, found in enumerate(Collector(Inventory(hosts=(gate, *behind)), frozenset(), frozenset(), jobs=4).run(list(behind))):
        if n == 6:
            act()
        errors[str(found.error)] += 1
    return errors, time.monotonic() - begun


def test_a_connection_that_breaks_once_is_made_again(host: TestHost, tmp_path: Path) -> None:
    """At most the four that are being asked just then may be lost: whoever has not logged in yet is asked through the new one."""
    with broken.peer(broken.until(threading.Event(), host.address)) as peer:
        errors, _ = asked(host, tmp_path, peer, peer.cut)
    assert peer.count == 2
    assert errors["None"] >= TARGETS - 4
    assert all("the connection broke off" in e or "the host had answered" in e for e in errors - Counter({"None": TARGETS})), errors


def test_a_connection_of_whose_end_others_hear_first(host: TestHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """paramiko ends what goes through a connection before it says that this has ended; on a busy machine that is a while."""
    unlink: Callable[[paramiko.Channel], None] = paramiko.Channel._unlink  # type: ignore[attr-defined]

    def slowly(channel: paramiko.Channel) -> None:
        unlink(channel)
        time.sleep(0.2)

    monkeypatch.setattr(paramiko.Channel, "_unlink", slowly)
    with broken.peer(broken.until(threading.Event(), host.address)) as peer:
        errors, _ = asked(host, tmp_path, peer, peer.cut)
    assert peer.count == 2
    assert errors["None"] >= TARGETS - 4


def test_a_jump_host_that_falls_silent_is_left(host: TestHost, tmp_path: Path) -> None:
    """Nobody is told: each target behind it was waited for, and named in its place."""
    silent = threading.Event()
    with broken.peer(broken.until(silent, host.address)) as peer:
        errors, seconds = asked(host, tmp_path, peer, silent.set)
    assert seconds < 9, "not one after the other, as long as each may take"
    assert errors.pop("None") >= 6
    named = [e for e in errors if f"jump host root@127.0.0.1:{peer.port}: " in e]
    assert sum(errors[e] for e in named) >= sum(errors.values()) - 4, errors


def test_a_host_that_does_not_answer_behind_one_that_does(host: TestHost, tmp_path: Path) -> None:
    """It alone is lost, by its own name, and the way to the others stays."""
    dead = HostSpec(name="dead", address="127.0.0.2", jump="gate", ssh=SshOptions(user="root", port=2999, connect_timeout=1))
    there = ["nsenter", "-t", str(host.pid), "-n", sys.executable, "-c", FULL]
    with (
        subprocess.Popen(there, stdout=subprocess.PIPE) as full,
        broken.peer(broken.until(threading.Event(), host.address)) as peer,
    ):
        try:
            assert full.stdout is not None
            assert full.stdout.readline() == b"full\n"
            errors, _ = asked(host, tmp_path, peer, lambda: None, dead)
        finally:
            full.kill()
    assert peer.count == 1
    assert errors == {"None": TARGETS, "timeout: root@127.0.0.2:2999: no SSH server answered in time": 1}
