"""junit.xml (the form that Jenkins, GitLab and others read): a suite for each target and benchmark, a case for each control.

fail is a failure (a waived one too: its type says ``waived``), error an error; manual and not applicable are skipped, with why.
"""

from __future__ import annotations

from collections import Counter
from xml.etree import ElementTree as ET

from auditor.model import AuditRun, Finding, Status
from reports import marks, plain

_ELEMENT = {Status.FAIL: "failure", Status.ERROR: "error", Status.MANUAL: "skipped", Status.NOT_APPLICABLE: "skipped"}


def render(run: AuditRun) -> bytes:
    """Return the document."""
    run = plain.complete(run)
    known = plain.entries(run)
    root = ET.Element("testsuites", name=f"{plain.TOOL} {plain.line(run.id)}")
    every: Counter[str] = Counter()
    for (name, version), targets in plain.by_benchmark(run).items():
        for target, findings in targets.items():
            counts = Counter(_ELEMENT.get(f.status, "passed") for f in findings)
            every += counts
            title = plain.line(f"{target} {name} {version}")
            suite = ET.SubElement(
                root,
                "testsuite",
                name=title,
                tests=str(len(findings)),
                failures=str(counts["failure"]),
                errors=str(counts["error"]),
                skipped=str(counts["skipped"]),
                timestamp=plain.line(run.started),
                hostname=plain.line(target),
            )
            for f in findings:
                _case(suite, f, plain.line(f"{name}@{version}.{target}"), known)
    root.set("tests", str(sum(every.values())))
    root.set("failures", str(every["failure"]))
    root.set("errors", str(every["error"]))
    ET.indent(root, " ")
    content: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _case(suite: ET.Element, f: Finding, where: str, known: plain.Entries) -> None:
    case = ET.SubElement(suite, "testcase", classname=where, name=plain.line(f"{f.id} {f.title}"))
    mark, decision = marks.word(f.waiver, f.attestation), plain.decided(f, known)
    element = _ELEMENT.get(f.status)
    text = "\n".join([f"severity {f.severity.value}, level {f.level}", *([decision] if decision else []), *plain.evidence(f)])
    if element is None:
        return
    kind = f"{f.status.value}, {mark}" if mark else f.status.value
    ET.SubElement(case, element, type=kind, message=f"{kind}: {plain.headline(f)}").text = text
