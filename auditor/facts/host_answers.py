"""Answers about files, configuration and audit rules of a host -> facts. Nothing here raises for what a host says."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import yaml

from auditor.facts import redact
from auditor.facts.host import Config, Files
from auditor.facts.records import (
    TIMEOUT_CODES,
    Answers,
    Record,
    failed,
    first,
    lines_of,
    missing,
    problem_at,
    reason_of,
    text,
    whole,
)
from auditor.facts.script import CONTENT_LIMIT
from auditor.model import Problem, Reason

#: Bytes of the largest configuration file whose values are remembered for other hosts that have the same.
_REMEMBERED = 32 * 1024
#: How deep a configuration may be nested. PyYAML recurses in C without a limit, so that more would end the whole process.
_MAX_DEPTH = 100
_SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SAFE):  # type: ignore[misc]
    """The safe loader with a limit: both of PyYAML's composers say of each node that they go down to it and up again."""

    _depth = 0

    def descend_resolver(self, _parent: Any, _index: Any) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError("is nested too deeply")

    def ascend_resolver(self) -> None:
        self._depth -= 1


def config(answers: Answers, index: int, fact: Config, processes: Any) -> Any:
    """Return the answer to a `Config`: the parsed documents of each instance."""
    if isinstance(processes, Problem):
        return processes
    instances = {p["pid"]: p for p in processes if p["name"] == fact.process}
    found: dict[int, list[tuple[bool, list[str], dict[str, Any]]]] = {pid: [] for pid in instances}
    for record in answers.records:
        if record.words[0] == "c" and record.words[1] == str(index):
            pid, origin, path = whole(record.words[2]), record.words[3], " ".join(record.words[4:])
            document = _document(record, path, origin, instances.get(pid))
            if document is not None:
                found.setdefault(pid, []).append((origin == "dropin", path.split("/"), document))
    if answers.lost and first(answers, "end") is None and not any(r.words[0] in ("plan", "engine") for r in answers.records):
        return missing(answers)
    # Drop-ins come after the file, folder by folder in the order of their names, as the kubelet walks them.
    ordered = {pid: [d for *_, d in sorted(documents, key=lambda e: e[:2])] for pid, documents in found.items()}
    return [{"pid": pid, "documents": documents} for pid, documents in sorted(ordered.items()) if pid or documents]


def _document(record: Record, path: str, origin: str, process: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if process and process["contained"] and process["namespace"] == "unknown":
        return problem_at(path, Problem(Reason.DENIED, "runs in a container; its files can be read as root only"))
    stat, _, content = record.body.partition(b"\n")
    problem = failed(record, "reading it")
    if problem is not None:
        if problem.reason is Reason.ABSENT and origin in ("default", "folder"):
            return None
        return problem_at(path, problem)
    if origin == "folder":
        return problem_at(path, Problem(Reason.DENIED, "may not be listed by this account"))
    words = text(stat).split(" ", 2)
    if len(words) < 3 or "regular" not in words[2]:
        return problem_at(path, Problem(Reason.UNPARSABLE, f"is not a regular file but a {words[-1] or 'thing unknown'}"))
    if len(content) > CONTENT_LIMIT:
        return problem_at(path, Problem(Reason.TRUNCATED, f"is {words[1]} bytes large; at most {CONTENT_LIMIT} are read"))
    try:
        read = _read_again if len(content) <= _REMEMBERED else _read
        data = read(content, path.endswith(".toml"))
    except ValueError as error:
        return problem_at(path, Problem(Reason.UNPARSABLE, str(error)))
    return {"path": path, "data": data, "mtime": whole(words[0], 0)}


def _read(content: bytes, toml: bool) -> Any:  # noqa: FBT001 - which of two formats
    return redact.redact_data(parse_toml(content) if toml else parse_document(content))


#: Hosts of a fleet mostly have the same files: the same bytes are read once. Nobody changes evidence, so it may be shared.
_read_again = lru_cache(maxsize=128)(_read)


def parse_document(content: bytes) -> Any:
    """Return the JSON values of a JSON or YAML document; raises ValueError (never anything else)."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start})") from None
    try:
        if text.lstrip()[:1] == "{":
            return _json_values(json.loads(text, object_pairs_hook=_no_duplicates))
        if re.search(r"(^|[\s,\[:-])[&*][A-Za-z0-9]", text):
            depth = 0
            for event in yaml.parse(text, Loader=_Loader):
                depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
                if depth > _MAX_DEPTH:
                    raise ValueError("is nested too deeply")
                if isinstance(event, yaml.AliasEvent):
                    raise ValueError("uses YAML aliases, which are not expanded here")  # noqa: TRY004 - a document error
        return _json_values(_one_document(text))
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        raise ValueError(f"is not valid YAML{f' (line {where.line + 1})' if where else ''}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not valid JSON: {error.msg} (line {error.lineno})") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def parse_toml(content: bytes) -> Any:
    """Return the JSON values of a TOML document; raises ValueError (never anything else)."""
    try:
        return _json_values(tomllib.loads(content.decode("utf-8")))
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start})") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"is not valid TOML: {error}"[:200]) from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _one_document(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Go's decoder lets the last of two equal keys win, and matches keys without regard to case; we refuse to guess."""
    result = dict(pairs)
    if len({k.lower() for k, _ in pairs}) != len(pairs):
        raise ValueError("holds the same key twice")
    return result


def _json_values(value: Any) -> Any:
    """Dates and other YAML types become text, keys become text, so that evidence holds JSON values only."""
    if isinstance(value, dict):
        return {str(k): _json_values(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_json_values(v) for v in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def stats_of(answers: Answers) -> tuple[dict[str, dict[str, Any]], Record | None]:
    """Return what stat said of each path, and its record."""
    record = first(answers, "stat")
    stats: dict[str, dict[str, Any]] = {}
    for line in lines_of(text(record.body)) if record else ():
        cells = line.split("|", 7)
        if len(cells) == 8 and re.fullmatch(r"[0-7]{1,5}", cells[0]):
            mode, uid, gid, user, group, mtime, kind, path = cells
            stats[path] = {"type": "regular file" if kind == "regular empty file" else kind,
                           "mode": mode.rjust(4, "0"), "uid": whole(uid), "gid": whole(gid), "user": user, "group": group,
                           "mtime": whole(mtime, 0)}  # fmt: skip
    return stats, record


#: A line of the plan: its letter (F a file, S a place that was searched, D one that is closed), the path to show, the real one.
Planned = tuple[str, str, str]


def plan_of(answers: Answers) -> dict[str, list[Planned]] | None:
    """Return which paths belong to which question, by the question's number; None when that is missing."""
    record = first(answers, "plan")
    if record is None:
        return None
    plan: dict[str, list[Planned]] = {}
    lines = iter(lines_of(text(record.body)))
    for line in lines:
        letter, _, rest = line.partition(" ")
        number, _, shown = rest.partition(" ")
        plan.setdefault(number, []).append((letter, shown, next(lines, "") if letter == "F" else ""))
    return plan


def files(
    answers: Answers,
    index: int,
    plan: dict[str, list[Planned]] | None,
    stats: tuple[dict[str, dict[str, Any]], Record | None],
    fact: Files,
) -> Any:
    """Return the answer to a `Files`."""
    known, record = stats
    if plan is None or record is None:
        return missing(answers)
    files: list[dict[str, Any]] = []
    searched: list[str] = []
    for letter, shown, real in plan.get(str(index), ()):
        if letter == "S":
            searched.append(shown)
        elif letter == "D":
            files.append(problem_at(shown, Problem(Reason.DENIED, "may not be listed or read by this account")))
        elif real in known:
            masked = fact.unit and known[real]["type"].startswith("character")  # systemctl mask: a link to /dev/null
            if not masked:
                files.append({"path": shown, **known[real]})
        else:
            problem = stat_problem(record, real)
            if problem.reason is not Reason.ABSENT:
                files.append(problem_at(shown, problem))
    return {"files": files, "searched": list(dict.fromkeys(searched))}


def stat_problem(record: Record, path: str) -> Problem:
    """Return why stat gave nothing about a path."""
    for line in record.stderr.splitlines():
        if f"'{path}'" in line or f" {path}:" in line:
            return Problem(reason_of(line), line[:300])
    if record.code in TIMEOUT_CODES:
        return Problem(Reason.TIMEOUT, "stat took too long")
    return Problem(Reason.UNPARSABLE, "stat said nothing about it")


def audit_rules(answers: Answers) -> Any:
    """Return the answer to `AuditRules`."""
    none, status, rules = (first(answers, w) for w in ("audit-none", "audit-status", "audit-rules"))
    if none is not None:
        if b"configured" in none.body:
            return Problem(Reason.ABSENT, "auditctl is not installed although /etc/audit is there: loaded rules can't be listed")
        return {"installed": False}
    if status is None or rules is None:
        return missing(answers)
    problem = failed(status, "auditctl -s") or failed(rules, "auditctl -l")
    if problem is not None:
        return problem
    enabled = re.search(r"^(?:AUDIT_STATUS: )?enabled[ =](\d)", text(status.body), re.MULTILINE)
    if enabled is None:
        return Problem(Reason.UNPARSABLE, "auditctl -s does not say whether auditing is enabled")
    lines = [line.strip() for line in lines_of(text(rules.body))]
    return {"enabled": int(enabled[1]), "rules": [line for line in lines if line and line != "No rules"]}
