"""What the Kubernetes API shows of the programs of a cluster: its static pods, the API server's own flags, kubelets.

A kubelet shows each static pod that it runs from a manifest as a *mirror pod*, which says what the manifest said when the kubelet
read it last. Whoever may create pods in kube-system can make one that a node owns. But a pod that also bears the mark of a mirror
pod is deleted by its kubelet within seconds, unless a static pod stands behind it: so mark and owner are both asked for.

``/flagz`` (Kubernetes 1.36 on) says what the API server that answered runs with, a kubelet's ``/configz`` what that kubelet does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from auditor.facts.host import ENVIRONMENT
from auditor.facts.redact import redact_args

#: Programs of a control plane, as their static pods call them.
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
#: Programs that kubelets run from manifests, kube-proxy among them with RKE2.
_PROGRAMS = (*CONTROL_PLANE, "kube-proxy")
#: Annotations of nodes in which k3s and RKE2 keep what they were started with; they take the tokens out themselves.
_NODE_ARGS = ("k3s.io/node-args", "rke2.io/node-args")
#: The mark that kubelets put on mirror pods; the rest of a pod's annotations is not kept.
_MIRROR = "kubernetes.io/config.mirror"
_REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")


@dataclass(frozen=True, slots=True)
class ApiServerFlags:
    """Ask the API server for the flags in force in the instance that answers.

    Value: ``{"flags": {name: text}}``, every flag that it knows with its value, secrets taken out.
    """

    @property
    def key(self) -> str:
        """The one name of this fact."""
        return "apiserver_flags"


@dataclass(frozen=True, slots=True)
class KubeletConfigs:
    """Ask every kubelet, through the API server, for the configuration in force: file, drop-ins, flags and defaults as one.

    It takes the right to ``nodes/proxy``, which is close to being root on every node: only asked where the inventory says so.

    Value: a list of ``{"node": name, "data": the KubeletConfiguration}`` or ``{"node", "problem": {...}}``.
    """

    @property
    def key(self) -> str:
        """The one name of this fact."""
        return "kubelet_configs"


def component(pod: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a mirror pod says about a program of the control plane, None for any other pod.

    The answer is ``{"name", "namespace", "node", "program", "args": [str], "environ": {name: value} or null, "started": UNIX
    time, 0 when it doesn't run}``; ``args`` are those behind the program's own name with secrets taken out, ``environ`` holds
    variables of `ENVIRONMENT` alone and is null when one of those comes from elsewhere. ``unreadable`` says why the arguments are
    not known.
    """
    metadata, spec = pod.get("metadata", {}), pod.get("spec", {})
    owner = next((o for o in metadata.get("ownerReferences", ()) if o.get("kind") == "Node" and o.get("apiVersion") == "v1"), None)
    if owner is None or not (metadata.get("annotations") or {}).get(_MIRROR) or owner.get("name") != spec.get("nodeName"):
        return None  # anybody who may create pods there can name one like a component
    for container in spec.get("containers", ()):
        found = _program(container)
        if found is None:
            continue
        program, words = found
        args, why = _expanded(words, container, pod) if isinstance(words, list) else ([], words)
        said = {"name": metadata.get("name", ""), "namespace": metadata.get("namespace", ""), "node": owner.get("name", ""),
                "program": program, "args": redact_args(args), "environ": _environ(container),
                "started": _started(pod, container)}  # fmt: skip
        return {**said, "unreadable": why} if why else said
    return None


def _program(container: dict[str, Any]) -> tuple[str, list[str] | str] | None:
    """Return the program that a container runs and its arguments, or in their place why they can't be read."""
    words = [str(w) for w in (*container.get("command", ()), *container.get("args", ()))]
    name = str(container.get("name", ""))
    first = words[0].rpartition("/")[2] if words else ""
    if first in _PROGRAMS:
        return first, words[1:]
    if name not in _PROGRAMS:
        return None
    if not container.get("command") and (not words or words[0].startswith("-")):
        return name, words  # the image's own entry point is the program
    return name, f"its command is {first or 'not given'}, not {name} itself"


def _expanded(words: list[str], container: dict[str, Any], pod: dict[str, Any]) -> tuple[list[str], str]:
    """Replace references to variables, as the kubelet does; a variable that can't be seen leaves the arguments unknown."""
    status, spec = pod.get("status", {}), pod.get("spec", {})
    fields = {"status.podIP": status.get("podIP"), "status.hostIP": status.get("hostIP"), "spec.nodeName": spec.get("nodeName"),
              "metadata.name": pod.get("metadata", {}).get("name")}  # fmt: skip
    known: dict[str, str] = {}
    for variable in container.get("env", ()):
        path = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        value = fields.get(path) if path else variable.get("value", "" if "valueFrom" not in variable else None)
        if isinstance(value, str):
            known[variable.get("name", "")] = value
    missing = sorted({n for w in words for n in _REFERENCE.findall(w) if n not in known})
    if missing:
        return [], f"its arguments refer to {', '.join(missing)}, whose value the API doesn't show"
    return [_REFERENCE.sub(lambda m: known[m[1]], w) for w in words], ""


def _environ(container: dict[str, Any]) -> dict[str, str] | None:
    wanted = [v for v in container.get("env", ()) if v.get("name") in ENVIRONMENT]
    if container.get("envFrom") or any("value" not in v and "valueFrom" in v for v in wanted):
        return None
    return {v["name"]: str(v.get("value", "")) for v in wanted}


def _started(pod: dict[str, Any], container: dict[str, Any]) -> int:
    for state in pod.get("status", {}).get("containerStatuses", ()):
        when = state.get("state", {}).get("running", {}).get("startedAt")
        if state.get("name") == container.get("name") and when:
            try:
                return int(datetime.fromisoformat(str(when)).timestamp())
            except ValueError:
                return 0
    return 0


def node(item: dict[str, Any]) -> dict[str, Any]:
    """Return a node without its annotations but what k3s and RKE2 were started with: ``nodeArgs``, the text of a JSON list."""
    annotations = item.get("metadata", {}).pop("annotations", None) or {}
    said = next((annotations[a] for a in _NODE_ARGS if a in annotations), None)
    return item if said is None else {**item, "nodeArgs": _node_args(str(said))}


def _node_args(text: str) -> list[str]:
    import json  # few clusters have such nodes

    try:
        words = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return redact_args(words) if isinstance(words, list) and all(isinstance(w, str) for w in words) else []
