"""``audit_rule``: the kernel records changes to a file."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.facts.host import PROGRAMS, AuditRules, Files, Processes
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason, Status, problem_of
from checks import base, running
from checks.auditrules import ALL_PERMS, Coverage, coverage
from checks.files import check_path


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRule:
    """The loaded audit rules record access of the kinds ``perms`` to a file: ``path``, or the ``executable`` of a running program.

    ``perms`` are letters of rwxa. A recursive watch on a folder above counts, a ``never`` rule before it takes away; where
    only some accesses are recorded a person decides (manual). A file that isn't there is not applicable.
    """

    path: str = ""
    executable: str = ""
    perms: str = "wa"

    def __post_init__(self) -> None:
        if bool(self.path) == bool(self.executable):
            raise ValueError("give exactly one of path and executable")
        if self.path:
            check_path(self.path)
            if self.path.endswith("/*"):
                raise ValueError("path must name one file or folder")
        if self.executable and self.executable not in PROGRAMS:
            raise ValueError(f"executable must be one of {', '.join(PROGRAMS)}, not {self.executable!r}")
        if not self.perms or not set(self.perms) <= ALL_PERMS:
            raise ValueError("perms must be letters of rwxa")

    @property
    def _file(self) -> Files:
        return Files(path=self.path)

    def needs(self) -> frozenset[Fact]:
        """The rules, and where the file is."""
        return frozenset({AuditRules(), self._file if self.path else Processes()})

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge the file, or each distinct executable of the program."""
        found = self._executables(facts) if self.executable else self._existing(facts)
        if isinstance(found, Outcome):
            return found
        return base.outcome([self._judge(facts, path) for path in found], "")

    def _executables(self, facts: Facts) -> list[str | Observation] | Outcome:
        found = running.instances(facts, self.executable)
        if isinstance(found, Outcome):
            return found
        paths: list[str | Observation] = []
        for instance in found:
            if instance.exe is None:
                problem = Problem(Reason.DENIED, f"the executable of {instance} can't be read; root is needed")
                paths.append(base.error(instance.subject, problem, expected=self._expected, source=f"/proc/{instance.pid}/exe"))
            else:
                paths.append(instance.exe.removesuffix(" (deleted)"))
        return list(dict.fromkeys(paths))

    def _existing(self, facts: Facts) -> list[str | Observation] | Outcome:
        answer = facts.get(self._file)
        if isinstance(answer, Problem):
            return Outcome((base.error(f"file/{self.path}", answer, expected=self._expected, source="stat"),))
        if not answer["files"]:
            return Outcome((), f"there is no {self.path}")
        entry = answer["files"][0]
        if "problem" in entry:
            return Outcome((base.error(f"file/{self.path}", problem_of(entry), expected=self._expected, source="stat"),))
        return [self.path]

    @property
    def _expected(self) -> str:
        kinds = {"r": "reading", "w": "writing", "x": "executing", "a": "changing attributes"}
        return "recorded: " + ", ".join(kinds[p] for p in "rwxa" if p in self.perms)

    def _judge(self, facts: Facts, path: str | Observation) -> Observation:
        if isinstance(path, Observation):
            return path
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
