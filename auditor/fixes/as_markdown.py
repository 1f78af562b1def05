"""A plan for reading: what is done why, in order, with commands to copy. What comes from evidence stands in code, inert."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from auditor import __version__
from auditor.fixes.steps import REMOVED, After, ByHand, HaveLines, KeepBits, Own, Plan, Run, SetFlag, SetKey, Step
from auditor.fixes.words import DISTURBS, line, origin, symbolic
from auditor.terminal import clean

_SPECIAL = "\\`*_{}[]<>()#+!|~&"


def text(words: str) -> str:
    """Return words that no reader of Markdown takes for markup, a link or HTML."""
    return "".join(f"\\{c}" if c in _SPECIAL else c for c in line(words, 4000))


def code(lines: list[str]) -> str:
    """Return lines as a block of code whose fence nothing in it can close. Each is a command, or a comment."""
    body = [clean(one, 4000) for text in lines for one in (text.splitlines() or [""])]
    fence = max(("``", *re.findall("`+", "\n".join(body))), key=len) + "`"
    return "\n".join([f"{fence}sh", *body, fence])


def render(plan: Plan) -> str:
    """Return the document."""
    parts = [f"# Fixes for {text(plan.target)}", *(text(t) for t in origin(plan, __version__))]
    doable = [s for s in plan.steps if not isinstance(s.action, ByHand)]
    groups = (
        ("Without a restart", "These disturb nothing.", [s for s in doable if not s.effect.disruptive]),
        ("With a restart", "Choose a time for these.", [s for s in doable if s.effect.disruptive]),
        ("By hand", "These take a decision, or more than is known here.", [s for s in plan.steps if isinstance(s.action, ByHand)]),
    )
    numbers = {id(step): number for number, step in enumerate(plan.steps, 1)}  # as the script has them
    for title, about, steps in groups:
        if not steps:
            continue
        parts += [f"## {title}", about]
        for alike in _alike(steps):
            parts += _step([numbers[id(s)] for s in alike], alike)
        parts += _afters(steps)
    if plan.open:
        parts += ["## Failures without a fix", "What it takes can't be said in commands."]
        parts += [f"- **{text(label)}** {text(title)}: {text(why)}" for label, title, why in plan.open]
    if not plan.steps and not plan.open:
        parts.append("Nothing failed.")
    return "\n\n".join(parts).replace("\n\n- **", "\n- **") + "\n"


def _alike(steps: list[Step]) -> list[list[Step]]:
    """Put by-hand steps together that differ in their subjects alone."""
    found: dict[object, list[Step]] = {}
    for step in steps:
        lines = step.action.lines if isinstance(step.action, ByHand) else ()
        prose = bool(lines) and all(c.startswith("# ") for c in lines)
        found.setdefault((step.controls, step.effect, step.caution, lines) if prose else id(step), []).append(step)
    return list(found.values())


def _step(numbers: list[int], alike: list[Step]) -> list[str]:
    step = alike[0]
    controls = f"Controls: {text(', '.join(step.controls))}"
    parts = [f"### {numbers[0]}. {text(step.words)}", controls]
    if len(alike) > 1:
        listed = "\n".join(f"- {number}\\. {text(s.words)}" for number, s in zip(numbers, alike, strict=True))
        parts = [f"### {numbers[0]} to {numbers[-1]}. {text(', '.join(step.controls))}", listed, controls]
    if DISTURBS[step.effect]:
        parts[-1] += f". **Disturbs:** {'each' if len(alike) > 1 else 'it'} {DISTURBS[step.effect]}."
    if step.caution:
        parts.append(f"> {text(step.caution)}")
    commands = _commands(step.action)
    if commands and isinstance(step.action, ByHand) and all(c.startswith("# ") for c in commands):
        parts += [text(c.removeprefix("# ")) for c in commands]
    elif commands:
        parts.append(code(commands))
    return parts


def _afters(steps: list[Step]) -> list[str]:
    afters = dict.fromkeys(s.after for s in steps if s.after is not None)
    return [
        part for after in afters if not after.path for part in (f"Afterwards, once: {text(after.words)}", code([_command(after)]))
    ]


def _command(after: After) -> str:
    return f"systemctl {after.verb} {shlex.quote(after.service)}" if after.service else shlex.join(after.command)


def _commands(action: Any) -> list[str]:
    """Return what a person would type for an action."""
    match action:
        case KeepBits(path=path, keep=keep):
            return [f"chmod {symbolic(keep)} -- {shlex.quote(path)}"]
        case Own(path=path, user=user, group=group):
            owner = f"{user}:{group}" if group else user
            return [f"chown -h {shlex.quote(owner)} -- {shlex.quote(path)}"]
        case HaveLines(path=path, lines=lines, whole=whole):
            end = ">" if whole else ">>"
            return [f"printf '%s\\n' {shlex.join(lines)} {end} {shlex.quote(path)}"]
        case SetKey(path=path, key=key, value=value):
            said = "take it out" if value is REMOVED else json.dumps(value)
            return [f"# in {path}", f"# {'.'.join(key)}: {said}"]
        case SetFlag(path=path, program=program, flag=flag, value=value):
            said = f"without {flag}" if value is None else f"{flag}={value}"
            return [f"# in {path}, command of {program}", f"# {said}"]
        case Run(command=command, stdin=stdin):
            return [shlex.join(clean(w, 4000) for w in command)] if not stdin else _given(command, stdin)
        case ByHand(lines=lines):
            return list(lines)
    return []


def _given(command: tuple[str, ...], stdin: str) -> list[str]:
    """Return a command with its input, behind a word that stands nowhere in that."""
    end = "END"
    while end in stdin:
        end += "_"
    return [f"{shlex.join(clean(w, 4000) for w in command)} <<'{end}'", *stdin.splitlines(), end]
