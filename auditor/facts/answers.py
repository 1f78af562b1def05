"""The answers of a host's script -> facts.

What the host says is hostile: nothing here raises for it. A record that is missing, cut or odd becomes a `Problem`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import yaml

from auditor.facts import docker, redact
from auditor.facts.docker import Engine
from auditor.facts.host import AuditRules, Config, Files, Processes, System
from auditor.facts.script import CONTENT_LIMIT
from auditor.model import Fact, Problem, Reason

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TIMEOUT_CODES = (124, 137, 143)
#: How many words a record of each kind has at least.
_WORDS = {"p": 6, "a": 2, "e": 2, "c": 5, "engine": 2, "doc": 2, "list": 2, "u": 3, "s": 2, "rc": 2}
_NO_ENGINE = {
    b"tcp-only": Problem(Reason.ABSENT, "the engine listens on no unix socket; name its URL under docker: in the inventory"),
    b"no-client": Problem(Reason.ABSENT, "the host has neither curl nor docker to ask the engine with"),
    b"no-access": Problem(Reason.DENIED, "this account may not use the engine's socket; root or sudo is needed"),
    b"no-socket": Problem(Reason.ABSENT, "the engine's socket is not there"),
}


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


def split(stdout: bytes, stderr: bytes, marker: str, lost: Problem | None = None) -> Answers:
    """Cut both streams into records. ``lost`` is the transport's own reason for an early end."""
    parts = _cut(stdout, marker)
    errors = _cut(stderr, marker)
    notes: dict[str, list[str]] = {}
    for words, body in errors[1:]:
        notes.setdefault(words, []).append(_text(body).strip())
    answers = Answers(preamble=_text(errors[0][1]).strip())
    for words, body in parts[1:]:
        said = notes.get(words)
        record = Record(words.split(" "), body, said.pop(0) if said else "")
        if len(record.words) < _WORDS.get(record.words[0], 1):
            continue
        if record.words[0] == "rc" and answers.records:
            answers.records[-1].code = _int(record.words[-1])
        else:
            answers.records.append(record)
    if not answers.records or answers.records[-1].words != ["end"]:
        answers.lost = lost or Problem(Reason.TRUNCATED, "the connection ended before the host had answered everything")
        if answers.records:
            answers.records.pop()  # its bytes may be cut
    return answers


def _cut(stream: bytes, marker: str) -> list[tuple[str, bytes]]:
    """Return (words of the marker line, bytes up to the next one); the first entry is what came before any marker."""
    pieces = stream.split(f"\n{marker} ".encode())
    cut = [("", pieces[0])]
    for piece in pieces[1:]:
        line, _, body = piece.partition(b"\n")
        cut.append((_text(line), body))
    return cut


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _int(word: str, default: int = -1) -> int:
    return int(word) if re.fullmatch(r"-?[0-9]{1,18}", word) else default


def facts_of(answers: Answers, ordered: Sequence[Fact]) -> dict[str, Any]:
    """Return the answer or the `Problem` of every fact; ``ordered`` are the facts as `script.compose` numbered them."""
    processes = _processes(answers)
    found: dict[str, Any] = {System().key: _system(answers), Processes().key: processes}
    stats = _stats(answers)
    engines: dict[str, Any] | None = None
    for index, fact in enumerate(ordered):
        if isinstance(fact, Config):
            found[fact.key] = _config(answers, index, fact, processes)
        elif isinstance(fact, Files):
            found[fact.key] = _files(answers, index, stats, fact)
        elif isinstance(fact, AuditRules):
            found[fact.key] = _audit_rules(answers)
        elif isinstance(fact, Engine):
            engines = engines if engines is not None else _engines(answers, processes)
            found[fact.key] = engines.get(fact.document, engines.get("", []))
        elif fact.key not in found:
            found[fact.key] = Problem(Reason.ABSENT, "a host can't answer this; it needs the cluster's API")
    return found


def _first(answers: Answers, *words: str) -> Record | None:
    return next((r for r in answers.records if r.words[: len(words)] == list(words)), None)


def _missing(answers: Answers) -> Problem:
    return answers.lost or Problem(Reason.UNPARSABLE, "the host's shell left this question out")


def _failed(record: Record, what: str) -> Problem | None:
    """Return the problem that a command's exit code and words tell of, if any."""
    if record.code in (0, None):
        return None
    said = record.stderr.splitlines()
    line = said[-1] if said else f"exit code {record.code}"
    if record.code in _TIMEOUT_CODES:
        return Problem(Reason.TIMEOUT, f"{what} took too long")
    return Problem(_reason(record.stderr), f"{what}: {line[:300]}")


def _reason(said: str) -> Reason:
    lowered = said.lower()
    if "permission denied" in lowered or "not permitted" in lowered or "must be root" in lowered:
        return Reason.DENIED
    if "no such file" in lowered or "not a directory" in lowered or "not found" in lowered:
        return Reason.ABSENT
    return Reason.TIMEOUT if "timed out" in lowered else Reason.UNPARSABLE


def _system(answers: Answers) -> Any:
    record = _first(answers, "system")
    lines = _text(record.body).splitlines() if record else []
    if len(lines) < 5:
        return _missing(answers)
    release = _first(answers, "os-release")
    pretty = re.search(r'^PRETTY_NAME="?([^"\n]{1,200})"?$', _text(release.body) if release else "", re.MULTILINE)
    detail = " ".join(answers.preamble.split())[:300]
    return {"uid": _int(lines[0]), "user": lines[1], "hostname": lines[2], "kernel": lines[3], "become": lines[4],
            "become_detail": detail if lines[4] == "denied" else "", "os": pretty[1] if pretty else "unknown"}  # fmt: skip


def _processes(answers: Answers) -> Any:
    boot, mount, system = (_first(answers, w) for w in ("boot", "proc-mount", "system"))
    if boot is None or mount is None or system is None or _first(answers, "scanned") is None:
        return _missing(answers)
    uid = _int(_text(system.body).split("\n", 1)[0])
    if uid != 0 and re.search(r"hidepid=([12]|noaccess|invisible|ptraceable)", _text(mount.body)):
        return Problem(Reason.DENIED, "/proc hides other users' processes from this account (hidepid); root is needed")
    numbers = [_int(w) for w in _text(boot.body).split()]
    started_at = partial(_started, btime=numbers[0] if numbers else 0, ticks=numbers[1] if len(numbers) > 1 else 100)
    found = []
    records = iter(answers.records)
    for record in records:
        if record.words[0] != "p" or len(record.words) < 6:
            continue
        argv, environ = next(records, None), next(records, None)
        if argv is None or environ is None:
            break
        found.append(_process(record, argv, environ, started_at))
    return sorted(found, key=lambda p: p["pid"])


def _process(record: Record, argv: Record, environ: Record, started_at: Any) -> dict[str, Any]:
    _, pid, uid, contained, namespace, name = record.words[:6]
    exe, _, stat = _text(record.body).partition("\n")
    args = [_text(a) for a in argv.body.removesuffix(b"\0").split(b"\0")]
    variables = dict(line.partition("=")[::2] for line in _text(environ.body).splitlines() if "=" in line)
    return {
        "pid": _int(pid), "name": name, "exe": exe.removesuffix(" (deleted)") or None, "args": redact.redact_args(args[1:]),
        "uid": _int(uid), "started": started_at(stat), "contained": contained == "yes", "namespace": namespace,
        "environ": None if "ermission denied" in environ.stderr else variables,
    }  # fmt: skip


def _started(stat: str, btime: int, ticks: int) -> int:
    """Return the UNIX time at which a process started: field 22 of its stat, in ticks since boot (proc(5))."""
    after = stat.rpartition(")")[2].split()
    return btime + _int(after[19]) // max(ticks, 1) if len(after) > 19 else 0


def _config(answers: Answers, index: int, fact: Config, processes: Any) -> Any:
    if isinstance(processes, Problem):
        return processes
    instances = {p["pid"]: p for p in processes if p["name"] == fact.process}
    found: dict[int, list[dict[str, Any]]] = {pid: [] for pid in instances}
    for record in answers.records:
        if record.words[0] == "c" and record.words[1] == str(index):
            pid, origin, path = _int(record.words[2]), record.words[3], " ".join(record.words[4:])
            document = _document(record, path, origin, instances.get(pid))
            if document is not None:
                found.setdefault(pid, []).append(document)
    if answers.lost and _first(answers, "end") is None and not any(r.words[0] in ("plan", "engine") for r in answers.records):
        return _missing(answers)
    return [{"pid": pid, "documents": documents} for pid, documents in sorted(found.items()) if pid or documents]


def _document(record: Record, path: str, origin: str, process: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if process and process["contained"] and process["namespace"] == "unknown":
        return _problem_at(path, Problem(Reason.DENIED, "runs in a container; its files can be read as root only"))
    stat, _, content = record.body.partition(b"\n")
    problem = _failed(record, "reading it")
    if problem is not None:
        if problem.reason is Reason.ABSENT and origin in ("default", "folder"):
            return None
        return _problem_at(path, problem)
    words = _text(stat).split(" ", 2)
    if len(words) < 3 or "regular" not in words[2]:
        return _problem_at(path, Problem(Reason.UNPARSABLE, f"is not a regular file but a {words[-1] or 'thing unknown'}"))
    if len(content) > CONTENT_LIMIT:
        return _problem_at(path, Problem(Reason.TRUNCATED, f"is {words[1]} bytes large; at most {CONTENT_LIMIT} are read"))
    try:
        data = parse_document(content)
    except ValueError as error:
        return _problem_at(path, Problem(Reason.UNPARSABLE, str(error)))
    return {"path": path, "data": redact.redact_data(data), "mtime": _int(words[0], 0)}


def _problem_at(path: str, problem: Problem) -> dict[str, Any]:
    return {"path": path, "problem": {"reason": problem.reason.value, "detail": problem.detail}}


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
            for event in yaml.parse(text, Loader=_LOADER):
                if isinstance(event, yaml.AliasEvent):
                    raise ValueError("uses YAML aliases, which are not expanded here")  # noqa: TRY004 - a document error
        return _json_values(yaml.load(text, Loader=_LOADER))  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        raise ValueError(f"is not valid YAML{f' (line {where.line + 1})' if where else ''}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not valid JSON: {error.msg} (line {error.lineno})") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None


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


def _stats(answers: Answers) -> tuple[dict[str, dict[str, Any]], Record | None]:
    record = _first(answers, "stat")
    stats: dict[str, dict[str, Any]] = {}
    for line in _text(record.body).splitlines() if record else ():
        cells = line.split("|", 7)
        if len(cells) == 8 and re.fullmatch(r"[0-7]{1,5}", cells[0]):
            mode, uid, gid, user, group, mtime, kind, path = cells
            stats[path] = {"type": "regular file" if kind == "regular empty file" else kind,
                           "mode": mode.rjust(4, "0"), "uid": _int(uid), "gid": _int(gid), "user": user, "group": group,
                           "mtime": _int(mtime, 0)}  # fmt: skip
    return stats, record


def _files(answers: Answers, index: int, stats: tuple[dict[str, dict[str, Any]], Record | None], fact: Files) -> Any:
    plan = _first(answers, "plan")
    known, record = stats
    if plan is None or record is None:
        return _missing(answers)
    files: list[dict[str, Any]] = []
    searched: list[str] = []
    for letter, shown, real in _plan(plan, index):
        if letter == "S":
            searched.append(shown)
        elif letter == "D":
            files.append(_problem_at(shown, Problem(Reason.DENIED, "may not be listed or read by this account")))
        elif real in known:
            masked = fact.unit and known[real]["type"].startswith("character")  # systemctl mask: a link to /dev/null
            if not masked:
                files.append({"path": shown, **known[real]})
        else:
            problem = _stat_problem(record, real)
            if problem.reason is not Reason.ABSENT:
                files.append(_problem_at(shown, problem))
    return {"files": files, "searched": list(dict.fromkeys(searched))}


def _plan(record: Record, index: int) -> Iterator[tuple[str, str, str]]:
    lines = iter(_text(record.body).splitlines())
    for line in lines:
        letter, _, rest = line.partition(" ")
        number, _, shown = rest.partition(" ")
        real = next(lines, "") if letter == "F" else ""
        if number == str(index):
            yield letter, shown, real


def _stat_problem(record: Record, path: str) -> Problem:
    for line in record.stderr.splitlines():
        if f"'{path}'" in line or f" {path}:" in line:
            return Problem(_reason(line), line[:300])
    if record.code in _TIMEOUT_CODES:
        return Problem(Reason.TIMEOUT, "stat took too long")
    return Problem(Reason.UNPARSABLE, "stat said nothing about it")


def _audit_rules(answers: Answers) -> Any:
    none, status, rules = (_first(answers, w) for w in ("audit-none", "audit-status", "audit-rules"))
    if none is not None:
        if b"configured" in none.body:
            return Problem(Reason.ABSENT, "auditctl is not installed although /etc/audit is there: loaded rules can't be listed")
        return {"installed": False}
    if status is None or rules is None:
        return _missing(answers)
    problem = _failed(status, "auditctl -s") or _failed(rules, "auditctl -l")
    if problem is not None:
        return problem
    enabled = re.search(r"^(?:AUDIT_STATUS: )?enabled[ =](\d)", _text(status.body), re.MULTILINE)
    if enabled is None:
        return Problem(Reason.UNPARSABLE, "auditctl -s does not say whether auditing is enabled")
    lines = [line.strip() for line in _text(rules.body).splitlines()]
    return {"enabled": int(enabled[1]), "rules": [line for line in lines if line.startswith("-")]}


def _engines(answers: Answers, processes: Any) -> dict[str, Any]:
    """Return document -> list of engines; the key "" stands for documents that no engine was asked for."""
    if isinstance(processes, Problem):
        return {"": processes}
    expected = [p["pid"] for p in processes if p["name"] == "dockerd" and not p["contained"]]
    found: dict[str, list[dict[str, Any]]] = {d: [] for d in docker.DOCUMENTS}
    starts = [i for i, r in enumerate(answers.records) if r.words[0] == "engine"]
    asked = set()
    for start, end in pairwise([*starts, len(answers.records)]):
        record = answers.records[start]
        pid, socket = _int(record.words[1]), " ".join(record.words[2:])
        asked.add(pid)
        head = {"engine": f"unix://{socket}" if socket else "dockerd", "pid": pid}
        documents = _engine(record, answers.records[start + 1 : end], _missing(answers))
        for name in docker.DOCUMENTS:
            answer = documents.get(name, _missing(answers))
            entry = {"problem": _problem_at("", answer)["problem"]} if isinstance(answer, Problem) else {"data": answer}
            found[name].append({**head, **entry})
    for pid in expected:
        if pid not in asked:
            for name in docker.DOCUMENTS:
                found[name].append({"engine": "dockerd", "pid": pid, "problem": _problem_at("", _missing(answers))["problem"]})
    return dict(found)


def _engine(head: Record, records: list[Record], missing: Problem) -> dict[str, Any]:
    for word, problem in _NO_ENGINE.items():
        if word in head.body:
            return dict.fromkeys(docker.DOCUMENTS, problem)
    answers: dict[str, Any] = {}
    for i, record in enumerate(records):
        if record.words[0] == "list":
            refused = _list_problem(record)
            if refused is not None:
                answers[record.words[1]] = refused
        elif record.words[0] == "doc" and record.words[1] not in answers:
            tail = []
            for later in records[i + 1 :]:
                if later.words[0] not in ("u", "s"):
                    break
                tail.append(later)
            name: Any = record.words[1]
            answers[name] = _engine_document(name, record, tail) if name in docker.DOCUMENTS else missing
    return answers


def _list_problem(record: Record) -> Problem | None:
    """The last line of a list is curl's trailer; anything but code 200 means that the list can't be trusted."""
    problem = _failed(record, "listing")
    if problem is not None:
        return problem
    trailer = re.search(r"^last [0-9a-f]+ u (\d{3}) ", _text(record.body))
    if trailer and trailer[1] != "200":
        return Problem(Reason.DENIED if trailer[1] in ("401", "403") else Reason.ABSENT, f"the engine answered {trailer[1]}")
    return None


def _engine_document(name: Any, record: Record, tail: list[Record]) -> Any:
    bodies: list[tuple[bytes, Record | None]] = []
    procs: dict[int, Record] = {}
    body = record.body
    last = record
    for later in tail:
        last = later
        if later.words[0] == "u":
            bodies.append((body, later))
            body = later.body
        else:
            procs[_int(later.words[1])] = later
    if not any(r.words[0] == "u" for r in tail) and record.body.strip():
        bodies = [(record.body, None)]  # the docker client's own output
    problem = _failed(record, "asking the engine") or (_failed(last, "asking the engine") if last is not record else None)
    if problem is not None:
        return problem
    if name in ("info", "version", "networks", "volumes"):
        return _single(name, bodies, record)
    elements = list(_elements(name, bodies))
    by_url = any(r.words[0] == "u" for r in tail)
    listed, got = _int(record.words[-1], 0), len(bodies) if by_url else len(elements)
    if got < listed:
        detail = f"{listed - got} of {listed} {name} were not told before the time was up or the client failed"
        elements.append({"Id": "?", "problem": {"reason": Reason.TIMEOUT.value, "detail": detail}})
    if name == "containers":
        for element in elements:
            _add_proc(element, procs)
    return sorted(elements, key=lambda element: ("problem" in element, str(element.get("Name", "")), str(element["Id"])))


def _single(name: Any, bodies: list[tuple[bytes, Record | None]], record: Record) -> Any:
    if not bodies:
        said = record.stderr.splitlines()
        return Problem(_reason(record.stderr), f"the engine did not answer: {said[-1][:300] if said else 'nothing was said'}")
    raw, trailer = bodies[0]
    code = trailer.words[1] if trailer else "200"
    if code == "000":
        return Problem(Reason.ABSENT, f"the engine did not answer: {record.stderr[:300]}")
    if code != "200":
        return Problem(Reason.DENIED if code in ("401", "403") else Reason.ABSENT, f"the engine answered {code}")
    try:
        return docker.reduce(name, raw)
    except ValueError as error:
        return Problem(Reason.UNPARSABLE, f"the engine's {name}: {error}"[:300])


def _elements(name: Any, bodies: list[tuple[bytes, Record | None]]) -> Iterator[dict[str, Any]]:
    for raw, trailer in bodies:
        if trailer is None:
            try:
                documents = [json.dumps(d).encode() for d in json.loads(raw)]
            except (ValueError, TypeError) as error:
                yield {"Id": "?", "problem": {"reason": Reason.UNPARSABLE.value, "detail": f"docker inspect: {error}"[:300]}}
                continue
        elif trailer.words[1] == "404":
            continue  # gone between the list and the question
        elif trailer.words[1] != "200":
            identity = trailer.words[-1].split("/")[-2] if trailer.words[-1].count("/") > 1 else "?"
            yield {"Id": identity, "problem": {"reason": Reason.ABSENT.value, "detail": f"the engine answered {trailer.words[1]}"}}
            continue
        else:
            documents = [raw]
        for document in documents:
            try:
                yield docker.reduce(name, document)
            except ValueError as error:
                yield {"Id": "?", "problem": {"reason": Reason.UNPARSABLE.value, "detail": f"{error}"[:300]}}


def _add_proc(container: dict[str, Any], procs: dict[int, Record]) -> None:
    pid = (container.get("State") or {}).get("Pid") or 0
    if not pid:
        return
    record = procs.get(pid)
    status: dict[str, Any] = {}
    maps = []
    for line in _text(record.body).splitlines() if record else ():
        if line.startswith("map "):
            maps.append([_int(w) for w in line.split()[1:4]])
        elif ":" in line:
            key, _, value = line.partition(":")
            status[key] = value.strip()
    if "Uid" in status:
        container["proc"] = {**status, "uid_map": maps}
    else:
        problem = Problem(Reason.ABSENT, "its first process could not be read in /proc")
        container["proc"] = {"problem": {"reason": problem.reason.value, "detail": problem.detail}}
