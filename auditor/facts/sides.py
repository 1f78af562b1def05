"""What the sides of a cluster say about the same program of the same node: the host, the API, the API server itself.

`Sides` is derived from evidence of several targets, so no target is asked for it; see `auditor.correlate`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from auditor.facts import flags
from auditor.facts.components import CONTROL_PLANE
from auditor.facts.host import Config, Files, Processes, System
from auditor.facts.kubernetes import Objects
from auditor.facts.nodeview import GIVEN, NodeView, flags_in_force
from auditor.facts.platforms import built_in
from auditor.facts.redact import identity
from auditor.model import Evidence, Facts, Problem

KUBELET_FILES = Config(process="kubelet", flag="--config", dropins="--config-dir")


@dataclass(frozen=True, slots=True)
class Sides:
    """Ask for what is known of every node from each side.

    Value: ``{"nodes": [node], "hosts": [host]}``. A node is ``{"node", "host": the target's name or null, "roles": [text],
    "own": [its names and addresses], "programs": [program], "kubelet": {"files": {...} or null, "configz": {...} or null}}``; a
    program is ``{"program", "process": [arguments] or null, "manifest": [arguments] or null, "answers": [arguments] or null (what
    the API server says of itself), "given": [arguments] or null (what k3s or RKE2 was told to give it), "several": int (how
    many run or have a manifest, 0 for one), "started": UNIX time, "written": UNIX time of its manifest or 0}``. A host is
    ``{"target", "node": name or null (it's no node of this cluster), "error": text or null, "kubelet": bool (one runs there),
    "serves": [program of a control plane], "etcd_of": text (why it's the etcd of this cluster, else empty), "unlisted": text (why
    the nodes are not known, else empty)}``.
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

    A kubelet tells the API its machine's own numbers, so a host is never a node whose numbers are all others. Then names tell: a
    kubelet calls its node by ``--hostname-override``, else by the host's name; failing both the addresses and the target's name.
    """
    nodes = cluster.get(Objects("nodes"))
    known = {str(n.get("metadata", {}).get("name", "")): n for n in nodes} if isinstance(nodes, list) else {}
    ids = {name: _ids(node) for name, node in known.items()}
    addresses = {name: {str(a.get("address", "")) for a in n.get("status", {}).get("addresses", ())} for name, n in known.items()}
    found: dict[int, str] = {}
    for told in (_machine, _override, _hostname, _address, lambda host, *_: [host.target.name]):
        for index, host in enumerate(hosts):
            names = told(host, ids, addresses) if index not in found else ()
            own = _host_ids(host)
            fits = (n for n in names if n in known and n not in found.values() and not (own and ids[n] and not own & ids[n]))
            name = next(fits, None)
            if name is not None:
                found[index] = name
    return [found.get(index) for index in range(len(hosts))]


def _ids(node: Mapping[str, Any]) -> frozenset[str]:
    info = node.get("status", {}).get("nodeInfo", {})
    return frozenset(identity(str(info[key])) for key in ("bootID", "machineID") if info.get(key))


def _host_ids(host: Evidence) -> frozenset[str]:
    system = host.get(System())
    return frozenset() if isinstance(system, Problem) else frozenset(system.get("ids", ()))


def _machine(host: Evidence, ids: Mapping[str, frozenset[str]], _: Any) -> list[str]:
    """Return the only node with both numbers of this host: nodes that are containers of one machine share those of its boot."""
    own = _host_ids(host)
    names = [name for name, theirs in ids.items() if len(own) > 1 and own <= theirs]
    return names if len(names) == 1 else []


def _override(host: Evidence, *_: Any) -> list[str]:
    processes = host.get(Processes())
    own = [p for p in ([] if isinstance(processes, Problem) else processes) if p["name"] == "kubelet" and not p["contained"]]
    names = (flags.text(p["args"], "--hostname-override", flags.KUBERNETES) for p in own)
    return [name for name in names if isinstance(name, str) and name]


def _hostname(host: Evidence, *_: Any) -> list[str]:
    system = host.get(System())
    name = "" if isinstance(system, Problem) else str(system["hostname"]).lower()
    return [name, name.partition(".")[0]]


def _address(host: Evidence, _: Any, addresses: Mapping[str, set[str]]) -> list[str]:
    return [name for name, own in addresses.items() if host.target.address in own]


def compare(nodes: Sequence[Node], cluster: Facts, hosts: Sequence[Evidence]) -> dict[str, Any]:
    """Return the answer to `Sides`; ``hosts`` are all that the inventory names, audited or not."""
    answers = flags_in_force(cluster, empty=True)
    servers = sum(_args(_api(n), "kube-apiserver") is not None or _args(_host(n), "kube-apiserver") is not None for n in nodes)
    alone = answers if servers == 1 and isinstance(answers, list) else None
    listed = cluster.get(Objects("nodes"))
    by_target = {n.host.target.name: n for n in nodes if n.host is not None}
    used = {url for n in nodes for side in (_api(n), _host(n)) for url in _urls(side, "kube-apiserver", "--etcd-servers")}
    return {
        "nodes": [_node(n, alone) for n in nodes if n.name],
        "hosts": [
            {"target": h.target.name, "error": str(h.error) if h.error else None,
             "node": n.name if (n := by_target.get(h.target.name)) and n.api is not None else None,
             "kubelet": runs_kubelet(h), "serves": [p for p in CONTROL_PLANE if any(q["name"] == p for q in processes_of(h))],
             "etcd_of": ", ".join(sorted(used & _urls(processes_of(h), "etcd", "--advertise-client-urls"))),
             "unlisted": str(listed) if isinstance(listed, Problem) else ""}
            for h in hosts
        ],
    }  # fmt: skip


def processes_of(host: Evidence) -> Sequence[Mapping[str, Any]]:
    """Return a host's programs, none where they are not known."""
    found = host.get(Processes())
    return () if isinstance(found, Problem) else [p for p in found if "elsewhere" not in p]


def runs_kubelet(host: Evidence) -> bool:
    """Return whether a kubelet runs on a host, by itself or inside another program, as far as that is known."""
    if isinstance(host.get(Processes()), Problem):
        return True  # it can't be seen, and a node is what the host is named for
    running = processes_of(host)
    if any("--disable-agent" in p["args"] for p in running if p["name"] == "k3s"):
        return False  # a server that is no node
    return any(p["name"] == "kubelet" or "kubelet" in built_in(p) for p in running)


def _urls(processes: Iterable[Mapping[str, Any]], program: str, flag: str) -> set[str]:
    """Return the addresses that a flag of a program names, but for those that mean the host itself."""
    said = (flags.listing(p["args"], flag, flags.KUBERNETES) for p in processes if p["name"] == program and "unseen" not in p)
    urls = {str(url).rstrip("/") for urls in said if isinstance(urls, list) for url in urls}
    return {u for u in urls if not u.partition("//")[2].startswith(("127.", "localhost", "[::1]", "0.0.0.0"))}  # noqa: S104


def _api(node: Node) -> Sequence[Mapping[str, Any]]:
    return node.api.processes if node.api is not None else ()


def _host(node: Node) -> Sequence[Mapping[str, Any]]:
    found = node.host.get(Processes()) if node.host is not None else []
    return [] if isinstance(found, Problem) else found


def _one(processes: Sequence[Mapping[str, Any]], program: str) -> Mapping[str, Any] | None:
    """Return the only running instance; of several none can be laid beside another side's."""
    mine = [p for p in processes if p["name"] == program and "unseen" not in p and "elsewhere" not in p]
    return mine[0] if len(mine) == 1 else None


def _number(processes: Sequence[Mapping[str, Any]], program: str) -> int:
    return sum(p["name"] == program and "unseen" not in p and "elsewhere" not in p for p in processes)


def _args(processes: Sequence[Mapping[str, Any]], program: str) -> list[str] | None:
    found = _one(processes, program)
    return None if found is None else list(found["args"])


def _node(node: Node, answers: list[str] | None) -> dict[str, Any]:
    host, api = _host(node), _api(node)
    programs = []
    for program in (*CONTROL_PLANE, "kube-proxy", "kubelet"):
        process = _one(host, program)
        given = _args([p for p in api if str(p.get("origin", "")).startswith(GIVEN)], program)
        manifest = _args([p for p in api if p["contained"]], program)  # a mirror pod's
        several = max(_number(host, program), _number([p for p in api if p["contained"]], program))
        if process is None and manifest is None and several < 2:
            continue
        started = process["started"] if process else 0
        programs.append({
            "program": program, "process": list(process["args"]) if process else None, "manifest": manifest,
            "answers": answers if program == "kube-apiserver" else None, "given": given, "several": several if several > 1 else 0,
            "started": started, "written": _written(node, program),
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
