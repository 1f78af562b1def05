"""What ``yaml_edit`` is told: changes of files of others. Values are YAML of one line, read the same by every version of YAML."""

from __future__ import annotations

import re
from typing import Any

from auditor.fixes.steps import REMOVED, Action, SetFlag, SetKey

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_SHOWN = re.compile(r"[ -~]*")
#: Words that some version of YAML takes for a boolean or for nothing.
_TRAPS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def change_of(action: Action) -> tuple[str, str, str] | None:
    """Return the three arguments by which ``yaml_edit`` does an action; None for an action that changes no YAML."""
    match action:
        case SetKey(format="yaml", key=key, value=value):
            return ("unset", ".".join(key), "") if value is REMOVED else ("set", ".".join(key), one_line(value))
        case SetFlag(program=program, flag=flag, value=value):
            return ("unflag", program, flag) if value is None else ("flag", program, f"{flag}={value}")
    return None


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
