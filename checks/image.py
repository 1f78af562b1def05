"""``image``: a field of every image, or one of the rules that need more than a field."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from auditor.facts.docker import Engine
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason, problem_of
from checks import base, engines
from checks.container_identity import declared_uid
from checks.docker_info import field_judge
from checks.engines import EngineFacts
from checks.expectation import Expect, Scalar
from checks.image_build import AddInstruction, LoneUpdate, Secrets, UnverifiedPackages
from checks.image_content import Packages, SetuidFiles
from checks.image_origin import TrustedSource, VerifiedSignature
from checks.image_rebuilt import Rebuilt
from checks.image_view import ImageView, Scope


class Rule(Protocol):
    """A condition on one image: a frozen dataclass whose fields are its parameters in a benchmark file."""

    #: Whether the local bases of images in scope are judged as well.
    with_bases: ClassVar[bool]

    def needs(self, scope: Scope) -> frozenset[Fact]:
        """Return the facts it reads beside the images and the containers."""
        ...

    def judge(self, subject: str, image: dict[str, Any], view: ImageView) -> Observation:
        """Return the observation about one image (an inspect document; see `auditor.facts.docker`)."""
        ...


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """An image defines a health check; ``HEALTHCHECK NONE`` is none."""

    with_bases: ClassVar[bool] = False

    def needs(self, scope: Scope) -> frozenset[Fact]:  # noqa: ARG002 - the images say it all
        """Nothing beside the images."""
        return frozenset()

    def judge(self, subject: str, image: dict[str, Any], view: ImageView) -> Observation:  # noqa: ARG002
        """Look at the command; a check that only changes intervals has none of its own."""
        test = ((image.get("Config") or {}).get("Healthcheck") or {}).get("Test")
        kind = str(test[0]) if isinstance(test, list) and test else ""
        defined = kind not in ("", "NONE") and len(test or ()) > 1
        actual = "turned off (NONE)" if kind == "NONE" else "defined" if defined else "none"
        return base.verdict(subject, defined, expected="a health check", actual=actual,
                            source=engines.source("images", "Config.Healthcheck.Test"))  # fmt: skip


@dataclass(frozen=True, slots=True)
class ImageUser:
    """An image declares a user other than root; a name other than root can't be resolved from outside the image."""

    with_bases: ClassVar[bool] = False

    def needs(self, scope: Scope) -> frozenset[Fact]:  # noqa: ARG002 - the images say it all
        """Nothing beside the images."""
        return frozenset()

    def judge(self, subject: str, image: dict[str, Any], view: ImageView) -> Observation:  # noqa: ARG002
        """Look at the declared user."""
        user = str((image.get("Config") or {}).get("User") or "")
        uid = declared_uid(user)
        where = engines.source("images", "Config.User")
        expected = "a user other than root"
        if uid is None:
            problem = Problem(Reason.ABSENT, f"declared user {user}, whose number is not known")
            return base.error(subject, problem, expected=expected, source=where)
        return base.verdict(subject, uid != 0, expected=expected, actual=user or "none (root)", source=where)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """Every image must satisfy ``field`` with ``expect``, or one rule; one observation an image.

    ``scope``: ``all`` images that the engine lists, or those ``used`` by a container of the engine, stopped ones included; a
    used image that isn't listed is missing evidence. ``default`` is what a field that isn't given means; without it such a
    field is missing evidence.
    """

    field: str = ""
    expect: Expect | None = None
    default: Scalar | tuple[Scalar, ...] | None = None
    scope: Scope = "all"
    add_instruction: AddInstruction | None = None
    healthcheck: HealthCheck | None = None
    lone_update: LoneUpdate | None = None
    packages: Packages | None = None
    rebuilt: Rebuilt | None = None
    secrets: Secrets | None = None
    setuid_files: SetuidFiles | None = None
    trusted_source: TrustedSource | None = None
    unverified_packages: UnverifiedPackages | None = None
    user: ImageUser | None = None
    verified_signature: VerifiedSignature | None = None

    def __post_init__(self) -> None:
        if bool(self.field) + len(self._rules()) != 1:
            names = [f.name for f in dataclasses.fields(self) if f.name not in ("field", "expect", "default", "scope")]
            raise ValueError("give either field and expect, or exactly one rule: " + ", ".join(names))
        if bool(self.field) != (self.expect is not None) or (self.default is not None and not self.field):
            raise ValueError("field and expect go together, and default only with them")
        if self.field:
            engines.parse_path("images", self.field)

    def _rules(self) -> list[Rule]:
        return [rule for rule in (
            self.add_instruction, self.healthcheck, self.lone_update, self.packages, self.rebuilt, self.secrets, self.setuid_files,
            self.trusted_source, self.unverified_packages, self.user, self.verified_signature,
        ) if rule is not None]  # fmt: skip

    def needs(self) -> frozenset[Fact]:
        """The images, the containers where use decides, and what a rule reads."""
        used = frozenset({Engine("containers")}) if self.scope == "used" else frozenset()
        return frozenset({Engine("images")}).union(used, *(rule.needs(self.scope) for rule in self._rules()))

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every image in scope of every engine."""
        found = engines.answers(facts, "images")
        observations = list(found.missing)
        reasons = [found.reason]
        for engine, images in found.read:
            chosen: list[dict[str, Any]] | Problem = images if self.scope == "all" else _used(images, engine)
            if isinstance(chosen, Problem):
                observations.append(base.error(f"daemon/dockerd{engine.suffix}", chosen, source=engines.source("containers")))
            elif not chosen:
                reasons.append("no container uses an image" if images and self.scope == "used" else "the engine has no images")
            else:
                view = ImageView(engine, images, self.scope)
                observations.extend(self._judge(image, view) for image in self._with_bases(chosen, view))
        return engines.conclude(observations, reasons)

    def _with_bases(self, chosen: list[dict[str, Any]], view: ImageView) -> list[dict[str, Any]]:
        """Add the local bases of images that no registry knows: their build files are this site's own too."""
        found = {image["Id"]: image for image in chosen}
        if not any(rule.with_bases for rule in self._rules()):
            return chosen
        waiting = [image for image in chosen if "problem" not in image]
        while waiting:
            on = view.base(waiting.pop())
            if on is not None and on["Id"] not in found and view.pulled(on) is not True:
                found[on["Id"]] = on
                waiting.append(on)
        return [*chosen, *list(found.values())[len({image["Id"] for image in chosen}) :]]

    def _judge(self, image: dict[str, Any], view: ImageView) -> Observation:
        subject = f"image/{engines.name_of_image(image)}{view.engine.suffix}"
        if "problem" in image:
            return base.error(subject, problem_of(image), source=engines.source("images"))
        for rule in self._rules():
            return rule.judge(subject, image, view)
        assert self.expect is not None
        return field_judge("images", self.field, self.expect, self.default)(subject, image)


def _used(images: list[dict[str, Any]], engine: EngineFacts) -> list[dict[str, Any]] | Problem:
    """Return the images that containers run, in place of one that isn't listed a problem.

    An image that could not be read at all has no known id; it may be any, so it is in scope.
    """
    containers = engine.document("containers")
    if isinstance(containers, Problem):
        return containers
    if any("problem" in c for c in containers):
        return Problem(Reason.ABSENT, "not every container could be read, so which images are used is not known")
    users = {str(c.get("Image") or ""): c for c in reversed(containers)}
    chosen = [i for i in images if i["Id"] in users or not str(i["Id"]).strip("?")]
    for identity in sorted(users.keys() - {i["Id"] for i in images}):
        detail = f"the image of container/{engines.name_of_container(users[identity])} is not among the engine's images"
        tag = (users[identity].get("Config") or {}).get("Image")
        missing = {"Id": identity or "?", "problem": {"reason": Reason.ABSENT.value, "detail": detail}}
        chosen.append({**missing, "RepoTags": [tag]} if tag else missing)
    return chosen
