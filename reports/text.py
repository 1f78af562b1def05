"""Text from targets, made harmless and finite. Evidence is hostile input: nothing reaches a page but through here."""

from __future__ import annotations

import re

#: Where the whole of a cut text is.
WHOLE = "results.json (--format json)"

#: Longest text of one field, in characters, that a page shows.
LONGEST = 4000

# Control characters (not tab and newline), soft hyphens, everything that turns the direction of writing or has no width, line
# separators, tags, private use at the end of planes, and halves of surrogate pairs.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U000e0000-\U000e0fff]"
)
_STACKED = re.compile(
    "([\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{4})[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+"
)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def visible(text: str) -> str:
    r"""Return a text in which nothing is hidden: characters that steer a display, not show on it, become ``\x1b`` or ``\u202e``.

    The result can be encoded as UTF-8, holds no control character but tab and newline, and at most four marks stacked on a letter.
    """
    if text.isascii() and text.isprintable():
        return text
    return _STACKED.sub(r"\1…", _HIDDEN.sub(_escape, text))


def cut_note(length: int, limit: int = LONGEST) -> str:
    """Return the line that says what a text of this many characters lost and where the whole of it is; empty for nothing."""
    return "" if length <= limit else f"[cut here: {limit:,} of {length:,} characters are shown; all of them are in {WHOLE}]"


def percent(value: float | None) -> str:
    """Return a percentage with one decimal, never rounded up to 100; "none" where there is nothing to score."""
    if value is None:
        return "none"
    shown = min(round(value, 1), 99.9) if value < 100 else 100
    return f"{shown:.1f} %"


def number(value: int) -> str:
    """Return a whole number with separators for thousands."""
    return f"{value:,}"


def plural(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun: ``1 target``, ``2 targets``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
