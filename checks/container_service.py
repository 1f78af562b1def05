"""The swarm's service that a container is a task of: what its own description leaves out stands there."""

from __future__ import annotations

from typing import Any

from auditor.facts.swarm import Swarm
from auditor.model import Problem, Reason, problem_of
from checks.engines import EngineFacts

LABEL = "com.docker.swarm.service.id"


def service_id(container: dict[str, Any]) -> str:
    """Return the id of the service, empty for a container of nobody's."""
    return str(((container.get("Config") or {}).get("Labels") or {}).get(LABEL) or "")


def service_of(container: dict[str, Any], engine: EngineFacts) -> dict[str, Any] | Problem:
    """Return the service of a task, which managers tell."""
    swarm = engine.answer(Swarm())
    if isinstance(swarm, Problem):
        return Problem(swarm.reason, f"its swarm's service is not known: {swarm.detail}")
    services = swarm.get("services")
    if services is None:
        return Problem(Reason.ABSENT, "it belongs to a swarm's service, which only a manager knows")
    if isinstance(services, dict):
        return problem_of(services)
    found: dict[str, Any] | None = next((s for s in services if s.get("ID") == service_id(container)), None)
    return found or Problem(Reason.ABSENT, "its swarm's service is not among those that the manager told")
