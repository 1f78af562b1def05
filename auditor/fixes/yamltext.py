"""Values as YAML of one line, read the same by every version of YAML: what ``yaml_edit`` writes into files of others."""

from __future__ import annotations

import re
from typing import Any

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_SHOWN = re.compile(r"[ -~]*")
#: Words that some version of YAML takes for a boolean or for nothing.
_TRAPS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def one_line(value: Any) -> str:
    """Return a boolean, a whole number, a text or a list of these as YAML; raises ValueError for anything else.

    Text beyond ASCII is refused too: files that hold such are not changed.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(one_line(v) for v in value)}]"
    if not isinstance(value, str) or not _SHOWN.fullmatch(value):
        raise ValueError(f"{value!r} can't be written into a line of YAML")
    if _PLAIN.fullmatch(value) and value.lower() not in _TRAPS:
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
