"""What a target turned out to be: derived from its evidence alone."""

from __future__ import annotations

from typing import Any

from auditor.evidence import digest
from auditor.exposure import scanned_of
from auditor.facts.docker import Engine
from auditor.facts.host import Processes, System
from auditor.facts.kubernetes import Objects, Server
from auditor.facts.platforms import built_in, platform_of
from auditor.model import Evidence, Problem, TargetKind, TargetResult, TargetStatus
from auditor.seen import seen_of

#: Which running program gives a host which role.
ROLES = {
    "dockerd": "docker-engine",
    "kube-apiserver": "control-plane",
    "kube-controller-manager": "control-plane",
    "kube-scheduler": "control-plane",
    "etcd": "etcd",
    "kubelet": "worker",
    "k3s": "worker",
    "rke2": "worker",
    "kubelite": "worker",
}
#: The roles of a Kubernetes node.
KUBERNETES_ROLES = {"control-plane", "etcd", "worker"}


def roles_of(evidence: Evidence) -> tuple[str, ...]:
    """Return what runs on a target, in alphabetical order."""
    if evidence.target.transport == "kubernetes":
        return ()
    processes = evidence.get(Processes())
    if isinstance(processes, Problem):
        return ("docker-engine",) if evidence.target.transport == "docker" else ()
    hosted = {"dockerd", "kubelet"}  # inside a container these are somebody's workload, not the host's own
    here = [p for p in processes if "elsewhere" not in p and not (p["contained"] and p["name"] in hosted)]
    inside = {name for p in here for name in built_in(p)} - {p["name"] for p in processes if "elsewhere" in p}
    return tuple(sorted({ROLES[name] for name in inside | {p["name"] for p in here} if name in ROLES}))


def result_of(evidence: Evidence) -> TargetResult:
    """Return the target as results and reports show it."""
    target = evidence.target
    roles = roles_of(evidence)
    if target.transport == "kubernetes":
        kind = TargetKind.CLUSTER
    else:
        kind = TargetKind.NODE if KUBERNETES_ROLES & set(roles) else TargetKind.DOCKER_HOST
    audited = evidence.status is TargetStatus.AUDITED
    return TargetResult(
        target.name, kind, target.address, target.transport, roles, target.groups, evidence.status,
        str(evidence.error) if evidence.error else None, digest(evidence) if audited else None, evidence.collected_at,
        _lines(evidence) if audited else {}, seen_of(evidence) if audited else (), scanned_of(evidence) if audited else (),
    )  # fmt: skip


def _lines(evidence: Evidence) -> dict[str, str]:
    """A few lines about the target for the cover of its report."""
    lines: dict[str, str] = {}
    system: Any = evidence.get(System())
    if not isinstance(system, Problem):
        lines["system"] = system["os"]
        lines["kernel"] = system["kernel"]
        lines["host name"] = system["hostname"]
        lines["account"] = _ACCOUNT[system["become"]].format(**system) if system["become"] in _ACCOUNT else system["user"]
    processes: Any = evidence.get(Processes())
    told = None if isinstance(processes, Problem) else platform_of(processes)
    if told is not None:
        data = next((p["data_dir"] for p in processes if p["name"] == told[0].program and p.get("data_dir")), "")
        lines["platform"] = f"{told[0].name} ({told[1]}{f'; data in {data}' if data else ''})"
    versions = evidence.get(Engine("version"))
    if isinstance(versions, list):
        found = [str(v["data"].get("Version", "?")) for v in versions if v.get("data")]
        if found:
            lines["Docker engine"] = ", ".join(found)
    for what, kind in (("containers", "containers"), ("images", "images")):
        listed = evidence.get(Engine(kind))  # type: ignore[arg-type]
        if isinstance(listed, list) and listed:
            lines[what] = str(sum(len(e.get("data") or ()) for e in listed))
    server: Any = evidence.get(Server())
    if not isinstance(server, Problem):
        if server.get("account"):
            lines["account"] = str(server["account"])
        lines["Kubernetes"] = str(server.get("gitVersion", "?"))
        for kind in ("nodes", "namespaces", "pods"):
            objects = evidence.get(Objects(kind))
            if isinstance(objects, list):
                lines[kind] = str(sum(o.get("count", 1) for o in objects))
    return lines


_ACCOUNT = {
    "root": "{user}",
    "sudo": "{user} (root by sudo)",
    "denied": "{user} without root: sudo refused ({become_detail})",
    "nosudo": "{user} without root: there is no sudo",
    "none": "{user}",
}
