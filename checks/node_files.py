"""Files of a Kubernetes node that its programs are told to use: which those are, by everything that is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auditor.facts.host import NODE_FILES, Files, Processes
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason
from checks import base, running
from checks.expectation import Expect
from checks.running import Instance
from checks.setting import DropIns, FileSource, Setting

_ANY = Expect(set=True)


def _flag(process: str, flag: str) -> Setting:
    return Setting(process=process, flag=flag, type="text", expect=_ANY)


def _kubeconfigs(process: str) -> tuple[Setting, ...]:
    return tuple(_flag(process, f) for f in ("--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig"))


def _configured(process: str, flag: str = "") -> Setting:
    return Setting(process=process, flag=flag, file=FileSource(from_flag="--config"), key="clientConnection.kubeconfig",
                   file_overrides=True, type="text", expect=_ANY)  # fmt: skip


#: What names the files of each kind; a kind that isn't here has no single names.
_NAMED: dict[str, tuple[Setting, ...]] = {
    "etcd-data": (
        Setting(process="etcd", flag="--data-dir", env="ETCD_DATA_DIR", key="data-dir", file_overrides=True, type="text",
                file=FileSource(from_flag="--config-file", from_env="ETCD_CONFIG_FILE"), expect=_ANY),
    ),
    "scheduler-kubeconfig": (*_kubeconfigs("kube-scheduler"), _configured("kube-scheduler")),
    "controller-manager-kubeconfig": _kubeconfigs("kube-controller-manager"),
    "kube-proxy-kubeconfig": (_configured("kube-proxy", "--kubeconfig"),),
    "kubelet-kubeconfig": (_flag("kubelet", "--kubeconfig"),),
    "kubelet-client-ca": (
        Setting(process="kubelet", flag="--client-ca-file", key="authentication.x509.clientCAFile",
                file=FileSource(from_flag="--config"), drop_ins=DropIns(from_flag="--config-dir"), type="text", expect=_ANY),
    ),
}  # fmt: skip
#: Why there is no file to judge although the program runs.
_WHY_NOT = {
    "kubelet-client-ca": "the kubelet is told of no CA for its clients",
    "kubelet-kubeconfig": "the kubelet was given no --kubeconfig, so it runs by itself",
    "kube-proxy-kubeconfig": "kube-proxy takes its credentials from its pod and from no file of this host",
}
#: Without them these programs don't work: that none was found is a gap in the evidence.
_MUST_BE = ("pki", "etcd-data")


def needs(file: Files) -> frozenset[Fact]:
    """Return what tells which files a question of the kind ``node`` is about."""
    return frozenset().union(*(s.needs() for s in _NAMED.get(file.node, ())))


def mistaken(file: Files, facts: Facts, answer: Mapping[str, Any]) -> list[Observation]:
    """Return errors for files that a program was told to use and that were not found, or not looked for.

    The host's shell reads configuration files by their looks; here they were parsed.
    """
    there = {entry["path"] for entry in answer["files"]}
    wrong = []
    processes = facts.get(Processes())
    if isinstance(processes, Problem) and file.node in _NAMED:  # who knows which files they were told to use
        wrong.append(base.error(f"process/{NODE_FILES[file.node]}", processes, source="running processes"))
    for instance, source, named in _told(file, facts):
        if isinstance(named, Problem):
            wrong.append(base.error(instance.subject, named, source=source))
        elif named not in answer["searched"] or (not named.startswith("/") and file.node != "etcd-data"):
            problem = Problem(Reason.ABSENT, f"it names {base.show(named)}, which was not looked at")
            wrong.append(base.error(instance.subject, problem, source=source))
        elif named not in there and not (file.node == "kube-proxy-kubeconfig" and instance.contained):
            problem = Problem(Reason.ABSENT, f"it names {base.show(named)}, which was not found")
            wrong.append(base.error(instance.subject, problem, source=source))
    return wrong


def meant(file: Files, facts: Facts, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the entries of an answer that are in use: a file may name another that a later one overrides."""
    if file.node not in _NAMED:
        return entries
    told = [named for _, _, named in _told(file, facts)]
    if not told or any(isinstance(named, Problem) for named in told):
        return entries
    return [e for e in entries if "problem" in e or e["path"] in told]


def _told(file: Files, facts: Facts) -> list[tuple[Instance, str, str | Problem]]:
    """Return what each running instance was told to use, and where that stands."""
    found: list[tuple[Instance, str, str | Problem]] = []
    for setting in _NAMED.get(file.node, ()):
        instances = running.instances(facts, setting.process)
        for instance in [] if isinstance(instances, Outcome) else instances:
            value = setting.find(facts, instance)
            if isinstance(value, Problem):
                found.append((instance, f"{setting.flag or setting.key} of {instance}", value))
            elif value.value:
                found.append((instance, value.source, str(value.value)))
    return found


def nothing(file: Files, where: str, expected: str) -> Outcome:
    """Return what it means that a running program's files were not found."""
    program = NODE_FILES[file.node]
    if file.node.startswith(_MUST_BE):
        problem = Problem(Reason.ABSENT, f"{program} runs, but these files of it were not found{where}")
        return Outcome((base.error(f"process/{program}", problem, expected=expected, source="stat"),))
    return Outcome((), _WHY_NOT.get(file.node, f"{program} was told of no such file") + where)
