"""results.json: its schema, and that nothing is lost on the way there and back."""

import json
from importlib import resources

import jsonschema
import pytest

from auditor import rows
from auditor.results import SCHEMA, finding_document, run_of, text_of, text_of_finding, to_document, to_json
from tests.support import sample_run

RUNS = {
    "small": sample_run.small(),
    "single": sample_run.single(),
    "hostile": sample_run.hostile(20_000),
    "fleet": sample_run.large(8, 30),
}


def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(resources.files("reports").joinpath("assets/results-1.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", RUNS)
def test_follows_the_schema(name):
    document = json.loads(to_json(RUNS[name]))
    assert [e.message for e in validator().iter_errors(document)] == []
    assert document["schema"] == SCHEMA == validator().schema["$id"]


@pytest.mark.parametrize("name", RUNS)
def test_comes_back_as_it_was(name):
    run = RUNS[name]
    back = run_of(json.loads(to_json(run)))
    assert (back.findings, back.targets, back.benchmarks, dict(back.selection)) == (
        run.findings,
        run.targets,
        run.benchmarks,
        dict(run.selection),
    )
    assert [s.counts for s in back.scores] == [s.counts for s in run.scores]
    assert [s.score for s in back.scores] == [None if s.score is None else round(s.score, 2) for s in run.scores]
    assert to_document(back) == json.loads(to_json(run))


def test_hostile_texts_are_kept_exactly():
    document = json.loads(to_json(RUNS["hostile"]))
    texts = {o["actual"] for f in document["findings"] for o in f["observations"]}
    assert set(sample_run.HOSTILE) <= texts


@pytest.mark.parametrize("name", RUNS)
def test_what_is_written_fast_is_what_the_document_says(name):
    """Findings are written as text and as rows without their documents: nothing may differ from what these would give."""
    for n, finding in enumerate(RUNS[name].findings[:2000]):
        document = finding_document(finding)
        text = text_of(document)
        assert text_of_finding(finding) == text
        row = dict(zip(rows.FINDING_COLUMNS, rows.finding_values("r", n, finding), strict=True))
        assert (row.pop("run"), row.pop("position"), row.pop("document")) == ("r", n, "")
        assert row.pop("attested") == (document["attestation"] or {}).get("verdict")
        assert row == rows.columns(document, row)


def test_every_finding_is_a_line():
    text = to_json(RUNS["small"]).decode("ascii")
    lines = [line for line in text.splitlines() if line.startswith('  {"target"') and '"observations"' in line]
    assert len(lines) == len(RUNS["small"].findings)


@pytest.mark.parametrize("spoil", [
    lambda d: d.update(extra=1),
    lambda d: d["run"].pop("id"),
    lambda d: d["run"].update(started="yesterday"),
    lambda d: d["targets"][0].update(status="fine"),
    lambda d: d["targets"][0].update(evidence_sha256="abc"),
    lambda d: d["findings"][0].update(status="skipped"),
    lambda d: d["findings"][0]["observations"][0].pop("source"),
    lambda d: d["findings"][0]["observations"][0].update(colour="red"),
    lambda d: d["scores"][0].update(score=100.5),
    lambda d: d["scores"][0]["counts"].update(**{"pass": -1}),
])  # fmt: skip
def test_the_schema_refuses(spoil):
    document = json.loads(to_json(RUNS["small"]))
    spoil(document)
    assert not validator().is_valid(document)
