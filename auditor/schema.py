"""The reference of check types and JSON Schemas for editors, made from the dataclasses that decode the files.

``python -m auditor.schema [DIR]`` writes them to ``docs``. What the decoder takes and what the schemas take can't drift apart,
since both read the same types; the mistakes that only a check type itself knows (its ``__post_init__``) are the decoder's alone.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
import types
import typing
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NewType, Union

from auditor import tailoringkeys
from auditor.catalogue import Contents, Definition
from auditor.fixes.kinds import KINDS, Fix
from auditor.inventoryfile import InventoryKeys
from auditor.model import Check

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_JSON = {str: "string", int: "integer", float: "number", bool: "boolean"}
_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "`true` or `false`"}
CheckTypes = Mapping[str, type]

#: What a tailoring file has as words and a day or a moment, of which the decoder makes more.
_TEXT = {"type": "string", "pattern": r"\S"}
_INSTANT = {
    "description": "A day, or a moment with its offset.", "type": "string",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt][0-9]{2}:[0-9]{2}(:[0-9]{2})?([Zz]|[+-][0-9]{2}:[0-9]{2}))?$",
}  # fmt: skip
_TAILORING_TEXTS: Mapping[Any, Mapping[str, Any]] = {
    tailoringkeys.Text: _TEXT,
    tailoringkeys.Word: _TEXT,
    tailoringkeys.Level: {"enum": [1, 2]},
    tailoringkeys.Version: {"enum": [1, "1"]},
    tailoringkeys.ControlName: {
        "description": "KEY, KEY@BENCHMARK or NUMBER@BENCHMARK; a benchmark is NAME or NAME@VERSION.",
        **_TEXT, "not": {"pattern": r"^[0-9]+(\.[0-9]+)*$"},
    },
    tailoringkeys.BenchmarkName: {"description": "NAME or NAME@VERSION.", **_TEXT},
    tailoringkeys.Values: {"description": "Values of the control's parameters by their names.", "type": "object"},
    tailoringkeys.Begin: _INSTANT,
    tailoringkeys.End: _INSTANT,
}  # fmt: skip

#: Types that stand for one of several, each under its own name.
_NAMED = {Check: "Check", Fix: "Fix"}


def documents(check_types: CheckTypes) -> dict[str, str]:
    """Return the generated files' texts by their path below ``docs``."""
    return {
        "check-types.md": check_reference(check_types),
        "schema/controls.schema.json": _text(controls_schema(check_types)),
        "schema/benchmark.schema.json": _text(benchmark_schema()),
        "schema/inventory.schema.json": _text(inventory_schema()),
        "schema/tailoring-1.json": _text(tailoring_schema()),
    }


def controls_schema(check_types: CheckTypes) -> dict[str, Any]:
    """Return the JSON Schema of a file of control definitions."""
    maker = _Maker(parameters=True)
    controls = maker.of(tuple[Definition, ...])
    maker.definitions["Check"] = _one_of("A mapping with exactly one check type.", check_types, maker)
    maker.definitions["Fix"] = _one_of("A mapping with exactly one kind of fix.", KINDS, maker)
    maker.definitions["Parameter"] = {
        "description": "The value of one of the control's parameters, which a benchmark version may override.",
        "type": "object", "required": ["parameter"], "additionalProperties": False, "properties": {"parameter": {"type": "string"}},
    }  # fmt: skip
    return _document("Controls of cis-auditor", controls, maker)


def _one_of(words: str, kinds: Mapping[str, type], maker: _Maker) -> dict[str, Any]:
    return {
        "description": words, "type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": False,
        "properties": {name: maker.of(kind) for name, kind in sorted(kinds.items())},
    }  # fmt: skip


def benchmark_schema() -> dict[str, Any]:
    """Return the JSON Schema of a benchmark version's table of contents."""
    maker = _Maker()
    return _document("A benchmark version's table of contents for cis-auditor", maker.of(Contents), maker)


def inventory_schema() -> dict[str, Any]:
    """Return the JSON Schema of an inventory."""
    maker = _Maker()
    return _document("An inventory of cis-auditor", maker.of(InventoryKeys), maker)


def tailoring_schema() -> dict[str, Any]:
    """Return the JSON Schema of a tailoring file and of a register of waivers and attestations."""
    maker = _Maker(texts=_TAILORING_TEXTS)
    tailoring, register = maker.of(tailoringkeys.TailoringKeys), maker.of(tailoringkeys.RegisterKeys)
    for definition in maker.definitions.values():
        named = {n: p for n, p in definition["properties"].items() if n in ("targets", "groups", "subjects")}
        for schema in named.values():
            schema["minItems"] = 1  # an empty list would be taken for everything
    for name in ("WaiverKeys", "AttestationKeys"):
        maker.definitions[name]["anyOf"] = [{"required": ["targets"]}, {"required": ["groups"]}]
    maker.definitions["LeaveOut"]["oneOf"] = [{"required": ["control"]}, {"required": ["section"]}]
    maker.definitions["BenchmarkKeys"]["dependentRequired"] = {"level": ["reason"], "sections": ["reason"]}
    root = {"type": "object", "if": {"required": ["register"]}, "then": register, "else": tailoring}
    return _document("A tailoring file, or a register of waivers and attestations, for cis-auditor", root, maker)


def check_reference(check_types: CheckTypes) -> str:
    """Return the reference of check types as Markdown."""
    lines = [
        "# Check types",
        "",
        "<!-- Made by `python -m auditor.schema` from the code: don't edit. -->",
        "",
        "A control's `check:` and `applies_when:` are mappings with exactly one of these keys. Every value may be",
        "`{parameter: NAME}`, one of the control's own `parameters`, which a benchmark version may override.",
        "",
        *(f"- [`{name}`](#{name})" for name in sorted(check_types)),
        "- [Parts that several of them use](#parts)",
        "- [Fixes](#fixes)",
        "",
    ]
    titles = _titles({part for kind in check_types.values() for part in _parts(kind)})
    for name, kind in sorted(check_types.items()):
        lines += [f"## {name}", "", *_section(kind, titles)]
    lines += ["## Parts", ""]
    for part, title in sorted(titles.items(), key=lambda item: item[1]):
        lines += [f"### {title}", "", *_section(part, titles)]
    lines += ["## Fixes", "", "What a control's `remediation: fix:` may list; `auditor fix` makes commands and tasks of it.", ""]
    for name, kind in KINDS.items():
        lines += [f"### {name}", "", *_section(kind, titles)]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Write the generated files."""
    from checks import check_types

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs")
    for name, text in documents(check_types()).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}\n")


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _document(title: str, root: dict[str, Any], maker: _Maker) -> dict[str, Any]:
    return {"$schema": DIALECT, "title": title, **root, "$defs": maker.definitions}


@dataclasses.dataclass
class _Maker:
    """Makes schemas of types, dataclasses as definitions. With ``parameters`` every value may be ``{parameter: NAME}``.

    ``texts`` are the schemas of types that a file has as words.
    """

    parameters: bool = False
    texts: Mapping[Any, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    definitions: dict[str, Any] = dataclasses.field(default_factory=dict)
    kinds: dict[str, type] = dataclasses.field(default_factory=dict)

    def of(self, kind: Any) -> dict[str, Any]:
        """Return the schema of a type as `auditor.yamlfile.Decoder` reads it."""
        if kind in self.texts:
            return dict(self.texts[kind])
        if isinstance(kind, NewType):
            base = kind.__supertype__
            return self.of(str if base is Path else base)
        origin, args = typing.get_origin(kind), typing.get_args(kind)
        if kind is Any:
            return {}
        if kind in _NAMED:
            return {"$ref": f"#/$defs/{_NAMED[kind]}"}
        if kind is type(None):
            return {"type": "null"}
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.of(a) for a in args]}
        if origin is Literal:
            return {"enum": list(args)}
        if isinstance(kind, type) and issubclass(kind, Enum):
            return {"enum": [m.value for m in kind]}
        if origin in (tuple, list):
            return {"type": "array", "items": self._value(args[0])}
        if origin in (dict, Mapping) or kind is dict:
            return {"type": "object", "additionalProperties": self._value(args[1]) if args else {}}
        if origin is not None and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self._value(args[1])}
        if dataclasses.is_dataclass(kind):
            return self._dataclass(typing.cast("type", kind))
        return {"type": _JSON[kind]}

    def _value(self, kind: Any) -> dict[str, Any]:
        schema = self.of(kind)
        return {"anyOf": [schema, {"$ref": "#/$defs/Parameter"}]} if self.parameters and schema else schema

    def _dataclass(self, kind: type) -> dict[str, Any]:
        name = kind.__name__.rstrip("_")
        if self.kinds.setdefault(name, kind) is not kind:
            name = f"{kind.__module__}.{name}"
        if name not in self.definitions:
            definition = self.definitions[name] = {"type": "object", "additionalProperties": False}
            hints = typing.get_type_hints(kind)
            fields = {f.name.rstrip("_"): f for f in dataclasses.fields(kind) if f.init}
            definition["description"] = _summary(kind)
            definition["properties"] = {n: self._value(hints[f.name]) for n, f in fields.items()}
            if required := [n for n, f in fields.items() if _required(f)]:
                definition["required"] = required
        return {"$ref": f"#/$defs/{name}"}


def _required(f: dataclasses.Field[Any]) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def _summary(kind: type) -> str:
    return _markdown(inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " ")


def _markdown(text: str) -> str:
    return text.replace("``", "`")


def _titles(parts: set[type]) -> dict[type, str]:
    """Return how the reference calls parts: by their name, and by their module's where two have the same."""
    names = Counter(p.__name__ for p in parts)
    return {p: p.__name__ if names[p.__name__] == 1 else f"{p.__module__.rpartition('.')[2]}-{p.__name__}" for p in parts}


def _section(kind: type, titles: Mapping[type, str]) -> Iterator[str]:
    yield _markdown(inspect.getdoc(kind) or "")
    yield ""
    hints = typing.get_type_hints(kind)
    fields = [f for f in dataclasses.fields(kind) if f.init]
    if not fields:
        yield "It has no keys: `{}`."
        yield ""
        return
    yield "| Key | Value | Default |"
    yield "| --- | --- | --- |"
    for f in fields:
        yield f"| `{f.name.rstrip('_')}` | {_words(hints[f.name], titles)} | {_default(f)} |"
    yield ""


def _default(f: dataclasses.Field[Any]) -> str:
    if _required(f):
        return "required"
    value = f.default if f.default is not dataclasses.MISSING else typing.cast("Any", f.default_factory)()
    if value is None or value in ("", (), {}):
        return "none"
    if dataclasses.is_dataclass(value):
        return "as its own keys say"
    return f"`{json.dumps(value)}`"


def _words(kind: Any, titles: Mapping[type, str]) -> str:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Check:
        return "a check"
    if kind is Any:
        return "any value"
    if origin in (Union, types.UnionType):
        return _or(_words(a, titles) for a in args if a is not type(None))
    if origin is Literal:
        return _or(f"`{a}`" for a in args)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _or(f"`{m.value}`" for m in kind)
    if origin in (tuple, list):
        return f"a list of {_words(args[0], titles)}"
    if origin is not None:
        return f"a mapping of names to {_words(args[1], titles)}"
    if dataclasses.is_dataclass(kind):
        name = titles[typing.cast("type", kind)]
        return f"[{name}](#{name.lower()})"
    return _WORDS[kind]


def _or(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _parts(kind: type) -> Iterator[type]:
    """Yield the dataclasses that a check type's keys are made of."""
    hints = typing.get_type_hints(kind)
    for hint in (hints[f.name] for f in dataclasses.fields(kind) if f.init):
        for part in _leaves(hint):
            if part is not Check and dataclasses.is_dataclass(part) and isinstance(part, type):
                yield part
                yield from _parts(part)


def _leaves(kind: Any) -> Iterator[Any]:
    args = () if typing.get_origin(kind) is Literal else typing.get_args(kind)
    if not args:
        yield kind
    for arg in args:
        yield from _leaves(arg)


if __name__ == "__main__":
    main()
