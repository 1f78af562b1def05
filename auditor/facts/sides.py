"""What the sides of a cluster say about the same program of the same node: the host, the API, the API server itself.

`Sides` is derived from evidence of several targets, so no target is asked for it; see `auditor.correlate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from auditor.facts import flags
from auditor.facts.components import CONTROL_PLANE
from auditor.facts.host import Config, Files, Processes, System
from auditor.facts.kubernetes import Objects
from auditor.facts.nodeview import NodeView, flags_in_force
from auditor.model import Evidence, Facts, Problem

KUBELET_FILES = Config(process="kubelet", flag="--config", dropins="--config-dir")


@dataclass(frozen=True, slots=True)
class Sides:
    """Ask for what is known of every node from each side.

    Value: ``{"nodes": [node], "hosts": [host]}``. A node is ``{"node", "host": the target's name or null, "roles": [text],
    "own": [its names and addresses], "programs": [program], "kubelet": {"files": {...} or null, "configz": {...} or null}}``; a
    program is ``{"program", "process": [arguments] or null, "manifest": [arguments] or null, "answers": [arguments] or null (what
    the API server says of itself), "started": UNIX time, "written": UNIX time of its manifest or 0}``. A host is ``{"target",
    "node": name or null (it's no node of this cluster), "error": text or null}``.
    """

    @property
    def key(self) -> str:
        """The one name of this fact."""
        return "sides"


class Node(Protocol):
    """A node as one or both sides show it."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def api(self) -> NodeView | None: ...  # noqa: D102
    @property
    def host(self) -> Evidence | None: ...  # noqa: D102


def match(cluster: Facts, hosts: Sequence[Evidence]) -> list[str | None]:
    """Return which node of the cluster each host is, None for one that is none.

    A kubelet calls its node by ``--hostname-override``, else by the host's name; failing both the addresses tell.
    """
    nodes = cluster.get(Objects("nodes"))
    known: dict[str, frozenset[str]] = {}
    for node in nodes if isinstance(nodes, list) else ():
        addresses = node.get("status", {}).get("addresses", ())
        known[str(node.get("metadata", {}).get("name", ""))] = frozenset(str(a.get("address", "")) for a in addresses)
    taken: set[str] = set()
    found: list[str | None] = []
    for host in hosts:
        called = _called(host)
        name = next((n for n in called if n in known and n not in taken), None)
        if name is None:
            name = next((n for n, own in known.items() if n not in taken and host.target.address in own), None)
        if name is not None:
            taken.add(name)
        found.append(name)
    return found


def _called(host: Evidence) -> list[str]:
    names = []
    processes, system = host.get(Processes()), host.get(System())
    for process in [] if isinstance(processes, Problem) else processes:
        if process["name"] == "kubelet" and not process["contained"]:
            override = flags.text(process["args"], "--hostname-override", flags.KUBERNETES)
            names += [override] if isinstance(override, str) and override else []
    if not isinstance(system, Problem):
        hostname = str(system["hostname"]).lower()
        names += [hostname, hostname.partition(".")[0]]
    return [*names, host.target.name]


def compare(nodes: Sequence[Node], cluster: Facts, hosts: Sequence[Evidence]) -> dict[str, Any]:
    """Return the answer to `Sides`; ``hosts`` are all that the inventory names, audited or not."""
    answers = flags_in_force(cluster, empty=True)
    servers = sum(_args(_api(n), "kube-apiserver") is not None or _args(_host(n), "kube-apiserver") is not None for n in nodes)
    alone = answers if servers == 1 and isinstance(answers, list) else None
    listed = isinstance(cluster.get(Objects("nodes")), list)
    by_target = {n.host.target.name: n for n in nodes if n.host is not None}
    return {
        "nodes": [_node(n, alone) for n in nodes if n.name],
        "hosts": [
            {"target": h.target.name, "error": str(h.error) if h.error else None,
             "node": n.name if (n := by_target.get(h.target.name)) and n.api is not None else None}
            for h in hosts
        ] if listed else [],
    }  # fmt: skip


def _api(node: Node) -> Sequence[Mapping[str, Any]]:
    return node.api.processes if node.api is not None else ()


def _host(node: Node) -> Sequence[Mapping[str, Any]]:
    found = node.host.get(Processes()) if node.host is not None else []
    return [] if isinstance(found, Problem) else found


def _one(processes: Sequence[Mapping[str, Any]], program: str) -> Mapping[str, Any] | None:
    """Return the only running instance; of several none can be laid beside another side's."""
    mine = [p for p in processes if p["name"] == program and "unseen" not in p and "elsewhere" not in p]
    return mine[0] if len(mine) == 1 else None


def _args(processes: Sequence[Mapping[str, Any]], program: str) -> list[str] | None:
    found = _one(processes, program)
    return None if found is None else list(found["args"])


def _node(node: Node, answers: list[str] | None) -> dict[str, Any]:
    host, api = _host(node), _api(node)
    programs = []
    for program in (*CONTROL_PLANE, "kube-proxy", "kubelet"):
        process = _one(host, program)
        manifest = _args([p for p in api if p["contained"]], program)  # a mirror pod's
        if process is None and manifest is None:
            continue
        started = process["started"] if process else 0
        programs.append({
            "program": program, "process": list(process["args"]) if process else None, "manifest": manifest,
            "answers": answers if program == "kube-apiserver" else None, "started": started, "written": _written(node, program),
        })  # fmt: skip
    own = {node.name, *(node.api.addresses if node.api is not None else ())}
    return {
        "node": node.name,
        "host": node.host.target.name if node.host is not None else None,
        "roles": sorted({p["program"] for p in programs} - {"kubelet", "kube-proxy"}),
        "own": sorted(o for o in own if o),
        "programs": programs,
        "kubelet": {"files": _files(node, host), "configz": _live(node)},
    }  # fmt: skip


def _live(node: Node) -> dict[str, Any] | None:
    return dict(node.api.kubelet) if node.api is not None and node.api.kubelet else None


def _written(node: Node, program: str) -> int:
    found = node.host.get(Files(static_pod=program)) if node.host is not None else None
    if not isinstance(found, dict):
        return 0
    return max((f["mtime"] for f in found["files"] if "mtime" in f), default=0)


def _files(node: Node, host: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return what a kubelet's file and drop-ins say together, None when one of them can't be read."""
    kubelet = _one(host, "kubelet")
    answer = node.host.get(KUBELET_FILES) if node.host is not None else None
    if kubelet is None or not isinstance(answer, list):
        return None
    documents: list[dict[str, Any]] = next((a["documents"] for a in answer if a["pid"] == kubelet["pid"]), [])
    merged: dict[str, Any] = {}
    for document in documents:
        if "problem" in document or not isinstance(document["data"], dict):
            return None
        merged = _over(merged, document["data"])
    return merged or None


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _over(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
