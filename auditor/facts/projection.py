"""Decode JSON documents into just the fields that facts declare.

A field list such as ``("Id", "State.Pid", "Mounts[].Source")`` becomes a decoder that skips everything else without
building it, so a page of 500 pods costs little more than reading its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeAlias, TypeVar

import msgspec

Tree: TypeAlias = dict[str, "Tree"]
Decoded = TypeVar("Decoded")


def _tree(paths: Iterable[str]) -> Tree:
    root: Tree = {}
    for path in paths:
        node = root
        for part in path.split("."):
            node = node.setdefault(part, {})
    return root


def _type(name: str, tree: Tree) -> Any:
    """Build the msgspec type for a tree: a leaf is any JSON value, a branch an object (or a list or map of them)."""
    if not tree:
        return Any
    fields: list[tuple[str, Any, Any]] = []
    rename: dict[str, str] = {}
    for index, (part, below) in enumerate(sorted(tree.items())):
        many, mapped = part.endswith("[]"), part.endswith("{}")
        json_name = part[:-2] if many or mapped else part
        inner = _type(f"{name}_{index}", below)
        wrapped = list[inner] if many else dict[str, inner] if mapped else inner  # type: ignore[valid-type]
        fields.append((f"f{index}", wrapped | None if wrapped is not Any else Any, None))
        rename[f"f{index}"] = json_name
    return msgspec.defstruct(name, fields, rename=rename, omit_defaults=True, gc=False)


@cache
def decoder(paths: tuple[str, ...], *, many: bool = False) -> Callable[[bytes], Any]:
    """Return a function from JSON bytes to plain values that hold only ``paths``.

    ``a.b`` goes into an object, ``a[].b`` into every element of a list, ``a{}.b`` into every value of a map; the last
    part of a path is kept whole. Fields that are missing or null are left out. With ``many`` the document is a list.
    The function raises ValueError when the document has another shape (`msgspec.DecodeError` is one) or is nested too deeply.
    """
    kind = _type("Projected", _tree(paths))
    wanted = msgspec.json.Decoder(list[kind] if many else kind)  # type: ignore[valid-type]

    def decode(document: bytes) -> Any:
        return msgspec.to_builtins(wanted.decode(document))

    return shallow(decode)


def shallow(decode: Callable[[bytes], Decoded]) -> Callable[[bytes], Decoded]:
    """Return a decoder of JSON that says with ValueError, as for whatever else is wrong, that a document is nested too deeply."""

    def guarded(document: bytes) -> Decoded:
        try:
            return decode(document)
        except RecursionError:
            raise ValueError("is nested too deeply") from None

    return guarded
