"""Values in the configuration files of one running program: which file decides, and whether it is what runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from auditor.facts import flags
from auditor.facts.host import Config
from auditor.model import Facts, Problem, Reason, problem_of
from checks import base
from checks.running import Instance

Kind = Literal["bool", "int", "duration", "text", "list", "map"]

#: A program reads its files while it starts, and clocks of file systems are coarse: seconds by which a file may be newer.
STARTING_SECONDS = 2

_KIND_WORDS = {
    "bool": "true or false",
    "int": "a whole number",
    "duration": "a duration",
    "text": "text",
    "list": "a list",
    "map": "a mapping",
}


class _Missing:
    """Stands for a key that isn't there: null is something else."""


MISSING = _Missing()


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration file of a program: its parsed content or why there is none, and when it was written (UNIX seconds).

    A ``whole`` one is what the program itself says is in force: what isn't in it is false, 0 or empty, whatever the defaults are.
    """

    path: str
    data: Any
    mtime: int
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Documents:
    """The files of one instance in the order in which they are read: later ones override earlier ones."""

    files: tuple[Document, ...]
    instance: Instance

    def changed(self) -> str:
        """Return the path of a file that was written after the program started, else the empty string.

        What such a program runs with is not known: its files may say something else than when it read them.
        """
        late = self.instance.started + STARTING_SECONDS
        return next((d.path for d in self.files if not isinstance(d.data, Problem) and d.mtime > late), "")

    @property
    def whole(self) -> bool:
        """Whether they are all that is in force, flags and defaults included."""
        return any(d.whole for d in self.files)

    def paths(self) -> str:
        """Return the files' names, for a report."""
        return base.show([d.path for d in self.files]) if self.files else "any file"

    def find(self, key: str, kind: Kind) -> tuple[Any, str] | Problem | None:
        """Return the deciding value of a dotted key and its source, None when no file sets it.

        A mapping is merged over all files. A file that can't be read is a problem unless a later one decides. So is null: dockerd
        takes it for false, 0 or nothing whatever the default is, and in a drop-in of the kubelet it removes what is set before.
        """
        merged: dict[str, Any] = {}
        sources: list[str] = []
        for document in reversed(self.files):
            value = look_up(document, key)
            if value is None:
                return Problem(Reason.UNPARSABLE, f"{key} is null in {document.path}, which programs don't read as unset")
            if isinstance(value, _Missing):
                continue
            read = value if isinstance(value, Problem) else shaped(value, kind, f"{key} in {document.path}")
            if isinstance(read, Problem):
                return read
            if kind != "map":
                return read, f"{key} in {document.path}"
            merged = {**read, **merged}
            sources.insert(0, document.path)
        return (merged, f"{key} in {base.show(sources)}") if sources else None


def documents(facts: Facts, config: Config, instance: Instance) -> Documents | Problem:
    """Return the files of one instance; a problem when they were not collected, or not this program's own."""
    who = (instance.name, str(instance.pid), instance.origin, *instance.args)
    return base.once(facts, ("documents", config.key, *who), lambda: _documents(facts, config, instance))


def _documents(facts: Facts, config: Config, instance: Instance) -> Documents | Problem:
    answer = facts.get(config)
    if isinstance(answer, Problem):
        return answer
    entry = next((e for e in answer if e["pid"] == instance.pid), None)
    if entry is None:
        return Problem(Reason.ABSENT, f"the configuration of {instance} was not collected")
    files = tuple(
        Document(
            d["path"], problem_of(d) if "problem" in d else d["data"], 0 if "problem" in d else d["mtime"], d.get("whole", False)
        )
        for d in entry["documents"]
    )
    named = flag_value(instance, config.flag)
    if isinstance(named, Problem):
        return named
    if not named and not files and instance.partial:
        return Problem(Reason.ABSENT, f"{config.flag} is not known to be unset: {instance.partial}")
    if named and not files:
        return Problem(Reason.ABSENT, f"{config.flag} names {base.show(named)}, which was not collected")
    if not named and instance.uid != 0 and instance.name == "dockerd" and all(d.path == config.path for d in files):
        return Problem(Reason.ABSENT, "a rootless engine reads daemon.json in its user's home, which was not collected")
    return Documents(files, instance)


def flag_value(instance: Instance, flag: str) -> str | Problem:
    """Return the value of a flag that names a file, empty when it isn't given."""
    found = flags.text(instance.args, flag, instance.dialect)
    return found if isinstance(found, Problem) else found or ""


def look_up(document: Document, key: str) -> Any:
    """Return what stands under a dotted key (``a.b``, ``a[].b`` for a list), `MISSING`, or a `Problem`; null is None."""
    if isinstance(document.data, Problem):
        return Problem(document.data.reason, f"{document.path}: {document.data.detail}")
    if document.data is None:
        return MISSING  # an empty file
    return _walk(document.data, key.split("."), f"{key} in {document.path}")


def _walk(value: Any, parts: list[str], where: str) -> Any:
    for index, part in enumerate(parts):
        if value is None:
            return None
        if not isinstance(value, dict):
            return Problem(Reason.UNPARSABLE, f"{where}: {'.'.join(parts[:index]) or 'the document'} is not a mapping")
        value = value.get(part.removesuffix("[]"), MISSING)
        if isinstance(value, _Missing):
            return MISSING
        if part.endswith("[]") and value is not None:
            if not isinstance(value, list):
                return Problem(Reason.UNPARSABLE, f"{where}: {part.removesuffix('[]')} is not a list")
            found = [_walk(v, parts[index + 1 :], where) for v in value]
            problem = next((v for v in found if isinstance(v, Problem)), None)
            return problem or [v for v in found if v is not None and not isinstance(v, _Missing)]
    return value


def shaped(value: Any, kind: Kind, where: str) -> Any | Problem:
    """Return a value of a file if it has the wanted shape; text that merely looks like it is a problem, not a guess."""
    if kind == "duration":
        read = flags.duration_of(value) if isinstance(value, str) else None
        return read if isinstance(read, int) else Problem(Reason.UNPARSABLE, f"{where} must be a duration, not {base.show(value)}")
    fits = {
        "bool": isinstance(value, bool),
        "int": isinstance(value, int) and not isinstance(value, bool),
        "text": isinstance(value, str),
        "list": isinstance(value, list) and all(isinstance(v, str | int | bool) for v in value),
        "map": isinstance(value, dict) and all(isinstance(v, str | int | float | bool) for v in value.values()),
    }
    if not fits[kind]:
        return Problem(Reason.UNPARSABLE, f"{where} must be {_KIND_WORDS[kind]}, not {base.show(value)}")
    return value
