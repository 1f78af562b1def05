"""What is taken out of Kubernetes objects before they are kept, where leaving fields out isn't enough."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

CONTAINERS = ("containers", "initContainers", "ephemeralContainers")


def secret_names(item: dict[str, Any], template: str) -> dict[str, Any]:
    """Leave of each container's environment (in the pod spec at the path ``template``) only what comes from a secret."""
    spec: Any = item
    for part in template.split("."):
        spec = spec.get(part) if isinstance(spec, dict) else None
    for kind in CONTAINERS if isinstance(spec, dict) else ():
        for container in spec.get(kind, ()):
            if "env" in container:
                _keep(container, "env", [e for e in container["env"] if e.get("valueFrom", {}).get("secretKeyRef")])
            if "envFrom" in container:
                _keep(container, "envFrom", [e for e in container["envFrom"] if e.get("secretRef")])
    return item


def _keep(container: dict[str, Any], key: str, kept: list[Any]) -> None:
    if kept:
        container[key] = kept
    else:
        del container[key]


def pod_of_its_owner(pod: dict[str, Any]) -> bytes | None:
    """Return a key that pods share which one controller made and which differ in nothing but their names; None for others.

    A static pod is its own workload and keeps its name, and so does a pod that nothing owns.
    """
    metadata = pod.get("metadata", {})
    owner = next((o for o in metadata.get("ownerReferences", ()) if o.get("controller") and o.get("name")), None)
    if owner is None or owner.get("kind") in (None, "Node"):
        return None
    what = (metadata.get("namespace"), metadata["ownerReferences"], pod.get("status"), pod.get("spec"))
    return hashlib.blake2b(msgspec.json.encode(what), digest_size=16).digest()


def constraint_template(template: dict[str, Any]) -> dict[str, Any]:
    """Return ``{"metadata": {"name"}, "kind", "digest"}``: the kind of constraints made from it, and 128 bits over what it runs.

    White space at the ends of lines doesn't count: it gets lost on the way through files and charts.
    """
    spec = template.get("spec", {})
    text = json.dumps(_trimmed(spec.get("targets")), sort_keys=True, separators=(",", ":"))
    kind = spec.get("crd", {}).get("spec", {}).get("names", {}).get("kind", "")
    return {"metadata": template.get("metadata", {}), "kind": kind, "digest": hashlib.sha256(text.encode()).hexdigest()[:32]}


def _trimmed(value: Any) -> Any:
    if isinstance(value, str):
        return "\n".join(line.rstrip() for line in value.rstrip().splitlines())
    if isinstance(value, list):
        return [_trimmed(v) for v in value]
    return {k: _trimmed(v) for k, v in value.items()} if isinstance(value, dict) else value


def kyverno_policy(policy: dict[str, Any]) -> dict[str, Any] | None:
    """Return a policy with those of its rules that validate, without their messages; None when there are none."""
    spec = policy.get("spec", {})
    rules = [r for r in spec.get("rules", ()) if r.get("validate")]
    for rule in rules:
        rule["validate"].pop("message", None)
    spec["rules"] = rules
    return policy if rules else None


class Alike:
    """Objects as they are kept: those with the same key once, with their number under ``count``."""

    def __init__(self, key: Callable[[dict[str, Any]], bytes | None]) -> None:
        self._key = key
        self._seen: dict[bytes, dict[str, Any]] = {}

    def new(self, items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the objects that are the first of their like, and count the others."""
        found = []
        for item in items:
            key = self._key(item)
            first = None if key is None else self._seen.get(key)
            if first is not None:
                first["count"] = first.get("count", 1) + 1
                continue
            if key is not None:
                self._seen[key] = item
            found.append(item)
        return found
