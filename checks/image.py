"""``image``: a field of every image, or one of the rules that need more than a field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from auditor.facts.docker import Engine
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason
from checks import base, engines
from checks.container_identity import declared_uid
from checks.docker_info import field_judge
from checks.engines import EngineFacts
from checks.expectation import Expect, Scalar


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """An image defines a health check; ``HEALTHCHECK NONE`` is none."""

    def judge(self, subject: str, image: dict[str, Any]) -> Observation:
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

    def judge(self, subject: str, image: dict[str, Any]) -> Observation:
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
    scope: Literal["all", "used"] = "all"
    healthcheck: HealthCheck | None = None
    user: ImageUser | None = None

    def __post_init__(self) -> None:
        if bool(self.field) + len(self._rules()) != 1:
            raise ValueError("give either field and expect, or exactly one rule: healthcheck, user")
        if bool(self.field) != (self.expect is not None) or (self.default is not None and not self.field):
            raise ValueError("field and expect go together, and default only with them")
        if self.field:
            engines.parse_path("images", self.field)

    def _rules(self) -> list[HealthCheck | ImageUser]:
        return [rule for rule in (self.healthcheck, self.user) if rule is not None]

    def needs(self) -> frozenset[Fact]:
        """The images, and the containers where use decides."""
        return frozenset({Engine("images"), *((Engine("containers"),) if self.scope == "used" else ())})

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
                observations.extend(self._judge(image, engine) for image in chosen)
        return engines.conclude(observations, reasons)

    def _judge(self, image: dict[str, Any], engine: EngineFacts) -> Observation:
        subject = f"image/{engines.name_of_image(image)}{engine.suffix}"
        if "problem" in image:
            return base.error(subject, engines.problem_of(image), source=engines.source("images"))
        for rule in self._rules():
            return rule.judge(subject, image)
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
