"""``docker_info``: one field of what an engine says about itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from auditor.facts.docker import Document, Engine
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason
from checks import base, engines
from checks.expectation import Expect, Scalar

DEFAULT_BRIDGE = "com.docker.network.bridge.default_bridge"


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerInfo:
    """``field`` of an engine's ``document`` must be as ``expect`` says; one observation an engine.

    ``field`` is a path such as ``Swarm.LocalNodeState``, ``Components[].Version`` (a list) or ``Options["name.with.dots"]``.
    With the document ``networks`` the field is that of one ``network``: ``default_bridge`` is the one that containers join
    when they name no other. ``default`` is what a field that isn't given means; without it such a field is missing evidence,
    unless the question is whether it is set.
    """

    document: Literal["info", "version", "networks"]
    field: str
    expect: Expect
    default: Scalar | tuple[Scalar, ...] | None = None
    network: Literal["default_bridge"] | None = None

    def __post_init__(self) -> None:
        engines.parse_path(self.document, self.field)
        if (self.document == "networks") != (self.network is not None):
            raise ValueError("network goes with the document networks, which needs it")

    def needs(self) -> frozenset[Fact]:
        """The one document."""
        return frozenset({Engine(self.document)})

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every engine; no engine, or one without such a network, is not applicable."""
        found = engines.answers(facts, self.document)
        observations = list(found.missing)
        reasons = [found.reason]
        judge = field_judge(self.document, self.field, self.expect, self.default)
        for engine, data in found.read:
            chosen = data
            if self.network is not None:
                chosen = next((n for n in data if (n.get("Options") or {}).get(DEFAULT_BRIDGE) == "true"), None)
                if chosen is None:
                    reasons.append("the engine has no default bridge network")
                    continue
            observations.append(judge(f"daemon/dockerd{engine.suffix}", chosen))
        return engines.conclude(observations, reasons)


def field_judge(document: Document, field: str, expect: Expect, default: Any) -> Callable[[str, dict[str, Any]], Observation]:
    """Return the function that judges one field of a document for a subject; see `DockerInfo` for what a missing field means."""
    path = engines.parse_path(document, field)
    expected, source = expect.describe(), engines.source(document, field)

    def judge(subject: str, data: dict[str, Any]) -> Observation:
        value = engines.look_up(data, path)
        if value is None and default is None and expect.set is None:
            problem = Problem(Reason.ABSENT, "the engine's answer has no such field")
            return base.error(subject, problem, expected=expected, source=source)
        actual = base.show(value)
        if value is None and default is not None:
            value = list(default) if isinstance(default, tuple) else default
            actual = f"{base.show(value)} (not given: default)"
        return base.verdict(subject, expect.holds(value), expected=expected, actual=actual, source=source)

    return judge
