"""An SSH server that lets everybody in and then does with the channel what a test wants, windows and all."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import paramiko

from auditor.inventory import HostSpec, SshOptions

WINDOW_ADJUST, DATA, EXTENDED_DATA = 93, 94, 95  # of RFC 4254

#: What it does once a command was asked for.
Behaviour = Callable[[paramiko.Transport, paramiko.Channel], None]


class _Open(paramiko.ServerInterface):
    def __init__(self) -> None:
        self.asked = threading.Event()

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.asked.set()
        return True


@contextlib.contextmanager
def serving(behave: Behaviour, identity: str, *, room: int = 1 << 21, **ssh: object) -> Iterator[HostSpec]:
    """Serve on a port of the loopback; yields the inventory's entry, whose key is pinned. ``identity`` is a file with any key.

    ``room`` is how many bytes of the script it takes before it reads.
    """
    key = paramiko.Ed25519Key.from_private_key_file(identity)
    listener = socket.create_server(("127.0.0.1", 0))
    open_: list[paramiko.Transport] = []

    def one(client: socket.socket) -> None:
        transport = paramiko.Transport(client)
        transport.default_window_size = room
        open_.append(transport)
        transport.add_server_key(key)
        server = _Open()
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            transport.start_server(server=server)
            channel = transport.accept(30)
            if channel is not None and server.asked.wait(30):
                behave(transport, channel)

    def listen() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=listen, daemon=True).start()
    options = {"user": "root", "port": listener.getsockname()[1], "identity_file": identity, **ssh}
    try:
        yield HostSpec(name="host", address="127.0.0.1", host_key=f"{key.get_name()} {key.get_base64()}", ssh=SshOptions(**options))  # type: ignore[arg-type]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for transport in open_:
            transport.close()


def sends(transport: paramiko.Transport, channel: paramiko.Channel, kind: int, data: bytes) -> None:
    """Send data on a channel without asking whether there is room for it."""
    message = paramiko.Message()
    message.add_byte(bytes([kind]))
    message.add_int(channel.remote_chanid)
    if kind == EXTENDED_DATA:
        message.add_int(1)
    message.add_string(data)
    transport._send_user_message(message)  # type: ignore[attr-defined]
