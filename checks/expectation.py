"""The closed list of operators that compare an actual value with an expected one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from checks.base import show

Scalar = str | int | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect:
    """What a value must be; exactly one operator. A value that isn't set fails every operator but ``set: false``.

    Text is compared as it stands. ``contains``, ``contains_none``, ``contains_any`` and ``subset_of`` take the actual value as
    a list (a single value is a list of one); comparing with ``at_most`` and ``at_least`` needs whole numbers. A value of
    another type than expected never holds, whichever the operator: text is not a number, 1 is not true.
    """

    equals: Scalar | None = None
    not_equals: Scalar | None = None
    one_of: tuple[Scalar, ...] | None = None
    at_most: int | None = None
    at_least: int | None = None
    contains: tuple[Scalar, ...] | None = None
    contains_any: tuple[Scalar, ...] | None = None
    contains_none: tuple[Scalar, ...] | None = None
    subset_of: tuple[Scalar, ...] | None = None
    starts_with_none: tuple[str, ...] | None = None
    set: bool | None = None

    def __post_init__(self) -> None:
        if sum(getattr(self, name) is not None for name in _OPERATORS) != 1:
            raise ValueError("give exactly one operator: " + ", ".join(_OPERATORS))

    def _given(self) -> tuple[str, Any]:
        for name in _OPERATORS:  # a plain loop: this is asked for every field of every pod
            if (value := getattr(self, name)) is not None:
                return name, value
        raise AssertionError("no operator")

    @property
    def operator(self) -> str:
        """The name of the operator that is given."""
        return self._given()[0]

    def operands(self) -> tuple[Scalar, ...]:
        """Return what the actual value is compared with; nothing for ``set``."""
        name, wanted = self._given()
        if name == "set":
            return ()
        return wanted if isinstance(wanted, tuple) else (wanted,)

    def describe(self) -> str:
        """Return the expectation in words, for example ``at most 600``."""
        name, wanted = self._given()
        if name == "set":
            return "set" if wanted else "not set"
        words = {"equals": "", "not_equals": "not ", "one_of": "one of ", "subset_of": "only ", "contains": "contains ",
                 "contains_any": "contains any of ", "contains_none": "contains none of ",
                 "starts_with_none": "nothing that starts with "}  # fmt: skip
        return words.get(name, name.replace("_", " ") + " ") + show(wanted)

    def holds(self, actual: Any) -> bool:
        """Return whether ``actual`` (a JSON value, None for unset) is as expected."""
        name, wanted = self._given()
        empty = actual is None or actual in ("", [])
        if name == "set":
            return empty is not wanted
        if actual is None:
            return False
        items = actual if isinstance(actual, list | tuple) else [actual]
        match name:
            case "equals":
                return _same(actual, wanted)
            case "not_equals":
                return type(actual) is type(wanted) and actual != wanted
            case "one_of":
                return any(_same(actual, w) for w in wanted)
            case "at_most":
                return _whole(actual) and actual <= wanted
            case "at_least":
                return _whole(actual) and actual >= wanted
            case "contains":
                return all(any(_same(i, w) for i in items) for w in wanted)
            case "contains_any":
                return any(_same(i, w) for i in items for w in wanted)
            case "contains_none":
                return all(_comparable(i, wanted) and not any(_same(i, w) for w in wanted) for i in items)
            case "starts_with_none":
                return all(isinstance(i, str) and not i.startswith(wanted) for i in items)
            case "subset_of":
                return all(any(_same(i, w) for w in wanted) for i in items)
        raise AssertionError(name)


#: Looked up once: every container is compared with every expectation.
_OPERATORS = tuple(f.name for f in dataclasses.fields(Expect))


def _same(actual: Any, wanted: Any) -> bool:
    """True is not 1 here, though Python says so."""
    return type(actual) is type(wanted) and bool(actual == wanted)


def _comparable(actual: Any, wanted: tuple[Scalar, ...]) -> bool:
    return any(type(actual) is type(w) for w in wanted)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
