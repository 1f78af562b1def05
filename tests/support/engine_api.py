"""A recorded engine's API, served on real sockets to whoever asks, with answers in between that tests choose."""

from __future__ import annotations

import http.server
import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

API = json.loads((Path(__file__).parents[1] / "recorded" / "docker" / "engine-20.10-api.json").read_text())
IDS = {c["Name"]: c["Id"] for c in API["containers"].values()}
NAMES = {i: n for n, i in IDS.items()}


@dataclass
class Spec:
    url: str
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    timeout: float = 10


Answer = tuple[int, bytes] | None
Special = Callable[[http.server.BaseHTTPRequestHandler, str], Answer]


def answer(path: str) -> Answer:
    path = path.partition("?")[0]
    parts = path.strip("/").split("/")
    if path.strip("/") in API:
        return 200, json.dumps(API[path.strip("/")]).encode()
    if len(parts) == 3 and parts[1] in API.get(parts[0], {}):
        return 200, json.dumps(API[parts[0]][parts[1]]).encode()
    return 404, b'{"message": "page not found"}'


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    special: Special
    seen: list[str]

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "x", 0

    def get_request(self) -> Any:
        connection, _ = super().get_request()
        return connection, ("client", 0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of these tests."""


class UnixServer(Server):
    address_family = socket.AF_UNIX


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        path = "/" + self.path.split("/", 2)[2] if self.path.startswith("/v1.") else self.path
        self.server.seen.append(f"{self.command} {path}")
        found = self.server.special(self, path) or answer(path)
        assert found is not None
        status, body = found
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/info")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815 - the names are http.server's

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@contextmanager
def serving(address: Any, special: Special = lambda _h, _p: None, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    kind = UnixServer if isinstance(address, str) else Server
    server = kind(address, Handler)
    server.special, server.seen = special, []
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def engine(tmp_path: Path, special: Special = lambda _h, _p: None) -> Iterator[tuple[Spec, Server]]:
    path = str(tmp_path / "engine.sock")
    with serving(path, special) as server:
        yield Spec(f"unix://{path}"), server
