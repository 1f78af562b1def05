"""Judging a cluster with its nodes: host and API feed the same controls, and what they say becomes one verdict. Pure.

A cluster's finding on a control about nodes has an observation for each node (subject ``node/NAME/...``): what the host itself
showed over SSH, what the API showed of it, or both. Where both decide and disagree, the worse verdict stands and says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from auditor import engine
from auditor.facts import sides
from auditor.facts.components import CONTROL_PLANE
from auditor.facts.host import Processes
from auditor.facts.kubernetes import Objects
from auditor.facts.nodeview import NEEDED, NodeView, views, without_workloads
from auditor.facts.sides import Sides, match, runs_kubelet
from auditor.model import (
    Benchmark,
    Control,
    Evidence,
    Fact,
    Finding,
    Observation,
    Outcome,
    Problem,
    Status,
    TargetStatus,
)

#: So many nodes with the very same observation are shown as one, unless it is a failure.
ALIKE = 20
#: How many names or values a note shows.
_SHOWN = 5
_DECIDED = (Status.PASS, Status.FAIL)
_GONE = "absent: the API shows its manifest, but the host shows no such program"


def needs(benchmarks: Iterable[Benchmark]) -> frozenset[Fact]:
    """Return the facts of a cluster that it takes to judge controls about its nodes; none when there are no such controls."""
    return NEEDED if any(_about_nodes(c) for b in benchmarks for c in b.controls) else frozenset()


def _about_nodes(control: Control) -> bool:
    return control.target == "node"


@dataclass(frozen=True, slots=True)
class _Node:
    """A node from one or both sides."""

    name: str
    api: NodeView | None
    host: Evidence | None
    facts: engine.Remembered | None = None  # the host's
    stale: frozenset[str] = frozenset()  # subjects of programs that run with other arguments than their manifest says
    gone: frozenset[str] = frozenset()  # subjects of programs that a manifest names and that don't run


@dataclass(frozen=True, slots=True)
class _Derived:
    """The cluster's evidence, and what is derived from it and its nodes' together."""

    cluster: Evidence
    sides: Any
    made: dict[Any, Any] = field(default_factory=dict)  # the checks' own, see `auditor.engine.Remembered`

    def get(self, fact: Fact) -> Any | Problem:
        return self.sides if isinstance(fact, Sides) else self.cluster.get(fact)


def judge(benchmarks: Sequence[Benchmark], cluster: Evidence, hosts: Sequence[Evidence]) -> list[Finding]:
    """Return the findings of a cluster, those about its nodes included, in the benchmarks' order.

    ``hosts`` is the evidence of the targets that the inventory names as its nodes; one that could not be audited counts as not
    seen from that side.
    """
    wanted = any(_about_nodes(c) for b in benchmarks for c in b.controls)
    nodes = _nodes(cluster, hosts) if wanted else []
    known = _Derived(cluster, sides.compare(nodes, cluster, hosts))
    found = []
    for benchmark in benchmarks:
        for control in benchmark.controls:
            if control.target == "cluster":
                found.append(engine.finding(benchmark, control, cluster.target.name, engine.outcome(control, known)))
            elif _about_nodes(control):
                found.append(engine.finding(benchmark, control, cluster.target.name, _together(control, nodes)))
    return found


def _nodes(cluster: Evidence, hosts: Sequence[Evidence]) -> list[_Node]:
    audited = [h for h in hosts if h.status is TargetStatus.AUDITED]
    nodes = cluster.get(Objects("nodes"))
    known = [] if isinstance(nodes, Problem) else [str(n.get("metadata", {}).get("name", "")) for n in nodes]
    by_node = {}
    for host, name in zip(audited, match(cluster, audited), strict=True):
        own = host.target.name
        if name is not None or not (runs_kubelet(host) and isinstance(nodes, list)):
            by_node[name or (f"{own} (no node)" if own in known else own)] = _own(cluster, name or "", host)
        # else another cluster's: a kubelet makes its host a node, whatever it is called
    programs = {name: _programs(host) for name, host in by_node.items()}
    shown = {v.name: v for v in views(cluster, programs)}
    nameless = shown.pop("", None)
    both = [_node(name, shown.get(name), by_node.get(name)) for name in sorted(shown.keys() | by_node.keys())]
    return [*both, _Node("", nameless, None)] if nameless else both


def _own(cluster: Evidence, node: str, host: Evidence) -> Evidence:
    """Return a host's evidence with workloads that are programs of a control plane marked as somebody else's."""
    processes = host.get(Processes())
    if isinstance(processes, Problem):
        return host
    marked = without_workloads(cluster, node, processes)
    return replace(host, facts={**host.facts, Processes().key: marked}) if marked != processes else host


def _node(name: str, api: NodeView | None, host: Evidence | None) -> _Node:
    if host is None:
        return _Node(name, api, None)
    processes = host.get(Processes())
    known = [] if isinstance(processes, Problem) else processes
    running = {p["name"]: p["args"] for p in known}
    manifests = [p for p in (api.processes if api is not None else ()) if p["name"] in CONTROL_PLANE and p["contained"]]
    stale = [p["name"] for p in manifests if p["name"] in running and running[p["name"]] != p["args"]]
    gone = [p["name"] for p in manifests if known and p["name"] not in running]
    return _Node(name, api, host, engine.Remembered(host), _subjects(stale), _subjects(gone))


def _subjects(programs: Iterable[str]) -> frozenset[str]:
    return frozenset(f"process/{p}" for p in programs)


def _programs(host: Evidence) -> frozenset[str]:
    processes = host.get(Processes())
    return frozenset() if isinstance(processes, Problem) else frozenset(p["name"] for p in processes if "workload" not in p)


def _together(control: Control, nodes: Sequence[_Node]) -> Outcome:
    """Judge a control on every node and put the outcomes together."""
    observations: list[Observation] = []
    reasons: Counter[str] = Counter()
    for node in nodes:
        outcome = _of_node(control, node)
        if outcome.reason:
            reasons[outcome.reason] += 1
        prefix = f"node/{node.name}" if node.name else "cluster"
        observations += [replace(o, subject=f"{prefix}/{o.subject}") for o in outcome.observations]
    if not nodes:
        return Outcome((), "the cluster shows no node")
    if not observations:
        said = [f"{reason} ({count} nodes)" if count > 1 else reason for reason, count in reasons.most_common(_SHOWN)]
        return Outcome((), "; ".join(said))
    observations = list(dict.fromkeys(observations))  # of a check's parts that say the same of a node, one will do
    return Outcome(tuple(_gathered(observations)), _outliers(observations))


def _of_node(control: Control, node: _Node) -> Outcome:
    api = engine.outcome(control, node.api) if node.api is not None else None
    if node.facts is None:
        return api or Outcome()
    host = engine.outcome(control, node.facts)
    return host if api is None else _merged(host, _running(api, node.gone), node.stale)


def _running(api: Outcome, gone: frozenset[str]) -> Outcome:
    """Let nothing pass for a program that its manifest alone tells of: the host shows that it doesn't run."""
    if not any(o.status is Status.PASS and o.subject in gone for o in api.observations):
        return api
    passed = (replace(o, status=Status.ERROR, actual=_GONE) if o.status is Status.PASS and o.subject in gone else o
              for o in api.observations)  # fmt: skip
    return replace(api, observations=tuple(passed))


def _merged(host: Outcome, api: Outcome, stale: frozenset[str]) -> Outcome:
    """Return one outcome of both sides: what the host shows is the process itself, so the API adds only what it decides.

    A manifest that another command line runs than it says (``stale``) vouches for nothing.
    """
    said = {o.subject: o for o in api.observations if o.status in _DECIDED}
    unknown = [o for o in api.observations if o.status is Status.ERROR and o.actual == _GONE]
    if not said and not unknown:
        return host
    decided = any(o.status in _DECIDED for o in host.observations)
    observations = [_one(o, said.pop(o.subject, None), in_force=o.subject not in stale) for o in host.observations]
    observations += [o for o in said.values() if o.status is Status.FAIL or not (decided or o.subject in stale)]
    return Outcome((*observations, *unknown), host.reason if not observations and not unknown else "")


def _one(host: Observation, api: Observation | None, *, in_force: bool) -> Observation:
    if api is None:
        return host
    if host.status not in _DECIDED:
        return api if in_force or api.status is Status.FAIL else host
    if host.status is api.status:
        return replace(host, source=f"{host.source}; the API says the same") if host.actual == api.actual else host
    bad, good = (host, api) if host.status is Status.FAIL else (api, host)
    return replace(bad, actual=f"{bad.actual} ({bad.source}), but {good.actual} ({good.source})")


def _gathered(observations: list[Observation]) -> list[Observation]:
    """Show the same observation of many nodes once; failures stay one by one, since each has to be put right."""
    groups: dict[tuple[Any, ...], list[Observation]] = {}
    for o in observations:
        name, rest = _split(o.subject)
        alike = (rest, o.status, o.expected, o.actual.replace(name, "*") if name else o.actual)
        groups.setdefault(alike, []).append(o)
    shown: list[Observation] = []
    for (rest, status, *_), group in groups.items():
        if len(group) <= ALIKE or status is Status.FAIL:
            shown += group
            continue
        names = list(dict.fromkeys(_split(o.subject)[0] for o in group))
        first = replace(group[0], subject=f"node/{len(names)} nodes/{rest}")
        shown.append(replace(first, source=f"{first.source}; {_few(names)}"))
    return shown


def _split(subject: str) -> tuple[str, str]:
    """Return the node's name and the rest of a subject."""
    kind, _, rest = subject.partition("/")
    if kind != "node":
        return "", subject
    name, _, rest = rest.partition("/")
    return name, rest


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _outliers(observations: list[Observation]) -> str:
    """Name the nodes whose setting is another than that of most nodes with the same program or file."""
    by_rest: dict[str, dict[str, str]] = {}
    for o in observations:
        name, rest = _split(o.subject)
        if name and o.status in _DECIDED:
            by_rest.setdefault(rest, {})[name] = o.actual.partition(" (too much")[0]
    notes = []
    for rest, values in by_rest.items():
        counted = Counter(values.values())
        if len(counted) < 2 or len(values) < 3:
            if len(counted) == 2:
                pairs = "; ".join(f"{name}: {value}" for name, value in sorted(values.items()))
                notes.append(f"{rest} differs between nodes ({pairs})")
            continue
        (usual, most), *others = counted.most_common()
        if most == others[0][1]:
            notes.append(f"{rest} differs between nodes ({len(counted)} settings on {len(values)} nodes)")
            continue
        odd = [f"{name}: {value}" for name, value in sorted(values.items()) if value != usual]
        notes.append(f"outliers of {rest}: {_few(odd)} ({most} of {len(values)} nodes: {usual})")
    return "; ".join(notes[:_SHOWN]) + (f"; and {len(notes) - _SHOWN} more differences" if len(notes) > _SHOWN else "")
