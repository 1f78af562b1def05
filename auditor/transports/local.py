"""The machine we run on: the same script as over SSH, in a shell of our own."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping, Sequence

from auditor.model import Problem, Reason
from auditor.transports.base import MAX_OUTPUT, ShellAnswer, TargetError

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
    """Run a program; return both its outputs, its exit code, and whether it was ended because its time was over. Raises OSError."""
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,  # noqa: S603
                               start_new_session=True, env=env, cwd=cwd)  # fmt: skip
    late = False
    with _lock:
        _running.add(process)
    with process:
        try:
            stdout, stderr = process.communicate(data, timeout)
        except subprocess.TimeoutExpired:
            late = True
            _end(process)
            stdout, stderr = process.communicate()
        finally:
            with _lock:
                _running.discard(process)
    return stdout, stderr, process.returncode, late


def end() -> None:
    """End every program that still runs: the audit is over or given up."""
    with _lock:
        for process in _running:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the shell and whatever it started: they share its session's process group."""
    import os
    import signal

    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
