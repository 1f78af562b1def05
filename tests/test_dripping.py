"""API servers and engines that answer a byte at a time: the libraries wait anew for each, so that they held up an audit for days."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from auditor.model import Problem
from auditor.transports.base import TargetError
from auditor.transports.docker import collect_engine
from auditor.transports.kubernetes import collect_cluster
from tests.support import broken

ROOT = Path(__file__).parents[1]
SECONDS = 0.5
VERSION = b'{"gitVersion": "v1.36.2", "ApiVersion": "1.41"}'
#: What comes before the bytes that come one by one.
HEADS = {
    "status line": b"",
    "headers": b"HTTP/1.1 200 OK\r\n",
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
    "body without a length": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
}


def dripping(head: bytes) -> broken.Behaviour:
    """Say who one is, then answer everything else so slowly that it never ends."""

    def behave(_: broken.Peer, connection: socket.socket) -> None:
        with connection.makefile("rb") as said:
            while line := said.readline():
                while said.readline() not in (b"\r\n", b""):
                    pass
                if line.split()[1].endswith(b"/version"):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(VERSION) + VERSION)
                    continue
                connection.sendall(head)
                while True:
                    connection.sendall(b"1\r\n \r\n" if b"chunked" in head else b"x" if b"\r\n\r\n" not in head else b" ")
                    time.sleep(0.02)

    return behave


def kubeconfig(port: int, folder: Path) -> None:
    users = [{"name": "a", "user": {"token": "x"}}]
    clusters = [{"name": "a", "cluster": {"server": f"http://127.0.0.1:{port}"}}]
    contexts = [{"name": "a", "context": {"cluster": "a", "user": "a"}}]
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "a",
        "clusters": clusters,
        "users": users,
        "contexts": contexts,
    }
    (folder / "kubeconfig").write_text(json.dumps(document))


def cluster(port: int, folder: Path) -> Any:
    kubeconfig(port, folder)
    spec = SimpleNamespace(kubeconfig=folder / "kubeconfig", context=None, in_cluster=False, nodes_proxy=False, timeout=SECONDS)
    return collect_cluster(spec, frozenset({"objects:pods"}))["objects:pods"]


def engine(port: int, _: Path) -> Any:
    spec = SimpleNamespace(url=f"tcp://127.0.0.1:{port}", tls_ca=None, tls_cert=None, tls_key=None, timeout=SECONDS)
    problem = collect_engine(spec, frozenset({"engine:info"}))["engine:info"][0]["problem"]
    return Problem(**problem)


@pytest.mark.parametrize("collect", [cluster, engine])
@pytest.mark.parametrize("part", HEADS)
def test_it_has_only_its_time(tmp_path: Path, collect: Callable[[int, Path], Any], part: str) -> None:
    found: list[Any] = []
    with broken.peer(dripping(HEADS[part])) as peer:
        thread = threading.Thread(target=lambda: found.append(collect(peer.port, tmp_path)), daemon=True)
        thread.start()
        thread.join(6)
    assert found, "it is still waited for"
    assert isinstance(found[0], Problem)
    assert found[0].reason == "timeout"


def test_one_that_does_not_say_who_it_is(tmp_path: Path) -> None:
    """Nothing is known of it then."""

    def behave(_: broken.Peer, connection: socket.socket) -> None:
        while True:
            connection.sendall(b"H")
            time.sleep(0.02)

    with broken.peer(behave) as peer:
        for collect in (cluster, engine):
            with pytest.raises(TargetError, match="timeout: "):
                collect(peer.port, tmp_path)


def test_an_engine_over_ssh_that_breaks_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The library says so with an error of no words, and paramiko with a traceback."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with broken.peer(broken.says(b"SSH-2.0-OpenSSH_9.2\r\n", close=True)) as peer:
        url = f"ssh://root@127.0.0.1:{peer.port}"
        spec = SimpleNamespace(url=url, tls_ca=None, tls_cert=None, tls_key=None, timeout=5)
        with pytest.raises(TargetError, match=f"^unreachable: the engine at {url} can't be reached: the SSH server broke off"):
            collect_engine(spec, frozenset({"engine:info"}))
    assert "Traceback" not in capfd.readouterr().err


#: Asks the kubelets of sixteen nodes, eight at once, of which none answers, and gives up after a second.
GIVES_UP = """
import sys
from pathlib import Path
from auditor.collect import Collector
from auditor.facts.components import KubeletConfigs
from auditor.facts.kubernetes import Objects
from auditor.inventory import ClusterSpec, Inventory

cluster = ClusterSpec(name="c", kubeconfig=Path(sys.argv[1]), nodes_proxy=True, timeout=20)
found = list(Collector(Inventory(clusters=(cluster,)), frozenset(), frozenset({KubeletConfigs(), Objects("nodes")}), deadline=1).run([cluster]))
print(found[0].error)
"""


def test_kubelets_that_are_still_asked_do_not_hold_up_the_end(tmp_path: Path) -> None:
    """The run was over, and the program asked all that were left before it ended."""
    nodes = json.dumps({"kind": "NodeList", "items": [{"metadata": {"name": f"n{n}"}} for n in range(16)]}).encode()

    def behave(_: broken.Peer, connection: socket.socket) -> None:
        with connection.makefile("rb") as said:
            while (line := said.readline()) and b"/proxy/" not in line:
                while said.readline() not in (b"\r\n", b""):
                    pass
                body = VERSION if b"/version" in line else nodes
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            said.read()

    with broken.peer(behave) as peer:
        kubeconfig(peer.port, tmp_path)
        begun = time.monotonic()
        words = [sys.executable, "-c", GIVES_UP, str(tmp_path / "kubeconfig")]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert "the run's deadline of 1 s came before this target was done" in done.stdout, done.stderr
    assert time.monotonic() - begun < 15
