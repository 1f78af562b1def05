"""What is taken out of Kubernetes objects before they are kept, where leaving fields out isn't enough."""

from __future__ import annotations

from typing import Any

from auditor.facts.flags import KUBERNETES, listing, text
from auditor.model import Problem

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


def apiserver_flags(pod: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a static pod of an API server says about admission, None for any other pod.

    The answer is ``{"metadata": {"name"}, "flags": {"enable-admission-plugins": [...], "disable-admission-plugins": [...],
    "admission-control-config-file": "/path"}}``, a flag that isn't given left out; ``unreadable`` says why a flag can't be read.
    """
    metadata = pod.get("metadata", {})
    if not any(o.get("kind") == "Node" for o in metadata.get("ownerReferences", ())):
        return None  # anybody who may create pods there can name one like this; only kubelets make static pods
    for container in pod.get("spec", {}).get("containers", ()):
        words = [*container.get("command", ()), *container.get("args", ())]
        if container.get("name") == "kube-apiserver" or any(w.rpartition("/")[2] == "kube-apiserver" for w in words[:1]):
            return {"metadata": {"name": metadata.get("name", "")}, **_flags(words)}
    return None


def _flags(words: list[Any]) -> dict[str, Any]:
    args = [str(w) for w in words]
    found: dict[str, Any] = {
        **{name: listing(args, f"--{name}", KUBERNETES) for name in ("enable-admission-plugins", "disable-admission-plugins")},
        "admission-control-config-file": text(args, "--admission-control-config-file", KUBERNETES),
    }
    wrong = next((f"--{name}: {value}" for name, value in found.items() if isinstance(value, Problem)), None)
    if wrong:
        return {"unreadable": wrong}
    return {"flags": {name: value for name, value in found.items() if value is not None}}
