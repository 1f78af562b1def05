"""xccdf-BENCHMARK.xml (XCCDF 1.2, NIST IR 7275): a document for each benchmark, with its rules and a TestResult for each target.

manual is ``notchecked``, not applicable ``notapplicable``, error ``error``. Waivers and attestations are messages beside the
result, which they leave as it is. The standard's own place for them, ``override``, can't be used: the Schematron rules that
``oscap xccdf validate`` applies then want one in every other result of that target too.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

from auditor.model import AuditRun, BenchmarkInfo, ControlInfo, Finding, Score, Severity, Status, TargetResult
from reports import plain

NAMESPACE = "http://checklists.nist.gov/xccdf/1.2"
DUBLIN_CORE = "http://purl.org/dc/elements/1.1/"
RESULTS = {
    Status.PASS: "pass",
    Status.FAIL: "fail",
    Status.ERROR: "error",
    Status.MANUAL: "notchecked",
    Status.NOT_APPLICABLE: "notapplicable",
}
SEVERITIES = {Severity.CRITICAL: "high", Severity.HIGH: "high", Severity.MEDIUM: "medium", Severity.LOW: "low"}
_MESSAGES = {Status.FAIL: "error", Status.ERROR: "error", Status.MANUAL: "warning"}


def documents(run: AuditRun) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield a file name and a document for each benchmark."""
    whole = plain.complete(run)
    infos = plain.infos(whole)
    scores = {(s.benchmark, s.version, s.target): s for s in run.scores}
    for ref, targets in plain.by_benchmark(whole).items():
        yield f"xccdf-{plain.plain_name('-'.join(ref))}.xml", _document(whole, infos[ref], targets, scores)


def _id(kind: str, *names: str) -> str:
    return f"xccdf_{plain.TOOL}_{kind}_{'-'.join(plain.plain_name(n) for n in names)}"


def _add(parent: ET.Element, tag: str, text: str = "", **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text or None
    return element


def _document(
    run: AuditRun, info: BenchmarkInfo, targets: dict[str, Sequence[int]], scores: dict[tuple[str, str, str], Score]
) -> Iterator[bytes]:
    name = (info.name, info.version)
    root = ET.Element("Benchmark", {"xmlns": NAMESPACE, "id": _id("benchmark", *name), "resolved": "true", "xml:lang": "en"})
    _add(root, "status", "draft")  # the benchmark's text is ours, not the publisher's
    _add(root, "title", plain.line(f"{info.title or info.name} {info.version}"))
    _add(
        root,
        "description",
        plain.line(f"Controls of {info.name} {info.version} in the words of {plain.TOOL}. {info.selected_because}"),
    )
    _add(
        root,
        "notice",
        "Not affiliated with or endorsed by the Center for Internet Security (CIS). Severities are ours.",
        id="affiliation",
    )
    _add(root, "version", plain.line(info.version))
    metadata = _add(root, "metadata")
    for tag, text in (
        ("publisher", plain.TOOL),
        ("creator", plain.TOOL),
        ("contributor", plain.TOOL),
        ("source", f"sha256:{info.sha256}"),
    ):
        _add(metadata, f"{{{DUBLIN_CORE}}}{tag}", plain.line(text))
    controls = plain.controls(run, info)
    sections: dict[str, list[ControlInfo]] = {}
    for c in controls.values():
        sections.setdefault(c.section, []).append(c)
    rules = {c.id: _id("rule", *name, c.id) for c in controls.values()}
    for number, members in sections.items():
        group = _add(root, "Group", id=_id("group", *name, number or "all"))
        _add(group, "title", plain.line(f"{number} {info.sections.get(number, '')}") or "Controls")
        for c in members:
            _rule(group, rules[c.id], c)
    known, by_name = plain.entries(run), {t.name: dataclasses.replace(t, seen=(), scanned=()) for t in run.targets}
    results = (
        _result(run, name, by_name.get(target), target, list(plain.at(run, places)), rules, scores.get((*name, target)), known)
        for target, places in targets.items()
    )
    return plain.xml(root, results)


def _rule(group: ET.Element, identity: str, c: ControlInfo) -> None:
    rule = _add(group, "Rule", id=identity, severity=SEVERITIES[c.severity], selected="true")
    _add(rule, "title", plain.line(f"{c.id} {c.title}"))
    _add(rule, "description", plain.line(f"{c.key}, level {c.level}, {c.assessment}, severity {c.severity.value}"))
    if c.rationale:
        _add(rule, "rationale", plain.shown(c.rationale))
    if c.remediation:
        _add(rule, "fixtext", plain.shown(c.remediation))
    _check(rule, c.key)


def _check(parent: ET.Element, key: str) -> None:
    """Say what decided: our own checking system, by the control's key."""
    check = _add(parent, "check", system=f"urn:{plain.TOOL}:checks")
    _add(check, "check-content-ref", href="results.json", name=plain.line(key))


def _result(
    run: AuditRun,
    name: plain.Benchmark,
    about: TargetResult | None,
    target: str,
    findings: list[Finding],
    rules: dict[str, str],
    score: Score | None,
    known: plain.Entries,
) -> ET.Element:
    end = plain.moment(run.finished, "1970-01-01T00:00:00Z")
    result = ET.Element("TestResult", id=_id("testresult", *name, target), version=plain.line(name[1]))
    if plain.moment(run.started):
        result.set("start-time", run.started)
    result.set("end-time", end)
    result.set("test-system", f"cpe:/a:{plain.TOOL}:{plain.TOOL}:{plain.plain_name(run.auditor_version)}")
    _add(result, "title", plain.line(f"Audit {run.id} of {target}"))
    _add(result, "target", plain.line(target) or "-")
    if about is not None:
        if plain.line(about.address):
            _add(result, "target-address", plain.line(about.address))
        facts = _add(result, "target-facts")
        given = {
            "kind": about.kind.value,
            "status": about.status.value,
            "evidence-sha256": about.evidence_sha256 or "",
            **about.facts,
        }
        for n, text in given.items():
            if text:
                _add(facts, "fact", plain.shown(text), name=f"urn:{plain.TOOL}:fact:{plain.plain_name(n)}", type="string")
    taken = plain.moment(about.collected_at if about is not None else "", end)
    for f in findings:
        _rule_result(result, rules[f.id], f, known, taken)
    counts = Counter(f.status for f in findings)
    asked = counts[Status.PASS] + counts[Status.FAIL] + counts[Status.ERROR]
    _add(result, "score", str(counts[Status.PASS]), system="urn:xccdf:scoring:flat-unweighted", maximum=str(asked))
    for system, value in (("score", score and score.score), ("coverage", score and score.coverage)):
        if value is not None:
            _add(result, "score", f"{value:.2f}", system=f"urn:{plain.TOOL}:scoring:{system}", maximum="100")
    return result


def _rule_result(result: ET.Element, rule: str, f: Finding, known: plain.Entries, time: str) -> None:
    element = _add(result, "rule-result", idref=rule, severity=SEVERITIES[f.severity], time=time)
    said = RESULTS[f.status]
    _add(element, "result", said)
    if decision := plain.decided(f, known):
        _add(element, "message", decision, severity="info")
    if f.reason:
        _add(element, "message", plain.line(f.reason), severity=_MESSAGES.get(f.status, "info"))
    for o in plain.first(f.observations, f.status):
        _add(element, "message", plain.seen(o), severity=_MESSAGES.get(o.status, "info"))
    if len(f.observations) > plain.MOST:
        _add(element, "message", plain.evidence(f)[-1], severity="info")
    _check(element, f.control)
