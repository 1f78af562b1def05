"""``insecure_registries``: no registry is spoken to without verified TLS."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from auditor.facts.docker import Engine
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason
from checks import base, engines

_EXPECTED = "TLS is verified for every registry but those on the host itself"


@dataclass(frozen=True, slots=True, kw_only=True)
class InsecureRegistries:
    """An engine takes no registry for insecure except loopback addresses, which it always does, and those in ``accepted``.

    ``accepted`` holds names or address ranges as the engine lists them, such as ``registry.lan:5000`` or ``10.0.0.0/8``.
    """

    accepted: tuple[str, ...] = ()

    def needs(self) -> frozenset[Fact]:
        """What the engines say: their running state, reloads included."""
        return frozenset({Engine("info")})

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every engine."""
        return engines.each(facts, "info", lambda engine, info: self._judge(f"daemon/dockerd{engine.suffix}", info))

    def _judge(self, subject: str, info: dict[str, Any]) -> Observation:
        source = engines.source("info", "RegistryConfig")
        config = info.get("RegistryConfig")
        if not isinstance(config, dict) or "IndexConfigs" not in config:
            problem = Problem(Reason.ABSENT, "the engine's answer has no RegistryConfig")
            return base.error(subject, problem, expected=_EXPECTED, source=source)
        named = [str(c.get("Name") or name) for name, c in config["IndexConfigs"].items() if c.get("Secure") is not True]
        ranges = [str(r) for r in config.get("InsecureRegistryCIDRs") or () if not _loopback(str(r))]
        found = sorted({*named, *ranges} - set(self.accepted))
        actual = f"insecure: {base.show(found)}" if found else "none is insecure"
        if accepted := sorted({*named, *ranges} & set(self.accepted)):
            actual += f" (accepted: {base.show(accepted)})"
        return base.verdict(subject, not found, expected=_EXPECTED, actual=actual, source=source)


def _loopback(text: str) -> bool:
    try:
        return ipaddress.ip_network(text, strict=False).is_loopback
    except ValueError:
        return False
