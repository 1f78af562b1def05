"""junit.xml (the form that Jenkins, GitLab and others read): a suite for each target and benchmark, a case for each control.

fail is a failure (a waived one too: its type says ``waived``), error an error; manual and not applicable are skipped, with why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

from auditor.model import AuditRun, Finding, Status
from auditor.queries import positions
from reports import marks, plain

_ELEMENT = {Status.FAIL: "failure", Status.ERROR: "error", Status.MANUAL: "skipped", Status.NOT_APPLICABLE: "skipped"}


def render(run: AuditRun) -> Iterator[bytes]:
    """Yield the document."""
    run = plain.complete(run)
    known = plain.entries(run)
    every: Counter[str] = Counter()
    for (status,), places in positions(run.findings, "status").items():
        every[_ELEMENT.get(status, "passed")] += len(places)
    root = ET.Element("testsuites", name=f"{plain.TOOL} {plain.line(run.id)}", tests=str(sum(every.values())),
                      failures=str(every["failure"]), errors=str(every["error"]))  # fmt: skip
    yield from plain.xml(root, (_suite(run, *s, known) for s in _suites(run)))


def _suites(run: AuditRun) -> Iterator[tuple[plain.Benchmark, str, Sequence[int]]]:
    for ref, targets in plain.by_benchmark(run).items():
        for target, places in targets.items():
            yield ref, target, places


def _suite(run: AuditRun, ref: plain.Benchmark, target: str, places: Sequence[int], known: plain.Entries) -> ET.Element:
    findings = list(plain.at(run, places))
    counts = Counter(_ELEMENT.get(f.status, "passed") for f in findings)
    name, version = ref
    suite = ET.Element(
        "testsuite",
        name=plain.line(f"{target} {name} {version}"),
        tests=str(len(findings)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
        timestamp=plain.line(run.started),
        hostname=plain.line(target),
    )
    for f in findings:
        _case(suite, f, plain.line(f"{name}@{version}.{target}"), known)
    return suite


def _case(suite: ET.Element, f: Finding, where: str, known: plain.Entries) -> None:
    case = ET.SubElement(suite, "testcase", classname=where, name=plain.line(f"{f.id} {f.title}"))
    mark, decision = marks.word(f.waiver, f.attestation), plain.decided(f, known)
    element = _ELEMENT.get(f.status)
    text = "\n".join([f"severity {f.severity.value}, level {f.level}", *([decision] if decision else []), *plain.evidence(f)])
    if element is None:
        return
    kind = f"{f.status.value}, {mark}" if mark else f.status.value
    ET.SubElement(case, element, type=kind, message=f"{kind}: {plain.headline(f)}").text = text
