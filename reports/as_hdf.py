"""targets/NAME.hdf.json (Heimdall Data Format, MITRE SAF): a file for each target, a profile for each benchmark.

The reader computes a control's status from its results, error before failed before passed before skipped; with impact 0 it is
not applicable. So results are written such that ours comes out: manual is Not Reviewed, error Profile Error, and neither is ever
Passed. ``tags.status`` and ``tags.mark`` hold our own words. A waiver doesn't skip a control: the failure stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from auditor.model import AuditRun, ControlInfo, Finding, Severity, Status, TargetResult
from auditor.registers import AttestationEntry, WaiverEntry
from reports import as_pdf, marks, plain

IMPACTS = {Severity.CRITICAL: 0.9, Severity.HIGH: 0.7, Severity.MEDIUM: 0.5, Severity.LOW: 0.3}

#: What an observation may be beside the verdict it is part of: anything else would change what a reader computes.
_RESULTS = {
    Status.FAIL: {Status.FAIL: "failed", Status.PASS: "passed"},
    Status.ERROR: {Status.ERROR: "error", Status.PASS: "passed"},
    Status.PASS: {Status.PASS: "passed"},
    Status.MANUAL: {},
    Status.NOT_APPLICABLE: {},
}


def documents(run: AuditRun) -> Iterator[tuple[str, bytes]]:
    """Yield a file name and a document for each target that was to be audited."""
    whole, known = plain.complete(run), plain.entries(run)
    infos = plain.infos(whole)
    words = {(*ref, c.id): c for ref, info in infos.items() for c in info.controls}
    found: dict[str, dict[plain.Benchmark, Sequence[int]]] = {}
    for ref, targets in plain.by_benchmark(whole).items():
        for asked, places in targets.items():
            found.setdefault(asked, {})[ref] = places
    # Where nothing can be known of a target, the file holds that as an error.
    for name, target in as_pdf.files(t for t in run.targets if t.name in found):
        profiles = []
        for ref, places in found[target.name].items():
            info = infos[ref]
            profiles.append(
                {
                    "name": plain.line(f"{info.name}-{info.version}"),
                    "title": plain.line(info.title),
                    "version": plain.line(info.version),
                    "sha256": plain.line(info.sha256),
                    "summary": plain.line(info.selected_because),
                    "supports": [],
                    "attributes": [],
                    "groups": [],
                    "status": "loaded",
                    "controls": [_control(f, words.get((*ref, f.id)), target, run, known) for f in plain.at(whole, places)],
                }
            )
        document = {
            "platform": {
                "name": plain.line(target.name),
                "release": plain.line(target.facts.get("system", "")),
                "target_id": plain.line(target.name),
            },
            "version": plain.line(run.auditor_version),
            "statistics": {},
            "profiles": profiles,
            "passthrough": {
                "run": plain.line(run.id),
                "started": plain.line(run.started),
                "finished": plain.line(run.finished),
                "operator": plain.line(run.operator),
                "address": plain.line(target.address),
                "evidence_sha256": target.evidence_sha256,
            },
        }
        yield f"targets/{name.removesuffix('.pdf')}.hdf.json", json.dumps(document, ensure_ascii=False).encode("utf-8") + b"\n"


def _control(f: Finding, info: ControlInfo | None, target: TargetResult, run: AuditRun, known: plain.Entries) -> dict[str, Any]:
    applies = f.status is not Status.NOT_APPLICABLE
    tags: dict[str, Any] = {
        "status": f.status.value,
        "severity": f.severity.value,
        "level": f.level,
        "assessment": plain.line(f.assessment),
        "control": plain.line(f.control),
    }
    if mark := marks.word(f.waiver, f.attestation):
        tags["mark"] = mark
    control: dict[str, Any] = {
        "id": plain.line(f.id),
        "title": plain.line(f.title),
        "desc": plain.shown(info.rationale if info else ""),
        "descriptions": [{"label": "fix", "data": plain.shown(info.remediation if info else "")}],
        "impact": IMPACTS[f.severity] if applies else 0.0,
        "refs": [],
        "tags": tags,
        "source_location": {},
        "results": _results(f, plain.moment(target.collected_at, plain.moment(run.started, "1970-01-01T00:00:00Z"))),
    }
    if f.waiver is not None:
        entry = known.get(f.waiver.waivers[0]) if f.waiver.waivers else None
        control["waiver_data"] = {
            "justification": plain.decided(f, known),
            "run": True,
            "skipped_due_to_waiver": False,
            "expiration_date": plain.line(entry.expires) if isinstance(entry, WaiverEntry) else None,
        }
    if f.attestation is not None:
        by = known.get(f.attestation.attestation)
        entry_ = by if isinstance(by, AttestationEntry) else None
        control["attestation_data"] = {
            "control_id": plain.line(f.id),
            "explanation": plain.decided(f, known),
            "frequency": "",
            "status": "passed" if f.attestation.verdict == Status.PASS else "failed",
            "updated": plain.line(entry_.at) if entry_ else "",
            "updated_by": plain.line(entry_.by) if entry_ else "",
        }
    return control


def _results(f: Finding, time: str) -> list[dict[str, Any]]:
    results = []
    for o in plain.first(f.observations, f.status):
        status = _RESULTS[f.status].get(o.status, "skipped")
        said = plain.seen(o)
        results.append(
            {
                "status": status,
                "code_desc": plain.line(f"{o.subject}: {o.expected}"),
                "start_time": time,
                **({"skip_message": said} if status == "skipped" else {"message": said}),
            }
        )
    left = len(f.observations) - plain.MOST
    reason = plain.line(f.reason) or f.status.value
    if left > 0:
        note = f"cut here: {left:,} more subjects are in results.json"
        results.append({"status": "skipped", "code_desc": "subjects left out", "start_time": time, "skip_message": note})
    if not results:
        own = {Status.FAIL: "failed", Status.ERROR: "error", Status.PASS: "passed"}.get(f.status, "skipped")
        results.append(
            {
                "status": own,
                "code_desc": plain.line(f.title),
                "start_time": time,
                "skip_message" if own == "skipped" else "message": reason,
            }
        )
    return results
