"""Shell text as build steps hold it -> its simple commands. Nothing is expanded and nothing is run.

It reads what people write in build files, not every corner of the shell: what can't be told apart is given as a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

#: How deep ``sh -c "..."`` and ``$(...)`` are followed.
_DEPTH = 4
_TOKEN = re.compile(
    r"""
      (?P<blank>(?:[ \t\r]|\\\n)+)
    | (?P<redirect>[0-9]*(?:&>>?|<<<|<<-?|>>|[<>]&|<>|>\||<|>)(?!\())
    | (?P<end>\n|;;?|&&|\|\|)
    | (?P<pipe>\|&?)
    | (?P<group>&|[<>]\(|\(|\))
    | (?P<inner>\$\(|`)
    | (?P<comment>\#[^\n]*)
    | (?P<single>'[^']*'?)
    | (?P<double>"(?:\\.|[^"\\])*"?)
    | (?P<escape>\\.?)
    | (?P<variable>\$\{[^}\n]*\}?|\$)
    | (?P<plain>[^\s;&|()<>'"\\`$#]+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_SHELLS = frozenset({"sh", "bash", "ash", "dash", "zsh", "ksh"})
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command: its words without quotes, and whether another command's output is its input."""

    words: tuple[str, ...]
    piped: bool = False

    @property
    def program(self) -> str:
        """The name of what is run, without its folder; empty when only variables are set."""
        return self.words[0].rpartition("/")[2] if self.words else ""


def commands(text: str, depth: int = 0) -> Iterator[Command]:
    """Return the commands of a text in the order in which they stand, those within ``$(...)`` and ``sh -c`` included.

    Leading assignments, keywords and wrappers such as sudo are left out.
    """
    words: list[str] = []
    word: str | None = None
    piped = after_pipe = False
    skip = False  # the next word is the target of a redirection
    position = 0
    while match := _TOKEN.match(text, position):
        position = match.end()
        kind = match.lastgroup
        value = match[0]
        if kind == "comment" and word is not None:
            kind, value, position = "plain", "#", match.start() + 1
        if kind in ("plain", "other", "single", "double", "escape", "variable"):
            word = (word or "") + _unquoted(kind, value)
            if kind == "double" and depth < _DEPTH and ("$(" in value or "`" in value):
                yield from commands(value.strip('"'), depth + 1)
            continue
        if word is not None:
            if not skip:
                words.append(word)
            word, skip = None, False
        if kind == "redirect":
            if words and words[-1].isdigit() and text[match.start() - 1 : match.start()].isdigit():
                words.pop()  # 2>file
            skip = True
        elif kind in ("end", "pipe", "group", "inner"):
            yield from _simple(words, piped, depth)
            words, skip = [], False
            after_pipe = kind == "pipe"
            piped = after_pipe
    if word is not None and not skip:
        words.append(word)
    yield from _simple(words, piped, depth)


def _unquoted(kind: str | None, value: str) -> str:
    if kind == "single":
        return value.strip("'")
    if kind == "double":
        return re.sub(r"\\(.)", r"\1", value.removeprefix('"').removesuffix('"'), flags=re.DOTALL)
    return value[1:] if kind == "escape" else value


_KEYWORDS = frozenset({"if", "then", "else", "elif", "do", "while", "until", "!", "{", "}", "time"})
_WRAPPERS = frozenset({
    "exec", "command", "builtin", "sudo", "doas", "nice", "ionice", "nohup", "env", "xargs", "stdbuf", "timeout", "eval", "chroot",
    "busybox", "gosu", "su-exec", "setarch", "linux32", "linux64", "retry", "eatmydata", "unbuffer", "tini", "flock",
})  # fmt: skip
#: Options of wrappers that take the next word.
_TAKES_WORD = frozenset({"-u", "-g", "-n", "-I", "-L", "-P", "-d", "-k", "-s", "-c", "-w", "-C"})


def _simple(words: list[str], piped: bool, depth: int) -> Iterator[Command]:  # noqa: FBT001
    """Return a simple command without what stands before its program; a shell's text is read in its place."""
    at = 0
    wrapped = False
    while at < len(words):
        name = words[at].rpartition("/")[2]
        if words[at] in _KEYWORDS or _ASSIGNMENT.match(words[at]):
            at += 1
        elif name in _WRAPPERS:
            wrapped = True
            at += 1
            while at < len(words) and words[at].startswith("-"):
                at += 2 if words[at] in _TAKES_WORD and name != "env" else 1
            if name in ("timeout", "chroot", "gosu", "su-exec", "flock"):
                at += 1
        elif wrapped and not name:
            at += 1
        else:
            break
    rest = words[at:]
    if not rest:
        return
    inner = _text_of_shell(rest)
    if inner and depth < _DEPTH:
        yield from commands(inner, depth + 1)
    if rest[0].count(" ") and wrapped and depth < _DEPTH:
        yield from commands(" ".join(rest), depth + 1)  # eval "..."
        return
    yield Command(tuple(rest), piped)


def _text_of_shell(words: list[str]) -> str:
    """Return what follows the ``-c`` of a shell (or su)."""
    if words[0].rpartition("/")[2] not in _SHELLS | {"su", "runuser"}:
        return ""
    for i, word in enumerate(words[1:], 1):
        if re.fullmatch(r"-[a-zA-Z]*c", word):
            return words[i + 1] if i + 1 < len(words) else ""
    return ""


def is_shell(command: Command) -> bool:
    """Return whether a command is a shell or another interpreter that reads a program from its input."""
    return command.program in _SHELLS or bool(re.fullmatch(r"python[0-9.]*|perl|node|ruby|php", command.program))
