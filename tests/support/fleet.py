"""A thousand hosts over SSH: a server of the tests' own that answers on every loopback address what one real host said.

It stands for the network and sshd, not for the host: what is asked is run for real once, and its two streams are said again to
whoever asks, framed by that one's marker, with other names and numbers for each host. ``python -m tests.support.fleet FOLDER`` serves until its standard input ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko

ROOT = Path(__file__).parents[2]
#: The first line of a script: ``set -- "${1:-none}" MARKER SECONDS``.
_FIRST = re.compile(rb"^set -- \S+ ([0-9a-f]+) [0-9]+\n")
MARKER = b"0123456789abcdef0123456789abcdef"


def record(folder: Path, ask: Any = None) -> None:
    """Keep what a host says to the script of every packaged benchmark: this machine, or whom ``ask(command, script)`` asks."""
    from auditor.audit import Plan, Selection
    from auditor.catalogue import packaged
    from auditor.collect import HOST_ALWAYS
    from auditor.facts.script import bootstrap, compose
    from auditor.inventory import local_inventory
    from checks import check_types

    plan = Plan(local_inventory(), (), Selection().resolve(packaged(check_types())), {})
    script, _ = compose(plan.benchmarks.needs("host") | HOST_ALWAYS, MARKER.decode(), 120)
    if ask is None:
        done = subprocess.run(["sh", "-c", bootstrap("sudo", script)], input=script, capture_output=True, check=True, timeout=120)
        stdout, stderr = done.stdout, done.stderr
    else:
        stdout, stderr = ask(bootstrap("sudo", script), script)
    assert MARKER in stdout
    (folder / "stdout").write_bytes(stdout)
    (folder / "stderr").write_bytes(stderr)


class Answers:
    """What the hosts of the fleet say: of what was recorded, each has its own name, machine, programs' numbers and containers.

    Hosts that are alike to the last byte would flatter whatever remembers something.
    """

    def __init__(self, stdout: bytes, stderr: bytes) -> None:
        said = re.search(rb"\n%s system\n[^\n]*\n[^\n]*\n([^\n]+)\n[^\n]*\n[^\n]*\n([0-9a-f-]*)\n([0-9a-f]*)\n" % MARKER, stdout)
        assert said is not None
        numbers = {w for w in (said[2], said[3], *re.findall(rb"/containers/([0-9a-f]{64})/", stdout)) if w}
        pids = b"|".join(set(re.findall(rb"\n%s p ([0-9]+) " % MARKER, stdout))) or b"none"
        own = re.compile(
            rb"(%s)" % b"|".join((
                *map(re.escape, numbers),
                rb"(?<=\n)%s(?=\n)" % re.escape(said[1]),
                rb"(?<=\n)(?:%s)(?= \()" % pids,  # in a line of stat
                rb"(?<=/proc/)(?:%s)(?=/)" % pids,
                *(rb"(?<=\n%s %s )(?:%s)(?=[ \n])" % (MARKER, re.escape(w), pids) for w in _of_programs(stdout)),
            ))
        )  # fmt: skip
        self._parts = tuple(own.split(stream) for stream in (stdout, stderr))  # what is a host's own is every second one

    def of(self, host: int) -> tuple[bytes, bytes]:
        """Return both streams of a host."""
        stdout, stderr = (b"".join(_own(p, host) if n % 2 else p for n, p in enumerate(parts)) for parts in self._parts)
        return stdout, stderr


def _of_programs(stdout: bytes) -> set[bytes]:
    """Return what stands before a program's number in the records' first lines."""
    return set(re.findall(rb"\n%s (c [0-9]+|[a-z-]+) [0-9]+(?=[ \n])" % MARKER, stdout)) - {b"c", b"rc", b"u", b"s"}


def _own(word: bytes, host: int) -> bytes:
    if word.isdigit() and len(word) < 10:
        return b"%d" % (int(word) + 100 * host)
    if len(word) < 32:
        return b"%s-%d" % (word, host)
    digits = hashlib.sha256(word + b"%d" % host).hexdigest()
    return (str(uuid.UUID(digits[:32])) if b"-" in word else digits[: len(word)]).encode()


class _Host(paramiko.ServerInterface):
    """Lets one key in, and takes one command a channel."""

    def __init__(self, key: str) -> None:
        self._key = key
        self.command = b""
        self.begun = threading.Event()

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL if key.get_base64() == self._key else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.command = command
        self.begun.set()
        return True


def _serve(client: socket.socket, host_key: paramiko.PKey, key: str, answers: Answers) -> None:
    transport = paramiko.Transport(client)
    transport.add_server_key(host_key)
    host = _Host(key)
    try:
        transport.start_server(server=host)
        channel = transport.accept(30)
        if channel is None or not host.begun.wait(30):
            return
        if host.command != b"true":
            script = bytearray()
            while part := channel.recv(1 << 16):
                script += part
            first = _FIRST.match(bytes(script))
            assert first is not None
            said = answers.of(number_of(client.getsockname()[0]))
            channel.sendall(said[0].replace(MARKER, first[1]))
            channel.sendall_stderr(said[1].replace(MARKER, first[1]))
        channel.send_exit_status(0)
        channel.close()
        transport.join(10)
    except (EOFError, OSError, paramiko.SSHException):
        pass
    finally:
        transport.close()


def main() -> None:
    """Serve, on a port that is the first line of standard output."""
    folder = Path(sys.argv[1])
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # a client that leaves is no news
    host_key = paramiko.Ed25519Key.from_private_key_file(str(folder / "host_key"))
    key = (folder / "key.pub").read_text().split()[1]
    answers = Answers((folder / "stdout").read_bytes(), (folder / "stderr").read_bytes())
    listener = socket.create_server(("", 0), backlog=512)
    print(listener.getsockname()[1], flush=True)

    def listen() -> None:
        while True:
            client, _ = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_serve, args=(client, host_key, key, answers), daemon=True).start()

    threading.Thread(target=listen, daemon=True).start()
    sys.stdin.read()


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[int]:
    """Serve what was recorded in a folder, in a process of its own; yields the port."""
    for name in ("host_key", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    process = subprocess.Popen([sys.executable, "-m", "tests.support.fleet", str(folder)], cwd=ROOT, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def address(n: int) -> str:
    """Return the address of a host of the fleet."""
    return f"127.77.{n // 250}.{n % 250 + 1}"


def number_of(address: str) -> int:
    """Return which host of the fleet has an address."""
    words = address.rpartition(":")[2].split(".")  # perhaps mapped into IPv6
    return int(words[2]) * 250 + int(words[3]) - 1


def inventory(folder: Path, port: int, hosts: int, others: tuple[dict[str, Any], ...] = ()) -> Path:
    """Write an inventory of hosts that are served, each with an address of its own, and of others."""
    pin = " ".join((folder / "host_key.pub").read_text().split()[:2])
    entries = [{"name": f"host-{n:04}", "address": address(n), "host_key": pin} for n in range(hosts)]
    ssh = {"user": "root", "port": port, "identity_file": str(folder / "key"), "known_hosts": str(folder / "known_hosts")}
    (folder / "known_hosts").touch()
    path = folder / f"inventory-{hosts}.yaml"
    path.write_text(json.dumps({"defaults": {"ssh": ssh}, "hosts": [*entries, *others]}))
    return path


if __name__ == "__main__":
    main()
