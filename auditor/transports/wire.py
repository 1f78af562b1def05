"""What is added to paramiko's connections: no server makes them hold more than it may, and no channel speaks after its end."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from auditor.transports.proxy import Helper

#: Bytes of a packet: what RFC 4253, section 6.1, has everybody take is 35,000, and what OpenSSH sends is at most this.
MAX_PACKET = 256 * 1024
_CHANNEL_DATA, _CHANNEL_EXTENDED_DATA, _CHANNEL_EOF, _CHANNEL_CLOSE = 94, 95, 96, 97  # RFC 4254, section 9


@functools.cache
def wire_class() -> Any:
    """Return the class of our connections (paramiko is imported now)."""
    import paramiko

    def within(feed: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
        """Take data for a channel, but no more than it has told the server that there is room for."""

        def fed(channel: Any, message: Any) -> None:
            feed(channel, message)
            if len(channel.in_buffer) + len(channel.in_stderr_buffer) > channel.in_window_size:
                raise paramiko.SSHException("the server sent more than there is room for")

        return fed

    class Wire(paramiko.Transport):
        """A connection that agrees on the host keys' algorithms that it is told, and takes no more than a server may send."""

        wanted: tuple[str, ...] = ()
        helper: Helper | None = None  # the program that is the connection
        _channel_handler_table = {  # noqa: RUF012 - as in the class that it is of
            **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined]  # noqa: SLF001
            _CHANNEL_DATA: within(paramiko.Channel._feed),  # type: ignore[attr-defined]  # noqa: SLF001
            _CHANNEL_EXTENDED_DATA: within(paramiko.Channel._feed_extended),  # type: ignore[attr-defined]  # noqa: SLF001
        }

        def __init__(self, sock: Any) -> None:
            super().__init__(sock)
            packetizer: Any = self.packetizer
            read = packetizer.read_all

            def read_all(size: int, check_rekey: bool = False) -> bytes:  # noqa: FBT001, FBT002 - as it is called
                if size > MAX_PACKET:  # a server may announce 4 GB before anybody has logged in
                    raise paramiko.SSHException("the server announced a packet larger than any")
                return bytes(read(size, check_rekey))

            packetizer.read_all = read_all

        def close(self) -> None:
            super().close()
            if self.helper is not None:
                self.helper.end()

        @property
        def preferred_keys(self) -> tuple[str, ...]:
            return self.wanted

    return Wire


class InOrder:
    """A connection as one of its channels sees it: what the channel sends goes out one by one, and nothing after its CLOSE.

    paramiko sends outside a channel's lock, so that a CLOSE may overtake data; for that OpenSSH's server ends the whole connection
    ("data packet referred to nonexistent channel"), and with it every other channel of a jump host. And when the connection has
    ended, it raises that it can't say so of a channel, in a thread of its own, where Python prints it.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._lock = threading.Lock()
        self._closed = False

    def _send_user_message(self, message: Any) -> None:
        with self._lock:
            if self._closed:
                return
            kind = message.asbytes()[0]
            self._closed = kind == _CHANNEL_CLOSE
            try:
                self._transport._send_user_message(message)  # noqa: SLF001 - there is no other way to see what a channel sends
            except (OSError, EOFError):
                if kind not in (_CHANNEL_EOF, _CHANNEL_CLOSE):
                    raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
