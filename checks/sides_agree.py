"""``sides_agree``: what runs on a node is what its manifest, its files and the API say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from auditor.facts.components import CONTROL_PLANE
from auditor.facts.flags import FALSE_WORDS, TRUE_WORDS, duration_of
from auditor.facts.redact import REDACTED
from auditor.facts.sides import Sides
from auditor.model import Fact, Facts, Observation, Outcome, Problem
from checks import base

#: A kubelet sees a changed manifest within 20 s and restarts the pod; so many seconds may pass before that counts as not done.
RESTART_SECONDS = 120
#: How many differences of one program are shown.
_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class SidesAgree:
    """Every node's programs run with what the other sides say they should; one observation a node and program.

    Of ``static-pods`` the arguments of the running process (over SSH), those of its manifest as its kubelet read it (mirror pod,
    over the API), those that the API server tells of itself and those that k3s or RKE2 noted on its node are compared; of
    ``kubelets`` their files (over SSH) and their configuration in force (over the API). A node that only one side shows
    is not compared.
    """

    of: Literal["static-pods", "kubelets"]

    def needs(self) -> frozenset[Fact]:
        """Both sides of every node."""
        return frozenset({Sides()})

    def evaluate(self, facts: Facts) -> Outcome:
        """Compare the sides of every program."""
        sides = facts.get(Sides())
        if isinstance(sides, Problem):
            return Outcome((base.error("cluster/nodes", sides, source="both sides of its nodes"),))
        judge = _static_pods if self.of == "static-pods" else _kubelet
        found = [o for node in sides["nodes"] for o in judge(node)]
        return base.outcome(found, "no node was seen from two sides: name the nodes' hosts under the cluster in the inventory"
                            + ("" if self.of == "static-pods" else " and let it read kubelets (nodes_proxy)"))  # fmt: skip


def _static_pods(node: Mapping[str, Any]) -> Iterator[Observation]:
    for entry in node["programs"]:
        subject, expected = f"node/{node['node']}/process/{entry['program']}", "the process runs with what its manifest says"
        process, manifest, answers = entry["process"], entry["manifest"], entry["answers"]
        if entry.get("several") and entry["program"] in CONTROL_PLANE and node["host"] is not None:
            actual = f"{entry['several']} of them run or have a manifest there, so which one is which isn't known"
            yield base.verdict(subject, ok=False, expected=expected, actual=actual, source="mirror pods, running processes")
            continue
        if process is None and manifest is not None and node["host"] is not None:
            yield base.verdict(subject, ok=False, expected=expected, actual=f"no {entry['program']} runs there",
                               source="mirror pod, running processes")  # fmt: skip
            continue
        differences: list[str] = []
        sources = []
        if process is not None and manifest is not None:
            sources += ["mirror pod", "command line"]
            differences += [
                f"{d}: the manifest changed and the program was not restarted"
                for d in _apart(process, manifest, "process", "manifest")
            ]
        if answers is not None and (process or manifest) is not None:
            sources.append("/flagz of the API server")
            differences += _said(process or manifest, answers, "process" if process is not None else "manifest")
        given = entry.get("given")
        if given and process is not None:
            sources += ["annotation node-args", "command line"]
            differences += _not_given(process, given)
        if not sources:
            continue
        late = entry["written"] - entry["started"] if process is not None and entry["written"] else 0
        compared = process or manifest if manifest is not None or answers is not None else given
        actual = f"the same {number_of(len(by_name(compared)), 'flag')}"
        if late > RESTART_SECONDS and not differences:
            actual += f"; its manifest was written {late} s after the process started, which changed none of them"
        yield base.verdict(subject, not differences, expected=expected, actual=_list(differences) or actual,
                           source=", ".join(sources))  # fmt: skip


def _kubelet(node: Mapping[str, Any]) -> Iterator[Observation]:
    files, configz = node["kubelet"]["files"], node["kubelet"]["configz"]
    if files is None or configz is None:
        return
    program = next((p for p in node["programs"] if p["program"] == "kubelet"), None)
    flags = by_name(program["process"] if program and program["process"] else [])
    differences = [d for d in _deeper(files, configz, "") if not _set_by_flag(d[0], flags)]
    said = [f"{path}: {base.show(file)} in its files, {base.show(live)} in force" for path, file, live in differences]
    shown = [f"{s}: the files changed and the kubelet was not restarted" for s in said]
    yield base.verdict(
        f"node/{node['node']}/process/kubelet", not shown, expected="the kubelet runs with what its files say",
        actual=_list(shown) or "everything that its files set is in force", source="configuration files, configz",
    )  # fmt: skip


def _set_by_flag(path: str, flags: Mapping[str, Any]) -> bool:
    """A flag wins over the files: nearly all are called like the last part of the key."""
    kebab = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", path.rpartition(".")[2]).lower()
    return any(kebab == name or kebab in name or name in kebab for name in flags if name not in ("config", "v"))


def _deeper(file: Mapping[str, Any], live: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any, Any]]:
    for key, value in file.items():
        where = f"{path}.{key}" if path else str(key)
        if where in ("apiVersion", "kind") or value is None or str(value) == REDACTED:
            continue
        if isinstance(value, Mapping):
            inner = live.get(key)
            yield from _deeper(value, inner if isinstance(inner, Mapping) else {}, where)
        elif key in live and str(live[key]) != REDACTED and not _same(value, live[key]):
            yield where, value, live[key]
        elif key not in live and value not in (0, "", [], False, "0s"):
            yield where, value, None  # what is empty is left out of the answer


def _same(one: Any, other: Any) -> bool:
    if one == other:
        return True
    first, second = (duration_of(v) if isinstance(v, str) else None for v in (one, other))
    if isinstance(first, int) and isinstance(second, int):
        return first == second
    return isinstance(one, list) and isinstance(other, list) and sorted(map(str, one)) == sorted(map(str, other))


def by_name(args: Sequence[str]) -> dict[str, list[str]]:
    """Return the values of every flag by its name, dashes for underscores, in their order."""
    found: dict[str, list[str]] = {}
    words = list(args)
    for index, word in enumerate(words):
        if not word.startswith("-"):
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if not equals:
            following = words[index + 1] if index + 1 < len(words) else "-"
            value = "true" if following.startswith("-") else following
        found.setdefault(name.replace("_", "-"), []).append(value)
    return found


def _apart(one: Sequence[str], other: Sequence[str], first: str, second: str) -> Iterator[str]:
    left, right = by_name(one), by_name(other)
    for name in sorted(left.keys() | right.keys()):
        if left.get(name) != right.get(name) and REDACTED not in str((left.get(name), right.get(name))):
            yield f"--{name}: {first} {_value(left.get(name))}, {second} {_value(right.get(name))}"


def _not_given(process: Sequence[str], given: Sequence[str]) -> Iterator[str]:
    """Compare what k3s or RKE2 was told to give: its own flags come with it."""
    running = by_name(process)
    for name, values in sorted(by_name(given).items()):
        mine = running.get(name)
        same = mine is not None and any(_means_the_same(values, v) for v in (mine[-1], ",".join(mine)))
        if name[-1] not in "+-" and not same and REDACTED not in str((values, mine)):
            yield f"--{name}: process {_value(mine)}, but k3s or RKE2 noted {_value(values)} on its node"


def _said(args: Sequence[str], answers: Sequence[str], side: str) -> Iterator[str]:
    """Compare what was given only: the API server tells every flag, in a spelling of its own."""
    told = by_name(answers)
    for name, values in sorted(by_name(args).items()):
        answer = told.get(name, [""])[-1]
        if name in told and not _means_the_same(values, answer) and REDACTED not in str((values, answer)):
            yield f"--{name}: {side} {_value(values)}, the API server says {answer or 'nothing'}"


def _means_the_same(values: Sequence[str], answer: str) -> bool:
    last, everything = values[-1], ",".join(values)
    for words in (TRUE_WORDS, FALSE_WORDS):
        if last in words and answer in words:
            return True
    one, other = duration_of(last), duration_of(answer)
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    spelled = {tuple(sorted(p.strip("\"' ") for p in text.split(","))) for text in (last, everything)}
    return tuple(sorted(p.strip("\"' ") for p in answer.split(","))) in spelled


def number_of(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _value(values: list[str] | None) -> str:
    return "not given" if values is None else base.show(values)


def _list(differences: Sequence[str]) -> str:
    more = f"; and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
    return "; ".join(differences[:_SHOWN]) + more
