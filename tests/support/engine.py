"""A Docker host: a test host with a real dockerd, two images built there and six containers."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.support.host import ENVIRONMENT, Entry, TestHost

SOCKET = "/var/run/docker.sock"
BASE, BUILT = "shop/base:1", "shop/web:1.4"
DOCKERFILE = f'FROM {BASE}\nENV MODE=production\nUSER 1000\nHEALTHCHECK --interval=1h CMD ["true"]\nCMD ["sleep", "100000"]\n'

UNIT = """[Unit]
Description=Docker Application Container Engine

[Service]
Type=notify
ExecStart=/usr/sbin/dockerd -H unix:///var/run/docker.sock
"""
SOCKET_UNIT = "[Socket]\nListenStream=/run/docker.sock\nSocketMode=0660\nSocketUser=root\nSocketGroup=docker\n"
DROP_IN = "[Service]\nLimitNOFILE=1048576\n"
UNIT_FILES = (
    Entry("/etc/docker", None, 0o755),
    Entry("/lib/systemd/system/docker.service", UNIT, 0o644),
    Entry("/lib/systemd/system/docker.socket", SOCKET_UNIT, 0o644),
    Entry("/etc/systemd/system/docker.service.d/limits.conf", DROP_IN, 0o644),
)

#: ``docker run`` (or ``create``) for each container, in this order. `good` is as it should be, `bad` is not.
CONTAINERS: dict[str, Sequence[str]] = {
    "good": (
        "run", "-d", "--memory", "64m", "--cpu-shares", "512", "--pids-limit", "50", "--cap-drop", "ALL", "--read-only",
        "--security-opt", "no-new-privileges", "--user", "1000:1000", "--restart", "on-failure:5", BUILT,
    ),
    "bad": (
        "run", "-d", "--network", "host", "--pid", "host", "--ipc", "host", "--uts", "host", "--cap-add", "SYS_ADMIN", "--cap-add",
        "NET_ADMIN", "--security-opt", "seccomp=unconfined", "--restart", "always", "-v", "/etc:/host/etc", "-v",
        "/var/run/docker.sock:/var/run/docker.sock", "--device", "/dev/null:/dev/danger", BASE, "sleep", "100000",
    ),
    "privileged": ("create", "--privileged", BASE, "sleep", "100000"),
    "stopped": ("run", BASE, "true"),
    "sidecar": ("run", "-d", "--network", "container:good", BUILT),
    "plain": ("run", "-d", "-p", "8080:80", BASE, "sleep", "100000"),
}  # fmt: skip


@dataclass
class DockerHost(TestHost):
    """A test host that runs Docker. ``settings`` is its daemon.json (None: there is none), ``flags`` go to dockerd."""

    __test__ = False

    hostname: str = "docker-host"
    settings: Mapping[str, Any] | None = None
    flags: Sequence[str] = ()
    containers: Mapping[str, Sequence[str]] = field(default_factory=lambda: dict(CONTAINERS))
    unit_files: Sequence[Entry] = UNIT_FILES
    daemon_environment: Mapping[str, str] = field(default_factory=dict)
    dockerd: int = field(default=0, init=False)  # its process number in the host

    def _furnish(self) -> None:
        super()._furnish()
        self.place(*self.unit_files)
        if self.settings is not None:
            self.place(Entry("/etc/docker/daemon.json", json.dumps(self.settings, indent=2)))
        argv = ["/usr/sbin/dockerd", "-H", f"unix://{SOCKET}", *self.flags]
        self.dockerd = self.spawn(argv, env={**ENVIRONMENT, **self.daemon_environment}, log="dockerd")

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self._fill()
        except BaseException:
            self.close()
            raise
        return self

    def docker(self, *argv: str, stdin: bytes = b"", check: bool = True) -> str:
        """Run the docker client inside the host."""
        return self.run("docker", *argv, stdin=stdin, check=check)

    def _fill(self) -> None:
        self.wait_for(lambda: "API listen on" in self.log("dockerd"), f"dockerd to listen; it wrote {self.log('dockerd')[-2000:]}")
        if not self.containers:
            return
        self.docker("import", "-", BASE, stdin=root_archive())
        self.docker("build", "-q", "-t", BUILT, "-", stdin=DOCKERFILE.encode())
        for name, (verb, *rest) in self.containers.items():
            self.docker(verb, "--name", name, *rest)

    def inspect(self, container: str) -> dict[str, Any]:
        """Return what the engine says of a container."""
        (document,) = json.loads(self.docker("inspect", container))
        return dict(document)


def root_archive() -> bytes:
    """Return a container's root as a tar archive: busybox and a few of its names."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:

        def add(name: str, content: bytes, mode: int) -> None:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), mode
            tar.addfile(info, io.BytesIO(content))

        add("bin/busybox", Path("/usr/bin/busybox").read_bytes(), 0o755)
        add("etc/passwd", b"root:x:0:0::/:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n", 0o644)
        for applet in ("sh", "sleep", "true", "cat", "id"):
            info = tarfile.TarInfo(f"bin/{applet}")
            info.type, info.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(info)
    return archive.getvalue()
