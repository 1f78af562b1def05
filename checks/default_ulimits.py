"""``default_ulimits``: limits of processes and open files that every container gets unless it asks for others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditor.facts import flags
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason, Status
from checks import base, engines, running
from checks.configured import MISSING, documents, look_up
from checks.running import Instance


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultUlimits:
    """Every dockerd is started with default ulimits, and with those ``wanted`` (name to ``soft:hard``) where any are named."""

    wanted: dict[str, str]

    def needs(self) -> frozenset[Fact]:
        """The running engines and their configuration files."""
        return engines.DAEMON_FACTS

    @property
    def expected(self) -> str:
        """The expectation in words."""
        return base.show([f"{k}={_pair(v)}" for k, v in self.wanted.items()]) if self.wanted else "at least one default ulimit"

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every dockerd."""
        return running.each(facts, "dockerd", lambda i: self._judge(facts, i))

    def _judge(self, facts: Facts, instance: Instance) -> Observation:
        source = f"--default-ulimit of {instance} and default-ulimits in its configuration file"
        read = _limits(facts, instance)
        if isinstance(read, Problem):
            return base.error(instance.subject, read, expected=self.expected, source=source)
        limits, pending = read
        shown = (
            base.show([f"{name}={value}" for name, value in sorted(limits.items())])
            if limits
            else "none: those of the engine's own service"
        )
        wrong = [name for name, value in self.wanted.items() if limits.get(name) != _pair(value)]
        ok = bool(limits) and not wrong
        if pending and ok:
            problem = Problem(Reason.ABSENT, f"{shown} is not known to be in effect, since {pending}")
            return base.error(instance.subject, problem, expected=self.expected, source=source)
        actual = (
            shown + (f" (not as wanted: {base.show(wrong)})" if wrong and limits else "") + (f" ({pending})" if pending else "")
        )
        return Observation(instance.subject, Status.PASS if ok else Status.FAIL, self.expected, actual, source)


def _limits(facts: Facts, instance: Instance) -> tuple[dict[str, str], str] | Problem:
    """Return limit -> ``soft:hard``, and a note when the file changed after the engine started."""
    given = flags.listing(instance.args, "--default-ulimit", instance.dialect)
    if isinstance(given, Problem):
        return given
    limits = {name: _pair(value) for name, equals, value in (g.partition("=") for g in given or ()) if equals}
    read = documents(facts, engines.DAEMON_CONFIG, instance)
    if isinstance(read, Problem):
        return read
    for document in read.files:
        value = look_up(document, "default-ulimits")
        if isinstance(value, Problem):
            return value
        if value is MISSING or value is None:
            continue
        if not isinstance(value, dict) or not all(isinstance(v, dict) for v in value.values()):
            return Problem(Reason.UNPARSABLE, f"default-ulimits in {document.path} must hold objects with Name, Soft and Hard")
        limits |= {str(v.get("Name") or name): f"{v.get('Soft', 0)}:{v.get('Hard', 0)}" for name, v in value.items()}
    changed = read.changed()
    return limits, f"{changed} changed after pid {instance.pid} started: restart pending" if changed else ""


def _pair(text: Any) -> str:
    """A single number means both limits."""
    soft, colon, hard = str(text).partition(":")
    return f"{soft}:{hard if colon else soft}"
