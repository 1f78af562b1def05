"""Kubernetes platforms as data: how each is told, which programs it runs inside others, where it keeps what no flag names.

A new platform is a new entry of `PLATFORMS`. What a running program was told always goes before these tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
_NODE = ("kubelet", "kube-proxy")
MANIFEST, UNIT = "static pod manifest", "kubelet.service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """One way of running Kubernetes.

    It is told by a running ``program``, else by one of ``signs`` in an argument of a kubelet or an API server. ``flags`` says where
    the arguments of its programs are found. ``inside`` maps a command of ``program`` ("" for any) to the programs that are built
    into it. ``places`` maps kinds of files to paths that no flag names, ``@`` being the data folder. ``without`` says of a program
    or of `MANIFEST` or `UNIT` why there is none.
    """

    name: str
    program: str = ""
    signs: tuple[str, ...] = ()
    flags: str = "command lines"
    inside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    without: Mapping[str, str] = field(default_factory=dict)


def _managed(service: str) -> Mapping[str, str]:
    why = f"the control plane of {service} is the provider's: nothing of it is on the cluster's nodes"
    return dict.fromkeys((*_CONTROL_PLANE, "etcd", MANIFEST), why)


def _inside(program: str) -> Mapping[str, str]:
    return {
        MANIFEST: f"{program} has it built in and starts no static pod for it",
        UNIT: f"the kubelet runs inside {program} and has no unit of its own",
    }


#: Where k3s and RKE2 alike keep files below their data folder.
_RANCHER: Mapping[str, tuple[str, ...]] = {
    "scheduler-kubeconfig": ("@/server/cred/scheduler.kubeconfig",),
    "controller-manager-kubeconfig": ("@/server/cred/controller.kubeconfig",),
    "kubelet-kubeconfig": ("@/agent/kubelet.kubeconfig",),
    "kube-proxy-kubeconfig": ("@/agent/kubeproxy.kubeconfig",),
    "kubelet-client-ca": ("@/agent/client-ca.crt",),
    "pki": ("@/server/tls",),
    "cni": ("@/agent/etc/cni/net.d",),
}

PLATFORMS = (
    Platform(
        name="k3s",
        program="k3s",
        flags="what k3s says in its log when it starts them",
        inside={"server": (*_CONTROL_PLANE, "etcd", *_NODE), "agent": _NODE},
        places={"admin-kubeconfig": ("/etc/rancher/k3s/k3s.yaml", "@/server/cred/admin.kubeconfig"), **_RANCHER},
        without=_inside("k3s"),
    ),
    Platform(
        name="RKE2",
        program="rke2",
        places={"admin-kubeconfig": ("/etc/rancher/rke2/rke2.yaml", "@/server/cred/admin.kubeconfig"), **_RANCHER},
        without={UNIT: "rke2 starts the kubelet itself, which has no unit of its own"},
    ),
    Platform(
        name="microk8s",
        program="kubelite",
        flags="files that kubelite's arguments name",
        inside={"": (*_CONTROL_PLANE, *_NODE)},
        places={
            "admin-kubeconfig": ("@/credentials/client.config",),
            "scheduler-kubeconfig": ("@/credentials/scheduler.config",),
            "controller-manager-kubeconfig": ("@/credentials/controller.config",),
            "kubelet-kubeconfig": ("@/credentials/kubelet.config",),
            "kube-proxy-kubeconfig": ("@/credentials/proxy.config",),
            "kubelet-client-ca": ("@/certs/ca.crt",),
            "pki": ("@/certs",),
            "cni": ("@/args/cni-network",),
        },
        without={**_inside("kubelite"), "etcd": "microk8s keeps its state in dqlite (k8s-dqlite), not in etcd"},
    ),
    Platform(
        name="OpenShift",
        signs=("node.openshift.io/", "--openshift-config=", "--config=/etc/kubernetes/kubelet.conf"),
        places={
            "admin-kubeconfig": tuple(
                f"/etc/kubernetes/static-pod-resources/kube-apiserver-certs/secrets/node-kubeconfigs/{name}.kubeconfig"
                for name in ("localhost", "localhost-recovery", "lb-ext", "lb-int")
            ),
            "cni": ("/etc/kubernetes/cni/net.d", "/run/multus/cni/net.d"),
        },
    ),
    Platform(
        name="EKS",
        signs=(
            "eks.amazonaws.com/",
            "/etc/eks/",
            "/etc/kubernetes/kubelet/config.json",
            "/etc/kubernetes/kubelet/kubelet-config.json",
        ),
        without=_managed("EKS"),
    ),
    Platform(
        name="GKE",
        signs=("cloud.google.com/gke-", "/home/kubernetes/kubelet-config.yaml"),
        without=_managed("GKE"),
    ),
    Platform(
        name="AKS",
        signs=("kubernetes.azure.com/", "--cloud-config=/etc/kubernetes/azure.json"),
        without=_managed("AKS"),
    ),
    Platform(
        name="Talos",
        signs=("--config=/etc/kubernetes/kubelet.yaml", "/etc/kubernetes/kubeconfig-kubelet"),
        without={MANIFEST: "the kubelet gets its static pods from Talos, not from files", UNIT: "Talos has no systemd"},
    ),
    Platform(
        name="kubeadm",
        signs=("/etc/kubernetes/bootstrap-kubelet.conf", "/etc/kubernetes/pki/apiserver.crt"),
        places={
            "admin-kubeconfig": ("/etc/kubernetes/admin.conf", "/etc/kubernetes/super-admin.conf"),
            "cni": ("/etc/cni/net.d", "/var/lib/cni/networks"),
        },
    ),
)
#: Arguments with which a program takes further settings from what is not read here, and what that is.
_MORE_IN = {"--openshift-config": "settings in the file that --openshift-config names, which isn't read, add to its flags"}
_TELLING = ("kubelet", "kube-apiserver")


def platform_of(processes: Iterable[Mapping[str, Any]]) -> tuple[Platform, str] | None:
    """Return the platform that running programs (a `Processes` answer) tell of, and by what; None when nothing does."""
    own = [p for p in processes if "elsewhere" not in p and not (p["contained"] and p["name"] not in _CONTROL_PLANE)]
    for platform in PLATFORMS:
        for process in own:
            if platform.program and process["name"] == platform.program:
                return platform, f"{platform.program} runs"
            told = process["name"] in _TELLING and next((a for a in process["args"] for s in platform.signs if s in a), None)
            if told:
                return platform, f"{told} of {process['name']}"
    return None


def built_in(process: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the programs that run inside this one."""
    if process["contained"]:
        return ()  # a cluster within a container is somebody's workload
    for platform in PLATFORMS:
        if platform.program == process["name"]:
            command = next((a for a in process["args"] if a), "")
            return platform.inside.get(command, platform.inside.get("", ()))
    return ()


def without(processes: Iterable[Mapping[str, Any]], what: str) -> str:
    """Return why a platform has no such program, manifest or unit; empty where it has, or when there is no platform."""
    found = platform_of(processes)
    return found[0].without.get(what, "") if found else ""


def partial(process: Mapping[str, Any]) -> str:
    """Return why flags that a program wasn't given are not known to be unset, empty when they are."""
    said = next((why for flag, why in _MORE_IN.items() for a in process["args"] if a.partition("=")[0] == flag), "")
    return str(process.get("partial", "")) or said


def places() -> str:
    """Return the tables of paths as the script takes them: lines of a kind, the program it goes with (``-``: any) and a path."""
    rows = [(kind, p.program or "-", path) for p in PLATFORMS for kind, paths in p.places.items() for path in paths]
    return "\n".join(" ".join(row) for row in rows) + "\n"
