"""How much of a benchmark a run looked at, and whether anything came of it, in the words of terminal and reports. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.model import BenchmarkInfo, Counts


@dataclass(frozen=True, slots=True)
class Extent:
    """What of a benchmark's document a run, or the part of it that a report is about, looked at.

    ``looked`` is how many controls have a finding, ``counts`` counts the findings on them. ``again``: the run is a re-check.
    """

    benchmark: BenchmarkInfo
    looked: int
    counts: Counts
    again: bool = False

    @property
    def partial(self) -> bool:
        """Whether the published document has controls that were not looked at."""
        return self.looked < self.benchmark.controls_total

    @property
    def idle(self) -> bool:
        """Whether no control applies to anything that was audited."""
        n = self.counts
        return not (n.pass_ or n.fail or n.error or n.manual)

    @property
    def blind(self) -> bool:
        """Whether evidence is missing for every control that may apply."""
        n = self.counts
        return n.error > 0 and not (n.pass_ or n.fail or n.manual)

    @property
    def rest(self) -> str:
        """What became of the document's other controls, each reason with its number; empty for no reason that is known."""
        b = self.benchmark
        unknown = b.controls_total - len(b.controls) - sum(b.left_out.values()) if b.left_out else 0
        other = len(b.controls) - self.looked
        parts = [b.narrowed] if b.narrowed else []
        if unknown > 0:
            parts.append(f"{unknown} not known to this program")
        if other > 0 and self.looked:
            parts.append(f"{other} {'not asked for' if self.again else 'for other kinds of targets than were audited here'}")
        return ", ".join(parts)

    @property
    def brief(self) -> str:
        """How many controls of how many were looked at, why not the others, and whether anything came of it."""
        said = f"{self.looked:,} of {self.benchmark.controls_total:,} controls" + (f" ({self.rest})" if self.rest else "")
        if self.blind:
            return f"{said}, evidence missing for all {'that may apply' if self.counts.not_applicable else 'of them'}"
        return f"{said}, none of which applies" if self.idle and self.looked else said

    @property
    def heading(self) -> str:
        """What a reader must know of the benchmark as a whole, in a word or two; empty for nothing."""
        if self.idle:
            return "Nothing applies" if self.looked else "Nothing looked at"
        return "No evidence" if self.blind else "Partial benchmark" if self.partial else ""

    @property
    def sentence(self) -> str:
        """The same in full; empty for nothing."""
        if not self.heading:
            return ""
        looked, left = f"{self.looked:,}", self.benchmark.controls_total - self.looked
        if not self.looked:
            return self._lead
        if self.idle:
            return f"{self._lead} None of the {looked} applies here, so there is no score."
        if self.blind:
            those = f"the {looked}{' that may apply' if self.counts.not_applicable else ''}"
            return f"{self._lead} Evidence is missing for all of {those}: whether they are met, or apply at all, is not known."
        return f"{self._lead} A score here says nothing about the other {left:,}."

    @property
    def _lead(self) -> str:
        name, total = f"{self.benchmark.name} {self.benchmark.version}", f"{self.benchmark.controls_total:,}"
        if not self.partial:
            return f"All {total} controls of {name} were looked at."
        looked = f"{self.looked or 'none'} {'was' if self.looked == 1 else 'were'} looked at{' again' if self.again else ''}"
        return f"Of the {total} controls of {name}, {looked}{f'; {self.rest}' if self.rest else ''}."
