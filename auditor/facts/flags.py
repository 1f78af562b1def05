"""Values of command-line flags, read as the program itself reads them.

Every function is pure and takes argv without argv[0]. Three dialects are known: that of the Kubernetes components (pflag, where
``_`` and ``-`` are the same in names), that of dockerd (pflag with short names; lists don't split on commas) and that of etcd
and containerd (Go's own flag package, where ``-name`` equals ``--name``).

A bare ``--other`` in front of a flag is taken for a boolean, since the other flags of a program aren't known here.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_UP, Decimal

from auditor.model import Problem, Reason

#: What Go's strconv.ParseBool accepts, and nothing else.
TRUE_WORDS = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE_WORDS = frozenset({"0", "f", "F", "FALSE", "false", "False"})

#: Seconds of Go's units of time.
_SECONDS = {"ns": Decimal("1e-9"), "us": Decimal("1e-6"), "µs": Decimal("1e-6"), "μs": Decimal("1e-6"), "ms": Decimal("1e-3"),
            "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}  # fmt: skip
_INTEGER = re.compile(r"[+-]?(0[xX][0-9a-fA-F_]+|0[oO]?[0-7_]+|0[bB][01_]+|0|[1-9][0-9_]*)")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a program reads its command line.

    ``short`` maps one-letter flags to long names, ``short_booleans`` are the letters that take no value. ``same_dashes``: ``_``
    equals ``-`` in names. ``single_dash``: ``-name`` is a long flag (then there are no short ones). ``commas``: one occurrence
    of a list flag may hold several values.
    """

    short: Mapping[str, str] = field(default_factory=dict)
    short_booleans: frozenset[str] = frozenset()
    same_dashes: bool = False
    single_dash: bool = False
    commas: bool = True


KUBERNETES = Dialect({"v": "v", "h": "help"}, frozenset("h"), same_dashes=True)
DOCKERD = Dialect(
    {"b": "bridge", "D": "debug", "G": "group", "g": "graph", "H": "host", "h": "help", "l": "log-level", "p": "pidfile",
     "s": "storage-driver", "v": "version"},
    frozenset("Dhv"), commas=False,
)  # fmt: skip
GO = Dialect(single_dash=True)


def dialect_of(program: str) -> Dialect:
    """Return how a program of `auditor.facts.host.PROGRAMS` reads its command line."""
    if program == "dockerd":
        return DOCKERD
    return GO if program in ("etcd", "containerd", "k3s", "rke2") else KUBERNETES


def occurrences(args: Sequence[str], flag: str, dialect: Dialect, *, boolean: bool = False) -> list[str] | Problem:
    """Return the raw values of every occurrence of a flag, in order; a bare boolean is ``"true"``.

    A `Problem` says that the flag is the last word of the line and lacks its value.
    """
    wanted = _plain(flag, dialect)
    found: list[str] = []
    words = iter(args)
    for word in words:
        if word == "--":
            break  # only positional arguments follow
        for name, value, waits in _flags(word, dialect):
            if name != wanted:
                if waits:
                    next(words, None)
                continue
            read = value if value is not None else "true" if boolean else next(words, None)
            if read is None:
                return Problem(Reason.UNPARSABLE, f"{flag} is given without a value")
            found.append(read)
    return found


def _plain(flag: str, dialect: Dialect) -> str:
    name = flag.lstrip("-")
    return name.replace("_", "-") if dialect.same_dashes else name


def _flags(word: str, dialect: Dialect) -> Iterator[tuple[str, str | None, bool]]:
    """Yield the flags in one word as (name, value, whether the next word is known to be its value).

    The value is None where it is not in this word: of a long flag we can't tell whether it takes one.
    """
    if word.startswith("--") or (dialect.single_dash and word.startswith("-") and len(word) > 1):
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        yield _plain(name, dialect), value if equals else None, False
    elif word.startswith("-"):
        yield from _short_flags(word[1:], dialect)


def _short_flags(letters: str, dialect: Dialect) -> Iterator[tuple[str, str | None, bool]]:
    """Yield the flags of ``-DHunix://x``: letters of booleans, then at most one that takes the rest as its value (pflag)."""
    while letters:
        name = dialect.short.get(letters[0], letters[0])
        if len(letters) > 2 and letters[1] == "=":
            yield name, letters[2:], False
            return
        if letters[0] not in dialect.short_booleans:
            yield name, letters[1:] or None, letters in dialect.short
            return
        yield name, None, False
        letters = letters[1:]


def boolean_of(word: str) -> bool | Problem:
    """Return the boolean that Go reads in a word."""
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    return Problem(Reason.UNPARSABLE, f"{word[:60]!r} is neither true nor false")


def integer_of(word: str) -> int | Problem:
    """Return the whole number that Go reads in a word (base by prefix: ``0x``, ``0o`` or ``0``, ``0b``)."""
    if len(word) > 40 or not _INTEGER.fullmatch(word):
        return Problem(Reason.UNPARSABLE, f"{word[:60]!r} is not a whole number")
    try:
        legacy_octal = re.fullmatch(r"[+-]?0[0-7_]+", word)
        return int(word, 8 if legacy_octal else 0)
    except ValueError:
        return Problem(Reason.UNPARSABLE, f"{word[:60]!r} is not a whole number")


def duration_of(word: str) -> int | Problem:
    """Return the whole seconds of a duration as Go reads it (``1h30m``, ``1.5s``, ``0``), parts of a second rounded away from 0."""
    text = word.strip()
    match = re.fullmatch(r"([+-]?)((?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+|0)", text)
    if len(word) > 60 or not match:
        return Problem(Reason.UNPARSABLE, f"{word[:60]!r} is not a duration")
    parts = re.findall(r"([0-9.]+)(ns|us|µs|μs|ms|s|m|h)", match[2])
    seconds = sum(Decimal(number.rstrip(".") or "0") * _SECONDS[unit] for number, unit in parts)
    whole = int(seconds.to_integral_value(ROUND_UP)) if isinstance(seconds, Decimal) else 0
    return -whole if match[1] == "-" else whole


def items_of(word: str) -> list[str] | Problem:
    """Return the values that pflag reads in one occurrence of a list flag: a line of CSV; an empty word holds none."""
    if not word:
        return []
    try:
        rows = list(csv.reader([word], strict=True))
    except csv.Error:
        return Problem(Reason.UNPARSABLE, f"{word[:60]!r} is not a list of values")
    return rows[0] if len(rows) == 1 else Problem(Reason.UNPARSABLE, f"{word[:60]!r} is not a list of values")


def boolean(args: Sequence[str], flag: str, dialect: Dialect) -> bool | Problem | None:
    """Return a boolean flag's value (the last occurrence wins), None when it isn't given."""
    found = occurrences(args, flag, dialect, boolean=True)
    if isinstance(found, Problem):
        return found
    read = [boolean_of(word) for word in found]
    bad = next((r for r in read if isinstance(r, Problem)), None)
    return bad or (read[-1] if read else None)


def integer(args: Sequence[str], flag: str, dialect: Dialect) -> int | Problem | None:
    """Return a number flag's value (the last occurrence wins), None when it isn't given."""
    found = text(args, flag, dialect)
    return integer_of(found) if isinstance(found, str) else found


def duration(args: Sequence[str], flag: str, dialect: Dialect) -> int | Problem | None:
    """Return a duration flag's value in seconds (the last occurrence wins), None when it isn't given."""
    found = text(args, flag, dialect)
    return duration_of(found) if isinstance(found, str) else found


def text(args: Sequence[str], flag: str, dialect: Dialect) -> str | Problem | None:
    """Return a text flag's value (the last occurrence wins; it may be empty), None when it isn't given."""
    found = occurrences(args, flag, dialect)
    if isinstance(found, Problem):
        return found
    return found[-1] if found else None


def listing(args: Sequence[str], flag: str, dialect: Dialect) -> list[str] | Problem | None:
    """Return all values of a list flag in order, None when it isn't given."""
    found = occurrences(args, flag, dialect)
    if isinstance(found, Problem) or not found:
        return found if isinstance(found, Problem) else None
    if not dialect.commas:
        return found
    values: list[str] = []
    for word in found:
        items = items_of(word)
        if isinstance(items, Problem):
            return items
        values.extend(items)
    return values


def mapping(args: Sequence[str], flag: str, dialect: Dialect) -> dict[str, str] | Problem | None:
    """Return a ``key=value,...`` flag (feature gates) merged per key, None when it isn't given; a later value wins."""
    found = occurrences(args, flag, dialect)
    if isinstance(found, Problem) or not found:
        return found if isinstance(found, Problem) else None
    values: dict[str, str] = {}
    for part in ",".join(found).split(","):
        key, equals, value = part.partition("=")
        if part.strip() and not equals:
            return Problem(Reason.UNPARSABLE, f"{part[:60]!r} is not of the form key=value")
        if equals:
            values[key.strip()] = value.strip()
    return values
