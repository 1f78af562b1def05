"""Tailoring files and registers of waivers and attestations, decoded with every mistake in one run.

Names in the files are looked up while they are decoded, so that a control that isn't there is said beside a key that is misspelt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from functools import partial
from typing import Any

import yaml

from auditor.catalogue import BENCHMARKS, CONTROLS, Library, entries_of
from auditor.dates import begin_of, end_of
from auditor.model import Decided
from auditor.tailoringkeys import (
    AttestationKeys,
    Begin,
    BenchmarkKeys,
    BenchmarkName,
    ControlName,
    End,
    LeaveOut,
    Level,
    OverrideKeys,
    TakeIn,
    Text,
    Values,
    WaiverKeys,
    Word,
)
from auditor.yamlfile import Decoder, did_you_mean

_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)*")


@dataclass(slots=True)
class Read:
    """What a file says, as far as it could be read; what could not is among the decoder's mistakes."""

    benchmarks: list[BenchmarkKeys] = field(default_factory=list)
    parameters: dict[str, yaml.Node] = field(default_factory=dict)
    overrides: list[OverrideKeys] = field(default_factory=list)
    waivers: list[tuple[WaiverKeys, yaml.Node]] = field(default_factory=list)
    attestations: list[tuple[AttestationKeys, yaml.Node]] = field(default_factory=list)
    tried: list[tuple[str, yaml.Node]] = field(default_factory=list)  # controls and values of overrides that could not be read
    ids: list[Word] = field(default_factory=list)  # of all waivers and attestations, also of those that could not be read


class Reader:
    """Decodes the parts of a file against a library. ``whole`` is False when parts of the library could not be read."""

    def __init__(self, decoder: Decoder, library: Library, zone: tzinfo, *, whole: bool = True) -> None:
        self.decoder = decoder
        self.library = library
        self.whole = whole
        handlers: dict[Any, Callable[[Decoder, yaml.Node], Any]] = {
            Text: _text, Word: _word, Level: lambda d, n: d.decode(n, int),
            Values: _values, ControlName: self._control, BenchmarkName: self._benchmark,
            Begin: partial(_instant, zone, Begin), End: partial(_instant, zone, End),
        }  # fmt: skip
        decoder.custom = handlers
        self._numbers: dict[tuple[str, str], dict[str, str]] = {}
        self._refs: set[str] = set()

    def read(self, entries: Mapping[str, tuple[yaml.Node, yaml.Node]]) -> Read:
        """Return what the entries of a file's root say."""
        read = Read()
        nodes = {name: node for name, (_, node) in entries.items()}
        read.benchmarks = [b for n in self._items(nodes.get("benchmarks")) if (b := self._selection(n))]
        read.parameters = self._parameters(nodes.get("parameters"))
        for node in self._items(nodes.get("overrides")):
            self._not_empty(node, ("targets", "groups", "parameters"))
            if override := self.decoder.decode(node, OverrideKeys):
                read.overrides.append(override)
            elif (control := self._named(node)) and isinstance(values := self._raw(node).get("parameters"), yaml.MappingNode):
                read.tried.append((control.key, values))
        for node in self._items(nodes.get("waivers")):
            read.ids += self._id(node)
            self._scoped(node, ("starts", "expires"))
            if keys := self.decoder.decode(node, WaiverKeys):
                read.waivers.append((keys, node))
        for node in self._items(nodes.get("attestations")):
            read.ids += self._id(node)
            self._scoped(node, ("at", "expires"))
            if (control := self._named(node)) and self._automatic(control.key):
                self.decoder.fail(control.node, f"evidence alone decides {control.key!r}: there is nothing to attest")
            if keys := self.decoder.decode(node, AttestationKeys):
                read.attestations.append((keys, node))
        return read

    def numbers(self, name: str, version: str) -> dict[str, str]:
        """Return the controls' keys of a benchmark version by their numbers."""
        if (name, version) not in self._numbers:
            self._numbers[name, version] = entries_of(self.library.contents[name, version][1])
        return self._numbers[name, version]

    def _items(self, node: yaml.Node | None) -> list[yaml.Node]:
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.decoder.decode(node, tuple[Any, ...])  # says that it must be a list
            return []
        return list(node.value)

    def _parameters(self, node: yaml.Node | None) -> dict[str, yaml.Node]:
        found = {}
        for key, (_, value) in (self.decoder.items(node, "a mapping of controls") if node is not None else {}).items():
            self.decoder.items(value, "a mapping of parameters")
            if key in self.library.definitions:
                found[key] = value
            else:
                self._unknown(value, "control", key, self.library.definitions)
        return found

    def _selection(self, node: yaml.Node) -> BenchmarkKeys | None:
        """Decode what of a benchmark is judged, and look its sections up."""
        raw = self._raw(node)
        if ("level" in raw or "sections" in raw) and "reason" not in raw:
            self.decoder.fail(node, "the key 'reason' is missing: why these levels or sections")
        if "level" in raw and getattr(raw["level"], "value", None) not in ("1", "2"):
            self.decoder.fail(raw["level"], "level must be 1 or 2")
        for item in self._items(raw.get("exclude")):
            keys = self._raw(item)
            if isinstance(item, yaml.MappingNode) and ("control" in keys) == ("section" in keys):
                self.decoder.fail(item, "name either a control or a section to leave out")
        self._check_selection(raw)
        keys = self.decoder.decode(node, BenchmarkKeys)
        return keys if isinstance(keys, BenchmarkKeys) and keys.benchmark.name else None

    def _check_selection(self, raw: Mapping[str, yaml.Node]) -> None:
        """Look up what is left out and taken in, part by part: a mistake in one must not hide one in another."""
        name = self.decoder.decode(raw["benchmark"], BenchmarkName) if "benchmark" in raw else None
        if name is None or not name.name:
            return
        if name.ref in self._refs:
            self.decoder.fail(name.node, f"the benchmark {name.ref!r} stands here twice")
        self._refs.add(name.ref)
        excluded = [e for n in self._items(raw.get("exclude")) if (e := self.decoder.decode(n, LeaveOut))]
        included = [i for n in self._items(raw.get("include")) if (i := self.decoder.decode(n, TakeIn))]
        words = [w for n in self._items(raw.get("sections")) if (w := self.decoder.decode(n, Word))]
        versions = [name.version] if name.version else self.library.names()[name.name]
        numbers = {number: key for v in versions for number, key in self.numbers(name.name, v).items()}
        sections = {part for number in numbers for part in _above(number)}
        for word in (*words, *(e.section for e in excluded if e.section)):
            if word.text not in sections:
                hint = did_you_mean(word.text, sections, f"`auditor benchmarks show {name.ref}`")
                self.decoder.fail(word.node, f"{name.ref} has no section {word.text!r}{hint}")
        out = {e.control.key for e in excluded if e.control}
        for control in (*(e.control for e in excluded if e.control), *(i.control for i in included)):
            if control.key and control.key not in numbers.values():
                self.decoder.fail(control.node, f"{name.ref} has no control {control.key!r}")
        for taken in included:
            if taken.control.key in out:
                self.decoder.fail(taken.control.node, f"the control {taken.control.key!r} is excluded here as well")
            if not ({"level", "sections"} & raw.keys()) and not any(e.section for e in excluded):
                self.decoder.fail(taken.control.node, "there is nothing to except this control from: no level, no section")

    def _scoped(self, node: yaml.Node, dates: tuple[str, str]) -> None:
        """Check what spans several keys of a waiver or an attestation, even if other keys are wrong."""
        raw = self._raw(node)
        if not isinstance(node, yaml.MappingNode):
            return
        self._not_empty(node, ("targets", "groups", "subjects"))
        if not any(isinstance(raw.get(k), yaml.SequenceNode) and raw[k].value for k in ("targets", "groups")):
            self.decoder.fail(node, 'say which targets or groups this is for; targets: ["*"] is all of them')
        first, last = (raw.get(d) for d in dates)
        if first is not None and last is not None:
            begin, end = self.decoder.decode(first, Begin), self.decoder.decode(last, End)
            if begin and end and begin.instant >= end.instant:
                self.decoder.fail(last, f"expires before it begins ({dates[0]}: {begin.text})")

    def _not_empty(self, node: yaml.Node, keys: tuple[str, ...]) -> None:
        """Refuse lists that name nothing: one would be taken for no condition, and so for everything."""
        for value in (self._raw(node).get(k) for k in keys):
            if isinstance(value, yaml.CollectionNode) and not value.value:
                self.decoder.fail(value, "must not be empty: leave the key out, or name something")

    def _id(self, node: yaml.Node) -> list[Word]:
        """Return the id that an entry gives itself, if it does; an entry that is wrong elsewhere takes its id all the same."""
        given = self._raw(node).get("id")
        return [Word(" ".join(given.value.split()), given)] if isinstance(given, yaml.ScalarNode) and given.value.strip() else []

    def _named(self, node: yaml.Node) -> ControlName | None:
        """Return the control that an entry names, if there is such a one, whatever else is wrong with the entry."""
        given = self._raw(node).get("control")
        control = self.decoder.decode(given, ControlName) if given is not None else None
        return control if control and control.key else None

    def _automatic(self, key: str) -> bool:
        _, node = self.library.definitions[key]
        decided = next((v.value for k, v in node.value if k.value == "decided"), Decided.AUTOMATIC.value)
        return bool(decided == Decided.AUTOMATIC.value)

    def _raw(self, node: yaml.Node) -> dict[str, yaml.Node]:
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        return {k.value: v for k, v in pairs if isinstance(k, yaml.ScalarNode)}

    def _benchmark(self, decoder: Decoder, node: yaml.Node) -> BenchmarkName:
        text = decoder.decode(node, str) or ""
        name, version = self._ref(node, text) if text else ("", "")
        return BenchmarkName(name, version, node)

    def _unknown(self, node: yaml.Node, what: str, word: str, known: Iterable[str]) -> None:
        """Note that there is no such thing; where the site's own files are broken, only if it looks like a slip of the pen."""
        hint = did_you_mean(word, known, BENCHMARKS if what == "benchmark" else CONTROLS)
        if self.whole or "did you mean" in hint:
            self.decoder.fail(node, f"there is no {what} {word!r}{hint}")

    def _ref(self, node: yaml.Node, text: str) -> tuple[str, str]:
        """Look a benchmark up; the name is empty when it isn't there."""
        name, _, version = text.partition("@")
        names = self.library.names()
        if name not in names:
            self._unknown(node, "benchmark", name, names)
            return "", ""
        if version and version not in names[name]:
            if self.whole:
                self.decoder.fail(node, f"{name} has no version {version!r}; known: {', '.join(names[name])}")
            return "", ""
        return name, version

    def _control(self, decoder: Decoder, node: yaml.Node) -> ControlName:
        nothing = ControlName("", "", "", node)
        text = decoder.decode(node, str)
        if not text:
            return nothing
        word, at, ref = text.partition("@")
        name, version = self._ref(node, ref) if at else ("", "")
        if at and not name:
            return nothing
        if not _NUMBER.fullmatch(word):
            if word not in self.library.definitions:
                self._unknown(node, "control", word, self.library.definitions)
                return nothing
            return ControlName(word, name, version, node)
        if not at:
            decoder.fail(node, f"a number alone doesn't say of which benchmark: write {word}@cis-docker, for example, or the key")
            return nothing
        versions = [version] if version else self.library.names()[name]
        keys = {v: k for v in versions if (k := self.numbers(name, v).get(word))}
        if len(set(keys.values())) == 1:
            return ControlName(next(iter(keys.values())), name, version, node)
        if keys:
            differing = ", ".join(f"{k} in {v}" for v, k in keys.items())
            decoder.fail(node, f"{word} is not the same control in every version of {name} ({differing}): write the key")
        else:
            known = {n for v in versions for n in self.numbers(name, v)}
            decoder.fail(node, f"{ref} has no control {word!r}{did_you_mean(word, known, f'`auditor benchmarks show {ref}`')}")
        return nothing


def _above(number: str) -> list[str]:
    """Return the sections that a number stands in: for 5.1.3 they are 5 and 5.1."""
    parts = number.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _text(decoder: Decoder, node: yaml.Node) -> str | None:
    text = decoder.decode(node, str)
    if text is not None and not text.strip():
        decoder.fail(node, "must not be empty")
        return None
    return text if text is None else " ".join(text.split())


def _word(decoder: Decoder, node: yaml.Node) -> Word | None:
    text = _text(decoder, node)
    return None if text is None else Word(text, node)


def _values(decoder: Decoder, node: yaml.Node) -> Values:
    decoder.items(node, "a mapping of parameters")
    return Values(node)


def _instant(zone: tzinfo, kind: type[Begin | End], decoder: Decoder, node: yaml.Node) -> Begin | End | None:
    if not isinstance(node, yaml.ScalarNode) or not node.value:
        decoder.fail(node, "must be a day such as 2026-12-31 or a moment such as 2026-12-31T18:00:00Z")
        return None
    try:
        return kind(node.value, (begin_of if kind is Begin else end_of)(node.value, zone))
    except ValueError as error:
        decoder.fail(node, str(error))
        return None
