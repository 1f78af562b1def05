"""The processes that lay out PDFs: one for one document, or one that has the libraries loaded and forks for each of many."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from reports.error import ReportError

#: Whether one process may be used for many documents: only there is a fork that has loaded Pango known to be sound.
CAN_SERVE = sys.platform == "linux"

_CHILD = Path(__file__).with_name("pdf_child.py")
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_CACHE_HOME", "FONTCONFIG_FILE", "FONTCONFIG_PATH", "LD_LIBRARY_PATH",
         "DYLD_FALLBACK_LIBRARY_PATH", "WEASYPRINT_DLL_DIRECTORIES", "PYTHONPATH", "VIRTUAL_ENV")  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What laying out one document may take: bytes of address space, seconds of CPU, seconds on the clock."""

    memory: int = 4 << 30
    cpu: int = 600
    clock: int = 900


def _environ(epoch: str) -> dict[str, str]:
    return {**{k: os.environ[k] for k in _KEPT if k in os.environ}, "SOURCE_DATE_EPOCH": epoch, "PYTHONHASHSEED": "0"}


def _command(limits: Limits, *rest: str) -> list[str]:
    # -P keeps the working folder out of the child's import path: whatever lies there is not ours.
    return [sys.executable, "-P", str(_CHILD), str(limits.memory), str(limits.cpu), *rest]


def _result(code: int, out: bytes, err: bytes, limits: Limits) -> bytes:
    """Return the PDF that a process left; raises `ReportError` with one line for one that left none."""
    if code == -signal.SIGALRM:
        raise _late(limits)
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        raise ReportError(f"the PDF was not laid out within {limits.cpu} s of CPU; the other formats hold the same findings")
    lines = err.decode("utf-8", "replace").strip().splitlines()
    if code < 0 or any("allocate" in line or line.startswith("MemoryError") for line in lines):
        raise ReportError(
            f"the PDF could not be made within {limits.memory >> 20} MiB of memory; the other formats hold the same findings"
        )
    if code or not out.startswith(b"%PDF-"):
        raise ReportError(f"the PDF could not be made: {lines[-1] if lines else f'its process ended with {code}'}")
    return out


def _late(limits: Limits) -> ReportError:
    return ReportError(f"the PDF was not laid out within {limits.clock} s; the other formats hold the same findings")


def _unstarted(error: OSError) -> ReportError:
    return ReportError(f"the PDF's process could not be started: {error.strerror}")


def alone(html: bytes, identifier: str, epoch: str, limits: Limits) -> bytes:
    """Lay out one page in a process of its own; raises `ReportError`."""
    command, environ = _command(limits, identifier), _environ(epoch)
    try:
        done = subprocess.run(command, input=html, capture_output=True, timeout=limits.clock, env=environ, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise _late(limits) from None
    except OSError as error:
        raise _unstarted(error) from None
    return _result(done.returncode, done.stdout, done.stderr, limits)


class Server:
    """A process that lays out one page after another, each in a fork with the limits of one document. For one thread at a time."""

    def __init__(self, epoch: str, limits: Limits) -> None:
        self._epoch, self._limits = epoch, limits
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    def lay_out(self, html: bytes, identifier: str) -> bytes:
        """Lay out one page; raises `ReportError`. A process that is gone is started anew for the next page."""
        try:
            process = self._process = self._process or subprocess.Popen(  # noqa: S603
                _command(self._limits, "serve", str(self._limits.clock)), env=_environ(self._epoch),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except OSError as error:
            raise _unstarted(error) from None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{identifier:32.32}{len(html):16d}".encode() + html)
            process.stdin.flush()
            head = process.stdout.read(48)
            code, *sizes = (int(head[i : i + 16]) for i in (0, 16, 32))
            out, err = (process.stdout.read(size) for size in sizes)
        except (OSError, ValueError):
            self._end()
            raise ReportError("the PDF's process ended before it had laid out the page") from None
        return _result(code, out, err, self._limits)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(OSError):
                process.communicate()
