"""What hosts really said: the two streams of a script's run on test hosts, recorded, and facts and verdicts made of them.

``python -m tests.support.streams`` as root records them anew; commit what it writes to tests/recorded/hosts.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from auditor import collect
from auditor.engine import needs
from auditor.facts import answers
from auditor.facts.host import ENGINE_PACKAGES
from auditor.facts.records import Answers
from auditor.model import Benchmark, Fact, Problem
from tests.support.collecting import FACTS, spec
from tests.support.collecting import collect as collect_from
from tests.support.host import TestHost

FOLDER = Path(__file__).parents[1] / "recorded" / "hosts"
MARKER = "c0ffee"
NAMES = ("docker", "control-plane", "k3s")


@dataclass(frozen=True)
class Nothing:
    """Stands where the recording has a question that nobody asks any more."""

    key: str


@dataclass(frozen=True)
class Stream:
    """A recorded run: both streams, and the questions in the order of their numbers."""

    name: str
    stdout: bytes
    stderr: bytes
    ordered: tuple[Fact, ...]

    @property
    def frames(self) -> list[bytes]:
        """The first stream cut before each marker."""
        return self.stdout.split(f"\n{MARKER} ".encode())

    def facts(self, stdout: bytes | None = None, stderr: bytes | None = None, lost: Problem | None = None) -> dict[str, Any]:
        """Return the facts of these streams, of the recorded ones where none are given."""
        out = self.stdout if stdout is None else stdout
        err = self.stderr if stderr is None else stderr
        return answers.facts_of(answers.split(out, err, MARKER, lost), self.ordered)


def heard(stdout: bytes, marker: str = MARKER) -> bytes:
    """Return the standard error of a host that says nothing there: the same markers."""
    return b"".join(f"\n{marker} ".encode() + f.partition(b"\n")[0] + b"\n" for f in stdout.split(f"\n{marker} ".encode())[1:])


def joined(frames: Sequence[bytes]) -> bytes:
    """Return the stream that frames make."""
    return f"\n{MARKER} ".encode().join(frames)


@cache
def every_version() -> tuple[Benchmark, ...]:
    """Return every version of every packaged benchmark."""
    from auditor.catalogue import packaged
    from checks import check_types

    library = packaged(check_types())
    return tuple(library.load(f"{n}@{v}") for n, versions in library.names().items() for v in versions)


@cache
def recorded(name: str) -> Stream:
    """Return a recorded run."""
    document = json.loads((FOLDER / f"{name}.json").read_text())
    known: dict[str, Fact] = {f.key: f for f in needs(every_version(), "host") | FACTS | collect.HOST_ALWAYS}
    ordered = tuple(known.get(key) or Nothing(key) for key in document["questions"])
    return Stream(name, document["stdout"].encode("latin-1"), document["stderr"].encode("latin-1"), ordered)


def _neutral(text: str, marker: str) -> str:
    """Take this machine's own things out of a stream."""
    text = text.replace(marker, MARKER).replace(platform.release(), "6.1.0-28-amd64")
    text = re.sub(r"\n[^\n]*/dev/shm[^\n]*", "", text)
    ours = "|".join(re.escape(p) for p in ENGINE_PACKAGES)
    head, sign, tail = text.partition(f"\n{MARKER} packages\n")
    listed, end, rest = tail.partition(f"\n{MARKER} ")
    kept = [line for i, line in enumerate(listed.split("\n")) if i == 0 or re.match(ours, line)]
    return head + sign + "\n".join(kept) + end + rest


def main() -> None:
    """Start the hosts, collect, save what they said."""
    from tests.support.engine import DockerHost
    from tests.support.kube_node import KubeNode
    from tests.support.kube_platforms import K3sNode

    makers: dict[str, Callable[[], AbstractContextManager[TestHost]]] = {
        "docker": lambda: DockerHost(hostname="web-1", settings={"log-level": "info"}),
        "control-plane": lambda: KubeNode(hostname="cp-1"),
        "k3s": lambda: K3sNode(hostname="k3s-1"),
    }
    said: list[tuple[bytes, bytes, str]] = []
    asked: list[Sequence[Fact]] = []
    split, facts_of = answers.split, answers.facts_of

    def listen(stdout: bytes, stderr: bytes, marker: str, lost: Problem | None = None) -> Answers:
        said.append((stdout, stderr, marker))
        return split(stdout, stderr, marker, lost)

    def note(found: Answers, ordered: Sequence[Fact]) -> dict[str, Any]:
        asked.append(ordered)
        return facts_of(found, ordered)

    answers.split, answers.facts_of = listen, note
    for name in NAMES:
        with makers[name]() as host:
            (found,) = collect_from(spec(host), facts=needs(every_version(), "host") | FACTS).values()
        assert found.error is None, found.error
        out, err, marker = said[-1]
        document = {"questions": [f.key for f in asked[-1]], "stdout": _neutral(out.decode("latin-1"), marker),
                    "stderr": _neutral(err.decode("latin-1"), marker)}  # fmt: skip
        assert not re.search(r"auditor-host-|/tmp/|/dev/shm|127\.0\.[1-9]", document["stdout"] + document["stderr"]), name
        FOLDER.mkdir(exist_ok=True)
        path = FOLDER / f"{name}.json"
        path.write_text(json.dumps(document, indent=0, sort_keys=True) + "\n")
        print(path)


if __name__ == "__main__":
    main()
