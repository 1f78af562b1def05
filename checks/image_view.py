"""What rules about images share: an engine's images with their build steps, their bases and what their layers hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from auditor.facts.images import Images, Part
from auditor.model import Problem, Reason, problem_of
from checks import engines
from checks.engines import EngineFacts

Scope = Literal["all", "used"]


@dataclass(frozen=True, slots=True)
class Steps:
    """An image's build steps, oldest first, as `auditor.facts.images` has them, with their numbers.

    ``base`` is the local image whose steps were left out (its name; empty: none were). ``untold`` says why the steps are not
    the whole story, empty when they are; ``told`` is whether anything at all is known of how the image was built.
    """

    steps: tuple[tuple[int, dict[str, Any]], ...]
    base: str
    untold: str
    told: bool

    def shown(self) -> str:
        """Return how many steps were looked at, and which were not."""
        count = f"{len(self.steps)} build step{'' if len(self.steps) == 1 else 's'}"
        return f"{count} after those of {self.base}" if self.base else count


@dataclass
class ImageView:
    """The images of one engine. Everything is worked out when it is first asked for."""

    engine: EngineFacts
    images: list[dict[str, Any]]
    scope: Scope
    _histories: dict[str, Any] | Problem | None = field(default=None, init=False)
    _bases: dict[str, dict[str, Any] | None] = field(default_factory=dict, init=False)
    _by_layers: dict[tuple[str, ...], list[dict[str, Any]]] | None = field(default=None, init=False)

    def about(self, part: Part) -> Any | Problem:
        """Return this engine's answer to one part of the `Images` facts."""
        answers = self.engine.facts.get(Images(part))
        if isinstance(answers, Problem):
            return answers
        for answer in answers:
            if (answer["engine"], answer.get("pid")) == (self.engine.url, self.engine.pid):
                return problem_of(answer) if "problem" in answer else answer["data"]
        return Problem(Reason.ABSENT, f"no {part} of the images of {self.engine.url}")

    def history(self, image: dict[str, Any]) -> list[dict[str, Any]] | Problem:
        """Return all build steps of an image."""
        if self._histories is None:
            told = self.about("history")
            self._histories = told if isinstance(told, Problem) else {element["Id"]: element for element in told}
        if isinstance(self._histories, Problem):
            return self._histories
        element = self._histories.get(image["Id"]) or self._histories.get("?")
        if element is None:
            return Problem(Reason.ABSENT, "its history is not among those that the engine told")
        return problem_of(element) if "problem" in element else list(element["steps"])

    def pulled(self, image: dict[str, Any]) -> bool | Problem:
        """Return whether an image is known to a registry: it has a digest there.

        With containerd's image store every image has one, also those that were built here, so that it proves nothing.
        """
        if not image.get("RepoDigests"):
            return False
        info = self.engine.document("info")
        if isinstance(info, Problem):
            return info
        return not containerd_store(info)

    def base(self, image: dict[str, Any]) -> dict[str, Any] | None:
        """Return the nearest local image that an image was built on: named, its layers and steps are the first of this one's."""
        if image["Id"] not in self._bases:
            self._bases[image["Id"]] = self._find_base(image)
        return self._bases[image["Id"]]

    def _find_base(self, image: dict[str, Any]) -> dict[str, Any] | None:
        steps = self.history(image)
        layers = layers_of(image)
        if isinstance(steps, Problem) or not layers:
            return None
        if self._by_layers is None:
            self._by_layers = {}
            for other in self.images:
                if "problem" not in other and layers_of(other) and is_named(other):
                    self._by_layers.setdefault(layers_of(other), []).append(other)
        found: tuple[int, dict[str, Any]] | None = None
        for length in range(1, len(layers) + 1):
            for other in self._by_layers.get(layers[:length], ()):
                earlier = self.history(other) if other["Id"] != image["Id"] else Problem(Reason.ABSENT, "itself")
                if isinstance(earlier, Problem) or not len(earlier) < len(steps):
                    continue
                longer = found is None or len(earlier) > found[0]
                if longer and all(_same(a, b) for a, b in zip(earlier, steps, strict=False)):
                    found = len(earlier), other
        return found[1] if found else None

    def steps(self, image: dict[str, Any], *, own: bool) -> Steps | Problem:
        """Return an image's build steps; with ``own`` without those of its nearest local base."""
        steps = self.history(image)
        if isinstance(steps, Problem):
            return steps
        base = self.base(image) if own else None
        earlier = self.history(base) if base is not None else []
        skipped = 0 if isinstance(earlier, Problem) else len(earlier)
        numbered = tuple(enumerate(steps, 1))[skipped:]
        untold = _untold(steps, numbered, layers_of(image))
        return Steps(numbered, engines.name_of_image(base) if base else "", untold, any(s["instruction"] for _, s in numbered))

    def stack(self, image: dict[str, Any]) -> list[dict[str, Any]] | Problem:
        """Return what an image's layer folders hold, topmost first."""
        told = self.about("layers-used" if self.scope == "used" else "layers-all")
        if isinstance(told, Problem):
            return told
        driver = image.get("GraphDriver") or {}
        data = driver.get("Data") or {}
        paths = [str(data.get("UpperDir") or ""), *str(data.get("LowerDir") or "").split(":")]
        paths = [path for path in paths if path]
        if not paths:
            name = driver.get("Name") or "containerd's image store"
            return Problem(Reason.ABSENT, f"the engine names no layer folders (storage: {name})")
        problems = {problem["path"]: problem for problem in told["problems"]}
        for path in paths:
            if path in problems:
                return Problem(problem_of(problems[path]).reason, f"{path}: {problems[path]['problem']['detail']}")
            if path not in told["folders"]:
                return Problem(Reason.ABSENT, f"{path}: was not told")
        return [told["folders"][path] for path in paths]


def containerd_store(info: dict[str, Any]) -> bool:
    """Return whether an engine keeps its images in containerd's store."""
    return any("io.containerd.snapshotter" in str(pair) for pair in info.get("DriverStatus") or ())


def layers_of(image: dict[str, Any]) -> tuple[str, ...]:
    """Return the digests of an image's layers, lowest first."""
    return tuple(map(str, (image.get("RootFS") or {}).get("Layers") or ()))


def is_named(image: dict[str, Any]) -> bool:
    """Return whether an image has a tag or a registry's digest; others may be what an earlier build left behind."""
    return any(not str(name).startswith("<none>") for name in (*(image.get("RepoTags") or ()), *(image.get("RepoDigests") or ())))


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return "text" in one and all(one.get(key) == other.get(key) for key in ("text", "created", "size"))


def _untold(steps: list[dict[str, Any]], own: tuple[tuple[int, dict[str, Any]], ...], layers: tuple[str, ...]) -> str:
    if any(step.get("cut") for _, step in own):
        return "a build step is too long to be read"
    if len(steps) < len(layers):
        return f"its history tells of {len(steps)} steps, but it has {len(layers)} layers"
    if any(not step["instruction"] and step.get("comment") not in ("import", "merge") for _, step in own):
        return "its history leaves out what a step did"
    return ""


def visible(stack: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], set[str]]]:
    """Return each layer folder, topmost first, with the names that folders above it replace or remove."""
    hidden: set[str] = set()
    for folder in stack:
        yield folder, hidden
        hidden = hidden | set(folder.get("hides") or ())


def is_hidden(path: str, hidden: set[str]) -> bool:
    """Return whether a path, or a folder that it is in, is among the hidden names."""
    return any(part in hidden for part in _and_above(path))


def _and_above(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]
