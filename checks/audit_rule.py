"""``audit_rule``: the kernel records changes to a file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from auditor.facts.host import PROGRAMS, AuditRules, Files, Processes
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason, Status
from checks import audit_targets, base, file_question
from checks.audit_targets import Place
from checks.auditrules import ALL_PERMS, Coverage, coverage


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRule:
    """The loaded audit rules record access of the kinds ``perms`` to a file or folder, found in exactly one of these ways.

    ``path``; the ``executable`` of a running program; a ``file`` as `file_mode` finds it; or a ``place``: the folder of the
    engine's configuration (``config_folder``), its ``data_root``, the state folder of its containerd (``containerd_state``), the
    programs that its ``runtimes`` are.

    ``perms`` are letters of rwxa. A recursive watch on a folder above counts, a ``never`` rule before it takes away; where only
    some accesses are recorded a person decides (manual). A file that isn't there is not applicable. With ``or_unit`` a rule on
    that systemd unit's file does instead.
    """

    path: str = ""
    executable: str = ""
    file: Files | None = None
    place: Place | None = None
    or_unit: str = ""
    perms: str = "wa"

    def __post_init__(self) -> None:
        if len([w for w in (self.path, self.executable, self.file, self.place) if w]) != 1:
            raise ValueError("give exactly one of path, executable, file and place")
        if self.path:
            file_question.check_path(self.path)
            if self.path.endswith("/*"):
                raise ValueError("path must name one file or folder")
        if self.file:
            file_question.check_question(self.file)
        if self.or_unit:
            file_question.check_question(Files(unit=self.or_unit))
        if self.executable and self.executable not in PROGRAMS:
            raise ValueError(f"executable must be one of {', '.join(PROGRAMS)}, not {self.executable!r}")
        if not self.perms or not set(self.perms) <= ALL_PERMS:
            raise ValueError("perms must be letters of rwxa")

    def needs(self) -> frozenset[Fact]:
        """The rules, and where the file is."""
        found: set[Fact] = {AuditRules()}
        if self.executable:
            found.add(Processes())
        elif self.place:
            found |= audit_targets.NEEDS[self.place]
        else:
            found |= file_question.needs(self.file or Files(path=self.path))
        return frozenset(found | ({Files(unit=self.or_unit)} if self.or_unit else set()))

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every file that is meant."""
        found = self._find(facts)
        if isinstance(found, Outcome):
            return dataclasses.replace(found, observations=tuple(self._expecting(o) for o in found.observations))
        observations = [self._expecting(f) if isinstance(f, Observation) else self._judge(facts, f) for f in found]
        if self.or_unit and any(o.status is Status.FAIL for o in observations):
            units = audit_targets.existing(facts, Files(unit=self.or_unit))
            instead = [self._judge(facts, u) for u in units if isinstance(u, str)] if not isinstance(units, Outcome) else []
            if instead and all(o.status is Status.PASS for o in instead):
                return Outcome(tuple(instead))
        return base.outcome(observations, "")

    def _find(self, facts: Facts) -> audit_targets.Found:
        if self.executable:
            return audit_targets.executables(facts, self.executable)
        if self.place:
            return audit_targets.place(facts, self.place)
        return audit_targets.existing(facts, self.file or Files(path=self.path))

    def _expecting(self, observation: Observation) -> Observation:
        return dataclasses.replace(observation, expected=self._expected)

    @property
    def _expected(self) -> str:
        kinds = {"r": "reading", "w": "writing", "x": "executing", "a": "changing attributes"}
        return "recorded: " + ", ".join(kinds[p] for p in "rwxa" if p in self.perms)

    def _judge(self, facts: Facts, path: str) -> Observation:
        subject = f"file/{path}"
        answer = facts.get(AuditRules())
        if isinstance(answer, Problem):
            return base.error(subject, answer, expected=self._expected, source="auditctl")
        if answer.get("installed") is False:
            return base.verdict(
                subject, ok=False, expected=self._expected, actual="the host has no audit system", source="auditctl"
            )
        if answer["enabled"] == 0:
            return base.verdict(subject, ok=False, expected=self._expected, actual="auditing is switched off (enabled 0)",
                                source="auditctl -s")  # fmt: skip
        if answer["enabled"] not in (1, 2):
            problem = Problem(Reason.UNPARSABLE, f"auditctl -s says enabled {answer['enabled']}")
            return base.error(subject, problem, expected=self._expected, source="auditctl -s")
        wanted = frozenset(self.perms)
        return self._conclude(subject, coverage(answer["rules"], path, wanted), wanted)

    def _conclude(self, subject: str, found: Coverage, wanted: frozenset[str]) -> Observation:
        source = "auditctl -l"
        missing = "".join(p for p in "rwxa" if p in wanted - found.perms)
        parts = {
            "recorded by": found.rules,
            "only where": found.narrow,
            "left out by": found.removed,
            "partly left out by": found.holes,
            "records are thrown away by": (found.lost,) if found.lost else (),
        }
        said = [f"{words} {'; '.join(lines)}" for words, lines in parts.items() if lines]
        if found.unknown:
            said.append(f"{len(found.unknown)} lines not understood, the first: {base.short(found.unknown[0])}")
        actual = base.short("; ".join(([f"not recorded: {missing}"] if missing else []) + said))
        if found.lost or not set(missing) <= found.some:
            return base.verdict(subject, ok=False, expected=self._expected, actual=actual, source=source)
        if missing or found.holes:
            return Observation(subject, Status.MANUAL, self._expected, actual, source)
        if found.unknown:
            return base.error(subject, Problem(Reason.UNPARSABLE, actual), expected=self._expected, source=source)
        return base.verdict(subject, ok=True, expected=self._expected, actual=actual, source=source)
