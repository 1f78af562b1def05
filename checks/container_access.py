"""Rules about what of its host a container can reach through mounts.

Sources are compared as paths, after ``.``, ``..`` and doubled slashes are taken out and /var/run is read as /run. Other
symbolic links on the host are not followed: a link that leads to a listed folder is not seen.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from auditor.facts import flags
from auditor.facts.docker import Engine
from auditor.model import Fact, Observation, Problem, Reason
from checks import base, engines
from checks.container_isolation import Everywhere
from checks.engines import EngineFacts, source

#: Where dockerd listens when it is told nothing, or by systemd.
DEFAULT_SOCKET = "/run/docker.sock"
#: The host's own system. The second row are links into /usr on most systems.
FOLDERS = ("/", "/boot", "/dev", "/etc", "/lib", "/proc", "/sys", "/usr",
           "/bin", "/sbin", "/lib32", "/lib64", "/libx32")  # fmt: skip


@dataclass(frozen=True, slots=True)
class HostMount:
    """A folder or file of the host that a container sees; ``via`` names the volume that leads to it, if one does."""

    path: str
    destination: str
    writable: bool
    via: str = ""

    def __str__(self) -> str:
        volume = f" through volume {self.via}" if self.via else ""
        return f"{self.path} ({'rw' if self.writable else 'ro'}){volume}"


@lru_cache(maxsize=4096)
def plain_path(path: str) -> str:
    """Return an absolute path without detours, /var/run read as /run."""
    path = "/" + posixpath.normpath(path).lstrip("/")
    return "/run" + path[len("/var/run") :] if is_below(path, "/var/run") else path


def is_below(path: str, folder: str) -> bool:
    """Return whether a path is a folder or lies below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def host_mounts(container: dict[str, Any], engine: EngineFacts) -> tuple[list[HostMount], Problem | None]:
    """Return what of the host is mounted, and why that may not be all."""
    found = [*_listed(container), *_asked_for(container)]
    problem: Problem | None = None
    for mount in container.get("Mounts") or ():
        if mount.get("Type") == "volume" and (mount.get("Driver") or "local") == "local":
            device = _device(str(mount.get("Name") or ""), engine)
            if isinstance(device, Problem):
                problem = device
            elif device:
                found.append(HostMount(plain_path(device), str(mount.get("Destination") or ""), mount.get("RW") is not False,
                                       str(mount.get("Name"))))  # fmt: skip
    unique = {(m.path, m.destination): m for m in reversed(found)}
    return sorted(unique.values(), key=lambda m: (m.path, m.destination)), problem


def _listed(container: dict[str, Any]) -> Iterator[HostMount]:
    """Bind mounts, and volumes of plugins, whose source is wherever the plugin says."""
    for mount in container.get("Mounts") or ():
        foreign = mount.get("Type") == "volume" and (mount.get("Driver") or "local") != "local"
        if mount.get("Source") and (mount.get("Type") == "bind" or foreign):
            yield HostMount(plain_path(str(mount["Source"])), str(mount.get("Destination") or ""), mount.get("RW") is not False)


def _asked_for(container: dict[str, Any]) -> Iterator[HostMount]:
    """What the options ask for, which in a container that never started may be all there is."""
    host = container["HostConfig"]
    for bind in host.get("Binds") or ():
        parts = str(bind).split(":")
        if parts[0].startswith("/") and len(parts) > 1:
            options = parts[2].split(",") if len(parts) > 2 else []
            yield HostMount(plain_path(parts[0]), parts[1], "ro" not in options)
    for mount in host.get("Mounts") or ():
        place, writable = str(mount.get("Target") or ""), mount.get("ReadOnly") is not True
        if mount.get("Type") == "bind" and mount.get("Source"):
            yield HostMount(plain_path(str(mount["Source"])), place, writable)
        driver: dict[str, Any] = (mount.get("VolumeOptions") or {}).get("DriverConfig") or {}
        if device := _bound(driver.get("Options") or {}):
            yield HostMount(plain_path(device), place, writable, str(mount.get("Source") or "without a name"))


def _bound(options: dict[str, Any]) -> str:
    """Return the folder that a local volume's options bind it to, empty when it is no such volume."""
    words = str(options.get("o") or "").split(",")
    device = str(options.get("device") or "")
    return device if device.startswith("/") and ({"bind", "rbind"} & set(words) or options.get("type") == "bind") else ""


def _device(name: str, engine: EngineFacts) -> str | Problem:
    volumes = engine.document("volumes")
    if isinstance(volumes, Problem):
        return Problem(volumes.reason, f"where volume {name[:40]} leads is not known: {volumes.detail}")
    for volume in volumes:
        if volume["Name"] == name:
            return _bound(volume.get("Options") or {})
    return Problem(Reason.ABSENT, f"volume {name[:40]} is not among the engine's volumes")


def _describe(mounts: Iterable[HostMount]) -> str:
    return base.show([str(m) for m in mounts])


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitiveMounts(Everywhere):
    """A container mounts none of the host's ``folders``, nothing below them and nothing above them, read-only or not.

    ``allowed`` are paths that may be mounted all the same, with all below them.
    """

    folders: tuple[str, ...] = FOLDERS
    allowed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _absolute((*self.folders, *self.allowed))

    def needs(self) -> frozenset[Fact]:
        """Where volumes lead."""
        return frozenset({Engine("volumes")})

    def judge(self, subject: str, container: dict[str, Any], engine: EngineFacts) -> Observation:
        """Compare every source with the folders."""
        expected = "no mount of " + base.show(self.folders)
        where = source("containers", "Mounts, HostConfig.Binds, HostConfig.Mounts")
        mounts, problem = host_mounts(container, engine)
        bad = [m for m in mounts if self._sensitive(m.path)]
        if bad:
            return base.verdict(subject, ok=False, expected=expected, actual=_describe(bad), source=where)
        if problem is not None:
            return base.error(subject, problem, expected=expected, source=where)
        return base.verdict(
            subject, ok=True, expected=expected, actual=_describe(mounts) if mounts else "no host mount", source=where
        )

    def _sensitive(self, path: str) -> bool:
        if any(is_below(path, plain_path(a)) for a in self.allowed):
            return False
        return any(is_below(plain_path(f), path) or (f != "/" and is_below(path, plain_path(f))) for f in self.folders)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSocket(Everywhere):
    """A container can't reach a socket of its engine through a mount of it, or of a folder above it.

    ``sockets`` are further paths to look for (those of containerd, say). ``allowed`` are sources that may be mounted all the
    same, such as the socket of a filtering proxy.
    """

    sockets: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _absolute((*self.sockets, *self.allowed))

    def needs(self) -> frozenset[Fact]:
        """Where volumes lead, and where dockerd listens."""
        return engines.DAEMON_FACTS | {Engine("volumes")}

    def judge(self, subject: str, container: dict[str, Any], engine: EngineFacts) -> Observation:
        """Compare every source with every socket."""
        expected = "no mount that holds the engine's socket"
        where = source("containers", "Mounts, HostConfig.Binds, HostConfig.Mounts")
        mounts, problem = host_mounts(container, engine)
        mounts = [m for m in mounts if m.path not in {plain_path(a) for a in self.allowed}]
        known, unknown = listening(engine)
        sockets = {*known, *map(plain_path, self.sockets)}
        bad = [m for m in mounts if posixpath.basename(m.destination) == "docker.sock" or any(is_below(s, m.path) for s in sockets)]
        if bad:
            return base.verdict(subject, ok=False, expected=expected, actual=_describe(bad), source=where)
        problem = problem or (unknown if mounts else None)
        if problem is not None:
            return base.error(subject, problem, expected=expected, source=where)
        return base.verdict(
            subject, ok=True, expected=expected, actual=_describe(mounts) if mounts else "no host mount", source=where
        )


def listening(engine: EngineFacts) -> tuple[set[str], Problem | None]:
    """Return the paths of the engine's sockets that are known, and why there may be more."""
    hosts = [engine.url]
    problem: Problem | None = None
    process = engine.process()
    settings = engine.settings()
    if isinstance(process, Problem):
        problem = process
    else:
        given = flags.listing(process["args"], "--host", flags.DOCKERD)
        if isinstance(given, Problem):
            problem = given
        else:
            hosts += given or []
    if isinstance(settings, Problem):
        problem = problem or settings
    else:
        listed = settings.get("hosts") or []
        hosts += [str(h) for h in (listed if isinstance(listed, list) else [listed])]
    if problem is not None:
        problem = Problem(problem.reason, f"where else the engine listens is not known: {problem.detail}")
    paths = {h.removeprefix("unix://") for h in hosts if h.startswith(("unix:///", "/"))}
    return {DEFAULT_SOCKET, *map(plain_path, paths)}, problem


def _absolute(paths: Iterable[str]) -> None:
    for path in paths:
        if not path.startswith("/"):
            raise ValueError(f"{path!r} is not an absolute path")
