"""Benchmark files -> `Benchmark`.

A file whose root is a list defines controls, each once, under a stable key. A file whose root is a mapping is a benchmark
version: a table of contents that gives controls their number, level and assessment, and may override parameters. Both hold
data only: a check is a mapping with one known check type, decoded into that type's dataclass.
"""

from __future__ import annotations

import hashlib
from collections import ChainMap
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml

from auditor.editions import Edition, KubernetesRange
from auditor.facts.kube_version import require_minor
from auditor.fixes.kinds import KINDS, Fix
from auditor.model import Benchmark, BenchmarkInfo, Check, Control, ControlInfo, Decided, Remediation, Severity
from auditor.places import Places, places_of
from auditor.yamlfile import Decoder, InputError, Mistake, did_you_mean, read_text
from auditor.yamltree import compose

CheckTypes = Mapping[str, type]
#: The commands that list what there is, as mistakes name them.
BENCHMARKS, CONTROLS = "`auditor benchmarks list`", "`auditor benchmarks show NAME`"


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A control as a benchmark file defines it."""

    key: str
    title: str
    severity: Severity
    target: Literal["docker-host", "node", "cluster"]
    rationale: str
    check: Check
    remediation: Remediation
    applies_when: Check | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    decided: Decided = Decided.AUTOMATIC


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of a table of contents."""

    id: str
    control: str
    level: int
    assessment: Literal["automated", "manual"]
    parameters: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.level not in (1, 2):
            raise ValueError("level must be 1 or 2")


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A benchmark version's table of contents. ``controls_total``: how many controls the published document has.

    ``kubernetes``: for which versions of Kubernetes it is published; of such benchmarks each target gets its own version.
    ``preliminary``: why this table can't be relied on yet. ``earlier``: Kubernetes versions whose documents have no table here.
    """

    benchmark: str
    version: str
    title: str
    controls_total: int
    controls: tuple[Entry, ...]
    sections: dict[str, str] = field(default_factory=dict)
    kubernetes: KubernetesRange | None = None
    preliminary: str = ""
    earlier: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for version in self.earlier:
            require_minor(version)


def _everything(name: str, version: str, control: Control) -> bool:  # noqa: ARG001 - the signature of `Library.keeps`
    return True


@dataclass(frozen=True)
class Library:
    """Every control definition and table of contents below some folders, parsed but not yet bound."""

    types: CheckTypes
    definitions: Mapping[str, tuple[str, yaml.Node]]
    contents: Mapping[tuple[str, str], tuple[str, yaml.Node]]
    digest: str
    tailored: Mapping[str, yaml.Node] = field(default_factory=dict)  # a control's key -> the user's own parameter values
    own: Mapping[tuple[str, str], str] = field(default_factory=dict)  # the user's own benchmarks -> the digest of their files
    keeps: Callable[[str, str, Control], bool] = _everything  # whether a control of a benchmark and version is judged at all

    def names(self) -> dict[str, list[str]]:
        """Return the benchmarks' names and versions, oldest first."""
        found: dict[str, list[str]] = {}
        for name, version in sorted(self.contents, key=lambda nv: (nv[0], _version_key(nv[1]))):
            found.setdefault(name, []).append(version)
        return found

    def editions(self, name: str) -> tuple[Edition, ...]:
        """Return the versions of a benchmark that are published for versions of Kubernetes, oldest first; none for other ones."""
        found = []
        for version in self.names().get(name, ()):
            file, node = self.contents[name, version]
            decoder = Decoder(file)
            parts = {key: child for key in ("kubernetes", "preliminary", "earlier") if (child := _child(node, key))}
            if "kubernetes" in parts:
                kinds = {"kubernetes": KubernetesRange, "preliminary": str, "earlier": dict[str, str]}
                found.append({"version": version} | {key: decoder.decode(child, kinds[key]) for key, child in parts.items()})
            decoder.finish()
        return tuple(Edition(**keys) for keys in found)

    def load(self, ref: str, because: str = "") -> Benchmark:
        """Return the benchmark ``name`` (its latest version) or ``name@version``; raises `InputError`."""
        name, _, version = ref.partition("@")
        versions = self.names().get(name)
        if versions is None:
            raise InputError(
                [Mistake("--benchmark", 0, 0, f"there is no benchmark {name!r}{did_you_mean(name, self.names(), BENCHMARKS)}")]
            )
        version = version or versions[-1]
        if version not in versions:
            raise InputError([Mistake("--benchmark", 0, 0, f"{name} has no version {version!r}; known: {', '.join(versions)}")])
        file, node = self.contents[name, version]
        decoder = Decoder(file)
        contents: Contents | None = decoder.decode(node, Contents)
        decoder.finish()
        assert contents is not None
        controls, mistakes = self.bind(contents, file, node)
        if mistakes:
            raise InputError(mistakes)
        kept = tuple(c for c in controls if self.keeps(name, version, c))
        digest = self.own.get((name, version), self.digest)
        left_out = {"tailoring": gone} if (gone := len(controls) - len(kept)) else {}
        return Benchmark(name, version, contents.title, kept, contents.controls_total, digest, because, contents.sections, left_out)

    def bind(self, contents: Contents, file: str, node: yaml.Node) -> tuple[list[Control], list[Mistake]]:
        """Return the controls that a table of contents names, and what is wrong with them; ``node`` is the table's own node."""
        controls: list[Control] = []
        mistakes: list[Mistake] = []
        seen: dict[str, str] = {}
        entry_nodes = _child(node, "controls")
        assert isinstance(entry_nodes, yaml.SequenceNode)
        for entry, entry_node in zip(contents.controls, entry_nodes.value, strict=True):
            line, column = entry_node.start_mark.line + 1, entry_node.start_mark.column + 1
            if entry.id in seen:
                mistakes.append(Mistake(file, line, column, f"the number {entry.id} stands here twice"))
            seen[entry.id] = entry.control
            if entry.control not in self.definitions:
                hint = did_you_mean(entry.control, self.definitions, CONTROLS)
                mistakes.append(Mistake(file, line, column, f"there is no control {entry.control!r}{hint}"))
                continue
            try:
                controls.append(self._bound(entry, entry_node))
            except InputError as error:
                mistakes.extend(error.mistakes)
        return controls, mistakes

    def _bound(self, entry: Entry, node: yaml.Node, *more: yaml.Node) -> Control:
        where, definition_node = self.definitions[entry.control]
        overrides = (_child(node, "parameters"), self.tailored.get(entry.control), *more)
        definition = decode_definition(where, definition_node, self.types, *(o for o in overrides if o is not None))
        return _control(definition, entry, bool(more) or entry.control in self.tailored)

    def variant(self, benchmark: Benchmark, values: Mapping[str, tuple[yaml.Node, ...]]) -> Benchmark:
        """Return a benchmark of this library with more parameter values for some controls (by key); later ones replace earlier.

        Raises `InputError`.
        """
        _, node = self.contents[benchmark.name, benchmark.version]
        entries = _child(node, "controls")
        assert isinstance(entries, yaml.SequenceNode)
        changed: dict[str, Control] = {}
        for entry_node in entries.value:
            key = _child(entry_node, "control")
            if key is not None and key.value in values:
                entry = Decoder("").decode(entry_node, Entry)
                changed[entry.id] = self._bound(entry, entry_node, *values[entry.control])
        return replace(benchmark, controls=tuple(changed.get(c.id, c) for c in benchmark.controls))


def _control(d: Definition, e: Entry, tailored: bool) -> Control:  # noqa: FBT001
    section = e.id.rpartition(".")[0]
    return Control(e.id, d.key, d.title, e.level, e.assessment, d.severity, d.target, d.rationale, d.remediation, d.check,
                   d.applies_when, section, d.parameters, tailored, d.decided)  # fmt: skip


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(p) if p.isdigit() else -1 for p in version.split("."))


def _child(node: yaml.Node, name: str) -> yaml.Node | None:
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value == name:
            return value  # type: ignore[no-any-return]
    return None


def one_of(kinds: Mapping[str, Any], noun: str, more: str) -> Any:
    """Return the decoder of a mapping with exactly one key, the name of one of ``kinds``; ``more`` says what to do with several."""

    def decode(decoder: Decoder, node: yaml.Node) -> Any:
        entries = decoder.items(node, f"a mapping with one {noun}")
        if not isinstance(node, yaml.MappingNode):
            return None
        if len(entries) != 1:
            decoder.fail(node, f"a {noun.partition(' ')[0]} is a mapping with exactly one {noun}; {more}")
            return None
        name, (key, value) = next(iter(entries.items()))
        if name not in kinds:
            decoder.fail(key, f"there is no {noun} {name!r}{did_you_mean(name, kinds)}")
            return None
        return decoder.decode(value, kinds[name])

    return decode


def check_decoder(types: CheckTypes) -> Any:
    """Return the decoder of a check: a mapping with exactly one key, the check type's name."""
    return one_of(types, "check type", "put several under all: or any:")


_FIX_DECODER = one_of(KINDS, "fix kind", "put several in the list")


def decode_definition(file: str, node: yaml.Node, types: CheckTypes, *overrides: yaml.Node) -> Definition:
    """Decode one control; ``overrides`` hold a version's and then a user's own parameter values. Raises `InputError`.

    The definition's ``parameters`` are those in force.
    """
    decoder = Decoder(file, {Check: check_decoder(types), Fix: _FIX_DECODER})
    defaults = {k: v for k, (_, v) in decoder.items(p).items()} if (p := _child(node, "parameters")) else {}
    own = {k: v for override in overrides for k, (_, v) in decoder.items(override).items()}
    for name in own.keys() - defaults.keys():
        decoder.fail(own[name], f"the control has no parameter {name!r}{did_you_mean(name, defaults)}")
    decoder.parameters = {**defaults, **own}
    definition = decoder.decode(node, Definition)
    for name in defaults.keys() - decoder.used_parameters:
        decoder.fail(defaults[name], f"the parameter {name!r} is used nowhere in this control")
    values = {name: _json(decoder.decode(value, Any)) for name, value in decoder.parameters.items()}
    decoder.finish()
    assert isinstance(definition, Definition)
    return replace(definition, parameters=values)


def _json(value: Any) -> Any:
    """Return a decoded value as a results document would give it back: lists, not tuples."""
    if isinstance(value, dict):
        return {k: _json(v) for k, v in value.items()}
    return [_json(v) for v in value] if isinstance(value, tuple) else value


def entries_of(contents: yaml.Node) -> dict[str, str]:
    """Return a table of contents' controls, number -> key, as far as they can be read."""
    found = {}
    for node in getattr(_child(contents, "controls"), "value", ()):
        number, key = _child(node, "id"), _child(node, "control")
        if isinstance(number, yaml.ScalarNode) and isinstance(key, yaml.ScalarNode):
            found[number.value] = key.value
    return found


def parse(files: list[tuple[str, str]], types: CheckTypes) -> Library:
    """Sort (file name, text) pairs into definitions and tables of contents; raises `InputError` with every mistake."""
    library, mistakes = extended(Library(types, {}, {}, ""), files)
    if mistakes:
        raise InputError(mistakes)
    return library


def extended(base: Library, files: list[tuple[str, str]]) -> tuple[Library, list[Mistake]]:
    """Return a library with (file name, text) pairs added, as far as they can be read, and what is wrong with them.

    The digest is that of the added files.
    """
    mistakes: list[Mistake] = []
    definitions: ChainMap[str, tuple[str, yaml.Node]] = ChainMap({}, base.definitions)  # type: ignore[arg-type]  # it is only read
    contents: ChainMap[tuple[str, str], tuple[str, yaml.Node]] = ChainMap({}, base.contents)  # type: ignore[arg-type]
    for file, text in sorted(files):
        try:
            root = compose(text, file)
        except InputError as error:
            mistakes.extend(error.mistakes)
            continue
        if isinstance(root, yaml.SequenceNode):
            for node in root.value:
                key = _child(node, "key")
                name = key.value if isinstance(key, yaml.ScalarNode) else ""
                mark = node.start_mark
                if not name:
                    mistakes.append(Mistake(file, mark.line + 1, mark.column + 1, "a control needs a key"))
                elif name in definitions:
                    other, there = definitions[name]
                    at = f"{other}:{there.start_mark.line + 1}"
                    mistakes.append(
                        Mistake(file, mark.line + 1, mark.column + 1, f"the control {name!r} is already defined at {at}")
                    )
                else:
                    definitions[name] = (file, node)
        elif isinstance(root, yaml.MappingNode):
            name, version = (c.value if isinstance(c := _child(root, k), yaml.ScalarNode) else "" for k in ("benchmark", "version"))
            if not name or not version:
                mistakes.append(Mistake(file, 1, 1, "a table of contents needs a benchmark and a version"))
            elif (name, version) in contents:
                mistakes.append(Mistake(file, 1, 1, f"{name}@{version} already stands in {contents[name, version][0]}"))
            else:
                contents[name, version] = (file, root)
        else:
            mistakes.append(Mistake(file, 1, 1, "must be a list of controls or a benchmark's table of contents"))
    return replace(base, definitions=definitions, contents=contents, digest=_digest(files)), mistakes


def _digest(files: list[tuple[str, str]]) -> str:
    digest = hashlib.sha256()
    for file, text in sorted(files):
        content = text.encode()
        digest.update(f"{Path(file).name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def parse_as_needed(files: list[tuple[str, str]], types: CheckTypes) -> Library:
    """Return what `parse` does of files that hold no mistake, but parse each one when something in it is asked for."""
    places = places_of(files)
    if places is None:
        return parse(files, types)
    texts = dict(files)

    @cache
    def parsed(file: str) -> Library:
        return parse([(file, texts[file])], types)

    definitions = Places(places[0], lambda file: parsed(file).definitions)
    return Library(types, definitions, Places(places[1], lambda file: parsed(file).contents), _digest(files))


def _packaged_files() -> list[tuple[str, str]]:
    root = resources.files("benchmarks")
    found: list[tuple[str, str]] = []
    for folder in root.iterdir():
        if folder.is_dir() and not folder.name.startswith(("_", ".")):
            items = [i for i in folder.iterdir() if i.name.endswith(".yaml")]
            found.extend((f"benchmarks/{folder.name}/{i.name}", i.read_text(encoding="utf-8")) for i in items)
    return found


def packaged(types: CheckTypes) -> Library:
    """Return the benchmarks that come with the package."""
    return _packaged(types) if isinstance(types, Hashable) else parse_as_needed(_packaged_files(), types)


@cache
def _packaged(types: CheckTypes) -> Library:
    return parse_as_needed(_packaged_files(), types)


def lint(path: Path, types: CheckTypes) -> list[Mistake]:
    """Return every mistake in a file of controls or in a table of contents (whose controls may be packaged ones)."""
    try:
        text = read_text(path)
        library = parse([(str(path), text)], types)
    except InputError as error:
        return error.mistakes
    mistakes: list[Mistake] = []
    for file, node in library.definitions.values():
        try:
            decode_definition(file, node, types)
        except InputError as error:
            mistakes.extend(error.mistakes)
    for file, node in library.contents.values():
        decoder = Decoder(file)
        contents = decoder.decode(node, Contents)
        mistakes.extend(decoder.mistakes)
        if contents is not None:
            both = Library(types, packaged(types).definitions, {}, "")
            mistakes.extend(m for m in both.bind(contents, file, node)[1] if m.file == file)
    return sorted(mistakes)


def info(benchmark: Benchmark) -> BenchmarkInfo:
    """Return a benchmark's words, as reports print them."""
    controls = tuple(
        ControlInfo(c.id, c.key, c.title, c.level, c.assessment, c.severity, c.section, c.rationale, c.remediation.text)
        for c in benchmark.controls
    )
    return BenchmarkInfo(benchmark.name, benchmark.version, benchmark.title, benchmark.sha256, benchmark.selected_because,
                         benchmark.controls_total, controls, benchmark.sections, benchmark.left_out)  # fmt: skip
