"""Test hosts: a machine within this one, with its own root, processes, users, network and a real sshd.

A host is an overlay over this machine's root in namespaces of its own. Nothing it does reaches this machine, and everything of
it ends with its first process, which ends when the process that started it does, however that comes about.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import io
import ipaddress
import json
import os
import random
import secrets
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support import host_init

PREFIX = "auditor-host-"
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
TOOLS = ("unshare", "nsenter", "ip", "sshd", "ssh-keygen", "sudo", "busybox", "bash", "dash")


def why_not() -> str:
    """Return why no test host can be started on this machine, or an empty string."""
    if os.geteuid() != 0:
        return "test hosts need root"
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        return "test hosts need " + ", ".join(missing)
    if subprocess.run(["unshare", "--mount", "--pid", "--net", "--fork", "true"], check=False, capture_output=True).returncode:
        return "test hosts need to make namespaces"
    return ""


@dataclass(frozen=True)
class Entry:
    """A file for a host. A folder has no content; ``link`` makes a symbolic link."""

    path: str
    content: bytes | str | None = None
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    link: str = ""


@dataclass(frozen=True)
class User:
    """An account of a host. All of them log in with the host's client key."""

    name: str
    uid: int
    sudo: str = ""  # the sudoers rule after the name; empty: may not use sudo at all
    home: str = ""


USERS = (
    User("auditor", 2001, "ALL=(ALL:ALL) NOPASSWD: ALL"),
    User("limited", 2002, "ALL=(ALL:ALL) ALL"),
    User("plain", 2003),
)
#: What this machine's packages brought that a plain host has not.
PACKAGED = ("/etc/docker", "/etc/default/docker", "/usr/lib/systemd/system/docker.service", "/usr/lib/systemd/system/docker.socket")
SYSTEM_USERS = ("daemon:1", "bin:2", "sys:3", "mail:8", "sshd:101", "etcd:998", "nobody:65534")
GROUPS = ("tty:5", "sudo:27", "shadow:42", "docker:995", "etcd:998", "nogroup:65534")


@dataclass
class TestHost:
    """A running host; use it as a context manager. ``shell`` is what /bin/sh is: dash, bash or busybox."""

    __test__ = False

    hostname: str = "test-host"
    shell: str = "dash"
    log_level: str = "DEBUG1"
    sshd_lines: Sequence[str] = ()
    port: int = 22
    address: str = field(default="", init=False)
    pid: int = field(default=0, init=False)  # of the host's first process, as this machine sees it

    def __post_init__(self) -> None:
        self.name = f"{PREFIX}{os.getpid()}-{secrets.token_hex(3)}"
        self._undo = contextlib.ExitStack()
        self._lock = threading.Lock()

    # -- life ---------------------------------------------------------------

    def __enter__(self) -> Self:
        sweep()
        try:
            self._boot()
            self._connect_network()
            self._furnish()
            self.start_sshd()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End every process of the host and remove what is left of it. May be called twice."""
        self._undo.close()

    def _boot(self) -> None:
        parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.base = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=parent))
        self._undo.callback(shutil.rmtree, self.base, ignore_errors=True)
        (self.base / "logs").mkdir()
        self._undo.callback(remove_cgroups, self.name)
        argv = [sys.executable, "-I", "-S", host_init.__file__, str(self.base), self.name, self.hostname]
        with (self.base / "init.log").open("wb") as log:
            self._init = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True)
        self._undo.callback(self._shut_down)
        if self._answer() != {"ready": True}:
            raise RuntimeError(f"the test host did not start: {(self.base / 'init.log').read_text()}")
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text().split()
        self.pid = int(children[0])

    def _shut_down(self) -> None:
        """Closing its standard input ends the host; killing it is for when that does not help."""
        assert self._init.stdin is not None
        assert self._init.stdout is not None
        with contextlib.suppress(OSError):
            self._init.stdin.close()
        try:
            self._init.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._init.kill()  # unshare takes its child with it
            self._init.wait()
        self._init.stdout.close()

    def _connect_network(self) -> None:
        self.interface = "au" + secrets.token_hex(4)
        with Path(tempfile.gettempdir(), f"{PREFIX}network.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two test processes must not choose the same network
            used = {a.get("local") for i in json.loads(_ip("-j", "addr")) for a in i["addr_info"]}
            here, there = _free_network(used)
            _ip("link", "add", self.interface, "type", "veth", "peer", "name", "eth0", "netns", str(self.pid))
            # The interface goes with the host's namespace, but the kernel takes its time; the name is ours, so remove it now.
            self._undo.callback(subprocess.run, ["ip", "link", "del", self.interface], check=False, capture_output=True)
            _ip("addr", "add", f"{here}/30", "dev", self.interface)
        _ip("link", "set", self.interface, "up")
        for command in (("addr", "add", f"{there}/30", "dev", "eth0"), ("link", "set", "eth0", "up"), ("link", "set", "lo", "up")):
            subprocess.run(["nsenter", "-t", str(self.pid), "-n", "ip", *command], check=True, capture_output=True)
        self.address = there

    def _furnish(self) -> None:
        self.keys = self.base / "keys"
        self.keys.mkdir(mode=0o700)
        for key in ("client", "stranger", "host", "other_host"):
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{key} of a test", "-f", str(self.keys / key)]
            subprocess.run(argv, check=True, capture_output=True)
        public = (self.keys / "client.pub").read_text()
        homes = [("root", 0, "/root"), *((u.name, u.uid, u.home or f"/home/{u.name}") for u in USERS)]
        passwd = [f"{name}:x:{uid}:{uid}:{name}:{home}:/bin/sh" for name, uid, home in homes]
        passwd += [f"{n}:x:{i}:{i}:{n}:/nonexistent:/usr/sbin/nologin" for n, i in (entry.split(":") for entry in SYSTEM_USERS)]
        groups = [f"{name}:x:{uid}:" for name, uid, _ in homes] + [f"{n}:x:{i}:" for n, i in (entry.split(":") for entry in GROUPS)]
        shadow = [f"{line.split(':')[0]}:*:19000:0:99999:7:::" for line in passwd]
        rules = [f"{u.name} {u.sudo}" for u in USERS if u.sudo]
        entries = [
            Entry("/etc/passwd", "\n".join(passwd) + "\n"),
            Entry("/etc/group", "\n".join(groups) + "\n"),
            Entry("/etc/shadow", "\n".join(shadow) + "\n", 0o640, 0, 42),
            Entry("/etc/hostname", self.hostname + "\n"),
            Entry("/etc/hosts", f"127.0.0.1 localhost\n{self.address} {self.hostname}\n"),
            Entry("/etc/sudoers", "Defaults env_reset\nroot ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n", 0o440),
            Entry("/etc/sudoers.d/tests", "\n".join(rules) + "\n", 0o440),
            Entry("/run/sshd", None, 0o755),
            Entry("/etc/ssh/sshd_config", self._sshd_config(), 0o600),
            Entry("/etc/ssh/ssh_host_ed25519_key", (self.keys / "host").read_bytes(), 0o600),
            Entry("/bin/sh", link=self.shell),
        ]
        for _, uid, home in homes:
            entries += [
                Entry(home, None, 0o700, uid, uid),
                Entry(f"{home}/.ssh", None, 0o700, uid, uid),
                Entry(f"{home}/.ssh/authorized_keys", public, 0o600, uid, uid),
            ]
        self.place(*entries, *(busybox_applets() if self.shell == "busybox" else []))
        self.remove("/.dockerenv", *PACKAGED)
        if self.shell == "busybox":  # such hosts have neither of the others
            self.remove("/usr/bin/bash", "/usr/bin/dash", "/usr/bin/perl", "/usr/bin/python3")
        self.write_known_hosts()

    def _sshd_config(self) -> str:
        lines = [
            f"Port {self.port}", "HostKey /etc/ssh/ssh_host_ed25519_key", f"LogLevel {self.log_level}", "UsePAM no",
            "PermitRootLogin prohibit-password", "PasswordAuthentication no", "MaxStartups 200", "MaxSessions 10", "UseDNS no",
            "PidFile none", *self.sshd_lines,
        ]  # fmt: skip
        return "\n".join(lines) + "\n"

    def start_sshd(self) -> None:
        """Start sshd and wait until it listens."""
        self.spawn(["/usr/sbin/sshd", "-D", "-e"], log="sshd")
        self.wait_for(lambda: "Server listening on 0.0.0.0" in self.log("sshd"), "sshd to listen")

    # -- what tests do with it ----------------------------------------------

    def _answer(self) -> dict[str, Any]:
        assert self._init.stdout is not None
        line = self._init.stdout.readline()
        answer: dict[str, Any] = (
            json.loads(line) if line else {"error": f"the host is gone: {(self.base / 'init.log').read_text()}"}
        )
        return answer

    def _ask(self, **request: Any) -> dict[str, Any]:
        assert self._init.stdin is not None
        with self._lock:
            self._init.stdin.write(json.dumps(request).encode() + b"\n")
            self._init.stdin.flush()
            answer = self._answer()
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def place(self, *entries: Entry) -> None:
        """Write files, folders and links with their owners and modes; missing parents are made."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for entry in entries:
                info = tarfile.TarInfo(entry.path.lstrip("/"))
                info.mode, info.uid, info.gid = entry.mode, entry.uid, entry.gid
                content = entry.content.encode("utf-8", "surrogateescape") if isinstance(entry.content, str) else entry.content
                if entry.link:
                    info.type, info.linkname = tarfile.SYMTYPE, entry.link
                elif content is None:
                    info.type = tarfile.DIRTYPE
                else:
                    info.size = len(content)
                tar.addfile(info, io.BytesIO(content) if content is not None else None)
        self._ask(do="extract", archive=base64.b64encode(archive.getvalue()).decode())

    def remove(self, *paths: str) -> None:
        """Remove files and folders where they exist."""
        self._ask(do="remove", paths=paths)

    def spawn(
        self, argv: Sequence[str], *, executable: str = "", env: Mapping[str, str] = ENVIRONMENT, container: str = "", log: str = ""
    ) -> int:
        """Start a program that goes on running and return its process number in the host.

        With ``container`` (a cgroup path) it runs in mount, IPC and process namespaces of its own, as in a pod.
        """
        request = {"executable": executable or argv[0], "argv": list(argv), "env": dict(env), "container": container}
        return int(self._ask(do="spawn", log=log or Path(argv[0]).name, **request)["pid"])

    def enter(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs ``argv`` inside the host."""
        return ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--", *argv]

    def run(self, *argv: str, stdin: bytes = b"", check: bool = True, timeout: float = 60) -> str:
        """Run a command as root inside the host (not over SSH) and return its output."""
        done = subprocess.run(self.enter(argv), input=stdin, capture_output=True, env=ENVIRONMENT, check=False, timeout=timeout)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(argv)}: {done.returncode}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode(errors="replace")

    def kill(self, pid: int) -> None:
        """End a process of the host and wait until it is gone."""
        self.run("/bin/busybox", "kill", "-9", str(pid), check=False)
        self.wait_for(lambda: pid not in self.processes(), f"process {pid} to end")

    def log(self, name: str) -> str:
        """Return what a started program wrote."""
        path = self.base / "logs" / name
        return path.read_text(errors="replace") if path.exists() else ""

    def processes(self) -> dict[int, list[str]]:
        """Return the argv of every living process of the host, by its number in the host."""
        found: dict[int, list[str]] = {}
        namespace = Path(f"/proc/{self.pid}/ns/pid").stat().st_ino
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
                argv = (folder / "cmdline").read_bytes().split(b"\0")[:-1]
            except OSError:
                continue
            numbers = status["NSpid"].split()
            if len(numbers) > 1 and status["State"].split()[0] != "Z" and self._is_ours(folder, namespace, len(numbers)):
                found[int(numbers[1])] = [a.decode(errors="replace") for a in argv]
        return found

    def _is_ours(self, folder: Path, namespace: int, depth: int) -> bool:
        """A process of a container within the host has a namespace below the host's own: it shares the host's cgroup."""
        try:
            if depth == 2:
                return (folder / "ns/pid").stat().st_ino == namespace
            return self.name in (folder / "cgroup").read_text()
        except OSError:
            return False

    def files(self, *, ignore: Iterable[str] = ()) -> dict[str, tuple[Any, ...]]:
        """Return all that was ever changed in the host's file system: path to (type and mode, owner, group, size, mtime, ctime).

        Taken from the overlay's upper layer, from outside, so that looking changes nothing.
        """
        found: dict[str, tuple[Any, ...]] = {}
        upper = self.base / "upper"
        skipped = tuple(ignore)
        for folder, folders, names in os.walk(upper):
            for name in (*folders, *names):
                path = Path(folder, name)
                shown = "/" + str(path.relative_to(upper))
                if shown.startswith(skipped):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    s = path.lstat()
                    size = 0 if stat.S_ISDIR(s.st_mode) else s.st_size
                    found[shown] = (stat.filemode(s.st_mode), s.st_uid, s.st_gid, size, s.st_mtime_ns, s.st_ctime_ns)
        return found

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 15) -> None:
        """Wait until something holds; raises TimeoutError naming it."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {seconds} s for {what}")
            time.sleep(0.01)

    # -- how to reach it ----------------------------------------------------

    @property
    def identity(self) -> Path:
        """The client key that all accounts accept."""
        return self.keys / "client"

    @property
    def known_hosts(self) -> Path:
        """A known_hosts file that holds this host's key."""
        return self.base / "known_hosts"

    def host_key(self, key: str = "host") -> str:
        """Return the host's public key as ``type base64``; ``other_host`` is a key it does not have."""
        return " ".join((self.keys / f"{key}.pub").read_text().split()[:2])

    def write_known_hosts(self, path: Path | None = None, key: str = "host") -> Path:
        """Write a known_hosts file for this host and return its path."""
        path = path or self.known_hosts
        name = self.address if self.port == 22 else f"[{self.address}]:{self.port}"
        path.write_text(f"{name} {self.host_key(key)}\n")
        return path

    def ssh(self, command: str, *, user: str = "root", check: bool = True, stdin: bytes = b"") -> str:
        """Run a command over the system's own ssh client."""
        options = ["-F", "none", "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={self.known_hosts}", "-i", str(self.identity)]
        argv = ["ssh", *options, "-p", str(self.port), f"{user}@{self.address}", command]
        done = subprocess.run(argv, input=stdin, capture_output=True, check=False, timeout=60)
        if check and done.returncode:
            raise RuntimeError(f"{command}: {done.returncode}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode(errors="replace")


def busybox_applets() -> list[Entry]:
    """Return links that make most small tools of a host busybox's own."""
    applets = subprocess.run(["busybox", "--list"], check=True, capture_output=True, text=True).stdout.split()
    wanted = [a for a in applets if Path("/usr/bin", a).exists() and a not in {"busybox", "su", "login", "passwd"}]
    return [Entry(f"/usr/bin/{name}", link="busybox") for name in wanted]


def _ip(*args: str) -> str:
    return subprocess.run(["ip", *args], check=True, capture_output=True, text=True).stdout


def _free_network(used: set[Any]) -> tuple[str, str]:
    """Return two addresses of an unused /30 in the range that is set aside for tests of networks (RFC 2544)."""
    networks = ipaddress.ip_network("198.18.0.0/15")
    while True:
        first = networks.network_address + 4 * random.randrange(networks.num_addresses // 4)
        if str(first + 1) not in used:
            return str(first + 1), str(first + 2)


def remove_cgroups(name: str) -> None:
    """Remove a host's cgroups, deepest first; its processes are gone, but the kernel may need a moment to notice."""
    for top in host_init.cgroup_folders(name):
        end = time.monotonic() + 3
        while top.exists() and time.monotonic() < end:
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
            if top.exists():
                time.sleep(0.02)


def sweep() -> None:
    """Remove what hosts of killed test processes left: folders and cgroups (their processes ended with them)."""
    left = [*Path("/dev/shm").glob(f"{PREFIX}*-*"), *Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*")]
    left += [p for h in host_init.hierarchies() for p in Path("/sys/fs/cgroup", h).glob(f"{PREFIX}*")]
    for path in left:
        number = path.name.removeprefix(PREFIX).split("-")[0]
        if number.isdecimal() and not Path("/proc", number).exists():
            if path.is_relative_to("/sys/fs/cgroup"):
                remove_cgroups(path.name)
            else:
                shutil.rmtree(path, ignore_errors=True)
