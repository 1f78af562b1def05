"""``seccomp_default``: the system calls that containers may make unless they ask for something else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditor.facts.docker import Engine
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason
from checks import base, engines

#: What engines call the profile they come with: up to 20.10, and from 23.0 on.
_OWN = ("default", "builtin")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeccompDefault:
    """Every engine uses the profile it comes with, or one of ``profiles`` (paths as the engine names them).

    Another profile is shown for a person to judge (manual); none at all (``unconfined``, or a host without seccomp) fails.
    """

    profiles: tuple[str, ...] = ()

    def needs(self) -> frozenset[Fact]:
        """What the engines say of themselves."""
        return frozenset({Engine("info")})

    @property
    def expected(self) -> str:
        """The expectation in words."""
        return "the engine's own profile" + (f" or {base.show(self.profiles)}" if self.profiles else "")

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every engine."""
        return engines.each(facts, "info", lambda engine, info: self._judge(f"daemon/dockerd{engine.suffix}", info))

    def _judge(self, subject: str, info: dict[str, Any]) -> Observation:
        source = engines.source("info", "SecurityOptions")
        if not isinstance(info.get("SecurityOptions"), list):
            problem = Problem(Reason.ABSENT, "the engine's answer has no SecurityOptions")
            return base.error(subject, problem, expected=self.expected, source=source)
        options = [str(o).split(",") for o in info["SecurityOptions"]]
        entry = next((parts for parts in options if parts[0] == "name=seccomp"), None)
        if entry is None:
            return base.verdict(subject, ok=False, expected=self.expected, actual="no seccomp on this host", source=source)
        profile = next((p.removeprefix("profile=") for p in entry if p.startswith("profile=")), "")
        if profile in (*_OWN, *self.profiles):
            return base.verdict(subject, ok=True, expected=self.expected, actual=profile, source=source)
        if profile in ("", "unconfined"):
            return base.verdict(subject, ok=False, expected=self.expected, actual=base.show(profile), source=source)
        actual = f"{base.show(profile)}: a profile of the site's own; say whether it is meant"
        return base.manual(subject, expected=self.expected, actual=actual, source=source)
