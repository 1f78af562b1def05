"""report.sarif (SARIF 2.1.0, OASIS): a run for each benchmark, a result for each finding.

pass, fail, manual (``review``), not applicable and error (``open``: too little is known to decide) are SARIF's own kinds. A waived
failure is a suppressed failure. Only failures have a level: the standard says so.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from auditor.model import AuditRun, BenchmarkInfo, ControlInfo, Finding, Observation, Severity, Status
from reports import marks, plain

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

KINDS = {
    Status.PASS: "pass",
    Status.FAIL: "fail",
    Status.ERROR: "open",
    Status.MANUAL: "review",
    Status.NOT_APPLICABLE: "notApplicable",
}
LEVELS = {Severity.CRITICAL: "error", Severity.HIGH: "error", Severity.MEDIUM: "warning", Severity.LOW: "note"}

#: What code scanning sorts by: the middle of CVSS's range of each severity.
_SCORES = {Severity.CRITICAL: "9.5", Severity.HIGH: "8.0", Severity.MEDIUM: "5.5", Severity.LOW: "2.0"}


def render(run: AuditRun) -> Iterator[bytes]:
    """Yield the log: one result a line."""
    whole = plain.complete(run)
    head = {"$schema": SCHEMA, "version": "2.1.0"}
    judged = plain.by_benchmark(whole)
    if judged:
        yield from plain.encoded(plain.json_object(head, {"runs": _runs(run, whole, judged)}))
    else:
        yield json.dumps({**head, "runs": []}).encode("utf-8")
    yield b"\n"


def _runs(run: AuditRun, whole: AuditRun, judged: dict[plain.Benchmark, dict[str, Sequence[int]]]) -> Iterator[Iterator[str]]:
    infos, known = plain.infos(whole), plain.entries(run)
    for ref, targets in judged.items():
        controls = plain.controls(whole, infos[ref])
        index = {id_: n for n, id_ in enumerate(controls)}
        places = itertools.chain.from_iterable(targets.values())
        results = (_result(f, index[f.id], known) for f in plain.at(whole, places))
        yield plain.json_object(_head(run, infos[ref], controls), {"results": results})


def _message(text: str) -> dict[str, str]:
    """Return a text as a message: brackets would be links and braces placeholders, the standard says how they are escaped."""
    escaped = re.sub(r"[\\\[\]]", r"\\\g<0>", plain.shown(text))
    return {"text": escaped.replace("{", "{{").replace("}", "}}")}


def _rule_id(benchmark: str, id_: str) -> str:
    return plain.line(f"{benchmark}/{id_}")


def _head(run: AuditRun, info: BenchmarkInfo, controls: dict[str, ControlInfo]) -> dict[str, Any]:
    rules = [
        {
            "id": _rule_id(info.name, c.id),
            "name": plain.line(c.key),
            "shortDescription": {"text": plain.line(c.title) or c.id},
            "fullDescription": {"text": plain.shown(c.rationale) or plain.line(c.title)},
            "help": {"text": plain.shown(c.remediation) or plain.line(c.title)},
            "defaultConfiguration": {"level": LEVELS[c.severity]},
            "properties": {
                "tags": ["security", f"level-{c.level}", plain.line(c.assessment)],
                "severity": c.severity.value,
                "security-severity": _SCORES[c.severity],
            },
        }
        for c in controls.values()
    ]
    lost = [
        {"level": "error", "message": _message(f"{t.name} could not be audited: {t.error or t.status.value}")}
        for t in plain.unreached(run.targets)
    ]
    times = {n: t for n, t in (("startTimeUtc", run.started), ("endTimeUtc", run.finished)) if plain.moment(t)}
    invocation = {"executionSuccessful": not lost, "toolExecutionNotifications": lost, **times}
    return {
        "tool": {"driver": {"name": plain.TOOL, "version": plain.line(run.auditor_version), "rules": rules}},
        "automationDetails": {"id": plain.line(f"{plain.TOOL}/{info.name}/{info.version}/{run.id}")},
        "invocations": [invocation],
        "properties": {"benchmark": plain.line(f"{info.name} {info.version}"), "benchmarkSha256": plain.line(info.sha256)},
    }


def _result(f: Finding, index: int, known: plain.Entries) -> dict[str, Any]:
    deciding = [o for o in f.observations if o.status is f.status]
    text = plain.headline(f)
    if len(deciding) > plain.MOST:
        text += f"; the first {plain.MOST:,} are given as locations, all of them in results.json"
    decision, mark = plain.decided(f, known), marks.word(f.waiver, f.attestation)
    identity = json.dumps([f.target, f.benchmark, f.control]).encode()
    locations = [_location(f.target, o) for o in deciding[: plain.MOST]] or [_place(f.target, "")]
    waived = f.waiver is not None and f.waiver.complete
    return {
        "ruleId": _rule_id(f.benchmark, f.id),
        "ruleIndex": index,
        "kind": KINDS[f.status],
        "level": LEVELS[f.severity] if f.status is Status.FAIL else "none",
        "message": _message(f"{f.target}: {text}"),
        "locations": locations,
        "partialFingerprints": {"targetControl/v1": hashlib.sha256(identity).hexdigest()[:32]},
        "suppressions": [{"kind": "external", "status": "accepted", "justification": decision}] if waived else [],
        "properties": {
            "target": plain.line(f.target),
            "status": f.status.value,
            "severity": f.severity.value,
            **({"mark": mark, "decision": decision} if mark else {}),
        },
    }


def _place(target: str, subject: str) -> dict[str, Any]:
    # Many readers show only what has an artifact: a target's subject stands for one, as a path below the target.
    path = "/".join(filter(None, (plain.line(target), plain.line(subject))))
    return {
        "physicalLocation": {"artifactLocation": {"uri": quote(path)}},
        "logicalLocations": [{"fullyQualifiedName": path, "kind": "resource"}],
    }


def _location(target: str, o: Observation) -> dict[str, Any]:
    return {**_place(target, o.subject), "message": _message(plain.seen(o))}
