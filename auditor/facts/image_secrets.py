"""Where an image's configuration and build steps hold what looks like a secret: its name and kind, never its value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from auditor.facts.redact import is_secret_name

#: {"name": of the variable, argument, label or flag, "kind": what it is}
Hit: TypeAlias = dict[str, str]

#: Shapes that are secrets wherever they stand.
_SHAPES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY")),
    ("AWS access key", re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")),
    ("GitHub token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})")),
    ("GitLab token", re.compile(r"\bglpat-[A-Za-z0-9_-]{16,}")),
    ("Slack token", re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}")),
    ("npm token", re.compile(r"\bnpm_[A-Za-z0-9]{30,}")),
    ("Google API key", re.compile(r"\bAIza[A-Za-z0-9_-]{30,}")),
    ("Stripe key", re.compile(r"\b[rs]k_live_[A-Za-z0-9]{16,}")),
    ("JWT", re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}")),
    ("credentials in a URL", re.compile(r"(?i)\b[a-z][a-z0-9+.-]{1,20}://[^\s/?#@:\"'$]{1,100}:[^\s/?#@\"'$\[]{1,200}@")),
    ("authorization header", re.compile(r"(?i)\bauthorization:\s*(?:bearer|basic|token)\s+[A-Za-z0-9+/._~-]{8,}")),
)
_NAME = re.compile(r"[A-Za-z_][\w.-]{0,99}")
_VALUE = r"""("[^"]*"|'[^']*'|[^\s;&|)]+)"""
_PAIR = re.compile(rf"(?<![\w.$-])([A-Za-z_][\w.-]{{0,99}})={_VALUE}")
_FLAG = re.compile(rf"(?<![\w.$-])(--?[A-Za-z_][\w.-]{{0,99}})(?:=|[ \t]+(?!-)){_VALUE}")
_CURL_USER = re.compile(r"""\bcurl\s[^;&|\n]{0,300}?(?:-u|--user)[ =]*["']?[^\s:"'$]+:[^\s"'$]+""")
#: Values that are not the secret itself: references, files, switches, masks.
_REFERENCE = re.compile(
    r"\$|`|%|<[^>]*>$|\{\{|[*x]+$|/(?:run|var|etc|mnt|tmp|secrets?|vault|home|root|opt|usr|app|srv|dev|proc)(?:/|$)"
)
_NO_SECRETS = frozenset(
    {"", "true", "false", "yes", "no", "on", "off", "0", "1", "none", "null", "nil", "disabled", "enabled", "auto"}
)


def shapes(text: str) -> Iterator[str]:
    """Return the kinds of secrets that a text holds by their shape."""
    return (kind for kind, pattern in _SHAPES if pattern.search(text))


def of_variable(name: str, value: str, where: str) -> list[Hit]:
    """Return the hits of one named value; ``where`` is what it is: variable, build argument, label."""
    shown = name if _NAME.fullmatch(name) else "?"
    found = [{"name": shown, "kind": f"{where}: {kind}"} for kind in shapes(value)]
    if not found and is_secret_name(name) and not _harmless(value):
        found = [{"name": shown, "kind": f"{where} named like a secret"}]
    return found


def of_pairs(text: str, where: str) -> list[Hit]:
    """Return the hits of ``NAME=value`` pairs with blanks between them, as ENV, ARG and LABEL steps have them."""
    starts = list(re.finditer(r"(?:(?<=\s)|^)\"?([A-Za-z_][\w.-]{0,99})\"?=", text))
    found: list[Hit] = []
    for i, match in enumerate(starts):
        end = starts[i + 1].start() if i + 1 < len(starts) else len(text)
        found += of_variable(match[1], text[match.end() : end].strip(), where)
    if not starts:  # ENV NAME value
        name, _, value = text.strip().partition(" ")
        found += of_variable(name, value.strip(), where)
    return found


def of_command(text: str) -> list[Hit]:
    """Return the hits of a command line or a shell text: ``NAME=value``, ``--name value``, and shapes."""
    found = [{"name": kind, "kind": "command"} for kind in shapes(text)]
    for match in (*_FLAG.finditer(text), *_PAIR.finditer(text)):
        name, value = match.groups()
        if is_secret_name(name.lstrip("-")) and not _harmless(value) and len(value.strip("\"'")) >= 4:
            found.append({"name": name, "kind": "command: named like a secret"})
    if _CURL_USER.search(text):
        found.append({"name": "curl --user", "kind": "command"})
    return found


def of_config(config: Mapping[str, Any]) -> list[Hit]:
    """Return the hits of an image's configuration: its environment, labels and commands."""
    found: list[Hit] = []
    for entry in _texts(config.get("Env")):
        name, _, value = entry.partition("=")
        found += of_variable(name, value, "variable")
    labels = config.get("Labels")
    for name, value in labels.items() if isinstance(labels, dict) else ():
        found += of_variable(str(name), str(value), "label")
    for key in ("Entrypoint", "Cmd"):
        found += of_command(" ".join(_texts(config.get(key))))
    test = config.get("Healthcheck")
    found += of_command(" ".join(_texts(test.get("Test")))) if isinstance(test, dict) else []
    return unique(found)


def unique(hits: list[Hit]) -> list[Hit]:
    """Return hits without repetitions, in order, at most 50."""
    return [dict(pair) for pair in dict.fromkeys(tuple(sorted(h.items())) for h in hits)][:50]


def _texts(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [value] if isinstance(value, str) else []


def _harmless(value: str) -> bool:
    plain = value.strip().strip("\"'").strip()
    return plain.lower() in _NO_SECRETS or bool(_REFERENCE.match(plain))
