"""Writing files that others must not read."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path


def write_private(path: Path, content: bytes | Iterable[bytes], *, new: bool = False) -> None:
    """Write a file with mode 0600, whole or not at all; its folder is made with mode 0700. Content may come in parts.

    Until it is whole it has no name where the system can do that, so that of a process that was killed nothing is left. What had
    its name before is replaced, a link too, or with ``new`` left as it is. Raises OSError, also for a device and its like.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse(path, new=new)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)  # somebody else's would be readable by him
    folder = os.open(path.parent, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        descriptor = _nameless(folder)
        named = descriptor is None
        if descriptor is None:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines((content,) if isinstance(content, bytes) else content)
            file.flush()
            if not named:  # given a folder, Python asks for the file that the link leads to
                os.link(f"/proc/self/fd/{descriptor}", temporary.name, src_dir_fd=folder, dst_dir_fd=folder)
        if new:  # unlike a rename, it never replaces what came there meanwhile
            os.link(temporary, path)
            temporary.unlink()
        else:
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(folder)


def _refuse(path: Path, *, new: bool) -> None:
    """Raise OSError where a file must not come: /dev/stdout or /dev/null, which root can replace, would be gone for everybody."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if new:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)) or path.parent.resolve() == Path("/dev"):
        raise OSError(errno.EINVAL, "is no file that can be replaced", str(path))


def _nameless(folder: int) -> int | None:
    """Return a new file without a name in an open folder, or None where there is no such thing."""
    if hasattr(os, "O_TMPFILE") and Path("/proc/self/fd").exists():
        with contextlib.suppress(OSError):
            return os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=folder)
    return None
