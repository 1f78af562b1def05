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
#: Letters of symbolic modes by class, each with its bit.
_BITS = {"u": {"r": 0o400, "w": 0o200, "x": 0o100, "s": 0o4000}, "g": {"r": 0o40, "w": 0o20, "x": 0o10, "s": 0o2000},
         "o": {"r": 0o4, "w": 0o2, "x": 0o1, "t": 0o1000}}  # fmt: skip


def line(text: str, limit: int = 1000) -> str:
    """Return a text as one line without control characters."""
    return " ".join(clean(text, limit).split())


def lines(action: ByHand) -> list[str]:
    """Return what a person may copy, each as one line."""
    return [said for text in action.lines for one in text.splitlines() if (said := line(one, 2000))]


def folder(run: str) -> str:
    """Return a run's id as part of a folder's name."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", run)[:80] or "run"


def symbolic(keep: int) -> str:
    """Return a mode that takes away every bit that ``keep`` hasn't, and adds none."""
    parts = [(who, "".join(letter for letter, bit in bits.items() if not keep & bit)) for who, bits in _BITS.items()]
    return ",".join(f"{who}-{letters}" for who, letters in parts if letters)


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
