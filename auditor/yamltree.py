"""YAML text as a tree of nodes with their places: one document, without anchors, aliases, merge keys or tags, and not too deep."""

from __future__ import annotations

import functools
import io
import re
import typing
from typing import Any

import yaml

from auditor.yamlfile import PREFIX, InputError, Mistake, mistake_at

MAX_DEPTH = 40

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
#: What an anchor, an alias or a tag begins with, where YAML lets one begin; it may stand in plain text as well.
_MARKED = re.compile(r"(?:^|[\s,\[{:?\-\ufeff])[&*!]", re.MULTILINE)
_NOT_TEXT = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def compose(text: str, file: str) -> yaml.Node:
    """Parse YAML text into a tree of nodes with positions; raises `InputError`."""
    if odd := _NOT_TEXT.search(text):
        line, column = text.count("\n", 0, odd.start()) + 1, odd.start() - text.rfind("\n", 0, odd.start())
        raise InputError([Mistake(file, line, column, f"the character U+{ord(odd[0]):04X} is not allowed in YAML")])
    node = None if _MARKED.search(text) else _compose_plain(text, file)
    return node if node is not None else _compose_watched(text, file)


def _compose_plain(text: str, file: str) -> yaml.Node | None:
    """Parse text without anchors, aliases and tags; None where `_compose_watched` has to say what is wrong."""
    loader = _Composer(_Stream(text, file))
    try:
        return typing.cast("yaml.Node | None", loader.get_single_node())
    except (yaml.YAMLError, RecursionError):
        return None
    finally:
        loader.dispose()


def _compose_watched(text: str, file: str) -> yaml.Node:
    """Parse text with an eye on every event, so that whatever is refused is refused at its place."""
    loader = _Loader(_Stream(text, file))
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):
            mark = event.start_mark
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise InputError([mistake_at(file, mark, "anchors and aliases are not allowed: write the value out")])
            tag = getattr(event, "tag", None)
            if tag and tag != "!":
                raise InputError([mistake_at(file, mark, f"the tag {tag!r} is not allowed")])
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    raise InputError([mistake_at(file, mark, f"nested more than {MAX_DEPTH} deep")])
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InputError([mistake_at(file, mark, f"not YAML: {error.problem or error.context}")]) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError([Mistake(file, 0, 0, f"not YAML: {' '.join(str(error).split())}")]) from None
    finally:
        loader.dispose()
    if node is None:
        raise InputError([Mistake(file, 0, 0, "is empty")])
    return typing.cast("yaml.Node", node)


class _TooDeepError(yaml.YAMLError):
    """Text is nested deeper than is allowed."""


class _Composer(_Loader):  # type: ignore[misc]
    """The loader, which both of PyYAML's composers ask about each node: how deep it is, and what kind of value a plain word is."""

    _depth = 0

    def descend_resolver(self, _parent: Any, _index: Any) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:  # a word counts here too: at the edge, the events are asked
            raise _TooDeepError

    def ascend_resolver(self) -> None:
        self._depth -= 1

    def resolve(self, kind: type[yaml.Node], value: str, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return _kind_of_word(value) if implicit[0] else PREFIX + "str"
        return PREFIX + ("seq" if kind is yaml.SequenceNode else "map")


_RESOLVER: Any = yaml.resolver.Resolver()


@functools.lru_cache(4096)
def _kind_of_word(word: str) -> str:
    """Return the tag of a plain word; most words of a benchmark stand there many times."""
    return str(_RESOLVER.resolve(yaml.ScalarNode, word, (True, False)))


class _Stream(io.StringIO):
    """A text that knows the file it is from, and so do the nodes made from it: parameters come from other files."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name = name
