"""Answers of the Docker engines of a host -> facts. Nothing here raises for what a host says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from auditor.facts import docker, image_answers, images, inside_answers, swarm_answers
from auditor.facts.inside import FACTS as INSIDE
from auditor.facts.records import Answers, Record, failed, lines_of, missing, problem_at, reason_of, text, whole
from auditor.model import Problem, Reason

_NO_ENGINE = {
    b"tcp-only": Problem(Reason.ABSENT, "the engine listens on no unix socket; name its URL under docker: in the inventory"),
    b"no-client": Problem(Reason.ABSENT, "the host has neither curl nor docker to ask the engine with"),
    b"no-access": Problem(Reason.DENIED, "this account may not use the engine's socket; root or sudo is needed"),
    b"no-socket": Problem(Reason.ABSENT, "the engine's socket is not there"),
}

#: What an engine is asked for; the swarm and the insides of containers are facts of their own.
_NAMES = (*docker.DOCUMENTS, *images.KEYS, *INSIDE, "swarm")


def engines(answers: Answers, processes: Any) -> dict[str, Any]:
    """Return document -> list of engines; the key "" stands for documents that no engine was asked for."""
    if isinstance(processes, Problem):
        return {"": processes}
    expected = [p["pid"] for p in processes if p["name"] == "dockerd" and not p["contained"]]
    found: dict[str, list[dict[str, Any]]] = {d: [] for d in _NAMES}
    starts = [i for i, r in enumerate(answers.records) if r.words[0] == "engine"]
    asked = set()
    for start, end in pairwise([*starts, len(answers.records)]):
        record = answers.records[start]
        pid, socket = whole(record.words[1]), " ".join(record.words[2:])
        asked.add(pid)
        head = {"engine": f"unix://{socket}" if socket else "dockerd", "pid": pid}
        documents = _engine(record, answers.records[start + 1 : end], missing(answers))
        for name in _NAMES:
            answer = documents.get(name, missing(answers))
            entry = {"problem": problem_at("", answer)["problem"]} if isinstance(answer, Problem) else {"data": answer}
            found[name].append({**head, **entry})
    for pid in expected:
        if pid not in asked:
            for name in _NAMES:
                found[name].append({"engine": "dockerd", "pid": pid, "problem": problem_at("", missing(answers))["problem"]})
    return dict(found)


def _engine(head: Record, records: list[Record], untold: Problem) -> dict[str, Any]:
    for word, problem in _NO_ENGINE.items():
        if word in head.body:
            return dict.fromkeys(_NAMES, problem)
    answers: dict[str, Any] = {"swarm": swarm_answers.data_of(records, untold)}
    for i, record in enumerate(records):
        if record.words[0] == "list":
            refused = _list_problem(record)
            if refused is not None:
                answers[record.words[1]] = refused
        elif record.words[0] == "doc" and record.words[1] not in answers:
            tail = []
            for later in records[i + 1 :]:
                if later.words[0] not in ("u", "s", "n"):
                    break
                tail.append(later)
            name: Any = record.words[1]
            if name in images.KEYS:
                answers[name] = image_answers.about(record, records[i + 1 :], untold)
            elif name == "programs":
                answers[name] = inside_answers.programs(record)
            elif name == "execs":
                answers[name] = inside_answers.execs(record, tail)
            else:
                answers[name] = _engine_document(name, record, tail) if name in docker.DOCUMENTS else untold
    return answers


def _list_problem(record: Record) -> Problem | None:
    """The last line of a list is curl's trailer; anything but code 200 means that the list can't be trusted."""
    problem = failed(record, "listing")
    if problem is not None:
        return problem
    trailer = re.search(r"^last [0-9a-f]+ u (\d{3}) ", text(record.body))
    if trailer and trailer[1] != "200":
        return Problem(Reason.DENIED if trailer[1] in ("401", "403") else Reason.ABSENT, f"the engine answered {trailer[1]}")
    return None


def _engine_document(name: Any, record: Record, tail: list[Record]) -> Any:
    bodies: list[tuple[bytes, Record | None]] = []
    procs: dict[int, Record] = {}
    shared: dict[int, list[str]] = {}
    body = record.body
    last = record
    for later in tail:
        last = later
        if later.words[0] == "u":
            bodies.append((body, later))
            body = later.body
        elif later.words[0] == "n":
            shared = inside_answers.shared_namespaces(later)
        else:
            procs[whole(later.words[1])] = later
    if not any(r.words[0] == "u" for r in tail) and record.body.strip():
        bodies = [(record.body, None)]  # the docker client's own output
    problem = failed(record, "asking the engine") or (failed(last, "asking the engine") if last is not record else None)
    if problem is not None:
        return problem
    if name in ("info", "version", "networks", "volumes"):
        return _single(name, bodies, record)
    elements = list(_elements(name, bodies))
    by_url = any(r.words[0] == "u" for r in tail)
    listed, got = whole(record.words[-1], 0), len(bodies) if by_url else len(elements)
    if got < listed:
        detail = f"{listed - got} of {listed} {name} were not told before the time was up or the client failed"
        elements.append({"Id": "?", "problem": {"reason": Reason.TIMEOUT.value, "detail": detail}})
    if name == "containers":
        for element in elements:
            _add_proc(element, procs, shared)
    return sorted(elements, key=lambda element: ("problem" in element, str(element.get("Name", "")), str(element["Id"])))


def _single(name: Any, bodies: list[tuple[bytes, Record | None]], record: Record) -> Any:
    if not bodies:
        said = record.stderr.splitlines()
        return Problem(reason_of(record.stderr), f"the engine did not answer: {said[-1][:300] if said else 'nothing was said'}")
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
            except (ValueError, TypeError, RecursionError) as error:
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


def _add_proc(container: dict[str, Any], procs: dict[int, Record], shared: dict[int, list[str]]) -> None:
    pid = (container.get("State") or {}).get("Pid") or 0
    if not pid:
        return
    record = procs.get(pid)
    status: dict[str, Any] = {}
    maps = []
    for line in lines_of(text(record.body)) if record else ():
        if line.startswith("map "):
            maps.append([whole(w) for w in line.split()[1:4]])
        elif ":" in line:
            key, _, value = line.partition(":")
            status[key] = value.strip()
    if "Uid" in status:
        container["proc"] = {**status, "uid_map": maps, **({"shared": shared[pid]} if pid in shared else {})}
    else:
        problem = Problem(Reason.ABSENT, "its first process could not be read in /proc")
        container["proc"] = {"problem": {"reason": problem.reason.value, "detail": problem.detail}}
