"""``engine_version``: the engine is a release that still gets fixes, with the fixes there are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from auditor.facts.docker import Engine
from auditor.facts.host import EnginePackages, Hardening
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason
from checks import base, engines

_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(.*)")
_EXPECTED = "a maintained release without a newer build of it on offer"
#: The engine's own packages; those that Docker itself builds follow its own releases.
_PACKAGES = ("docker-ce", "docker-ee", "docker.io", "moby-engine", "docker-engine", "docker")
_UPSTREAM = ("docker-ce", "docker-ee", "docker-engine")
_DAY = 86400

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineVersion:
    """Every engine is at least ``minimum`` (where it is given), and of a release line in ``maintained`` or a newer one.

    A line is a major version (``29``) or, before 26, major and minor (``25.0``). A distribution's own build is judged by what the
    distribution offers, not by the line. What the host's package manager offers must not be newer; its lists may be
    ``max_list_age_days`` old. Where nothing tells whether fixes are missing, a person decides (manual).
    """

    minimum: str = ""
    maintained: tuple[str, ...] = ()
    max_list_age_days: int = 14

    def __post_init__(self) -> None:
        if self.minimum and not _VERSION.fullmatch(self.minimum):
            raise ValueError(f'minimum must look like "29.1.0", not {self.minimum!r}')
        if bad := [line for line in self.maintained if not re.fullmatch(r"\d+(\.\d+)?", line)]:
            raise ValueError(f'maintained must hold lines such as "29" or "25.0", not {bad[0]!r}')

    def needs(self) -> frozenset[Fact]:
        """Versions, packages and how old the package lists are."""
        return frozenset({Engine("version"), EnginePackages(), Hardening()})

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every engine."""
        return engines.each(facts, "version", lambda engine, data: self._read(f"daemon/dockerd{engine.suffix}", data, facts))

    def _read(self, subject: str, data: dict[str, Any], facts: Facts) -> Observation:
        parsed = _VERSION.fullmatch(str(data.get("Version", "")))
        if parsed is None:
            problem = Problem(Reason.UNPARSABLE, f"{base.show(data.get('Version'))} is not a version")
            return base.error(subject, problem, expected=_EXPECTED, source=engines.source("version", "Version"))
        return self._judge(subject, (int(parsed[1]), int(parsed[2]), int(parsed[3])), parsed[4], facts)

    def _judge(self, subject: str, version: Version, suffix: str, facts: Facts) -> Observation:
        source = f"{engines.source('version', 'Version')}; the package manager's cache"
        running = ".".join(map(str, version)) + suffix
        package = _package(facts, version)
        bad, good, unknown = self._release(version, suffix, package)
        if isinstance(package, dict):
            worse, fine, open_question = self._offer(version, package, facts)
            bad += worse
            good += fine
            unknown += open_question
        elif isinstance(package, Problem):
            unknown.append(f"the host's packages can't be read: {package}")
        else:
            unknown.append("it is from no package that is known, so what is on offer is not known")
        actual = "; ".join([running, *bad, *(unknown if not bad else []), *good])
        if bad:
            return base.verdict(subject, ok=False, expected=self._expected(), actual=base.short(actual), source=source)
        if unknown and not (self.minimum and version >= _parse(self.minimum)):
            return base.manual(subject, expected=self._expected(), actual=base.short(actual), source=source)
        return base.verdict(subject, ok=True, expected=self._expected(), actual=base.short(actual), source=source)

    def _expected(self) -> str:
        return (f"at least {self.minimum}, " if self.minimum else "") + _EXPECTED

    def _release(
        self, version: Version, suffix: str, package: dict[str, Any] | Problem | None
    ) -> tuple[list[str], list[str], list[str]]:
        """Return what is wrong with, right with and not known about the release."""
        if self.minimum and version < _parse(self.minimum):
            return [f"older than {self.minimum}"], [], []
        built_by_distribution = bool(suffix) and not suffix.startswith("-rc")
        if isinstance(package, dict):
            built_by_distribution = package["name"] not in _UPSTREAM
        line = str(version[0]) if version[0] >= 26 else f"{version[0]}.{version[1]}"
        newest = max((tuple(map(int, m.split("."))) for m in self.maintained), default=(0,))
        if built_by_distribution:
            return [], ["a distribution's build, judged by what that offers"], []
        if line in self.maintained or version[: len(newest)] > newest:
            return [], [f"the line {line} is maintained"], []
        return [f"the line {line} gets no fixes any more (maintained: {base.show(self.maintained)})"], [], []

    def _offer(self, version: Version, package: dict[str, Any], facts: Facts) -> tuple[list[str], list[str], list[str]]:
        """Return what is wrong with, right with and not known about the package against what is on offer."""
        name, installed, candidate = package["name"], package["installed"], package["candidate"]
        if _upstream(installed) != version:
            return [f"{name} {installed} is installed but not what runs: restart pending"], [], []
        if candidate is None:
            return [], [], [f"{name} {installed}: what is on offer is not known"]
        if candidate != installed:
            return [f"{name} {candidate} is on offer for {installed}"], [], []
        state = facts.get(Hardening())
        if isinstance(state, Problem):
            return [], [], [f"how old the package lists are is not known: {state}"]
        age = (state["now"] - state["refreshed"]) // _DAY
        if not state["refreshed"] or age > self.max_list_age_days:
            told = f"{age} days old" if state["refreshed"] else "of unknown age"
            return [], [], [f"{name}: nothing newer is on offer, but the package lists are {told}"]
        return [], [f"{name} {installed}: nothing newer on offer ({age} days ago)"], []


def _parse(text: str) -> Version:
    parsed = _VERSION.fullmatch(text)
    assert parsed is not None  # looked at when the control was read
    return int(parsed[1]), int(parsed[2]), int(parsed[3])


def _upstream(installed: str) -> Version | None:
    """Return the engine's version within a package's: ``5:28.1.0-1~debian.12~bookworm``, ``20.10.24+dfsg1-1``."""
    parsed = re.match(r"(?:\d+:)?(\d+)\.(\d+)\.(\d+)", installed)
    return (int(parsed[1]), int(parsed[2]), int(parsed[3])) if parsed else None


def _package(facts: Facts, version: Version) -> dict[str, Any] | Problem | None:
    """Return the package that the engine is from: the one of its version, else the only one there is."""
    answer = facts.get(EnginePackages())
    if isinstance(answer, Problem):
        return answer
    packages = [p for p in answer["packages"] if p["name"] in _PACKAGES]
    same = [p for p in packages if _upstream(p["installed"]) == version]
    chosen: list[dict[str, Any]] = same or packages
    return chosen[0] if len(chosen) == 1 else None
