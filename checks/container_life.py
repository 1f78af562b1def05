"""Rules about a container's life: how often it is started again, and whether the engine knows how it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditor.facts.swarm import Swarm
from auditor.model import Fact, Observation, Problem, Reason
from checks import base
from checks.container_isolation import Everywhere
from checks.container_service import service_id, service_of
from checks.engines import EngineFacts, source


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy(Everywhere):
    """A container that ends is not started again, or after a failure at most ``max_retries`` times.

    That of a swarm's container is its service's, which only a manager knows.
    """

    max_retries: int = 5

    def __post_init__(self) -> None:
        if self.max_retries < 1:
            raise ValueError("max_retries must be at least 1")

    def needs(self) -> frozenset[Fact]:
        """The services of a swarm."""
        return frozenset({Swarm()})

    def judge(self, subject: str, container: dict[str, Any], engine: EngineFacts) -> Observation:
        """Look at the name and the count."""
        expected = f"no restart, or at most {self.max_retries} after a failure"
        where = source("containers", "HostConfig.RestartPolicy")
        if service_id(container):
            service = service_of(container, engine)
            where = "docker service inspect: Spec.TaskTemplate.RestartPolicy"
            if isinstance(service, Problem):
                return base.error(subject, service, expected=expected, source=where)
            given = service["Spec"].get("TaskTemplate", {}).get("RestartPolicy") or {}
            condition = str(given.get("Condition") or "any")  # the swarm's default
            name, count = {"none": "no"}.get(condition, condition), given.get("MaxAttempts") or 0
        else:
            policy = container["HostConfig"].get("RestartPolicy")
            if not isinstance(policy, dict):
                return base.error(subject, Problem(Reason.ABSENT, "RestartPolicy is not given"), expected=expected, source=where)
            name, count = str(policy.get("Name") or "no"), policy.get("MaximumRetryCount") or 0
        if name == "no":
            return base.verdict(subject, ok=True, expected=expected, actual="no", source=where)
        if name != "on-failure":
            return base.verdict(
                subject,
                ok=False,
                expected=expected,
                actual=f"{name}: {'not after failures only' if count else 'without end'}",
                source=where,
            )
        bounded = isinstance(count, int) and 0 < count <= self.max_retries
        shown = f"on-failure, at most {count} times" if count else "on-failure: without end"
        return base.verdict(subject, bounded, expected=expected, actual=shown, source=where)


@dataclass(frozen=True, slots=True)
class Health(Everywhere):
    """The engine knows of a running container whether it is healthy. That it isn't is no failure here: a check exists."""

    def judge(self, subject: str, container: dict[str, Any], engine: EngineFacts) -> Observation:  # noqa: ARG002
        """Look at the state that the engine keeps when a check runs."""
        status = str(((container.get("State") or {}).get("Health") or {}).get("Status") or "none")
        test = ((container.get("Config") or {}).get("Healthcheck") or {}).get("Test") or []
        known = status in ("starting", "healthy", "unhealthy")
        off = " (turned off)" if test[:1] == ["NONE"] else ""
        words = {"unhealthy": "unhealthy: there is a check, and it fails"}
        actual = words.get(status, status) if known else f"no health check{off}" if status == "none" else status
        return base.verdict(subject, known, expected="a health status", actual=actual,
                            source=source("containers", "State.Health.Status"))  # fmt: skip
