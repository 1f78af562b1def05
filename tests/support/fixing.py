"""A Docker host on which every fix has something to do, and what a test host lacks of a real one: a service manager, audit rules."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from tests.support.engine import BASE, DockerHost, root_archive
from tests.support.engine_tls import certificates
from tests.support.host import Entry

UNIT_PATH, OPTIONS = "/lib/systemd/system/docker.service", "/etc/default/docker"
FLAGS = ("-H", "unix:///var/run/docker.sock", "--userland-proxy=true", "-l", "debug", "--tlsverify",
         *(f"--tls{name}=/etc/docker/tls/{name}.pem" for name in ("cacert", "cert", "key")), "-H", "tcp://127.0.0.1:2376")  # fmt: skip
UNIT = f"[Unit]\nDescription=Docker\n\n[Service]\nType=notify\nExecStart=/usr/sbin/dockerd {' '.join(FLAGS)}\n"
SETTINGS = {
    "debug": True, "insecure-registries": ["reg.lan:5000", "kept.lan:5000"], "cgroup-parent": "/elsewhere", "experimental": True,
    "iptables": False, "labels": ["täst=1"],
}  # fmt: skip

#: A service manager that knows docker.service: it really stops dockerd and starts it as its unit and drop-ins say.
SYSTEMCTL = r"""#!/bin/sh
[ "$1" = show ] || echo "$*" >>/run/systemctl.log
pid=$(cat /var/run/docker.pid)
case "$1 $2" in
"daemon-reload ") exit 0 ;;
"show docker") printf 'LoadState=loaded\nActiveState=active\nSubState=running\n'; exit 0 ;;
"reload docker")
  log=/proc/$pid/fd/1
  before=$(grep -c "Reloaded configuration" "$log")
  kill -HUP "$pid"
  n=0
  until [ "$(grep -c "Reloaded configuration" "$log")" -gt "$before" ]; do n=$((n + 1)); [ $n -lt 300 ] || exit 1; sleep 0.05; done
  exit 0 ;;
"restart docker") ;;
*) echo "Unit $2 not found." >&2; exit 5 ;;
esac
kill "$pid"
while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
command=$(cat /lib/systemd/system/docker.service /etc/systemd/system/docker.service.d/*.conf | sed -n 's/^ExecStart=//p' | tail -n 1)
setsid $command >>/run/dockerd.log 2>&1 </dev/null &
n=0
until docker version >/dev/null 2>&1; do
  n=$((n + 1))
  [ $n -lt 300 ] || { echo "Job for docker.service failed: $(tail -n 3 /run/dockerd.log)" >&2; exit 1; }
  sleep 0.05
done
"""
#: Stand-ins for audit's programs: a test host has no audit kernel of its own. They load and list rules as the real ones do.
AUDITCTL = """#!/bin/sh
case $1 in
-s) echo "enabled 1"; echo "failure 1" ;;
-l) cat /run/audit.rules 2>/dev/null || echo "No rules" ;;
esac
"""
AUGENRULES = """#!/bin/sh
[ "$1" = --load ] || exit 1
cat /etc/audit/rules.d/*.rules | grep -v '^#' >/run/audit.rules
"""
PLAIN, GROUP = 2003, 2003

LOOSE: tuple[Entry, ...] = (
    Entry("/etc/docker", None, 0o777, PLAIN, GROUP),
    Entry("/etc/docker/certs.d", None, 0o755),
    Entry("/etc/docker/certs.d/reg.lan:5000", None, 0o755),
    Entry("/etc/docker/certs.d/reg.lan:5000/it's a $(key).key", "x", 0o644, PLAIN, GROUP),
    Entry("/etc/default", None, 0o755),
    Entry(OPTIONS, "# none\n", 0o666, PLAIN, GROUP),
    Entry("/etc/sysconfig", None, 0o755),
    Entry("/etc/sysconfig/docker", "# none\n", 0o666, PLAIN, GROUP),
    Entry(UNIT_PATH, UNIT, 0o666, PLAIN, GROUP),
    Entry("/lib/systemd/system/docker.socket", "[Socket]\nListenStream=/run/docker.sock\n", 0o666, PLAIN, GROUP),
    Entry("/etc/systemd/system/docker.service.d", None, 0o755),
    Entry("/etc/systemd/system/docker.service.d/limits.conf", "[Service]\nLimitNOFILE=1048576\n", 0o664, PLAIN, GROUP),
    Entry("/etc/audit/rules.d", None, 0o750),
    Entry("/run/systemd/system", None, 0o755),
    Entry("/usr/local/bin/systemctl", SYSTEMCTL, 0o755),
    Entry("/usr/sbin/auditctl", AUDITCTL, 0o755),
    Entry("/usr/sbin/augenrules", AUGENRULES, 0o755),
)
CONTAINERS = {
    "careless": ("create", "--restart", "always", BASE, "sleep", "100000"),
    "composed": ("create", "--label", "com.docker.compose.project=shop", "--label", "com.docker.compose.service=web", "--restart",
                 "always", "--privileged", BASE, "sleep", "100000"),
}  # fmt: skip


def loose_certificates() -> tuple[Entry, ...]:
    """Return certificates that anybody may write to."""
    return tuple(e if e.content is None else dataclasses.replace(e, mode=0o666, uid=PLAIN, gid=GROUP) for e in certificates())


@dataclass
class LooseDockerHost(DockerHost):
    """A Docker host that is set up badly: its files, its settings in file and flags, its containers."""

    __test__ = False

    hostname: str = "loose"
    settings: Any = field(default_factory=lambda: dict(SETTINGS))
    containers: Any = field(default_factory=lambda: dict(CONTAINERS))
    certificates: tuple[Entry, ...] = ()

    def _furnish(self) -> None:
        self.unit_files = (*LOOSE, *self.certificates)
        self.flags = FLAGS[2:]
        super()._furnish()

    def _fill(self) -> None:
        self.wait_for(lambda: "API listen on" in self.log("dockerd"), f"dockerd to listen; it wrote {self.log('dockerd')[-2000:]}")
        self.docker("import", "-", BASE, stdin=root_archive())
        for name, (verb, *rest) in self.containers.items():
            self.docker(verb, "--name", name, *rest)
        sockets = ("/var/run/docker.sock", "/var/run/docker/containerd/containerd.sock")
        self.run("chown", f"{PLAIN}:{GROUP}", *sockets, "/etc/docker/daemon.json")
        self.run("chmod", "666", *sockets, "/etc/docker/daemon.json")
