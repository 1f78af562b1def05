"""The least rights that an account needs for an audit, generated from what the selected controls ask.

For clusters a ClusterRole (and Roles where one namespace is enough), for hosts a sudoers rule. What the audit asks is read from
the same tables and composed by the same code as in the audit itself, so the two can't drift apart.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from auditor import __version__
from auditor.audit import Plan
from auditor.collect import CLUSTER_ALWAYS, HOST_ALWAYS
from auditor.facts.components import KubeletConfigs
from auditor.facts.kubernetes import DISCOVERY, KINDS, REQUESTS, Kind
from auditor.facts.script import body, compose, digest, pinned
from auditor.model import Benchmark, Fact
from auditor.yamlfile import InputError, Mistake

NAME = "cis-auditor"
_CLUSTER_SUBJECT, _HOST_SUBJECT = f"serviceaccount:{NAME}/{NAME}", "user:auditor"
_RBAC = "rbac.authorization.k8s.io"
_SUBJECT = re.compile(
    r"(?P<kind>user|group):(?P<name>[A-Za-z0-9_.@:+/-]{1,253})"
    r"|serviceaccount:(?P<namespace>[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)/(?P<account>[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)"
)
#: Names of Kubernetes' for more than who audits.
_EVERYBODY = ("system:authenticated", "system:unauthenticated", "system:anonymous", "system:serviceaccounts")
#: To sudoers such a name is one of its own for a list of accounts, unless it stands in quotes.
_ALIAS = re.compile(r"[A-Z][A-Z0-9_]*")
_LOGIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Subject:
    """Who gets the rights: a ``user``, a ``group``, or the ``serviceaccount`` of a namespace."""

    kind: str
    name: str
    namespace: str = ""

    @classmethod
    def parse(cls, text: str) -> Subject:
        """Read ``user:NAME``, ``group:NAME`` or ``serviceaccount:NAMESPACE/NAME``; raises ValueError."""
        match = _SUBJECT.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is none of user:NAME, group:NAME and serviceaccount:NAMESPACE/NAME")
        if match["kind"]:
            if match["name"] in _EVERYBODY:
                raise ValueError(f"{text!r} is everybody: name an account or a group of the audit's own")
            return cls(match["kind"], match["name"])
        return cls("serviceaccount", match["account"], match["namespace"])


def selection_of(benchmarks: Iterable[Benchmark], *, cluster: bool) -> str:
    """Say in one line which controls the rights are for: empty where there are none.

    A cluster is judged by the controls about its nodes too.
    """
    targets = ("cluster", "node") if cluster else ("docker-host", "node")
    versions: dict[str, list[str]] = {}
    controls: set[str] = set()
    for b in benchmarks:
        if found := {c.key for c in b.controls if c.target in targets}:
            versions.setdefault(b.name, []).append(b.version)
            controls |= found
    named = ", ".join(f"{name} {'/'.join(listed)}" for name, listed in versions.items())
    return f"{len(controls)} control{'s' if len(controls) != 1 else ''} of {named}" if controls else ""


# -- clusters -----------------------------------------------------------------


def cluster_role(facts: frozenset[Fact], selection: str, subject: Subject, *, nodes_proxy: bool = False) -> str:
    """Return the manifests, as YAML, that let ``subject`` read what ``facts`` need and nothing else.

    ``selection`` says in words what they are for. ``nodes_proxy`` adds the right to ask kubelets through the API server.
    """
    keys = {f.key for f in facts | CLUSTER_ALWAYS}
    kinds = [KINDS[k.removeprefix("objects:")] for k in sorted(keys) if k.removeprefix("objects:") in KINDS]
    everywhere = [k for k in kinds if not k.namespace]
    whole = {(k.group, k.resource) for k in everywhere}
    single = [k for k in kinds if k.namespace and (k.group, k.resource) not in whole]
    urls = sorted({REQUESTS[k] for k in keys if k in REQUESTS and k != KubeletConfigs().key})
    urls += [DISCOVERY] * any(k.addon for k in kinds)
    rules = ["rules:", *_rules(k for k in everywhere if not k.addon)]
    if addons := [k for k in everywhere if k.addon]:
        rules += [_comment("Extensions and kinds of later versions: without effect where the cluster has none."), *_rules(addons)]
    rules.append(_listed({"nonResourceURLs": urls, "verbs": ["get"]}))
    if nodes_proxy:
        rules += [_comment(_NODES_PROXY), _listed({"apiGroups": [""], "resources": ["nodes/proxy"], "verbs": ["get"]})]
    documents = [*_account(subject), _document("ClusterRole") + "\n".join(rules) + "\n", _binding("ClusterRole", subject)]
    for namespace in sorted({k.namespace for k in single}):
        found = [k for k in single if k.namespace == namespace]
        said = [_comment(_EXTENSION.format(namespace=namespace))] if all(k.addon for k in found) else []
        rules = [*said, _document("Role", namespace) + "rules:", *_rules(found), ""]
        documents += ["\n".join(rules), _binding("Role", subject, namespace)]
    return _comment(_CLUSTER.format(version=__version__, selection=selection)) + "\n" + "---\n".join(documents)


_CLUSTER = """What auditor {version} needs of a cluster for {selection}.
It lists objects and gets what the API server says of itself. Never Secrets; of config maps and others read by name alone, the
server is asked for metadata only, but RBAC can't tell that apart: the right to list them is a right to their content."""
_EXTENSION = "Only for clusters with an extension that has the namespace {namespace}: leave it and its binding out elsewhere."
_NODES_PROXY = """DANGER: nodes/proxy is close to root on every node. Who may get it reads through the API server all that
kubelets serve (every pod's logs and environment), and can run commands in every container, since kubelets take a WebSocket's
GET for enough. Admission control doesn't see that, nor does the audit log say what was run. It is here because it was asked
for, to read each kubelet's configz where the inventory says nodes_proxy: true. From Kubernetes 1.33 on (feature gate
KubeletFineGrainedAuthz) nodes/configz is enough for a kubelet that is asked directly; the API server, through which the audit
asks, goes on to want nodes/proxy."""


def _comment(text: str) -> str:
    return "\n".join(f"# {line}".rstrip() for line in text.splitlines())


def _dump(value: Any) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, default_flow_style=None, width=120))


def _listed(rule: Mapping[str, list[str]]) -> str:
    return "\n".join(("- " if i == 0 else "  ") + line for i, line in enumerate(_dump(dict(rule)).splitlines()))


def _rules(kinds: Iterable[Kind]) -> list[str]:
    groups: dict[str, set[str]] = {}
    for kind in kinds:
        groups.setdefault(kind.group, set()).add(kind.resource)
    return [_listed({"apiGroups": [g], "resources": sorted(groups[g]), "verbs": ["list"]}) for g in sorted(groups)]


def _document(kind: str, namespace: str = "") -> str:
    metadata = {"name": NAME, **({"namespace": namespace} if namespace else {})}
    return _dump({"apiVersion": f"{_RBAC}/v1", "kind": kind, "metadata": metadata})


def _binding(kind: str, subject: Subject, namespace: str = "") -> str:
    if subject.kind == "serviceaccount":
        who = {"kind": "ServiceAccount", "name": subject.name, "namespace": subject.namespace}
    else:
        who = {"kind": subject.kind.capitalize(), "name": subject.name, "apiGroup": _RBAC}
    role = {"apiGroup": _RBAC, "kind": kind, "name": NAME}
    return _document(f"{kind}Binding", namespace) + _dump({"roleRef": role, "subjects": [who]})


def _account(subject: Subject) -> list[str]:
    """A service account for the audit alone. Its pods have to ask for its token."""
    if subject.kind != "serviceaccount":
        return []
    account = {
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": subject.name, "namespace": subject.namespace},
        "automountServiceAccountToken": False,
    }  # fmt: skip
    namespace = {"name": subject.namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    if subject.namespace == "default" or subject.namespace.startswith("kube-"):
        return [_dump(account)]
    return [_dump({"apiVersion": "v1", "kind": "Namespace", "metadata": namespace}), _dump(account)]


# -- hosts --------------------------------------------------------------------


def script_of(facts: frozenset[Fact]) -> bytes:
    """Return the script that an audit with these facts has root run; its SHA-256 is what the sudoers rule names."""
    return body(compose(facts | HOST_ALWAYS, "0")[0])


def sudoers(facts: frozenset[Fact], selection: str, subject: Subject) -> str:
    """Return a sudoers file that lets an account run, as root, the one script that ``facts`` need.

    Raises ValueError for a subject that can't log in.
    """
    if subject.kind == "serviceaccount" or not _LOGIN.fullmatch(subject.name):
        raise ValueError("a sudoers rule is for user:NAME or group:NAME, a name of letters, digits, _, . and -")
    who = f"%{subject.name}" if subject.kind == "group" else subject.name
    if _ALIAS.fullmatch(who):
        if who == "ALL":
            raise ValueError("to sudoers ALL means everybody")
        who = f'"{who}"'
    found = digest(compose(facts | HOST_ALWAYS, "0")[0])
    alias = f"CIS_AUDITOR_{found[:12].upper()}"
    return "\n".join(
        [
            _comment(_SUDOERS.format(version=__version__, selection=selection, who=who, digest=found)),
            f"Cmnd_Alias {alias} = /bin/sh -c {escaped(pinned(found))}",
            f"Defaults!{alias} env_reset, !requiretty",
            "# So that sudo says that it allows another script, in place of asking for a password. The last matching line decides.",
            f"{who} ALL=(root) NOPASSWD: !/bin/sh -c {escaped('true && ')}*",
            f"{who} ALL=(root) NOPASSWD:NOSETENV:EXEC: {alias}",
            "",
        ]
    )


_SUDOERS = """What auditor {version} needs on a host for {selection}.
As root: visudo -cf FILE && install -o root -g root -m 0440 FILE /etc/sudoers.d/cis-auditor
(sudo reads no file there that has a dot in its name). One such file an account.

It lets {who} have root's shell read one script from standard input and run it if its SHA-256 is
  {digest}
and nothing else, without a password. `auditor privileges --ssh --script FILE` with the same options writes that script: read it,
and compare its sha256sum. It changes nothing. What it reads as root reaches the account as it is, since secrets are taken out where
the auditor runs: programs' arguments and configuration files, the Docker engine's answers (containers' environment among them),
names and modes of files. Guard the account's key accordingly.

A script for other controls or from another version of the auditor has another digest. sudo then refuses, what only root can read
becomes an error, and the report says why: print this file anew with the options and version of the audit."""


def escaped(words: str) -> str:
    """Return a command's arguments as sudoers takes them literally: special characters and those of patterns with a backslash."""
    return re.sub(r"([\\ ,:=#!*?\[\]])", r"\\\1", words)


# -- the command --------------------------------------------------------------


def write(plan: Plan, options: Mapping[str, Any]) -> None:
    """Write what the command line asks for. Raises `InputError` for a subject that doesn't fit or where nothing is asked."""
    cluster = bool(options["kubernetes"])
    selection = selection_of(plan.benchmarks.all(), cluster=cluster)
    if not selection:
        raise InputError([Mistake("--only", 0, 0, f"no selected control asks {'a cluster' if cluster else 'a host'} anything")])
    facts = plan.collector(1)
    try:
        subject = Subject.parse(options["subject"] or (_CLUSTER_SUBJECT if cluster else _HOST_SUBJECT))
        if cluster:
            text = cluster_role(facts.cluster_facts, selection, subject, nodes_proxy=options["nodes_proxy"])
        else:
            text = sudoers(facts.host_facts, selection, subject)
    except ValueError as error:
        raise InputError([Mistake("--subject", 0, 0, str(error))]) from None
    _put(options["output"], text.encode())
    if options["script"]:
        _put(options["script"], script_of(facts.host_facts))


def _put(path: Path | None, content: bytes) -> None:
    if path is None:
        sys.stdout.write(content.decode())
        return
    from auditor.files import write_private

    try:
        write_private(path, content)
    except OSError as error:
        raise InputError([Mistake(str(path), 0, 0, f"can't be written: {error.strerror}")]) from None
