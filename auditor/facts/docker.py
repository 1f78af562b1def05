"""Facts about Docker engines. A host's script and the Engine API give the same values.

The value of an `Engine` fact is a list with one entry an engine::

    {"engine": "unix:///var/run/docker.sock",     # how it was reached
     "pid": 812,                                   # of its dockerd, null when only its API is known
     "data": ...}                                  # the document, in the API's own field names, reduced to the fields below

or ``{"engine": ..., "problem": {"reason": ..., "detail": ...}}``. No engine on the host gives the empty list. ``data`` is

* ``info``, ``version``: one object;
* ``networks``: a list of objects;
* ``containers``: a list of inspect documents, stopped containers included. ``Config.Env`` is a list of names without values.
  A running container has ``proc``: the lines Uid, Gid, CapEff, CapBnd, NoNewPrivs and Seccomp of ``/proc/PID/status`` as
  ``{"Uid": "0\\t0\\t0\\t0", "NoNewPrivs": "0", ...}`` and ``uid_map`` as a list of ``[inside, outside, count]``, or
  ``{"problem": {...}}`` where the host can't be read;
* ``images``: a list of inspect documents.

An element of a list that could not be read is ``{"Id": ..., "problem": {...}}``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Document = Literal["info", "version", "networks", "containers", "images"]
DOCUMENTS: tuple[Document, ...] = get_args(Document)


@dataclass(frozen=True, slots=True)
class Engine:
    """Ask every Docker engine of the target for one document."""

    document: Document

    @property
    def key(self) -> str:
        """``engine:info`` and so on."""
        return f"engine:{self.document}"


#: What is kept of GET /info. Plugins, labels and registry credentials' names are not.
INFO_FIELDS = (
    "ID", "Name", "ServerVersion", "OperatingSystem", "OSType", "KernelVersion", "Architecture", "Driver", "DriverStatus",
    "DockerRootDir", "SecurityOptions", "LiveRestoreEnabled", "ExperimentalBuild", "LoggingDriver", "CgroupDriver",
    "CgroupVersion", "DefaultRuntime", "Swarm.LocalNodeState", "Swarm.ControlAvailable", "Swarm.NodeID", "Swarm.Cluster.ID",
    "Swarm.Cluster.Spec.EncryptionConfig", "Swarm.Cluster.Spec.CAConfig.NodeCertExpiry", "Swarm.Managers",
    "RegistryConfig.InsecureRegistryCIDRs", "RegistryConfig.IndexConfigs{}.Name", "RegistryConfig.IndexConfigs{}.Secure",
    "RegistryConfig.Mirrors", "Containers", "ContainersRunning", "Images", "Warnings", "Containerd.Address", "Debug",
    "DefaultAddressPools", "InitBinary", "Isolation", "Runtimes{}.path", "Plugins.Authorization",
)  # fmt: skip
VERSION_FIELDS = ("Version", "ApiVersion", "MinAPIVersion", "Os", "Arch", "GitCommit", "KernelVersion", "Components[].Name",
                  "Components[].Version")  # fmt: skip
NETWORK_FIELDS = ("Id", "Name", "Driver", "Scope", "EnableIPv6", "Internal", "Attachable", "Ingress", "Options")
CONTAINER_FIELDS = (
    "Id", "Name", "Image", "Created", "State.Status", "State.Running", "State.Pid", "State.StartedAt", "State.Health.Status",
    "RestartCount", "Platform", "AppArmorProfile", "ProcessLabel", "MountLabel",
    "Config.User", "Config.Image", "Config.Env", "Config.Healthcheck", "Config.ExposedPorts",
    "Mounts[].Type", "Mounts[].Name", "Mounts[].Source", "Mounts[].Destination", "Mounts[].RW", "Mounts[].Propagation",
    "Mounts[].Mode", "NetworkSettings.Ports", "NetworkSettings.Networks{}.NetworkID",
    *(f"HostConfig.{name}" for name in (
        "Binds", "Mounts", "NetworkMode", "PortBindings", "PublishAllPorts", "RestartPolicy", "CapAdd", "CapDrop", "CgroupnsMode",
        "IpcMode", "Cgroup", "OomScoreAdj", "OomKillDisable", "PidMode", "Privileged", "ReadonlyRootfs", "SecurityOpt", "UTSMode",
        "UsernsMode", "ShmSize", "Runtime", "Isolation", "CpuShares", "Memory", "MemorySwap", "MemoryReservation", "NanoCpus",
        "CgroupParent", "CpuPeriod", "CpuQuota", "CpusetCpus", "CpusetMems", "Devices", "DeviceRequests", "DeviceCgroupRules",
        "PidsLimit", "Ulimits", "MaskedPaths", "ReadonlyPaths", "LogConfig.Type", "Init", "Tmpfs", "GroupAdd",
    )),
)  # fmt: skip
IMAGE_FIELDS = (
    "Id", "RepoTags", "RepoDigests", "Parent", "Created", "Architecture", "Os", "Size", "Config.User", "Config.Healthcheck",
    "Config.ExposedPorts", "Config.Entrypoint", "Config.Cmd", "Config.Env", "RootFS.Layers", "Metadata.LastTagTime",
)  # fmt: skip
