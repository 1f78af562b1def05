"""Rules about where an image comes from, and whether its signature was verified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from auditor.facts.docker import Engine
from auditor.facts.images import Images
from auditor.model import Fact, Observation, Problem, Reason
from checks import base, engines
from checks.image_view import ImageView, Scope, layers_of

_OFFICIAL = "docker.io/library"


def repository(name: str) -> str:
    """Return an image's name with its registry, without tag and digest: ``nginx:1`` is ``docker.io/library/nginx``."""
    plain = name.partition("@")[0]
    head, colon, tail = plain.rpartition(":")
    if colon and "/" not in tail:
        plain = head
    first, slash, rest = plain.partition("/")
    if first == "index.docker.io":
        first, plain = "docker.io", f"docker.io/{rest}"
    if not slash:
        return f"{_OFFICIAL}/{plain}"
    if first == "docker.io" and "/" not in rest:
        return f"{_OFFICIAL}/{rest}"
    return plain if "." in first or ":" in first or first == "localhost" else f"docker.io/{plain}"


def is_within(name: str, allowed: tuple[str, ...]) -> bool:
    """Return whether a repository is one of those allowed, or lies below one."""
    return any(name == entry or name.startswith(entry.rstrip("/") + "/") for entry in allowed)


@dataclass(frozen=True, slots=True)
class ApprovedBase:
    """A base image that a site trusts: the digests of its layers, lowest first, as RootFS.Layers of ``docker image inspect``."""

    name: str
    layers: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.layers or any(not layer.startswith("sha256:") for layer in self.layers):
            raise ValueError("layers are the digests in RootFS.Layers of docker image inspect, each sha256:...")


@dataclass(frozen=True, slots=True)
class TrustedSource:
    """An image comes from one of ``registries`` (``registry.example.com``, ``docker.io/library``) or is built on one of ``bases``.

    What counts is a digest of the registry, which only pulling or pushing gives, never a tag, which anybody can give. An image
    that was built here is judged by its layers: those of an approved base, or of a local image that comes from a trusted
    registry, must be its lowest. What a label says of the base is a claim: it is shown.
    """

    with_bases: ClassVar[bool] = False
    registries: tuple[str, ...] = ()
    bases: tuple[ApprovedBase, ...] = ()

    def needs(self, scope: Scope) -> frozenset[Fact]:  # noqa: ARG002 - a base may be any image
        """How images are stored, and how they were built."""
        return frozenset({Engine("info"), Images("history")})

    def judge(self, subject: str, image: dict[str, Any], view: ImageView) -> Observation:
        """Compare the image's registry, then its layers."""
        expected = (
            f"from {base.show(self.registries + tuple(b.name for b in self.bases))}" if self._policy() else "from a trusted source"
        )
        source = engines.source("images", "RepoDigests, RootFS.Layers")
        pulled = view.pulled(image)
        if isinstance(pulled, Problem):
            return base.error(subject, pulled, expected=expected, source=engines.source("info", "DriverStatus"))
        shown = _origin(image, pulled=pulled)
        if not self._policy():
            return base.manual(subject, expected=expected, actual=shown, source=source)
        if pulled and (trusted := self._trusted(image)):
            return base.verdict(subject, ok=True, expected=expected, actual=f"digest of {trusted}", source=source)
        if on := self._approved(image) or self._trusted_base(image, view):
            return base.verdict(subject, ok=True, expected=expected, actual=f"built on {on}", source=source)
        if pulled:
            return base.verdict(subject, ok=False, expected=expected, actual=shown, source=source)
        if not layers_of(image):
            problem = Problem(Reason.ABSENT, "the engine's answer has no layers")
            return base.error(subject, problem, expected=expected, source=source)
        claimed = _label(image, "base.name")
        if self.registries and claimed and not is_within(repository(claimed), self.registries):
            return base.verdict(subject, ok=False, expected=expected, actual=shown, source=source)
        if self.bases and not self.registries:
            actual = f"{shown}; its layers are not those of an approved base"
            return base.verdict(subject, ok=False, expected=expected, actual=actual, source=source)
        return base.manual(subject, expected=expected, actual=shown, source=source)

    def _policy(self) -> bool:
        return bool(self.registries or self.bases)

    def _trusted(self, image: dict[str, Any]) -> str:
        names = sorted({repository(str(digest)) for digest in image.get("RepoDigests") or ()})
        return next((name for name in names if is_within(name, self.registries)), "")

    def _approved(self, image: dict[str, Any]) -> str:
        layers = layers_of(image)
        return next((b.name for b in self.bases if layers[: len(b.layers)] == b.layers), "")

    def _trusted_base(self, image: dict[str, Any], view: ImageView) -> str:
        on = view.base(image)
        while on is not None:
            if view.pulled(on) is True and (trusted := self._trusted(on)):
                return trusted
            on = view.base(on)
        return ""


def _label(image: dict[str, Any], name: str) -> str:
    return str(((image.get("Config") or {}).get("Labels") or {}).get(f"org.opencontainers.image.{name}") or "")


def _origin(image: dict[str, Any], *, pulled: bool) -> str:
    """Return what is known of an image's origin."""
    digests = [str(digest) for digest in image.get("RepoDigests") or ()]
    parts = [base.show(digests) if pulled else "built or loaded here, no registry's digest"]
    if digests and not pulled:
        parts = [f"containerd's store gives every image a digest, so that it proves no registry: {base.show(digests)}"]
    if claimed := _label(image, "base.name"):
        parts.append(f"its label names the base {base.short(claimed)}")
    return base.short("; ".join(parts))


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """An image's digest is among those that the site has verified (``verified``); without such a list a person decides.

    Signatures are kept by registries, which are not asked.
    """

    with_bases: ClassVar[bool] = False
    verified: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if wrong := [digest for digest in self.verified if not digest.startswith("sha256:")]:
            raise ValueError(f"verified lists digests, sha256:...: {wrong[0]!r}")

    def needs(self, scope: Scope) -> frozenset[Fact]:  # noqa: ARG002 - the images say it all
        """Nothing beside the images."""
        return frozenset()

    def judge(self, subject: str, image: dict[str, Any], view: ImageView) -> Observation:  # noqa: ARG002
        """Look the image's digests up."""
        expected = "a digest whose signature was verified"
        source = engines.source("images", "RepoDigests")
        digests = sorted({str(d).rpartition("@")[2] for d in image.get("RepoDigests") or ()})
        shown = base.show(image.get("RepoDigests") or "no registry's digest, so that no registry can hold its signature")
        if not self.verified:
            return base.manual(subject, expected=expected, actual=shown, source=source)
        known = [digest for digest in (*digests, str(image["Id"])) if digest in self.verified]
        return base.verdict(subject, bool(known), expected=expected, actual=known[0] if known else shown, source=source)
