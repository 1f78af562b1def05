"""``review``: a person decides, with the settings of a running program before them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from auditor.facts import flags
from auditor.facts.host import PROGRAMS, Processes
from auditor.model import Fact, Facts, Observation, Outcome, Problem
from checks import base, running
from checks.running import Instance


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A ``question`` about a running ``process`` that its command line doesn't answer alone; its ``flags`` are shown.

    One observation a running instance, not applicable where none runs.
    """

    process: str
    question: str
    flags: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.process not in PROGRAMS:
            raise ValueError(f"process must be one of {', '.join(PROGRAMS)}, not {self.process!r}")
        if not self.flags or not all(re.fullmatch(r"--[a-z0-9]+(-[a-z0-9]+)*", f) for f in self.flags):
            raise ValueError("flags must be a list of names like --some-name")

    def needs(self) -> frozenset[Fact]:
        """The running programs."""
        return frozenset({Processes()})

    def evaluate(self, facts: Facts) -> Outcome:
        """Show every running instance's flags; none is not applicable."""
        return running.each(facts, self.process, self._show)

    def _show(self, instance: Instance) -> Observation:
        said = []
        for flag in self.flags:
            given = flags.occurrences(instance.args, flag, instance.dialect, boolean=_is_last_or_bare(instance, flag))
            if isinstance(given, Problem):
                return base.error(instance.subject, given, expected=self.question, source=f"{flag} of {instance}")
            said.append(f"{flag}: {base.show(given)}" if given else f"{flag}: not given")
        return base.manual(instance.subject, expected=self.question, actual="; ".join(said), source=f"command line of {instance}")


def _is_last_or_bare(instance: Instance, flag: str) -> bool:
    """Whether a flag stands without a value: the next word is a flag too, or there is none."""
    spellings = {flag, "--" + flag[2:].replace("-", "_")}
    words = [*instance.args, "--"]
    return any(w in spellings and words[i + 1].startswith("--") for i, w in enumerate(instance.args))
