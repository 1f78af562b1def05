r"""Facts about images beyond what an engine's inspect says: how they were built, what their layers hold, content trust.

The value of an `Images` fact is a list with one entry an engine, as that of an `auditor.facts.docker.Engine` fact. ``data`` is

* ``history``: a list with one entry an image that the engine lists::

      {"Id": "sha256:...", "steps": [{"instruction": "RUN", "created": 1700000000, "size": 4096, "comment": "import", ...}, ...]}

  oldest step first; see `reduce_history`. A step's text is never kept: it may hold anything.
* ``layers-used``, ``layers-all``: what the layer folders of the images that containers use, or of all images, hold::

      {"folders": {"/var/lib/docker/overlay2/ID/diff": {
          "setuid": [{"path": "/bin/su", "mode": "4755"}, ...],
          "hides": ["/bin/mount", ...],           # of setuid files and databases, those whose place it takes or that it removes
          "secrets": [{"path": "/root/.ssh/id_rsa", "kind": "private key"}],
          "databases": {"dpkg": ["bash", ...], "apk": [...], "dpkg.d": [...], "rpm": null},    # null: its packages are not read
          "odd": true}},                          # it holds setuid files or databases whose names can't be told apart
       "problems": [{"path": "...", "problem": {...}}]}

An element of a list that could not be read is ``{"Id": ..., "problem": {...}}``.

The value of `ContentTrust` is ``{"client": "28.2.2", "places": [{"path", "line", "form", "value"}, ...], "denied": [path]}``, the
client's version null where there is none: every line of the places that set up a login that names DOCKER_CONTENT_TRUST; ``form`` is
export, assign, exported, unset or other, ``value`` is 1, 0 or other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from auditor.facts import build_commands, image_secrets
from auditor.facts.projection import shallow

Part = Literal["history", "layers-used", "layers-all"]
PARTS: tuple[Part, ...] = ("history", "layers-used", "layers-all")


@dataclass(frozen=True, slots=True)
class Images:
    """Ask every Docker engine of the target for more about its images."""

    part: Part

    @property
    def key(self) -> str:
        """``images:history`` and so on."""
        return f"images:{self.part}"


KEYS = tuple(Images(part).key for part in PARTS)


@dataclass(frozen=True, slots=True)
class ContentTrust:
    """Ask where logins are told to use the docker client's content trust, and for that client's version."""

    @property
    def key(self) -> str:
        """There is only one."""
        return "content-trust"


#: Characters of one step's text that are looked at.
STEP_LIMIT = 64 * 1024
#: Steps of one image that are looked at.
STEPS_LIMIT = 1000

_INSTRUCTIONS = ("RUN", "ADD", "COPY", "ENV", "ARG", "LABEL", "CMD", "ENTRYPOINT", "EXPOSE", "USER", "WORKDIR", "VOLUME",
                 "STOPSIGNAL", "HEALTHCHECK", "ONBUILD", "SHELL", "MAINTAINER", "FROM")  # fmt: skip
_NOP = re.compile(r"(?:/|cmd|powershell|pwsh)[^#\n]{0,200}#\(nop\) +([A-Z]+)\b(.*)", re.DOTALL)
_PLAIN = re.compile(rf"({'|'.join(_INSTRUCTIONS)})(?:\s+(.*)|$)", re.DOTALL)
_SHELL = r"(?:[^\s;&|'\"]*/)?(?:[a-z]{0,4}sh|cmd|powershell)(?:\.exe)?(?: [^\s;&|'\"]+){0,9}? [-/](?:\w*[cC]|Command)(?=\s|$)"
_SHELL_TEXT = re.compile(_SHELL)
#: A shell that something else starts, such as ``conda run -n x /bin/bash -c``.
_STARTED_SHELL = re.compile(rf"(?:[^\s;&|'\"]+ ){{1,9}}?{_SHELL}")
_AFTER_ARGUMENTS = re.compile(rf"(?:^|\s)(?={_SHELL})")
_BUILD_ARGS = re.compile(r"\|(\d+) (.*)", re.DOTALL)
_ARCHIVE = re.compile(r"\.(?:tar|tgz|tbz2?|txz|tzst|tar\.\w+)$|\.(?:gz|xz|bz2|zst)$|\*")


class _Entry(msgspec.Struct):
    """One entry of GET /images/{id}/history, or of docker history with --format json."""

    text: str | None = msgspec.field(name="CreatedBy", default="")
    created: int | None = msgspec.field(name="Created", default=0)
    size: int | str | None = msgspec.field(name="Size", default=0)
    comment: str | None = msgspec.field(name="Comment", default="")


_HISTORY = shallow(msgspec.json.Decoder(list[_Entry]).decode)
_LINE = shallow(msgspec.json.Decoder(_Entry).decode)


def reduce_history(raw: bytes, numbers: dict[str, int] | None = None) -> list[dict[str, Any]]:
    """Return the steps of an image, oldest first, from GET /images/{id}/history (or the lines of ``docker history``'s JSON).

    A step has ``instruction`` (RUN, ADD, ...; empty when nothing is told of it), ``created`` (seconds), ``size`` (bytes), ``text``
    (a number: steps of one engine have the same one if their texts are the same; ``numbers`` is what was given out so far) and,
    where there is something to say: ``comment`` (import, merge), ``refresh`` and ``install`` (package managers), ``unverified``
    (checks left out), ``downloads``, ``script``, ``sources`` and ``root`` (of ADD), ``secrets``, ``cut``.
    Raises ValueError when it is no history.
    """
    stripped = raw.strip()
    if stripped.startswith(b"["):  # noqa: SIM108 - too much for one line
        entries = _HISTORY(stripped)
    else:
        entries = [_LINE(line) for line in stripped.splitlines() if line.strip()]
    given = {} if numbers is None else numbers
    # No digest of the text: a secret that is easy to guess could be found by it.
    steps = [{**_step(e), "text": given.setdefault(e.text or "", len(given))} for e in reversed(entries[:STEPS_LIMIT])]
    if len(entries) > STEPS_LIMIT:
        steps.insert(0, {"instruction": "", "created": 0, "size": 0, "cut": True})
    return steps


def _step(entry: _Entry) -> dict[str, Any]:
    whole = (entry.text or "").strip()
    text = whole[:STEP_LIMIT].removesuffix("# buildkit").strip()
    comment = entry.comment or ""
    step: dict[str, Any] = {"instruction": "", "created": entry.created or 0, "size": _bytes(entry.size)}
    if comment.startswith(("Imported from", "merge ")):
        step["comment"] = "import" if comment.startswith("Imported") else "merge"
    if len(whole) > STEP_LIMIT:
        step["cut"] = True
    if not text:
        return step
    if match := _NOP.match(text) or _PLAIN.match(text):
        step["instruction"], text = match[1], (match[2] or "").strip()
    else:
        step["instruction"] = "RUN"  # the older builder gives the command as it is
    _DETAILS.get(step["instruction"], _other)(step, text)
    return step


def _bytes(size: int | str | None) -> int:
    """The docker client writes sizes for people (1.2MB); only whether there is one counts then."""
    if isinstance(size, int):
        return size
    number = re.match(r"[0-9.]+", size or "")
    return 0 if number is None or not float(number[0].strip(".") or 0) else 1


def _run(step: dict[str, Any], text: str) -> None:
    arguments, command = _without_arguments(text)
    while match := re.match(r"--[a-z]+=\S+\s+", command):
        command = command[match.end() :]
    if shell := _SHELL_TEXT.match(command):
        command = command[shell.end() :]
    seen = build_commands.look(command)
    if not shell and (shell := _STARTED_SHELL.match(command)):
        seen |= build_commands.look(command[shell.end() :])
    for name in ("refresh", "install", "unverified"):
        if families := getattr(seen, name):
            step[name] = sorted(families)
    for name in ("downloads", "script"):
        if getattr(seen, name):
            step[name] = True
    hits = (image_secrets.of_pairs(arguments, "build argument") if arguments else []) + image_secrets.of_command(command)
    if hits:
        step["secrets"] = image_secrets.unique(hits)


def _without_arguments(text: str) -> tuple[str, str]:
    """Cut ``|2 A=1 B=some text /bin/sh -c ...`` into its build arguments and its command."""
    match = _BUILD_ARGS.match(text)
    if match is None:
        return "", text
    rest = match[2]
    start = _AFTER_ARGUMENTS.search(rest)
    return (rest[: start.start()], rest[start.end() :]) if start else (rest, rest)


def _add(step: dict[str, Any], text: str) -> None:
    """Tell where ADD takes from: ``file:HASH in /x`` (older builder; downloads lack the kind) or the file's words."""
    old = re.match(r"(?:(file|dir|multi):\S+|[0-9a-f]{64})\s+in\s+(.*)$", text, re.DOTALL)
    if old:
        step |= {"sources": ["local" if old[1] else "remote"], "root": old[2].strip() == "/", "named": False}
        return
    words = [w.strip("\"',[]") for w in text.split()]
    words = [w for w in words if w and not w.startswith("--")]
    kinds = {_source(w) for w in words[:-1]}
    step |= {"sources": sorted(kinds), "root": bool(words) and words[-1] == "/", "named": True}
    if hits := [{"name": "ADD", "kind": f"source: {kind}"} for kind in image_secrets.shapes(text)]:
        step["secrets"] = hits


def _source(word: str) -> str:
    if re.match(r"(?i)(?:https?|ftp)://", word):
        return "git" if re.search(r"\.git(?:[#?]|$)", word) else "remote"
    if re.match(r"(?:git|ssh)://|[\w.-]+@[\w.-]+:", word):
        return "git"
    return "archive" if _ARCHIVE.search(word) else "local"


def _pairs(where: str) -> Any:
    def details(step: dict[str, Any], text: str) -> None:
        if hits := image_secrets.unique(image_secrets.of_pairs(text, where)):
            step["secrets"] = hits

    return details


def _other(step: dict[str, Any], text: str) -> None:
    if hits := image_secrets.unique(image_secrets.of_command(text)):
        step["secrets"] = hits


_DETAILS: dict[str, Any] = {
    "RUN": _run,
    "ADD": _add,
    "ENV": _pairs("variable"),
    "ARG": _pairs("build argument"),
    "LABEL": _pairs("label"),
}
