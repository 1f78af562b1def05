"""What a plan consists of: steps with every value filled in for one target, in an order that disturbs least.

An *action* is a change that can be looked at before it is made (check mode), is made once (idempotent) and of which every changed
file is backed up first. Paths and texts come from evidence, which strangers may have written: writers quote every one of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

_ABSOLUTE = re.compile(r"/[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,4000}")


def safe_path(path: str) -> bool:
    """Whether a path from evidence may stand in a step: absolute, in one line, and going nowhere else than it says."""
    return bool(_ABSOLUTE.fullmatch(path)) and not {".", ".."} & set(path.split("/"))


class Effect(IntEnum):
    """What takes a change up, from what nobody notices to what stops workloads. From RESTART on a step is off by default."""

    NONE = 0  # at once, nothing restarts
    RELOAD = 1  # a program reads its files again
    RESTART = 2  # a program restarts, workloads go on
    CONTROL_PLANE = 3  # a program of the control plane is away for a moment
    WORKLOADS = 4  # containers or pods stop, or new ones may be refused

    @property
    def disruptive(self) -> bool:
        """Whether it is done only when the operator asks for it."""
        return self >= Effect.RESTART


@dataclass(frozen=True, slots=True)
class KeepBits:
    """The file's mode loses all bits but ``keep``."""

    path: str
    keep: int


@dataclass(frozen=True, slots=True)
class Own:
    """The file gets a user and a group, by name; an empty one stays."""

    path: str
    user: str
    group: str


class Removed:
    """Stands for a value that is taken out."""


REMOVED = Removed()


@dataclass(frozen=True, slots=True)
class SetKey:
    """A key of a JSON or YAML file gets a value or is taken out (`REMOVED`). A file that isn't there is made, mode 0600, root's.

    ``validate`` is a command that is given the new file's path as one more argument, and must succeed before that takes its place.
    """

    path: str
    format: str  # "json" or "yaml"
    key: tuple[str, ...]
    value: Any
    validate: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SetFlag:
    """A flag of the program in a static pod's manifest gets a value; None takes it out."""

    path: str
    program: str
    flag: str
    value: str | None


@dataclass(frozen=True, slots=True)
class HaveLines:
    """A file of our own holds these lines; what else it holds stays, unless they are the ``whole`` of it.

    It is made, root's, if it isn't there; so is its folder.
    """

    path: str
    lines: tuple[str, ...]
    mode: int = 0o640
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """A command that changes something, unless ``shows`` prints exactly ``wanted`` already: both argument lists, no shell text.

    ``also`` are outputs that are better still and left alone, in case they came about since the evidence was taken. The command is
    given ``stdin``. What ``shows`` can't tell (it fails) isn't as wanted; a script that only checks says so, in place of what it
    would do.
    """

    command: tuple[str, ...]
    shows: tuple[str, ...]
    wanted: str
    stdin: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Override:
    """A key of a service in a Compose project: all those of a project become one file beside the script, ready to be used."""

    project: str
    service: str
    key: str
    value: Any


@dataclass(frozen=True, slots=True)
class ByHand:
    """What a person must do, in words and, where there are any, as lines to copy: commands, or comments (``# ...``)."""

    words: str
    lines: tuple[str, ...] = ()
    override: Override | None = None


Action = KeepBits | Own | SetKey | SetFlag | HaveLines | Run | ByHand


@dataclass(frozen=True, slots=True)
class After:
    """What is done once, at the end, when a step that names it changed something, and in a few words why.

    Either a ``command`` (an argument list), or a ``service`` of the host's own service manager, which is restarted (its units are
    read again before) or reloaded; a restart makes a reload of the same service needless. Or ``path``: what watches that file takes
    up every change at once, so that all `SetFlag` steps are made in a copy, which takes the file's place if none of them failed.
    """

    words: str
    command: tuple[str, ...] = ()
    service: str = ""
    verb: Literal["restart", "reload"] = "restart"
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One action for some controls (``benchmark number``, such as ``cis-docker 2.2``) about one subject of a target.

    ``words`` say what is done, in a line; ``caution`` what to look at before, where there is something.
    """

    action: Action
    controls: tuple[str, ...]
    subject: str
    words: str
    effect: Effect = Effect.NONE
    after: After | None = None
    caution: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that is to be done on one target. ``open`` are the failures without a fix: control, title and why."""

    run: str
    target: str
    kind: str
    address: str
    steps: tuple[Step, ...]
    open: tuple[tuple[str, str, str], ...] = ()

    @property
    def afters(self) -> tuple[After, ...]:
        """What follows the steps, each once; reloads last, which a restart of the same service makes needless."""
        return tuple(sorted(dict.fromkeys(s.after for s in self.steps if s.after is not None), key=lambda a: a.verb == "reload"))
