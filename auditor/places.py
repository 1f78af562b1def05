"""What stands in which benchmark file, found by the look of the lines, so that an audit parses only the files that it needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

_ITEM = re.compile(r"^-", re.MULTILINE)
_KEY = re.compile(r"^- key: ([a-z0-9-]+)$", re.MULTILINE)
_NAME = re.compile(r"^benchmark: ([a-z0-9-]+)$", re.MULTILINE)
_VERSION = re.compile(r'^version: "([0-9.]+)"$', re.MULTILINE)


def places_of(files: list[tuple[str, str]]) -> tuple[dict[str, str], dict[tuple[str, str], str]] | None:
    """Return the files of controls by key and those of tables of contents by benchmark and version, from (file name, text) pairs.

    None when a file has another look or anything stands twice: then all of them have to be parsed to say what is where.
    """
    definitions: list[tuple[str, str]] = []
    contents: list[tuple[tuple[str, str], str]] = []
    for file, text in sorted(files):
        keys, names, versions = _KEY.findall(text), _NAME.findall(text), _VERSION.findall(text)
        if keys and not names and len(keys) == len(_ITEM.findall(text)):
            definitions += [(key, file) for key in keys]
        elif len(names) == len(versions) == 1 and not _ITEM.search(text):
            contents.append(((names[0], versions[0]), file))
        else:
            return None
    once = len(dict(definitions)) == len(definitions) and len(dict(contents)) == len(contents)
    return (dict(definitions), dict(contents)) if once else None


class Places(Mapping[K, V]):
    """What stands in files: whose, is known from the start; ``read`` parses a file when something in it is asked for."""

    def __init__(self, places: dict[K, str], read: Callable[[str], Mapping[K, V]]) -> None:
        self._places = places
        self._read = read

    def __getitem__(self, key: K) -> V:
        return self._read(self._places[key])[key]

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[K]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
