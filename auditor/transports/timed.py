"""HTTP connections that end when their time is over. The libraries wait anew for every byte: one a minute is never late."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from auditor.transports.conversation import ended_after


class Timed:
    """Knows which connection each thread is using: those of urllib3's pools that it watches."""

    def __init__(self) -> None:
        self._local = threading.local()  # its `use` is what the thread's request goes over

    def manager(self, manager: Any) -> None:
        """Watch every pool that a manager of urllib3's makes from now on."""
        make = manager._new_pool  # noqa: SLF001 - the one place where it makes them

        def made(*words: Any, **named: Any) -> Any:
            return self._watched(make(*words, **named))

        manager._new_pool = made  # noqa: SLF001

    def adapter(self, adapter: Any) -> None:
        """Watch every pool that an adapter of requests' hands out, which may be another library's."""
        for name in ("get_connection", "get_connection_with_tls_context"):
            if hand := getattr(adapter, name, None):

                def handed(*words: Any, _hand: Callable[..., Any] = hand, **named: Any) -> Any:
                    return self._watched(_hand(*words, **named))

                setattr(adapter, name, handed)

    def _watched(self, pool: Any) -> Any:
        take = pool._get_conn  # noqa: SLF001 - what is between a request and its connection, in every version
        if getattr(take, "timed", False):
            return pool

        def taken(*words: Any, **named: Any) -> Any:
            connection = take(*words, **named)
            self._uses(getattr(connection, "sock", None))
            connect = connection.connect
            if not getattr(connect, "timed", False):

                def connected() -> None:
                    connect()
                    self._uses(connection.sock)

                connected.timed = True  # type: ignore[attr-defined]
                connection.connect = connected
            return connection

        taken.timed = True  # type: ignore[attr-defined]
        pool._get_conn = taken  # noqa: SLF001
        return pool

    def _uses(self, sock: Any) -> None:
        if use := getattr(self._local, "use", None):
            use.sock = sock

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[threading.Event]:
        """End the connection that this thread uses in so many seconds, unless it is done with it. Yields what says that it was."""
        self._local.use = use = _Use()
        try:
            with ended_after(seconds, use) as expired:
                yield expired
        finally:
            self._local.use = None


class _Use:
    """What a request goes over, as something to close. The answer may have taken it from its connection by then."""

    sock: Any = None

    def close(self) -> None:
        if self.sock is not None:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
