"""How plans are said to people, whatever the format: texts from evidence made harmless, effects in words, Compose overrides."""

from __future__ import annotations

import re

from auditor.fixes.steps import ByHand, Effect, Plan
from auditor.terminal import clean

#: What a step disturbs, in words; empty for what nobody notices.
DISTURBS = {
    Effect.NONE: "",
    Effect.RELOAD: "",
    Effect.RESTART: "restarts a program",
    Effect.CONTROL_PLANE: "restarts a program of the control plane",
    Effect.WORKLOADS: "stops or restricts workloads",
}


def line(text: str, limit: int = 1000) -> str:
    """Return a text as one line without control characters."""
    return " ".join(clean(text, limit).split())


def origin(plan: Plan, version: str) -> list[str]:
    """Return who made a plan's document and of what, in lines."""
    address = f" ({line(plan.address, 200)})" if plan.address else ""
    return [
        f"Fixes for {line(plan.target, 200)}{address}, from run {line(plan.run, 100)}, made by cis-auditor {version}.",
        "Nothing was applied. Read it before you use it: it was made from what the target said of itself in that run.",
    ]


def overrides(plan: Plan) -> dict[str, dict[str, object]]:
    """Return the Compose override of each project that a plan has steps for: project -> document."""
    found: dict[str, dict[str, object]] = {}
    for step in plan.steps:
        override = step.action.override if isinstance(step.action, ByHand) else None
        if override is None:
            continue
        services: dict[str, dict[str, object]] = found.setdefault(override.project, {"services": {}})["services"]  # type: ignore[assignment]
        service = services.setdefault(override.service, {})
        value, known = override.value, service.get(override.key)
        if isinstance(value, list) and isinstance(known, list):
            value = [*known, *(v for v in value if v not in known)]
        service[override.key] = value
    return found


def override_text(document: dict[str, object], plan: Plan, version: str) -> str:
    """Return a Compose override as a file."""
    import yaml

    head = [*origin(plan, version), "These services are made again with it: what their containers keep outside of volumes is lost."]
    return "".join(f"# {h}\n" for h in head) + yaml.safe_dump(document, sort_keys=True, default_flow_style=False)


def plain_name(project: str) -> bool:
    """Whether a project's name may be part of a file's name."""
    return bool(re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,100}", project))
