"""Answers of a host about the insides of containers -> facts. Nothing here raises for what a host says."""

from __future__ import annotations

import re
from typing import Any

from auditor.facts import inside
from auditor.facts.records import Record, failed, lines_of, reason_of, text, whole
from auditor.model import Problem, Reason

_LINK = re.compile(r"^'?/proc/(\d+)/exe'? -> '?(.*?)'?$")


def programs(record: Record) -> list[dict[str, Any]] | Problem:
    """Return the data of a `inside.Programs` fact: lines of container, process and its name, then links to the files executed."""
    problem = failed(record, "looking through /proc")
    if problem is not None:
        return problem
    found: dict[str, list[str]] = {}
    owner: dict[str, str] = {}
    for line in lines_of(text(record.body)):
        link = _LINK.match(line)
        words = line.split(" ", 2)
        if link:
            if link[1] in owner:
                found[owner[link[1]]].append(link[2])
        elif len(words) == 3 and re.fullmatch(r"[0-9a-f]{64}", words[0]):
            owner[words[1]] = words[0]
            found.setdefault(words[0], []).append(words[2])
    return [{"Id": identity, "programs": inside.program_names(names)} for identity, names in sorted(found.items())]


def execs(record: Record, tail: list[Record]) -> list[dict[str, Any]] | Problem:
    """Return the data of a `inside.Execs` fact: an answer before each of the records in ``tail``. One that is gone is left out."""
    problem = failed(record, "asking for commands in containers") or (failed(tail[-1], "asking the engine") if tail else None)
    if problem is not None:
        return problem
    found: list[dict[str, Any]] = []
    told = 0
    body = record.body
    for trailer in tail:
        raw, body = body, trailer.body
        if trailer.words[0] != "u":
            continue
        told += 1
        if trailer.words[1] == "404":
            continue
        try:
            if trailer.words[1] != "200":
                raise ValueError(f"the engine answered {trailer.words[1]}")  # noqa: TRY301 - both are one problem
            found.append(inside.reduce_exec(raw))
        except ValueError as error:
            detail = f"a command in a container: {error}"[:300]
            found.append({"Id": "?", "problem": {"reason": Reason.UNPARSABLE.value, "detail": detail}})
    listed = whole(record.words[-1], 0)
    if told < listed:
        detail = f"{listed - told} of {listed} commands in containers were not told before the time was up"
        found.append({"Id": "?", "problem": {"reason": Reason.TIMEOUT.value, "detail": detail}})
    return sorted(found, key=lambda e: ("problem" in e, e.get("ContainerID", ""), e["Id"]))


def shared_namespaces(record: Record) -> dict[int, list[str]]:
    """Return process -> the namespaces that it shares with the engine: lines of an inode and ``/proc/PID/ns/NAME``.

    Empty where the engine's own could not be read; a process is in it when all of its namespaces were.
    """
    engine = whole(record.words[-1])
    seen: dict[int, dict[str, str]] = {}
    for line in lines_of(text(record.body)):
        match = re.fullmatch(r"(\d+) /proc/(\d+)/ns/([a-z]+)", line)
        if match:
            seen.setdefault(int(match[2]), {})[match[3]] = match[1]
    own = seen.pop(engine, {})
    return {
        pid: sorted(n for n in own if spaces[n] == own[n]) for pid, spaces in seen.items() if own and spaces.keys() == own.keys()
    }


def exec_log(record: Record | None, untold: Problem) -> dict[str, Any] | Problem:
    """Return the value of a `inside.ExecLog` fact."""
    if record is None:
        return untold
    said = lines_of(text(record.body))
    if said[:1] == ["denied"]:
        return Problem(Reason.DENIED, "this account may not read /var/log/audit; root or sudo is needed")
    if said[:1] == ["none"]:
        return {"since": None, "execs": []}
    if record.stderr:
        return Problem(reason_of(record.stderr), f"reading /var/log/audit: {record.stderr.splitlines()[-1][:200]}")
    since = [int(line.removeprefix("audit(")) for line in said if re.fullmatch(r"audit\(\d{1,12}", line)]
    found = []
    for line in said:
        when = re.search(r"msg=audit\((\d{1,12})\.", line)
        if when:
            started = inside.parse_exec([_argument(word) for word in re.findall(r" a\d+=(\S+)", line)])
            if started:
                found.append({"time": int(when[1]), **started})
    return {"since": min(since, default=None), "execs": sorted(found, key=lambda e: (e["time"], e["container"]))}


def _argument(word: str) -> str:
    """Return an argument as the log writes it: in quotes, or in hexadecimal digits when it holds a blank or a quote."""
    if word.startswith('"'):
        return word.strip('"')
    try:
        return bytes.fromhex(word).decode("utf-8", "replace")
    except ValueError:
        return word
