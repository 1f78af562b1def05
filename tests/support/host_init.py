"""The first process of a test host. Run as a program, it makes its own root, then starts what it is told to.

Stage one enters a cgroup of its own and new namespaces; stage two mounts the root (an overlay over this machine's), moves into
it, and serves requests: one JSON line in, one JSON line out. When standard input ends, whoever started the host is gone, and
with this process every other process, mount and interface of the host goes too.
"""

from __future__ import annotations

import base64
import ctypes
import io
import json
import os
import platform
import select
import shutil
import signal
import socket
import sys
import tarfile
from pathlib import Path
from typing import Any

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
MNT_DETACH = 2
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWPID = 0x00020000, 0x08000000, 0x20000000
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

#: Emptied in the host: its own life happens there, or this machine's would show through.
OPAQUE = (
    "tmp", "run", "root", "home", "work", "srv", "mnt", "opt", "var/log", "var/tmp", "var/lib/containerd",
    "var/lib/kubelet", "var/lib/etcd", "etc/docker", "etc/kubernetes", "etc/cni", "etc/sudoers.d", "etc/ssh",
)  # fmt: skip

libc = ctypes.CDLL(None, use_errno=True)
libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Call mount(2)."""
    _check(libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()), target)


def hierarchies() -> list[str]:
    """Return the names of the cgroup v1 hierarchies mounted below /sys/fs/cgroup."""
    found = []
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup" and where.startswith("/sys/fs/cgroup/"):
            found.append(where.rpartition("/")[2])
    return sorted(set(found))


def cgroup_folders(name: str) -> list[Path]:
    """Return where the host's own cgroup is, in every hierarchy."""
    return [Path("/sys/fs/cgroup") / h / name for h in hierarchies()]


def enter_cgroups(name: str) -> None:
    """Make the host's cgroup and go into it; a cpuset must have its processors before it takes a process."""
    for folder in cgroup_folders(name):
        folder.mkdir(exist_ok=True)
        if folder.parent.name == "cpuset":
            (folder.parent / "cgroup.clone_children").write_text("1")
            for setting in ("cpuset.cpus", "cpuset.mems"):
                (folder / setting).write_text((folder.parent / setting).read_text())
        (folder / "cgroup.procs").write_text(str(os.getpid()))


def make_root(base: Path, hostname: str) -> None:
    """Mount the overlay with its /proc, /sys and /dev, and make it the root of this namespace."""
    upper, work, root = (base / part for part in ("upper", "work", "root"))
    for folder in (upper, work, root):
        folder.mkdir()
        folder.chmod(0o755)
    for name in OPAQUE:
        if not Path("/", name).exists():
            continue
        folder = upper
        for part in name.split("/"):
            folder /= part
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)
        os.setxattr(folder, "trusted.overlay.opaque", b"y")
    (upper / "tmp").chmod(0o1777)
    (upper / "var/tmp").chmod(0o1777)
    (upper / "root").chmod(0o700)
    mount("", "/", "", MS_REC | MS_PRIVATE)
    mount("overlay", str(root), "overlay", 0, f"lowerdir=/,upperdir={upper},workdir={work}")
    mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("sysfs", f"{root}/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("/dev", f"{root}/dev", "", MS_BIND | MS_REC)
    mount("tmpfs", f"{root}/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV)
    names = hierarchies()
    if names:
        mount("tmpfs", f"{root}/sys/fs/cgroup", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
        for name in names:
            (root / "sys/fs/cgroup" / name).mkdir()
            options = "none,name=systemd" if name == "systemd" else name
            mount("cgroup", f"{root}/sys/fs/cgroup/{name}", "cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)
    else:
        mount("cgroup2", f"{root}/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    # Docker's data must not be on an overlay; this is a file system of its own that ends with the namespace.
    (root / "var/lib/docker").mkdir(exist_ok=True)
    mount("tmpfs", f"{root}/var/lib/docker", "tmpfs", 0, "mode=710")
    os.chdir(root)
    _check(libc.syscall(PIVOT_ROOT[platform.machine()], b".", b"."), "pivot_root")
    _check(libc.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/")
    socket.sethostname(hostname)


def extract(archive: bytes) -> None:
    """Write the files of a tar archive with their owners (by number) and modes; folders that are there stay as they are."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            path = Path("/") / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            if member.isdir():
                path.mkdir(exist_ok=True)
            else:
                path.unlink(missing_ok=True)
                if member.issym():
                    path.symlink_to(member.linkname)
                    continue
                source = tar.extractfile(member)
                assert source is not None
                path.write_bytes(source.read())
            os.chown(path, member.uid, member.gid)
            path.chmod(member.mode)


def remove(path: str) -> None:
    """Remove a file or a whole folder, if it is there."""
    place = Path(path)
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _contain(name: str) -> None:
    """Put this process into namespaces and a cgroup such as a container runtime makes; its next child is in them wholly."""
    for hierarchy in hierarchies():
        folder = Path("/sys/fs/cgroup") / hierarchy / name.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        if hierarchy == "cpuset":
            for part in (
                *reversed(folder.relative_to("/sys/fs/cgroup/cpuset").parents),
                folder.relative_to("/sys/fs/cgroup/cpuset"),
            ):
                for setting in ("cpuset.cpus", "cpuset.mems"):
                    (Path("/sys/fs/cgroup/cpuset") / part / setting).write_text(Path("/sys/fs/cgroup/cpuset", setting).read_text())
        (folder / "cgroup.procs").write_text(str(os.getpid()))
    _check(libc.unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWPID), "unshare")


def spawn(request: dict[str, Any], logs: int) -> int:
    """Start a program in a session of its own, with its output in the log folder; returns its process number in the host.

    A contained one is started by a child that goes into its container and ends, so its number comes over a pipe: the kernel
    gives the number as the host sees it to the parent, which is still in the host's namespace.
    """
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600, dir_fd=logs)
    null = os.open(os.devnull, os.O_RDONLY)
    actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]

    def start() -> int:
        return os.posix_spawn(request["executable"], request["argv"], request["env"], file_actions=actions, setsid=True)

    try:
        if not request.get("container"):
            return start()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                _contain(request["container"])
                os.write(writer, str(start()).encode())
            except BaseException as error:  # noqa: BLE001 - a forked child must end here whatever happens
                os.write(writer, f"{type(error).__name__}: {error}".encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as answer:
            text = answer.read()
        os.waitpid(child, 0)
        return int(text)
    finally:
        os.close(log)
        os.close(null)


def serve(logs: int) -> None:
    """Answer requests until standard input ends, and reap whatever dies meanwhile."""
    waiting = b""
    while True:
        ready, _, _ = select.select([0], [], [], 0.2)
        if ready:
            chunk = os.read(0, 1 << 20)
            if not chunk:
                return
            waiting += chunk
            while b"\n" in waiting:
                line, _, waiting = waiting.partition(b"\n")
                os.write(1, json.dumps(answer(json.loads(line), logs)).encode() + b"\n")
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


def answer(request: dict[str, Any], logs: int) -> dict[str, Any]:
    """Do one thing and say how it went."""
    try:
        match request["do"]:
            case "spawn":
                return {"pid": spawn(request, logs)}
            case "extract":
                extract(base64.b64decode(request["archive"]))
            case "remove":
                for path in request["paths"]:
                    remove(path)
    except (OSError, ValueError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {}


def main() -> None:
    """Stage one without, stage two with the word ``inside`` as the last argument."""
    base, name, hostname = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    if sys.argv[-1] != "inside":
        for ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):  # by whoever started the tests, in the background perhaps
            signal.signal(ignored, signal.SIG_DFL)  # a shell can't trap what it was started to ignore
        enter_cgroups(name)
        unshare = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--net", "--cgroup", "--fork", "--kill-child=KILL"]
        os.execvp("unshare", [*unshare, sys.executable, "-I", "-S", __file__, *sys.argv[1:], "inside"])
    logs = os.open(base / "logs", os.O_RDONLY | os.O_DIRECTORY)
    make_root(base, hostname)
    os.umask(0o022)
    os.write(1, b'{"ready": true}\n')
    serve(logs)


if __name__ == "__main__":
    main()
