"""What the formats for other programs share: harmless text, findings in words, names that are safe, and no target left out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from auditor.model import (
    AuditRun,
    BenchmarkInfo,
    ControlInfo,
    Finding,
    Observation,
    Severity,
    Status,
    TargetResult,
    TargetStatus,
)
from auditor.queries import Joined, positions
from auditor.registers import AttestationEntry, WaiverEntry
from reports import marks
from reports.text import LONGEST, WHOLE, cut_note, visible

#: How many observations of one finding a format writes out; it says how many more there are.
MOST = 200

#: Where the program's own name is needed, and where more is known.
TOOL = "cis-auditor"

#: A finding about a target that could not be audited: our own control, so that no target is silently absent.
REACHED = ControlInfo(
    "1",
    "target-audited",
    "The target could be audited",
    1,
    "automated",
    Severity.HIGH,
    "",
    "What was not reached was not judged: nothing is known about this target.",
    "Put right what the reason names, then audit the target again.",
)

_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

Benchmark = tuple[str, str]
Entries = Mapping[str, WaiverEntry | AttestationEntry]


def shown(text: str, limit: int = LONGEST) -> str:
    """Return a text without control characters, cut to ``limit`` characters where it is longer (and it says so).

    The result is valid in XML 1.0 and in UTF-8.
    """
    if len(text) > limit:
        return f"{visible(text[:limit])} {cut_note(len(text), limit)}"
    return visible(text)


def line(text: str, limit: int = LONGEST) -> str:
    """Return a text as `shown` does, on one line."""
    return " ".join(shown(text, limit).split())


def moment(text: str, otherwise: str = "") -> str:
    """Return a time if it is one in UTC and ISO 8601, else ``otherwise``: evidence from a file may hold anything there."""
    return text if _ISO.fullmatch(text) else otherwise


def value(given: Any) -> str:
    """Return one of the values that narrowed a run, in words."""
    return ", ".join(map(str, given)) if isinstance(given, list | tuple) else str(given)


def plain_name(text: str, longest: int = 80) -> str:
    """Return letters, digits, dots and dashes that stand for ``text`` alone: a part of its digest is added where needed."""
    name = re.sub(r"[^A-Za-z0-9.-]", "-", text)[:longest].strip(".-") or "x"
    if name == text:
        return name
    return f"{name}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"


def unreached(targets: Iterable[TargetResult]) -> list[TargetResult]:
    """Return the targets that were asked for and could not be audited."""
    return [t for t in targets if t.status in (TargetStatus.UNREACHABLE, TargetStatus.FAILED)]


def complete(run: AuditRun) -> AuditRun:
    """Return the run with an error finding for every target that could not be audited: no format leaves one out."""
    lost = unreached(run.targets)
    if not lost:
        return run
    benchmark = BenchmarkInfo(TOOL, run.auditor_version, "Targets that could not be audited", "", "", 1, (REACHED,))
    c = REACHED
    findings = [
        Finding(
            t.name,
            TOOL,
            run.auditor_version,
            c.id,
            c.key,
            c.title,
            c.level,
            c.assessment,
            c.severity,
            Status.ERROR,
            t.error or t.status.value,
            (Observation(f"target/{t.name}", Status.ERROR, "audited", t.error or "", "the audit"),),
        )
        for t in lost
    ]
    return dataclasses.replace(run, benchmarks=(*run.benchmarks, benchmark), findings=Joined(run.findings, findings))


def by_benchmark(run: AuditRun) -> dict[Benchmark, dict[str, Sequence[int]]]:
    """Return where findings stand in the run by benchmark and target, all in the run's order."""
    found: dict[Benchmark, dict[str, Sequence[int]]] = {(b.name, b.version): {} for b in run.benchmarks}
    for (name, version, target), places in positions(run.findings, "benchmark", "version", "target").items():
        found.setdefault((name, version), {})[target] = places
    return {ref: targets for ref, targets in found.items() if targets}


def policy(finding: Finding) -> str:
    """Return the policy inputs that a verdict rests on in words; empty where there are none."""
    given = "; ".join(f"{name.replace('_', ' ')}: {_shown(value)}" for name, value in finding.parameters.items())
    return f"{given} ({'set by this site' if finding.tailored else 'the defaults'})" if given else ""


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_shown(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(_shown(v) for v in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not set" if value in (None, "") else str(value)


def at(run: AuditRun, places: Iterable[int]) -> Iterator[Finding]:
    """Yield the findings that stand there."""
    return map(run.findings.__getitem__, places)


def infos(run: AuditRun) -> dict[Benchmark, BenchmarkInfo]:
    """Return the run's benchmarks by name and version; one that findings name and the run doesn't know has no words."""
    known = {(b.name, b.version): b for b in run.benchmarks}
    for name, version in positions(run.findings, "benchmark", "version"):
        known.setdefault((name, version), BenchmarkInfo(name, version, name, "", "", 0, ()))
    return known


def controls(run: AuditRun, info: BenchmarkInfo) -> dict[str, ControlInfo]:
    """Return the judged controls of a benchmark by their numbers; one that the run doesn't know has its findings' words."""
    known = {c.id: c for c in info.controls}
    judged: dict[str, ControlInfo] = {}
    for (name, version, id_), places in positions(run.findings, "benchmark", "version", "id").items():
        if (name, version) == (info.name, info.version):
            judged[id_] = known.get(id_) or worded(run.findings[places[0]])
    order = {id_: n for n, id_ in enumerate(known)}
    return dict(sorted(judged.items(), key=lambda item: order.get(item[0], len(order))))


def worded(f: Finding) -> ControlInfo:
    """Return the words of a control as far as a finding has them."""
    return ControlInfo(f.id, f.control, f.title, f.level, f.assessment, f.severity, f.id.rpartition(".")[0], "", "")


def entries(run: AuditRun) -> Entries:
    """Return the registers' waivers and attestations by their ids."""
    return {e.id: e for register in (run.registers.waivers, run.registers.attestations) for e in register}


def decided(finding: Finding, known: Entries) -> str:
    """Return in one sentence what people decided about a finding; empty for nothing."""
    return line(marks.sentence(finding.waiver, finding.attestation, known))


def seen(observation: Observation) -> str:
    """Return an observation on one line."""
    parts = [
        f"{name} {line(text)}"
        for name, text in (("expected", observation.expected), ("actual", observation.actual), ("source", observation.source))
        if text
    ]
    return f"{observation.status.value}: {line(observation.subject)}{': ' if parts else ''}{'; '.join(parts)}"


def headline(finding: Finding) -> str:
    """Return in one line what a finding says: how many subjects decide it and the first of them, else its reason."""
    deciding = [o.subject for o in finding.observations if o.status is finding.status]
    if not deciding:
        return line(finding.reason) or finding.status.value
    names = ", ".join(line(s, 200) for s in deciding[:3])
    more = f" and {len(deciding) - 3:,} more" if len(deciding) > 3 else ""
    said = f"{len(deciding):,} of {len(finding.observations):,} {finding.status.value}: {names}{more}"
    return f"{said} ({line(finding.reason)})" if finding.reason else said


def first(observations: Sequence[Observation], status: Status) -> list[Observation]:
    """Return at most `MOST` observations, those with ``status`` first: what decides is never among what is cut."""
    return sorted(observations, key=lambda o: o.status is not status)[:MOST]


def evidence(finding: Finding) -> list[str]:
    """Return the lines of a finding's observations: the `first`, and one that says how many more there are."""
    lines = [seen(o) for o in first(finding.observations, finding.status)]
    if len(finding.observations) > MOST:
        lines.append(f"[cut here: {MOST:,} of {len(finding.observations):,} subjects are shown; all of them are in {WHOLE}]")
    return lines


Json = Mapping[str, Any] | str | Iterator[str]


def json_object(head: Mapping[str, Any], lists: Mapping[str, Iterable[Json]]) -> Iterator[str]:
    """Yield a JSON object of ``head`` and ``lists`` in parts, an item of these a line; empty lists are left out.

    An item may be JSON already, also in parts. Items are written as they come, so that not all of them are held at once.
    """
    before = "{"
    if head:
        yield f"{{{json.dumps(head, ensure_ascii=False)[1:-1]}"
        before = ", "
    for name, items in lists.items():
        lead = f"{before}{json.dumps(name)}: [\n"
        for item in items:
            if isinstance(item, Iterator):
                yield lead
                yield from item
            else:
                yield f"{lead}{item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)}"
            lead, before = ",\n", ", "
        if lead == ",\n":
            yield "\n]"
    yield "{}" if before == "{" else "}"


def encoded(parts: Iterable[str]) -> Iterator[bytes]:
    """Yield texts in UTF-8."""
    return (part.encode("utf-8") for part in parts)


def xml(root: ET.Element, children: Iterable[ET.Element]) -> Iterator[bytes]:
    """Yield a document: ``root`` with what it holds, then more children, each indented and written as it comes.

    Namespaces that need a prefix may occur in ``root`` alone.
    """
    pending = iter(children)
    child = next(pending, None)
    place = ET.SubElement(root, "here") if child is not None else None
    ET.indent(root, " ")
    whole: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    if place is None:
        yield whole + b"\n"
        return
    head, _, end = whole.rpartition(b"<here />")
    yield head
    while child is not None:
        ET.indent(child, " ", level=1)
        yield ET.tostring(child, encoding="utf-8")
        child = next(pending, None)
        if child is not None:
            yield b"\n "
    yield end + b"\n"
