"""The cluster's own controls without a table of contents, and evidence about the recorded cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.catalogue import decode_definition, parse
from auditor.engine import judge
from auditor.facts.kubernetes import KINDS
from auditor.model import Benchmark, Control, Evidence, Finding, Problem, Target
from auditor.transports.base import TargetError
from auditor.transports.kubernetes import collect_cluster
from checks import check_types
from tests.support.apiserver import ApiServer, serving

FILES = [Path(__file__).parents[2] / "benchmarks" / "kubernetes" / name for name in ("permissions.yaml", "policies.yaml")]
#: Kinds that the served recording has.
SERVED = {k for k, v in KINDS.items() if not v.addon} | {"validatingadmissionpolicies", "validatingadmissionpolicybindings"}
EVERYTHING = frozenset(f"objects:{kind}" for kind in KINDS)


@dataclass(frozen=True)
class Spec:
    """How to reach a cluster."""

    kubeconfig: str | None
    context: str | None = None
    in_cluster: bool = False
    nodes_proxy: bool = False
    timeout: int = 5


def controls() -> dict[str, Control]:
    """Return the cluster's own controls by key; the key stands for the number."""
    found = {}
    types = check_types()
    for key, (file, node) in parse([(f.name, f.read_text()) for f in FILES], types).definitions.items():
        d = decode_definition(file, node, types)
        found[key] = Control(
            key, key, d.title, 1, "manual", d.severity, d.target, d.rationale, d.remediation, d.check, d.applies_when
        )
    return found


def judged(facts: Mapping[str, Any], *keys: str) -> dict[str, Finding]:
    """Return the findings of these controls, of all without keys."""
    known = controls()
    chosen = tuple(known[k] for k in keys or known)
    benchmark = Benchmark("policies", "1", "", chosen, len(chosen), "")
    return {f.control: f for f in judge([benchmark], Evidence(Target("cluster", "kubernetes"), "", facts))}


def collect(server: ApiServer, token: str | None = "token-auditor", *kinds: str, timeout: int = 5) -> dict[str, Any]:
    """Collect from a served cluster with the real client, everything without kinds."""
    wanted = frozenset(f"objects:{k}" for k in kinds) or EVERYTHING
    return collect_cluster(Spec(str(server.kubeconfig(token)), timeout=timeout), wanted)


def refused(spec: Spec) -> Problem:
    """Return why a cluster can't be collected from, which is said in one line."""
    import pytest  # not with this module, whose memory is measured in tests/performance

    with pytest.raises(TargetError) as caught:
        collect_cluster(spec, EVERYTHING)
    assert "\n" not in str(caught.value)
    return caught.value.problem


def recorded(folder: Path) -> dict[str, Any]:
    """Return the evidence about the recorded cluster."""
    with serving(folder) as server:
        return collect(server)
