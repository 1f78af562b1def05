"""A finding as one line of JSON, made without the document in between: a run writes hundreds for every target."""

from __future__ import annotations

from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted

from auditor.model import Finding, Observation
from auditor.results import finding_document, text_of


def text_of_finding(finding: Finding) -> str:
    """Return what `auditor.results.text_of` makes of `auditor.results.finding_document`, to the last character."""
    if finding.waiver is not None or finding.attestation is not None:
        return text_of(finding_document(finding))
    f = finding
    words = _words(f.benchmark, f.version, f.id, f.control, f.title, f.level, f.assessment, f.severity)
    parameters = text_of(dict(f.parameters)) if f.parameters else "{}"
    return (
        f'{{"target":{_quoted(f.target)},{words},"status":{_quoted(f.status)},"reason":{_quoted(f.reason)},'
        f'"observations":[{",".join(map(_observation, f.observations))}],"parameters":{parameters},'
        f'"tailored":{"true" if f.tailored else "false"},"waiver":null,"attestation":null}}'
    )


@lru_cache(maxsize=8192)
def _words(benchmark: str, version: str, id_: str, control: str, title: str, level: int, assessment: str, severity: str) -> str:
    """Return what is the same in every finding of a control."""
    return (
        f'"benchmark":{_quoted(benchmark)},"version":{_quoted(version)},"id":{_quoted(id_)},"control":{_quoted(control)},'
        f'"title":{_quoted(title)},"level":{level:d},"assessment":{_quoted(assessment)},"severity":{_quoted(severity)}'
    )


def _observation(o: Observation) -> str:
    return (
        f'{{"subject":{_quoted(o.subject)},"status":{_quoted(o.status)},"expected":{_quoted(o.expected)},'
        f'"actual":{_quoted(o.actual)},"source":{_quoted(o.source)}}}'
    )
