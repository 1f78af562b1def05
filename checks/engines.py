"""What the Docker checks share: an engine with what is known about it, and paths into its documents."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from auditor.facts.docker import Document, Engine, fields
from auditor.facts.host import Config, Processes
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason, problem_of
from checks import base

NO_ENGINE = "no Docker engine runs here"
PODMAN = "podman answers on this socket: it has no daemon that could be set up"
#: The dockerd settings that the host can tell; asked with the same words as a ``setting`` check asks, so asked once.
DAEMON_CONFIG = Config(process="dockerd", flag="--config-file", path="/etc/docker/daemon.json")
DAEMON_FACTS: frozenset[Fact] = frozenset({Processes(), DAEMON_CONFIG})
_STEP = re.compile(r'([^.\[\]{}"]+)(\[\]|\{\})?((?:\["[^"]+"\])*)(?:\.|$)')


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """One engine of the target: how it was reached, its dockerd's pid, and the way to everything else.

    ``suffix`` tells it from the target's other engines in a subject; it is empty when there is only one.
    """

    url: str
    pid: int | None
    suffix: str
    facts: Facts
    made: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what ``make`` makes of this engine's facts: an index, say, made once for all its containers."""
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    def document(self, document: Document) -> Any | Problem:
        """Return one of this engine's documents."""
        return self.answer(Engine(document))

    def answer(self, fact: Fact) -> Any | Problem:
        """Return this engine's data of a fact that has an entry for each engine."""
        answers = self.facts.get(fact)
        if isinstance(answers, Problem):
            return answers
        for answer in answers:
            if (answer["engine"], answer.get("pid")) == (self.url, self.pid):
                return problem_of(answer) if "problem" in answer else answer["data"]
        return Problem(Reason.ABSENT, f"no {fact.key} of {self.url}")

    def process(self) -> dict[str, Any] | Problem:
        """Return the dockerd process of this engine."""
        processes = self.facts.get(Processes())
        if isinstance(processes, Problem):
            return processes
        found: dict[str, Any] | None = next((p for p in processes if p["pid"] == self.pid), None)
        return found or Problem(Reason.ABSENT, f"the process of {self.url} is not among those found")

    def settings(self) -> dict[str, Any] | Problem:
        """Return the document in this dockerd's configuration file, empty when it has none; ``mtime`` is under the key "".

        The default file is not there on many hosts, which is fine; one that is named or can't be read is a problem.
        """
        configs = self.facts.get(DAEMON_CONFIG)
        if isinstance(configs, Problem):
            return configs
        for config in configs:
            if config["pid"] == self.pid:
                merged: dict[str, Any] = {}
                for document in config["documents"]:
                    if "problem" in document:
                        return problem_of(document)
                    if not isinstance(document["data"], dict):
                        return Problem(Reason.UNPARSABLE, f"{document['path']} does not hold an object")
                    merged |= {**document["data"], "": document.get("mtime", 0)}
                return merged
        return Problem(Reason.ABSENT, f"the configuration of {self.url} is not among those found")

    def image_of(self, container: dict[str, Any]) -> dict[str, Any] | Problem:
        """Return the image that a container was made from."""
        images = self.document("images")
        if isinstance(images, Problem):
            return images
        by_id = self.once("images by id", lambda: {i["Id"]: i for i in reversed(images)})
        found: dict[str, Any] | None = by_id.get(container.get("Image"))
        if found is None:
            return Problem(Reason.ABSENT, "its image is not among the engine's images")
        return problem_of(found) if "problem" in found else found


@dataclass(frozen=True, slots=True)
class Answers:
    """The engines' answers to one question: what was read, what is missing, and what the whole means if there is neither."""

    read: tuple[tuple[EngineFacts, Any], ...]
    missing: tuple[Observation, ...]
    reason: str = ""


def answers(facts: Facts, document: Document) -> Answers:
    """Return every engine of the target with its ``document``; missing ones are error observations."""
    return base.once(facts, ("engines", document), lambda: _answers(facts, document))


def _answers(facts: Facts, document: Document) -> Answers:
    found = facts.get(Engine(document))
    if isinstance(found, Problem):
        return Answers((), (base.error("daemon/dockerd", found, source=source(document)),))
    read: list[tuple[EngineFacts, Any]] = []
    missing: list[Observation] = []
    podman = False
    for answer in found:
        suffix = f"@{answer['engine']}" if len(found) > 1 else ""
        engine = EngineFacts(answer["engine"], answer.get("pid"), suffix, facts)
        if "problem" in answer:
            missing.append(base.error(f"daemon/dockerd{suffix}", problem_of(answer), source=source(document)))
        elif _says_podman(document, answer["data"]):
            podman = True
        else:
            read.append((engine, answer["data"]))
    return Answers(tuple(read), tuple(missing), PODMAN if podman else "" if found else NO_ENGINE)


def _says_podman(document: Document, data: Any) -> bool:
    if document == "version":
        return any(c.get("Name") == "Podman Engine" for c in data.get("Components") or ())
    return document == "info" and "BuildahVersion" in data


def source(document: Document, field: str = "") -> str:
    """Return where in an engine's answers something was read, for an observation."""
    name = {"containers": "docker inspect", "images": "docker image inspect", "networks": "docker network inspect",
            "volumes": "docker volume inspect", "info": "docker info", "version": "docker version"}[document]  # fmt: skip
    return f"{name}: {field}" if field else name


def security_options(engine: EngineFacts) -> set[str] | Problem:
    """Return what the engine supports or has on (``name=apparmor``, ``name=userns``, ...), without what follows a comma."""
    info = engine.document("info")
    if isinstance(info, Problem):
        return info
    return {str(option).partition(",")[0] for option in info.get("SecurityOptions") or ()}


def each(facts: Facts, document: Document, judge: Callable[[EngineFacts, Any], Observation | str]) -> Outcome:
    """Return what ``judge`` says about every engine with its ``document``: an observation, or why there is nothing to observe."""
    found = answers(facts, document)
    said = [judge(engine, data) for engine, data in found.read]
    seen = [s for s in said if isinstance(s, Observation)]
    return conclude([*found.missing, *seen], [found.reason, *(s for s in said if isinstance(s, str))])


def conclude(observations: list[Observation], reasons: list[str]) -> Outcome:
    """Return the outcome of a check over all engines."""
    return base.outcome(observations, "; ".join(dict.fromkeys(r for r in reasons if r)) or NO_ENGINE)


def name_of_container(container: dict[str, Any]) -> str:
    """Return a container's name, else its short id."""
    return str(container.get("Name") or "").lstrip("/") or str(container["Id"]).removeprefix("sha256:")[:12]


def name_of_image(image: dict[str, Any]) -> str:
    """Return an image's first tag, else its short id."""
    tags = [t for t in image.get("RepoTags") or () if not str(t).startswith("<none>")]
    return str(tags[0]) if tags else str(image["Id"]).removeprefix("sha256:")[:12]


Path = tuple[tuple[str, str], ...]  # (name, "" | "[]" | "{}"), one pair a step


@cache
def parse_path(document: Document, text: str) -> Path:
    """Return the steps of a field's path: ``a.b``, ``a[].b``, ``a{}.b``, ``a["key.with.dots"]``.

    Raises ValueError when it is no path, or when it leads to a field that is not kept of ``document``.
    """
    steps: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            raise ValueError(f'{text!r} is not a field\'s path, such as Swarm.LocalNodeState or Options["name.with.dots"]')
        steps.append((match[1], match[2] or ""))
        steps.extend((key, "") for key in re.findall(r'\["([^"]+)"\]', match[3]))
        at = match.end()
    if not steps:
        raise ValueError("the field is missing")
    plain = [name for name, _ in steps]
    known = {f: [p.removesuffix("[]").removesuffix("{}") for p in f.split(".")] for f in fields(document)}
    if not any(parts == plain[: len(parts)] or plain == parts[: len(plain)] for parts in known.values()):
        close = difflib.get_close_matches(text, known, n=1, cutoff=0.5)
        raise ValueError(f"{text!r} is not among what is read of {document}" + (f"; did you mean {close[0]!r}?" if close else ""))
    return tuple(steps)


def look_up(value: Any, path: Path) -> Any:
    """Return what stands at a path, None when there is nothing; a path with ``[]`` or ``{}`` gives a list."""
    for i, (name, many) in enumerate(path):
        value = value.get(name) if isinstance(value, dict) else None
        if value is None:
            return None
        if many:
            inner = list(value.values()) if isinstance(value, dict) else value
            rest = path[i + 1 :]
            return [found for item in inner if (found := look_up(item, rest) if rest else item) is not None]
    return value
