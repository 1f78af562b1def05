"""Programs inside others (k3s, kubelite) -> entries of `Processes`: their arguments, or why those aren't known.

Nothing here raises for what a host says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from auditor.facts import flags, platforms, redact
from auditor.facts.records import Answers, Record, failed, lines_of, text, whole
from auditor.facts.script import CONTENT_LIMIT
from auditor.model import Problem, Reason

#: Clocks of file systems, and the boot time in /proc/stat, are coarse.
_SLACK = 2
#: Seconds after the start of its unit within which kubelite reads the files of its arguments: a script goes before it.
_KUBELITE_READS = 10
#: Messages of k3s that are looked through; it starts its programs among the first.
_MESSAGES = 20_000

_JOURNAL = re.compile(r"(\d{1,12})\.\d+ \S+ [^ ]+: (.*)")
_STARTS = re.compile(r'(?:time="(?P<time>[^"]+)" level=info msg="|INFO\[[^\]]*\] +)Running (?P<name>kube[a-z-]+) (?P<args>--.*?)"?')
_SPLIT = re.compile(r" (?=--[A-Za-z0-9])")
_VARIABLE = re.compile(r"\$(?:\{([A-Z_]+)\}|([A-Z_]+))")


def add(answers: Answers, processes: list[dict[str, Any]]) -> None:
    """Add what runs inside other programs to the answer of `Processes`, and to those others the folder of their data."""
    records: dict[tuple[str, int], Record] = {}
    files: dict[tuple[int, str], Record] = {}
    for record in answers.records:
        if record.words[0] in ("data", "said", "etcd", "sqlite") and len(record.words) > 1:
            records.setdefault((record.words[0], whole(record.words[1])), record)
        elif record.words[0] == "af":
            files.setdefault((whole(record.words[1]), record.words[2]), record)
    for process in list(processes):
        folder = records.get(("data", process["pid"]))
        if folder is not None and (path := text(folder.body).split("\n", 1)[0]):
            process["data_dir"] = path
        names = platforms.built_in(process)
        if not names:
            continue
        entries = _kubelite(process, names, files) if process["name"] == "kubelite" else _k3s(process, names, records)
        processes += entries


def _entry(process: Mapping[str, Any], name: str, args: list[str] | None = None, **more: Any) -> dict[str, Any]:
    return {**{k: v for k, v in process.items() if k != "data_dir"}, "name": name, "args": redact.redact_args(args or []), **more}


def _host(process: Mapping[str, Any]) -> str:
    return f"{process['name']} (pid {process['pid']})"


def _k3s(process: Mapping[str, Any], names: tuple[str, ...], records: Mapping[tuple[str, int], Record]) -> Iterator[dict[str, Any]]:
    said = records.get(("said", process["pid"]))
    started, problem = _starts(process, said)
    for name in names:
        if name == "etcd":
            yield _etcd(process, records, started.get("kube-apiserver"))
        elif name in started:
            when, args = started[name]
            yield _entry(process, name, args, started=when, origin=f"log of {_host(process)}")
        else:
            yield _entry(process, name, unseen=f"it runs inside {_host(process)}, {problem}")


def _starts(process: Mapping[str, Any], said: Record | None) -> tuple[dict[str, tuple[int, list[str]]], str]:
    """Return when and how each program was started, by its own name, and why others may be missing.

    The first line about a program counts: k3s starts each once, and later lines may hold what others wrote.
    """
    if said is None:
        return {}, "whose log was not asked for"
    kind = said.words[2] if len(said.words) > 2 else ""
    if kind == "none":
        return {}, "and this host has no journal to read how it was started"
    lines = lines_of(text(said.body))
    found: dict[str, tuple[int, list[str]]] = {}
    oldest = 0
    for line in lines:
        entry = _JOURNAL.fullmatch(line)
        if kind == "journal" and entry is None:
            continue
        oldest = oldest or whole(entry[1], 0) if entry else oldest
        start = _STARTS.fullmatch(entry[2] if entry and kind == "journal" else line)
        if start is None or start["name"] in found:
            continue
        when = whole(entry[1], 0) if entry and kind == "journal" else _time(start["time"])
        if when >= process["started"] - _SLACK:
            found[start["name"]] = when, _SPLIT.split(_unquoted(start["args"], quoted=start["time"] is not None))
    return found, _why(process, kind, lines, oldest)


def _why(process: Mapping[str, Any], kind: str, lines: list[str], oldest: int) -> str:
    code = next((line.removeprefix("code ") for line in reversed(lines) if line.startswith("code ")), "")
    said = " ".join(line.strip() for line in lines if "ermission" in line or "not seeing messages" in line)[:300]
    if said:
        return f"and this account may not read its log: {said}"
    if code in ("124", "137", "143"):
        return "and looking through its log took too long"
    where = "the journal" if kind == "journal" else "the file that it logs to"
    if code == "cut":
        return f"and {where} doesn't say how it was started among its first {_MESSAGES:,} messages"
    if code in ("126", "127") or (kind == "journal" and code not in ("0", "1")):
        return f"and {where} could not be read"
    if kind == "journal" and not oldest:
        return "of which the journal has no message (it was rotated away, or k3s logs elsewhere)"
    if kind == "journal" and oldest > process["started"] + 60:
        return "and the journal no longer has the messages of its start: the oldest are later, so they were rotated away"
    return f"and {where} has no line of this start that says how: it is switched off, not yet started, or the line is gone"


def _time(word: str | None) -> int:
    try:
        return int(datetime.fromisoformat(word or "").timestamp())
    except ValueError:
        return 0


def _unquoted(words: str, *, quoted: bool) -> str:
    if not quoted or "\\" not in words:
        return words
    try:
        return str(json.loads(f'"{words}"'))
    except ValueError:
        return words.replace('\\"', '"')


def _etcd(
    process: Mapping[str, Any], records: Mapping[tuple[str, int], Record], server: tuple[int, list[str]] | None
) -> dict[str, Any]:
    """Return etcd's entry: its settings are all in one file, which k3s writes whenever it starts it.

    Which datastore is in use the API server was told; without its arguments, by a file that is of this start.
    """
    config, sqlite = records.get(("etcd", process["pid"])), records.get(("sqlite", process["pid"]))
    path = " ".join(config.words[2:]) if config else ""
    written = whole(text(config.body).split(" ", 1)[0], 0) if config and config.code == 0 else 0
    if server is not None:
        used = flags.text(server[1], "--etcd-servers", flags.KUBERNETES)
        servers = used if isinstance(used, str) else ""
        if servers.startswith("unix:") or "kine.sock" in servers:
            return _entry(
                process,
                "etcd",
                elsewhere=f"{_host(process)} keeps its state in an SQL database (kine, SQLite by default), not in etcd",
            )
        if not re.search(r"//(127\.0\.0\.1|\[::1\]|localhost)[:/]", servers):
            shown = redact.redact_url(servers) or "nothing that is known"
            return _entry(process, "etcd", elsewhere=f"the API server inside {_host(process)} uses an etcd of other hosts: {shown}")
        problem = (
            failed(config, f"looking for {path}") if config else Problem(Reason.ABSENT, "its configuration was not looked for")
        )
        if config is not None and config.code is None:
            problem = Problem(Reason.TRUNCATED, "the answers of the host end before it")
        if problem is not None:
            return _entry(process, "etcd", unseen=f"it runs inside {_host(process)}: {problem}")
    elif not written or written < process["started"] - _SLACK:
        if not written and sqlite is not None and sqlite.code == 0:
            return _entry(process, "etcd", elsewhere=f"{_host(process)} keeps its state in SQLite, not in etcd")
        return _entry(
            process,
            "etcd",
            unseen=f"whether etcd runs inside {_host(process)} isn't known, since what its API server was told isn't",
        )
    when = server[0] if server else max(written, process["started"])
    return _entry(process, "etcd", [f"--config-file={path}"], started=when, origin=f"{path} of {_host(process)}")


def _kubelite(
    process: Mapping[str, Any], names: tuple[str, ...], files: Mapping[tuple[int, str], Record]
) -> Iterator[dict[str, Any]]:
    plane = flags.boolean(process["args"], "--start-control-plane", flags.KUBERNETES)
    for name in names:
        if plane is False and name not in ("kubelet", "kube-proxy"):
            yield _entry(
                process, name, elsewhere=f"{_host(process)} was told to start no control plane here (--start-control-plane=false)"
            )
            continue
        record = files.get((process["pid"], name))
        if record is None:
            yield _entry(process, name, unseen=f"it runs inside {_host(process)}, which was not told of a file with its arguments")
            continue
        path = " ".join(record.words[3:])
        args = _file(process, path, record)
        if isinstance(args, Problem):
            yield _entry(process, name, unseen=f"it runs inside {_host(process)}: {args.detail}")
        else:
            yield _entry(process, name, args, origin=f"{path} of {_host(process)}")


def _file(process: Mapping[str, Any], path: str, record: Record) -> list[str] | Problem:
    """Return the arguments in a file, one a line, as kubelite reads it: without quotes, with variables put in."""
    problem = failed(record, f"reading {path}")
    if problem is None and record.code is None:
        problem = Problem(Reason.TRUNCATED, f"{path} did not arrive as a whole")
    if problem is not None:
        return problem
    stat, _, content = record.body.partition(b"\n")
    if len(content) > CONTENT_LIMIT:
        return Problem(Reason.TRUNCATED, f"{path} is larger than {CONTENT_LIMIT} bytes")
    if whole(text(stat).split(" ", 1)[0], 0) > process["started"] + _KUBELITE_READS:
        return Problem(Reason.ABSENT, f"{path} changed after it started: restart pending, so what it runs with isn't known")
    variables = process["environ"] or {}
    lines = [line.strip() for line in lines_of(text(content))]
    lines = [line.replace('"', "").replace("'", "") for line in lines if line and not line.startswith("#")]
    return [_VARIABLE.sub(lambda m: variables.get(m[1] or m[2], m[0]), line) for line in lines]
