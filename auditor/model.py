"""The nouns of the auditor: what every room talks about.

Nothing here does I/O, reads a clock or knows a target's kind of transport. All types are frozen, so
that judging the same evidence twice can't give two answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from auditor.fixes.kinds import Fix
from auditor.holdings import ScannedImage, Seen
from auditor.registers import AttestationMark, Registers, WaiverMark


class Status(StrEnum):
    """The verdict of an observation or of a control on a target."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    ERROR = "error"
    MANUAL = "manual"
    NOT_APPLICABLE = "not_applicable"


#: Worst first: a control's status on a target is that of its worst observation.
STATUS_ORDER = (Status.FAIL, Status.ERROR, Status.MANUAL, Status.PASS, Status.NOT_APPLICABLE)
STATUS_RANK = {status: rank for rank, status in enumerate(STATUS_ORDER)}


class Severity(StrEnum):
    """How much a failure matters. The grading is ours: CIS publishes none."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


#: Worst first.
SEVERITY_ORDER = tuple(Severity)


class Decided(StrEnum):
    """How far the evidence of a target decides a control. A verdict that it doesn't decide is manual, with the facts shown."""

    AUTOMATIC = "automatic"  # evidence alone gives pass and fail
    WITH_POLICY = "with_policy"  # needs values that a site sets: parameters in its tailoring file
    WITH_RECORDS = "with_records"  # needs what isn't on the target: records, a registry's or a scanner's answer
    BY_PERSON = "by_person"  # the rest is a person's judgement


class Reason(StrEnum):
    """Why evidence is missing."""

    DENIED = "denied"
    ABSENT = "absent"
    TIMEOUT = "timeout"
    TRUNCATED = "truncated"
    UNPARSABLE = "unparsable"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Problem:
    """Evidence that could not be had: never a pass, never silently left out."""

    reason: Reason
    detail: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def problem_of(part: Mapping[str, Any]) -> Problem:
    """Return the problem noted in a part of an answer (``{"problem": {"reason", "detail"}, ...}``)."""
    problem = part["problem"]
    return Problem(Reason(problem["reason"]), str(problem["detail"]))


class Fact(Protocol):
    """One typed question. Two equal questions have equal keys and are asked once."""

    @property
    def key(self) -> str:
        """The name of the answer in an evidence bundle, for example ``processes`` or ``objects:pods``."""
        ...


class Facts(Protocol):
    """What a check may see while it judges: the answers, and nothing else."""

    def get(self, fact: Fact) -> Any | Problem:
        """Return the answer to ``fact``, or the `Problem` that stands in its place (never None)."""
        ...


class TargetKind(StrEnum):
    """What a target is. Hosts become one of the first two once it is known what runs there."""

    DOCKER_HOST = "docker-host"
    NODE = "node"
    CLUSTER = "cluster"


class TargetStatus(StrEnum):
    """How far the audit of a target came."""

    AUDITED = "audited"
    UNREACHABLE = "unreachable"
    FAILED = "failed"
    EXCLUDED = "excluded"


@dataclass(frozen=True, slots=True)
class Target:
    """Something to audit, as the inventory names it."""

    name: str
    transport: str  # "ssh", "local", "docker", "kubernetes" or "saved"
    address: str = ""
    groups: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()  # of a cluster: the names of the targets that are its nodes


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything learnt about one target, redacted, as plain JSON values.

    ``facts`` maps a fact's key to its answer (JSON values only) or to a `Problem`. ``error`` is set when
    nothing could be collected at all. Times are UTC in ISO 8601 with a trailing Z. ``known`` keeps what follows from the rest.
    """

    target: Target
    collected_at: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    status: TargetStatus = TargetStatus.AUDITED
    error: Problem | None = None
    known: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def get(self, fact: Fact) -> Any | Problem:
        """Return the answer to ``fact``; a question that was never asked is an absent answer."""
        answer = self.facts.get(fact.key)
        if answer is None:
            return Problem(Reason.ABSENT, f"this evidence holds no answer to {fact.key!r}")
        return answer


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen about one subject, and what it means.

    ``subject`` is ``kind/name`` or ``kind/namespace/name``. ``source`` says where ``actual`` was read: a flag,
    a file and key, an object's field, a default.
    """

    subject: str
    status: Status
    expected: str = ""
    actual: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer of a check: its observations, or why there is nothing to observe."""

    observations: tuple[Observation, ...] = ()
    reason: str = ""

    @property
    def status(self) -> Status:
        """The worst status among the observations; not_applicable when there are none."""
        return worst(o.status for o in self.observations)


def worst(statuses: Iterable[Status]) -> Status:
    """Return the worst of some statuses (fail > error > manual > pass), not_applicable for none."""
    return min(statuses, key=STATUS_RANK.__getitem__, default=Status.NOT_APPLICABLE)


class Check(Protocol):
    """A condition over facts: what it needs to know, and what it concludes. Pure."""

    def needs(self) -> frozenset[Fact]:
        """Return the facts that `evaluate` may read."""
        ...

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge ``facts``. Missing facts become observations with status error."""
        ...


@dataclass(frozen=True, slots=True)
class Remediation:
    """How to put a failure right: words for a person, and typed data that fixes are generated from."""

    text: str
    fix: tuple[Fix, ...] = ()


@dataclass(frozen=True, slots=True)
class Control:
    """One rule, written once, bound to the parameters and the number of one benchmark version."""

    id: str
    key: str
    title: str
    level: int
    assessment: str  # "automated" or "manual": what the benchmark document says, not what we can decide
    severity: Severity
    target: str  # "docker-host", "node" or "cluster"
    rationale: str
    remediation: Remediation
    check: Check
    applies_when: Check | None = None
    section: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)  # the policy inputs in force, by name
    tailored: bool = False  # whether a user's own values are among them
    decided: Decided = Decided.AUTOMATIC


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A version of a benchmark: its controls in the order of their numbers.

    ``controls_total`` is how many controls the published document has; ``controls`` may hold fewer.
    ``sha256`` digests the files it was read from. ``left_out`` is how many controls were not selected, by what left them out.
    """

    name: str
    version: str
    title: str
    controls: tuple[Control, ...]
    controls_total: int
    sha256: str
    selected_because: str = ""
    sections: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def ref(self) -> str:
        """``name@version``, as the command line takes it."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Finding:
    """A control's verdict on one target, with the evidence for it."""

    target: str
    benchmark: str
    version: str
    id: str
    control: str
    title: str
    level: int
    assessment: str
    severity: Severity
    status: Status
    reason: str = ""
    observations: tuple[Observation, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)  # the policy inputs that the verdict rests on
    tailored: bool = False  # whether they are a user's own and not the control's defaults
    waiver: WaiverMark | None = None  # only on a failure, which it stays
    attestation: AttestationMark | None = None  # only on a manual finding, which it stays


@dataclass(frozen=True, slots=True)
class Counts:
    """How many findings have each status, and how many of the failures are waived and of the manual ones attested."""

    pass_: int = 0
    fail: int = 0
    manual: int = 0
    not_applicable: int = 0
    error: int = 0
    waived: int = 0
    attested_pass: int = 0
    attested_fail: int = 0

    @property
    def total(self) -> int:
        """All findings; waived ones are failures and attested ones manual, and are counted there already."""
        return self.pass_ + self.fail + self.manual + self.not_applicable + self.error


@dataclass(frozen=True, slots=True)
class Score:
    """The score of a target on a benchmark, in percent; None where nothing could be scored."""

    target: str
    benchmark: str
    version: str
    score: float | None
    coverage: float | None
    counts: Counts


@dataclass(frozen=True, slots=True)
class TargetResult:
    """A target after the audit: what it turned out to be and how far we came."""

    name: str
    kind: TargetKind
    address: str
    transport: str
    roles: tuple[str, ...]
    groups: tuple[str, ...]
    status: TargetStatus
    error: str | None
    evidence_sha256: str | None
    collected_at: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)  # a few lines about it: system, engine, account, ...
    seen: tuple[Seen, ...] = ()  # the inventory of what it holds, as far as the evidence tells
    scanned: tuple[ScannedImage, ...] = ()  # its images that scanners looked at, as far as their results were given


@dataclass(frozen=True, slots=True)
class AuditRun:
    """One audit from start to end, complete enough to be reported on without anything else.

    ``targets`` and ``findings`` may be made anew whenever they are asked for; `auditor.queries` finds its way about them.
    ``benchmarks`` carry the controls' words. Times are UTC in ISO 8601 with a trailing Z.
    """

    id: str
    started: str
    finished: str
    auditor_version: str
    operator: str
    targets: Sequence[TargetResult]
    benchmarks: tuple[BenchmarkInfo, ...]
    findings: Sequence[Finding]
    scores: tuple[Score, ...]
    selection: Mapping[str, Any] = field(default_factory=dict)  # level, only, limit: what narrowed the run
    notices: tuple[str, ...] = ()  # what a reader must know before any verdict, such as a benchmark that doesn't fit a target
    registers: Registers = field(default_factory=Registers)  # tailoring, waivers and attestations


@dataclass(frozen=True, slots=True)
class ControlInfo:
    """A control's words, without its check: what reports print."""

    id: str
    key: str
    title: str
    level: int
    assessment: str
    severity: Severity
    section: str
    rationale: str
    remediation: str


@dataclass(frozen=True, slots=True)
class BenchmarkInfo:
    """A benchmark as a report needs it. ``left_out`` is how many controls were not selected, by what left them out."""

    name: str
    version: str
    title: str
    sha256: str
    selected_because: str
    controls_total: int
    controls: tuple[ControlInfo, ...]
    sections: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def narrowed(self) -> str:
        """What left out controls and how many, in words; empty when nothing did."""
        return ", ".join(f"{n} left out by {what}" for what, n in self.left_out.items())
