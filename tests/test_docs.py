"""Generated documents are current; what they say of files is what the loaders do."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from auditor import schema
from checks import check_types

ROOT = Path(__file__).parent.parent
DOCUMENTS = schema.documents(check_types())
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*/*.yaml"))


def loaded(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader=yaml.CSafeLoader)


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(DOCUMENTS[f"schema/{name}.schema.json"]))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_generated_document_is_current(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == DOCUMENTS[name], "run: make docs"


@pytest.mark.parametrize("name", [n for n in DOCUMENTS if n.endswith(".json")])
def test_schema_is_a_schema(name: str) -> None:
    Draft202012Validator.check_schema(json.loads(DOCUMENTS[name]))


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_packaged_files_fit_their_schemas(path: Path) -> None:
    content = loaded(path)
    errors = validator("controls" if isinstance(content, list) else "benchmark").iter_errors(content)
    assert [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in errors] == []


def test_the_example_inventory_fits_its_schema() -> None:
    assert list(validator("inventory").iter_errors(loaded(ROOT / "inventory.example.yaml"))) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": []},
        {"hosts": [{"nmae": "a"}]},
        {"hosts": [{}]},
        {"hosts": [{"name": 5}]},
        {"hosts": [{"name": "a", "transport": "telnet"}]},
        {"hosts": [{"name": "a", "ssh": {"port": "22"}}]},
        {"docker": [{"name": "a"}]},
        {"clusters": [{"name": "a", "in_cluster": "yes"}]},
    ],
)
def test_inventory_schema_refuses(wrong: dict[str, Any]) -> None:
    assert not validator("inventory").is_valid(wrong)


CONTROL = {
    "key": "k",
    "title": "t",
    "severity": "low",
    "target": "node",
    "rationale": "r",
    "check": {"manual": {"question": "?"}},
    "remediation": {"text": "x"},
}


def test_controls_schema_takes_parameters_and_refuses_what_the_decoder_refuses() -> None:
    controls = validator("controls")
    assert controls.is_valid([CONTROL])
    assert controls.is_valid([{**CONTROL, "check": {"manual": {"question": {"parameter": "p"}}}, "parameters": {"p": "?"}}])
    for wrong in (
        {"severity": "lwo"},
        {"check": {"manaul": {"question": "?"}}},
        {"check": {"manual": {"qestion": "?"}}},
        {"check": {"manual": {"question": 5}}},
        {"check": {"manual": {}, "all": {"checks": []}}},
        {"check": {}},
        {"check": "manual"},
        {"surprise": 1},
        {"applies_when": {"x": {}}},
    ):
        assert not controls.is_valid([{**CONTROL, **wrong}]), wrong
    assert not controls.is_valid([{k: v for k, v in CONTROL.items() if k != "rationale"}])


@pytest.mark.parametrize("name", sorted(check_types()))
def test_every_check_type_is_in_the_reference(name: str) -> None:
    section = DOCUMENTS["check-types.md"].partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert len(section.strip().split("\n")[0]) > 20, "its docstring says what it asks"
    assert "| Key | Value | Default |" in section or "It has no keys" in section


def test_links_of_the_reference_lead_somewhere() -> None:
    text = DOCUMENTS["check-types.md"]
    headings = {line.lstrip("# ").lower().replace(" ", "-") for line in text.splitlines() if line.startswith("#")}
    targets = {part.partition(")")[0] for part in text.split("](#")[1:]}
    assert targets <= headings
    assert "``" not in text
