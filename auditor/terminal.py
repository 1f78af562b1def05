"""Text from targets made safe for a terminal: control and bidirectional characters shown, not obeyed."""

from __future__ import annotations

import unicodedata


def clean(text: str, limit: int = 400) -> str:
    """Return one line of at most ``limit`` characters in which every control or format character is written out."""
    shown = []
    for character in text[: limit + 1]:
        category = unicodedata.category(character)
        if category in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
            shown.append(" " if character in "\n\t" else f"\\u{ord(character):04x}")
        else:
            shown.append(character)
    line = "".join(shown)
    return line if len(text) <= limit else line[: limit - 1] + "…"
