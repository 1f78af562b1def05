"""Parsers of outside data on mutations of real inputs: only declared errors, and time that grows with the input and no faster.

``python -m tests.performance.fuzz SECONDS`` tries as many as there is time for.
"""

import contextlib
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings

from auditor.cli_history import find_run
from auditor.facts import docker, images, inside, redact
from auditor.facts.host_answers import parse_document, parse_toml
from auditor.facts.records import lines_of
from auditor.facts.shell_words import commands
from auditor.model import Problem, Reason
from auditor.yamlfile import InputError
from tests.fuzz.mutations import MUTATIONS, Mutation, mutated
from tests.fuzz.parsers import Parser, parsers
from tests.support import streams


@pytest.mark.parametrize("parser", parsers(), ids=lambda p: p.name)
def test_real_inputs_are_read(parser: Parser) -> None:
    """What the mutations begin with is parsed, so that they reach more than the first lines of a parser."""
    for seed in parser.seeds:
        parser.run(seed)


@pytest.mark.parametrize("parser", parsers(), ids=lambda p: p.name)
def test_mutations_raise_nothing_but_declared_errors(parser: Parser) -> None:
    @settings(max_examples=15, deadline=None, derandomize=True, database=None)
    @given(MUTATIONS)
    def try_mutations(mutations: list[Mutation]) -> None:
        parser.try_one(mutated(random.Random(len(mutations)).choice(parser.seeds), mutations, parser.frame))

    try_mutations()


DEEP = b'{"a": ' * 20_000 + b"1" + b"}" * 20_000


@pytest.mark.parametrize(
    "parse",
    [*(lambda d, n=n: docker.reduce(n, d) for n in docker.DOCUMENTS), images.reduce_history, inside.reduce_top, inside.reduce_exec, parse_document,
     lambda d: parse_toml(b"a = " + b"[" * 20_000)],
)  # fmt: skip
def test_deep_nesting_is_a_value_error(parse: Callable[[bytes], object]) -> None:
    with pytest.raises(ValueError):
        parse(DEEP)


def test_a_deeply_nested_results_document_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(b"[" * 100_000)
    with pytest.raises(InputError, match="is no results document"):
        find_run(str(path), None)


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "a.",
        "a-",
        "a_",
        "a1",
        "AaA",
        "eyJ",
        "eyJ-",
        "eyJaaaaa.",
        "a=",
        "a://",
        "a://b@",
        ": ",
        "'",
        '"',
        "token=",
        "-----BEGIN ",
    ],
)
@pytest.mark.parametrize("end", ["", "@", "!\n"])
def test_redaction_takes_time_in_proportion(unit: str, end: str) -> None:
    """A host chooses its texts: a word of 60 KB once took a minute and one of 256 KB many, and any account can start a program with such an argument."""
    text = unit * (60_000 // len(unit)) + end
    start = time.process_time()
    redact.redact_text(text)
    redact.redact_args([text])
    assert time.process_time() - start < 4


@pytest.mark.parametrize("unit", ["[", "{", "(", "$(", "`", "'a ", "sh -c ", "- ", "a: ", "|1 ", "&a ", "?"])
def test_documents_and_shell_text_take_time_in_proportion(unit: str) -> None:
    text = unit * (60_000 // len(unit))
    start = time.process_time()
    for parse in (lambda: parse_document(text.encode()), lambda: list(commands(text))):
        with contextlib.suppress(ValueError):
            parse()
    assert time.process_time() - start < 4


@pytest.mark.parametrize("name", streams.NAMES)
def test_a_long_stream_takes_time_in_proportion(name: str) -> None:
    stream = streams.recorded(name)
    frames = stream.frames
    for times in (10,):
        start = time.process_time()
        stream.facts(streams.joined([frames[0], *(f for f in frames[1:-1] for _ in range(times)), frames[-1]]))
        assert time.process_time() - start < 4


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://x/?token=hunter2", "https://x/?token=[redacted]"),
        ("a=password=hunter2", "a=password=[redacted]"),
        ("x-eyJhbGciOiJI.eyJzdWIi.c2ln y", "x-[redacted] y"),
        ("v1.eyJhbGciOiJI.eyJzdWIi.c2ln.tail", "v1.[redacted].tail"),
        ("1password=hunter2", "1password=[redacted]"),
        ("1://me:hunter2@h/", "1://[redacted]@h/"),
        ("ServiceAccountToken=true", "ServiceAccountToken=true"),
    ],
)
def test_what_is_redacted(text: str, kept: str) -> None:
    assert redact.redact_text(text) == kept


def test_names_of_files_may_hold_what_python_takes_for_the_end_of_a_line() -> None:
    assert lines_of("a\x0bb\x1cc\x85d\u2028e\r\nf\n") == ["a\x0bb\x1cc\x85d\u2028e\r", "f"]
    assert lines_of("") == []


@pytest.mark.parametrize("kind", [b"a", b"e"])
def test_a_program_without_its_command_line_leaves_all_programs_unknown(kind: bytes) -> None:
    stream = streams.recorded("docker")
    frames = stream.frames
    at = next(i for i, f in enumerate(frames) if f.startswith(kind + b" "))
    found = stream.facts(streams.joined(frames[:at] + frames[at + 1 :]))["processes"]
    assert isinstance(found, Problem)
    assert found.reason is Reason.UNPARSABLE
