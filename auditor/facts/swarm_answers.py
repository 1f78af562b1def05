"""What a host's script says about a swarm -> the data of a `Swarm` fact. Nothing here raises for what a host says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from auditor.facts import swarm
from auditor.facts.records import Record, failed, text
from auditor.model import Problem, Reason

_UNTOLD = Problem(Reason.TRUNCATED, "the host's answer about its swarm is not complete")


def data_of(records: list[Record], untold: Problem) -> dict[str, Any] | Problem:
    """Return what the records of one engine say about its swarm; ``untold`` stands for what they leave out."""
    told: dict[str, tuple[Record, Record | None]] = {}
    for i, record in enumerate(records):
        if record.words[:2] == ["doc", "swarm"] and (problem := failed(record, "asking the engine")) is not None:
            return problem
        if record.words[0] == "w":
            after = records[i + 1] if i + 1 < len(records) else None
            told[record.words[1]] = (record, after if after is not None and after.words[0] == "u" else None)
    if "info" not in told:
        return untold
    record = told["info"][0]
    try:
        if (problem := failed(record, "asking the engine")) is not None:
            return problem
        data = swarm.reduce_info(record.body)
    except ValueError as error:
        return Problem(Reason.UNPARSABLE, f"the engine's info: {swarm.decode_error(record.body) or error}"[:300])
    if data["info"]["LocalNodeState"] == "inactive":
        return data
    data["settings"] = _part(told, "docker-state.json", lambda r: _file(r, swarm.reduce_settings), untold)
    data["node_certificate"] = _part(told, "swarm-node.crt", lambda r: _file(r, swarm.certificates), untold)
    data["root_certificates"] = _part(told, "swarm-root-ca.crt", lambda r: _file(r, swarm.certificates), untold)
    data["interfaces"] = _part(told, "interfaces", lambda r: swarm.interfaces(text(r.body)), untold)
    bound = told.get("bound")
    data["listeners"] = _part(
        told, "sockets", lambda r: swarm.listeners(text(r.body), text(bound[0].body)) if bound else _problem(untold), untold
    )
    if data["info"].get("ControlAvailable"):
        for part in swarm.PARTS:
            data[part] = _list(told[part], part) if part in told else _problem(untold)
    return data


def _problem(problem: Problem) -> dict[str, Any]:
    return {"problem": {"reason": problem.reason.value, "detail": problem.detail}}


def _part(told: dict[str, Any], name: str, read: Callable[[Record], Any], untold: Problem) -> Any:
    if name not in told:
        return _problem(untold)
    record: Record = told[name][0]
    what = " ".join(record.words[2:]) or {"sockets": "dockerd's sockets", "interfaces": "the host's addresses"}.get(name, name)
    try:
        problem = failed(record, what)
        return _problem(problem) if problem is not None else read(record)
    except ValueError as error:
        return _problem(Problem(Reason.UNPARSABLE, f"{what}: {error}"[:300]))


def _file(record: Record, read: Callable[[bytes], Any]) -> dict[str, Any]:
    return {"path": " ".join(record.words[2:]), "data": read(record.body)}


def _list(found: tuple[Record, Record | None], part: swarm.Part) -> Any:
    record, trailer = found
    if trailer is not None and trailer.words[1] != "200":
        code = trailer.words[1]
        said = record.stderr.splitlines()[-1:] if code == "000" else [f"answered {code} {swarm.decode_error(record.body)}".strip()]
        reason = Reason.DENIED if code in ("401", "403") else Reason.ABSENT
        return _problem(Problem(reason, f"the engine's {part}: {' '.join(said) or 'no answer'}"[:300]))
    problem = failed(record, f"the engine's {part}")
    if problem is not None:
        return _problem(problem)
    if not record.body.strip():
        said = record.stderr.splitlines()[-1:]
        return _problem(Problem(Reason.ABSENT, f"the engine's {part}: {' '.join(said) or 'nothing was said'}"[:300]))
    try:
        return swarm.reduce_part(part, record.body)
    except ValueError as error:
        return _problem(Problem(Reason.UNPARSABLE, f"the engine's {part}: {swarm.decode_error(record.body) or error}"[:300]))
