"""What a server can take from an audit: its own target's time and a bounded memory, nothing of the others."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import paramiko
import pytest

from auditor.collect import Collector
from auditor.inventory import HostSpec, Inventory, SshOptions
from auditor.model import Evidence
from auditor.transports import conversation, sshauth
from auditor.transports.wire import wire_class
from tests.support import broken, ssh_server


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return str(path)


def collected(*specs: HostSpec) -> list[Evidence]:
    return list(Collector(Inventory(hosts=specs), frozenset(), frozenset()).run(list(specs)))


def test_a_server_that_sends_more_than_there_is_room_for_is_left(identity: str) -> None:
    """paramiko takes whatever comes: it was gigabytes in the time that a host has, and the end of the whole audit."""
    sent = [0]

    def flood(transport: paramiko.Transport, channel: paramiko.Channel) -> None:
        while transport.is_active() and sent[0] < 10**9:
            ssh_server.sends(transport, channel, ssh_server.DATA, bytes(32000))
            sent[0] += 32000

    with ssh_server.serving(flood, identity, room=100, timeout=40) as spec:  # what is still writing the script does not read
        begun = time.monotonic()
        (found,) = collected(spec)
    assert time.monotonic() - begun < 30
    assert sent[0] < 40 * 1024 * 1024
    assert str(found.error) == "truncated: the connection broke off before the host had answered everything"


@pytest.mark.parametrize("kind", [ssh_server.DATA, ssh_server.EXTENDED_DATA])
def test_endless_output_is_cut_off_at_once(identity: str, monkeypatch: pytest.MonkeyPatch, kind: int) -> None:
    """On either stream, by a server that waits until there is room."""
    monkeypatch.setattr(conversation, "MAX_OUTPUT", 5_000_000)

    def talk(transport: paramiko.Transport, channel: paramiko.Channel) -> None:
        send = channel.sendall if kind == ssh_server.DATA else channel.sendall_stderr
        while transport.is_active():
            send(bytes(32000))

    with ssh_server.serving(talk, identity, timeout=60) as spec:
        begun = time.monotonic()
        (found,) = collected(spec)
    assert time.monotonic() - begun < 40
    assert str(found.error) == "truncated: the host answered more than 5000000 bytes"


@pytest.mark.parametrize("kind", [ssh_server.DATA, ssh_server.EXTENDED_DATA])
def test_a_connection_that_breaks_while_it_is_read_is_no_traceback(
    identity: str, monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    """paramiko says so by an EOFError to whoever reads, on either stream, when it is about to tell the server to go on."""
    untold: list[object] = []
    monkeypatch.setattr(threading, "excepthook", untold.append)
    tell = wire_class()._send_user_message

    def broken_off(self: paramiko.Transport, message: paramiko.Message) -> None:
        if message.asbytes()[0] == ssh_server.WINDOW_ADJUST:
            self.close()
            raise EOFError
        tell(self, message)

    monkeypatch.setattr(wire_class(), "_send_user_message", broken_off)

    def talk(_: paramiko.Transport, channel: paramiko.Channel) -> None:
        (channel.sendall if kind == ssh_server.DATA else channel.sendall_stderr)(bytes(1_000_000))

    with ssh_server.serving(talk, identity, timeout=60) as spec:
        (found,) = collected(spec)
    assert str(found.error) == "truncated: the connection broke off before the host had answered everything"
    assert untold == []


def test_a_packet_that_is_larger_than_any_is_not_waited_for() -> None:
    """Before any key is exchanged, by whoever listens there."""
    sent = [0]

    def announce(_: broken.Peer, connection: Any) -> None:
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" + struct.pack(">I", 0x7FFFFFFC))
        while True:
            connection.sendall(bytes(1 << 20))
            sent[0] += 1 << 20

    with broken.peer(announce) as peer:
        spec = HostSpec(name="host", address="127.0.0.1", ssh=SshOptions(user="root", port=peer.port, connect_timeout=5))
        (found,) = collected(spec)
    assert sent[0] < 40 * 1024 * 1024
    assert str(found.error) == f"unreachable: root@127.0.0.1:{peer.port}: the server announced a packet larger than any"


def test_an_agent_that_hangs_is_waited_for_once(identity: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that went to sleep forwarded it: it takes connections, or no more of them, and never answers."""

    def end(_: paramiko.Transport, channel: paramiko.Channel) -> None:
        channel.send_exit_status(3)
        channel.close()

    with socket.socket(socket.AF_UNIX) as silent, ssh_server.serving(end, identity, connect_timeout=1) as good:
        silent.bind(str(tmp_path / "agent"))
        silent.listen(0)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        monkeypatch.setenv("HOME", str(tmp_path))
        options = dataclasses.replace(good.ssh, identity_file=None)
        keyless = [dataclasses.replace(good, name=f"keyless-{n}", ssh=options) for n in range(12)]
        connect, connected = sshauth._to_agent, []
        monkeypatch.setattr(sshauth, "_to_agent", lambda timeout: (connected.append(timeout), connect(timeout))[1])
        found = {
            e.target.name: str(e.error)
            for e in Collector(Inventory(hosts=(good, *keyless)), frozenset(), frozenset(), jobs=4).run([good, *keyless])
        }
    assert len(connected) <= 4, "by those that are asked at once"
    assert "login shell ended with 3" in found.pop(good.name)
    assert set(found.values()) == {f"denied: login as root@127.0.0.1:{good.ssh.port} refused: the agent does not answer in time"}


def test_an_agents_key_logs_in(identity: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(_: paramiko.Transport, channel: paramiko.Channel) -> None:
        channel.send_exit_status(3)
        channel.close()

    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with subprocess.Popen(["ssh-agent", "-D", "-a", tmp_path / "agent"], stdout=subprocess.DEVNULL) as agent:
        try:
            while not (tmp_path / "agent").exists():
                time.sleep(0.01)
            subprocess.run(["ssh-add", "-q", identity], check=True)
            with ssh_server.serving(end, identity) as good:
                (found,) = collected(dataclasses.replace(good, ssh=dataclasses.replace(good.ssh, identity_file=None)))
        finally:
            agent.terminate()
    assert "login shell ended with 3" in str(found.error)


@pytest.mark.parametrize("dead", [1, 3])
def test_a_name_of_which_the_first_addresses_are_dead(identity: str, monkeypatch: pytest.MonkeyPatch, dead: int) -> None:
    """Nobody answers there, not even with a refusal: they have had all the time, and the last one a tenth of a second."""

    def end(_: paramiko.Transport, channel: paramiko.Channel) -> None:
        channel.send_exit_status(3)
        channel.close()

    with socket.create_server(("127.0.0.2", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        for _ in range(2):  # which is all that it has room for: what comes now is dropped
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        good = stack.enter_context(ssh_server.serving(end, identity, connect_timeout=4))
        resolved = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", a) for a in [*[full.getsockname()] * dead, ("127.0.0.1", good.ssh.port)]
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: resolved)
        connect, given = socket.socket.connect, []
        monkeypatch.setattr(socket.socket, "connect", lambda s, a: (given.append(s.gettimeout()), connect(s, a)))
        begun = time.monotonic()
        (found,) = collected(good)
    assert "login shell ended with 3" in str(found.error)
    assert given[-1] > 0.5, "enough for a host at the other end of the world"
    assert time.monotonic() - begun < 9
