"""YAML files read strictly: typed decoding into dataclasses, every mistake with file:line:column.

Refused, because each has made somebody's file mean something else than it says: duplicate and unknown keys, text that YAML would
read as a number or a boolean, and what `auditor.yamltree` refuses.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union

import yaml

MAX_BYTES = 8 * 1024 * 1024
MAX_VALUES = 1_000_000

#: What the tags of YAML's own kinds of values begin with.
PREFIX = "tag:yaml.org,2002:"
#: Of more known words than these some are named; of how many letters a part of a word must be to be taken for it.
_LISTED, _SOME, _PART = 16, 6, 4
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{0,18})?")
_WORDS = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "null": "nothing"}


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One thing wrong in a file. Lines and columns count from 1; 0 means the file as a whole.

    A mistake is one line: what is quoted of the file can't start another, nor reach the terminal as a control sequence.
    """

    file: str
    line: int
    column: int
    message: str

    def __post_init__(self) -> None:
        for name in ("file", "message"):
            object.__setattr__(self, name, _one_line(getattr(self, name)))

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{where}: {self.message}"


class InputError(Exception):
    """A file of the user's can't be used as it is; ``mistakes`` says why, all of them at once."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        self.mistakes = sorted(set(mistakes))  # a parameter that is used twice is wrong once
        super().__init__("\n".join(str(m) for m in self.mistakes))


def did_you_mean(word: str, known: typing.Iterable[str], listing: str = "") -> str:
    """Return ``; did you mean 'x'?`` or, when nothing is close, the known words.

    Of many only the least far ones, with how many more there are; ``listing`` is the command that lists them all.
    """
    words = sorted(known)
    if near := _near(word, words):
        return f"; did you mean {near!r}?"
    if len(words) <= _LISTED:
        return f"; known: {', '.join(words)}" if words else ""
    some = sorted(difflib.get_close_matches(word, words, n=_SOME, cutoff=0.0))
    return f"; known: {', '.join(some)} and {len(words) - len(some)} more{f', which {listing} lists' if listing else ''}"


def _near(word: str, words: typing.Sequence[str]) -> str:
    """Return the word that looks most alike, else one that holds the other, where that is told; empty for none."""
    if close := difflib.get_close_matches(word, words, n=1, cutoff=0.6):
        return close[0]
    parts = [w for w in words if len(w) >= _PART and w in word]
    wholes = [w for w in words if word in w] if len(word) >= _PART else []
    return max(parts, key=len) if parts else wholes[0] if len(wholes) == 1 else ""


def read_text(path: Path) -> str:
    """Return a text file's content; raises `InputError` when it can't be read, is huge or isn't UTF-8."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)  # a pipe or a device has no size to ask for
    except OSError as error:
        raise InputError([Mistake(str(path), 0, 0, f"can't be read: {error.strerror}")]) from None
    if len(content) > MAX_BYTES:
        raise InputError([Mistake(str(path), 0, 0, f"is too large: at most {MAX_BYTES} bytes are read")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise InputError([Mistake(str(path), line, column, "is not UTF-8 text")]) from None


def mistake_at(file: str, mark: Any, message: str) -> Mistake:
    """Return a mistake at a mark of PyYAML's; without one it is about the file as a whole."""
    if mark is None:
        return Mistake(file, 0, 0, message)
    return Mistake(file, mark.line + 1, mark.column + 1, message)


type_of_node = Callable[["Decoder", yaml.Node], Any]


@dataclass
class Decoder:
    """Turns nodes into typed values and collects what is wrong on the way.

    ``custom`` decodes types that are not plain dataclasses. ``parameters`` are the nodes that ``{parameter: NAME}`` stands for.
    """

    file: str
    custom: Mapping[Any, type_of_node] = field(default_factory=dict)
    parameters: Mapping[str, yaml.Node] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    used_parameters: set[str] = field(default_factory=set)
    _values: int = 0
    _inside_parameter: bool = False

    def fail(self, node: yaml.Node, message: str) -> None:
        """Note a mistake at a node."""
        self.mistakes.append(mistake_at(node.start_mark.name or self.file, node.start_mark, message))

    def finish(self) -> None:
        """Raise `InputError` if anything was wrong."""
        if self.mistakes:
            raise InputError(self.mistakes)

    def items(self, node: yaml.Node, what: str = "a mapping") -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Return a mapping's entries as name -> (key node, value node); duplicates and odd keys are mistakes."""
        entries: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, f"must be {what}, not {_describe(node)}")
            return entries
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != PREFIX + "str":
                self.fail(key, "a key must be text (quote it if it looks like a number or a boolean)")
            elif key.value in entries:
                self.fail(key, f"the key {key.value!r} stands here twice")
            else:
                entries[key.value] = (key, value)
        return entries

    def decode(self, node: yaml.Node, kind: Any) -> Any:
        """Return the node's value as ``kind``; on a mistake, note it and return None."""
        self._values += 1
        if self._values > MAX_VALUES:  # a large parameter that is used often
            raise InputError([*self.mistakes, mistake_at(node.start_mark.name, node.start_mark, f"more than {MAX_VALUES} values")])
        inserted = self._parameter(node)
        if inserted is None:
            return None
        if inserted is node:
            return self._decode(node, kind)
        self._inside_parameter = True
        try:
            return self._decode(inserted, kind)
        finally:
            self._inside_parameter = False

    def _decode(self, node: yaml.Node, kind: Any) -> Any:
        if kind in self.custom:
            return self.custom[kind](self, node)
        if kind is Any:
            return self._plain(node)
        if kind in _WORD_KINDS:
            return self._scalar(node, kind)
        origin, args = _parts(kind)
        if origin in (Union, types.UnionType):
            return self._union(node, args)
        if origin is Literal:
            return self._choice(node, [str(a) for a in args], lambda word: word)
        if isinstance(kind, type) and issubclass(kind, Enum):
            return self._choice(node, [str(m.value) for m in kind], kind)
        if origin in (tuple, list):
            if not isinstance(node, yaml.SequenceNode):
                self.fail(node, f"must be a list, not {_describe(node)}")
                return None
            return tuple(self.decode(n, args[0]) for n in node.value)
        if origin in (dict, Mapping) or kind is dict:
            inner = args[1] if args else Any
            return {name: self.decode(value, inner) for name, (_, value) in self.items(node).items()}
        if dataclasses.is_dataclass(kind):
            return self._dataclass(node, typing.cast("type", kind))
        return self._scalar(node, kind)

    def _parameter(self, node: yaml.Node) -> yaml.Node | None:
        """Return the node that is meant: a parameter's value for ``{parameter: NAME}``, None when there is no such parameter."""
        if not (isinstance(node, yaml.MappingNode) and len(node.value) == 1 and node.value[0][0].value == "parameter"):
            return node
        name = node.value[0][1]
        word = name.value if isinstance(name, yaml.ScalarNode) else ""
        if self._inside_parameter:
            self.fail(node, "a parameter's value can't hold a parameter")
        elif word not in self.parameters:
            self.fail(name, f"there is no parameter {word!r} here{did_you_mean(word, self.parameters)}")
        else:
            self.used_parameters.add(word)
            return self.parameters[word]
        return None

    def _choice(self, node: yaml.Node, words: list[str], make: Callable[[str], Any]) -> Any:
        word = self._scalar(node, str)
        if word is None:
            return None
        if word not in words:
            self.fail(node, f"{word!r} is not one of the allowed words{did_you_mean(word, words)}")
            return None
        return make(word)

    def _union(self, node: yaml.Node, kinds: tuple[Any, ...]) -> Any:
        if type(None) in kinds and _tag(node) == "null":
            return None
        rest = [k for k in kinds if k is not type(None)]
        if len(rest) == 1:
            return self.decode(node, rest[0])
        for kind in rest:
            if (kind in (str, int, float, bool) and _tag(node) == kind.__name__) or (
                isinstance(node, yaml.SequenceNode) and typing.get_origin(kind) in (tuple, list)
            ):
                return self.decode(node, kind)
        words = " or ".join(_WORDS.get(getattr(k, "__name__", ""), "a list") for k in rest)
        self.fail(node, f"must be {words}, not {_describe(node)}")
        return None

    def _scalar(self, node: yaml.Node, kind: Any) -> Any:
        tag = _tag(node)
        if kind is str and tag == "str":
            return node.value
        if kind is bool and tag == "bool" and node.value in ("true", "false"):
            return node.value == "true"
        if kind is int and tag == "int" and _WHOLE.fullmatch(node.value):
            return int(node.value)
        if kind is float and tag in ("int", "float") and _DECIMAL.fullmatch(node.value):
            return float(node.value)
        hint = ": put it in quotes" if kind is str and isinstance(node, yaml.ScalarNode) and tag != "null" else ""
        if tag == kind.__name__ or (kind is float and tag == "int"):
            self.fail(node, f"must be {_WORDS[tag]} in plain form, not {_shorten(node.value)}")
            return None
        self.fail(node, f"must be {_WORDS.get(kind.__name__, kind.__name__)}, not {_describe(node)}{hint}")
        return None

    def _plain(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.MappingNode):
            return {name: self.decode(value, Any) for name, (_, value) in self.items(node).items()}
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.decode(n, Any) for n in node.value)
        if _tag(node) == "null":
            return None
        kind = {"str": str, "int": int, "float": float, "bool": bool}.get(_tag(node), str)
        return self._scalar(node, kind)

    def _dataclass(self, node: yaml.Node, kind: type) -> Any:
        before = len(self.mistakes)
        entries = self.items(node)
        fields, required = _fields(kind)
        values: dict[str, Any] = {}
        for name, (key, value) in entries.items():
            if name not in fields:
                self.fail(key, f"there is no key {name!r} here{_below(name, fields) or did_you_mean(name, fields)}")
            else:
                of_field, hint = fields[name]
                values[of_field] = self.decode(value, hint)
        for name in required:
            if fields[name][0] not in values and isinstance(node, yaml.MappingNode):
                self.fail(node, f"the key {name!r} is missing")
        if len(self.mistakes) > before:
            return None
        try:
            return kind(**values)
        except ValueError as error:
            self.fail(node, str(error))
            return None


_WORD_KINDS = frozenset({str, int, float, bool})


@functools.cache
def _parts(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    return typing.get_origin(kind), typing.get_args(kind)


@functools.cache
def _fields(kind: type) -> tuple[dict[str, tuple[str, Any]], tuple[str, ...]]:
    """Return a dataclass's keys, each with its field's name and type, and the keys that it can't do without."""
    hints = typing.get_type_hints(kind)
    fields = {f.name.rstrip("_"): f for f in dataclasses.fields(kind) if f.init}
    required = (n for n, f in fields.items() if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING)
    return {name: (f.name, hints[f.name]) for name, f in fields.items()}, tuple(required)


def _below(name: str, fields: Mapping[str, tuple[str, Any]]) -> str:
    """Return ``; did you mean 'x' below 'y'?`` for a key that belongs into one of these fields; empty where it does not."""
    inner = {outer: tuple(_fields(k)[0]) for outer, (_, k) in fields.items() if isinstance(k, type) and dataclasses.is_dataclass(k)}
    near = ((outer, word) for outer, words in inner.items() if (word := _near(name, words)) and not _near(name, tuple(fields)))
    return next((f"; did you mean {word!r} below {outer!r}?" for outer, word in near), "")


def _tag(node: yaml.Node) -> str:
    return str(node.tag).removeprefix(PREFIX)


def _describe(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return f"{_WORDS.get(_tag(node), _tag(node))} ({_shorten(node.value)})" if node.value else "nothing"


def _one_line(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _shorten(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
