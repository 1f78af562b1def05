"""The JSON results of Trivy, Grype and Clair, reduced to what `auditor.facts.scans` describes.

Trivy: ``trivy image --format json`` (schema version 2). Grype: ``grype -o json``. Clair: the vulnerability report of its API
and of ``clairctl report --out json``. Everything in them is hostile: types are checked, texts are cut and lose what steers a
terminal, and every function here raises ValueError with a few words where a document isn't what it claims to be.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from auditor.facts.projection import shallow
from auditor.facts.redact import redact_text
from auditor.facts.scans import DIGEST, SEVERITIES, digests_of, layers_key
from auditor.terminal import clean

#: How many vulnerabilities of an image are kept one by one, and how many characters of a text.
WORST, LONGEST = 10, 200

_NAMED = {"negligible": "low", "moderate": "medium", "important": "high"}


class _Struct(msgspec.Struct):
    """A part of a result: keys that aren't named are skipped without being built."""


class _Named(_Struct):
    name: str = ""
    version: str = ""


class _TrivyFound(_Struct):
    VulnerabilityID: str
    PkgName: str = ""
    InstalledVersion: str = ""
    FixedVersion: str = ""
    Severity: str = ""


class _TrivyResult(_Struct):
    Class: str = ""
    Vulnerabilities: list[_TrivyFound] | None = None
    ExperimentalModifiedFindings: list[dict[str, msgspec.Raw]] | None = None


class _TrivySystem(_Struct):
    Family: str = ""
    Name: str = ""
    EOSL: bool = False


class _TrivyConfig(_Struct):
    architecture: str = ""


class _TrivyMetadata(_Struct):
    OS: _TrivySystem | None = None
    ImageID: str = ""
    DiffIDs: list[str] | None = None
    RepoTags: list[str] | None = None
    RepoDigests: list[str] | None = None
    ImageConfig: _TrivyConfig | None = None


class _TrivyProgram(_Struct):
    Version: str = ""


class _Trivy(_Struct):
    SchemaVersion: int
    ArtifactName: str
    ArtifactType: str
    CreatedAt: str = ""
    Metadata: _TrivyMetadata | None = None
    Results: list[_TrivyResult] | None = None
    Trivy: _TrivyProgram | None = None


class _GrypeFix(_Struct):
    versions: list[str] | None = None
    state: str = ""


class _GrypeVulnerability(_Struct):
    id: str
    severity: str = ""
    fix: _GrypeFix | None = None


class _GrypeMatch(_Struct):
    vulnerability: _GrypeVulnerability
    artifact: _Named


class _GrypeTarget(
    _Struct,
    rename={"user_input": "userInput", "image_id": "imageID", "manifest_digest": "manifestDigest", "repo_digests": "repoDigests"},
):
    user_input: str = ""
    image_id: str = ""
    manifest_digest: str = ""
    tags: list[str] | None = None
    repo_digests: list[str] | None = None
    architecture: str = ""


class _GrypeSource(_Struct):
    type: str
    target: msgspec.Raw


class _GrypeAlert(_Struct):
    type: str = ""


class _GrypeAlerts(_Struct):
    alerts: list[_GrypeAlert] | None = None


class _GrypeDescriptor(_Struct):
    name: str
    version: str = ""
    timestamp: str = ""
    configuration: msgspec.Raw = msgspec.Raw(b"{}")


class _Grype(_Struct, rename={"ignored": "ignoredMatches", "alerts": "alertsByPackage"}):
    matches: list[_GrypeMatch]
    source: _GrypeSource
    descriptor: _GrypeDescriptor
    distro: _Named | None = None
    ignored: list[dict[str, msgspec.Raw]] | None = None
    alerts: list[_GrypeAlerts] | None = None


class _ClairVulnerability(_Struct):
    name: str
    normalized_severity: str = ""
    fixed_in_version: str = ""


class _Clair(_Struct):
    manifest_hash: str
    packages: dict[str, _Named]
    vulnerabilities: dict[str, _ClairVulnerability]
    package_vulnerabilities: dict[str, list[str]]


_KEYS = shallow(msgspec.json.Decoder(dict[str, msgspec.Raw]).decode)
_TRIVY = shallow(msgspec.json.Decoder(_Trivy).decode)
_GRYPE = shallow(msgspec.json.Decoder(_Grype).decode)
_TARGET = shallow(msgspec.json.Decoder(_GrypeTarget).decode)
_SETTINGS = shallow(msgspec.json.Decoder(dict[str, msgspec.Raw]).decode)
_CLAIR = shallow(msgspec.json.Decoder(_Clair).decode)

_Found = tuple[str, str, str, str, str]  # id, package, installed version, version with the fix or "", severity


def reduce(raw: bytes) -> dict[str, Any]:
    """Return what a scanner's result says, without ``file`` and ``sha256``. Raises ValueError."""
    try:
        keys = _KEYS(raw)
    except msgspec.DecodeError as error:
        if raw.lstrip()[:1] == b"[":
            raise ValueError("holds a list; Trivy's results have been objects since 0.20") from None
        raise ValueError(f"is not a JSON object ({error})") from None
    if {"SchemaVersion", "ArtifactType"} <= keys.keys():
        return _trivy(raw)
    if {"matches", "descriptor"} <= keys.keys():
        return _grype(raw)
    if {"manifest_hash", "package_vulnerabilities"} <= keys.keys():
        return _clair(raw)
    raise ValueError("is not a result of Trivy, Grype or Clair in JSON")


def _trivy(raw: bytes) -> dict[str, Any]:
    report = _TRIVY(raw)
    if report.SchemaVersion != 2:
        raise ValueError(f"is Trivy's schema version {report.SchemaVersion}; version 2 is read")
    if report.ArtifactType != "container_image":
        raise ValueError(f"is Trivy's result of a {clean(report.ArtifactType, 40)}, not of a container image")
    told = report.Metadata or _TrivyMetadata()
    system = told.OS or _TrivySystem()
    results = report.Results or []
    found = [
        (v.VulnerabilityID, v.PkgName, v.InstalledVersion, v.FixedVersion, v.Severity)
        for r in results
        for v in r.Vulnerabilities or ()
    ]
    looked_at = {r.Class for r in results}  # a system whose packages were left out is only half looked at
    return _scan(
        "trivy", report.Trivy.Version if report.Trivy else "", report.CreatedAt, report.ArtifactName, found,
        image_id=told.ImageID, digests=told.RepoDigests or (), layers=layers_key(told.DiffIDs or ()), tags=told.RepoTags or (),
        platform=(told.ImageConfig or _TrivyConfig()).architecture,
        looked="os-pkgs" in looked_at or ("lang-pkgs" in looked_at and system.Family in ("", "none")),
        eol=f"{system.Family} {system.Name}" if system.EOSL else "",
        suppressed=sum(len(r.ExperimentalModifiedFindings or ()) for r in results),
    )  # fmt: skip


def _grype(raw: bytes) -> dict[str, Any]:
    report = _GRYPE(raw)
    if report.source.type != "image":
        raise ValueError(f"is Grype's result of a {clean(report.source.type, 40)}, not of a container image")
    target = _TARGET(bytes(report.source.target))
    distro = report.distro or _Named()
    alerts = {a.type for p in report.alerts or () for a in p.alerts or ()}
    found = [
        (m.vulnerability.id, m.artifact.name, m.artifact.version, _grype_fix(m.vulnerability.fix), m.vulnerability.severity)
        for m in report.matches
    ]
    narrowed = "a distribution that it doesn't match" if "distro-disabled" in alerts else ""
    try:
        settings = _SETTINGS(bytes(report.descriptor.configuration))
    except msgspec.ValidationError:
        settings = {}
    if bytes(settings.get("only-notfixed", b"false")) == b"true":
        narrowed = "only-notfixed"
    return _scan(
        "grype", report.descriptor.version, report.descriptor.timestamp, target.user_input, found,
        image_id=target.image_id, digests=(*(target.repo_digests or ()), target.manifest_digest), layers="",
        tags=target.tags or (), platform=target.architecture, looked=bool(found or distro.name), narrowed=narrowed,
        eol=f"{distro.name} {distro.version}" if "distro-eol" in alerts else "", suppressed=len(report.ignored or ()),
    )  # fmt: skip


def _grype_fix(fix: _GrypeFix | None) -> str:
    return ", ".join(fix.versions or ()) or "(a version that isn't told)" if fix is not None and fix.state == "fixed" else ""


def _clair(raw: bytes) -> dict[str, Any]:
    report = _CLAIR(raw)
    found: list[_Found] = []
    for package, numbers in report.package_vulnerabilities.items():
        about = report.packages.get(package)
        for number in numbers:
            v = report.vulnerabilities.get(number)
            if about is None or v is None:
                raise ValueError(f"names a package or a vulnerability that it doesn't hold ({clean(package, 40)})")
            found.append((v.name, about.name, about.version, v.fixed_in_version, v.normalized_severity))
    if report.vulnerabilities and not found:
        raise ValueError("holds vulnerabilities of no package")
    digest = report.manifest_hash if ":" in report.manifest_hash else f"sha256:{report.manifest_hash}"
    return _scan("clair", "", "", digest, found, digests=(digest,), looked=bool(report.packages))


def _scan(
    scanner: str, version: str, time: str, name: str, found: Iterable[_Found], *, looked: bool, image_id: str = "",
    digests: Iterable[str] = (), layers: str = "", tags: Iterable[str] = (), platform: str = "", narrowed: str = "", eol: str = "",
    suppressed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    counts = {severity: [0, 0] for severity in SEVERITIES}
    graded = sorted(
        {(_rank(severity), not fixed, id_, package, installed, fixed) for id_, package, installed, fixed, severity in found}
    )
    for rank, unfixed, *_ in graded:
        counts[SEVERITIES[rank]][unfixed] += 1
    written = _time(time)
    return {
        "scanner": scanner, "version": _text(version), "time": written, "time_from": "report" if written else "",
        "name": _text(name), "image_id": image_id if DIGEST.fullmatch(image_id) else "", "digests": sorted(digests_of(digests)),
        "layers": layers, "tags": sorted({_text(tag) for tag in tags})[:50], "platform": _text(platform), "looked": looked,
        "narrowed": narrowed, "eol": _text(eol), "suppressed": suppressed, "counts": counts,
        "worst": [
            {"id": _text(id_), "package": _text(package), "installed": _text(installed), "fixed": _text(fixed),
             "severity": SEVERITIES[rank]}
            for rank, _, id_, package, installed, fixed in graded[:WORST]
        ],
    }  # fmt: skip


def _rank(severity: str) -> int:
    word = severity.lower()
    word = _NAMED.get(word, word)
    return SEVERITIES.index(word if word in SEVERITIES else "unknown")


def _text(text: str) -> str:
    return clean(redact_text(text), LONGEST)


def _time(text: str) -> str:
    """Return a time in UTC to the second; empty for none. Raises ValueError for what is no time or has no offset."""
    if not text:
        return ""
    try:
        moment = datetime.fromisoformat(text)
        told = moment.astimezone(UTC) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        told = None
    if told is None:
        raise ValueError(f"tells a time that is none: {clean(text, 60)}")
    return f"{told:%Y-%m-%dT%H:%M:%SZ}" if told.year >= 2000 else ""
