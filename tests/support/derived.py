"""What engines from 23 to 29, and podman, say instead of what the recorded 20.10.24 says.

``python -m tests.support.derived`` writes the documents to ``tests/recorded/docker``. They are derived, not recorded: each step
is a change that moby's API change log (or its source, at the tag of that version) documents.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "recorded" / "docker"
RECORDED = "engine-20.10-api.json"
KEPT = ("/good", "/priv", "/hostnet", "/created")
Documents = dict[str, Any]


def base() -> Documents:
    """Return the recorded documents with a few of their containers and the images of these."""
    api = json.loads((FOLDER / RECORDED).read_text())
    containers = [c for c in api["containers"].values() if c["Name"] in KEPT]
    used = {c["Image"] for c in containers}
    return {
        "header": "", "info": api["info"], "version": api["version"], "networks": api["networks"], "volumes": api["volumes"],
        "containers": sorted(containers, key=lambda c: str(c["Name"])),
        "images": sorted((i for i in api["images"].values() if i["Id"] in used), key=lambda i: str(i["RepoTags"])),
        "proc": {c["Id"]: api["proc"][c["Id"]] for c in containers if c["Id"] in api["proc"]},
    }  # fmt: skip


def _version(documents: Documents, engine: str, api: str, least: str) -> None:
    documents["info"]["ServerVersion"] = engine
    told = documents["version"]
    told |= {"Version": engine, "ApiVersion": api, "MinAPIVersion": least}
    told["Components"][0] |= {"Version": engine}
    told["Components"][0]["Details"] |= {"ApiVersion": api, "MinAPIVersion": least}


def _drop(value: dict[str, Any], *names: str, empty_only: bool = False) -> None:
    for name in names:
        if name in value and not (empty_only and value[name]):
            del value[name]


def _to_23(d: Documents) -> None:
    _version(d, "23.0.6", "1.42", "1.12")
    info = d["info"]
    info["SecurityOptions"] = ["name=seccomp,profile=builtin", "name=cgroupns"]
    info |= {"CgroupDriver": "systemd", "CgroupVersion": "2", "OomKillDisable": False}  # a host with cgroup v2
    _drop(info, "KernelMemory", "KernelMemoryTCP")
    del info["Runtimes"]["io.containerd.runtime.v1.linux"]
    for container in d["containers"]:
        container["HostConfig"]["CgroupnsMode"] = "host" if container["HostConfig"]["Privileged"] else "private"
        container["HostConfig"]["OomKillDisable"] = None
        _drop(container["HostConfig"], "KernelMemory", "KernelMemoryTCP")


def _to_24(d: Documents) -> None:
    _version(d, "24.0.9", "1.43", "1.12")
    for container in d["containers"]:
        if container["HostConfig"]["MaskedPaths"]:
            container["HostConfig"]["MaskedPaths"].append("/sys/devices/virtual/powercap")


def _to_25(d: Documents) -> None:
    _version(d, "25.0.5", "1.44", "1.24")
    d["info"]["CDISpecDirs"] = []
    for runtime in d["info"]["Runtimes"].values():
        runtime["status"] = {"org.opencontainers.runtime-spec.features": "{}"}
    for image in d["images"]:
        _drop(image, "VirtualSize")
    for container in d["containers"]:
        for network in container["NetworkSettings"]["Networks"].values():
            network["DNSNames"] = None


def _to_26(d: Documents) -> None:
    _version(d, "26.1.4", "1.45", "1.24")
    for image in d["images"]:
        _drop(image, "Container", "ContainerConfig")
    for container in d["containers"]:
        if container["HostConfig"]["NetworkMode"] == "default":
            container["HostConfig"]["NetworkMode"] = "bridge"


def _to_27(d: Documents) -> None:
    _version(d, "27.5.1", "1.47", "1.24")
    namespaces = {"Containers": "moby", "Plugins": "plugins.moby"}
    d["info"]["Containerd"] = {"Address": "/run/containerd/containerd.sock", "Namespaces": namespaces}
    for image in d["images"]:
        image["Config"] |= {"Hostname": "", "Domainname": "", "Image": ""}


def _to_28(d: Documents) -> None:
    _version(d, "28.5.2", "1.51", "1.24")
    info, registry = d["info"], d["info"]["RegistryConfig"]
    registry["InsecureRegistryCIDRs"] = ["::1/128", "127.0.0.0/8"]
    _drop(registry, "AllowNondistributableArtifactsCIDRs", "AllowNondistributableArtifactsHostnames")
    _drop(info, "BridgeNfIptables", "BridgeNfIp6tables")
    for name in ("ContainerdCommit", "RuncCommit", "InitCommit"):
        _drop(info[name], "Expected")
    info |= {"FirewallBackend": {"Driver": "iptables"}, "DiscoveredDevices": []}
    for network in d["networks"]:
        network["EnableIPv4"] = True
    for image in d["images"]:
        _drop(image["Config"], "Hostname", "Domainname", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin",
              "StdinOnce", "Image")  # fmt: skip


def _to_29(d: Documents) -> None:
    _version(d, "29.1.3", "1.52", "1.44")
    info = d["info"]
    # A fresh installation keeps images in containerd.
    info |= {"Driver": "overlayfs", "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}
    for image in d["images"]:
        _drop(image["Config"], "Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "User", "Volumes", "WorkingDir", empty_only=True)
        _drop(image, "Parent", "Comment", "DockerVersion", "Author")
        _drop(image, "GraphDriver")
        media = "application/vnd.oci.image.manifest.v1+json"
        image["Descriptor"] = {"mediaType": media, "digest": image["Id"], "size": 480}
    for container in d["containers"]:
        _drop(container["Config"], "OnBuild", empty_only=True)
        _drop(container["NetworkSettings"], "Bridge", "HairpinMode", "LinkLocalIPv6Address", "LinkLocalIPv6PrefixLen",
              "SecondaryIPAddresses", "SecondaryIPv6Addresses", "EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen",
              "IPAddress", "IPPrefixLen", "IPv6Gateway", "MacAddress")  # fmt: skip
        _drop(container, "GraphDriver")
        container["Storage"] = {"RootFS": {"Snapshot": {"Name": "overlayfs"}}}
        container["ImageManifestDescriptor"] = {"mediaType": media, "digest": container["Image"], "size": 480}


STEPS: dict[str, Callable[[Documents], None]] = {
    "23.0": _to_23, "24.0": _to_24, "25.0": _to_25, "26.1": _to_26, "27.5": _to_27, "28.5": _to_28, "29.1": _to_29,
}  # fmt: skip


def podman(d: Documents) -> Documents:
    """Return what podman's own compatible socket says (pkg/api/handlers/compat): much of it is fixed."""
    _version(d, "5.4.0", "1.41", "1.24")
    version = d["version"]
    version["Components"] = [{"Name": "Podman Engine", "Version": "5.4.0"}, {"Name": "Conmon", "Version": "2.1.12"}]
    info = d["info"]
    for name in ("Isolation", "InitBinary", "LoggingDriver"):
        info[name] = ""
    info |= {"ExperimentalBuild": True, "LiveRestoreEnabled": False, "DockerRootDir": "/var/lib/containers/storage", "Driver": "overlay",
             "BuildahVersion": "1.39.0", "Rootless": False, "SecurityOptions": ["name=seccomp,profile=default"], "CgroupVersion": "2",
             "CgroupDriver": "systemd", "DefaultRuntime": "crun", "Runtimes": {"crun": {"path": "/usr/bin/crun"}}, "Warnings": [],
             "Plugins": {"Volume": ["local"], "Network": ["bridge", "macvlan", "ipvlan"], "Authorization": None, "Log": ["journald"]}}  # fmt: skip
    info["RegistryConfig"] |= {"InsecureRegistryCIDRs": [], "IndexConfigs": {}}
    d["networks"] = [{**copy.deepcopy(d["networks"][1]), "Name": "podman", "Options": {}}]
    for container in d["containers"]:
        host = container["HostConfig"]
        host |= {"CapAdd": host["CapAdd"] or [], "CapDrop": [], "SecurityOpt": host["SecurityOpt"] or [], "IpcMode": "shareable",
                 "PidMode": "private", "UTSMode": "private", "CgroupnsMode": "private", "PidsLimit": host["PidsLimit"] or 2048,
                 "Runtime": "oci"}  # fmt: skip
        if host["NetworkMode"] == "default":
            host["NetworkMode"] = "bridge"
    d["header"] = "Derived, not recorded: the engine 20.10.24's documents, changed to what podman's source makes of its own."
    return d


def derive() -> dict[str, Documents]:
    """Return file name -> documents."""
    found: dict[str, Documents] = {}
    documents = base()
    for version, step in STEPS.items():
        documents = copy.deepcopy(documents)
        step(documents)
        documents["header"] = f"Derived, not recorded: {RECORDED} with the changes that moby documents up to Engine {version}."
        found[f"engine-{version}-derived.json"] = documents
    found["podman-derived.json"] = podman(copy.deepcopy(base()))
    return found


def text(documents: Documents) -> str:
    """Return documents as they are written."""
    return json.dumps(documents, separators=(",", ":"), sort_keys=True).replace("},", "},\n") + "\n"


if __name__ == "__main__":
    for name, documents in derive().items():
        (FOLDER / name).write_text(text(documents))
