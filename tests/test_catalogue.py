"""Benchmark files: what they may say, and every mistake at its place."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.catalogue import Library, decode_definition, info, lint, packaged, parse
from auditor.fixes.kinds import KubeletSetting
from auditor.model import Fact, Facts, Outcome, Severity
from auditor.yamlfile import InputError
from checks import check_types
from checks.combine import All
from checks.manual import Manual


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A check type with a parameter worth overriding."""

    at_most: int
    names: tuple[str, ...] = ()

    def needs(self) -> frozenset[Fact]:
        return frozenset()

    def evaluate(self, facts: Facts) -> Outcome:
        return Outcome()


TYPES = {"manual": Manual, "all": All, "limit": Limit}

CONTROLS = """\
- key: ask
  title: Somebody knows
  severity: low
  target: node
  rationale: Because.
  check: {manual: {question: Who}}
  remediation: {text: Ask.}
- key: bounded
  title: Not too many
  severity: high
  target: cluster
  rationale: Because.
  parameters: {most: 5, names: [a]}
  applies_when: {manual: {question: Any}}
  check:
    all:
      checks:
        - limit: {at_most: {parameter: most}, names: {parameter: names}}
        - limit: {at_most: {parameter: most}}
  remediation: {text: Fewer., fix: [kubelet_setting: {key: most, value: {parameter: most}}]}
"""
CONTENTS = """\
benchmark: house
version: "1.10.0"
title: House Benchmark
controls_total: 3
sections: {"1": First}
controls:
  - {id: "1.1", control: ask, level: 1, assessment: manual}
  - {id: "1.2.3", control: bounded, level: 2, assessment: automated, parameters: {most: 7}}
"""


def library(*texts: str) -> Library:
    return parse([(f"{n}.yaml", text) for n, text in enumerate(texts)], TYPES)


def mistakes(*texts: str) -> list[str]:
    with pytest.raises(InputError) as error:
        library(*texts).load("house")
    return [str(m) for m in error.value.mistakes]


def test_a_benchmark() -> None:
    benchmark = library(CONTROLS, CONTENTS).load("house", "because")
    assert (benchmark.ref, benchmark.title, benchmark.controls_total, benchmark.selected_because) == (
        "house@1.10.0",
        "House Benchmark",
        3,
        "because",
    )
    ask, bounded = benchmark.controls
    assert (ask.id, ask.key, ask.level, ask.assessment, ask.severity, ask.target, ask.section) == (
        "1.1",
        "ask",
        1,
        "manual",
        Severity.LOW,
        "node",
        "1",
    )
    assert ask.check == Manual(question="Who")
    assert ask.applies_when is None
    assert bounded.check == All(checks=(Limit(at_most=7, names=("a",)), Limit(at_most=7)))
    assert bounded.applies_when == Manual(question="Any")
    assert bounded.remediation.fix == (KubeletSetting(key="most", value=7),)
    assert bounded.section == "1.2"
    words = info(benchmark)
    assert [(c.id, c.remediation) for c in words.controls] == [("1.1", "Ask."), ("1.2.3", "Fewer.")]
    assert words.sections == {"1": "First"}


def test_one_definition_many_versions() -> None:
    older = CONTENTS.replace("1.10.0", "1.9.2").replace(", parameters: {most: 7}", "")
    both = library(CONTROLS, CONTENTS, older)
    assert both.names() == {"house": ["1.9.2", "1.10.0"]}
    assert both.load("house").version == "1.10.0", "the latest by number, not by letter"
    assert both.load("house@1.9.2").controls[1].check == All(checks=(Limit(at_most=5, names=("a",)), Limit(at_most=5)))


def test_digest_is_of_names_and_contents() -> None:
    digest = library(CONTROLS, CONTENTS).digest
    assert digest == library(CONTROLS, CONTENTS).digest
    assert digest != library(CONTROLS + "\n", CONTENTS).digest
    assert digest == parse([("1.yaml", CONTENTS), ("0.yaml", CONTROLS)], TYPES).digest
    assert digest != parse([("1.yaml", CONTENTS), ("2.yaml", CONTROLS)], TYPES).digest


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("hose", "--benchmark: there is no benchmark 'hose'; did you mean 'house'?"),
        ("house@2", "--benchmark: house has no version '2'; known: 1.10.0"),
        ("", "--benchmark: there is no benchmark ''; known: house"),
    ],
)
def test_unknown_benchmark(ref: str, expected: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(expected)}$"):
        library(CONTROLS, CONTENTS).load(ref)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("severity: low", "severity: lwo", "0.yaml:3:13: 'lwo' is not one of the allowed words; did you mean 'low'?"),
        ("target: node", "target: host", "0.yaml:4:11: 'host' is not one of the allowed words; did you mean 'docker-host'?"),
        ("  rationale: Because.\n  check: {man", "  check: {man", "0.yaml:1:3: the key 'rationale' is missing"),
        ("{manual: {question: Who}}", "{manaul: {question: Who}}", "0.yaml:6:11: there is no check type 'manaul'; did you mean 'manual'?"),
        ("{manual: {question: Who}}", "{manual: {qestion: Who}}", "0.yaml:6:19: the key 'question' is missing\n0.yaml:6:20: there is no key 'qestion' here; did you mean 'question'?"),
        ("{manual: {question: Who}}", "manual", "0.yaml:6:10: must be a mapping with one check type, not text (manual)"),
        ("{manual: {question: Who}}", "{}", "0.yaml:6:10: a check is a mapping with exactly one check type; put several under all: or any:"),
        ("at_most: {parameter: most}, names", "at_most: {parameter: msot}, names", "0.yaml:18:40: there is no parameter 'msot' here; did you mean 'most'?"),
        ("most: 5, names", "most: 5, spare: 1, names", "0.yaml:13:32: the parameter 'spare' is used nowhere in this control"),
        ("parameters: {most: 7}", "parameters: {most: seven}", "1.yaml:8:89: must be a whole number, not text (seven)"),
        ("parameters: {most: 7}", "parameters: {mots: 7}", "1.yaml:8:89: the control has no parameter 'mots'; did you mean 'most'?"),
        ('id: "1.1"', "id: 1.1", "1.yaml:7:10: must be text, not a number (1.1): put it in quotes"),
        ('version: "1.10.0"', "version: 1.10", "1.yaml:2:10: must be text, not a number (1.10): put it in quotes"),
        ("control: ask", "control: aks", "1.yaml:7:5: there is no control 'aks'; did you mean 'ask'?"),
        ('id: "1.2.3"', 'id: "1.1"', "1.yaml:8:5: the number 1.1 stands here twice"),
        ("level: 1", "level: 3", "1.yaml:7:5: level must be 1 or 2"),
        ("assessment: manual", "assessment: scored", "1.yaml:7:53: 'scored' is not one of the allowed words; known: automated, manual"),
        ("controls_total: 3\n", "", "1.yaml:1:1: the key 'controls_total' is missing"),
    ],
)  # fmt: skip
def test_mistake_and_its_place(old: str, new: str, expected: str) -> None:
    assert (CONTROLS + CONTENTS).count(old) >= 1
    in_controls = old in CONTROLS
    controls, contents = (CONTROLS.replace(old, new, 1), CONTENTS) if in_controls else (CONTROLS, CONTENTS.replace(old, new, 1))
    assert mistakes(controls, contents) == expected.split("\n")


def test_default_that_a_version_overrides_is_still_linted(tmp_path: Path) -> None:
    path = tmp_path / "controls.yaml"
    path.write_text(CONTROLS.replace("most: 5", "most: five"))
    assert {str(m) for m in lint(path, TYPES)} == {f"{path}:13:22: must be a whole number, not text (five)"}


def test_what_stands_twice_or_nowhere() -> None:
    assert mistakes(CONTROLS, CONTENTS, CONTROLS)[0] == "2.yaml:1:3: the control 'ask' is already defined at 0.yaml:1"
    assert mistakes(CONTROLS, CONTENTS, CONTENTS) == ["2.yaml:1:1: house@1.10.0 already stands in 1.yaml"]
    assert mistakes(CONTROLS, "title: x") == ["1.yaml:1:1: a table of contents needs a benchmark and a version"]
    assert mistakes(CONTROLS, CONTENTS, "text") == ["2.yaml:1:1: must be a list of controls or a benchmark's table of contents"]
    assert mistakes(CONTROLS, CONTENTS, "- title: no key\n- text") == [
        "2.yaml:1:3: a control needs a key",
        "2.yaml:2:3: a control needs a key",
    ]


def test_mistakes_of_every_file_are_said_at_once() -> None:
    assert mistakes("a: [", "- &x y", CONTENTS) == [
        "0.yaml:2:1: not YAML: did not find expected node content",
        "1.yaml:1:3: anchors and aliases are not allowed: write the value out",
    ]


def test_lint(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    assert [str(m) for m in lint(path, TYPES)] == [f"{path}: can't be read: No such file or directory"]
    path.write_text(CONTROLS)
    assert lint(path, TYPES) == []
    path.write_text(CONTROLS.replace("severity: low", "severity: 1").replace("at_most", "atmost"))
    assert [m.line for m in lint(path, TYPES)] == [3, 18, 18, 19, 19]


def test_lint_of_contents_over_packaged_controls(tmp_path: Path) -> None:
    types = check_types()
    name, versions = next(iter(packaged(types).names().items()))
    key = packaged(types).load(f"{name}@{versions[0]}").controls[0].key
    path = tmp_path / "mine.yaml"
    path.write_text(CONTENTS.replace("control: ask", f"control: {key}").replace("control: bounded", f"control: {key}x"))
    assert [str(m) for m in lint(path, types)] == [f"{path}:8:5: there is no control '{key}x'; did you mean '{key}'?"]


def test_packaged_benchmarks_load() -> None:
    found = packaged(check_types())
    for name, versions in found.names().items():
        for version in versions:
            benchmark = found.load(f"{name}@{version}")
            assert benchmark.controls
            assert len(benchmark.controls) <= benchmark.controls_total
            numbers = [[int(p) for p in c.id.split(".")] for c in benchmark.controls]
            assert numbers == sorted(numbers), f"{benchmark.ref}: the controls are in the order of their numbers"
            assert {c.section for c in benchmark.controls} <= set(benchmark.sections)


def test_every_packaged_definition_decodes() -> None:
    types = check_types()
    for file, node in packaged(types).definitions.values():
        definition = decode_definition(file, node, types)
        for text in (definition.title, definition.rationale, definition.remediation.text):
            assert text.strip() == text
            assert text
        assert not definition.title.endswith(".")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["1.1", "low", "ask", "x", "", "docker-host", "manual"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*TYPES, "checks", "question", "at_most", "parameter", "most", *(f.name for f in dataclasses.fields(All))]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return [(value, k) for k in value] + [p for v in value.values() for p in places(v)]
    if isinstance(value, list):
        return [(value, k) for k in range(len(value))] + [p for v in value for p in places(v)]
    return []


@settings(max_examples=400, deadline=None)
@given(st.booleans(), st.integers(0, 10_000), st.one_of(st.just(...), JUNK))
def test_any_change_to_a_file_loads_or_is_refused(in_contents: bool, where: int, junk: Any) -> None:
    controls, contents = yaml.safe_load(CONTROLS), yaml.safe_load(CONTENTS)
    found = places(contents if in_contents else controls)
    container, key = found[where % len(found)]
    if junk is ...:
        del container[key]
    else:
        container[key] = junk
    try:
        benchmark = library(yaml.safe_dump(controls), yaml.safe_dump(contents)).load("house")
    except InputError as error:
        assert all(m.message for m in error.mistakes)
    else:
        assert all(c.check.needs() is not None for c in benchmark.controls)
