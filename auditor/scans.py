"""Results of image scanners, from files into evidence.

They are read before anything is audited, reduced (see `auditor.facts.scans`) and put into the evidence of each target that holds
an image which they may be of: from then on a bundle says all that a verdict rests on, and the files aren't needed any more.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from auditor.facts.docker import Engine
from auditor.facts.scans import Scans, match, words_of
from auditor.model import Evidence, Problem
from auditor.terminal import clean
from auditor.yamlfile import InputError, Mistake

#: The largest file that is read, how many are, and how large all of them may be.
MAX_BYTES, MAX_FILES, MAX_TOTAL = 256 * 1024 * 1024, 20_000, 4 * 1024 * 1024 * 1024


def read(paths: Sequence[Path]) -> tuple[dict[str, Any], ...]:
    """Return the reduced results in files, and in folders' ``*.json`` files. Raises `InputError` with every file that is none."""
    files: list[Path] = []
    for path in paths:
        inside = sorted(p for p in path.rglob("*.json") if p.is_file()) if path.is_dir() else [path]
        if not inside:
            raise InputError([Mistake(str(path), 0, 0, "holds no *.json of a scanner")])
        files += inside
    if len(files) > MAX_FILES:
        raise InputError([Mistake(str(paths[0]), 0, 0, f"{len(files)} results are too many: at most {MAX_FILES} are read")])
    found: dict[str, dict[str, Any]] = {}
    mistakes: list[Mistake] = []
    total = 0
    for file in dict.fromkeys(files):
        try:
            scan, size = _read(file)
        except ValueError as error:
            mistakes.append(Mistake(str(file), 0, 0, clean(str(error), 300)))
            continue
        total += size
        if total > MAX_TOTAL:
            raise InputError([Mistake(str(file), 0, 0, f"is one too many: at most {MAX_TOTAL} bytes of results are read")])
        found.setdefault(scan["sha256"], scan)
    if mistakes:
        raise InputError(mistakes)
    return tuple(found.values())


def _read(file: Path) -> tuple[dict[str, Any], int]:
    from auditor.scan_formats import reduce

    try:
        with file.open("rb") as opened:
            raw = opened.read(MAX_BYTES + 1)
            written = os.fstat(opened.fileno()).st_mtime
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise ValueError(f"is too large: at most {MAX_BYTES} bytes are read")
    scan = reduce(raw)
    if not scan["time"] and 0 < written < 2**33:
        scan |= {"time": f"{datetime.fromtimestamp(written, UTC):%Y-%m-%dT%H:%M:%SZ}", "time_from": "file"}
    return {**scan, "file": clean(file.name, 200), "sha256": hashlib.sha256(raw).hexdigest()}, len(raw)


def attach(evidence: Evidence, scans: Sequence[dict[str, Any]]) -> Evidence:
    """Return evidence that holds, beside the scans that it has, those which may be of its images.

    Evidence without answers about a Docker engine's images is returned as it is.
    """
    answers = evidence.facts.get(Engine("images").key)
    if not scans or answers is None or isinstance(answers, Problem):
        return evidence
    images = [i for answer in answers for i in answer.get("data") or () if "problem" not in i]
    before = evidence.facts.get(Scans().key)
    known: dict[str, Any] = dict(before) if isinstance(before, dict) else {"given": 0, "scans": []}
    merged = {s["sha256"]: s for s in (*known["scans"], *_of(images, scans))}
    listed = sorted(merged.values(), key=lambda s: (s["scanner"], s["name"], s["time"], s["sha256"]))
    fact = {"at": evidence.collected_at, "given": known["given"] + len(scans), "scans": listed}
    return dataclasses.replace(evidence, facts={**evidence.facts, Scans().key: fact})


def _of(images: Sequence[dict[str, Any]], scans: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the scans that may be of one of these images. A fleet has many of both, so what has no word in common is left out."""
    known: dict[str, list[dict[str, Any]]] = {}
    for image in images:
        for word in words_of(image):
            known.setdefault(word, []).append(image)
    found = []
    for scan in scans:
        words = {scan["image_id"], scan["layers"], *scan["digests"], *scan["tags"]} & known.keys()
        if any(match(scan, image) for word in words for image in known[word]):
            found.append(scan)
    return found
