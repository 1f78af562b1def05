"""The framed answers of a host's script: records cut out of two streams.

What the host says is hostile: nothing here raises for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from auditor.model import Problem, Reason

TIMEOUT_CODES = (124, 137, 143)
_END = "end"
#: Records whose marker stands on standard output alone: what a program says of them is behind the marker before.
_SILENT = ("u", "s", "n", "said")
#: How many words a record of each kind has at least.
_WORDS = {
    "p": 6, "a": 2, "e": 2, "c": 5, "engine": 2, "doc": 2, "list": 2, "u": 3, "s": 2, "n": 2, "w": 2, "v": 3, "af": 4, "rc": 2,
}  # fmt: skip


@dataclass(slots=True)
class Record:
    """One framed answer: the words of its marker line, its bytes and what the host said about it on the other stream."""

    words: list[str]
    body: bytes
    stderr: str = ""
    code: int | None = None


@dataclass
class Answers:
    """All records of one script run. ``lost`` says why the rest is missing when the answers are incomplete."""

    records: list[Record] = field(default_factory=list)
    preamble: str = ""
    lost: Problem | None = None
    made: dict[str, Any] = field(default_factory=dict)  # what several facts are made from, parsed once


def split(stdout: bytes, stderr: bytes, marker: str, lost: Problem | None = None) -> Answers:
    """Cut both streams into records. ``lost`` is the transport's own reason for an early end."""
    parts = _cut(stdout, marker)
    errors = _cut(stderr, marker)
    heard = errors[-1][0] == _END  # all that was said on the other stream, that something may not be read among it
    notes: dict[str, list[str]] = {}
    for words, body in errors[1:] if heard else errors[1:-1]:  # the last one may be cut
        notes.setdefault(words, []).append(text(body).strip())
    answers = Answers(preamble=text(errors[0][1]).strip())
    for words, body in parts[1:]:
        said = notes.get(words)
        if not said and not heard and words.split(" ")[0] not in _SILENT:
            break
        record = Record(words.split(" "), body, said.pop(0) if said else "")
        if len(record.words) < _WORDS.get(record.words[0], 1):
            continue
        if record.words[0] == "rc" and answers.records:
            answers.records[-1].code = whole(record.words[-1])
        else:
            answers.records.append(record)
    if not answers.records or answers.records[-1].words != [_END]:
        early = "the connection ended before the host had answered everything"
        deaf = "the host's standard error did not arrive (does its login redirect it, as a ForceCommand may?)"
        answers.lost = lost or Problem(Reason.TRUNCATED, deaf if parts[-1][0] == _END else early)
        if answers.records:
            answers.records.pop()  # its bytes may be cut
    return answers


def _cut(stream: bytes, marker: str) -> list[tuple[str, bytes]]:
    """Return (words of the marker line, bytes up to the next one); the first entry is what came before any marker."""
    pieces = stream.split(f"\n{marker} ".encode())
    cut = [("", pieces[0])]
    for piece in pieces[1:]:
        line, _, body = piece.partition(b"\n")
        cut.append((text(line), body))
    return cut


def text(raw: bytes) -> str:
    """Return bytes of a host as text; what is not UTF-8 is written out as escapes."""
    return raw.decode("utf-8", "backslashreplace")


def lines_of(said: str) -> list[str]:
    """Return the lines of a text as the shell wrote them.

    `str.splitlines` also cuts at a dozen other characters, all of which may stand in the name of a file.
    """
    return said.removesuffix("\n").split("\n") if said else []


def whole(word: str, default: int = -1) -> int:
    """Return a word as a whole number, ``default`` for anything else."""
    return int(word) if re.fullmatch(r"-?[0-9]{1,18}", word) else default


def first(answers: Answers, *words: str) -> Record | None:
    """Return the first record that begins with these words."""
    return next((r for r in answers.records if r.words[: len(words)] == list(words)), None)


def missing(answers: Answers) -> Problem:
    """Return why a record that should be there is not."""
    return answers.lost or Problem(Reason.UNPARSABLE, "the host's shell left this question out")


def failed(record: Record, what: str) -> Problem | None:
    """Return the problem that a command's exit code and words tell of, if any."""
    if record.code in (0, None):
        return None
    said = record.stderr.splitlines()
    line = said[-1] if said else f"exit code {record.code}"
    if record.code in TIMEOUT_CODES:
        return Problem(Reason.TIMEOUT, f"{what} took too long")
    return Problem(reason_of(record.stderr), f"{what}: {line[:300]}")


def reason_of(said: str) -> Reason:
    """Return the reason that a program's message tells of."""
    lowered = said.lower()
    if "permission denied" in lowered or "not permitted" in lowered or "must be root" in lowered:
        return Reason.DENIED
    if "no such file" in lowered or "not a directory" in lowered or "not found" in lowered:
        return Reason.ABSENT
    return Reason.TIMEOUT if "timed out" in lowered else Reason.UNPARSABLE


def problem_at(path: str, problem: Problem) -> dict[str, Any]:
    """Return a problem as a part of an answer, about one path."""
    return {"path": path, "problem": {"reason": problem.reason.value, "detail": problem.detail}}
