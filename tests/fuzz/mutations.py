"""Mutations of real inputs, described by small numbers, so that hypothesis can shrink them and a long run can draw them at random.

A mutation is ``(kind, place, size, payload)``: which of the kinds below, where (0 to 999 thousandths), how large, which payload.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from hypothesis import strategies as st

Mutation: TypeAlias = tuple[int, int, int, int]

PAYLOADS: tuple[bytes, ...] = (
    b"\0", b"\xff\xfe\xfd", b"\xed\xa0\x80", "\u2028".encode(), "\x85".encode(), b"\x0b", b"\x1c", b"\r\n", b"\x1b[31m", b"9" * 400,
    b"9" * 5000, b"-1", b"1e999", b"NaN", b"-Infinity", b"0x10", b"1_0", b"2001-99-99", "\u0661\u00b2".encode(), b"null", b"true",
    b"[" * 3000, b'{"a":' * 3000, b"- " * 3000, b"a: &a [1]\nb: *a\n", b"!!python/object:os.system x", b'"\\ud800"', b'"', b"'", b"`$(",
    b"{}", b"[]", b"...\n---\n", b"%YAML 9\n", b"<<: {a: 1}\n", b"? [a]\n", b"!!binary a\n", b"a" * 3000, b"=", b":", b"|", b" ", b"\n",
)  # fmt: skip
#: What is put in the place of a JSON value.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 10**30, 1.5, float("nan"), float("inf"), "", "x", "\ud800", "\0", "9" * 500, [], [None], [[]], [1], ["x"],
    [{}], {}, {"": None}, {"a": {}}, {"\ud800": 1}, json.loads("[" * 200 + "]" * 200),
)  # fmt: skip


def _lines(data: bytes, cut: bytes, at: int, change: Callable[[list[bytes], int], None]) -> bytes:
    parts = data.split(cut)
    change(parts, at * len(parts) // 1000)
    return cut.join(parts)


def _swap(parts: list[bytes], at: int) -> None:
    if at + 1 < len(parts):
        parts[at], parts[at + 1] = parts[at + 1], parts[at]


def bytewise(data: bytes, mutation: Mutation, frame: bytes = b"\n\n") -> bytes:
    """Return data with one mutation; ``frame`` is what separates its larger parts."""
    kind, place, size, which = mutation
    at, payload = place * len(data) // 1000, PAYLOADS[which % len(PAYLOADS)]
    match kind % 14:
        case 0:
            return data[:at]
        case 1:
            return data[:at] + data[at + size + 1 :]
        case 2:
            return data[:at] + payload + data[at:]
        case 3:
            return data[:at] + payload + data[at + len(payload) :]
        case 4:
            return data[:at] + data[at : at + size] * 20 + data[at:]
        case 5:
            return data[:at] + bytes([(data[at] if at < len(data) else 0) ^ (1 << size % 8)]) + data[at + 1 :]
        case 6:
            return _lines(data, b"\n", place, lambda parts, i: parts.__delitem__(i))
        case 7:
            return _lines(data, b"\n", place, lambda parts, i: parts.insert(i, parts[i]))
        case 8:
            return _lines(data, b"\n", place, _swap)
        case 9:
            return _lines(data, b"\n", place, lambda parts, i: parts.__setitem__(i, payload))
        case 10:
            return _lines(data, frame, place, lambda parts, i: parts.__delitem__(i))
        case 11:
            return _lines(data, frame, place, lambda parts, i: parts.insert(i, parts[i]))
        case 12:
            return _lines(data, frame, place, _swap)
        case _:
            return _lines(data, b" ", place, lambda parts, i: parts.__setitem__(i, payload))


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a JSON document, its root first."""
    yield at
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*at, index))


def without(value: Any, path: Sequence[Any]) -> Any:
    """Return a JSON document without the value at a path."""
    return _changed(value, path, lambda parent, key: parent.pop(key))


def replaced(value: Any, path: Sequence[Any], new: Any) -> Any:
    """Return a JSON document with another value at a path."""
    return _changed(value, path, lambda parent, key: parent.__setitem__(key, new)) if path else new


def _changed(value: Any, path: Sequence[Any], change: Callable[[Any, Any], Any]) -> Any:
    """Return a document with one change; what lies beside the path is shared with the original."""
    if not path:
        return None
    copied = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1:
        change(copied, path[0])
    else:
        copied[path[0]] = _changed(copied[path[0]], path[1:], change)
    return copied


def structured(document: Any, mutation: Mutation) -> Any:
    """Return a JSON document with one mutation."""
    kind, place, size, which = mutation
    found = list(places(document))
    path = found[(place * len(found) // 1000 + size) % len(found)]
    if kind % 4 == 0 and path:
        return without(document, path)
    return replaced(document, path, VALUES[which % len(VALUES)])


def mutated(data: bytes, mutations: Sequence[Mutation], frame: bytes = b"\n\n") -> bytes:
    """Return data with some mutations; where it is JSON, those of an even kind are made at a path of the document."""
    for mutation in mutations:
        document = None
        if mutation[0] % 2 == 0 and data[:1] in (b"{", b"["):
            with contextlib.suppress(ValueError, RecursionError):
                document = json.loads(data)
        if document:
            data = json.dumps(structured(document, (mutation[0] // 2, *mutation[1:]))).encode()
        else:
            data = bytewise(data, mutation, frame)
    return data


#: One to four mutations.
MUTATIONS = st.lists(
    st.tuples(st.integers(0, 27), st.integers(0, 999), st.integers(0, 60), st.integers(0, 999)), min_size=1, max_size=4
)
