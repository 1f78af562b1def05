"""The rule about the filter of system calls (seccomp) that a container runs under."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditor.facts.docker import ALLOWS_ALL, Engine
from auditor.model import Fact, Observation, Problem, Reason
from checks import base, engines
from checks.container_identity import process_of
from checks.container_isolation import Everywhere, options_named
from checks.engines import EngineFacts, source

#: What engines call the profile that they come with, up to 20.10 and since.
_BUILT_IN = ("default", "builtin")
_DEFAULT_PROFILE = "the engine's default profile: "
_OPTIONS = source("containers", "HostConfig.SecurityOpt, Privileged")


@dataclass(frozen=True, slots=True)
class Seccomp(Everywhere):
    """A container's system calls are filtered.

    Its options must not turn the filter off (a privileged container has none unless it names one), nor the engine's default
    where it names none; and where its first process can be read, that must be under a filter. One of them is enough to fail.
    What a profile of the site's own lets through is not read: it passes where ``trusted`` names its path, else a person decides.
    """

    trusted: tuple[str, ...] = ()

    def needs(self) -> frozenset[Fact]:
        """The engine's default profile."""
        return frozenset({Engine("info")})

    def judge(self, subject: str, container: dict[str, Any], engine: EngineFacts) -> Observation:
        """Look at the live process, then at what the options and the engine's default promise."""
        expected = "a seccomp filter"
        declared = self._declared(container, engine)
        proc = process_of(container)
        live = None if isinstance(proc, Problem) else proc.get("Seccomp")
        if live == "0":
            actual = "its first process runs without" + ("" if isinstance(declared, Problem) else f" ({declared[1]})")
            return base.verdict(subject, ok=False, expected=expected, actual=actual, source="/proc of its first process: Seccomp")
        if isinstance(declared, Problem):
            return base.error(subject, declared, expected=expected, source=source("info", "SecurityOptions"))
        filtered, shown, where = declared
        own = shown.removeprefix(_DEFAULT_PROFILE)
        if filtered and own != shown and own not in (*_BUILT_IN, *self.trusted):
            question = f"{expected}: does this profile filter what a container here should not do?"
            return base.manual(subject, expected=question, actual=shown, source=where)
        if live is not None:
            where += "; /proc of its first process: Seccomp"
            shown += "; its first process has a filter" if filtered else "; the filter of its first process is not the engine's"
        return base.verdict(subject, filtered, expected=expected, actual=shown, source=where)

    @staticmethod
    def _declared(container: dict[str, Any], engine: EngineFacts) -> tuple[bool, str, str] | Problem:
        """Return whether a filter is asked for, in which words, and where they stand."""
        profiles = options_named(container, "seccomp")
        profile = profiles[-1] if profiles else ""  # the engine takes the last one
        if profile == "unconfined":
            return False, "seccomp=unconfined", _OPTIONS
        if profile and ALLOWS_ALL in profile:
            return False, f"a profile that filters nothing: {profile}", _OPTIONS
        if profile and profile != "builtin":
            return True, profile, _OPTIONS
        privileged = container["HostConfig"].get("Privileged")
        if not isinstance(privileged, bool):
            return Problem(Reason.ABSENT, "Privileged is not given")
        if privileged:
            return False, "privileged, without a profile of its own", _OPTIONS
        if profile:
            return True, "the engine's built-in profile", _OPTIONS
        return _engine_default(engine)


def _engine_default(engine: EngineFacts) -> tuple[bool, str, str] | Problem:
    info = engine.document("info")
    if isinstance(info, Problem):
        return Problem(info.reason, f"no profile of its own, and the engine's default is not known: {info.detail}")
    where = engines.source("info", "SecurityOptions")
    option = next((str(o) for o in info.get("SecurityOptions") or () if str(o).startswith("name=seccomp")), "")
    if not option:
        return False, "the engine has no seccomp support", where
    profile = option.partition("profile=")[2]
    if not profile:
        return Problem(Reason.ABSENT, "no profile of its own, and the engine does not say which is its default")
    return profile != "unconfined", f"{_DEFAULT_PROFILE}{profile}", where
