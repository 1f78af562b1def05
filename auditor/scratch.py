"""A file for what is too much for memory, for as long as the process lives."""

from __future__ import annotations

import bisect
import contextlib
import os
import tempfile
import weakref
from pathlib import Path

#: Places from here on are in memory: what a full disk did not take.
_MEMORY = 1 << 60


class Scratch:
    """Bytes in a temporary file that nobody else can open: it has no name, and is gone with this object or the process.

    When the disk is full, what doesn't fit stays in memory: no verdict is lost with it. So does all where no file can be made.
    """

    def __init__(self, folder: Path) -> None:
        self._fd = -1  # to which nothing can be written
        with contextlib.suppress(OSError):
            with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
                self._fd = os.dup(file.fileno())
            weakref.finalize(self, os.close, self._fd)
        self._end = 0
        self._starts: list[int] = []
        self._left: list[bytes] = []

    def put(self, data: bytes) -> int:
        """Keep data; return its place."""
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._fd, data[written:], self._end + written)
        except OSError:
            self._starts.append(self._starts[-1] + len(self._left[-1]) if self._left else _MEMORY)
            self._left.append(data)
            return self._starts[-1]
        self._end += len(data)
        return self._end - len(data)

    def get(self, place: int, size: int) -> bytes:
        """Return so many bytes of what was put, from a place in it on."""
        if place < _MEMORY:
            return os.pread(self._fd, size, place)
        n = bisect.bisect_right(self._starts, place) - 1
        return self._left[n][place - self._starts[n] :][:size]
