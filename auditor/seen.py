"""The inventory of what was seen on a target: derived from its evidence alone, and finite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from auditor.facts.docker import Engine
from auditor.facts.kubernetes import Objects
from auditor.facts.node import KubernetesVersion
from auditor.holdings import Seen
from auditor.model import Evidence, Fact

#: How many things of a kind are kept of a target, and how many characters of a name and of what is said about it.
MOST, LONGEST = 500, 300

#: The kinds, in the order in which they are told.
KINDS = ("engine", "program", "container", "image", "node", "namespace")


def seen_of(evidence: Evidence) -> tuple[Seen, ...]:
    """Return what a target holds, by kind; kinds of which nothing was seen are left out."""
    found: dict[str, list[tuple[str, str]]] = {kind: [] for kind in KINDS}
    for kind, name, about in (*_docker(evidence), *_kubernetes(evidence)):
        found[kind].append((name[:LONGEST], about[:LONGEST]))
    return tuple(Seen(kind, len(things), tuple(sorted(things)[:MOST])) for kind, things in found.items() if things)


def _listed(evidence: Evidence, fact: Fact) -> list[Any]:
    answer = evidence.get(fact)
    return answer if isinstance(answer, list) else []


def _words(*parts: object) -> str:
    return ", ".join(str(p) for p in parts if p)


def _after(word: str, text: object) -> str:
    return f"{word}{text}" if text else ""


def _docker(evidence: Evidence) -> Iterator[tuple[str, str, str]]:
    """Yield (kind, name, about) of engines and of what they hold."""
    for answer in _listed(evidence, Engine("version")):
        if data := answer.get("data"):
            components = data.get("Components") or ()
            maker = "Podman" if any(str(c.get("Name")).startswith("Podman") for c in components) else "Docker"
            parts = (f"{c.get('Name')} {c.get('Version')}" for c in components if not str(c.get("Name")).endswith("Engine"))
            yield "engine", f"{maker} {data.get('Version', '?')}", _words(*parts, _after("API ", data.get("ApiVersion")))
    for answer in _listed(evidence, Engine("containers")):
        for container in answer.get("data") or ():
            name = str(container.get("Name") or "").lstrip("/") or str(container["Id"]).removeprefix("sha256:")[:12]
            state = (container.get("State") or {}).get("Status")
            yield "container", name, _words((container.get("Config") or {}).get("Image"), state)
    for answer in _listed(evidence, Engine("images")):
        for image in answer.get("data") or ():
            identity = str(image["Id"]).removeprefix("sha256:")[:12]
            tags = [str(t) for t in image.get("RepoTags") or () if not str(t).startswith("<none>")]
            platform = "/".join(str(image[k]) for k in ("Os", "Architecture") if image.get(k))
            about = _words(identity, platform, _after("built ", str(image.get("Created") or "")[:10]))
            for tag in tags or [identity]:
                yield "image", tag, about


def _kubernetes(evidence: Evidence) -> Iterator[tuple[str, str, str]]:
    """Yield (kind, name, about) of a node's programs and of what a cluster's API shows."""
    for program in _listed(evidence, KubernetesVersion()):
        if version := program.get("version"):
            yield "program", f"{program.get('name', '?')} {version}", ""
    for node in _listed(evidence, Objects("nodes")):
        info = (node.get("status") or {}).get("nodeInfo") or {}
        told = ("kubeletVersion", "osImage", "containerRuntimeVersion", "architecture")
        yield "node", _name(node), _words(*(info.get(k) for k in told))
    pods: Counter[str] = Counter()
    images: Counter[str] = Counter()
    for pod in _listed(evidence, Objects("pods")):
        count = int(pod.get("count", 1))
        pods[str((pod.get("metadata") or {}).get("namespace", ""))] += count
        for image in set(_images(pod.get("spec") or {})):
            images[image] += count
    for image, count in images.items():
        yield "image", image, f"in {_pods(count)}"
    for namespace in _listed(evidence, Objects("namespaces")):
        name = _name(namespace)
        yield "namespace", name, _pods(pods[name]) if pods else ""


def _pods(count: int) -> str:
    return f"{count:,} pod{'' if count == 1 else 's'}"


def _name(item: dict[str, Any]) -> str:
    return str((item.get("metadata") or {}).get("name", "?"))


def _images(spec: dict[str, Any]) -> Iterable[str]:
    return (
        str(c["image"])
        for k in ("containers", "initContainers", "ephemeralContainers")
        for c in spec.get(k) or ()
        if c.get("image")
    )
