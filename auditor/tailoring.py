"""Tailoring: what a site decides differently from the benchmarks' defaults, and why; its waivers and attestations.

```yaml
tailoring: 1
parameters:
  docker-trusted-users: {trusted: [alice, bob]}
```

`load` reads a tailoring file and registers of waivers as one: every mistake of all of them is said, or all of them are in force.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any

import yaml

from auditor.catalogue import Contents, Library, decode_definition, extended
from auditor.dates import zone_of
from auditor.model import Benchmark, Control, Target
from auditor.registers import Change
from auditor.tailoringfile import Read, Reader
from auditor.tailoringkeys import BenchmarkKeys, OverrideKeys, RegisterKeys, TailoringKeys
from auditor.waivers import EVERYTHING, Attestation, Narrowed, Register, Scope, Waiver
from auditor.yamlfile import Decoder, InputError, Mistake, did_you_mean, read_text
from auditor.yamltree import compose

#: The version of both formats.
VERSION = "1"


@dataclass(frozen=True, slots=True)
class Override:
    """Parameter values for the targets that a scope means."""

    scope: Scope
    node: yaml.Node
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Tailoring:
    """Everything that a site decided, in force on a library."""

    library: Library
    changes: tuple[Change, ...] = ()
    overrides: tuple[Override, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    attestations: tuple[Attestation, ...] = ()
    files: tuple[str, ...] = ()  # all that was read, each with its digest

    @property
    def own(self) -> tuple[str, ...]:
        """The site's own benchmarks, name@version."""
        return tuple(f"{name}@{version}" for name, version in self.library.own)

    def benchmarks(self, benchmarks: Sequence[Benchmark], target: Target) -> list[Benchmark]:
        """Return the benchmarks as they judge one target: with the parameter values that are meant for it."""
        meant = tuple(n for n, o in enumerate(self.overrides) if o.scope.fits_target(target.name, target.groups))
        return [self._variant(b, meant) for b in benchmarks] if meant else list(benchmarks)

    def every(self, benchmarks: Sequence[Benchmark]) -> list[Benchmark]:
        """Return the benchmarks in every form in which they may judge a target: what all of them need must be asked."""
        by_control: dict[str, list[int]] = {}
        for n, override in enumerate(self.overrides):
            by_control.setdefault(override.scope.control, []).append(n)
        subsets = [_subsets(numbers) for numbers in by_control.values()]
        rounds = [
            tuple(sorted(n for s in subsets for n in s[min(i, len(s) - 1)])) for i in range(max(map(len, subsets), default=0))
        ]
        return [*benchmarks, *(v for b in benchmarks for meant in rounds if (v := self._variant(b, meant)) is not b)]

    def register(self, started: str, narrowed: Narrowed = EVERYTHING) -> Register:
        """Return what marks the findings of a run that began then with waivers and attestations."""
        return Register(self.waivers, self.attestations, started, narrowed)

    def changed(self, groups: Mapping[str, tuple[str, ...]]) -> tuple[Change, ...]:
        """Return what is tailored, for a run over targets of these names and groups."""
        changes = [*self.changes]
        for override in self.overrides:
            met = any(override.scope.fits_target(n, g) for n, g in groups.items())
            changes += override.changes if met else (dataclasses.replace(c, note="no target is meant") for c in override.changes)
        return tuple(changes)

    def _variant(self, benchmark: Benchmark, meant: tuple[int, ...]) -> Benchmark:
        key = (benchmark.ref, id(benchmark), meant)
        if key not in self._variants:
            values: dict[str, tuple[yaml.Node, ...]] = {}
            for override in (self.overrides[n] for n in meant):
                scope = override.scope
                if scope.benchmark in ("", benchmark.name) and scope.version in ("", benchmark.version):
                    values[scope.control] = (*values.get(scope.control, ()), override.node)
            made = self.library.variant(benchmark, values) if values else benchmark
            self._variants[key] = (benchmark, made)  # the first keeps its id from being given to another
        return self._variants[key][1]

    @functools.cached_property
    def _variants(self) -> dict[tuple[str, int, tuple[int, ...]], tuple[Benchmark, Benchmark]]:
        return {}


#: No tailoring.
NOTHING = Tailoring(Library({}, {}, {}, ""))


def _subsets(numbers: Sequence[int]) -> list[tuple[int, ...]]:
    """Return in which combinations overrides of one control may meet; of more than six only each alone and all."""
    if len(numbers) > 6:
        return [*((n,) for n in numbers), tuple(numbers)]
    return [c for size in range(1, len(numbers) + 1) for c in itertools.combinations(numbers, size)]


def load(library: Library, tailoring: Path | None = None, registers: Iterable[Path] = ()) -> Tailoring:
    """Read a tailoring file and registers of waivers and attestations; raises `InputError` with every mistake in any of them."""
    loader = _Loader(library)
    for path in (*([tailoring] if tailoring else ()), *registers):
        try:
            loader.file(path, register=path is not tailoring)
        except InputError as error:
            loader.mistakes += error.mistakes
    return loader.finish()


def is_register(path: Path) -> bool:
    """Return whether a file calls itself a register of waivers; one that can't be read does not. Raises nothing."""
    try:
        root = compose(read_text(path), str(path))
    except InputError:
        return False
    return "register" in Decoder("").items(root)


class _Loader:
    def __init__(self, library: Library) -> None:
        self.packaged = library
        self.library = library
        self.mistakes: list[Mistake] = []
        self.files: list[str] = []
        self.changes: list[Change] = []
        self.overrides: list[Override] = []
        self.waivers: list[Waiver] = []
        self.attestations: list[Attestation] = []
        self.ids: dict[str, str] = {}
        self.selections: list[BenchmarkKeys] = []
        self.whole = True  # whether all of the site's own controls could be read

    def file(self, path: Path, *, register: bool) -> None:
        """Take one file in; what is wrong with it is noted or raised."""
        text = read_text(path)
        root = compose(text, str(path))
        decoder = Decoder(str(path))
        entries = decoder.items(root)
        keys = [f.name for f in dataclasses.fields(RegisterKeys if register else TailoringKeys)]
        head = keys[0]
        if head not in entries:
            other = "tailoring" if register else "register"
            hint = f"; a file with {other!r} is given by --{'tailoring' if register else 'waivers'}" if other in entries else ""
            decoder.fail(root, f"the key {head!r} is missing: it is the version of the format, {VERSION}{hint}")
        elif str(entries[head][1].value) != VERSION:
            decoder.fail(entries[head][1], f"this program reads {head} files of version {VERSION}")
            decoder.finish()
        for name in entries.keys() - set(keys):
            decoder.fail(entries[name][0], f"there is no key {name!r} here{did_you_mean(name, keys)}")
        if "files" in entries and not register:
            self.whole = self._files(path, decoder, entries["files"][1])
        reader = Reader(decoder, self.library, _zone(decoder, entries), whole=self.whole)
        read = reader.read({name: pair for name, pair in entries.items() if name in keys})
        self.files.append(_digested(str(path), text))
        self._take(read, decoder)
        self.mistakes += decoder.mistakes

    def finish(self) -> Tailoring:
        """Return what is in force, or raise every mistake."""
        if self.mistakes:
            raise InputError(self.mistakes)
        library = dataclasses.replace(self.library, keeps=functools.partial(_kept, tuple(self.selections)))
        return Tailoring(library, tuple(self.changes), tuple(self.overrides), tuple(self.waivers), tuple(self.attestations),
                         tuple(self.files))  # fmt: skip

    def _files(self, path: Path, decoder: Decoder, node: yaml.Node) -> bool:
        """Add the site's own controls and benchmarks; return whether all of them could be read."""
        texts: list[tuple[str, str]] = []
        before = len(self.mistakes) + len(decoder.mistakes)
        names = decoder.decode(node, tuple[str, ...]) or ()
        for name, part in zip(names, node.value if names else (), strict=True):
            if name is None:
                continue
            folder, there = path.parent.resolve(), (path.parent / name).resolve()
            if Path(name).is_absolute() or not there.is_relative_to(folder):
                decoder.fail(part, f"{name!r} must be a path below the folder of this file")
                continue
            if there.exists() and not there.is_file():  # reading a pipe would wait for ever
                decoder.fail(part, f"{name!r} is no file")
                continue
            try:
                texts.append((str(path.parent / name), read_text(there)))
            except InputError as error:
                decoder.fail(part, f"{name!r} {error.mistakes[0].message}")
        base = self.packaged
        self.library, mistakes = extended(base, texts)
        whole = len(self.mistakes) + len(decoder.mistakes) == before and not mistakes
        self.mistakes += [*mistakes, *_wrong_in(self.library, base)]
        new = [ref for ref in self.library.contents if ref not in base.contents]
        self.library = dataclasses.replace(self.library, digest=base.digest, own=dict.fromkeys(new, self.library.digest))
        for name, version in new:
            file, table = self.library.contents[name, version]
            if name in base.names():
                self.mistakes.append(Mistake(file, 1, 1, f"{name!r} is a packaged benchmark: give yours a name of its own"))
            place = f"{file}:{table.start_mark.line + 1}"
            self.changes.append(Change("own benchmark", f"{name}@{version}", "everywhere", "none", "judged", "", place))
        self.files += [_digested(name, text) for name, text in texts]
        return whole

    def _take(self, read: Read, decoder: Decoder) -> None:
        for word in read.ids:
            if word.text in self.ids:
                decoder.fail(word.node, f"the id {word.text!r} is taken already at {self.ids[word.text]}")
            self.ids[word.text] = _place(word.node)
        for keys in read.benchmarks:
            self.selections.append(keys)
            self.changes += _selection_changes(keys)
        tailored: dict[str, yaml.Node] = {}
        for key, node in read.parameters.items():
            tailored[key] = node
            self.changes += self._parameter_changes(decoder, key, "everywhere", node, "")
        self.library = dataclasses.replace(self.library, tailored={**self.library.tailored, **tailored})
        for override in read.overrides:
            self._override(override, decoder)
        for key, node in read.tried:
            self._parameter_changes(decoder, key, "", node, "")  # says what is wrong with the values as well
        for waiver, node in read.waivers:
            if scope := _scope(waiver):
                identity = waiver.id.text if waiver.id else self._free("W", node)
                self.waivers.append(
                    Waiver(id=identity, scope=scope, subjects=waiver.subjects, reason=waiver.reason, owner=waiver.owner,
                           approver=waiver.approver, ticket=waiver.ticket, starts=waiver.starts.text if waiver.starts else "",
                           expires=waiver.expires.text, since=waiver.starts.instant if waiver.starts else None,
                           until=waiver.expires.instant, place=_place(node))
                )  # fmt: skip
        for entry, node in read.attestations:
            if scope := _scope(entry):
                identity = entry.id.text if entry.id else self._free("A", node)
                self.attestations.append(
                    Attestation(id=identity, scope=scope, verdict=entry.verdict, by=entry.by, at=entry.at.text,
                                statement=entry.statement, evidence=entry.evidence, expires=entry.expires.text,
                                since=entry.at.instant, until=entry.expires.instant, place=_place(node))
                )  # fmt: skip

    def _override(self, keys: OverrideKeys, decoder: Decoder) -> None:
        scope = _scope(keys)
        if scope is None:
            return
        parts = [f"{what} {', '.join(p)}" for what, p in (("targets", scope.targets), ("groups", scope.groups)) if p]
        where = "; ".join([*parts, *([scope.ref] if scope.ref else [])]) or "everywhere"
        changes = self._parameter_changes(decoder, scope.control, where, keys.parameters.node, keys.reason)
        self.overrides.append(Override(scope, keys.parameters.node, tuple(changes)))

    def _parameter_changes(self, decoder: Decoder, key: str, scope: str, node: yaml.Node, reason: str) -> list[Change]:
        """Try the values on the control they are for; return what they change."""
        file, definition = self.library.definitions[key]
        try:
            before = decode_definition(file, definition, self.library.types).parameters
            after = decode_definition(file, definition, self.library.types, node).parameters
        except InputError as error:
            decoder.mistakes += error.mistakes
            return []
        places = {k: _place(n) for k, (n, _) in Decoder("").items(node).items()}
        return [
            Change("parameter", key, scope, f"{name}: {shown(before[name])}", f"{name}: {shown(after[name])}", reason, place)
            for name, place in places.items()
        ]

    def _free(self, letter: str, node: yaml.Node) -> str:
        """Return the next free id, for an entry without one of its own."""
        number = 1
        while f"{letter}{number}" in self.ids:
            number += 1
        self.ids[f"{letter}{number}"] = _place(node)
        return f"{letter}{number}"


def shown(value: Any) -> str:
    """Return a parameter's value in one line, as YAML's flow style would have it."""
    return json.dumps(value, ensure_ascii=False)


def _scope(keys: Any) -> Scope | None:
    control = keys.control
    if not control.key:
        return None
    return Scope(
        control=control.key, benchmark=control.benchmark, version=control.version, targets=keys.targets, groups=keys.groups
    )


def _digested(name: str, text: str) -> str:
    return f"{name} (SHA-256 {hashlib.sha256(text.encode()).hexdigest()})"


def _place(node: yaml.Node) -> str:
    return f"{node.start_mark.name}:{node.start_mark.line + 1}"


def _zone(decoder: Decoder, entries: Mapping[str, tuple[yaml.Node, yaml.Node]]) -> tzinfo:
    if "zone" not in entries:
        return UTC
    node = entries["zone"][1]
    word = decoder.decode(node, str)
    try:
        return zone_of(word) if word is not None else UTC
    except ValueError as error:
        decoder.fail(node, str(error))
        return UTC


def _wrong_in(library: Library, base: Library) -> list[Mistake]:
    """Return what is wrong with the definitions and tables of contents that a library has beyond another one."""
    mistakes: list[Mistake] = []
    named: set[str] = set()
    read = True  # whether all tables of contents say what they hold
    for ref, (file, node) in library.contents.items():
        if ref in base.contents:
            continue
        decoder = Decoder(file)
        contents = decoder.decode(node, Contents)
        mistakes += decoder.mistakes
        read = read and contents is not None
        if contents is not None:
            named |= {entry.control for entry in contents.controls}
            mistakes += library.bind(contents, file, node)[1]
    for key, (file, node) in library.definitions.items():
        if key in base.definitions:
            continue
        try:
            decode_definition(file, node, library.types)
        except InputError as error:
            mistakes += error.mistakes
        if read and key not in named and any(r not in base.contents for r in library.contents):
            mistakes.append(Mistake(file, node.start_mark.line + 1, node.start_mark.column + 1,
                                    f"the control {key!r} stands in no table of contents: it is never judged"))  # fmt: skip
    return mistakes


def _kept(selections: Sequence[BenchmarkKeys], name: str, version: str, control: Control) -> bool:
    """Return whether a control of a benchmark is judged."""
    for keys in selections:
        if keys.benchmark.name != name or keys.benchmark.version not in ("", version):
            continue
        if any(e.control and e.control.key == control.key for e in keys.exclude):
            return False
        if any(i.control.key == control.key for i in keys.include):
            continue
        if keys.level is not None and control.level > keys.level:
            return False
        if keys.sections and not any(_within(control.id, s.text) for s in keys.sections):
            return False
        if any(e.section and _within(control.id, e.section.text) for e in keys.exclude):
            return False
    return True


def _within(number: str, section: str) -> bool:
    return number.startswith(f"{section}.")


def _selection_changes(keys: BenchmarkKeys) -> list[Change]:
    ref, reason = keys.benchmark.ref, keys.reason or ""
    place = _place(keys.benchmark.node)
    found = []
    if keys.level is not None:
        found.append(Change("level", ref, ref, "levels 1 and 2", f"up to level {keys.level}", reason, place))
    if keys.sections:
        found.append(Change("sections", ref, ref, "all sections", ", ".join(s.text for s in keys.sections), reason, place))
    for out in keys.exclude:
        subject = out.control.key if out.control else f"section {out.section.text if out.section else ''}"
        node = out.control.node if out.control else out.section.node if out.section else keys.benchmark.node
        found.append(Change("excluded", subject, ref, "judged", "not judged", out.reason, _place(node)))
    for taken in keys.include:
        control = taken.control
        found.append(Change("included", control.key, ref, "not judged", "judged", taken.reason, _place(control.node)))
    return found
