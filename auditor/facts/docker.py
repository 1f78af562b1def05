r"""Facts about Docker engines. A host's script and the Engine API give the same values.

The value of an `Engine` fact is a list with one entry an engine::

    {"engine": "unix:///var/run/docker.sock",     # how it was reached
     "pid": 812,                                   # of its dockerd, null when only its API is known
     "data": ...}                                  # the document, in the API's own field names, reduced to the fields below

or ``{"engine": ..., "problem": {"reason": ..., "detail": ...}}``. No engine on the host gives the empty list. ``data`` is

* ``info``, ``version``: one object;
* ``networks``, ``volumes``: a list of objects;
* ``containers``: a list of inspect documents, stopped containers included. ``Config.Env`` is a list of names without values.
  A running container has ``proc``: the lines Uid, Gid, CapEff, CapBnd, NoNewPrivs and Seccomp of ``/proc/PID/status`` as
  ``{"Uid": "0\t0\t0\t0", "NoNewPrivs": "0", ...}`` and ``uid_map`` as a list of ``[inside, outside, count]``, or
  ``{"problem": {...}}`` where the host can't be read;
* ``images``: a list of inspect documents. Of the labels those in `IMAGE_LABELS` are kept; ``secrets`` tells by name and kind which
  variables, labels and commands hold what looks like one.

An element of a list that could not be read is ``{"Id": ..., "problem": {...}}``. Fields that are null are left out.

Redacted by `reduce`: values of environment variables, commands (only their first word is kept), health checks' commands,
seccomp profiles (a digest is kept), labels but a swarm's and Compose's, and credentials in URLs and driver options.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import msgspec

from auditor.facts.image_secrets import of_config
from auditor.facts.projection import decoder, shallow
from auditor.facts.redact import REDACTED, redact_data, redact_text

Document = Literal["info", "version", "networks", "volumes", "containers", "images"]
DOCUMENTS: tuple[Document, ...] = get_args(Document)


@dataclass(frozen=True, slots=True)
class Engine:
    """Ask every Docker engine of the target for one document."""

    document: Document

    @property
    def key(self) -> str:
        """``engine:info`` and so on."""
        return f"engine:{self.document}"


#: The labels of a container that are kept: they tell what made it, a swarm or a Compose project. Others may hold anything.
LABELS = (
    "com.docker.swarm.service.id", "com.docker.swarm.service.name", "com.docker.compose.project", "com.docker.compose.service",
)  # fmt: skip
#: Stands behind the digest of a seccomp profile that filters nothing.
ALLOWS_ALL = "allows all"
#: What is kept of GET /info. Plugins, labels and registry credentials' names are not.
INFO_FIELDS = (
    "ID", "Name", "ServerVersion", "OperatingSystem", "OSType", "KernelVersion", "Architecture", "Driver", "DriverStatus",
    "DockerRootDir", "SecurityOptions", "LiveRestoreEnabled", "ExperimentalBuild", "LoggingDriver", "CgroupDriver",
    "CgroupVersion", "DefaultRuntime", "Swarm.LocalNodeState", "Swarm.ControlAvailable", "Swarm.NodeID", "Swarm.Cluster.ID",
    "Swarm.Cluster.Spec.EncryptionConfig", "Swarm.Cluster.Spec.CAConfig.NodeCertExpiry", "Swarm.Managers",
    "RegistryConfig.InsecureRegistryCIDRs", "RegistryConfig.IndexConfigs{}.Name", "RegistryConfig.IndexConfigs{}.Secure",
    "RegistryConfig.Mirrors", "Containers", "ContainersRunning", "Images", "Warnings", "Containerd.Address", "Debug",
    "DefaultAddressPools", "InitBinary", "Isolation", "Runtimes{}.path", "Plugins.Authorization", "SystemTime",
    "BuildahVersion",  # only podman says this
)  # fmt: skip
VERSION_FIELDS = ("Version", "ApiVersion", "MinAPIVersion", "Os", "Arch", "GitCommit", "KernelVersion", "Components[].Name",
                  "Components[].Version")  # fmt: skip
VOLUME_FIELDS = ("Name", "Driver", "Scope", "Options")
NETWORK_FIELDS = ("Id", "Name", "Driver", "Scope", "EnableIPv6", "Internal", "Attachable", "Ingress", "Options")
CONTAINER_FIELDS = (
    "Id", "Name", "Image", "Created", "State.Status", "State.Running", "State.Restarting", "State.Pid", "State.StartedAt",
    "State.FinishedAt", "State.Health.Status", "RestartCount", "Platform", "AppArmorProfile", "ProcessLabel", "MountLabel",
    "Config.User", "Config.Image", "Config.Env", "Config.Healthcheck", "Config.ExposedPorts", "Config.Labels",
    "Mounts[].Type", "Mounts[].Name", "Mounts[].Source", "Mounts[].Destination", "Mounts[].RW", "Mounts[].Propagation",
    "Mounts[].Mode", "Mounts[].Driver", "NetworkSettings.Ports", "NetworkSettings.Networks{}.NetworkID",
    *(f"HostConfig.{name}" for name in (
        "Binds", "Mounts[].Type", "Mounts[].Source", "Mounts[].Target", "Mounts[].ReadOnly", "Mounts[].BindOptions",
        "Mounts[].VolumeOptions.DriverConfig", "VolumeDriver", "VolumesFrom", "NetworkMode", "PortBindings", "PublishAllPorts",
        "RestartPolicy", "CapAdd", "CapDrop", "CgroupnsMode", "IpcMode", "Cgroup", "OomScoreAdj", "OomKillDisable", "PidMode",
        "Privileged", "ReadonlyRootfs", "SecurityOpt", "UTSMode", "UsernsMode", "ShmSize", "Runtime", "Isolation", "CpuShares",
        "Memory", "MemorySwap", "MemoryReservation", "NanoCpus", "CgroupParent", "CpuPeriod", "CpuQuota", "CpusetCpus",
        "CpusetMems", "Devices", "DeviceRequests", "DeviceCgroupRules", "PidsLimit", "Ulimits", "MaskedPaths", "ReadonlyPaths",
        "LogConfig.Type", "Init", "Tmpfs", "GroupAdd",
    )),
)  # fmt: skip
IMAGE_FIELDS = (
    "Id", "RepoTags", "RepoDigests", "Parent", "Created", "Architecture", "Os", "Size", "Config.User", "Config.Healthcheck",
    "Config.ExposedPorts", "Config.Entrypoint", "Config.Cmd", "Config.Env", "Config.Labels", "RootFS.Layers",
    "Metadata.LastTagTime", "GraphDriver.Name", "GraphDriver.Data.LowerDir", "GraphDriver.Data.UpperDir",
)  # fmt: skip
#: Labels that are kept: what an image says of its origin.
IMAGE_LABELS = tuple(f"org.opencontainers.image.{name}" for name in ("base.name", "base.digest", "source", "vendor"))

_FIELDS: dict[Document, tuple[str, ...]] = {
    "info": INFO_FIELDS, "version": VERSION_FIELDS, "networks": NETWORK_FIELDS, "volumes": VOLUME_FIELDS,
    "containers": CONTAINER_FIELDS, "images": IMAGE_FIELDS,
}  # fmt: skip


def fields(document: Document) -> tuple[str, ...]:
    """Return the fields that are kept of a document (of each element, where it is a list), as `projection` writes them."""
    return _FIELDS[document]


#: What checks rely on: these fields have these types, or the document is refused.
_TYPES: dict[Document, dict[str, type]] = {
    "info": {"ServerVersion": str, "SecurityOptions": list, "LiveRestoreEnabled": bool, "Swarm.LocalNodeState": str},
    "version": {"Version": str},
    "networks": {"Id": str, "Name": str, "Options": dict},
    "volumes": {"Name": str, "Driver": str, "Options": dict},
    "containers": {
        "Id": str, "Name": str, "Image": str, "Created": str, "State.Running": bool, "State.Pid": int, "AppArmorProfile": str,
        "ProcessLabel": str, "MountLabel": str, "Config.User": str, "Config.Image": str, "Config.Env": list, "Config.Labels": dict,
        "HostConfig.RestartPolicy": dict,
        **{f"HostConfig.{name}": str for name in ("NetworkMode", "IpcMode", "PidMode", "UTSMode", "UsernsMode", "CgroupParent")},
        **{f"HostConfig.{name}": bool for name in ("Privileged", "ReadonlyRootfs", "PublishAllPorts")},
        **{f"HostConfig.{name}": int for name in ("CpuShares", "Memory", "NanoCpus", "CpuQuota", "PidsLimit")},
        **{f"HostConfig.{name}": list for name in (
            "Binds", "CapAdd", "CapDrop", "SecurityOpt", "Devices", "DeviceRequests", "DeviceCgroupRules", "Ulimits",
        )},
    },
    "images": {"Id": str, "RepoTags": list, "Config.User": str, "Config.Env": list, "Config.Healthcheck": dict,
               "Config.Labels": dict, "RepoDigests": list, "RootFS.Layers": list, "GraphDriver.Data.LowerDir": str,
               "GraphDriver.Data.UpperDir": str},
}  # fmt: skip
#: The same, each path with its parts.
_TYPED = {document: tuple((path, path.split("."), kind) for path, kind in types.items()) for document, types in _TYPES.items()}
#: Without these a document is not what it claims to be; what they hold would otherwise read as a harmless default.
_REQUIRED: dict[Document, tuple[str, ...]] = {
    "info": ("ServerVersion",), "version": ("Version",), "networks": ("Id", "Name"), "volumes": ("Name",),
    "containers": ("Id", "State", "Config", "HostConfig"), "images": ("Id",),
}  # fmt: skip

_PARTS = shallow(msgspec.json.Decoder(dict[str, msgspec.Raw]).decode)
_ANYTHING = shallow(msgspec.json.Decoder(Any).decode)


def reduce(document: Document, raw: bytes) -> Any:
    """Return the raw JSON of one answer of an engine, reduced to the declared fields and redacted.

    ``raw`` is the body of GET /info, /version, /networks or /volumes, or the inspect document of ONE container or ONE image;
    what the docker command line prints in their place (``docker info --format '{{json .}}'``, an element of
    ``docker inspect``) is accepted too. Raises ValueError when it is something else, such as an error message.
    """
    if document == "version":
        raw = _part(raw, "Server")
    elif document == "volumes":
        raw = _part(raw, "Volumes") or b"[]"
    many = document in ("networks", "volumes")
    value = decoder(_FIELDS[document], many=many)(raw)
    elements: list[dict[str, Any]] = value if many else [value]
    for element in elements:
        _verify(document, element, raw)
        _REDACT[document](element)
        if isinstance(element.get("Mounts"), list):
            element["Mounts"].sort(key=lambda mount: str(mount.get("Destination")))
    if many:
        elements.sort(key=lambda element: str(element["Name"]))  # the engine tells them in a new order each time
    return value


def _part(raw: bytes, name: str) -> bytes:
    """Return the raw value of one key of an object, the whole when it isn't an object or lacks the key."""
    try:
        whole = _PARTS(raw)
    except msgspec.ValidationError:
        return raw
    if name not in whole:
        return raw
    part = bytes(whole[name])
    return b"" if part == b"null" and name == "Volumes" else part


def _verify(document: Document, element: dict[str, Any], raw: bytes) -> None:
    for name in _REQUIRED[document]:
        if element.get(name) in (None, ""):
            raise ValueError(_message(raw) or f"is not a document of this kind: it has no {name}")
    for path, parts, kind in _TYPED[document]:
        value: Any = element
        for part in parts:
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None and type(value) is not kind:
            raise ValueError(f"{path} is not of the type {kind.__name__}")
        if isinstance(value, list) and not all(isinstance(item, str | dict) for item in value):
            raise ValueError(f"{path} holds something else than text and objects")


def _message(raw: bytes) -> str:
    """What an engine or the docker command line says instead of an answer."""
    try:
        said = _ANYTHING(raw)
    except ValueError:
        return ""
    if not isinstance(said, dict):
        return ""
    errors = said.get("ServerErrors") or [said.get("message") or ""]
    text = str(errors[0]) if isinstance(errors, list) else ""
    return f"the engine gave no answer but: {redact_text(text)[:300]}" if text else ""


def _redact_info(info: dict[str, Any]) -> None:
    for place, name in ((info, "Warnings"), (info, "DriverStatus"), (info.get("RegistryConfig", {}), "Mirrors")):
        if name in place:
            place[name] = redact_data(place[name])


def _redact_options(element: dict[str, Any]) -> None:
    if "Options" in element:
        element["Options"] = redact_data(element["Options"])


def _redact_config(config: dict[str, Any]) -> None:
    """Names of environment variables, first words of commands."""
    if "Env" in config:
        config["Env"] = [str(entry).partition("=")[0] for entry in config["Env"]]
    for name in ("Entrypoint", "Cmd"):
        if name in config:
            words = config[name] if isinstance(config[name], list) else str(config[name]).split()
            config[name] = [redact_text(str(word)) for word in words[:1]] + [REDACTED] * (len(words) > 1)
    test = config.get("Healthcheck", {})
    if isinstance(test, dict) and isinstance(test.get("Test"), list):
        test["Test"] = [redact_text(str(word)) for word in test["Test"][:1]] + [REDACTED] * (len(test["Test"]) > 1)


def _redact_container(container: dict[str, Any]) -> None:
    _redact_config(container["Config"])
    if "Labels" in container["Config"]:
        labels = container["Config"]["Labels"]
        container["Config"]["Labels"] = {k: labels[k] for k in LABELS if k in labels}
    host = container["HostConfig"]
    if "SecurityOpt" in host:
        host["SecurityOpt"] = [_security_option(str(option)) for option in host["SecurityOpt"]]
    for mount in host.get("Mounts", ()):
        if "VolumeOptions" in mount:
            mount["VolumeOptions"] = redact_data(mount["VolumeOptions"])


def _security_option(option: str) -> str:
    """A custom seccomp profile stands in the option as a whole; its digest tells it from another."""
    for sign in ("seccomp=", "seccomp:"):
        profile = option.removeprefix(sign)
        if profile != option and profile.lstrip().startswith("{"):
            empty = f" {ALLOWS_ALL}" if _allows_all(profile) else ""
            return f"{sign}[profile sha256:{hashlib.sha256(profile.encode()).hexdigest()[:16]}{empty}]"
    return option


def _allows_all(profile: str) -> bool:
    """Whether a seccomp profile lets every system call through: by default, and no rule says otherwise."""
    try:
        parsed = shallow(msgspec.json.Decoder(_Profile).decode)(profile.encode("utf-8", "replace"))
    except ValueError:
        return False
    harmless = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
    return parsed.defaultAction in harmless and all(rule.action in harmless for rule in parsed.syscalls or ())


class _Rule(msgspec.Struct):
    action: str = ""


class _Profile(msgspec.Struct):
    """What is read of a seccomp profile."""

    defaultAction: str = ""  # noqa: N815 - the profile's own word
    syscalls: list[_Rule] | None = None


def _redact_image(image: dict[str, Any]) -> None:
    config = image.get("Config")
    if config is not None:
        if secrets := of_config(config):
            image["secrets"] = secrets
        labels = config.pop("Labels", None) or {}
        if kept := {name: redact_text(str(labels[name])) for name in IMAGE_LABELS if name in labels}:
            config["Labels"] = kept
        _redact_config(config)


def _nothing(_: dict[str, Any]) -> None:
    """Versions hold nothing secret."""


_REDACT: dict[Document, Callable[[dict[str, Any]], None]] = {
    "info": _redact_info, "version": _nothing, "networks": _redact_options, "volumes": _redact_options,
    "containers": _redact_container, "images": _redact_image,
}  # fmt: skip
