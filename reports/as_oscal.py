"""oscal-assessment-results.json (OSCAL 1.2, NIST): a result for each benchmark, one observation of all targets alike.

OSCAL's findings know only satisfied and not-satisfied. pass is satisfied, fail not-satisfied, and error not-satisfied for the
reason ``other``: the evidence is missing. manual and not applicable are observations without a finding. The property ``status`` of
each holds our own word. Waivers are risks with an approved deviation, attestations are attestations; neither changes a finding.

Evidence stands in properties, which are plain text; descriptions are markup and hold only our own words.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

from auditor.model import AuditRun, Observation, Status, TargetResult
from auditor.registers import AttestationEntry, WaiverEntry
from reports import marks, plain
from reports.build import build
from reports.view import BenchmarkView, ControlView, Group, View

VERSION = "1.2.1"
NS = "https://cis-auditor.dev/ns/oscal"
_STATES = {Status.PASS: ("satisfied", "pass"), Status.FAIL: ("not-satisfied", "fail"), Status.ERROR: ("not-satisfied", "other")}
_EPOCH = "1970-01-01T00:00:00Z"


def render(run: AuditRun) -> Iterator[bytes]:
    """Yield the document. Its identifiers are made from the run's id: the same run gives the same bytes."""
    view = build(plain.complete(run))
    made = _Document(run, view)
    results: list[plain.Json] = [made.result(b) for b in view.benchmarks if b.extent.looked] or [made.empty()]
    yield b'{"assessment-results": '
    yield from plain.encoded(plain.json_object(made.head(), {"results": results}))
    yield b"}\n"


def _prop(name: str, text: str) -> list[dict[str, str]]:
    """Return a property, none where there is no text: a value is never empty and on one line."""
    value = plain.line(text)
    return [{"name": name, "ns": NS, "value": value}] if value else []


def _markup(text: str) -> str:
    """Return a text as markup that shows just that text."""
    return re.sub(r"[!-/:-@\[-`{-~]", r"\\\g<0>", plain.line(text)) or "-"


def _token(*parts: str) -> str:
    return "_" + "-".join(plain.plain_name(p) for p in parts)


class _Document:
    """The parts of one document, and what they refer to each other by."""

    def __init__(self, run: AuditRun, view: View) -> None:
        self.run, self.view = run, view
        self.space = uuid.uuid5(uuid.NAMESPACE_URL, f"{NS}/{plain.line(run.id)}")
        self.end = plain.moment(run.finished, _EPOCH)
        self.targets = {t.result.name: t.result for t in view.targets}
        self.known = plain.entries(run)
        self.items = {name: self.id("target", name) for name in self.targets}

    def id(self, *parts: str) -> str:
        return str(uuid.uuid5(self.space, json.dumps(parts)))

    def head(self) -> dict[str, Any]:
        run = self.run
        subject = self.id("subject of the assessment")
        people = {plain.line(p): None for p in [run.operator, *(a.by for a in run.registers.attestations)]}
        parties = [{"uuid": self.id("party", name), "type": "person", "name": name} for name in people if name]
        selection = "; ".join(f"{k}: {plain.value(v)}" for k, v in run.selection.items() if v)
        props = [
            *_prop("run", run.id),
            *_prop("auditor-version", run.auditor_version),
            *_prop("operator", run.operator),
            *_prop("selection", selection),
        ]
        notices = "\n\n".join(_markup(n) for n in run.notices)
        return {
            "uuid": self.id("document"),
            "metadata": {
                "title": _markup(f"Audit {run.id}"),
                "last-modified": self.end,
                "version": plain.line(run.id) or "1",
                "oscal-version": VERSION,
                "props": props,
                "roles": [{"id": "assessor", "title": "Who answers for the audit"}],
                **({"parties": parties} if parties else {}),
                **({"remarks": notices} if notices else {}),
            },
            "import-ap": {"href": f"#{subject}"},
            "back-matter": {
                "resources": [
                    {
                        "uuid": subject,
                        "title": "The subject of the assessment",
                        "description": "There is no plan in OSCAL: inventory and benchmarks say what was to be assessed.",
                    }
                ]
            },
        }

    def empty(self) -> dict[str, Any]:
        return {
            "uuid": self.id("nothing"),
            "title": "Nothing was judged",
            "description": "No target was audited.",
            "start": self.start(),
            "end": self.end,
            "reviewed-controls": {"control-selections": [{"include-all": {}}]},
        }

    def start(self) -> str:
        return plain.moment(self.run.started, self.end)

    def result(self, benchmark: BenchmarkView) -> Iterator[str]:
        info = benchmark.info
        judged = [c for c in benchmark.controls if c.groups]
        used = dict.fromkeys(name for c in judged for g in c.groups for name in g.targets)
        marked = {i: None for c in judged for g in c.groups for i in marks.ids(g.waiver, g.attestation)}
        entries = [self.known[i] for i in marked if i in self.known]
        risks = [self.risk(info.name, info.version, e) for e in entries if isinstance(e, WaiverEntry)]
        attestations = [self.attestation(e) for e in entries if isinstance(e, AttestationEntry)]
        groups = [((info.name, info.version, c.info.id, str(n)), c, g) for c in judged for n, g in enumerate(c.groups)]
        head = {
            "uuid": self.id("result", info.name, info.version),
            "title": _markup(f"{info.title or info.name} {info.version}"),
            "description": _markup(f"Controls of {info.name} {info.version}: {info.selected_because}"),
            "start": self.start(),
            "end": self.end,
            "props": [
                *_prop("benchmark", info.name),
                *_prop("benchmark-version", info.version),
                *_prop("benchmark-sha256", info.sha256),
            ],
            "local-definitions": {"inventory-items": [self.item(self.targets.get(name), name) for name in used]},
            "reviewed-controls": {
                "control-selections": [
                    {"include-controls": [{"control-id": t} for t in dict.fromkeys(_token(info.name, c.info.id) for c in judged)]}
                ]
            },
        }
        return plain.json_object(
            head,
            {
                "attestations": attestations,
                "observations": (self.observation(*group) for group in groups),
                "risks": risks,
                "findings": (self.finding(*group) for group in groups if group[2].status in _STATES),
            },
        )

    def item(self, target: TargetResult | None, name: str) -> dict[str, Any]:
        props = _prop("target", name)
        if target is not None:
            props += [
                *_prop("kind", target.kind.value),
                *_prop("audit-status", target.status.value),
                *_prop("address", target.address),
                *_prop("evidence-sha256", target.evidence_sha256 or ""),
            ]
        return {"uuid": self.id("target", name), "description": _markup(name), **({"props": props} if props else {})}

    def observation(self, where: tuple[str, ...], control: ControlView, group: Group) -> dict[str, Any]:
        times = [plain.moment(self.targets[t].collected_at, self.end) for t in group.targets if t in self.targets]
        evidence = [self.evidence(o) for o in plain.first(group.observations, group.status)]
        left = len(group.observations) - plain.MOST
        made: dict[str, Any] = {
            "uuid": self.id("observation", *where),
            "title": _markup(f"{control.info.id} {control.info.title}"),
            "description": f"What was seen on {len(group.targets):,} of the targets.",
            "props": [*_prop("status", group.status.value), *_prop("mark", group.mark), *_prop("reason", group.reason)],
            "methods": ["TEST"],
            "types": ["finding"],
            "subjects": [
                {"subject-uuid": self.items.get(name) or self.id("target", name), "type": "inventory-item"}
                for name in group.targets
            ],
            "collected": max(times, default=self.end),
        }
        if evidence:
            made["relevant-evidence"] = evidence
        if left > 0:
            made["remarks"] = f"Cut here: {left:,} more subjects are in results.json."
        return made

    @staticmethod
    def evidence(o: Observation) -> dict[str, Any]:
        props = [
            *_prop("subject", o.subject),
            *_prop("status", o.status.value),
            *_prop("expected", o.expected),
            *_prop("actual", o.actual),
            *_prop("source", o.source),
        ]
        return {"description": "One subject: what was expected, what was found and where.", "props": props}

    def finding(self, where: tuple[str, ...], control: ControlView, group: Group) -> dict[str, Any]:
        state, reason = _STATES[group.status]
        info = control.info
        made: dict[str, Any] = {
            "uuid": self.id("finding", *where),
            "title": _markup(f"{info.id} {info.title}"),
            "description": _markup(info.rationale or info.title),
            "props": [
                *_prop("status", group.status.value),
                *_prop("severity", info.severity.value),
                *_prop("control", info.key),
                *_prop("mark", group.mark),
            ],
            "target": {
                "type": "objective-id",
                "target-id": _token(where[0], info.id),
                "status": {"state": state, "reason": reason},
            },
            "related-observations": [{"observation-uuid": self.id("observation", *where)}],
        }
        if group.status is Status.ERROR:
            made["target"]["status"]["remarks"] = "The evidence is missing, so this is not known to be satisfied."
        risks = [i for i in marks.ids(group.waiver, None) if isinstance(self.known.get(i), WaiverEntry)]
        if risks:
            made["related-risks"] = [{"risk-uuid": self.id("risk", *where[:2], i)} for i in risks]
        if group.status is Status.FAIL and info.remediation:
            made["remarks"] = _markup(info.remediation)
        return made

    def risk(self, name: str, version: str, w: WaiverEntry) -> dict[str, Any]:
        props = [
            *_prop("waiver", w.id),
            *_prop("owner", w.owner),
            *_prop("approver", w.approver),
            *_prop("ticket", w.ticket),
            *_prop("expires", w.expires),
        ]
        until = plain.moment(w.until)
        return {
            "uuid": self.id("risk", name, version, w.id),
            "title": _markup(f"Waiver {w.id}"),
            "description": _markup(w.reason),
            "statement": _markup(w.reason),
            "props": props,
            "status": "deviation-approved",
            **({"deadline": until} if until else {}),
        }

    def attestation(self, a: AttestationEntry) -> dict[str, Any]:
        props = [
            *_prop("attestation", a.id),
            *_prop("verdict", a.verdict),
            *_prop("by", a.by),
            *_prop("at", a.at),
            *_prop("expires", a.expires),
        ]
        made: dict[str, Any] = {
            "parts": [
                {
                    "name": "statement",
                    "ns": NS,
                    "title": _markup(f"Attestation {a.id}"),
                    "props": props,
                    "prose": _markup(a.statement),
                }
            ]
        }
        if plain.line(a.by):
            made["responsible-parties"] = [{"role-id": "assessor", "party-uuids": [self.id("party", plain.line(a.by))]}]
        return made
