"""Take secrets out of what was collected, before anything else sees it.

Redaction goes by names (a flag, a key or a variable that says it is a secret) and by shapes that are secrets wherever they
stand (credentials in a URL, bearer tokens, private keys). When in doubt it redacts: a control that needs a value says so by
failing closed, while a secret in a report can't be called back. Booleans always stay, and so do names of files.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

REDACTED = "[redacted]"

_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z0-9]+")
#: A word of a name that ends like this makes the name a secret's.
_SECRET_ENDINGS = (
    "token", "tokens", "password", "passwords", "passwd", "passphrase", "secret", "secrets", "credential", "credentials", "apikey",
    "accesskey", "secretkey", "privatekey", "authkey", "bearer", "dockerconfigjson",
)  # fmt: skip
_SECRET_WORDS = frozenset({"pass", "pwd", "pw", "psk", "cookie", "pin", "dsn"})
#: ``key`` is a secret only after one of these; alone it mostly names a file.
_KEY_OF = frozenset({"access", "account", "api", "auth", "encryption", "join", "license", "master", "secret", "shared", "signing"})
#: A name that ends in one of these speaks about a secret without being one.
_ABOUT = frozenset({
    "algorithm", "audience", "audiences", "auth", "config", "controller", "count", "dir", "directory", "enabled", "expiration",
    "expiry", "file", "files", "issuer", "lifetime", "limit", "lookup", "mode", "name", "namespace", "path", "period", "policy",
    "provider", "ref", "rotation", "size", "syncs", "timeout", "ttl", "type", "version", "webhook",
})  # fmt: skip
#: In every spelling that Go's programs take, in lower case; none of them is a secret.
_BOOLEANS = frozenset({"true", "false", "t", "f", "1", "0"})

# Every pattern here begins where a run of its characters begins and gives nothing back ("++"), so that its time grows with the
# length of a text and not with the square of it: a host chooses the texts.
_USERINFO = re.compile(r"(?i)(?<![a-z0-9+.-])([a-z0-9+.-]++)://([^\s/?#@]*+(?:@[^\s/?#@]*+)*)@")
_SHAPES = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"\b[a-z0-9]{6}\.(?=[a-z]*[0-9])[a-z0-9]{16}\b"),  # a bootstrap token of Kubernetes
    re.compile(r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abpr]-|AKIA|ASIA)[A-Za-z0-9_-]{12,}"),
    re.compile(r"(?i)(?<=bearer )\S{6,}|(?<=basic )[A-Za-z0-9+/]{8,}={0,2}"),
)
_DOTTED = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]++(?:\.[A-Za-z0-9_-]*+)++")
_JWT = re.compile(r"\beyJ(?=[A-Za-z0-9_-]{5})")
# A name and what is between it and its value: ``name=``, ``"name": ``, also in a text in a text (``\"name\":``), or ``--name ``.
_NAME = re.compile(r"""(?<![\w.-])(?:([\w.-]++)(\\?["']?\s{0,3}+[=:]\s{0,3}+)|(--[\w.-]++)\s++(?!-))""")
# A value is made of quoted and other parts, as in a shell's word; what is quoted may be cut off. In a list it ends where another
# name or a quoted word begins behind a comma.
_VALUE, _LISTED = (
    re.compile(rf"""\\"[^"]*+"?|(?:"(?:[^"\\]++|\\.?)*+"?|'[^']*+'?|[^\s,;&"']++|{comma})++""", re.DOTALL)
    for comma in (r",(?!\s|\Z)", r""",(?![\w.-]*+\s*+[=:]|[\s"'\\{\[]|\Z)""")
)
# A word of a list that is one pair: no shell cuts it.
_PAIR = re.compile(r"([\w.-]++)\s*+[=:]\s*+(?=.)(?!//)")
# The header of a request says first what sort of credentials follows.
_CREDENTIALS = re.compile(r"""[A-Za-z][\w-]*+[ ]++[^\s;&"']++""")


def identity(number: str) -> str:
    """Return what stands for a machine's own number, such as its machine-id, which isn't to be shown to everybody."""
    return hashlib.sha256(number.strip().lower().encode()).hexdigest()[:16]


def is_secret_name(name: str) -> bool:
    """Return whether a flag, key or variable of this name (any spelling: kebab, snake, camel) holds a secret itself."""
    return _is_secret_again(name) if len(name) <= 64 else _is_secret(name)


def _is_secret(name: str) -> bool:
    words = [w.lower() for w in _WORDS.findall(name)]
    if words in (["auth"], ["authorization"]) or words[-2:] == ["key", "data"]:
        return True  # docker's config.json; a request's header; a kubeconfig
    if not words or words[-1] in _ABOUT:
        return False
    pairs = zip(["", *words], words, strict=False)
    return any(w.endswith(_SECRET_ENDINGS) or w in _SECRET_WORDS or (w == "key" and before in _KEY_OF) for before, w in pairs)


_is_secret_again = lru_cache(maxsize=4096)(_is_secret)  # the same few hundred names come from every host


def redact_url(text: str) -> str:
    """Return a text with the user information of every URL in it taken out; ``ssh://user@`` keeps its user."""

    def replace(match: re.Match[str]) -> str:
        scheme, user = match[1], match[2]
        if scheme.lower() == "ssh" and ":" not in user:
            return match[0]
        return f"{scheme}://{REDACTED}@"

    return _USERINFO.sub(replace, text) if "@" in text else text


def _without_tokens(match: re.Match[str]) -> str:
    """Return words with dots between them without JSON web tokens: two or three words of which the first begins with ``eyJ``."""
    words = match[0].split(".")
    kept: list[str] = []
    at = 0
    while at < len(words):
        token = _JWT.search(words[at])
        if token and at + 1 < len(words) and len(words[at + 1]) >= 5:
            kept.append(words[at][: token.start()] + REDACTED)
            at += 3
        else:
            kept.append(words[at])
            at += 1
    return ".".join(kept)


def redact_text(text: str) -> str:
    """Return free text without URL credentials, ``name=value`` pairs of secret names, and what has a secret's shape."""
    text = redact_url(text)
    if "eyJ" in text:
        text = _DOTTED.sub(_without_tokens, text)
    for shape in _SHAPES:
        text = shape.sub(REDACTED, text)

    return _without_pairs(text)


def _without_pairs(text: str) -> str:
    """Return a text without the values of secret names; a value that isn't secret may hold another pair (``url=x?token=y``)."""
    kept: list[str] = []
    done = at = 0
    while match := _NAME.search(text, at):
        at = match.end()
        name, between = match[1] or match[3], match[2] or ""
        if not is_secret_name(name.lstrip("0123456789.-")):
            continue
        value = (_CREDENTIALS.match(text, at) if name.lower().endswith("authorization") else None) or _value(match).match(text, at)
        if value is None or value[0].lower() in _BOOLEANS or (":" in between and value[0].startswith("//")):  # a URL's scheme
            continue
        kept += [text[done:at], REDACTED]
        done = at = value.end()
    return "".join(kept) + text[done:]


def _value(name: re.Match[str]) -> re.Pattern[str]:
    """Return how the value behind a name ends: one that begins a word has all of it, one in a list or in JSON has its part."""
    before = name.string[name.start() - 1 : name.start()] if name.start() else ""
    quoted = (name[2] or "").lstrip("\\").startswith(('"', "'"))
    return _LISTED if quoted or not (before.isspace() or before in ("", '"', "'")) else _VALUE


def redact_args(args: list[str]) -> list[str]:
    """Return a command line's arguments with the values of secret flags taken out, as in ``--token=x`` and ``--token x``.

    The list keeps its length. A bare ``-t`` counts as a token's flag (it is k3s's). A secret flag without ``=`` takes the
    next argument, unless that starts with ``--``. An argument ``NAME=value`` is one value to its end, but what a shell is given
    to run (behind ``-c``) has words of its own.
    """
    found: list[str] = []
    takes_next = script = False
    for arg in args:
        name, equals, value = arg.partition("=")
        flag = name.startswith("-")
        if takes_next and not arg.startswith("--"):
            takes_next = False
            found.append(arg if arg.lower() in _BOOLEANS else REDACTED)
            continue
        takes_next = False
        if flag and equals and is_secret_name(name.lstrip("-")):
            found.append(arg if value.lower() in _BOOLEANS else f"{name}={REDACTED}")
        elif flag and equals:
            found.append(f"{name}={_redact_word(value)}")
        else:
            takes_next = flag and (name == "-t" or is_secret_name(name.lstrip("-")))
            found.append(redact_text(arg) if script else _redact_word(arg))
        script = flag and arg.endswith("c") and not arg.startswith("--")
    return found


def _redact_word(word: str) -> str:
    """Return a word without its secrets, where it is no text but perhaps a name with its value."""
    pair = _PAIR.match(word)
    if pair is None or not is_secret_name(pair[1]):
        return redact_text(word)
    return word if word[pair.end() :].lower() in _BOOLEANS else pair[0] + REDACTED


def redact_data(data: Any) -> Any:
    """Return a parsed configuration document with the values of secret keys taken out, at any depth.

    Below a secret key a mapping is walked on by its own keys; text, numbers and lists of them are taken out. A mapping may also
    say a name and its value (``{"name": "TOKEN", "value": x}``), and a list be a command line. Other text goes through
    `redact_text`. A mapping's own keys stay.
    """
    if isinstance(data, Mapping):
        named = any(isinstance(data.get(key), str) and is_secret_name(data[key]) for key in ("name", "key"))
        return {key: _hide(value) if named and key == "value" else _below(str(key), value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        if all(isinstance(item, str) for item in data):
            return redact_args(list(data))
        return [redact_data(item) for item in data]
    return _redact_word(data) if isinstance(data, str) else data


def _below(key: str, value: Any) -> Any:
    if not is_secret_name(key):
        # headers of a request: {"Authorization": [...]} is caught by its own key, other headers may carry anything
        if "header" in key.lower() and isinstance(value, Mapping):
            return {name: _hide(inner) for name, inner in value.items()}
        return redact_data(value)
    return _hide(value)


def _hide(value: Any) -> Any:
    if isinstance(value, Mapping):
        return redact_data(value)
    if isinstance(value, list | tuple):
        return [_hide(item) for item in value]
    if value is None or isinstance(value, bool) or (isinstance(value, str) and (value == "" or value.lower() in _BOOLEANS)):
        return value
    return REDACTED
