"""Facts about a host: what runs there, its configuration files, its audit rules.

Every fact here is answered by the host's own shell, all of them in one script (see `auditor.facts.script`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache

#: Programs that are looked for among the running processes, by the base name of argv[0] or of the executable.
PROGRAMS = (
    "dockerd", "containerd", "kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd",
    "k3s", "rke2", "kubelite", "k8s-dqlite", "crio", "podman",
)  # fmt: skip

#: Environment variables of those programs whose values are read: they are settings, and hold no secret.
ENVIRONMENT = (
    "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_CONFIG", "DOCKER_MIN_API_VERSION", "HOME", "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "ETCD_CERT_FILE", "ETCD_KEY_FILE", "ETCD_CLIENT_CERT_AUTH", "ETCD_AUTO_TLS", "ETCD_TRUSTED_CA_FILE", "ETCD_PEER_CERT_FILE",
    "ETCD_PEER_KEY_FILE", "ETCD_PEER_CLIENT_CERT_AUTH", "ETCD_PEER_AUTO_TLS", "ETCD_PEER_TRUSTED_CA_FILE", "ETCD_CONFIG_FILE",
    "SNAP", "SNAP_COMMON", "SNAP_DATA", "ETCD_DATA_DIR", "ETCD_LISTEN_CLIENT_URLS", "ETCD_LISTEN_PEER_URLS", "ETCD_INITIAL_CLUSTER",
)  # fmt: skip

#: Flags that name a configuration file (or a folder of drop-ins) whose content may be read.
CONFIG_FLAGS = (
    "--config", "--config-file", "--config-dir", "--authorization-config", "--authentication-config", "--audit-policy-file",
    "--admission-control-config-file", "--containerd-config", "--egress-selector-config-file", "--encryption-provider-config",
)  # fmt: skip

#: Files whose content a benchmark may ask for by path. Nothing else on the host is ever opened.
CONTENT_PATHS = ("/etc/docker/daemon.json", "/var/lib/kubelet/config.yaml", "/etc/containerd/config.toml")

#: Folders below which a benchmark may ask for a file's owner and mode.
STAT_ROOTS = (
    "/etc/", "/usr/lib/systemd/", "/lib/systemd/", "/usr/local/lib/systemd/", "/run/", "/var/run/", "/var/lib/", "/usr/bin/",
    "/usr/sbin/", "/usr/local/bin/", "/opt/cni/", "/home/kubernetes/", "/var/snap/microk8s/",
)  # fmt: skip

#: Folders of which a benchmark may ask for every file below.
TREES = ("/etc/docker/certs.d",)

#: Files that dockerd is told of by a flag or a key of this name, and their names in its default folder of certificates.
SETTING_FILES = {"tlscacert": "ca.pem", "tlscert": "cert.pem", "tlskey": "key.pem"}

#: Files of a Kubernetes node that take more than a flag to find, and the program whose they are.
NODE_FILES = {
    "pki": "kube-apiserver", "pki-certificates": "kube-apiserver", "pki-keys": "kube-apiserver", "etcd-data": "etcd",
    "scheduler-kubeconfig": "kube-scheduler", "controller-manager-kubeconfig": "kube-controller-manager",
    "kube-proxy-kubeconfig": "kube-proxy", "kubelet-kubeconfig": "kubelet", "kubelet-client-ca": "kubelet", "cni": "",
    "admin-kubeconfig": "",
}  # fmt: skip

#: Programs that containers are started with, found like a shell finds them. They run only while they work.
BINARIES = (
    "containerd-shim",
    "containerd-shim-runc-v1",
    "containerd-shim-runc-v2",
    "runc",
    "crun",
    "runsc",
    "youki",
    "kata-runtime",
)

#: Packages that an engine, its containerd and its runc come in.
ENGINE_PACKAGES = (
    "docker-ce", "docker.io", "moby-engine", "docker-engine", "docker", "docker-ee", "containerd.io", "containerd",
    "moby-containerd", "runc", "moby-runc",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class System:
    """Who we are on the host and what it is: always asked.

    Value: ``{"hostname", "os", "kernel", "user", "uid": int, "become": "root"|"sudo"|"none"|"denied", "become_detail",
    "ids": [text] (digests of the numbers of its present boot and of the machine, as far as they are known)}``.
    """

    @property
    def key(self) -> str:
        """The one name of this fact."""
        return "system"


@dataclass(frozen=True, slots=True)
class Processes:
    """Which of `PROGRAMS` run: always asked, since it decides what the host is.

    Value: a list of ``{"pid": int, "name", "exe" (null when not readable), "args": [str] (argv without argv[0], secrets
    redacted), "uid": int, "started": int (UNIX time), "contained": bool (runs in a container), "environ": {name: value}
    (`ENVIRONMENT` only) or null (not readable)}``, and where the arguments were not read from a command line ``"origin": str``
    (what they were read from) and, if there may be more of them than are listed, ``"partial": str`` (why). Seen through the
    Kubernetes API (see `auditor.facts.nodeview`), a program may be there without its arguments (``"unseen": str``, why) or be
    somebody else's business (``"elsewhere": str``, whose).
    """

    @property
    def key(self) -> str:
        """The one name of this fact."""
        return "processes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Owner and mode of a file, found in exactly one of these ways.

    * ``path``: that path; a final ``/*`` means the entries of a folder;
    * ``process`` and ``flag`` (and ``path`` for when the flag isn't given): the file a running program was told to use; with
      ``match``, the flag names a folder and the files in it that match are meant;
    * ``unit``: a systemd unit's file and its drop-ins, by systemd's own order of folders;
    * ``static_pod``: the manifests in the kubelet's static-pod folder that define a pod for this component;
    * ``executable``: the binaries of a running program;
    * ``process`` and ``setting``: the file that a flag or a key of this name tells it to use (`SETTING_FILES`), else the default;
    * ``tree``: every file below a folder (`TREES`);
    * ``binary``: a program (`BINARIES`) as a shell finds it;
    * ``listener``: ``dockerd``: the unix sockets on which engines take requests, whoever made them; ``containerd``: the socket of
      the containerd that an engine uses;
    * ``node``: files of a Kubernetes node (`NODE_FILES`): what flags, variables or configuration files of that program name;
      ``pki`` is the folder of its certificates with all below and the files that its flags name, and of these those that hold
      certificates or private keys; ``cni`` the files that configure pod networks.

    Value: ``{"files": [{"path", "type": "regular file"|"directory"|"socket"|..., "mode": "0644", "uid": int, "gid": int,
    "user", "group", "mtime": int}, or {"path", "problem": {...}}], "searched": [path]}``; absent files are not in ``files``.
    Links are followed.
    """

    path: str = ""
    process: str = ""
    flag: str = ""
    match: str = ""
    unit: str = ""
    static_pod: str = ""
    executable: str = ""
    setting: str = ""
    tree: str = ""
    binary: str = ""
    listener: str = ""
    node: str = ""

    @property
    def key(self) -> str:
        """``files:`` and the ways of finding, for example ``files:unit=docker.service``."""
        return _files_key(self)


@cache
def _files_key(fact: Files) -> str:
    """A key is asked for at every look into evidence; all its parts are text, so equal facts have equal keys."""
    parts = ((f.name, getattr(fact, f.name)) for f in dataclasses.fields(fact))
    return "files:" + ",".join(f"{n}={v}" for n, v in parts if v)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The parsed configuration files of each running instance of a program.

    ``flag`` names the file, ``path`` is used when the flag isn't given (empty: then there is no file), ``dropins`` is the
    flag that names a folder of drop-ins matching ``match``, which are read in lexical order after the file.

    Value: a list with one entry an instance (one with pid 0 when the program doesn't run and ``path`` exists):
    ``{"pid": int, "documents": [{"path", "data": ..., "mtime": int} or {"path", "problem": {...}}]}``. A file named by a flag
    that isn't there is a document with an absent problem; a missing default file is no document.
    """

    process: str
    flag: str
    path: str = ""
    dropins: str = ""
    match: str = "*.conf"

    @property
    def key(self) -> str:
        """``config:`` and the parts, for example ``config:kubelet --config``."""
        drop = f" {self.dropins}/{self.match}" if self.dropins else ""
        return f"config:{self.process} {self.flag}{'=' + self.path if self.path else ''}{drop}"


@dataclass(frozen=True, slots=True)
class AuditRules:
    """The kernel's audit rules.

    Value: ``{"enabled": int, "rules": [line of auditctl -l]}``; ``{"installed": false}`` when the host has no auditctl and
    no /etc/audit.
    """

    @property
    def key(self) -> str:
        """The one name of this fact."""
        return "audit_rules"


@dataclass(frozen=True, slots=True)
class Mounts:
    """What is mounted where.

    Value: a list of ``{"path", "device": "8:1", "root": the folder of the file system that is mounted}``, the topmost one of each
    path, sorted by path, without those of single containers.
    """

    @property
    def key(self) -> str:
        """The one name of this fact."""
        return "mounts"


@dataclass(frozen=True, slots=True)
class Listeners:
    """What each dockerd really listens on, by its open sockets: configured by itself or handed over by systemd.

    Value: a list of ``{"pid": int, "unix": [path], "tcp": ["0.0.0.0:2375", "[::]:2375"]}`` or ``{"pid", "problem": {...}}``. Unix
    sockets for its own purposes (swarm, libnetwork, plugins) are left out.
    """

    @property
    def key(self) -> str:
        """The one name of this fact."""
        return "listeners"


@dataclass(frozen=True, slots=True)
class SocketGroups:
    """The groups that own the engines' sockets, and the group ``docker``.

    Value: a list of ``{"name", "gid": int, "members": [names of accounts, those with this primary group included]}``.
    """

    @property
    def key(self) -> str:
        """The one name of this fact."""
        return "socket_groups"


@dataclass(frozen=True, slots=True)
class Hardening:
    """What tells how well a host is looked after: no secrets, nothing that takes long.

    Value: ``{"now": UNIX time to the hour, "id", "version", "support_end" (of os-release, may be empty), "lsm": [names], "selinux":
    "enforcing"|"permissive"|"", "sysctl": {name: text}, "reboot_required": bool, "sshd": {option: text} (empty when not known),
    "listening": ["0.0.0.0:22", ...] without loopback, "refreshed": UNIX time at which the package lists were last brought up to
    date (0: not known), "pending": [{"name", "installed", "candidate", "security": bool}] or null (not known)}``.
    """

    @property
    def key(self) -> str:
        """The one name of this fact."""
        return "hardening"


@dataclass(frozen=True, slots=True)
class EnginePackages:
    """The packages that the engine and its parts come from (`ENGINE_PACKAGES`), by the package manager's own cache.

    Value: ``{"manager": "dpkg"|"rpm"|"" (none known), "packages": [{"name", "installed", "candidate" (null: not known)}]}``.
    """

    @property
    def key(self) -> str:
        """The one name of this fact."""
        return "engine_packages"
