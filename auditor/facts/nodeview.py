"""A cluster's nodes as its API shows them: the same facts that a host's shell answers, as far as they can be had.

So every check about a node can judge both sides. What the API doesn't show is a `Problem`, never a guess: a program that must be
there but can't be seen is in `Processes` as *unseen*.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from auditor.facts import flags
from auditor.facts.components import CONTROL_PLANE, ApiServerFlags, KubeletConfigs
from auditor.facts.host import NODE_FILES, Config, Files, Processes
from auditor.facts.kubernetes import Objects, Server
from auditor.facts.node import KubernetesVersion
from auditor.facts.redact import REDACTED
from auditor.model import Fact, Facts, Problem, Reason, problem_of

#: The facts of a cluster that views of its nodes are made of.
ENDPOINTS = Objects("apiserver-endpoints")
NEEDED: frozenset[Fact] = frozenset(
    {Objects("nodes"), Objects("components"), ApiServerFlags(), KubeletConfigs(), Server(), ENDPOINTS}
)
#: Managed services, by what their nodes' provider or the server's version says.
_MANAGED = (("-eks-", "aws://", "EKS"), ("-gke.", "gce://", "GKE"), ("", "azure://", "AKS"))
_CONTROL_PLANE_LABELS = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
_ETCD_LABEL = "node-role.kubernetes.io/etcd"  # of k3s and RKE2, where etcd runs inside the server or beside it
_SERVER_LABELS = (*_CONTROL_PLANE_LABELS, "node-role.kubernetes.io/controlplane", _ETCD_LABEL)
#: Where what k3s and RKE2 were told to give a program was read.
GIVEN = "annotation node-args"
_NO_FILES = "files of a node can't be seen over the API: they take SSH to the node's host"
_CONFIGZ = "configz"
#: What stands in /flagz for a value that is not shown to anybody.
_CLASSIFIED = "CLASSIFIED"
#: What every kubelet tells of itself, whatever its settings are: an answer without these isn't its whole configuration.
_ALWAYS_CONFIGURED = ("authentication.anonymous.enabled", "authentication.webhook.enabled", "authorization.mode", "eventRecordQPS",
                      "makeIPTablesUtilChains", "podPidsLimit", "streamingConnectionIdleTimeout")  # fmt: skip
#: What every API server tells of itself, set or not.
_ALWAYS_FLAGS = ("anonymous-auth", "authorization-mode", "client-ca-file", "disable-admission-plugins", "enable-admission-plugins",
                 "profiling", "tls-cert-file", "token-auth-file")  # fmt: skip
_ANSWERED = "/flagz of the API server that answered"


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node's facts by the API. ``name`` is the node's own, empty for what can't be laid at any node's door."""

    name: str
    processes: tuple[Mapping[str, Any], ...]
    kubelet: Mapping[str, Any] = field(default_factory=dict)
    addresses: frozenset[str] = frozenset()
    versions: Mapping[str, str] = field(default_factory=dict)  # program -> its version of Kubernetes, as far as it is known
    made: dict[Any, Any] = field(default_factory=dict, compare=False)  # the checks' own, see `auditor.engine.Remembered`

    def get(self, fact: Fact) -> Any | Problem:
        """Return the answer to ``fact``, or why the API has none."""
        if isinstance(fact, Processes):
            return list(self.processes)
        if isinstance(fact, Config):
            return [self._documents(p, fact) for p in self.processes if p["name"] == fact.process]
        if isinstance(fact, KubernetesVersion):
            named = [(p, self.versions.get(p["name"])) for p in self.processes]
            return [{"pid": p["pid"], "name": p["name"], "version": version} for p, version in named if version]
        if isinstance(fact, Files):
            program = fact.process or fact.static_pod or fact.executable or NODE_FILES.get(fact.node, "")
            if program and not any(p["name"] == program and "elsewhere" not in p for p in self.processes):
                return {"files": [], "searched": []}
            return Problem(Reason.ABSENT, _NO_FILES)
        return Problem(Reason.ABSENT, f"the API doesn't show {fact.key!r} of a node: it takes SSH to the host")

    def _documents(self, process: Mapping[str, Any], fact: Config) -> dict[str, Any]:
        """A kubelet's configuration is its whole configuration; of other files the API shows none."""
        own = fact.process == "kubelet" and fact.flag == "--config" and bool(self.kubelet)
        data = {**self.kubelet, **_filled_in(self.kubelet)}
        documents = [{"path": f"configz of node/{self.name}", "data": data, "mtime": 0, "whole": True}] if own else []
        return {"pid": process["pid"], "documents": documents}

    def runs(self, program: str) -> bool:
        """Return whether the arguments of this program are known."""
        return any(p["name"] == program and "unseen" not in p and "elsewhere" not in p for p in self.processes)


def views(cluster: Facts, seen_elsewhere: Mapping[str, frozenset[str]]) -> list[NodeView]:
    """Return a view of each node, in the order of their names, and one without a name for what no node shows.

    ``seen_elsewhere`` maps nodes that were audited themselves to the programs that run there.
    """
    nodes = cluster.get(Objects("nodes"))
    components = cluster.get(Objects("components"))
    known = {str(n.get("metadata", {}).get("name", "")): n for n in nodes} if isinstance(nodes, list) else {}
    pods: dict[str, list[Mapping[str, Any]]] = {}
    for pod in components if isinstance(components, list) else ():
        if str(pod["node"]) in known or not isinstance(
            nodes, list
        ):  # else its node is gone, or never was: no kubelet vouches for it
            pods.setdefault(str(pod["node"]), []).append(pod)
    servers = sum(pod["program"] == "kube-apiserver" for own in pods.values() for pod in own)
    server = _version(cluster) if servers < 2 else ""  # of several, only one has said which it is
    found = [
        _view(name, known.get(name, {}), pods.get(name, []), cluster, seen_elsewhere.get(name, frozenset()), server)
        for name in sorted(known.keys() | pods.keys())
    ]
    found = _told(found, flags_in_force(cluster))
    nameless = _nameless(cluster, found, frozenset().union(*seen_elsewhere.values()), components, nodes)
    return [*found, NodeView("", nameless, versions={"kube-apiserver": _version(cluster)})] if nameless else found


def without_workloads(cluster: Facts, node: str, processes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a host's programs, those of a control plane that is somebody's workload (a virtual cluster's, say) marked as such.

    That is what runs in a container of a node that isn't labelled as a server, without a static pod of kube-system behind it.
    """
    nodes, components = cluster.get(Objects("nodes")), cluster.get(Objects("components"))
    if isinstance(nodes, Problem) or isinstance(components, Problem):
        return processes
    labels = next((n["metadata"].get("labels", {}) for n in nodes if n.get("metadata", {}).get("name") == node), None)
    if labels is None or any(label in labels for label in _SERVER_LABELS):
        return processes
    own = {p["program"] for p in components if p["node"] == node}
    why = f"what runs in a container of {node}, which is a worker, is a workload and not this cluster's"
    theirs = [p["contained"] and p["name"] in CONTROL_PLANE and p["name"] not in own for p in processes]
    return [{**p, "elsewhere": why, "workload": True} if t else p for p, t in zip(processes, theirs, strict=True)]


def _told(found: list[NodeView], flags: list[str] | Problem) -> list[NodeView]:
    """Put what the only API server says of itself in the place of what it was merely given."""
    servers = [(v, p) for v in found for p in v.processes if p["name"] == "kube-apiserver"]
    if isinstance(flags, Problem) or len(servers) != 1 or "partial" not in servers[0][1]:
        return found
    view, given = servers[0]
    told = {**_entry("kube-apiserver", flags, origin=_ANSWERED), "pid": 1}
    return [replace(v, processes=tuple(told if p is given else p for p in v.processes)) if v is view else v for v in found]


def _version(cluster: Facts) -> str:
    server = cluster.get(Server())
    return "" if isinstance(server, Problem) else str(server.get("gitVersion", ""))


def _view(
    name: str, node: Mapping[str, Any], pods: list[Mapping[str, Any]], cluster: Facts, seen: frozenset[str], server: str
) -> NodeView:
    processes = [_of_pod(pod, index) for index, pod in enumerate(pods, 1)]
    config = _kubelet(cluster, name)
    given = _given_to_k3s(node, name)
    processes += [
        p
        for p in given
        if not any(p["name"] == q["name"] for q in processes) and (p["name"] != "kubelet" or isinstance(config, Problem))
    ]
    if isinstance(config, Problem):
        if not any(p["name"] == "kubelet" for p in given):
            processes.append(_entry("kubelet", unseen=f"the kubelet of {name} was not asked: {config.detail}"))
    else:
        more = "the API shows only those flags of a kubelet that its configuration knows too"
        processes.append(_entry("kubelet", [f"--config={_CONFIGZ}"], origin=f"configz of node/{name}", partial=more))
    if not any(p["name"] == "kube-proxy" for p in processes):
        processes.append(_entry("kube-proxy", unseen=f"how kube-proxy runs on {name}, if it does, isn't shown by the API"))
    labels, components = node.get("metadata", {}).get("labels", {}), cluster.get(Objects("components"))
    if any(label in labels for label in _CONTROL_PLANE_LABELS):
        there = {p["name"] for p in processes} | seen
        for program in CONTROL_PLANE[:3]:
            if program not in there:
                why = f"{name} is labelled as control plane, but the API shows no static pod of {program} there"
                if isinstance(components, Problem):
                    why = f"the static pods can't be seen: {components.detail}"
                processes.append(_entry(program, unseen=why))
    if _ETCD_LABEL in labels and "etcd" not in {p["name"] for p in processes} | seen:
        processes.append(
            _entry("etcd", unseen=f"{name} is labelled as a server of etcd, but the API doesn't show how it runs there")
        )
    addresses = frozenset(str(a.get("address", "")) for a in node.get("status", {}).get("addresses", ()))
    kubelet = str(node.get("status", {}).get("nodeInfo", {}).get("kubeletVersion", ""))
    return NodeView(name, tuple(processes), {} if isinstance(config, Problem) else config, addresses,
                    {"kubelet": kubelet, "kube-apiserver": server})  # fmt: skip


def _given_to_k3s(node: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the programs that k3s or RKE2 runs on a node, with what its user told it to give them; its own flags aren't shown."""
    words = node.get("nodeArgs", ())
    if not words:
        return []
    server = words[0] == "server"
    more = f"the node's annotation holds only what k3s or RKE2 on {name} was given, not the flags that it adds itself"
    found = []
    for program in (*(CONTROL_PLANE[:3] if server else ()), "kubelet", "kube-proxy"):
        values = flags.occurrences(words, f"--{program}-arg", flags.GO)
        args = [f"--{v.lstrip('-')}" for v in values] if not isinstance(values, Problem) else []
        found.append(_entry(program, args, origin=f"{GIVEN} of node/{name}", partial=more))
    return found


def _of_pod(pod: Mapping[str, Any], index: int) -> dict[str, Any]:
    where = f"mirror pod {pod['namespace']}/{pod['name']}"
    if "unreadable" in pod:
        return _entry(pod["program"], unseen=f"{where}: {pod['unreadable']}")
    return {**_entry(pod["program"], pod["args"], origin=where), "pid": index, "started": pod["started"], "environ": pod["environ"],
            "contained": True}  # fmt: skip


def _entry(program: str, args: Iterable[str] = (), **more: str) -> dict[str, Any]:
    return {"pid": 0, "name": program, "exe": None, "args": list(args), "uid": 0, "started": 0, "contained": False, "environ": None,
            **more}  # fmt: skip


def _kubelet(cluster: Facts, name: str) -> Mapping[str, Any] | Problem:
    configs = cluster.get(KubeletConfigs())
    if isinstance(configs, Problem):
        return configs
    entry = next((c for c in configs if c["node"] == name), None)
    if entry is None:
        return Problem(Reason.ABSENT, "there is no answer of it")
    if "problem" in entry:
        return problem_of(entry)
    left_out = [path for path in _ALWAYS_CONFIGURED if _under(entry["data"], path) is None]
    if left_out:
        return Problem(Reason.TRUNCATED, f"its answer leaves out {left_out[0]}, which every kubelet tells")
    config: Mapping[str, Any] = entry["data"]
    return config


def _filled_in(config: Mapping[str, Any]) -> dict[str, Problem]:
    """Return what a kubelet itself writes into its configuration where nothing is set: the pair that it makes and signs itself."""
    pair = [str(config.get(key, "")) for key in ("tlsCertFile", "tlsPrivateKeyFile")]
    folder = pair[0].removesuffix("kubelet.crt")
    if pair != [f"{folder}kubelet.crt", f"{folder}kubelet.key"]:
        return {}
    why = f"{pair[0]} is also what a kubelet fills in for the certificate that it signs itself when none is set"
    return dict.fromkeys(("tlsCertFile", "tlsPrivateKeyFile"), Problem(Reason.ABSENT, why))


def _under(data: Any, path: str) -> Any:
    for part in path.split("."):
        data = data.get(part) if isinstance(data, Mapping) else None
    return data


def _nameless(
    cluster: Facts, found: list[NodeView], hosts: frozenset[str], components: Any, nodes: Any
) -> tuple[dict[str, Any], ...]:
    """Return what stands for programs of which no node shows one: every cluster has them somewhere."""
    missing = [p for p in CONTROL_PLANE if p not in hosts and not any(v.name and _has(v, p) for v in found)]
    if isinstance(nodes, Problem):  # there may be more of them than those that were seen
        manifests = {p["program"] for p in components} if isinstance(components, list) else set()
        missing = [p for p in (*CONTROL_PLANE, "kubelet", "kube-proxy") if p not in manifests]
    if not missing:
        return ()
    managed = managed_by(cluster)
    if managed and isinstance(components, list):
        why = f"the control plane belongs to {managed}: nobody but the provider sees or sets it"
        return tuple(_entry(p, elsewhere=why) for p in missing)
    processes = []
    for program in missing:
        told = flags_in_force(cluster) if program == "kube-apiserver" else None
        if isinstance(told, list):
            processes.append({**_entry(program, told, origin=_ANSWERED), "pid": 1})
            continue
        if isinstance(components, Problem):
            why = f"the static pods can't be seen: {components.detail}"
        else:
            why = f"no node's static pods show {program}, so it's embedded, external or a service: name its host in the inventory"
            if isinstance(nodes, Problem):
                why = f"no static pods show {program}, and the nodes can't be listed: {nodes.detail}"
            if isinstance(told, Problem) and told.reason is not Reason.ABSENT:
                why += f"; {told.detail}"
        if isinstance(nodes, Problem) and program in ("kubelet", "kube-proxy"):
            why = f"the nodes can't be listed: {nodes.detail}"
        processes.append(_entry(program, unseen=why))
    return tuple(processes)


def _has(view: NodeView, program: str) -> bool:
    return any(p["name"] == program for p in view.processes)


def managed_by(cluster: Facts) -> str:
    """Return the managed service that a cluster belongs to, empty when it's none that is known."""
    version, nodes = _version(cluster), cluster.get(Objects("nodes"))
    providers = [str(n.get("spec", {}).get("providerID", "")) for n in nodes] if isinstance(nodes, list) else []
    labels = [n.get("metadata", {}).get("labels", {}) for n in nodes] if isinstance(nodes, list) else []
    for mark, provider, service in _MANAGED:
        theirs = any("kubernetes.azure.com/cluster" in one for one in labels) if service == "AKS" else mark in version
        if theirs and providers and all(p.startswith(provider) for p in providers):
            return service
    return ""


def flags_in_force(cluster: Facts, *, empty: bool = False) -> list[str] | Problem:
    """Return the arguments that amount to what the API server says it runs with; with ``empty`` those without a value too.

    It writes a list in brackets, and every flag that was not given with its default. What one of several API servers says counts
    for none: which of them answered isn't known.
    """
    answer = cluster.get(ApiServerFlags())
    if isinstance(answer, Problem):
        return answer
    several = _several(cluster)
    if several is not None:
        return several
    left_out = [name for name in _ALWAYS_FLAGS if name not in answer["flags"]]
    if left_out:
        return Problem(Reason.TRUNCATED, f"/flagz leaves out --{left_out[0]}, which every API server tells")
    args = []
    for name, value in sorted(answer["flags"].items()):
        bare = REDACTED if value == _CLASSIFIED else re.sub(r"^\[(.*)\]$", r"\1", value, flags=re.DOTALL)
        if bare or empty:
            args.append(f"--{name}={bare}")
    return args


def _several(cluster: Facts) -> Problem | None:
    """Return why one answer doesn't stand for all API servers, None when there is just one by the endpoints they keep."""
    slices = cluster.get(ENDPOINTS)
    if isinstance(slices, Problem):
        return Problem(slices.reason, f"one API server said what it runs with, but how many there are isn't known: {slices.detail}")
    addresses: dict[str, set[str]] = {}
    for one in slices:
        if one.get("metadata", {}).get("labels", {}).get("kubernetes.io/service-name") == "kubernetes":
            found = {str(a) for e in one.get("endpoints", ()) for a in e.get("addresses", ())}
            addresses.setdefault(str(one.get("addressType", "")), set()).update(found)
    count = max(map(len, addresses.values()), default=0)
    if count == 1:
        return None
    said = f"there are {count} of them" if count else "the Service kubernetes has no endpoint"
    return Problem(Reason.TRUNCATED, f"one API server said what it runs with, but {said}, and which one answered isn't known")
