"""Objects of a cluster: patches, labels and manifests for kubectl, each with the command that tells whether it is so already."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from auditor.facts.kubernetes import WORKLOADS, Objects
from auditor.fixes.kinds import DenyTraffic, GrantReview, NamespaceLabel, ObjectField, WorkloadField
from auditor.fixes.plan import Case
from auditor.fixes.steps import Effect, Run, Step
from auditor.model import Observation, Problem
from checks.pod_policies import switched_off
from checks.workload import ENFORCE, LEVELS
from checks.workloads import at, controller_of, id_of

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_LOOSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._@-]{0,251}")
#: Workloads whose template may be changed, and which make their pods anew then.
_PATCHED = {"deployment": "Deployment", "statefulset": "StatefulSet", "daemonset": "DaemonSet", "cronjob": "CronJob"}
_LISTS = ("containers", "initContainers")
POLICY = "default-deny"
_OWNED = "Where a chart, an operator or a GitOps tool keeps the object, change it there: it would put its own back."
_DROPPED = "A program that needs a capability stops working: add it back under capabilities.add."


def kubectl(case: Case, *words: str) -> tuple[str, ...]:
    """Return a command of kubectl for this cluster; without a context in the inventory it is the current one."""
    context = case.target.address
    return ("kubectl", *((f"--context={context}",) if context and context != "in-cluster" else ()), *words)


def _parts(subject: str) -> tuple[str, str, str] | None:
    """Return kind, namespace and name of a subject; None where a name isn't one that Kubernetes allows."""
    parts = subject.split("/")
    named = (parts[0], "", parts[1]) if len(parts) == 2 else tuple(parts)
    if len(named) != 3 or not all(_NAME.fullmatch(p) for p in named[1:] if p) or not named[2]:
        return None
    return named[0], named[1], named[2]


def _by_hand(case: Case, observation: Observation, words: str, lines: tuple[str, ...] = (), controls: tuple[str, ...] = ()) -> Step:
    return case.by_hand(observation.subject, words, lines, controls=controls, effect=Effect.WORKLOADS)


def object_field(fix: ObjectField, case: Case) -> Iterator[Step]:
    """Set a field of the failing objects by a merge patch, unless they have it already and something else fails."""
    answer = case.facts.get(Objects(f"{fix.kind}s"))
    known = {} if isinstance(answer, Problem) else {id_of(item): item for item in answer}
    for observation in case.failing(fix.kind):
        named = _parts(observation.subject)
        item = known.get(named[1:]) if named else None
        if named is None or item is None:
            yield _by_hand(case, observation, f"Look at {observation.subject!a}: {observation.actual}")
            continue
        _, namespace, name = named
        if at(item, fix.field) != fix.value:
            patch: Any = fix.value
            for part in reversed(fix.field.split(".")):
                patch = {part: patch}
            where = (fix.kind, name, f"--namespace={namespace}")
            yield Step(
                action=Run(kubectl(case, "patch", *where, "--type=merge", f"--patch={_json(patch)}"),
                           kubectl(case, "get", *where, f"--output=jsonpath={{.{fix.field}}}"), _shown(fix.value)),
                controls=(case.label,), subject=observation.subject,
                words=f"Set {fix.field} to {_json(fix.value)} in {observation.subject}", effect=Effect.WORKLOADS,
                caution="Pods that are made from now on and call the API with this account need one of their own.",
            )  # fmt: skip
        if " gives " in observation.actual:
            yield _by_hand(case, observation, f"Take the roles from {observation.subject}: {observation.actual}")


def namespace_labels(fixes: Sequence[tuple[NamespaceLabel, Case]]) -> Iterator[Step]:
    """Label the failing namespaces; of Pod Security levels the strictest that is asked for, never less than there is."""
    wanted: dict[tuple[str, str], list[tuple[str, Case, Observation]]] = {}
    for fix, case in fixes:
        for observation in case.failing("namespace"):
            wanted.setdefault((observation.subject, fix.label), []).append((fix.value, case, observation))
    for (subject, label), asked in wanted.items():
        _, case, observation = asked[0]
        labels = tuple(dict.fromkeys(c.label for _, c, _ in asked))
        named = _parts(subject)
        if named is None:
            yield _by_hand(case, observation, f"Look at {subject!a}: {observation.actual}", controls=labels)
            continue
        if off := label == ENFORCE and switched_off(case.facts):
            why = "whether the API server checks that label could not be read" if isinstance(off, Observation) else off
            words = f"Labels are not enough for {subject}: {why}"
            yield _by_hand(case, observation, words, controls=labels)
            continue
        values = sorted({value for value, _, _ in asked}, key=lambda v: LEVELS.index(v) if v in LEVELS else -1)
        value, name = values[-1], named[2]
        present = _labels(case, name).get(label, "")
        if label == ENFORCE and present in LEVELS and LEVELS.index(present) >= LEVELS.index(value):
            words = f"{subject} enforces {present} already, and fails for another reason: {observation.actual}"
            yield _by_hand(case, observation, words, controls=labels)
            continue
        stricter = LEVELS[LEVELS.index(value) + 1 :] if label == ENFORCE else ()
        command = kubectl(case, "label", "--overwrite", "namespace", name, f"{label}={value}")
        escaped = label.replace(".", r"\.")
        inside = f"/{name}/"
        others = sorted({o.subject for _, c, _ in asked for o in c.failing() if o.subject.count("/") == 2 and inside in o.subject})
        now = f" Now failing there: {', '.join(others[:5])}{' and others' if len(others) > 5 else ''}." if others else ""
        dry = shlex.join((*command[:-5], "label", "--dry-run=server", *command[-4:]))
        shows = kubectl(case, "get", "namespace", name, f"--output=jsonpath={{.metadata.labels.{escaped}}}")
        yield Step(
            action=Run(command, shows, value, also=stricter), controls=labels, subject=subject,
            words=f"Label {subject} with {label}={value}",
            effect=Effect.WORKLOADS,
            caution=f"Pods that don't comply are refused when they are made anew.{now} See before which ones don't: {dry}",
        )  # fmt: skip


def _labels(case: Case, namespace: str) -> Mapping[str, str]:
    answer = case.facts.get(Objects("namespaces"))
    found = [] if isinstance(answer, Problem) else [i for i in answer if id_of(i)[1] == namespace]
    return found[0].get("metadata", {}).get("labels", {}) if found else {}


def deny_traffic(fix: DenyTraffic, case: Case) -> Iterator[Step]:
    """Give each failing namespace a policy that allows nothing; what its pods need is for others to allow."""
    for observation in case.failing("namespace"):
        named = _parts(observation.subject)
        if named is None:
            yield _by_hand(case, observation, f"Look at {observation.subject!a}: {observation.actual}")
            continue
        name, spec = named[2], {"podSelector": {}, "policyTypes": list(fix.types)}
        manifest = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": POLICY, "namespace": name}}
        where = ("networkpolicy", POLICY, f"--namespace={name}")
        shows = kubectl(case, "get", *where, "--ignore-not-found", "--output=jsonpath={.spec.podSelector}{.spec.policyTypes}")
        text = json.dumps({**manifest, "spec": spec}, indent=2) + "\n"
        yield Step(
            # Not `apply`: one that somebody made since would be changed in part and still allow what it allows.
            action=Run(kubectl(case, "create", "--filename=-"), shows, "{}" + _json(spec["policyTypes"]), text),
            controls=(case.label,), subject=observation.subject, effect=Effect.WORKLOADS,
            words=f"Give {observation.subject} the network policy {POLICY}: no traffic of any pod ({', '.join(fix.types)})",
            caution=f"The pods of {name} can then talk to nothing, not even look up names, but for what other policies allow. "
            "Write those first.",
        )  # fmt: skip


def grant_review(_fix: GrantReview, case: Case) -> Iterator[Step]:
    """Name each failing role or binding, with the command that shows it."""
    for observation in case.failing():
        kind, _, rest = observation.subject.partition("/")
        namespace, _, name = rest.rpartition("/")
        words = f"Look at {observation.subject}: {observation.actual}"
        lines: tuple[str, ...] = ()
        if _LOOSE.fullmatch(name) and (not namespace or _NAME.fullmatch(namespace)):
            where = (f"--namespace={namespace}",) if namespace else ()
            lines = (shlex.join(kubectl(case, "get", kind, name, *where, "--output=yaml")),)
        yield _by_hand(case, observation, words, lines)


class _Patch:
    """What is to be changed in one workload's template, for all controls together."""

    def __init__(self, case: Case, observation: Observation) -> None:
        self.case, self.observation = case, observation
        self.labels: dict[str, None] = {}
        self.fields: dict[tuple[str, str, str], Any] = {}  # (list or "", container, field) -> value
        self.refused: dict[str, None] = {}

    def step(self, kind: str, namespace: str, name: str, path: str) -> Iterator[Step]:
        labels = tuple(self.labels)
        if self.refused:
            words = f"Change {self.observation.subject} by hand: {'; '.join(self.refused)}"
            yield _by_hand(self.case, self.observation, words, controls=labels)
        if not self.fields:
            return
        spec: dict[str, Any] = {}
        for (where, container, field), value in self.fields.items():
            here = spec
            if where:
                entries = spec.setdefault(where, [])
                here = next((e for e in entries if e["name"] == container), {})
                if not here:
                    here["name"] = container
                    entries.append(here)
            *above, last = field.split(".")
            for part in above:
                here = here.setdefault(part, {})
            here[last] = value
        patch: Any = spec
        for part in reversed(path.split(".")):
            patch = {part: patch}
        shown = [f'{{.{path}.{w}[?(@.name=="{c}")].{f}}}' if w else f"{{.{path}.{f}}}" for w, c, f in self.fields]
        object_ = (kind, name, f"--namespace={namespace}")
        said = "; ".join(dict.fromkeys(f"{f}={_json(v)}{f' in {c}' if c else ''}" for (_, c, f), v in self.fields.items()))
        dropped = any(f.endswith("capabilities.drop") for _, _, f in self.fields)
        anew = "Its next jobs run with it." if kind == "cronjob" else "Its pods are made anew."
        yield Step(
            action=Run(kubectl(self.case, "patch", *object_, "--type=strategic", f"--patch={_json(patch)}"),
                       kubectl(self.case, "get", *object_, f"--output=jsonpath={' '.join(shown)}"),
                       " ".join(_shown(v) for v in self.fields.values())),
            controls=labels, subject=self.observation.subject, words=f"Change {self.observation.subject}: {said}",
            effect=Effect.WORKLOADS, caution=" ".join((anew, *([_DROPPED] if dropped else []), _OWNED)),
        )  # fmt: skip


def workload_fields(fixes: Sequence[tuple[WorkloadField, Case]]) -> Iterator[Step]:
    """Patch the failing workloads' templates, each once for all controls, so that its pods are made anew but once."""
    patches: dict[str, _Patch] = {}
    for fix, case in fixes:
        for observation in case.failing():
            if observation.subject.count("/") == 2:
                patch = patches.setdefault(observation.subject, _Patch(case, observation))
                patch.labels[case.label] = None
                _collect(patch, fix, case, observation)
    for subject, patch in patches.items():
        kind, namespace, name = subject.split("/")
        yield from patch.step(kind, namespace, name, WORKLOADS[_PATCHED[kind]][1] if kind in _PATCHED else "")


def _collect(patch: _Patch, fix: WorkloadField, case: Case, observation: Observation) -> None:
    named = _parts(observation.subject)
    field = fix.pod or fix.container
    if named is None or named[0] not in _PATCHED:
        patch.refused[f"{field} must be {_json(fix.value)} where it is defined"] = None
        return
    plural, path = WORKLOADS[_PATCHED[named[0]]]
    answer = case.facts.get(Objects(plural))
    item = None if isinstance(answer, Problem) else next((i for i in answer if id_of(i) == named[1:]), None)
    spec = at(item, path) if item else None
    if item is None or not isinstance(spec, dict):
        patch.refused[f"{field} must be {_json(fix.value)}; the evidence doesn't hold its template"] = None
        return
    owner = controller_of(item)
    if owner is not None:
        patch.refused[f"{field} must be {_json(fix.value)}; {owner['kind']} {owner['name']} owns it, so it is set there"] = None
        return
    value = list(fix.value) if isinstance(fix.value, tuple) else fix.value
    asked = bool(fix.pod and at(spec, fix.pod) != value)
    if asked:
        patch.fields["", "", fix.pod] = value
    for where in _LISTS:
        for container in spec.get(where, ()):
            asked = _container(patch, fix, where, container, value) or asked
    if not asked:
        patch.refused[f"its template has {field} as it should be; older pods or something else fail: {observation.actual}"] = None


def _container(patch: _Patch, fix: WorkloadField, where: str, container: Mapping[str, Any], value: Any) -> bool:
    """Note what a container of a template needs; return whether it needs anything."""
    name, field = str(container.get("name", "")), fix.container or fix.pod
    present = at(container, field)
    if fix.pod and (present is None or not fix.pod.startswith("securityContext.")):
        return False  # it has what the pod has
    if present == value or (isinstance(value, list) and isinstance(present, list) and set(value) <= set(present)):
        return False
    if at(container, "securityContext.privileged"):
        patch.refused[f"{name} is privileged, which goes before {field}"] = None
    elif not _NAME.fullmatch(name):
        patch.refused[f"the container {name!a} needs {field}={_json(value)}"] = None
    else:
        patch.fields[where, name, field] = value
    return True


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _shown(value: Any) -> str:
    """Return a value as kubectl's jsonpath prints it."""
    return value if isinstance(value, str) else _json(value)
