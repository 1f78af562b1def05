"""openreports.yaml (openreports.io/v1alpha1): ClusterReports, one for each target and benchmark, that kubectl can apply.

pass, fail and error are the same there, not applicable is ``skip``. manual is ``warn`` and not scored: a person must decide.
The property ``status`` holds our own word.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import yaml

from auditor.model import AuditRun, Finding, Status
from reports import marks, plain

RESULTS = {Status.PASS: "pass", Status.FAIL: "fail", Status.ERROR: "error", Status.MANUAL: "warn", Status.NOT_APPLICABLE: "skip"}

#: An object in etcd may have 1.5 MB. A longer report goes on in a further one.
SIZE = 1_000_000

_CORE, _APPS, _BATCH, _RBAC = "v1", "apps/v1", "batch/v1", "rbac.authorization.k8s.io/v1"
_KINDS = {
    "pod": (_CORE, "Pod"),
    "serviceaccount": (_CORE, "ServiceAccount"),
    "deployment": (_APPS, "Deployment"),
    "daemonset": (_APPS, "DaemonSet"),
    "statefulset": (_APPS, "StatefulSet"),
    "replicaset": (_APPS, "ReplicaSet"),
    "job": (_BATCH, "Job"),
    "cronjob": (_BATCH, "CronJob"),
    "role": (_RBAC, "Role"),
    "rolebinding": (_RBAC, "RoleBinding"),
    "namespace": (_CORE, "Namespace"),
    "node": (_CORE, "Node"),
    "clusterrole": (_RBAC, "ClusterRole"),
    "clusterrolebinding": (_RBAC, "ClusterRoleBinding"),
}
_UNSCOPED = {"namespace", "node", "clusterrole", "clusterrolebinding"}


def render(run: AuditRun) -> Iterator[bytes]:
    """Yield the documents: one result a line."""
    known = plain.entries(run)
    taken = _seconds(run.finished)
    whole = plain.complete(run)
    for (name, version), targets in plain.by_benchmark(whole).items():
        for target, places in targets.items():
            for number, (lines, counts) in enumerate(_chunks(plain.at(whole, places), taken, known), 1):
                head = f"---\n{_head(run, name, version, target, number, counts)}results:\n"
                yield "".join((head, *lines)).encode("utf-8")


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) if plain.moment(text) else 0


def _chunks(findings: Iterable[Finding], taken: int, known: plain.Entries) -> Iterator[tuple[list[str], Counter[str]]]:
    lines: list[str] = []
    counts: Counter[str] = Counter()
    size = 0
    for f in findings:
        # JSON on one line is YAML too, and many times faster to write.
        text = f"- {json.dumps(_result(f, taken, known), ensure_ascii=False)}\n"
        length = len(text.encode("utf-8"))
        if lines and size + length > SIZE:
            yield lines, counts
            lines, counts, size = [], Counter(), 0
        lines.append(text)
        counts[RESULTS[f.status]] += 1
        size += length
    yield lines, counts


def _label(text: str) -> str:
    return plain.plain_name(text, 50).strip("-.")


def _head(run: AuditRun, name: str, version: str, target: str, number: int, counts: Counter[str]) -> str:
    identity = plain.plain_name(f"{plain.TOOL}-{name}-{version}-{target}".lower(), 180).lower()
    labels = {
        "app.kubernetes.io/managed-by": plain.TOOL,
        f"{plain.TOOL}.dev/benchmark": _label(name),
        f"{plain.TOOL}.dev/version": _label(version),
        f"{plain.TOOL}.dev/target": _label(target),
    }
    head = {
        "apiVersion": "openreports.io/v1alpha1",
        "kind": "ClusterReport",
        "metadata": {
            "name": identity if number == 1 else f"{identity}-{number}",
            "labels": labels,
            "annotations": {f"{plain.TOOL}.dev/run": plain.line(run.id), f"{plain.TOOL}.dev/target": plain.line(target)},
        },
        "source": plain.TOOL,
        "summary": {r: counts[r] for r in ("pass", "fail", "warn", "error", "skip")},
    }
    return yaml.dump(head, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)


def _result(f: Finding, taken: int, known: plain.Entries) -> dict[str, Any]:
    properties = {
        "status": f.status.value,
        "target": plain.line(f.target),
        "control": plain.line(f.control),
        "level": str(f.level),
        "assessment": plain.line(f.assessment),
    }
    if mark := marks.word(f.waiver, f.attestation):
        properties |= {"mark": mark, "decision": plain.decided(f, known)}
    shown = plain.evidence(f) if f.status is not Status.PASS else []
    resources = [r for o in f.observations if o.status is f.status and (r := _resource(o.subject))][: plain.MOST]
    return {
        "source": plain.TOOL,
        "policy": plain.line(f"{f.benchmark}-{f.version}"),
        "rule": plain.line(f"{f.id} {f.title}"),
        "category": plain.line(f.id.rpartition(".")[0] or f.id),
        "severity": f.severity.value,
        "timestamp": {"seconds": taken, "nanos": 0},
        "result": RESULTS[f.status],
        "scored": f.status is not Status.MANUAL,
        "message": "\n".join([plain.headline(f), *shown]),
        **({"resources": resources} if resources else {}),
        "properties": properties,
    }


def _resource(subject: str) -> dict[str, str] | None:
    """Return the object that a subject is, None where it is none of Kubernetes'."""
    kind, *rest = plain.line(subject).split("/")
    if kind not in _KINDS or not rest or not all(rest):
        return None
    version, name = _KINDS[kind]
    if kind in _UNSCOPED:
        return {"apiVersion": version, "kind": name, "name": "/".join(rest[:1] if kind == "node" else rest)}
    if len(rest) != 2:
        return None
    return {"apiVersion": version, "kind": name, "namespace": rest[0], "name": rest[1]}
