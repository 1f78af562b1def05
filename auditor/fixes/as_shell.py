"""A plan as one POSIX shell script, with check mode and back-ups. Every word of it that comes from evidence is quoted."""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from importlib import resources
from typing import Any

from auditor import __version__
from auditor.fixes import words
from auditor.fixes.steps import REMOVED, Action, After, ByHand, HaveLines, KeepBits, Own, Plan, Run, SetFlag, SetKey, Step
from auditor.fixes.words import DISTURBS, line, origin
from auditor.fixes.yamltext import change_of

#: The parts of the library, in their order, and the functions of each that a step or what follows one calls; those without such
#: functions are part of every script.
_PARTS: dict[str, frozenset[str]] = {
    "prelude": frozenset(),
    "run": frozenset(),
    "paths": frozenset(),
    "changes": frozenset(),
    "files": frozenset({"keep_bits", "own", "have_lines", "whole_file"}),
    "json": frozenset({"set_json"}),
    "yaml": frozenset({"set_yaml", "stage_yaml", "publish"}),
    "yaml_files": frozenset({"set_yaml", "stage_yaml", "publish"}),
    "commands": frozenset({"unless", "command_do"}),
    "services": frozenset({"service_do"}),
}
_USE = (
    "sh SCRIPT --list          what there is to do, in order, with what a person does by hand",
    "sh SCRIPT --check         what would change; changes nothing; exit 0: nothing, 2: something, 1: something can't be done",
    "sh SCRIPT                 do what disturbs nothing and reload what can be reloaded",
    "sh SCRIPT --disruptive    do everything, restarts included",
    'sh SCRIPT --only CONTROL  only steps of this control, by number, such as 2.2 or "cis-docker 2.2" (repeatable)',
    "",
    "A reload or restart that failed is noted in /var/backups/cis-auditor/due/ and done by the next run; exit 1 until then.",
    "Every file that is changed is copied to /var/backups/cis-auditor/RUN-TIME/ first; restore.sh there puts everything back.",
    "",
    "Functions come first. At the end are `begin`, each `step` and what a person does, what follows `after` them, and `finish`.",
)


@cache
def part(name: str) -> str:
    """Return a part of the library from the folder ``sh``."""
    return (resources.files("auditor.fixes") / "sh" / f"{name}.sh").read_text(encoding="ascii")


def quote(text: str) -> str:
    """Return a text as one word of a shell command, which means itself and nothing else. Raises ValueError for a NUL."""
    if "\0" in text:
        raise ValueError("a NUL can't be part of a command")
    return "'" + text.replace("'", "'\\''") + "'"


def render(plan: Plan) -> str:
    """Return the script."""
    called = {_action(s.action)[0] for s in plan.steps if not isinstance(s.action, ByHand)} | {_done(a)[0] for a in plan.afters}
    lines = ["#!/bin/sh", *(f"# {text}".rstrip() for text in (*origin(plan, __version__), "", *_USE)), ""]
    lines += [part(name) for name, functions in _PARTS.items() if not functions or functions & called]
    lines += [f'begin {quote(words.folder(plan.run))} {quote(line(plan.target))} {quote(plan.kind)} "$@"', ""]
    lines += [_step(number, step) for number, step in enumerate(plan.steps, 1)]
    for name, after in {_name(after): after for after in plan.afters}.items():
        effect = max(s.effect for s in plan.steps if s.after is not None and _name(s.after) == name)
        lines.append(_words("after", name, DISTURBS[effect], line(after.words), *_done(after)))
    lines += [f"# without a fix: {line(label)} {line(title)}" for label, title, _ in plan.open]
    lines.append(_words("finish", str(len(plan.open))))
    return "\n".join(lines) + "\n"


def _name(after: After) -> str:
    """Return a name that is the same in every script and fit for a file: what one script left undone is due in the next."""
    if after.service and re.fullmatch(r"[A-Za-z0-9_.@-]{1,100}", after.service):
        return f"{after.verb}-{after.service}"
    what = _done(after)
    plain = re.sub(r"[^A-Za-z0-9_.@-]+", "-", what[1].rpartition("/")[2])[:40]
    return f"{what[0].partition('_')[0]}-{plain}-{hashlib.sha256(json.dumps(what).encode()).hexdigest()[:12]}"


def _words(head: str, *rest: str) -> str:
    return " ".join((head, *map(quote, rest)))


def _step(number: int, step: Step) -> str:
    controls = ";".join(line(c) for c in step.controls)
    effect = DISTURBS[step.effect]
    said = [f"# {line(step.caution, 2000)}"] if step.caution else []
    if isinstance(step.action, ByHand):
        called = _words("by_hand", str(number), effect, controls, line(step.action.words, 2000), *words.lines(step.action))
        return "\n".join([*said, called, ""])
    name = _name(step.after) if step.after is not None else ""
    called = _words("step", str(number), effect, controls, line(step.words), name, *_action(step.action))
    return "\n".join([*said, called, ""])


def _json(value: Any) -> str:
    return "" if value is REMOVED else json.dumps(value)


def _action(action: Action) -> tuple[str, ...]:
    """Return the library's function that does an action, with its arguments."""
    change = change_of(action)
    match action:
        case KeepBits(path=path, keep=keep):
            return ("keep_bits", path, f"{keep:04o}")
        case Own(path=path, user=user, group=group):
            return ("own", path, user, group)
        case HaveLines(path=path, lines=lines, mode=mode, whole=whole):
            return ("whole_file" if whole else "have_lines", path, f"{mode:04o}", *lines)
        case SetKey(format="json", path=path, key=key, value=value, validate=validate):
            return ("set_json", path, json.dumps(key), _json(value), *validate)
        case SetKey(path=path, validate=validate) if change:
            return ("set_yaml", path, *change, *validate)
        case SetFlag(path=path) if change:
            return ("stage_yaml", path, *change)
        case Run(command=command, shows=shows, wanted=wanted, stdin=stdin, also=also):
            return ("unless", "\n".join((wanted, *also)), stdin, str(len(shows)), *shows, *command)
    raise TypeError(f"no way to write {type(action).__name__} in a script")


def _done(after: After) -> tuple[str, ...]:
    if after.path:
        return ("publish", after.path)
    return ("service_do", after.verb, after.service) if after.service else ("command_do", *after.command)
