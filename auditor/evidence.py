"""Evidence bundles: one JSON file a target, redacted before it is written, with a digest over what it holds."""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auditor.files import write_private
from auditor.model import Evidence, Problem, Target, TargetStatus, problem_of
from auditor.yamlfile import InputError, Mistake

FORMAT = "cis-auditor-evidence/1"
MAX_BYTES = 1024 * 1024 * 1024


def encode_answer(answer: Any) -> Any:
    """Return an answer as JSON: a `Problem` becomes ``{"problem": {"reason", "detail"}}``."""
    if isinstance(answer, Problem):
        return {"problem": {"reason": answer.reason.value, "detail": answer.detail}}
    return answer


def decode_answer(answer: Any) -> Any:
    """Return the answer or the `Problem` that `encode_answer` wrote."""
    if isinstance(answer, dict) and answer.keys() == {"problem"}:
        return problem_of(answer)
    return answer


def _body(evidence: Evidence) -> dict[str, Any]:
    target = evidence.target
    return {
        "format": FORMAT,
        "target": {
            "name": target.name,
            "transport": target.transport,
            "address": target.address,
            "groups": list(target.groups),
            **({"nodes": list(target.nodes)} if target.nodes else {}),
        },
        "collected_at": evidence.collected_at,
        "status": evidence.status.value,
        "error": encode_answer(evidence.error)["problem"] if evidence.error else None,
        "facts": {key: encode_answer(evidence.facts[key]) for key in sorted(evidence.facts)},
    }


#: Sorted keys, no spaces, ASCII only: what is digested, and what stands in a bundle.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def _encoded(evidence: Evidence) -> tuple[dict[str, str], dict[str, str]]:
    """Return what a bundle holds in canonical JSON by its keys, the facts and the rest: the digest and the file are made of it."""
    body = _body(evidence)
    facts = body.pop("facts")
    return {k: _CANONICAL(v) for k, v in facts.items()}, {k: _CANONICAL(v) for k, v in body.items()}


def _object(parts: Mapping[str, str], line: str = "") -> str:
    """Return the object of values that are JSON already, each on a line of its own that begins with ``line``, or all in one."""
    inside = f",{line}".join(f"{_CANONICAL(k)}:{parts[k]}" for k in sorted(parts))
    return f"{{{line}{inside}{line[:-1]}}}" if inside else "{}"


def digest(evidence: Evidence) -> str:
    """Return the SHA-256 over the canonical JSON of everything in the bundle. It is taken once: nobody changes evidence."""
    if "sha256" not in evidence.known:
        _take_digest(evidence, *_encoded(evidence))
    return evidence.known["sha256"]


def _take_digest(evidence: Evidence, facts: Mapping[str, str], rest: Mapping[str, str]) -> None:
    evidence.known["sha256"] = hashlib.sha256(_object({**rest, "facts": _object(facts)}).encode("ascii")).hexdigest()


def file_name(target: str) -> str:
    """Return a file name for a target's name that can't leave its folder or clash with another's."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", target).lstrip(".") or "_"
    if safe != target or len(safe) > 100:
        safe = f"{safe[:100]}-{hashlib.sha256(target.encode()).hexdigest()[:8]}"
    return safe


def save(evidence: Evidence, folder: Path) -> Path:
    """Write a bundle into a folder and return its path."""
    facts, rest = _encoded(evidence)
    _take_digest(evidence, facts, rest)
    lines = _object({**rest, "facts": _object(facts, "\n  "), "sha256": f'"{digest(evidence)}"'}, "\n ")
    path = folder / f"{file_name(evidence.target.name)}.evidence.json"
    write_private(path, f"{lines}\n".encode("ascii"))
    return path


def load(path: Path) -> Evidence:
    """Read a bundle; raises `InputError` when it isn't one or was altered."""
    name = str(path)

    def wrong(message: str) -> InputError:
        return InputError([Mistake(name, 0, 0, message)])

    try:
        seen = path.stat()
        if not stat.S_ISREG(seen.st_mode) and not path.is_dir():  # a pipe or a device in a folder of somebody's would never end
            raise wrong("is no file")
        if seen.st_size > MAX_BYTES:
            raise wrong(f"is larger than {MAX_BYTES} bytes")
        document = json.loads(path.read_bytes())
        return _decode(document, wrong)
    except OSError as error:
        raise wrong(f"can't be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise wrong(f"is not an evidence bundle ({type(error).__name__}: {error})") from None


def _decode(document: dict[str, Any], wrong: Any) -> Evidence:
    if document.get("format") != FORMAT:
        raise wrong(f"has the format {document.get('format')!r}; this version reads {FORMAT!r}")
    target = document["target"]
    facts = {str(key): decode_answer(answer) for key, answer in document["facts"].items()}
    error = problem_of({"problem": document["error"]}) if document["error"] else None
    subject = Target(str(target["name"]), str(target["transport"]), str(target["address"]), tuple(map(str, target["groups"])),
                     tuple(map(str, target.get("nodes", ()))))  # fmt: skip
    evidence = Evidence(subject, str(document["collected_at"]), facts, TargetStatus(document["status"]), error)
    body = {key: value for key, value in document.items() if key != "sha256"}
    if _body(evidence) != body or digest(evidence) != document["sha256"]:
        raise wrong("was altered after it was written: its content does not match its digest")
    return evidence


def load_all(path: Path) -> list[Evidence]:
    """Read a bundle, or every bundle of a folder in the order of their names; raises `InputError`."""
    files = sorted(path.glob("*.evidence.json")) if path.is_dir() else [path]
    if not files:
        raise InputError([Mistake(str(path), 0, 0, "holds no *.evidence.json")])
    return [load(f) for f in files]
