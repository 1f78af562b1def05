"""Settings of the kubelet: which of its files decides, what overrides it, and what it takes for the kubelet to heed it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

from auditor.facts import flags
from auditor.facts.host import Config, Files
from auditor.fixes.kinds import KubeletSetting, ProgramFlag
from auditor.fixes.manifests import nodes_of, on_platform, upgrades
from auditor.fixes.plan import Case
from auditor.fixes.steps import REMOVED, After, Effect, SetKey, Step, safe_path
from auditor.fixes.yamltext import one_line
from auditor.model import Outcome, Problem, Reason, TargetKind
from checks import running
from checks.running import Instance

_CONFIG = Config(process="kubelet", flag="--config", dropins="--config-dir")
_UNIT = Files(unit="kubelet.service")
_RESTART = After("Restart the kubelet", service="kubelet")
#: Where kubeadm's drop-in of the unit takes flags from.
_VARIABLES = ("/var/lib/kubelet/kubeadm-flags.env", "/etc/default/kubelet", "/etc/sysconfig/kubelet")


def kubelet_setting(fix: KubeletSetting, case: Case) -> Iterator[Step]:
    """Set a key in the file that decides, and name a flag that overrides it."""
    if not case.failing():
        return
    said = _said(fix)
    if case.target.kind is TargetKind.CLUSTER:
        nodes = nodes_of([case])
        on = f" on {nodes}" if nodes else ""
        yield _by_hand(fix, case, f"{said} in the kubelet's configuration{on}: audit these nodes as hosts to get the steps")
        return
    found = running.instances(case.facts, "kubelet")
    if isinstance(found, Outcome) or len(found) > 1:
        why = "several kubelets run here" if not isinstance(found, Outcome) else "the evidence doesn't tell how it was started here"
        yield _by_hand(fix, case, f"{said} in the kubelet's configuration; {why}")
        return
    instance = found[0]
    flag_value = None if fix.remove or "." in fix.key else fix.value
    managed = on_platform(case, instance, fix.flag or f"--{fix.key}", "..." if flag_value is None else ProgramFlag.text(flag_value))
    if managed is not None:
        yield _by_hand(fix, case, *_managed(fix, instance, managed))
        return
    where = _file(case, instance, fix.key)
    if isinstance(where, Problem):
        yield _by_hand(fix, case, f"{said} in the kubelet's configuration: {where.detail}", _document(fix))
        return
    path, present = where
    if _present(present, fix.key) != (fix.value if not isinstance(fix.value, tuple) else list(fix.value)):
        yield _step(fix, case, path)
    yield from _overriding(fix, case, instance)


def _said(fix: KubeletSetting) -> str:
    return f"Take {fix.key} out" if fix.remove else f"Set {fix.key} to {json.dumps(fix.value)}"


def _step(fix: KubeletSetting, case: Case, path: str) -> Step:
    value = REMOVED if fix.remove else list(fix.value) if isinstance(fix.value, tuple) else fix.value
    form = "json" if path.endswith(".json") else "yaml"
    try:
        if value is not REMOVED:
            one_line(value)
    except ValueError as error:
        return _by_hand(fix, case, f"{_said(fix)} in {path}: {error}")
    return Step(
        action=SetKey(path, form, tuple(fix.key.split(".")), value), controls=(case.label,), subject="process/kubelet",
        words=f"{_said(fix)} in {path}", effect=Effect.RESTART, after=_RESTART,
        caution=" ".join(filter(None, (fix.caution, *upgrades(case, "kubelet-config")))),
    )  # fmt: skip


def _by_hand(fix: KubeletSetting, case: Case, words: str, lines: tuple[str, ...] = ()) -> Step:
    return case.by_hand("process/kubelet", words, lines, effect=Effect.RESTART, caution=fix.caution)


def _document(fix: KubeletSetting) -> tuple[str, ...]:
    """Return a drop-in that holds the setting and nothing else."""
    if fix.remove:
        return ()
    parts = fix.key.split(".")
    nested = [f"{'  ' * n}{part}:" for n, part in enumerate(parts)]
    nested[-1] += f" {json.dumps(fix.value)}"
    return ("apiVersion: kubelet.config.k8s.io/v1beta1", "kind: KubeletConfiguration", *nested)


def _managed(fix: KubeletSetting, instance: Instance, managed: tuple[str, tuple[str, ...]]) -> tuple[str, tuple[str, ...]]:
    """Return words and lines for a platform that writes the kubelet's files itself; k3s and RKE2 read drop-ins of others."""
    folder = flags.text(instance.args, "--config-dir", instance.dialect)
    if managed[1] and isinstance(folder, str) and folder:
        restart = managed[1][-1]
        return f"{_said(fix)} in a file of your own in {folder}, such as 99-site.conf, mode 0600", (*_document(fix), f"# {restart}")
    return f"{_said(fix)} for the kubelet{managed[0]}", managed[1]


def _file(case: Case, instance: Instance, key: str) -> tuple[str, Any] | Problem:
    """Return the path and content of the file in which the key must be set, so that no file that is read later overrides it."""
    answer = case.facts.get(_config_of(case))
    if isinstance(answer, Problem):
        return answer
    documents = [d for entry in answer if entry["pid"] == instance.pid for d in entry["documents"]]
    named = flags.text(instance.args, "--config", instance.dialect)
    broken = next((d["path"] for d in documents if "problem" in d), "")
    if broken:
        return _no(f"{broken} could not be read")
    if not isinstance(named, str) or not named or not documents:
        return _no("it was started without a file; write one and name it with --config")
    deciding = [d for d in documents if _present(d["data"], key) is not REMOVED]
    chosen = deciding[-1] if deciding else documents[0]
    if not safe_path(chosen["path"]):
        return _no("the name of its file is not for a script")
    return chosen["path"], chosen["data"]


def _config_of(case: Case) -> Config:
    """Return the question for the kubelet's files as the control itself asks it."""
    return next((f for f in case.control.check.needs() if isinstance(f, Config) and f.process == "kubelet"), _CONFIG)


def _no(why: str) -> Problem:
    return Problem(Reason.ABSENT, why)


def _present(data: Any, key: str) -> Any:
    """Return what stands under a dotted key, `REMOVED` where nothing does."""
    for part in key.split("."):
        if not isinstance(data, dict) or part not in data:
            return REMOVED
        data = data[part]
    return data


def _overriding(fix: KubeletSetting, case: Case, instance: Instance) -> Iterator[Step]:
    """Name a flag that beats the file. Where the flags come from isn't in the evidence, so a person takes it out."""
    if not fix.flag:
        return
    if fix.key.startswith("featureGates."):
        gates = flags.mapping(instance.args, fix.flag, instance.dialect)
        given = isinstance(gates, dict) and fix.key.partition(".")[2] in gates
    else:
        given = bool(flags.occurrences(instance.args, fix.flag, instance.dialect, boolean=True))
    if not given:
        return
    answer = case.facts.get(_UNIT)
    units = [] if isinstance(answer, Problem) else [f["path"] for f in answer["files"] if safe_path(f["path"])]
    words = (
        f"Take {fix.flag} out of the kubelet's flags, where it overrides the file: {fix.flag} stands in one of the files named here"
    )
    files = shlex.join((*_VARIABLES, *units))
    lines = (f"grep -n -e {fix.flag} {files}", "systemctl daemon-reload", "systemctl restart kubelet")
    yield _by_hand(fix, case, words, lines)
