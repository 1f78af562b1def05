"""What runs from the images that scanners looked at: derived from a target's evidence alone, and finite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from auditor.facts.docker import Engine
from auditor.facts.scans import Scans, match
from auditor.holdings import ScannedImage
from auditor.model import Evidence

#: How many images of a target are kept, the worst first, and how many ports of one.
MOST, MOST_PORTS = 500, 20

#: How the ports of a container that uses its host's network are told.
HOST_NETWORK = "the host's network"


def scanned_of(evidence: Evidence) -> tuple[ScannedImage, ...]:
    """Return the images of a target that a scan is of by a digest, those with most to fix first."""
    given = evidence.get(Scans())
    if not isinstance(given, dict):
        return ()
    try:
        return _scanned(evidence, given)
    except (AttributeError, KeyError, TypeError, ValueError):
        return ()  # a bundle that we didn't write; the control about it is an error, which says so


def _scanned(evidence: Evidence, given: dict[str, Any]) -> tuple[ScannedImage, ...]:
    containers = {_engine(a): a.get("data") or () for a in _answers(evidence, Engine("containers"))}
    found: list[ScannedImage] = []
    for answer in _answers(evidence, Engine("images")):
        used: dict[str, list[dict[str, Any]]] = {}
        for container in containers.get(_engine(answer), ()):
            if (container.get("State") or {}).get("Running"):
                used.setdefault(str(container.get("Image") or ""), []).append(container)
        found += [
            _image(image, scan, used.get(str(image["Id"]), []))
            for image in answer.get("data") or ()
            if "problem" not in image and (scan := _worst(image, given["scans"])) is not None
        ]
    found.sort(key=lambda i: (-i.critical_fixable, -i.critical, -i.high_fixable, -i.high, i.name, i.id))
    return tuple(found[:MOST])


def _answers(evidence: Evidence, fact: Engine) -> list[dict[str, Any]]:
    answer = evidence.get(fact)
    return answer if isinstance(answer, list) else []


def _engine(answer: dict[str, Any]) -> tuple[Any, Any]:
    return answer.get("engine"), answer.get("pid")


def _worst(image: dict[str, Any], scans: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return, of each scanner's newest scan of an image, the one that found most; a tag makes a scan nobody's."""
    newest: dict[str, dict[str, Any]] = {}
    for scan in sorted(scans, key=lambda s: (s["time"], s["sha256"])):
        if match(scan, image) not in ("", "tag"):
            newest[scan["scanner"]] = scan
    return max(newest.values(), key=lambda s: [s["counts"]["critical"], s["counts"]["high"], s["scanner"]], default=None)


def _image(image: dict[str, Any], scan: dict[str, Any], running: list[dict[str, Any]]) -> ScannedImage:
    tags = [str(t) for t in image.get("RepoTags") or () if not str(t).startswith("<none>")]
    (fixable, unfixed), (high, high_unfixed) = scan["counts"]["critical"], scan["counts"]["high"]
    ports = [sorted(set(_ports(c))) for c in running]
    return ScannedImage(
        name=(tags[0] if tags else str(image["Id"]).removeprefix("sha256:")[:12])[:300],
        id=str(image["Id"])[:100],
        scanner=f"{scan['scanner']} {scan['version']}".strip(),
        scanned=scan["time"],
        critical=fixable + unfixed,
        critical_fixable=fixable,
        high=high + high_unfixed,
        high_fixable=high,
        running=len(running),
        privileged=sum(bool((c.get("HostConfig") or {}).get("Privileged")) for c in running),
        published=sum(map(bool, ports)),
        ports=tuple(sorted({p for listed in ports for p in listed})[:MOST_PORTS]),
        worst=tuple(f"{v['id']} in {v['package']}" for v in scan["worst"][:3] if v["severity"] in ("critical", "high")),
    )


def _ports(container: dict[str, Any]) -> Iterator[str]:
    """Yield the ports by which a container can be reached from outside its host; what is bound to loopback can't."""
    if (container.get("HostConfig") or {}).get("NetworkMode") == "host":
        yield HOST_NETWORK
    ports = (container.get("NetworkSettings") or {}).get("Ports")
    for inner, bindings in ports.items() if isinstance(ports, dict) else ():
        for binding in bindings if isinstance(bindings, list) else ():
            address = str(binding.get("HostIp") or "") if isinstance(binding, dict) else ""
            if isinstance(binding, dict) and not (address.startswith("127.") or address == "::1"):
                yield f"{str(binding.get('HostPort') or '?')[:20]}/{str(inner).partition('/')[2][:10] or 'tcp'}"
