"""A PostgreSQL server of the tests' own: in a temporary folder, on a Unix socket, as an account that is not root."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

ACCOUNT = "postgres"


@functools.cache
def why_not() -> str:
    """Return why there can't be a server here, empty when there can."""
    if _programs() is None:
        return "PostgreSQL's initdb and pg_ctl are not installed (Debian package postgresql)"
    if importlib.util.find_spec("psycopg") is None:
        return "the Python package psycopg is not installed"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(ACCOUNT)
        except KeyError:
            return f"PostgreSQL refuses to run as root, and there is no account {ACCOUNT!r}"
    return ""


def _programs() -> Path | None:
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((p for p in places if (p / "initdb").is_file() and (p / "pg_ctl").is_file()), None)


class Server:
    """A server that runs until `stop`, and can be gone in between."""

    def __init__(self) -> None:
        programs = _programs()
        assert programs is not None
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a short path: a socket's is limited
        if os.geteuid() == 0:
            shutil.chown(self.folder, ACCOUNT)
        self.run("initdb", "-D", "data", "-A", "trust", "-U", ACCOUNT, "-E", "UTF8", "--locale=C.UTF-8", "-N")
        self.start()
        self._names = itertools.count()

    def _account(self) -> dict[str, Any]:
        return {"user": ACCOUNT, "group": pwd.getpwnam(ACCOUNT).pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}

    def run(self, program: str, *arguments: str, check: bool = True) -> int:
        """Run one of PostgreSQL's programs in the server's folder and return its exit code."""
        with (self.folder / "run.log").open("ab") as log:
            return subprocess.run([self._programs / program, *arguments], cwd=self.folder, check=check, stdin=subprocess.DEVNULL,
                                  stdout=log, stderr=log, timeout=60, **self._account()).returncode  # fmt: skip

    def start(self) -> None:
        """Begin to serve; the server ends with this process, however that comes about."""
        settings = ("listen_addresses=", f"unix_socket_directories={self.folder}", "fsync=off", "max_connections=60")
        words = [self._programs / "postgres", "-D", "data", *(w for s in settings for w in ("-c", s))]
        library = ctypes.CDLL(None)
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(words, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                             preexec_fn=lambda: library.prctl(1, signal.SIGQUIT),  # noqa: PLW1509 - it only asks the kernel
                                             **self._account())  # fmt: skip
        for _ in range(600):
            if self.run("pg_isready", "-q", "-h", str(self.folder), check=False) == 0:
                return
            time.sleep(0.05)
        raise AssertionError((self.folder / "server.log").read_text())

    def stop(self) -> None:
        """Cut every connection and end."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)

    def kill(self) -> None:
        """Kill it and all its processes at once, as a power cut does."""
        self._signal(signal.SIGKILL)
        self._process.wait(30)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Have it stand still: it takes what it is told, and answers nothing."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (self._process.pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def start_again(self) -> None:
        """Start it unless it runs."""
        if self._process.poll() is not None:
            self.start()

    def url(self) -> str:
        """Return the URL of a history that nobody used before: a schema of its own in the one database."""
        import psycopg

        name = f"history_{next(self._names)}"
        with psycopg.connect(host=str(self.folder), user=ACCOUNT, dbname="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"postgresql://{ACCOUNT}@/postgres?host={self.folder}&options={quote(f'-csearch_path={name}')}"


@functools.cache
def server() -> Server:
    """Return the one server of this process of tests."""
    made = Server()

    def end() -> None:
        with contextlib.suppress(subprocess.SubprocessError):
            made.stop()
        shutil.rmtree(made.folder, ignore_errors=True)

    atexit.register(end)
    return made
