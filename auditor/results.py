"""An `AuditRun` as the results document (results.json, schema version 1), and back."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any

from auditor.holdings import ScannedImage, Seen
from auditor.model import (
    AuditRun,
    BenchmarkInfo,
    ControlInfo,
    Counts,
    Finding,
    Observation,
    Score,
    Severity,
    Status,
    TargetKind,
    TargetResult,
    TargetStatus,
)
from auditor.registers import AttestationEntry, AttestationMark, Change, Registers, State, WaiverEntry, WaiverMark
from auditor.score import adjusted_coverage_of, adjusted_score_of

_ENCODER = json.JSONEncoder(separators=(",", ":"))  # made once: it is used for every finding
SCHEMA = "https://cis-auditor.dev/schema/results-1.json"


def finding_document(finding: Finding) -> dict[str, Any]:
    """Return one finding as the document has it."""
    return {
        "target": finding.target, "benchmark": finding.benchmark, "version": finding.version, "id": finding.id,
        "control": finding.control, "title": finding.title, "level": finding.level, "assessment": finding.assessment,
        "severity": finding.severity.value, "status": finding.status.value, "reason": finding.reason,
        "observations": [
            {"subject": o.subject, "status": o.status.value, "expected": o.expected, "actual": o.actual, "source": o.source}
            for o in finding.observations
        ],
        "parameters": dict(finding.parameters), "tailored": finding.tailored,
        "waiver": finding.waiver and _plain(finding.waiver), "attestation": finding.attestation and _plain(finding.attestation),
    }  # fmt: skip


def _plain(value: Any) -> dict[str, Any]:
    """Return a dataclass of texts, numbers and tuples of texts as JSON values."""
    names = (f.name for f in dataclasses.fields(value))
    return {n: list(v) if isinstance(v := getattr(value, n), tuple) else v for n in names}


def _made(kind: Any, document: dict[str, Any]) -> Any:
    """Return what `_plain` wrote."""
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in document.items()})


def registers_document(registers: Registers) -> dict[str, Any]:
    """Return the registers of a run."""
    return {f.name: [_plain(entry) for entry in getattr(registers, f.name)] for f in dataclasses.fields(registers)}


def registers_of(document: dict[str, Any]) -> Registers:
    """Return the registers that `registers_document` wrote; those of an earlier version's run are empty."""

    def stated(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**e, "state": State(e["state"])} for e in entries]

    return Registers(
        tuple(_made(Change, c) for c in document.get("tailoring", ())),
        tuple(_made(WaiverEntry, w) for w in stated(document.get("waivers", []))),
        tuple(_made(AttestationEntry, a) for a in stated(document.get("attestations", []))),
    )


def finding_of(document: dict[str, Any]) -> Finding:
    """Return the finding that `finding_document` wrote. Texts are shared: the findings of a fleet say the same again and again."""
    d: dict[str, Any] = {k: sys.intern(v) if type(v) is str else v for k, v in document.items()}
    for name, kind in (("waiver", WaiverMark), ("attestation", AttestationMark)):
        d[name] = None if d[name] is None else _made(kind, d[name])
    observations = tuple(_observation(**o) for o in d.pop("observations"))
    return Finding(**{**d, "severity": Severity(d["severity"]), "status": Status(d["status"])}, observations=observations)


def _observation(subject: str, status: str, expected: str, actual: str, source: str) -> Observation:
    share = sys.intern
    return Observation(share(subject), Status(status), share(expected), share(actual), share(source))


def counts_document(counts: Counts) -> dict[str, int]:
    """Return counts by the statuses' own names."""
    return {"pass": counts.pass_, "fail": counts.fail, "manual": counts.manual, "not_applicable": counts.not_applicable,
            "error": counts.error, "waived": counts.waived}  # fmt: skip


def score_document(score: Score) -> dict[str, Any]:
    """Return one score; score and coverage are percentages rounded to two digits, or null.

    Those are of the evidence alone; ``adjusted`` holds the two with waivers and attestations.
    """
    c = score.counts
    return {"target": score.target, "benchmark": score.benchmark, "version": score.version, "score": _rounded(score.score),
            "coverage": _rounded(score.coverage), "counts": counts_document(c),
            "attested": {"pass": c.attested_pass, "fail": c.attested_fail},
            "adjusted": {"score": _rounded(adjusted_score_of(c)), "coverage": _rounded(adjusted_coverage_of(c))}}  # fmt: skip


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _score(document: dict[str, Any]) -> Score:
    c, attested = document["counts"], document.get("attested", {"pass": 0, "fail": 0})
    own = {k: v for k, v in document.items() if k not in ("counts", "attested", "adjusted")}
    counts = Counts(
        c["pass"], c["fail"], c["manual"], c["not_applicable"], c["error"], c["waived"], attested["pass"], attested["fail"]
    )
    return Score(**own, counts=counts)


def target_document(target: TargetResult) -> dict[str, Any]:
    """Return one target as the document has it."""
    document = {f.name: getattr(target, f.name) for f in dataclasses.fields(target)}
    seen = [{"kind": s.kind, "count": s.count, "things": [list(thing) for thing in s.things]} for s in target.seen]
    return {**document, "kind": target.kind.value, "status": target.status.value, "facts": dict(target.facts),
            "roles": list(target.roles), "groups": list(target.groups), "seen": seen,
            "scanned": [_plain(image) for image in target.scanned]}  # fmt: skip


def target_of(document: dict[str, Any]) -> TargetResult:
    """Return the target that `target_document` wrote."""
    d = document
    return TargetResult(**{**d, "kind": TargetKind(d["kind"]), "status": TargetStatus(d["status"]), "roles": tuple(d["roles"]),
                           "groups": tuple(d["groups"]), "seen": _seen(d),
                           "scanned": tuple(_made(ScannedImage, i) for i in d.get("scanned", ()))})  # fmt: skip


def info_document(info: BenchmarkInfo) -> dict[str, Any]:
    """Return one benchmark as the document has it."""
    controls = [{**dataclasses.asdict(c), "severity": c.severity.value} for c in info.controls]
    mappings = {"sections": dict(info.sections), "left_out": dict(info.left_out)}
    return {**{f.name: getattr(info, f.name) for f in dataclasses.fields(info)}, **mappings, "controls": controls}


def text_of(value: Any) -> str:
    """Return JSON in one line of ASCII, so that text that a database refuses (NUL, half a surrogate pair) is its escape."""
    return _ENCODER.encode(value)


def text_of_finding(finding: Finding) -> str:
    """Return what `text_of` makes of `finding_document`, without the document in between: a run has hundreds for every target."""
    if finding.waiver is not None or finding.attestation is not None:
        return text_of(finding_document(finding))
    f = finding
    words = _words(f.benchmark, f.version, f.id, f.control, f.title, f.level, f.assessment, f.severity)
    parameters = text_of(dict(f.parameters)) if f.parameters else "{}"
    return (
        f'{{"target":{_quoted(f.target)},{words},"status":{_quoted(f.status)},"reason":{_quoted(f.reason)},'
        f'"observations":[{",".join(map(_text_of_observation, f.observations))}],"parameters":{parameters},'
        f'"tailored":{"true" if f.tailored else "false"},"waiver":null,"attestation":null}}'
    )


@lru_cache(maxsize=8192)
def _words(benchmark: str, version: str, id_: str, control: str, title: str, level: int, assessment: str, severity: str) -> str:
    """Return what is the same in every finding of a control."""
    return (
        f'"benchmark":{_quoted(benchmark)},"version":{_quoted(version)},"id":{_quoted(id_)},"control":{_quoted(control)},'
        f'"title":{_quoted(title)},"level":{level:d},"assessment":{_quoted(assessment)},"severity":{_quoted(severity)}'
    )


def _text_of_observation(o: Observation) -> str:
    return (
        f'{{"subject":{_quoted(o.subject)},"status":{_quoted(o.status)},"expected":{_quoted(o.expected)},'
        f'"actual":{_quoted(o.actual)},"source":{_quoted(o.source)}}}'
    )


def to_document(run: AuditRun) -> dict[str, Any]:
    """Return the results document of a run: JSON values only."""
    return {k: v if isinstance(v, (str, dict)) else list(v) for k, v in _parts(run).items()}


def head_document(run: AuditRun) -> dict[str, Any]:
    """Return what a run says of itself."""
    return {"id": run.id, "started": run.started, "finished": run.finished, "auditor_version": run.auditor_version,
            "operator": run.operator, "selection": dict(run.selection), "notices": list(run.notices),
            "registers": registers_document(run.registers)}  # fmt: skip


def _parts(run: AuditRun) -> dict[str, Any]:
    """Return the document, its lists to be made one item at a time."""
    return {
        "schema": SCHEMA,
        "run": head_document(run),
        "targets": map(target_document, run.targets),
        "benchmarks": map(info_document, run.benchmarks),
        "findings": map(finding_document, run.findings),
        "scores": map(score_document, run.scores),
    }


def json_parts(run: AuditRun) -> Iterator[bytes]:
    """Yield the results document as JSON in UTF-8: one target, benchmark, finding and score a line, so that files compare well.

    Texts that no encoding can carry (halves of surrogate pairs) stay in their escaped form.
    """
    before = "{\n "
    for key, value in _parts(run).items():
        yield f"{before}{json.dumps(key)}: ".encode("ascii")
        before = ",\n "
        if isinstance(value, (str, dict)):
            yield json.dumps(value).encode("ascii")
            continue
        lead = "["
        for line in map(text_of_finding, run.findings) if key == "findings" else map(text_of, value):
            yield f"{lead}\n  {line}".encode("ascii")
            lead = ","
        yield b"[]" if lead == "[" else b"\n ]"
    yield b"\n}\n"


def to_json(run: AuditRun) -> bytes:
    """Return what `json_parts` yields as one."""
    return b"".join(json_parts(run))


def _seen(target: dict[str, Any]) -> tuple[Seen, ...]:
    """Return the inventory of a target; an earlier version's run has none."""
    return tuple(Seen(s["kind"], s["count"], tuple((name, about) for name, about in s["things"])) for s in target.get("seen", ()))


def run_of(document: Mapping[str, Any]) -> AuditRun:
    """Return the run that `to_document` wrote (scores keep the two digits they were written with).

    Findings may be any iterable of documents, so that there need not be one for each at the same time.
    """
    targets = tuple(map(target_of, document["targets"]))
    benchmarks = tuple(
        BenchmarkInfo(**{**b, "controls": tuple(ControlInfo(**{**c, "severity": Severity(c["severity"])}) for c in b["controls"])})
        for b in document["benchmarks"]
    )
    scores = tuple(_score(s) for s in document["scores"])
    findings = tuple(finding_of(f) for f in document["findings"])
    head = dict(document["run"])
    head["notices"] = tuple(head.get("notices", ()))  # a run stored earlier may have none
    head["registers"] = registers_of(head.get("registers", {}))
    return AuditRun(**head, targets=targets, benchmarks=benchmarks, findings=findings, scores=scores)
