"""Modes and owners of files. The script itself makes sure, on the host, that nobody can put another file in the way."""

from __future__ import annotations

from collections.abc import Iterator

from auditor.facts.host import Files
from auditor.fixes.kinds import Chmod, Chown
from auditor.fixes.plan import Case
from auditor.fixes.steps import KeepBits, Own, Step, safe_path
from auditor.model import Observation, Problem


def failing_paths(case: Case) -> Iterator[tuple[Observation, str]]:
    """Yield each failing file's observation and path."""
    for observation in case.failing("file"):
        yield observation, observation.subject.removeprefix("file/")


def _on_nodes(case: Case, what: str) -> Iterator[Step]:
    """Say what is to be done on a cluster's nodes: a cluster's script reaches none of them."""
    for observation in case.failing("node"):
        node, kind, path = [*observation.subject.removeprefix("node/").split("/", 2), "", ""][:3]
        if kind != "file":
            continue
        shown = path if safe_path(path) else ascii(path)
        words = f"On the node {node}: {what.format(shown)}. Its own script does so where it was audited as a host"
        yield case.by_hand(observation.subject, words)


def file_mode(fix: Chmod, case: Case) -> Iterator[Step]:
    """Take away bits of the failing files' modes."""
    on_nodes = f"{fix.keep}, or {fix.files} where it is no folder" if fix.files else fix.keep
    yield from _on_nodes(case, f"take from {{}} all permissions beyond {on_nodes}")
    for observation, path in failing_paths(case):
        if not safe_path(path):
            yield case.unsafe(observation)
            continue
        keep = fix.files if fix.files and path not in _folders(case) else fix.keep
        words = f"Take from {path} all permissions beyond {keep}"
        yield Step(
            action=KeepBits(path, int(keep, 8)), controls=(case.label,), subject=observation.subject, words=words,
            caution=_caution(path),
        )  # fmt: skip


def _folders(case: Case) -> set[str]:
    """Return which of the files that the control asked about are folders."""
    answers = [case.facts.get(fact) for fact in case.control.check.needs() if isinstance(fact, Files)]
    return {f["path"] for a in answers if not isinstance(a, Problem) for f in a["files"] if f.get("type") == "directory"}


def file_owner(fix: Chown, case: Case) -> Iterator[Step]:
    """Give the failing files to their proper account."""
    group = fix.groups[0] if fix.groups else fix.group
    yield from _on_nodes(case, f"give {{}} to {':'.join(n for n in (fix.user, group) if n)}")
    for observation, path in failing_paths(case):
        if not safe_path(path):
            yield case.unsafe(observation)
        elif "etcd runs as uid" in observation.actual and not observation.actual.endswith("etcd runs as uid 0"):
            words = f"Give {path} to the account that etcd runs as here, or run it as {fix.user}: {observation.actual}"
            yield case.by_hand(observation.subject, words)
        elif "runs without root as uid" in observation.expected:
            words = f"Give {path} back to the account of its engine: {observation.expected}"
            yield case.by_hand(observation.subject, words)
        else:
            owner = f"{fix.user}:{group}" if fix.user and group else f"the user {fix.user}" if fix.user else f"the group {group}"
            words = f"Give {path} to {owner}"
            yield Step(
                action=Own(path, fix.user, group), controls=(case.label,), subject=observation.subject, words=words,
                caution=_caution(path),
            )  # fmt: skip


def _caution(path: str) -> str:
    """A socket is made anew by whatever listens on it."""
    if not path.endswith(".sock"):
        return ""
    if path.endswith("docker.sock"):
        return "The engine's start makes the socket anew: set SocketUser=, SocketGroup= and SocketMode= in docker.socket as well."
    return "Its program's start makes the socket anew: set the same in that program's configuration."
