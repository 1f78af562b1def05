"""Servers and networks that break at every stage: one clear reason each, in time, with every other target unharmed."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from auditor.collect import Collector
from auditor.inventory import HostSpec, Inventory, SshOptions
from auditor.model import TargetStatus
from auditor.transports import ssh as ssh_transport
from auditor.transports.wire import InOrder
from tests.support import broken
from tests.support.auditing import Result, audit, auditor, host_entry, write_inventory
from tests.support.collecting import collect as collect_evidence
from tests.support.collecting import spec
from tests.support.host import Entry
from tests.support.kube_node import KubeNode

pytestmark = pytest.mark.live

DATA, EOF, CLOSE = 94, 96, 97  # of RFC 4254
SECONDS = 2  # for a connection; the retries' pauses come to a little more


@pytest.fixture(scope="module")
def node(needs_hosts: None) -> Iterator[KubeNode]:
    """A good host, with servers beside its own that are set in some other way."""
    with KubeNode(hostname="node") as host:
        config = (host.run("cat", "/etc/ssh/sshd_config")).replace("Port 22\n", "")
        others = {
            2301: "MaxSessions 0\n",
            2302: "MaxStartups 2:100:2\n",
            2303: "SetEnv LC_ALL=tr_TR.UTF-8 LANG=ja_JP.SJIS LANGUAGE=ja POSIXLY_CORRECT=1 GREP_OPTIONS=-v\n",
            2304: "AllowTcpForwarding no\n",
        }
        for port, line in others.items():
            lines = f"Port {port}\n{line}" + "".join(w for w in config.splitlines(True) if w.split()[0] != line.split()[0])
            host.place(Entry(f"/etc/ssh/other{port}", lines, 0o600))
            host.spawn(["/usr/sbin/sshd", "-D", "-e", "-f", f"/etc/ssh/other{port}"], log=f"sshd{port}")
        host.run("sh", "-c", "mkdir -p /etc/systemd/system/kubelet.service.d; cd /etc/systemd/system/kubelet.service.d; "
                 "n=$(printf 'caf\\351.conf'); echo '[Service]' >\"$n\"; chmod 666 \"$n\"")  # fmt: skip
        for port in others:
            host.wait_for(lambda p=port: "Server listening" in host.log(f"sshd{p}"), "another sshd")  # type: ignore[misc]
        yield host


KEXINIT = b"SSH-2.0-OpenSSH_9.2\r\n"
#: Name -> how it behaves (a path through the real server, {a}), status, and words of the reason.
BROKEN: dict[str, tuple[Any, str, tuple[str, ...]]] = {
    "says-nothing-but-its-name": (broken.says(KEXINIT), "unreachable", ("timeout", "no end of the key exchange in time")),
    "stalls-in-the-exchange": ("stall at 400", "unreachable", ("timeout", "no end of the key exchange in time")),
    "closes-in-the-exchange": ("close at 400", "unreachable", ("unreachable",)),
    "resets-in-the-exchange": ("reset at 400", "unreachable", ("unreachable",)),
    "drops": (broken.dropping(99, broken.says()), "unreachable", ("unreachable", "MaxStartups")),
    "is-no-ssh": (broken.says(b"HTTP/1.1 400 Bad Request\r\n\r\n", close=True), "unreachable", ("before it said what it is",)),
    "never-stops-greeting": (broken.endless(b"hello\r\n"), "unreachable", ("what answers is no SSH server",)),
    "says-garbage": (broken.says(KEXINIT, os.urandom(4000), close=True), "unreachable", ("unreachable",)),
    "stalls-at-login": ("stall at 1900", "unreachable", ("timeout",)),
}
ANSWERS = {"stalls-in-the-answer": ("stall", "timeout"), "closes-in-the-answer": ("close", "truncated"),
           "resets-in-the-answer": ("reset", "truncated")}  # fmt: skip

#: Peers that let us in after a while.
PASSING = ("dropped-twice", "starting-again")


@pytest.fixture(scope="module")
def breaking(node: KubeNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Result, dict[str, broken.Peer], float]]:
    """One audit of good hosts among peers that break."""
    folder = tmp_path_factory.mktemp("breaking")
    known = folder / "known_hosts"
    quick = {"connect_timeout": SECONDS, "timeout": 4, "known_hosts": str(known)}
    with contextlib.ExitStack() as stack:
        peers = {}
        for name, (how, _, _) in BROKEN.items():
            end, _, limit = how.partition(" at ") if isinstance(how, str) else ("", "", "")
            behaviour = broken.through(node.address, int(limit), end=end) if limit else how
            peers[name] = stack.enter_context(broken.peer(behaviour))
        for name, (end, _) in ANSWERS.items():
            peers[name] = stack.enter_context(broken.peer(broken.through(node.address, 12000, end=end)))
        whole = broken.through(node.address)
        peers["dropped-twice"] = stack.enter_context(broken.peer(broken.dropping(2, whole)))
        peers["starting-again"] = stack.enter_context(broken.peer(whole, after=0.5))
        known.write_text(
            "".join(f"[127.0.0.1]:{p.port} {node.host_key()}\n" for p in peers.values())
            + "".join(f"[{node.address}]:{port} {node.host_key()}\n" for port in (2301, 2302, 2303, 2304))
            + f"{node.address} {node.host_key()}\n"
        )
        patient = {**quick, "connect_timeout": 20, "timeout": 60}  # for those that have to come through, on a busy machine too
        hosts = [
            host_entry(node, n, ssh={**(patient if n in PASSING else quick), "port": p.port}) | {"address": "127.0.0.1"}
            for n, p in peers.items()
        ]
        hosts += [
            host_entry(node, "fine"),
            host_entry(node, "locale", ssh={**patient, "port": 2303}),
            host_entry(node, "no-session", ssh={**quick, "port": 2301}),
            host_entry(node, "no-forwarding", ssh={**quick, "port": 2304}),
            host_entry(node, "behind-no-forwarding", ssh=quick) | {"jump": "no-forwarding"},
            *(host_entry(node, f"throttled-{i}", ssh={**patient, "port": 2302}) for i in range(5)),
        ]
        begun = time.monotonic()
        result = audit(folder, hosts, "--jobs", "32", "--only", "k8s-kubelet-unit-mode", "--only", "k8s-kubelet-anonymous-auth")
        yield result, peers, time.monotonic() - begun


def test_it_ends_in_time(breaking: tuple[Result, dict[str, broken.Peer], float]) -> None:
    result, _, seconds = breaking
    assert result.code == 3
    assert "Traceback" not in result.stderr
    assert seconds < 50


@pytest.mark.parametrize("name", BROKEN)
def test_broken_peer(breaking: tuple[Result, dict[str, broken.Peer], float], name: str) -> None:
    _, status, words = BROKEN[name]
    target = breaking[0].target(name)
    assert target["status"] == status, target
    assert [w for w in words if w not in target["error"]] == [], target["error"]
    assert breaking[0].statuses(name) == {}


@pytest.mark.parametrize("name", ANSWERS)
def test_broken_answer(breaking: tuple[Result, dict[str, broken.Peer], float], name: str) -> None:
    """What had arrived may be judged; what had not is an error with its reason, never a pass."""
    result = breaking[0]
    target = result.target(name)
    if target["status"] == "audited":
        whole = result.statuses("fine")
        assert {k: v for k, v in result.statuses(name).items() if v not in ("error", whole[k])} == {}, result.findings(name)
    else:
        assert ANSWERS[name][1] in target["error"]


def test_only_what_may_pass_is_tried_again(breaking: tuple[Result, dict[str, broken.Peer], float]) -> None:
    result, peers, _ = breaking
    for name in (*PASSING, *(f"throttled-{i}" for i in range(5))):
        assert result.target(name)["status"] == "audited", result.target(name)
    assert peers["dropped-twice"].count == 3
    assert 1 < peers["drops"].count <= 4
    assert [n for n in ("says-nothing-but-its-name", "stalls-in-the-exchange", *ANSWERS) if peers[n].count != 1] == []


def test_other_reasons(breaking: tuple[Result, dict[str, broken.Peer], float]) -> None:
    result = breaking[0]
    assert "denied: the server opens no session for this account" in result.target("no-session")["error"]
    assert "the jump host forwards no connection" in result.target("behind-no-forwarding")["error"]
    assert result.target("no-forwarding")["status"] == "audited"


def test_no_route(node: KubeNode, tmp_path: Path) -> None:
    """Asked from within the host, whose network leads nowhere else; the other target is itself."""
    hosts = [host_entry(node, "far", ssh={"connect_timeout": 2}) | {"address": "192.0.2.1"}, host_entry(node, "near")]
    argv = [sys.executable, "-m", "auditor", "collect", "-i", str(write_inventory(tmp_path, hosts)), "-o", str(tmp_path / "out"),
            "--only", "k8s-kubelet-anonymous-auth"]  # fmt: skip
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    argv = ["nsenter", "-t", str(node.pid), "-n", *argv]
    done = subprocess.run(argv, capture_output=True, text=True, env=env, check=False, timeout=60)
    assert done.returncode == 3, done.stderr
    assert "not audited: far: unreachable: root@192.0.2.1:22: Network is unreachable" in done.stderr.splitlines()


def test_an_odd_locale_changes_nothing(breaking: tuple[Result, dict[str, broken.Peer], float]) -> None:
    fine, odd = (breaking[0].findings(n) for n in ("fine", "locale"))
    assert {k: (f["status"], f["observations"]) for k, f in fine.items()} == {
        k: (f["status"], f["observations"]) for k, f in odd.items()
    }


def test_a_name_that_is_no_utf8_is_not_lost(breaking: tuple[Result, dict[str, broken.Peer], float]) -> None:
    """Anybody may write the file called so: it fails, or is an error that names it."""
    observed = breaking[0].observed("fine", "k8s-kubelet-unit-mode")
    assert [s for name, s in observed.items() if "caf" in name] in (["fail"], ["error"]), observed


def test_wrong_keys_and_logins_are_tried_once(node: KubeNode) -> None:
    from tests.support.counting import counting

    with counting(node) as seen:
        found = collect_evidence(spec(node, user="nobody-here"), spec(node, "pinned", known_hosts=Path("/dev/null")))
    assert [str(e.error.reason) for e in found.values() if e.error] == ["denied", "denied"]
    assert seen.connections == 2


def test_deadline_of_the_run(node: KubeNode, tmp_path: Path) -> None:
    """What is done is kept; what is not has failed for that reason; nobody waits for what hangs."""
    with broken.peer(broken.says(KEXINIT)) as silent:
        slow = {"connect_timeout": 60, "timeout": 60}
        hosts = [host_entry(node, "good"), host_entry(node, "slow", ssh={**slow, "port": silent.port}) | {"address": "127.0.0.1"},
                 *(host_entry(node, f"more-{i}", ssh={**slow, "port": silent.port}) | {"address": "127.0.0.1"} for i in range(3))]  # fmt: skip
        begun = time.monotonic()
        result = audit(tmp_path, hosts, "--deadline", "5", "--jobs", "2", "--only", "k8s-kubelet-anonymous-auth")
    assert time.monotonic() - begun < 40
    assert result.code == 3
    assert result.target("good")["status"] == "audited"
    assert len(result.statuses("good")) == 1
    for name in ("slow", "more-0", "more-1", "more-2"):
        assert result.target(name)["status"] == "failed"
        assert "the run's deadline of 5 s came before this target was done" in result.target(name)["error"]


def test_a_jump_host_that_fails_is_asked_once(node: KubeNode) -> None:
    with broken.peer(broken.says(KEXINIT)) as silent:
        gate = HostSpec(name="gate", address="127.0.0.1", ssh=SshOptions(user="root", port=silent.port, connect_timeout=1))
        behind = [HostSpec(name=f"b{i}", address="10.0.0.1", jump="gate", ssh=SshOptions(user="root")) for i in range(20)]
        begun = time.monotonic()
        found = list(Collector(Inventory(hosts=(gate, *behind)), frozenset(), frozenset()).run(list(behind)))
    assert time.monotonic() - begun < 15
    assert silent.count == 1
    assert {str(e.error) for e in found} == {f"timeout: jump host root@127.0.0.1:{silent.port}: no end of the key exchange in time"}


def test_nothing_follows_the_end_of_a_channel() -> None:
    """A jump host would end the whole connection for it, with all other targets behind it."""
    sent, going = [], threading.Event()

    class Slow:
        def _send_user_message(self, message: paramiko.Message) -> None:
            if message.asbytes()[0] == DATA:
                going.set()
                time.sleep(0.2)
            sent.append(message.asbytes()[0])

        def get_log_channel(self) -> str:
            return "paramiko.transport"

        def _sanitize_packet_size(self, size: int) -> int:
            return size

    channel = paramiko.Channel(1)
    channel._set_transport(InOrder(Slow()))  # type: ignore[no-untyped-call]
    channel._set_window(1000, 1000)  # type: ignore[no-untyped-call]
    channel._set_remote_channel(2, 1000, 1000)  # type: ignore[no-untyped-call]
    channel.active = True
    sender = threading.Thread(target=channel.send, args=(b"late",))
    sender.start()
    going.wait(10)
    channel.close()
    sender.join(10)
    assert sent == [DATA, EOF, CLOSE]
    late = paramiko.Message()
    late.add_byte(bytes([DATA]))
    channel.transport._send_user_message(late)
    assert sent == [DATA, EOF, CLOSE]


def test_targets_at_once_through_a_jump_host(node: KubeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted on our side: the server frees a channel some time after we have closed it."""
    counts, lock, through = {"now": 0, "most": 0}, threading.Lock(), ssh_transport._tcp_through

    def counted(login: Any, jump: Any) -> Any:
        channel = through(login, jump)
        close = channel.close
        with lock:
            counts["now"] += 1
            counts["most"] = max(counts.values())

        def closed() -> None:
            with lock:
                counts["now"] -= channel.close is closed
                channel.close = close
            close()

        channel.close = closed
        return channel

    monkeypatch.setattr(ssh_transport, "_tcp_through", counted)
    known = tmp_path / "known_hosts"
    known.write_text(f"127.0.0.1 {node.host_key()}\n")
    gate = spec(node, "gate", channels=2)
    ssh = SshOptions(user="root", identity_file=node.identity, known_hosts=known)
    behind = [HostSpec(name=f"b{i}", address="127.0.0.1", jump="gate", ssh=ssh) for i in range(6)]
    found = list(Collector(Inventory(hosts=(gate, *behind)), frozenset(), frozenset()).run(list(behind)))
    assert [e.error for e in found] == [None] * 6
    assert counts == {"now": 0, "most": 2}


def test_full_disk(node: KubeNode, tmp_path: Path) -> None:
    """Bundles and reports that don't fit are said; nothing else breaks, and the exit code is not 0."""
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", str(out)], check=True)
    try:
        result = audit(tmp_path, [host_entry(node, f"h{i}") for i in range(6)], formats="json,html")
        left = sorted(p.name for p in out.rglob("*") if p.name.startswith("."))
    finally:
        subprocess.run(["umount", str(out)], check=True)
    assert result.code == 2
    assert "the json report was not written" in result.stderr
    assert "was not kept: No space left on device" in result.stderr
    assert left == []  # no half-written file


def test_out_of_file_descriptors(node: KubeNode, tmp_path: Path) -> None:
    inventory = write_inventory(tmp_path, [host_entry(node, f"h{i}", ssh={"connect_timeout": 2}) for i in range(40)])
    argv = [sys.executable, "-m", "auditor", "audit", "-i", str(inventory), "-o", str(tmp_path / "out"), "--format", "json",
            "--no-store", "--jobs", "40", "--only", "k8s-kubelet-anonymous-auth"]  # fmt: skip
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        ["sh", "-c", 'ulimit -n 32; exec "$@"', "sh", *argv], capture_output=True, text=True, env=env, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr
    result = Result(done.returncode, done.stdout, done.stderr, tmp_path / "out")
    lost = [t["error"] for t in result.document["targets"] if t["error"]]
    assert len(result.document["targets"]) == 40
    assert lost == []  # it asks fewer at once


def test_connections_a_second() -> None:
    """First and later attempts of all hosts together are begun at the rate that was asked for, and none is left out for it."""
    rate, taken = 20.0, []

    def behave(_: broken.Peer, connection: socket.socket) -> None:
        taken.append(time.monotonic())
        connection.close()

    with broken.peer(behave) as peer:
        hosts = [
            HostSpec(name=f"h{i}", address="127.0.0.1", ssh=SshOptions(user="root", port=peer.port, connect_timeout=1))
            for i in range(8)
        ]
        start = time.monotonic()
        found = list(Collector(Inventory(hosts=tuple(hosts)), frozenset(), frozenset(), 8, rate=rate).run(list(hosts)))
    assert [e.status for e in found] == [TargetStatus.UNREACHABLE] * 8
    assert len(taken) > 8  # a host that hangs up is tried again
    early = [n for n, at in enumerate(sorted(taken)) if at < start + n / rate]
    assert early == []


def test_a_clock_that_jumps(node: KubeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """paramiko counts with the wall clock; set back by a day in the middle, it would wait that long."""
    start, real = time.monotonic(), time.time

    def jumping() -> float:
        return real() - 86400 * (time.monotonic() - start > 0.5)

    with broken.peer(broken.says(KEXINIT)) as silent:
        slow = HostSpec(name="slow", address="127.0.0.1", ssh=SshOptions(user="root", port=silent.port, connect_timeout=1))
        monkeypatch.setattr(time, "time", jumping)
        found = {e.target.name: e for e in Collector(Inventory(), frozenset(), frozenset()).run([slow, spec(node)])}
    assert time.monotonic() - start < 60
    assert str(found["slow"].error).startswith("timeout: ")
    assert found["node"].error is None


def test_a_local_audit_ends_with_what_it_started(tmp_path: Path) -> None:
    """At the deadline the shell of an audit of this machine is ended with all that it runs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("id", "uname"):  # asked first by the script
        (folder / name).write_text("#!/bin/sh\nsleep 97531\n")
        (folder / name).chmod(0o755)
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text("hosts: [{name: here, transport: local}]\n")
    result = auditor(tmp_path, "collect", "-i", str(inventory), "-o", str(tmp_path / "out"), "--deadline", "1",
                     env={"PATH": f"{folder}:{os.environ['PATH']}"})  # fmt: skip
    assert result.code == 3
    assert "deadline of 1 s" in result.stderr
    for _ in range(50):
        left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if _reads(p, b"97531")]
        if not left:
            break
        time.sleep(0.05)
    assert left == []


def _reads(path: Path, word: bytes) -> bool:
    try:
        return word in path.read_bytes()
    except OSError:
        return False
