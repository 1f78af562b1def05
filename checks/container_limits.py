"""Rules about what a container sets for itself where the engine has a default: ulimits and the parent of its cgroup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditor.facts import flags
from auditor.model import Fact, Observation, Problem, Reason
from checks import base, engines
from checks.configured import STARTING_SECONDS
from checks.container_isolation import Everywhere
from checks.engines import EngineFacts, source


@dataclass(frozen=True, slots=True, order=True)
class Ulimit:
    """A limit as ``docker run --ulimit`` takes it; -1 is unlimited."""

    name: str
    soft: int
    hard: int

    def __str__(self) -> str:
        return f"{self.name}={self.soft}:{self.hard}"

    @classmethod
    def parse(cls, text: str) -> Ulimit:
        """Return the limit of ``nofile=1024:2048`` or ``core=0``; raises ValueError."""
        name, equals, values = text.partition("=")
        soft, colon, hard = values.partition(":")
        if not name or not equals:
            raise ValueError(f"{text!r} is not a limit such as nofile=1024:2048")
        return cls(name, int(soft), int(hard) if colon else int(soft))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ulimits(Everywhere):
    """A container has no ulimits of its own that differ from the engine's defaults, but those ``allowed``.

    An engine shows a container's limits merged with its defaults, so those are taken out. ``allowed`` has names (``nofile``:
    any value) or limits (``nofile=1024:2048``: no more than these). Without a list own limits are shown for a person to judge;
    the empty list allows none.
    """

    allowed: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for entry in self.allowed or ():
            if "=" in entry:
                Ulimit.parse(entry)

    def needs(self) -> frozenset[Fact]:
        """The engine's own defaults."""
        return engines.DAEMON_FACTS

    def judge(self, subject: str, container: dict[str, Any], engine: EngineFacts) -> Observation:
        """Take the defaults out of what the engine shows, and compare the rest with the list."""
        expected = "no ulimits of its own" + (f" but {base.show(self.allowed)}" if self.allowed else "")
        where = source("containers", "HostConfig.Ulimits")
        try:
            shown = sorted(_limit(entry) for entry in container["HostConfig"].get("Ulimits") or ())
        except (TypeError, ValueError, AttributeError):
            problem = Problem(Reason.UNPARSABLE, "its ulimits are not of the form that engines use")
            return base.error(subject, problem, expected=expected, source=where)
        rest = [u for u in shown if not self._allows(u)]
        if not rest:
            actual = base.show([str(u) for u in shown]) if shown else "none"
            return base.verdict(subject, ok=True, expected=expected, actual=actual, source=where)
        defaults = default_ulimits(engine)
        if isinstance(defaults, Problem):
            detail = f"{base.show([str(u) for u in rest])}: its own or the engine's defaults? {defaults.detail}"
            return base.error(subject, Problem(defaults.reason, detail), expected=expected, source=where)
        own = [u for u in rest if u not in defaults]
        if not own:
            actual = f"{base.show([str(u) for u in shown])} (the engine's defaults)"
            return base.verdict(subject, ok=True, expected=expected, actual=actual, source=where)
        actual = base.show([str(u) for u in own])
        if self.allowed is None:
            question = "ulimits of its own only where it needs them: does it need these?"
            return base.manual(subject, expected=question, actual=actual, source=where)
        return base.verdict(subject, ok=False, expected=expected, actual=actual, source=where)

    def _allows(self, limit: Ulimit) -> bool:
        return any(entry == limit.name or ("=" in entry and _within(limit, Ulimit.parse(entry))) for entry in self.allowed or ())


def _within(limit: Ulimit, bound: Ulimit) -> bool:
    """-1 is more than any number."""

    def at_most(value: int, most: int) -> bool:
        return most == -1 or (value != -1 and value <= most)

    return limit.name == bound.name and at_most(limit.soft, bound.soft) and at_most(limit.hard, bound.hard)


def _limit(entry: dict[str, Any]) -> Ulimit:
    return Ulimit(str(entry["Name"]), int(entry["Soft"]), int(entry["Hard"]))


def default_ulimits(engine: EngineFacts) -> set[Ulimit] | Problem:
    """Return the limits that the running daemon gives to containers without their own (--default-ulimit, default-ulimits)."""
    process = engine.process()
    if isinstance(process, Problem):
        return process
    given = flags.listing(process["args"], "--default-ulimit", flags.DOCKERD)
    if isinstance(given, Problem):
        return given
    settings = engine.settings()
    if isinstance(settings, Problem):
        return settings
    listed = settings.get("default-ulimits")
    try:
        found = {Ulimit.parse(text) for text in given or ()}
        if listed:
            if settings[""] > process["started"] + STARTING_SECONDS:
                return Problem(Reason.ABSENT, "default-ulimits: the engine's file was changed after the engine started")
            found |= {_default(name, entry) for name, entry in listed.items()}
    except (TypeError, ValueError, AttributeError, KeyError):
        return Problem(Reason.UNPARSABLE, "the engine's default ulimits are not of the form that it takes")
    return found


def _default(name: str, entry: dict[str, Any]) -> Ulimit:
    """The file's keys are matched in any case, as Go does."""
    keys = {str(k).lower(): v for k, v in entry.items()}
    return Ulimit(str(keys.get("name") or name), int(keys["soft"]), int(keys["hard"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupParent(Everywhere):
    """A container's cgroup is where the engine puts it, or below one of ``approved``."""

    approved: tuple[str, ...] = ()

    def judge(self, subject: str, container: dict[str, Any], engine: EngineFacts) -> Observation:  # noqa: ARG002
        """Look at the option; the engine always gives it, empty for the default."""
        parent = container["HostConfig"].get("CgroupParent")
        expected = "the engine's own cgroup parent" + (f" or {base.show(self.approved)}" if self.approved else "")
        where = source("containers", "HostConfig.CgroupParent")
        if parent is None:
            return base.error(subject, Problem(Reason.ABSENT, "CgroupParent is not given"), expected=expected, source=where)
        ok = parent == "" or parent in self.approved
        return base.verdict(subject, ok, expected=expected, actual=parent or "the engine's own", source=where)
