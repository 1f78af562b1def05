"""Whether every target lets an audit do its work, found out with as few requests as can be.

A host runs one tiny script: who are we, would sudo let us run the audit's own script, are the commands there that it takes. A
cluster is asked for one object of each kind that the controls need, an engine for its version. Where a host gives less than the
audit needs, the audit's own questions are asked as the audit would, so that the controls named are those that would be errors.
"""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from auditor import correlate, engine, privileges
from auditor.audit import Benchmarks, Plan
from auditor.collect import CLUSTER_ALWAYS, HOST_ALWAYS, Collector
from auditor.facts import inside
from auditor.facts.answers import OTHER_SCRIPT
from auditor.facts.components import KubeletConfigs
from auditor.facts.images import Images
from auditor.facts.kubernetes import KINDS, REQUESTS, Server
from auditor.facts.script import PINNED, compose, digest, pinned
from auditor.facts.swarm import Swarm
from auditor.inventory import ClusterSpec, EngineSpec, HostSpec, Spec
from auditor.model import Evidence, Problem, Reason, Status, TargetStatus
from auditor.terminal import clean
from auditor.transports import local
from auditor.transports.base import ShellAnswer, TargetError

#: Commands without which the audit's script can't answer all it is asked; curl or docker only where there is an engine.
COMMANDS = ("awk", "cut", "find", "grep", "head", "readlink", "sed", "stat", "timeout", "tr")
_SOCKET = "/var/run/docker.sock"
_FACT = "preflight"


@dataclass(frozen=True, slots=True)
class Missing:
    """A right that the account lacks: what for, why we think so, and the line of ``auditor privileges`` that gives it."""

    what: str
    why: str
    line: str = ""


@dataclass(frozen=True, slots=True)
class WouldBe:
    """A control that would be an error on a target, and why."""

    benchmark: str
    id: str
    control: str
    why: str


@dataclass(frozen=True, slots=True)
class Found:
    """What became of one target: ``error`` is why it can't be audited at all; ``account`` is who we are there."""

    target: str
    transport: str
    account: str = ""
    error: str = ""
    missing: tuple[Missing, ...] = ()
    controls: tuple[WouldBe, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether the audit gets all that it needs."""
        return not (self.error or self.missing or self.controls)


def check(plan: Plan, jobs: int) -> list[Found]:
    """Ask every target of a plan; return what became of each in the inventory's order."""
    benchmarks = plan.benchmarks
    prober = _Prober(plan.inventory, benchmarks.needs("host"), benchmarks.needs("cluster"), jobs, credentials=plan.credentials)
    specs = {s.name: s for s in plan.inventory.specs()}
    found = {e.target.name: _found(specs[e.target.name], e, benchmarks) for e in prober.run(list(specs.values()))}
    return [found[name] for name in specs]


class _Prober(Collector):
    """Collects, in place of evidence, what tells whether evidence could be had."""

    def _facts(self, spec: Spec) -> dict[str, Any]:
        if isinstance(spec, HostSpec):
            return self._asked(spec, self._tried(spec))
        if isinstance(spec, EngineSpec):
            from auditor.transports.docker import collect_engine

            keys = {f.key for f in self.host_facts | HOST_ALWAYS}
            return collect_engine(spec, frozenset({k for k in keys if not k.startswith("engine:")} - _ENGINES | {"engine:version"}))
        from auditor.transports.kubernetes import collect_cluster

        return collect_cluster(spec, frozenset(f.key for f in self.cluster_facts | CLUSTER_ALWAYS), probe=True)

    def _asked(self, spec: HostSpec, told: dict[str, Any]) -> dict[str, Any]:
        """Ask what the audit asks where not all of it will be answered."""
        if not (told["why"] or told["lacks"]):
            return {_FACT: told}
        try:
            return {_FACT: told, **super()._facts(spec)}
        except TargetError as error:
            return {_FACT: {**told, "error": str(error.problem)}}

    def _tried(self, spec: HostSpec) -> dict[str, Any]:
        """Run the tiny script and return what it says. Raises `TargetError` when it says nothing."""
        marker = secrets.token_hex(8)
        command = trial(spec.ssh.become, digest(compose(self.host_facts | HOST_ALWAYS, "0")[0]), marker)
        if spec.transport == "local":
            answer = local.run(command, b"", spec.ssh.timeout)
        else:
            answer = self._ssh.connections.run(self._ssh.hops.login(spec), command, b"", spec.ssh.timeout)
        return _told(answer, marker)


#: What only an engine answers, beside its documents: not asked for here.
_ENGINES = frozenset({Swarm().key, Images("history").key, *inside.FACTS})


def trial(become: str, script_digest: str, marker: str) -> str:
    """Return the command that finds out who we are on a host and whether sudo lets us run the script with this digest.

    sudo is really asked, for exactly the words of the audit, but what root's shell reads is no script with that digest: so it
    runs nothing and ends with 3. Where sudo refuses it ends with 1. Nothing is written.
    """
    lines = [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin",
        "LC_ALL=C; export PATH LC_ALL",
        'have() { command -v "$1" >/dev/null 2>&1; }',
        f'm={shlex.quote(marker)}; u=$(id -u); printf \'%s id %s %s\\n\' "$m" "$u" "$(id -un)"',
        f"for c in {' '.join(COMMANDS)}; do have $c || printf '%s lacks %s\\n' \"$m\" $c; done",
        f"[ ! -S {_SOCKET} ] || have curl || have docker || printf '%s lacks curl\\n' \"$m\"",
    ]
    if become == "none":
        lines.append('[ "$u" != 0 ] && h=none || h=root; printf "%s how %s 0\\n" "$m" "$h"')
    else:
        lines += [
            'if [ "$u" = 0 ]; then h=root r=0; elif ! have sudo; then h=nosudo r=0',
            f"else h=sudo; set -- sh -s sudo; have sha256sum && set -- /bin/sh -c {shlex.quote(pinned(script_digest))}",
            # Without sha256sum the shell reads this line as its script, in which it does nothing either.
            'case $1 in sh) i=: ;; *) i="x x x 0 0" ;; esac; s=$(printf "%s\\n" "$i" | sudo -n "$@" 2>&1); r=$?; fi',
            'printf "%s how %s %s\\n%s\\n" "$m" "$h" "$r" "$s"',
        ]
    return f"exec sh -c {shlex.quote(chr(10).join(lines))}"


def _told(answer: ShellAnswer, marker: str) -> dict[str, Any]:
    """Return who we are (``user``), ``how`` we get root, ``why`` not, and which commands the host ``lacks``."""
    head, found, rest = answer.stdout.decode("utf-8", "replace").partition(f"{marker} how ")
    words = {line.split(" ", 2)[1]: line.split(" ", 2)[2] for line in head.splitlines() if line.startswith(f"{marker} id ")}
    if not found or "id" not in words:
        said = f"{head} {answer.stderr.decode('utf-8', 'replace')}"
        problem = Problem(Reason.UNPARSABLE, f"the host's shell did not run the script: {' '.join(said.split())[:300]}")
        raise TargetError(answer.lost or problem)
    uid, _, user = words["id"].partition(" ")
    first, _, said = rest.partition("\n")
    how, _, code = first.partition(" ")
    lacks = [line.rpartition(" ")[2] for line in head.splitlines() if line.startswith(f"{marker} lacks ")]
    return {"user": user or uid, "how": how, "why": _why_not_root(how, code, " ".join(said.split())[:300]), "lacks": lacks}


def _why_not_root(how: str, code: str, said: str) -> str:
    if how == "none":
        return "the inventory says become: none, and the login is not root's"
    if how == "nosudo":
        return "there is no sudo"
    if how == "root" or (code in ("0", "3") and "ermission denied" not in said):
        return ""
    if f"/bin/sh -c {PINNED}" in said:
        return OTHER_SCRIPT
    if code in ("0", "3"):  # sudo's noexec: root's shell could start nothing
        return f"sudo doesn't let the script run commands: {said}"
    return f"sudo refused: {said or f'it ended with {code}'}"


def _found(spec: Spec, evidence: Evidence, benchmarks: Benchmarks) -> Found:
    target = evidence.target
    if evidence.status is not TargetStatus.AUDITED:
        return Found(target.name, target.transport, error=str(evidence.error))
    if isinstance(spec, HostSpec):
        return _host(spec, evidence, benchmarks)
    if isinstance(spec, EngineSpec):
        return _engine(evidence, benchmarks)
    return _cluster(spec, evidence, benchmarks)


def _host(spec: HostSpec, evidence: Evidence, benchmarks: Benchmarks) -> Found:
    told = evidence.facts[_FACT]
    account = f"{told['user']}{' (root by sudo)' if told['how'] == 'sudo' and not told['why'] else ''}"
    missing = [Missing(f"the command {c}", "it is not on the host's path") for c in told["lacks"]]
    controls: list[WouldBe] = []
    if told["why"]:
        missing.insert(0, Missing("root", told["why"], _sudoers_line(told["user"], benchmarks)))
    if missing and "error" not in told:
        for finding in engine.judge([b for b, _ in benchmarks.of(evidence)], evidence):
            why = next((o.actual for o in finding.observations if o.status is Status.ERROR), "")
            if finding.status is Status.ERROR:
                controls.append(WouldBe(f"{finding.benchmark}@{finding.version}", finding.id, finding.control, why))
    return Found(spec.name, spec.transport, account, told.get("error", ""), tuple(missing), tuple(controls))


def _sudoers_line(user: str, benchmarks: Benchmarks) -> str:
    selection = privileges.selection_of(benchmarks.all(), cluster=False)
    try:
        text = privileges.sudoers(benchmarks.needs("host"), selection, privileges.Subject("user", user))
    except ValueError:
        return ""
    return text.splitlines()[-1]


def _engine(evidence: Evidence, benchmarks: Benchmarks) -> Found:
    """Only controls that need nothing of the engine are sure to be errors; others may be, or not, when its objects are read."""
    version: Any = evidence.facts["engine:version"]
    problems = [f"{e['problem']['reason']}: {e['problem']['detail']}" for e in version if "problem" in e]
    controls = []
    for benchmark, _ in benchmarks.of(evidence):
        for control in benchmark.controls:
            keys = {f.key for f in control.check.needs()}
            host = [evidence.facts.get(k) for k in sorted(keys)]
            if control.target == "docker-host" and host and all(isinstance(p, Problem) for p in host):
                controls.append(WouldBe(benchmark.ref, control.id, control.key, str(host[0])))
    return Found(evidence.target.name, "docker", "", "; ".join(problems), (), tuple(controls))


def _cluster(spec: ClusterSpec, evidence: Evidence, benchmarks: Benchmarks) -> Found:
    # What isn't served is no matter of rights, and what the inventory leaves off was left off on purpose.
    lost = {k: p for k, p in evidence.facts.items() if isinstance(p, Problem) and p.reason is not Reason.ABSENT}
    kubelets: Any = evidence.facts.get(KubeletConfigs().key)
    for answer in kubelets if isinstance(kubelets, list) else ():
        if "problem" in answer:
            lost[KubeletConfigs().key] = Problem(Reason(answer["problem"]["reason"]), answer["problem"]["detail"])
    # Controls about nodes are judged by what the API shows of them too.
    nodes = {f.key for f in correlate.needs(benchmarks.all())}
    controls = []
    for benchmark, _ in benchmarks.of(evidence):
        for control in benchmark.controls:
            parts = [p for p in (control.check, control.applies_when) if p is not None]
            needed = nodes if control.target == "node" else {f.key for part in parts for f in part.needs()}
            if control.target != "docker-host" and (keys := sorted(needed & lost.keys())):
                controls.append(WouldBe(benchmark.ref, control.id, control.key, str(lost[keys[0]])))
    missing = tuple(Missing(_asked(k), str(p), _role_line(k) if p.reason is Reason.DENIED else "") for k, p in sorted(lost.items()))
    server: Any = evidence.facts.get(Server().key)
    account = str(server.get("account", "")) if isinstance(server, dict) else ""
    return Found(spec.name, "kubernetes", account, "", missing, tuple(controls))


def _asked(key: str) -> str:
    kind = key.removeprefix("objects:")
    return f"list {kind}" if kind in KINDS else f"get {REQUESTS.get(key, key)}"


def _role_line(key: str) -> str:
    """Return the rule of the printed ClusterRole, or Role of one namespace, that lacks, on one line."""
    kind = KINDS.get(key.removeprefix("objects:"))
    if kind is not None:
        rule = f'{{apiGroups: ["{kind.group}"], resources: [{kind.resource}], verbs: [list]}}'
        return f"Role in {kind.namespace}: {rule}" if kind.namespace else f"ClusterRole: {rule}"
    if key == KubeletConfigs().key:
        return 'ClusterRole: {apiGroups: [""], resources: [nodes/proxy], verbs: [get]}'
    return f"ClusterRole: {{nonResourceURLs: [{REQUESTS[key]}], verbs: [get]}}" if key in REQUESTS else ""


# -- saying it ----------------------------------------------------------------


def to_json(found: Sequence[Found]) -> str:
    """Return all of it as a JSON document."""
    targets = [{**asdict(f), "ready": f.ready} for f in found]
    return json.dumps({"ready": sum(f.ready for f in found), "targets": targets}, indent=2, ensure_ascii=False)


def to_text(found: Sequence[Found]) -> str:
    """Return all of it as lines for a person."""
    lines: list[str] = []
    for f in found:
        who = f" as {f.account}" if f.account else ""
        if f.error:
            lines.append(f"{f.target}: can't be audited: {f.error}")
        elif f.ready:
            lines.append(f"{f.target}: ready{who}")
        else:
            lines.append(f"{f.target}: reached{who}; {len(f.controls)} controls would be errors")
        for m in f.missing:
            lines.append(f"  missing: {m.what}: {m.why}")
            lines += [f"    to add: {m.line}"] if m.line else []
        lines += [f"  error: {', '.join(ids)}: {why}" for why, ids in _by_reason(f.controls).items()]
    ready = sum(f.ready for f in found)
    lines.append(f"{ready} of {len(found)} targets are ready")
    if any(m.line for f in found for m in f.missing):
        lines.append("auditor privileges, with the same options, prints the whole sudoers file (--ssh) or roles (--kubernetes).")
    return "\n".join(clean(line, 2000) for line in lines)


def _by_reason(controls: Iterable[WouldBe]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for c in controls:
        found.setdefault(c.why, []).append(f"{c.benchmark} {c.id}")
    return found
