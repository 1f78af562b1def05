"""``authorization_plugins``: what clients ask of the engine is allowed or refused one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditor.facts.docker import Engine
from auditor.model import Fact, Facts, Observation, Outcome
from checks import base, engines
from checks.engines import EngineFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationPlugins:
    """Every engine runs an authorization plugin, and all of those ``wanted`` where any are named."""

    wanted: tuple[str, ...] = ()

    def needs(self) -> frozenset[Fact]:
        """What the engines say: their running state, reloads included."""
        return frozenset({Engine("info")})

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every engine."""
        return engines.each(facts, "info", self._judge)

    def _judge(self, engine: EngineFacts, info: dict[str, Any]) -> Observation:
        expected = base.show(self.wanted) if self.wanted else "at least one plugin"
        plugins = [str(p) for p in (info.get("Plugins") or {}).get("Authorization") or ()]
        ok = bool(plugins) and set(self.wanted) <= set(plugins)
        actual = base.show(plugins) if plugins else "none: who reaches the API may do everything"
        source = engines.source("info", "Plugins.Authorization")
        return base.verdict(f"daemon/dockerd{engine.suffix}", ok, expected=expected, actual=actual, source=source)
