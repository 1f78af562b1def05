"""A host's answers about images -> facts. Nothing here raises for what a host says, and no content of an image is kept."""

from __future__ import annotations

import re
from typing import Any

from auditor.facts.images import reduce_history
from auditor.facts.records import Answers, Record, failed, first, lines_of, missing, problem_at, text
from auditor.model import Problem, Reason

_FOLDER = re.compile(r"^.*?/(?:overlay2|fuse-overlayfs)/[a-z0-9]+(?:-init)?/diff(?=/)")
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_:-]{0,99}")
#: Setuid files, replaced names, packages that are kept of one folder.
MANY = 5000
_BOOLEANS = {"1": "1", "t": "1", "true": "1", "0": "0", "f": "0", "false": "0"}
_CUT = Problem(Reason.TRUNCATED, "the host's answer was cut: it holds more than is read")


def about(record: Record, after: list[Record], untold: Problem) -> Any:
    """Return the data of one `auditor.facts.images.Images` fact of one engine, from its record and those that follow."""
    problem = failed(record, "asking the engine")
    if problem is not None:
        return problem
    if record.words[1] == "images:history":
        return _history(record, after)
    parts: dict[str, Record] = {}
    for later in after:
        if not later.words[0].startswith("layer-"):
            break
        parts[later.words[0]] = later
    if record.words[-1] == "0":
        return {"folders": {}, "problems": []}
    return _layers(parts, untold)


def _history(record: Record, after: list[Record]) -> Any:
    bodies: list[tuple[bytes, Record]] = []
    body = record.body
    last = record
    for later in after:
        if later.words[0] != "u":
            break
        bodies.append((body, later))
        body, last = later.body, later
    if last is not record and (problem := failed(last, "asking the engine")) is not None:
        return problem
    found = []
    numbers: dict[str, int] = {}
    for raw, trailer in sorted(bodies, key=lambda pair: pair[1].words[-1].rpartition("/images/")[2]):
        identity = trailer.words[-1].rsplit("/", 2)[-2] if trailer.words[-1].count("/") > 1 else "?"
        if trailer.words[1] == "404":
            continue  # gone between the list and the question
        if trailer.words[1] != "200":
            found.append(_missing(identity, Problem(Reason.ABSENT, f"the engine answered {trailer.words[1]}")))
            continue
        try:
            found.append({"Id": identity, "steps": reduce_history(raw, numbers)})
        except ValueError as error:
            found.append(_missing(identity, Problem(Reason.UNPARSABLE, f"its history: {error}"[:200])))
    listed = int(record.words[-1]) if re.fullmatch(r"[0-9]{1,9}", record.words[-1]) else 0
    if len(bodies) < listed:
        found.append(_missing("?", Problem(Reason.TIMEOUT, f"{listed - len(bodies)} of {listed} histories were not told")))
    return sorted(found, key=lambda element: ("problem" in element, str(element["Id"])))


def _missing(identity: str, problem: Problem) -> dict[str, Any]:
    return {"Id": identity, "problem": problem_at("", problem)["problem"]}


def _layers(parts: dict[str, Record], untold: Problem) -> Any:
    if "layer-folders" not in parts:
        return untold
    real: dict[str, str] = {}
    problems = []
    for line in lines_of(text(parts["layer-folders"].body)):
        kind, _, rest = line.partition(" ")
        if kind == "D":
            path, _, shown = rest.partition(" ")
            real[path] = shown
        elif kind == "X":
            problems.append(problem_at(rest, Problem(Reason.DENIED, "this account may not read it; root or sudo is needed")))
        elif kind == "G":
            problems.append(problem_at(rest, Problem(Reason.ABSENT, "the folder is not there")))
    if not real:
        return {"folders": {}, "problems": problems}
    wanted = ("layer-files", "layer-keys", "layer-entries", "layer-packages")
    if any(name not in parts for name in wanted):
        return untold
    folders: dict[str, dict[str, Any]] = {shown: {} for shown in real.values()}
    bodies = [text(parts[name].body) for name in wanted]
    problem = (
        _files(bodies[0], parts["layer-files"].stderr, real, folders)
        or _entries(bodies[2], real, folders)
        or _packages(bodies[3], real, folders)
    )
    if problem is not None:
        return problem
    _keys(bodies[1], real, folders)
    if "odd" in lines_of(bodies[0]) and not any(folder.get("odd") for folder in folders.values()):
        for folder in folders.values():
            folder["odd"] = True  # in which of them is not known
    for folder in folders.values():
        for name in ("setuid", "hides", "secrets"):
            if name in folder:
                folder[name] = sorted(folder[name], key=str)
    return {"folders": dict(sorted(folders.items())), "problems": problems}


def _place(path: str, real: dict[str, str], folders: dict[str, dict[str, Any]]) -> tuple[dict[str, Any], str] | None:
    """Return the folder that a path on the host belongs to and its path within it."""
    match = _FOLDER.match(path)
    shown = real.get(match[0]) if match else None
    return (folders[shown], path[len(match[0]) :]) if match and shown is not None else None


def _files(said: str, errors: str, real: dict[str, str], folders: dict[str, dict[str, Any]]) -> Problem | None:
    lines = lines_of(said)
    end = next((line for line in reversed(lines) if line), "")
    if not end.startswith("rc "):
        return Problem(Reason.TRUNCATED, "the layers hold more setuid files than are read")
    code = end[3:]
    if code in ("124", "137", "143"):
        return Problem(Reason.TIMEOUT, "looking through the layers' files took too long")
    if code != "0":
        line = errors.splitlines()[-1] if errors else f"find ended with {code}"
        return Problem(
            Reason.DENIED if "ermission denied" in line else Reason.ABSENT, f"looking through the layers' files: {line[:200]}"
        )
    for line in lines:
        kind, _, rest = line.partition(" ")
        mode, _, path = rest.partition(" ")
        place = _place(path, real, folders) if kind == "s" else None
        if place is not None:
            place[0].setdefault("setuid", []).append({"path": place[1], "mode": mode})
    return None


def _entries(said: str, real: dict[str, str], folders: dict[str, dict[str, Any]]) -> Problem | None:
    lines = lines_of(said)
    if "end" not in lines[-3:]:
        return Problem(Reason.TRUNCATED, "what the layers replace was not told to the end")
    folder: dict[str, Any] = {}
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind == "D":
            folder = folders.get(real.get(rest, ""), {})
        elif kind == "o":
            folder.setdefault("hides", []).append(f"/{rest}")
        elif kind == "P":
            folder.setdefault("databases", {}).setdefault(_manager(rest), None)
        elif line == "odd":
            folder["odd"] = True  # the name of a package's file
    return None


def _manager(path: str) -> str:
    for sign, name in (("/dpkg/status.d/", "dpkg.d"), ("/dpkg/", "dpkg"), ("/apk/", "apk"), ("/rpm/", "rpm")):
        if sign in path:
            return name
    return "pacman"


def _packages(said: str, real: dict[str, str], folders: dict[str, dict[str, Any]]) -> Problem | None:
    lines = lines_of(said)
    if "end" not in lines[-3:]:
        return Problem(Reason.TRUNCATED, "the packages of the layers were not told to the end")
    names: list[str] = []
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind == "N":
            place = _place(rest, real, folders)
            names = []
            if place is not None:
                databases = place[0].setdefault("databases", {})
                names = databases.get(_manager(rest)) or []
                databases[_manager(rest)] = names
        elif kind == "n" and _PACKAGE.fullmatch(rest) and len(names) < MANY:
            names.append(rest)
    for folder in folders.values():
        for manager, listed in folder.get("databases", {}).items():
            if listed is not None:
                folder["databases"][manager] = sorted(set(listed))
    return None


def _keys(said: str, real: dict[str, str], folders: dict[str, dict[str, Any]]) -> None:
    kinds = {"key": "private key", "credentials": "credentials"}
    for line in lines_of(said):
        kind, _, path = line.partition(" ")
        if kind == "odd" and path in real:
            folders[real[path]]["odd"] = True
        place = _place(path, real, folders) if kind in kinds else None
        if place is not None:
            place[0].setdefault("secrets", []).append({"path": place[1], "kind": kinds[kind]})


def content_trust(answers: Answers) -> Any:
    """Return the value of the `auditor.facts.images.ContentTrust` fact."""
    client, places = first(answers, "trust-client"), first(answers, "trust-places")
    if client is None or places is None:
        return missing(answers)
    said = text(client.body)
    version = re.search(r"version v?([0-9]+\.[0-9]+[^\s,]{0,40})", said)
    if not version and said.strip() != "none":
        return failed(client, "docker --version") or Problem(Reason.UNPARSABLE, "docker --version named no version")
    found = []
    denied = []
    for line in lines_of(text(places.body)):
        if line.startswith("denied /"):
            denied.append(line[7:])
            continue
        match = re.fullmatch(r"(/[^:]{1,300}):([0-9]{1,9}):(.*)", line)
        if match and not match[3].lstrip().startswith("#"):
            form, value = _form(match[3], match[1])
            found.append({"path": match[1], "line": int(match[2]), "form": form, "value": value})
    return {"client": version[1] if version else None, "places": found, "denied": denied}


def _form(line: str, path: str) -> tuple[str, str]:
    """Return how a line speaks of the variable, and its value if it is a boolean. A line that does anything else is "other"."""
    name = "DOCKER_CONTENT_TRUST"
    if path.endswith(("pam_env.conf", ".pam_environment")) and (
        match := re.fullmatch(rf"{name}\s+(?:DEFAULT|OVERRIDE)=\"?(\w*)\"?\s*", line)
    ):
        return "export", _BOOLEANS.get(match[1].lower(), "other")
    if re.fullmatch(rf"unset\s+(?:-v\s+)?{name}\s*;?\s*", line):
        return "unset", ""
    if re.fullmatch(rf"export\s+{name}\s*;?\s*", line):
        return "exported", ""
    match = re.fullmatch(
        rf"(export\s+|declare\s+-x\s+|typeset\s+-x\s+)?{name}=[\"']?(\w*)[\"']?\s*(;\s*export\s+{name}\s*)?;?\s*(?:#.*)?", line
    )
    if match is None:
        return "other", "other"
    exported = bool(match[1] or match[3]) or path.endswith(("environment", ".pam_environment"))
    return "export" if exported else "assign", _BOOLEANS.get(match[2].lower(), "" if not match[2] else "other")
