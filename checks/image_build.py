"""Rules about how an image was built: what its history tells of the instructions of its build file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from auditor.facts.docker import Engine
from auditor.facts.images import Images
from auditor.model import Fact, Observation, Problem
from checks import base
from checks.image_view import ImageView, Scope, Steps

HISTORY = "docker history"
NO_HISTORY = "its history tells nothing of how it was built (imported or flattened)"


def _listed(parts: list[str]) -> str:
    return base.short("; ".join(parts))


@dataclass(frozen=True, slots=True)
class _Build:
    """What rules about build steps share."""

    #: The local bases of images in scope are judged as well, each on its own steps.
    with_bases: ClassVar[bool] = True
    expected: ClassVar[str] = ""

    def needs(self, scope: Scope) -> frozenset[Fact]:  # noqa: ARG002 - a base may be any image
        """How the images were built."""
        return frozenset({Images("history"), Engine("info")})

    def judge(self, subject: str, image: dict[str, Any], view: ImageView) -> Observation:
        """Look at the steps that are the image's own."""
        steps = view.steps(image, own=True)
        if isinstance(steps, Problem):
            return base.error(subject, steps, expected=self.expected, source=HISTORY)
        if not steps.told:
            if steps.base:
                return base.verdict(subject, ok=True, expected=self.expected, actual=steps.shown(), source=HISTORY)
            return base.not_applicable(subject, expected=self.expected, actual=NO_HISTORY, source=HISTORY)
        wrong, doubts = self.look(image, steps, view)
        if wrong:
            return base.verdict(subject, ok=False, expected=self.expected, actual=_listed(wrong), source=HISTORY)
        doubts += [steps.untold] * bool(steps.untold)
        if doubts:
            return base.manual(subject, expected=self.expected, actual=_listed(doubts), source=HISTORY)
        return base.verdict(subject, ok=True, expected=self.expected, actual=f"none in {steps.shown()}", source=HISTORY)

    def look(self, image: dict[str, Any], steps: Steps, view: ImageView) -> tuple[list[str], list[str]]:
        """Return what is wrong with the steps, and what can't be told."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class LoneUpdate(_Build):
    """No build step refreshes a package index without installing in the same step."""

    expected: ClassVar[str] = "no step that only refreshes a package index"

    def look(self, image: dict[str, Any], steps: Steps, view: ImageView) -> tuple[list[str], list[str]]:  # noqa: ARG002
        """Compare what each step refreshes with what it installs. A script in the same step may install."""
        wrong, doubts = [], []
        for number, step in steps.steps:
            lone = sorted(set(step.get("refresh") or ()) - set(step.get("install") or ()))
            if lone:
                text = f"step {number} refreshes the index of {', '.join(lone)} and installs nothing from it"
                if step.get("script"):
                    doubts.append(f"{text} itself, but runs a script that may")
                else:
                    wrong.append(text)
        return wrong, doubts


@dataclass(frozen=True, slots=True)
class AddInstruction(_Build):
    """No build step copies with ADD. The archive that brings the root file system of a base image is none of them."""

    expected: ClassVar[str] = "COPY in place of ADD"

    def look(self, image: dict[str, Any], steps: Steps, view: ImageView) -> tuple[list[str], list[str]]:
        """Find ADD, leaving out the first content of an image without a base where that is unpacked into /."""
        wrong, doubts = [], []
        first = 0 if steps.base else self._first_content(steps)
        for number, step in steps.steps:
            if step["instruction"] != "ADD":
                continue
            kinds = ", ".join(step.get("sources") or ["unknown source"])
            if number == first and step.get("root"):
                root = self._is_root(step, image, steps, view)
                if root is None:
                    doubts.append(f"step {number} is ADD into /; whether it unpacks a root file system is not told")
                if root is not False:
                    continue
            wrong.append(f"step {number} is ADD ({kinds})")
        return wrong, doubts

    @staticmethod
    def _first_content(steps: Steps) -> int:
        return next((n for n, s in steps.steps if s["instruction"] in ("ADD", "COPY", "RUN", "")), 0)

    @staticmethod
    def _is_root(step: dict[str, Any], image: dict[str, Any], steps: Steps, view: ImageView) -> bool | None:
        """Return whether the first ADD into / brings a root file system; None when that can't be told.

        BuildKit names what it took. The older builder doesn't; then steps that run programs in the image, or that it came from a
        registry as a base, say so.
        """
        if step.get("named"):
            return step.get("sources") == ["archive"]
        if any(s["instruction"] == "RUN" for _, s in steps.steps) or view.pulled(image) is True:
            return True
        return None


@dataclass(frozen=True, slots=True)
class UnverifiedPackages(_Build):
    """No build step leaves out the check of packages' signatures or of a download's origin.

    All steps are judged, those of the base too. That no such step is found proves nothing of packages that were installed:
    ``none_found`` says whether that passes or a person decides; a build that installs and downloads nothing passes.
    """

    with_bases: ClassVar[bool] = False
    expected: ClassVar[str] = "packages and downloads are verified"
    none_found: Literal["manual", "pass"] = "manual"

    def judge(self, subject: str, image: dict[str, Any], view: ImageView) -> Observation:
        """Look for what is known to leave out a check."""
        steps = view.steps(image, own=False)
        if isinstance(steps, Problem):
            return base.error(subject, steps, expected=self.expected, source=HISTORY)
        if not steps.told:
            return base.not_applicable(subject, expected=self.expected, actual=NO_HISTORY, source=HISTORY)
        wrong = [f"step {n}: {', '.join(step['unverified'])}" for n, step in steps.steps if step.get("unverified")]
        if wrong:
            return base.verdict(subject, ok=False, expected=self.expected, actual=_listed(wrong), source=HISTORY)
        installers = sorted({family for _, step in steps.steps for family in step.get("install") or ()})
        others = [
            text
            for key, text in (("downloads", "downloads"), ("script", "runs scripts"))
            if any(s.get(key) for _, s in steps.steps)
        ]
        done = ["installs with " + ", ".join(installers)] * bool(installers) + others
        actual = f"no check is left out in {steps.shown()}" + (
            f"; {', '.join(done)}" if done else "; installs and downloads nothing"
        )
        if steps.untold or (done and self.none_found == "manual"):
            return base.manual(subject, expected=self.expected, actual=_listed([actual, *[steps.untold] * bool(steps.untold)]),
                               source=HISTORY)  # fmt: skip
        return base.verdict(subject, ok=True, expected=self.expected, actual=actual, source=HISTORY)


@dataclass(frozen=True, slots=True)
class Secrets:
    """Nothing in an image's configuration, build steps and key files looks like a secret.

    Names in ``allowed`` (of variables, arguments, labels, flags or files) are none. That nothing is found is no proof:
    ``none_found`` says whether it passes or a person decides.
    """

    with_bases: ClassVar[bool] = False
    allowed: tuple[str, ...] = ()
    none_found: Literal["manual", "pass"] = "manual"

    def needs(self, scope: Scope) -> frozenset[Fact]:
        """How the images were built and what their layers hold."""
        return frozenset({Images("history"), Images("layers-used" if scope == "used" else "layers-all")})

    def judge(self, subject: str, image: dict[str, Any], view: ImageView) -> Observation:
        """Put together what was found, by name and kind; values were never kept."""
        expected = "no secret in the image"
        source = "docker image inspect, docker history, files of the layers"
        steps = view.steps(image, own=False)
        hits = list(image.get("secrets") or ())
        if not isinstance(steps, Problem):
            hits += [hit for _, step in steps.steps for hit in step.get("secrets") or ()]
        stack = view.stack(image)
        files = [] if isinstance(stack, Problem) else [f for folder in stack for f in folder.get("secrets") or ()]
        found = [f"{hit['name']} ({hit['kind']})" for hit in hits if hit["name"] not in self.allowed]
        found += [f"{file['path']} ({file['kind']} in a file)" for file in files if file["path"] not in self.allowed]
        if found:
            return base.verdict(subject, ok=False, expected=expected, actual=_listed(list(dict.fromkeys(found))), source=source)
        if isinstance(steps, Problem):
            return base.error(subject, steps, expected=expected, source=HISTORY)
        searched = f"none found in variables, labels, commands and {steps.shown()}"
        if isinstance(stack, Problem):
            if self.none_found == "pass":
                return base.error(subject, stack, expected=expected, source="files of the layers")
            searched += f"; files were not searched: {stack}"
        else:
            searched += f" and key files of {len(stack)} layers"
        if steps.untold or not steps.told:
            searched += f"; {steps.untold or NO_HISTORY}"
        if self.none_found == "pass" and steps.told and not steps.untold:
            return base.verdict(subject, ok=True, expected=expected, actual=searched, source=source)
        return base.manual(subject, expected=expected, actual=searched, source=source)
