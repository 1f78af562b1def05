"""Generated documents are current; what they say of files is what the loaders do."""

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from auditor import schema
from auditor.session import packaged_library
from auditor.tailoringtext import template
from checks import check_types
from tests import test_registers
from tests.support import recorded_audit

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


class Plain(yaml.CSafeLoader):
    """Days are text, as for the decoder and for editors."""


Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def said_of_tailoring(text: str) -> list[str]:
    schema_ = Draft202012Validator(json.loads(DOCUMENTS["schema/tailoring-1.json"]))
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in schema_.iter_errors(yaml.load(text, Loader=Plain))]


def examples() -> dict[str, str]:
    """Return the tailoring files and registers of the documentation, the program and the tests."""
    found = {
        "README": re.findall(r"((?:^    .*\n)*^    tailoring: 1\n(?:^    .*\n)+)", (ROOT / "README.md").read_text(), re.MULTILINE)[
            0
        ]
    }
    blocks = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "tailoring.md").read_text(), re.MULTILINE | re.DOTALL)
    selection, parameters, files, register, attested = blocks
    found |= {"docs, tailoring": selection + parameters + files, "docs, register": register + attested}
    found["init"] = re.sub(
        r"^# (?=zone|benchmarks|overrides|waivers|attestations|parameters|  )", "", template(packaged_library()), flags=re.MULTILINE
    )
    found["init"] = found["init"].replace("#   #", "#")
    return found | {"fleet": recorded_audit.TAILORING, "registers": test_registers.TAILORING, "waivers": test_registers.WAIVERS}


@pytest.mark.parametrize("name", ["README", "docs, tailoring", "docs, register", "init", "fleet", "registers", "waivers"])
def test_tailoring_files_fit_their_schema(name: str) -> None:
    assert said_of_tailoring(textwrap.dedent(examples()[name])) == []


WAIVER = "{control: k, targets: [x], reason: r, owner: o, approver: p, expires: 2026-12-31}"
ATTESTED = (
    "{control: k, groups: [x], verdict: pass, by: b, at: 2026-01-01, statement: s, evidence: e, expires: 2026-12-31T10:00:00Z}"
)
SITE = f"""\
tailoring: 1
zone: Europe/Berlin
benchmarks: [{{benchmark: b, level: 1, sections: ["5"], reason: r, exclude: [{{control: k, reason: r}}], include: [{{control: k, reason: r}}]}}]
overrides: [{{control: k, targets: [x], parameters: {{a: 1}}, reason: r}}]
waivers: [{WAIVER}]
attestations: [{ATTESTED}]
"""


def test_a_tailoring_file_of_everything_fits() -> None:
    assert said_of_tailoring(SITE) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("tailoring: 1", "tailoring: 2"),
        ("tailoring: 1", "tailorin: 1"),
        ("zone: Europe/Berlin", "zones: UTC"),
        ("level: 1", "level: 3"),
        ("level: 1", "levle: 1"),
        (", reason: r, exclude", ", exclude"),
        ("exclude: [{control: k, reason: r}]", "exclude: [{reason: r}]"),
        ("exclude: [{control: k, reason: r}]", 'exclude: [{control: k, section: "5", reason: r}]'),
        ("parameters: {a: 1}", "parameters: 5"),
        ("overrides: [{control: k, targets: [x]", "overrides: [{control: k, targets: []"),
        ("control: k, targets: [x], reason: r, owner", "control: k, reason: r, owner"),
        ("control: k, targets: [x], reason: r, owner", "control: '5.5', targets: [x], reason: r, owner"),
        ("targets: [x], reason: r, owner", "targets: [], reason: r, owner"),
        ("owner: o", "owner: ' '"),
        ("owner: o", "owner: 5"),
        ("approver: p", "aprover: p"),
        ("expires: 2026-12-31}", "expires: soon}"),
        ("T10:00:00Z", "T10:00:00"),
        ("verdict: pass", "verdict: passed"),
    ],
)  # fmt: skip
def test_the_tailoring_schema_refuses(right: str, wrong: str) -> None:
    assert SITE.count(right) == 1
    assert said_of_tailoring(SITE.replace(right, wrong))
    assert said_of_tailoring(f"register: 1\n{SITE}"), "a register has no parameters"


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
