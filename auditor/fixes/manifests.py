"""Flags of a control plane's programs: the static pod's manifest that is really theirs, or what to do where there is none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from auditor.facts import flags
from auditor.facts.host import Files, Processes
from auditor.facts.platforms import platform_of
from auditor.facts.redact import REDACTED
from auditor.fixes.kinds import ProgramFlag
from auditor.fixes.plan import Case
from auditor.fixes.steps import After, Effect, SetFlag, Step, safe_path
from auditor.model import Outcome, Problem, Reason, TargetKind
from checks import running
from checks.running import Instance

#: Flags that count for nothing once another one names a file, and what stands in that file; "" is every flag of the program.
_IN_FILES = {
    ("kube-apiserver", "--authorization-mode"): ("--authorization-config", "authorizers"),
    ("kube-scheduler", "--profiling"): ("--config", "enableProfiling"),
    ("etcd", ""): ("--config-file", "the key of the same name"),
}
#: What an element of a list, or a value, may consist of: nothing that YAML, a shell or the program itself reads as more than it is.
_WORD = re.compile(r"[A-Za-z0-9_./:=+@*-]+(,[A-Za-z0-9_./:=+@*-]+)*")
#: The services and the keys in config.yaml by which k3s and RKE2 hand flags on.
_RANCHER = {"k3s": ("k3s", "k3s"), "RKE2": ("rke2", "rke2-server")}
_ARGS_FILES = {"kube-apiserver": "--apiserver-args-file", "kube-controller-manager": "--controller-manager-args-file",
               "kube-scheduler": "--scheduler-args-file", "kubelet": "--kubelet-args-file"}  # fmt: skip
_ANEW = "The kubelet starts {} anew by itself as soon as the manifest changes."
#: kubeadm writes its files anew at every upgrade, from a ConfigMap in kube-system.
UPGRADES = "Make the same change in the ConfigMap {} in kube-system: kubeadm writes the file anew from there when it upgrades."

Wishes = Sequence[tuple[ProgramFlag, Case]]


def program_flags(fixes: Wishes) -> Iterator[Step]:
    """Plan all flags of a target: what several controls ask of one flag becomes one value."""
    groups: dict[tuple[str, str], list[tuple[ProgramFlag, Case]]] = {}
    for fix, case in fixes:
        if case.failing():
            groups.setdefault((fix.program, fix.flag), []).append((fix, case))
    for (program, flag), wishes in groups.items():
        yield _planned(program, flag, wishes)


def _planned(program: str, flag: str, wishes: Wishes) -> Step:
    case = wishes[0][1]
    if case.target.kind is TargetKind.CLUSTER:
        nodes = nodes_of(c for _, c in wishes) or "the nodes of the control plane"
        return by_hand(wishes, f"{_loosely(flag, wishes)} of {program} on {nodes}: audit these nodes as hosts to get the steps")
    found = running.instances(case.facts, program)
    if isinstance(found, Outcome):
        return by_hand(wishes, f"{_loosely(flag, wishes)} of {program}; the evidence doesn't tell how it was started here")
    if len(found) > 1:
        return by_hand(
            wishes, f"{_loosely(flag, wishes)} of {program}; {len(found)} of them run here, so look which one it is about"
        )
    instance = found[0]
    wanted = wanted_value(flag, wishes, instance)
    if isinstance(wanted, Problem):
        return by_hand(wishes, f"{_loosely(flag, wishes)} of {program}: {wanted.detail}")
    value = wanted[0]
    said = f"Set {flag}={value}" if value is not None else f"Take {flag} out"
    managed = on_platform(case, instance, flag, value)
    if managed is not None:
        return by_hand(
            wishes, f"{said} of {program}{managed[0]}" if value is None else f"{said} for {program}{managed[0]}", managed[1]
        )
    path = _manifest(case, program)
    if isinstance(path, Problem):
        return by_hand(wishes, f"{said}, in what starts {program}: {path.detail}")
    words = f"{said} {'for' if value is not None else 'of the flags of'} {program} in {path}"
    return Step(
        action=SetFlag(path, program, flag, value), controls=_labels(wishes), subject=f"process/{program}", words=words,
        effect=Effect.CONTROL_PLANE, after=After(f"Put the new manifest of {program} in place", path=path),
        caution=" ".join(dict.fromkeys((*_cautions(wishes), _ANEW.format(program), *upgrades(case, "kubeadm-config")))),
    )  # fmt: skip


def nodes_of(cases: Iterable[Case]) -> str:
    """Return the names of a cluster's nodes on which something of the node itself fails."""
    failing = (o.subject for case in cases for o in case.failing("node"))
    return ", ".join(sorted({subject.split("/")[1] for subject in failing if subject.count("/") > 1}))


def _labels(wishes: Wishes) -> tuple[str, ...]:
    return tuple(dict.fromkeys(case.label for _, case in wishes))


def _cautions(wishes: Wishes) -> list[str]:
    return [fix.caution for fix, _ in wishes if fix.caution]


def by_hand(wishes: Wishes, words: str, lines: tuple[str, ...] = ()) -> Step:
    """Return the step for a person."""
    fix, case = wishes[0]
    return case.by_hand(f"process/{fix.program}", words, lines, controls=_labels(wishes), effect=Effect.CONTROL_PLANE,
                        caution=" ".join(dict.fromkeys(_cautions(wishes))))  # fmt: skip


def _loosely(flag: str, wishes: Wishes) -> str:
    """Return what is wanted of a flag whose present value isn't known."""
    parts = []
    for fix, _ in wishes:
        if fix.unset:
            parts.append(f"take {flag} out of the flags")
        elif fix.value is not None:
            parts.append(f"set {flag}={fix.text(fix.value)} among the flags")
        else:
            done, word = (fix.add, "add {} to") if fix.add else (fix.take, "take {} out of")
            parts.append(f"{word.format(', '.join(done))} {flag} among the flags")
    text = ", ".join(dict.fromkeys(parts))
    return text[:1].upper() + text[1:]


def wanted_value(flag: str, wishes: Wishes, instance: Instance) -> tuple[str | None] | Problem:
    """Return the one value (None: no flag) that all wishes together ask for, or why there is no such."""
    overridden = _IN_FILES.get((instance.name, flag)) or _IN_FILES.get((instance.name, ""))
    named = flags.text(instance.args, overridden[0], instance.dialect) if overridden else None
    if overridden and isinstance(named, str) and named:
        return _no(f"{overridden[0]} names {named}, which decides here: change {overridden[1]} there")
    missing = next((f.needs for f, _ in wishes if f.needs and not flags.text(instance.args, f.needs, instance.dialect)), "")
    if missing:
        return _no(f"it does nothing without {missing}: set that first")
    present = flags.listing(instance.args, flag, instance.dialect)
    if isinstance(present, Problem):
        return present
    asked = {fix.text(fix.value) for fix, _ in wishes if fix.value is not None} | {None for fix, _ in wishes if fix.unset}
    lists = [fix for fix, _ in wishes if fix.add or fix.take]
    if len(asked) + bool(lists) > 1:
        return _no("controls ask for different values; choose one")
    if asked:
        (value,) = asked
        return _no("it isn't among its flags") if value is None and present is None else _checked(value)
    add = tuple(dict.fromkeys(a for fix in lists for a in fix.add))
    take = {t for fix in lists for t in fix.take}
    if take & set(add):
        return _no("controls ask for it and against it; choose one")
    left = [p for p in present or () if p not in take]
    final = [*left, *(a for a in add if a not in left)]
    if final == (present or []):
        return _no("the flag says so already, so that something else decides")
    return _checked(",".join(final) or None)


def _no(why: str) -> Problem:
    return Problem(Reason.ABSENT, why)


def _checked(value: str | None) -> tuple[str | None] | Problem:
    if value is not None and (REDACTED in value or not _WORD.fullmatch(value)):
        return _no("its present value is not for a script")
    return (value,)


def _manifest(case: Case, program: str) -> str | Problem:
    answer = case.facts.get(Files(static_pod=program))
    if isinstance(answer, Problem):
        return _no("which manifest is its own isn't in the evidence")
    found = [f["path"] for f in answer["files"] if "problem" not in f]
    if not found:
        return _no("no manifest of a static pod is its own, so look at its unit and that unit's files of variables")
    if len(found) > 1 or len(answer["files"]) > 1:
        return _no(f"several manifests may be its own: {', '.join(f['path'] for f in answer['files'])}")
    return str(found[0]) if safe_path(found[0]) else _no("the name of its manifest is not for a script")


def upgrades(case: Case, source: str) -> list[str]:
    """Return what to look at where kubeadm made the node."""
    processes = case.facts.get(Processes())
    told = None if isinstance(processes, Problem) else platform_of(processes)
    return [UPGRADES.format(source)] if told is not None and told[0].name == "kubeadm" else []


def on_platform(case: Case, instance: Instance, flag: str, value: str | None) -> tuple[str, tuple[str, ...]] | None:
    """Return where a platform that writes its programs' flags itself wants them, in words and lines; None where none does."""
    processes = case.facts.get(Processes())
    if isinstance(processes, Problem):
        return None
    told = platform_of(processes)
    if told is None or told[0].name == "kubeadm":
        return None
    name = told[0].name
    bare = flag.removeprefix("--")
    if name in _RANCHER:
        folder, service = _RANCHER[name]
        file, key = f"/etc/rancher/{folder}/config.yaml", f"{instance.name}-arg"
        lines = (f"{key}:", f'- "{bare}={value}"') if value is not None else (f"# in {key}: no {bare}=...",)
        return f", by {key} in {file}", (*lines, f"systemctl restart {service}")
    if name == "microk8s":
        file = next((v for p in processes if p["name"] == "kubelite"
                     if isinstance(v := flags.text(p["args"], _ARGS_FILES[instance.name], flags.KUBERNETES), str)),
                    f"/var/snap/microk8s/current/args/{instance.name}") if instance.name in _ARGS_FILES else ""  # fmt: skip
        line = f"{flag}={value}" if value is not None else f"# no {flag}"
        return f", a line of {file}", (line, "snap restart microk8s.daemon-kubelite")
    return f"; {name} writes its files itself, so set it where {name} is configured", ()
