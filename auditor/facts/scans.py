"""What image scanners found: given by the user beside a target's own answers, never asked of a target.

The value of the `Scans` fact is::

    {"at": "2026-11-22T03:00:00Z",    # when the target's evidence was collected: the time by which a scan is old or new
     "given": 12,                      # how many results were given, of whichever images
     "scans": [...]}                   # those that may be of this target's images, each as `auditor.scans` reduces it

A reduced scan::

    {"scanner": "trivy", "version": "0.58.0", "file": "web.json", "sha256": "...",   # the result's file, and its digest
     "time": "2026-11-20T10:00:00Z", "time_from": "report",   # or "file": the file's date, where the scanner tells none; or ""
     "name": "shop/web:1.4", "image_id": "sha256:...", "digests": ["sha256:..."], "layers": "...", "tags": ["shop/web:1.4"],
     "platform": "amd64",
     "looked": true,                   # whether it says of any package that it was looked at
     "narrowed": "", "eol": "",        # what the scanner was told to leave out; which distribution gets no updates any more
     "suppressed": 0,                  # findings that rules of the scanner's user hide
     "counts": {"critical": [1, 0], ...},   # by severity: how many with a fix, how many without
     "worst": [{"id": "CVE-...", "package": "openssl", "installed": "1.1", "fixed": "1.2", "severity": "critical"}]}

Times are UTC. What an image is is told by digests; a tag can be given to any image.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

SEVERITIES = ("critical", "high", "medium", "low", "unknown")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

Match = Literal["image id", "layers", "digest", "tag", ""]


@dataclass(frozen=True, slots=True)
class Scans:
    """What image scanners found on this target's images. No target is asked for it."""

    @property
    def key(self) -> str:
        """Always ``scans``."""
        return "scans"


def layers_key(layers: Iterable[Any]) -> str:
    """Return one digest for the digests of an image's layers, lowest first; empty where there are none or one is no digest."""
    return _layers_key(tuple(str(layer) for layer in layers))


@lru_cache(maxsize=4096)
def _layers_key(listed: tuple[str, ...]) -> str:
    if not listed or not all(DIGEST.fullmatch(layer) for layer in listed):
        return ""
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()


def digests_of(names: Iterable[Any]) -> set[str]:
    """Return the digests in names such as ``registry.example.com/app@sha256:...``."""
    return {digest for name in names if DIGEST.fullmatch(digest := str(name).rpartition("@")[2])}


def words_of(image: dict[str, Any]) -> set[str]:
    """Return every word by which a scan may be of an image: without one in common, `match` is empty."""
    layers = layers_key((image.get("RootFS") or {}).get("Layers") or ())
    tags = map(str, image.get("RepoTags") or ())
    return {str(image.get("Id") or ""), layers, *digests_of(image.get("RepoDigests") or ()), *tags} - {""}


def match(scan: dict[str, Any], image: dict[str, Any]) -> Match:
    """Return by what a scan is one of an image (an inspect document; see `auditor.facts.docker`); empty: it isn't.

    An image's id decides where both tell it. Docker's own store names an image by its configuration's digest, as scanners do;
    containerd's by a digest that a registry has too, which may stand for images of several platforms: there the platform must
    agree. A tag counts only where the scan has no digest at all, and proves nothing.
    """
    identity, known = str(image.get("Id") or ""), digests_of(image.get("RepoDigests") or ())
    own = scan["image_id"]
    if own and own == identity:
        return "image id"
    layers = layers_key((image.get("RootFS") or {}).get("Layers") or ())
    if layers and layers == scan["layers"]:
        return "layers"
    if own and DIGEST.fullmatch(identity) and identity not in known:
        return ""  # both tell the digest of a configuration, and they are two
    platforms = {scan["platform"], str(image.get("Architecture") or "")} - {""}
    if len(platforms) < 2 and {own, *scan["digests"]} & (known | {identity}) - {""}:
        return "digest"
    if not (own or scan["digests"] or scan["layers"]) and set(scan["tags"]) & set(map(str, image.get("RepoTags") or ())):
        return "tag"
    return ""
