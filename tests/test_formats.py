"""Formats for other programs: what is read back from each is what the run holds, whatever a target sent."""

import csv
import dataclasses
import io
import json
import re
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import openpyxl
import pytest
import yaml
from junitparser import Error, Failure, JUnitXml, Skipped
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import reports
from auditor.model import AuditRun, Observation, Severity, Status, TargetStatus
from auditor.registers import AttestationEntry, AttestationMark, Registers, State, WaiverEntry, WaiverMark
from auditor.results import run_of, to_json
from auditor.score import scores
from reports import as_openmetrics
from tests.support import sample_run

FORMATS = [f for f in reports.FORMATS if f not in ("html", "pdf", "json")]
PASS, FAIL, ERROR, MANUAL, NONE = Status.PASS, Status.FAIL, Status.ERROR, Status.MANUAL, Status.NOT_APPLICABLE
XCCDF = {"x": "http://checklists.nist.gov/xccdf/1.2"}


def seen(status: Status, name: str = "a") -> Observation:
    return Observation(f"container/{name}", status, "set", "not set", "HostConfig")


def every_verdict() -> AuditRun:
    """One target with each verdict, also such as rest on observations of several kinds, and marks of every kind."""
    mixes = [(PASS,), (FAIL, PASS), (ERROR, PASS), (MANUAL, PASS), (), (FAIL, ERROR, MANUAL, PASS), (ERROR, MANUAL, PASS), (FAIL,), (FAIL, FAIL),
             (MANUAL,), (MANUAL, PASS)]  # fmt: skip
    controls = sample_run.DOCKER_CONTROLS
    findings = [
        sample_run.finding("web-1", sample_run.DOCKER, info, (seen(s, f"{s.value}-{n}") for n, s in enumerate(mix)), "" if mix else "no swarm")
        for info, mix in zip(controls, mixes, strict=False)
    ]  # fmt: skip
    findings[7] = dataclasses.replace(findings[7], waiver=WaiverMark(("W1",), True))
    findings[8] = dataclasses.replace(findings[8], waiver=WaiverMark(("W1",), False, ("container/fail-0",)))
    findings[9] = dataclasses.replace(findings[9], attestation=AttestationMark("A1", "pass"))
    findings[10] = dataclasses.replace(findings[10], attestation=AttestationMark("A1", "fail"))
    common: dict[str, Any] = {"control": "k", "benchmark": "", "targets": (), "groups": (), "expires": "2026-12-31",
                              "until": "2027-01-01T00:00:00Z", "state": State.IN_FORCE}  # fmt: skip
    waiver = WaiverEntry(**common, id="W1", since="", place="w.yaml:3", subjects=(), reason="kept until March", owner="ops",
                         approver="boss", ticket="T-1", starts="", waived=1, partly=1)  # fmt: skip
    entry = AttestationEntry(**common, id="A1", since="2026-01-01T00:00:00Z", place="w.yaml:9", verdict="pass", by="auditor",
                             at="2026-01-01", statement="seen by hand", evidence="e", findings=2)  # fmt: skip
    run = sample_run.run_of_parts([sample_run.target("web-1")], findings, sample_run.BENCHMARKS[:1])
    return dataclasses.replace(run, scores=scores(findings), registers=Registers((), (waiver,), (entry,)))


RUN = every_verdict()
BY_ID = {f.id: f for f in RUN.findings}
HOSTILE = sample_run.hostile(50_000)


def rendered(format_: str, run: AuditRun = RUN) -> dict[str, bytes]:
    files = reports._documents(run, format_, None)
    return {name: content if isinstance(content, bytes) else b"".join(content) for name, content in files}


def only(format_: str, run: AuditRun = RUN) -> bytes:
    (content,) = rendered(format_, run).values()
    return content


def table(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def sheet(run: AuditRun, name: str) -> list[dict[str, object]]:
    heading, *body = openpyxl.load_workbook(io.BytesIO(only("xlsx", run)))[name].iter_rows(values_only=True)
    return [dict(zip(heading, row, strict=True)) for row in body]


# Every format names each finding once, with its own word for the status.


def read_csv() -> dict[str, str]:
    return {r["id"]: r["finding_status"] for r in table(only("csv"))}


def read_xlsx() -> dict[str, str]:
    return {str(r["id"]): str(r["finding_status"]) for r in sheet(RUN, "Findings")}


def read_junit() -> dict[str, str]:
    found = {}
    for suite in JUnitXml.fromstring(only("junit")):
        for case in suite:
            (result,) = case.result or (None,)
            words = {type(None): "pass", Failure: "fail", Error: "error"}
            found[case.name.split()[0]] = words.get(type(result)) or (
                isinstance(result, Skipped) and re.split("[,:]", result.type)[0]
            )
    return found


def read_sarif() -> dict[str, str]:
    (run,) = json.loads(only("sarif"))["runs"]
    words = {"pass": "pass", "fail": "fail", "open": "error", "review": "manual", "notApplicable": "not_applicable"}
    return {r["ruleId"].partition("/")[2]: words[r["kind"]] for r in run["results"]}


def read_xccdf() -> dict[str, str]:
    root = ET.fromstring(only("xccdf"))
    words = {"pass": "pass", "fail": "fail", "error": "error", "notchecked": "manual", "notapplicable": "not_applicable"}
    ids = {r.get("id"): r.findtext("x:title", "", XCCDF).split()[0] for r in root.iterfind(".//x:Rule", XCCDF)}
    return {ids[r.get("idref")]: words[r.findtext("x:result", "", XCCDF)] for r in root.iterfind(".//x:rule-result", XCCDF)}


def props(thing: dict) -> dict[str, str]:
    return {p["name"]: p["value"] for p in thing.get("props", ())}


def read_oscal() -> dict[str, str]:
    (result,) = json.loads(only("oscal"))["assessment-results"]["results"]
    return {o["title"].replace("\\", "").split()[0]: props(o)["status"] for o in result["observations"]}


def hdf_status(control: dict) -> str:
    """As Heimdall's reader computes it; it is asked itself where it is installed (see test_formats_valid.py)."""
    found = [r["status"] for r in control["results"]]
    if "error" in found:
        return "error"
    if control.get("waiver_data", {}).get("skipped_due_to_waiver") or control["impact"] == 0:
        return "not_applicable"
    return next({"failed": "fail", "passed": "pass", "skipped": "manual"}[s] for s in ("failed", "passed", "skipped") if s in found)


def read_hdf() -> dict[str, str]:
    return {c["id"]: hdf_status(c) for p in json.loads(only("hdf"))["profiles"] for c in p["controls"]}


def read_openreports() -> dict[str, str]:
    words = {"pass": "pass", "fail": "fail", "error": "error", "warn": "manual", "skip": "not_applicable"}
    return {r["rule"].split()[0]: words[r["result"]] for d in yaml.safe_load_all(only("openreports")) for r in d["results"]}


READERS = {"csv": read_csv, "xlsx": read_xlsx, "junit": read_junit, "sarif": read_sarif, "xccdf": read_xccdf, "oscal": read_oscal,
           "hdf": read_hdf, "openreports": read_openreports}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_a_status_keeps_its_meaning(name: str) -> None:
    """What is missing, manual or not applicable is never a pass, and a waived failure stays one."""
    assert READERS[name]() == {f.id: f.status.value for f in RUN.findings}


def test_every_format_is_read_back() -> None:
    assert set(READERS) | {"openmetrics", "markdown"} == set(FORMATS)


def test_oscal_calls_nothing_satisfied_but_what_passed() -> None:
    (result,) = json.loads(only("oscal"))["assessment-results"]["results"]
    observations = {o["uuid"]: o for o in result["observations"]}
    found = Counter()
    for f in result["findings"]:
        (related,) = f["related-observations"]
        status = props(observations[related["observation-uuid"]])["status"]
        assert props(f)["status"] == status
        found[status, f["target"]["status"]["state"], f["target"]["status"]["reason"]] += 1
    assert found == {("pass", "satisfied", "pass"): 1, ("fail", "not-satisfied", "fail"): 4, ("error", "not-satisfied", "other"): 2}


def families(run: AuditRun) -> dict[str, dict[tuple[str, ...], float]]:
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(only("openmetrics", run).decode()):
        for sample in family.samples:
            values = found.setdefault(sample.name.removeprefix("cis_auditor_"), {})
            key = tuple(
                sample.labels[n] for n in ("target", "benchmark", "version", "status", "severity", "mark") if n in sample.labels
            )
            assert key not in values
            values[key] = sample.value
    return found


def test_openmetrics_holds_the_figures_of_the_run() -> None:
    found = families(RUN)
    where = ("web-1", *sample_run.DOCKER)
    counts = Counter(f.status for f in RUN.findings)
    assert {k[-1]: v for k, v in found["findings"].items()} == {s.value: counts[s] for s in Status}
    assert {k[1:]: v for k, v in found["findings"].items()} == {
        (*sample_run.DOCKER, k[-1]): v for k, v in found["fleet_findings"].items()
    }
    assert found["score_ratio"][where] == pytest.approx(counts[PASS] / (counts[PASS] + counts[FAIL] + counts[ERROR]), abs=1e-4)
    assert {k[-1]: v for k, v in found["marked_findings"].items()} == {"waived": 1, "attested_pass": 1, "attested_fail": 1}
    opened = Counter(f.severity.value for f in RUN.findings if (
        (f.status is FAIL and not (f.waiver and f.waiver.complete)) or (f.attestation and f.attestation.verdict == "fail")))  # fmt: skip
    assert {k[-1]: v for k, v in found["open_failures"].items()} == {s.value: opened[s.value] for s in Severity}
    assert found["run_finished_timestamp_seconds"][()] == 1773464441
    assert found["target_audited"] == {("web-1",): 1}


def test_openmetrics_is_bounded_and_says_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(as_openmetrics, "TARGETS", 3)
    run = sample_run.large(8, 10)
    found = families(run)
    assert len(found["target_audited"]) == 3
    assert found["targets_without_series"][()] == 5
    assert {k[0] for k in found["score_ratio"]} == {s.target for s in sorted(run.scores, key=lambda s: s.score)[:3]}
    assert sum(found["fleet_findings"].values()) == len(run.findings)
    assert all(len(v) <= as_openmetrics.LABEL for values in families(HOSTILE).values() for labels in values for v in labels)


def test_marks_are_kept_where_a_format_has_a_place() -> None:
    waived, partly, attested, refused = (RUN.findings[n] for n in (7, 8, 9, 10))
    rows_ = {r["id"]: (r["mark"], "kept until March" in r["decision"], "seen by hand" in r["decision"]) for r in table(only("csv"))}
    assert rows_[waived.id] == ("waived", True, False)
    assert rows_[partly.id] == ("waived in part", True, False)
    assert rows_[attested.id] == ("attested pass", False, True)
    assert rows_[refused.id] == ("attested fail", False, True)
    (sarif,) = json.loads(only("sarif"))["runs"]
    suppressed = {r["ruleId"].partition("/")[2]: r["suppressions"] for r in sarif["results"] if r["suppressions"]}
    assert list(suppressed) == [waived.id]
    assert (suppressed[waived.id][0]["status"], "kept until March" in suppressed[waived.id][0]["justification"]) == (
        "accepted",
        True,
    )
    types = {c.name.split()[0]: r.type for s in JUnitXml.fromstring(only("junit")) for c in s for r in c.result}
    assert types[waived.id] == "fail, waived"
    assert types[attested.id] == "manual, attested pass"
    (result,) = json.loads(only("oscal"))["assessment-results"]["results"]
    assert [r["status"] for r in result["risks"]] == ["deviation-approved"]
    assert len([f for f in result["findings"] if "related-risks" in f]) == 2
    assert [a["parts"][0]["prose"] for a in result["attestations"]] == ["seen by hand"]
    hdf = {c["id"]: c for p in json.loads(only("hdf"))["profiles"] for c in p["controls"]}
    assert hdf[waived.id]["waiver_data"]["skipped_due_to_waiver"] is False
    assert hdf[waived.id]["waiver_data"]["expiration_date"] == "2026-12-31"
    assert hdf[attested.id]["attestation_data"]["status"] == "passed"
    assert hdf[refused.id]["attestation_data"]["status"] == "failed"
    messages = [m.text or "" for m in ET.fromstring(only("xccdf")).iterfind(".//x:message", XCCDF)]
    assert sum("kept until March" in m for m in messages) == 2
    assert sum("seen by hand" in m for m in messages) == 2
    results = {r["rule"].split()[0]: r for d in yaml.safe_load_all(only("openreports")) for r in d["results"]}
    assert results[waived.id]["properties"]["mark"] == "waived"
    assert "Waiver `W1`" in only("markdown").decode()


def test_sarif_gives_a_level_to_failures_alone() -> None:
    (run,) = json.loads(only("sarif"))["runs"]
    for r in run["results"]:
        assert (r["level"] == "none") is (r["kind"] != "fail")
        assert run["tool"]["driver"]["rules"][r["ruleIndex"]]["id"] == r["ruleId"]
        assert r["locations"]


@pytest.mark.parametrize("format_", [f for f in FORMATS if f != "markdown"])
def test_a_target_that_could_not_be_audited_is_an_error(format_: str) -> None:
    run = sample_run.small()
    lost = [t.name for t in run.targets if t.status in (TargetStatus.UNREACHABLE, TargetStatus.FAILED)]
    assert lost
    text = b"".join(rendered(format_, run).values())
    if format_ == "xlsx":
        text = json.dumps([*sheet(run, "Findings"), *sheet(run, "Targets")]).encode()
    for name in lost:
        assert name.encode() in text
    if format_ == "junit":
        assert JUnitXml.fromstring(text).errors == sum(f.status is ERROR for f in run.findings) + len(lost)
    if format_ == "sarif":
        assert [i["executionSuccessful"] for r in json.loads(text)["runs"] for i in r["invocations"]] == [False] * 3
    if format_ == "openmetrics":
        excluded = {t.name for t in run.targets if t.status is TargetStatus.EXCLUDED}
        assert excluded
        assert families(run)["target_audited"] == {(t.name,): t.name not in lost for t in run.targets if t.name not in excluded}


@pytest.mark.parametrize("format_", FORMATS)
def test_nothing_at_all_is_written_too(format_: str) -> None:
    run = dataclasses.replace(RUN, targets=(), benchmarks=(), findings=(), scores=(), registers=Registers())
    for content in rendered(format_, run).values():
        assert isinstance(content, bytes)


@pytest.mark.parametrize("format_", FORMATS)
def test_the_same_run_gives_the_same_bytes(format_: str) -> None:
    run = sample_run.small()
    first = rendered(format_, run)
    assert rendered(format_, run) == first
    assert rendered(format_, run_of(json.loads(to_json(run)))) == first


def test_bytes_do_not_depend_on_the_process(tmp_path: Path) -> None:
    """Neither the order of sets nor the clock nor the zone is in them."""
    code = (
        "import hashlib, sys; import reports; from tests.support import sample_run; from pathlib import Path\n"
        "paths = reports.write(sample_run.small(), Path(sys.argv[1]), sys.argv[2].split(','))\n"
        "print(*(p.name + hashlib.sha256(p.read_bytes()).hexdigest() for p in paths))"
    )
    said = set()
    for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo")):
        environ = {"PYTHONHASHSEED": seed, "TZ": zone, "PYTHONPATH": str(Path(__file__).parent.parent)}
        command = [sys.executable, "-c", code, str(tmp_path / seed), ",".join(FORMATS)]
        said.add(subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout)
    assert len(said) == 1


def test_files_are_private_and_their_names_are_safe(tmp_path: Path) -> None:
    names = ["../../etc/passwd", "/etc/passwd", "a/b", ".hidden", "CON", "x" * 300, "\x1b[31m", "web-1", "WEB-1", "ü", "-rf"]
    targets = [sample_run.target(n) for n in names]
    findings = [sample_run.finding(n, ("../bench/mark", "1/../2"), sample_run.DOCKER_CONTROLS[0], [seen(FAIL)]) for n in names]
    run = sample_run.run_of_parts(targets, findings, ())
    paths = reports.write(run, tmp_path / "out", FORMATS)
    assert len(paths) == len(set(paths)) == len(FORMATS) - 1 + len(names)
    for path in paths:
        assert path.resolve().is_relative_to(tmp_path / "out")
        assert path.stat().st_mode & 0o777 == 0o600
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,120}", path.name)


# What a target sends


@pytest.mark.parametrize("format_", FORMATS)
def test_hostile_evidence_is_harmless_text(format_: str) -> None:
    for content in rendered(format_, HOSTILE).values():
        if format_ == "xlsx":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                text = "".join(archive.read(n).decode("utf-8") for n in archive.namelist() if n.endswith(".xml"))
        else:
            text = content.decode("utf-8")
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]", text)
        if format_ in ("junit", "xccdf"):
            assert "<script" not in text
            ET.fromstring(content)
        if format_ in ("sarif", "oscal", "hdf"):
            json.loads(content)
