"""Formats held against validators that aren't ours.

``oscap`` and ``promtool`` are Debian packages of the test suite. The rest can't be installed beside it and is asked where these name it:

- ``FORMAT_SCHEMAS``: a folder with ``sarif.json`` (OASIS' sarif-schema-2.1.0.json), ``oscal.json`` (NIST's
  oscal_assessment-results_schema.json), ``hdf.json`` (exec-json.json of MITRE's heimdall2), ``junit.xsd`` (junit-10.xsd of Jenkins' xunit-plugin) and
  ``openreports.yaml`` (the custom resource definition of ClusterReport)
- ``TRESTLE_PYTHON``: the Python of an environment of its own that has compliance-trestle
- ``XMLSCHEMA_PYTHON``: the same with xmlschema
- ``INSPECJS``: the folder node_modules/inspecjs of ``npm install inspecjs``
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as older_format

import reports
from tests.support import sample_run
from tests.test_formats import RUN

RUNS = {"small": sample_run.small(), "every verdict": RUN, "hostile": sample_run.hostile(50_000)}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder with every format of each run."""
    folders = {name: tmp_path_factory.mktemp("formats") for name in RUNS}
    for name, run in RUNS.items():
        reports.write(run, folders[name], [f for f in reports.FORMATS if f not in ("html", "pdf")])
    return folders


def said(*command: str | Path, given: Path | None = None) -> str:
    """Run a validator and return what it printed; it must be satisfied."""
    with (given or Path(os.devnull)).open("rb") as file:
        done = subprocess.run([str(c) for c in command], stdin=file, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout + done.stderr


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def named(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} names none: this validator can't be installed beside the suite (see this module's docstring)")
    return Path(value)


def schema(name: str) -> str:
    path = named("FORMAT_SCHEMAS") / name
    if not path.is_file():
        pytest.skip(f"FORMAT_SCHEMAS has no {name}")
    return path.read_text()


def mistakes(validator: Any, document: Any) -> list[str]:
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in validator.iter_errors(document)]


@pytest.mark.parametrize("name", RUNS)
def test_xccdf_by_oscap(written: dict[str, Path], name: str) -> None:
    """The XSD and the Schematron rules of OpenSCAP."""
    oscap = program("oscap")
    files = sorted(written[name].glob("xccdf-*.xml"))
    assert files
    for file in files:
        assert "Error" not in said(oscap, "xccdf", "validate", file)


def test_oscap_would_refuse(written: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "x.xml"
    text = next(written["small"].glob("xccdf-cis-docker*.xml")).read_text()
    broken.write_text(text.replace("<result>fail</result>", "<result>failed</result>"))
    done = subprocess.run([program("oscap"), "xccdf", "validate", broken], capture_output=True, check=False)
    assert done.returncode != 0


@pytest.mark.parametrize("name", RUNS)
def test_metrics_by_promtool_and_both_parsers(written: dict[str, Path], name: str) -> None:
    """The file is OpenMetrics, and the text format that node_exporter reads."""
    file = written[name] / "cis_auditor.prom"
    new = {f.name: [s[:3] for s in f.samples] for f in text_string_to_metric_families(file.read_text())}
    old = {f.name: [s[:3] for s in f.samples] for f in older_format(file.read_text())}
    assert new == old
    assert said(program("promtool"), "check", "metrics", given=file) == ""


@pytest.mark.parametrize("name", RUNS)
def test_sarif_by_the_schema_of_oasis(written: dict[str, Path], name: str) -> None:
    validator = Draft7Validator(json.loads(schema("sarif.json")), format_checker=FormatChecker())
    assert mistakes(validator, json.loads((written[name] / "report.sarif").read_text())) == []


@pytest.mark.parametrize("name", RUNS)
def test_oscal_by_the_schema_of_nist(written: dict[str, Path], name: str) -> None:
    text = (
        schema("oscal.json").replace(r"\\p{L}", "[A-Za-z]").replace(r"\\p{N}", "[0-9]")
    )  # Python's patterns have no classes of Unicode
    assert (
        mistakes(Draft7Validator(json.loads(text)), json.loads((written[name] / "oscal-assessment-results.json").read_text())) == []
    )


@pytest.mark.parametrize("name", RUNS)
def test_oscal_by_trestle(written: dict[str, Path], name: str) -> None:
    code = (
        "import sys; from pathlib import Path; from trestle.oscal.assessment_results import AssessmentResults\n"
        "print(sum(len(r.observations) for r in AssessmentResults.oscal_read(Path(sys.argv[1])).results))"
    )
    assert int(said(named("TRESTLE_PYTHON"), "-c", code, written[name] / "oscal-assessment-results.json").split()[-1])


@pytest.mark.parametrize("name", RUNS)
def test_junit_by_the_schema_of_jenkins(written: dict[str, Path], name: str) -> None:
    schema("junit.xsd")
    code = "import sys, xmlschema; xmlschema.validate(sys.argv[1], sys.argv[2])"
    said(named("XMLSCHEMA_PYTHON"), "-c", code, written[name] / "junit.xml", named("FORMAT_SCHEMAS") / "junit.xsd")


@pytest.mark.parametrize("name", RUNS)
def test_openreports_by_the_definition_of_the_resource(written: dict[str, Path], name: str) -> None:
    definition = yaml.safe_load(schema("openreports.yaml"))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    definition["properties"]["metadata"] = {"type": "object", "additionalProperties": True}
    validator = Draft202012Validator(_closed(definition))
    documents = list(yaml.load_all((written[name] / "openreports.yaml").read_text(), Loader=yaml.CSafeLoader))
    assert documents
    for document in documents:
        assert mistakes(validator, document) == []


def _closed(part: Any) -> Any:
    """An API server drops fields that its definition doesn't have: here they are mistakes."""
    if isinstance(part, dict):
        part = {k: _closed(v) for k, v in part.items()}
        if part.get("type") == "object" and "properties" in part:
            part.setdefault("additionalProperties", False)
    elif isinstance(part, list):
        part = [_closed(v) for v in part]
    return part


@pytest.mark.parametrize("name", RUNS)
def test_hdf_by_the_schema_of_mitre(written: dict[str, Path], name: str) -> None:
    validator = Draft7Validator(json.loads(schema("hdf.json")))
    for file in sorted((written[name] / "targets").glob("*.hdf.json")):
        assert mistakes(validator, json.loads(file.read_text())) == []


@pytest.mark.parametrize("name", RUNS)
def test_hdf_by_the_reader_of_heimdall(written: dict[str, Path], name: str) -> None:
    """What Heimdall shows of each control is its verdict."""
    code = """
        const [library, ...files] = process.argv.slice(1), inspecjs = require(library), fs = require('fs');
        for (const file of files)
            for (const profile of inspecjs.convertFile(fs.readFileSync(file, 'utf8'))['1_0_ExecJson'].profiles)
                for (const control of profile.controls)
                    console.log(control.tags.status + '=' + inspecjs.hdfWrapControl(control).status);
    """
    files = sorted((written[name] / "targets").glob("*.hdf.json"))
    found = said(program("node"), "-e", code, named("INSPECJS"), *files).split("\n")[:-1]
    words = {
        "pass": "Passed",
        "fail": "Failed",
        "error": "Profile Error",
        "manual": "Not Reviewed",
        "not_applicable": "Not Applicable",
    }
    assert found
    assert [f for f in found if f.partition("=")[2] != words[f.partition("=")[0]]] == []
