"""Strict YAML: every kind of mistake at its exact place, and never anything but an InputError."""

import json
import os
import threading
import time
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from auditor import yamlfile
from auditor.yamlfile import MAX_BYTES, Decoder, InputError, Mistake, did_you_mean, read_text
from auditor.yamltree import MAX_DEPTH, compose


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True)
class Inner:
    word: str
    any_: int = 0

    def __post_init__(self) -> None:
        if self.word == "forbidden":
            raise ValueError("this word is forbidden")


@dataclass(frozen=True, kw_only=True)
class Outer:
    text: str = ""
    number: int = 0
    share: float = 0.0
    flag: bool = False
    colour: Colour | None = None
    choice: Literal["one", "two"] = "one"
    inner: Inner | None = None
    inners: tuple[Inner, ...] = ()
    names: dict[str, int] = field(default_factory=dict)
    scalar: str | int | bool = ""
    either: int | tuple[str, ...] = 0
    free: Any = None


def decoded(text: str, **parameters: str) -> Any:
    decoder = Decoder("f.yaml", parameters={k: compose(v, "p.yaml") for k, v in parameters.items()})
    value = decoder.decode(compose(text, "f.yaml"), Outer)
    decoder.finish()
    return value


def mistakes(text: str, **parameters: str) -> list[str]:
    with pytest.raises(InputError) as error:
        decoded(text, **parameters)
    assert str(error.value) == "\n".join(map(str, error.value.mistakes))
    return [str(m) for m in error.value.mistakes]


def test_every_type() -> None:
    text = """
text: "5.1"
number: -3
share: 0.5
flag: true
colour: blue
choice: two
inner: {word: hello, any: 2}
inners:
  - word: a
names: {x: 1, y: 2}
scalar: false
either: [a, b]
free: {a: [1, 2.5, true, null, text]}
"""
    assert decoded(text) == Outer(
        text="5.1", number=-3, share=0.5, flag=True, colour=Colour.BLUE, choice="two", inner=Inner(word="hello", any_=2),
        inners=(Inner(word="a"),), names={"x": 1, "y": 2}, scalar=False, either=("a", "b"), free={"a": (1, 2.5, True, None, "text")},
    )  # fmt: skip
    assert type(decoded("scalar: 1").scalar) is int
    assert decoded("share: 2").share == 2.0
    assert decoded("either: 7").either == 7
    assert decoded("colour: null") == decoded("{}") == Outer()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("text: 5.1", "1:7: must be text, not a number (5.1): put it in quotes"),
        ("text: 010", "1:7: must be text, not a whole number (010): put it in quotes"),
        ("text: yes", "1:7: must be text, not true or false (yes): put it in quotes"),
        ("text: 2024-01-01", "1:7: must be text, not timestamp (2024-01-01): put it in quotes"),
        ("text:", "1:6: must be text, not nothing"),
        ("text: [a]", "1:7: must be text, not a list"),
        ("text: {a: b}", "1:7: must be text, not a mapping"),
        ('number: "1"', "1:9: must be a whole number, not text (1)"),
        (r'number: "\e[2J\n"', r"1:9: must be a whole number, not text (\x1b[2J\n)"),
        ("number: 1.0", "1:9: must be a whole number, not a number (1.0)"),
        ("number: true", "1:9: must be a whole number, not true or false (true)"),
        ("number: 0644", "1:9: must be a whole number in plain form, not 0644"),
        ("number: 0x1F", "1:9: must be a whole number in plain form, not 0x1F"),
        ("number: 1_000", "1:9: must be a whole number in plain form, not 1_000"),
        ("number: 1:30", "1:9: must be a whole number in plain form, not 1:30"),
        ("number: -0b1", "1:9: must be a whole number in plain form, not -0b1"),
        ("share: .inf", "1:8: must be a number in plain form, not .inf"),
        ("share: .NaN", "1:8: must be a number in plain form, not .NaN"),
        ("share: 010", "1:8: must be a whole number in plain form, not 010"),
        ("flag: yes", "1:7: must be true or false in plain form, not yes"),
        ("flag: True", "1:7: must be true or false in plain form, not True"),
        ("flag: 1", "1:7: must be true or false, not a whole number (1)"),
        ("colour: rde", "1:9: 'rde' is not one of the allowed words; did you mean 'red'?"),
        ("choice: three", "1:9: 'three' is not one of the allowed words; known: one, two"),
        ("inner: {}", "1:8: the key 'word' is missing"),
        ("inner: {word: forbidden}", "1:8: this word is forbidden"),
        ("inner: {word: x, any_: 1}", "1:18: there is no key 'any_' here; did you mean 'any'?"),
        ("inners: {word: a}", "1:9: must be a list, not a mapping"),
        ("names: {x: a}", "1:12: must be a whole number, not text (a)"),
        ("names: [x]", "1:8: must be a mapping, not a list"),
        ("scalar: [a]", "1:9: must be text or a whole number or true or false, not a list"),
        ("scalar: null", "1:9: must be text or a whole number or true or false, not nothing (null)"),
        ("either: a", "1:9: must be a whole number or a list, not text (a)"),
        ("txet: a", "1:1: there is no key 'txet' here; did you mean 'text'?"),
        ("text: a\nnumber: 1\ntext: b", "3:1: the key 'text' stands here twice"),
        ("free: {a: 1, a: 2}", "1:14: the key 'a' stands here twice"),
        ("free: [{1: a}]", "1:9: a key must be text (quote it if it looks like a number or a boolean)"),
        ("free: {on: a}", "1:8: a key must be text (quote it if it looks like a number or a boolean)"),
        ("free: {<<: {a: b}}", "1:8: a key must be text (quote it if it looks like a number or a boolean)"),
        ("? [a]\n: b", "1:3: a key must be text (quote it if it looks like a number or a boolean)"),
        ("- text", "1:1: must be a mapping, not a list"),
        ("text: {parameter: p}", "1:19: there is no parameter 'p' here"),
        ("text: {parameter: [p]}", "1:19: there is no parameter '' here"),
        ("text: &a b", "1:7: anchors and aliases are not allowed: write the value out"),
        ("text: *a", "1:7: anchors and aliases are not allowed: write the value out"),
        ("text: !!str 5", "1:7: the tag 'tag:yaml.org,2002:str' is not allowed"),
        (
            "text: !!python/object/apply:os.system [id]",
            "1:7: the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed",
        ),
        ("text: !local x", "1:7: the tag '!local' is not allowed"),
        ("text: a\n---\ntext: b", "2:1: not YAML: but found another document"),
        ("text: [a", "2:1: not YAML: did not find expected ',' or ']'"),
        ("text: 'a", "1:9: not YAML: found unexpected end of stream"),
        ("text: a\n  b: c", "2:4: not YAML: mapping values are not allowed in this context"),
        ("\ttext: a", "1:1: not YAML: found character that cannot start any token"),
        ("text: a\nfree: \x1b[31m", "2:7: the character U+001B is not allowed in YAML"),
        ("free: \ud800", "1:7: the character U+D800 is not allowed in YAML"),
        ("free: " + "[" * (MAX_DEPTH + 5), f"1:{6 + MAX_DEPTH}: nested more than {MAX_DEPTH} deep"),
    ],
)
def test_mistake_and_its_place(text: str, expected: str) -> None:
    assert mistakes(text) == [f"f.yaml:{expected}"]


def test_empty_file() -> None:
    for text in ("", "# only a comment\n", "---\n"):
        with pytest.raises(InputError, match="is empty|nothing"):
            decoded(text)


def test_all_mistakes_at_once_in_the_order_of_the_file() -> None:
    text = "nubmer: 1\ntext: 5\ninners:\n  - {word: a}\n  - {wodr: b}\n  - c\n"
    assert mistakes(text) == [
        "f.yaml:1:1: there is no key 'nubmer' here; did you mean 'number'?",
        "f.yaml:2:7: must be text, not a whole number (5): put it in quotes",
        "f.yaml:5:5: the key 'word' is missing",
        "f.yaml:5:6: there is no key 'wodr' here; did you mean 'word'?",
        "f.yaml:6:5: must be a mapping, not text (c)",
    ]


def test_parameters() -> None:
    assert decoded("number: {parameter: n}\nscalar: {parameter: n}", n="7") == Outer(number=7, scalar=7)
    assert mistakes("number: {parameter: n}", n="\n\nseven") == ["p.yaml:3:1: must be a whole number, not text (seven)"]
    assert mistakes("number: {parameter: m}", max="1", n="2") == ["f.yaml:1:21: there is no parameter 'm' here; known: max, n"]


def test_parameters_that_hold_parameters_are_no_bomb() -> None:
    nested = {f"p{n}": f"[{{parameter: p{n + 1}}}, {{parameter: p{n + 1}}}]" for n in range(40)}
    assert mistakes("free: {parameter: p0}", **nested) == ["p.yaml:1:2: a parameter's value can't hold a parameter",
                                                           "p.yaml:1:19: a parameter's value can't hold a parameter"]  # fmt: skip
    assert mistakes("free: {parameter: p}", p="[{parameter: p}]") == ["p.yaml:1:2: a parameter's value can't hold a parameter"]


def test_large_parameter_that_is_used_often_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamlfile, "MAX_VALUES", 10_000)
    uses = ", ".join(["{parameter: p}"] * 200)
    assert "more than 10000 values" in mistakes(f"free: [{uses}]", p=f"[{', '.join('x' * 100)}]")[0]


def test_alias_bomb_is_refused_at_once() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{c}: &{c} [{', '.join([f'*{p}'] * 9)}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)
    )
    start = time.process_time()
    assert mistakes(bomb) == ["f.yaml:1:4: anchors and aliases are not allowed: write the value out"]
    assert time.process_time() - start < 1


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    def wrong(path: Path) -> str:
        with pytest.raises(InputError) as error:
            read_text(path)
        return str(error.value)

    path = tmp_path / "f.yaml"
    assert wrong(path) == f"{path}: can't be read: No such file or directory"
    assert wrong(tmp_path) == f"{tmp_path}: can't be read: Is a directory"
    path.write_bytes(b"text: a\nfree: \xff\n")
    assert wrong(path) == f"{path}:2:7: is not UTF-8 text"
    path.write_bytes(b"#" * (9 * 1024 * 1024))
    assert wrong(path) == f"{path}: is too large: at most {MAX_BYTES} bytes are read"
    assert wrong(Path("/dev/zero")) == f"/dev/zero: is too large: at most {MAX_BYTES} bytes are read"
    path.write_bytes(b"\xef\xbb\xbftext: a\r\nnumber: 1\r\n")
    assert decoded(read_text(path)) == Outer(text="a", number=1)


def test_a_pipe_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text("text: a"))
    writer.start()
    assert read_text(pipe) == "text: a"
    writer.join()


def test_hints() -> None:
    assert did_you_mean("icd", ["icc", "tls"]) == "; did you mean 'icc'?"
    assert did_you_mean("zzz", ["b", "a"]) == "; known: a, b"
    assert did_you_mean("x", []) == ""
    assert did_you_mean("ssh_known_hosts_file_path", ["host", "known_hosts"]) == "; did you mean 'known_hosts'?"
    assert did_you_mean("hosts", ["ssh_known_hosts_file_path", "b"]) == "; did you mean 'ssh_known_hosts_file_path'?"
    many = [f"control-{n}-of-many" for n in range(300)]
    assert did_you_mean("control", many[:17]).count("control-") == 6, "which of them is meant isn't told"
    hint = did_you_mean("zzz", many, "`list`")
    assert hint.endswith(" and 294 more, which `list` lists")
    assert hint.count("control-") == 6
    assert did_you_mean("zzz", many[:16]).count("control-") == 16
    assert min([Mistake("b", 1, 1, ""), Mistake("a", 2, 1, ""), Mistake("a", 1, 9, "")]) == Mistake("a", 1, 9, "")


def decodes_or_says_why(text: str) -> None:
    try:
        value = decoded(text)
    except InputError as error:
        assert error.mistakes
        for mistake in error.mistakes:
            ends = sum(text.count(c) for c in "\n\r\x85\u2028\u2029")
            assert 0 <= mistake.line <= ends + 2, "the parser's own place for what is missing at the end is the line after the last"
            assert mistake.message.isprintable()
    else:
        assert isinstance(value, Outer)


@settings(max_examples=400, deadline=None)
@given(st.text())
@example("a: 0b")
@example("? \n")
@example("- " * 500)
@example("%YAML 1.1\n---\ntext: a")
@example("%TAG ! tag:x,2000:\n--- !a\ntext: a")
@example('text: "\\uD800"')
@example('free: "\\x00\\e"')
@example("free: -0b1")
@example("free: " + "9" * 5000)
@example("free: 1." + "9" * 5000)
@example("free: 9999-99-99")
@example("free: =")
def test_any_text_is_decoded_or_refused(text: str) -> None:
    decodes_or_says_why(text)


KEYS = [
    "text",
    "number",
    "share",
    "flag",
    "colour",
    "choice",
    "inner",
    "inners",
    "names",
    "scalar",
    "either",
    "free",
    "word",
    "any",
    "parameter",
    "<<",
    "x",
]
TOKENS = st.sampled_from(
    [
        "{",
        "}",
        "[",
        "]",
        ":",
        ", ",
        "- ",
        "\n",
        "  ",
        "? ",
        "&a ",
        "*a",
        "!!int ",
        "! ",
        "|",
        ">",
        "'",
        '"',
        "#",
        "---\n",
        "...\n",
        "~",
        "1",
        "-1",
        "0o7",
        "1e3",
        "0644",
        "true",
        "null",
        "\t",
        "\r",
        "\x85",
        "\x00",
        "\x1b",
    ]
)


@settings(max_examples=600, deadline=None)
@given(st.lists(st.one_of(TOKENS, st.sampled_from(KEYS), st.sampled_from([f"{k}: " for k in KEYS])), max_size=40).map("".join))
def test_any_tokens_are_decoded_or_refused(text: str) -> None:
    decodes_or_says_why(text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.dates() | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.integers(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6))
def test_any_value_is_decoded_or_refused(value: dict[str, Any]) -> None:
    decodes_or_says_why(yaml.safe_dump(value, allow_unicode=True))


#: Without the characters that end a line: no key may have one (YAML 1.1, section 7.4.1, and PyYAML in every style).
PRINTABLE = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=12)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(PRINTABLE, st.integers(-(10**17), 10**17), max_size=5), PRINTABLE, st.booleans())
def test_what_is_written_in_quotes_is_read_as_it_stands(names: dict[str, int], text: str, flag: bool) -> None:
    quoted = ", ".join(f"{json.dumps(k, ensure_ascii=False)}: {v}" for k, v in names.items())
    written = f"text: {json.dumps(text, ensure_ascii=False)}\nflag: {json.dumps(flag)}\nnames: {{{quoted}}}\n"
    assert decoded(written) == Outer(text=text, flag=flag, names=names)
