"""The machine we run on: the same script as over SSH, in a shell of our own."""

from __future__ import annotations

import subprocess
import threading

from auditor.model import Problem, Reason
from auditor.transports.base import MAX_OUTPUT, ShellAnswer, TargetError

_running: set[subprocess.Popen[bytes]] = set()
_lock = threading.Lock()


def run(command: str, script: bytes, timeout: float) -> ShellAnswer:
    """Run ``command`` in sh with ``script`` on its standard input, for at most ``timeout`` seconds.

    Raises `TargetError` when there is no shell.
    """
    try:
        process = subprocess.Popen(["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,  # noqa: S603
                                   stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip
    except OSError as error:
        raise TargetError(Problem(Reason.ABSENT, f"/bin/sh can't be started: {error.strerror}")) from None
    lost = None
    with _lock:
        _running.add(process)
    with process:
        try:
            stdout, stderr = process.communicate(script, timeout)
        except subprocess.TimeoutExpired:
            lost = Problem(Reason.TIMEOUT, f"the host did not answer everything within {timeout:g} s")
            _end(process)
            stdout, stderr = process.communicate()
        finally:
            with _lock:
                _running.discard(process)
    if len(stdout) > MAX_OUTPUT or len(stderr) > MAX_OUTPUT:
        stdout, stderr = stdout[:MAX_OUTPUT], stderr[:MAX_OUTPUT]
        lost = Problem(Reason.TRUNCATED, f"the host answered more than {MAX_OUTPUT} bytes")
    return ShellAnswer(stdout, stderr, lost)


def end() -> None:
    """End every shell that still runs: the audit is over or given up."""
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
