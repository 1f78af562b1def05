"""Watches of the kernel's audit system, in one rules file of our own."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from auditor.facts.host import AuditRules
from auditor.fixes.files import failing_paths
from auditor.fixes.kinds import AuditWatch
from auditor.fixes.plan import Case
from auditor.fixes.steps import After, Effect, HaveLines, Step, safe_path
from auditor.model import Problem

#: augenrules reads the folder in the order of names: early, so that a rule of the site that leaves files out comes after ours.
RULES = "/etc/audit/rules.d/10-cis-auditor.rules"
KEY = "cis-auditor"
_LOAD = After("Load the audit rules", command=("augenrules", "--load"))
#: Folders in which a busy host writes all the time.
_BUSY = ("data_root", "containerd_state")


def audit_watch(fix: AuditWatch, case: Case) -> Iterator[Step]:
    """Watch the failing files."""
    answer = case.facts.get(AuditRules())
    state = {} if isinstance(answer, Problem) else answer
    for observation, path in failing_paths(case):
        line = f"-w {path} -p {fix.perms} -k {KEY}"
        if not safe_path(path) or any(c.isspace() or not c.isprintable() for c in path):
            yield case.unsafe(observation)  # rules files know no quotes
            continue
        words = f"Watch {path}"
        if state.get("installed") is False:
            said = f"Install the audit daemon (package auditd or audit), then watch {path}"
            lines = (f"printf '%s\\n' {shlex.quote(line)} >>{RULES}", "augenrules --load")
            yield case.by_hand(observation.subject, said, lines)
            continue
        caution = []
        if getattr(case.control.check, "place", None) in _BUSY:
            caution.append("Every write below this folder is recorded, those of containers too: see that the records fit the disk.")
        locked, off = state.get("enabled") == 2, state.get("enabled") == 0
        if locked:
            caution.append("The rules are locked until the next boot, which loads the new ones.")
        if off:
            caution.append('Auditing is switched off: "auditctl -e 1" switches it on, if the kernel was not booted with audit=0.')
        if "left out by" in observation.actual:
            caution.append("Another rule leaves this file out: ours must come before it.")
        yield Step(
            action=HaveLines(RULES, (line,)), controls=(case.label,), subject=observation.subject, words=words,
            effect=Effect.NONE if locked else Effect.RELOAD, after=None if locked else _LOAD, caution=" ".join(caution),
        )  # fmt: skip
