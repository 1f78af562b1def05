"""``audit_policy``: what the API server writes into its audit log, by the rules of its policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditor.facts import flags
from auditor.facts.host import Config, Processes
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason
from checks import base, running
from checks.audit_probes import LEVELS, PROBES, level_of
from checks.configured import MISSING, documents, look_up
from checks.running import Instance

_CONFIG = Config(process="kube-apiserver", flag="--audit-policy-file")
_BACKENDS = ("--audit-log-path", "--audit-webhook-config-file")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPolicy:
    """The API server has an audit policy that logs something, and somewhere to write it.

    With ``covers``, the policy's rules are applied to sample requests of each of these areas: ``secrets`` (secrets, config maps and
    token reviews are logged, without their content), ``workloads``, ``access`` (exec, port forwarding and proxies),
    ``certificates`` and ``tokens``. As in the API server the first rule that matches decides.
    """

    covers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for area in self.covers:
            if area not in PROBES:
                raise ValueError(f"covers knows {', '.join(PROBES)}, not {area!r}")

    def needs(self) -> frozenset[Fact]:
        """The running programs and the policy."""
        return frozenset({Processes(), _CONFIG})

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every running API server; none is not applicable."""
        return running.each(facts, "kube-apiserver", lambda i: self._judge(facts, i))

    def _judge(self, facts: Facts, instance: Instance) -> list[Observation]:
        expected = "a policy that logs" + (f" {', '.join(self.covers)}" if self.covers else ", and a log or webhook to write to")
        read = documents(facts, _CONFIG, instance)
        if isinstance(read, Problem):
            return [base.error(instance.subject, read, expected=expected, source=f"{_CONFIG.flag} of {instance}")]
        if not read.files:
            source = f"default (no {_CONFIG.flag} of {instance})"
            return [base.verdict(instance.subject, ok=False, expected=expected, actual="nothing is logged", source=source)]
        source = f"rules in {read.paths()}"
        rules = _rules(read.files[0])
        if isinstance(rules, Problem):
            return [base.error(instance.subject, rules, expected=expected, source=source)]
        if self.covers:
            judged = [self._area(area, rules, instance, source) for area in self.covers]
        else:
            judged = [self._present(rules, instance, expected, source)]
        late = read.changed()
        return [_pending(o, late, instance) if late else o for o in judged]

    def _present(self, rules: list[dict[str, Any]], instance: Instance, expected: str, source: str) -> Observation:
        logging = [r for r in rules if r.get("level") != "None"]
        given = {flag: flags.text(instance.args, flag, instance.dialect) for flag in _BACKENDS}
        for flag, value in given.items():
            if isinstance(value, Problem):
                return base.error(instance.subject, value, expected=expected, source=f"{flag} of {instance}")
        backends = [f"{flag}={value}" for flag, value in given.items() if value]
        actual = f"{len(rules)} rules, {len(logging)} of them log; " + (base.show(backends) if backends else "written nowhere")
        return base.verdict(instance.subject, bool(logging and backends), expected=expected, actual=actual, source=source)

    def _area(self, area: str, rules: list[dict[str, Any]], instance: Instance, source: str) -> Observation:
        wrong = []
        for probe in PROBES[area]:
            level = level_of(probe, rules)
            if isinstance(level, Problem):
                return base.error(f"{instance.subject} {area}", level, expected=_wanted(area), source=source)
            if level not in probe.allowed:
                wrong.append(f"{probe}: {level}")
        actual = base.show(wrong) if wrong else f"all {len(PROBES[area])} sample requests are"
        return base.verdict(f"{instance.subject} {area}", not wrong, expected=_wanted(area), actual=actual, source=source)


def _wanted(area: str) -> str:
    exact = PROBES[area][0].allowed == ("Metadata",)
    return f"{area} logged at " + ("Metadata, which leaves out their content" if exact else "Metadata or more")


def _pending(observation: Observation, path: str, instance: Instance) -> Observation:
    """A policy is read once, at the start: of a newer one a pass proves nothing."""
    if observation.status.value != "pass":
        return observation
    problem = Problem(Reason.ABSENT, f"{path} changed after pid {instance.pid} started: restart pending")
    return base.error(observation.subject, problem, expected=observation.expected, source=observation.source)


def _rules(document: Any) -> list[dict[str, Any]] | Problem:
    kind = look_up(document, "kind")
    rules = look_up(document, "rules")
    for value in (kind, rules):
        if isinstance(value, Problem):
            return value
    if kind != "Policy":
        return Problem(Reason.UNPARSABLE, "it is not of the kind Policy")
    if rules is MISSING or rules is None:
        return []
    if not isinstance(rules, list) or not all(isinstance(r, dict) and r.get("level") in LEVELS for r in rules):
        return Problem(Reason.UNPARSABLE, "rules is not a list of rules with a level each")
    silent = look_up(document, "omitStages")
    everywhere = silent if isinstance(silent, list) else []
    return [{**r, "omitStages": [*(r.get("omitStages") or []), *everywhere]} for r in rules]
