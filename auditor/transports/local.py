"""The machine we run on: the same script as over SSH, in a shell of our own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO

from auditor.model import Problem, Reason
from auditor.transports.base import MAX_OUTPUT, ShellAnswer, TargetError

#: Seconds that is waited for what was ended.
_PATIENCE = 0.5
_running: set[subprocess.Popen[bytes]] = set()
_lock = threading.Lock()


def run(command: str, script: bytes, timeout: float) -> ShellAnswer:
    """Run ``command`` in sh with ``script`` on its standard input, for at most ``timeout`` seconds.

    Raises `TargetError` when there is no shell.
    """
    try:
        stdout, stderr, _, late = output(["/bin/sh", "-c", command], script, timeout)
    except OSError as error:
        raise TargetError(Problem(Reason.ABSENT, f"/bin/sh can't be started: {error.strerror}")) from None
    lost = Problem(Reason.TIMEOUT, f"the host did not answer everything within {timeout:g} s") if late else None
    if len(stdout) > MAX_OUTPUT or len(stderr) > MAX_OUTPUT:
        stdout, stderr = stdout[:MAX_OUTPUT], stderr[:MAX_OUTPUT]
        lost = Problem(Reason.TRUNCATED, f"the host answered more than {MAX_OUTPUT} bytes")
    return ShellAnswer(stdout, stderr, lost)


def output(
    words: Sequence[str], data: bytes, timeout: float, *, env: Mapping[str, str] | None = None, cwd: str | None = None
) -> tuple[bytes, bytes, int, bool]:
    """Run a program; return both its outputs, its exit code, and whether it was ended because its time was over.

    One that says more than `MAX_OUTPUT` bytes is ended too. Raises OSError.
    """
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,  # noqa: S603
                               start_new_session=True, env=env, cwd=cwd)  # fmt: skip
    found = [bytearray(), bytearray()]
    threads = [threading.Thread(target=_take, args=(process, stream, into), daemon=True)
               for stream, into in zip((process.stdout, process.stderr), found, strict=True)]  # fmt: skip
    threads.append(threading.Thread(target=_give, args=(process, data), daemon=True))
    with _lock:
        _running.add(process)
    try:
        until = time.monotonic() + timeout
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        late = any(thread.is_alive() for thread in threads)
        try:
            process.wait(0 if late else max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            late = True
        if late:
            _end(process)
            for thread in threads:  # what left the session, or root started, may hold them open for ever
                thread.join(_PATIENCE)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
        return bytes(found[0]), bytes(found[1]), -1 if process.returncode is None else process.returncode, late
    finally:
        with _lock:
            _running.discard(process)


def _take(process: subprocess.Popen[bytes], stream: IO[bytes] | None, into: bytearray) -> None:
    """Read all that a program says; one that says more than anybody reads is ended."""
    with stream or contextlib.nullcontext():
        while stream is not None and (part := os.read(stream.fileno(), 1 << 16)):
            into += part
            if len(into) > MAX_OUTPUT:
                _end(process)
                return


def _give(process: subprocess.Popen[bytes], data: bytes) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError), process.stdin as stdin:  # it doesn't want to know
            stdin.write(data)


def end() -> None:
    """End every program that still runs: the audit is over or given up."""
    with _lock:
        for process in _running:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the shell and whatever it started: they share its session's process group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
