"""``nodes_alike``: nodes of the same role run their programs with the same settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from auditor.facts.redact import REDACTED
from auditor.facts.sides import Sides
from auditor.model import Fact, Facts, Observation, Outcome, Problem
from checks import base
from checks.sides_agree import by_name, number_of

#: Flags that are each node's own.
_OWN_FLAGS = frozenset(
    {
        "advertise-address",
        "hostname-override",
        "node-ip",
        "name",
        "initial-cluster",
        "initial-cluster-state",
        "v",
        "provider-id",
        "node-labels",
    }
)
_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesAlike:
    """Nodes that run the same program in the same role give it the same settings; one observation a program that differs.

    A node's own name and addresses don't count. Whether a difference is meant is for a person to say: the outliers are shown. A
    kubelet's settings are those in force where the API shows them of every node, else its files and flags.
    """

    def needs(self) -> frozenset[Fact]:
        """Both sides of every node."""
        return frozenset({Sides()})

    def evaluate(self, facts: Facts) -> Outcome:
        """Compare the nodes of each role."""
        sides = facts.get(Sides())
        if isinstance(sides, Problem):
            return Outcome((base.error("cluster/nodes", sides, source="both sides of its nodes"),))
        groups: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
        live = all(n["kubelet"]["configz"] is not None for n in sides["nodes"])
        for node in sides["nodes"]:
            role = "control plane" if "kube-apiserver" in node["roles"] else "worker"
            for entry in node["programs"]:
                settings = _settings(node, entry, live=live)
                if settings is not None:
                    groups.setdefault((entry["program"], role), {})[node["node"]] = settings
            if live and not any(p["program"] == "kubelet" for p in node["programs"]):
                groups.setdefault(("kubelet", role), {})[node["node"]] = dict(_flat(node["kubelet"]["configz"], "", node["own"]))
        compared = [_judge(*key, nodes) for key, nodes in sorted(groups.items()) if len(nodes) > 1]
        return base.outcome(compared, "no two nodes of the same role were seen")


def _settings(node: Mapping[str, Any], entry: Mapping[str, Any], *, live: bool) -> dict[str, str] | None:
    args = entry["process"] if entry["process"] is not None else entry["manifest"]
    if args is None:
        return None  # several run, each with its own
    found = {
        f"--{n}": ",".join(_neutral(v, node["own"]) for v in values) for n, values in by_name(args).items() if n not in _OWN_FLAGS
    }
    if entry["program"] != "kubelet":
        return found
    if live:
        return dict(_flat(node["kubelet"]["configz"], "", node["own"]))
    files = node["kubelet"]["files"]
    return None if files is None else {**found, **dict(_flat(files, "", node["own"]))}


def _flat(data: Mapping[str, Any], path: str, own: list[str]) -> Iterator[tuple[str, str]]:
    for key, value in data.items():
        where = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping):
            yield from _flat(value, where, own)
        elif str(value) != REDACTED:
            yield where, _neutral(base.show(value), own)


def _neutral(value: str, own: list[str]) -> str:
    """Return a value without what is each node's own: its name and addresses."""
    for word in sorted(own, key=len, reverse=True):
        value = value.replace(word, "(its own)")
    return value


def _judge(program: str, role: str, nodes: Mapping[str, Mapping[str, str]]) -> Observation:
    expected = f"the {len(nodes)} nodes of the role {role} set {program} alike"
    notes = []
    for name in sorted({n for settings in nodes.values() for n in settings}):
        values = {node: settings.get(name, "not set") for node, settings in nodes.items()}
        counted = Counter(values.values())
        if len(counted) == 1:
            continue
        usual, most = counted.most_common(1)[0]
        odd = sorted((node, value) for node, value in values.items() if value != usual)
        shown = ", ".join(f"{node}: {base.short(value)}" for node, value in odd[:_SHOWN]) + (
            f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
        )
        notes.append(f"{name} is {base.short(usual)} on {most}, but {shown}")
    subject, source = f"role/{role}/{program}", "command lines, manifests, kubelets' configuration"
    if not notes:
        some = next(iter(nodes.values()))
        return base.verdict(
            subject, ok=True, expected=expected, actual=f"the same {number_of(len(some), 'setting')}", source=source
        )
    more = f"; and {len(notes) - _SHOWN} more" if len(notes) > _SHOWN else ""
    return base.manual(subject, expected=expected, actual="; ".join(notes[:_SHOWN]) + more, source=source)
