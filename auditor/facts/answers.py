"""The answers of a host's script -> facts.

What the host says is hostile: nothing here raises for it. A record that is missing, cut or odd becomes a `Problem`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from auditor.facts import (
    embedded_answers,
    engine_answers,
    host_answers,
    image_answers,
    inside_answers,
    node_answers,
    redact,
    system_answers,
)
from auditor.facts.docker import Engine
from auditor.facts.host import AuditRules, Config, Files, Listeners, Processes, System
from auditor.facts.images import ContentTrust, Images
from auditor.facts.inside import ExecLog, Execs, Programs
from auditor.facts.node import AddressFilter, Authorities, KubernetesVersion
from auditor.facts.records import Answers, Record, first, lines_of, missing, split, text, whole
from auditor.facts.script import PINNED
from auditor.facts.swarm import Swarm
from auditor.model import Fact, Problem, Reason

__all__ = ["facts_of", "split"]

OTHER_SCRIPT = (
    "its rule is for another selection of controls or another version of the auditor, so it did not run this script; "
    "`auditor privileges --ssh` prints the rule for this one"
)

_TITLED = ("k3s", "rke2")
_CUT = Problem(Reason.UNPARSABLE, "what the host said about one of its programs is not complete")


def facts_of(answers: Answers, ordered: Sequence[Fact]) -> dict[str, Any]:
    """Return the answer or the `Problem` of every fact; ``ordered`` are the facts as `script.compose` numbered them."""
    processes = _processes(answers)
    found: dict[str, Any] = {System().key: _system(answers), Processes().key: processes}
    stats, plan = host_answers.stats_of(answers), host_answers.plan_of(answers)
    engines: dict[str, Any] | None = None
    for index, fact in enumerate(ordered):
        if isinstance(fact, Config):
            found[fact.key] = host_answers.config(answers, index, fact, processes)
        elif isinstance(fact, Files):
            found[fact.key] = (
                system_answers.api_sockets(answers, stats, processes)
                if fact.listener == "dockerd"
                else host_answers.files(answers, index, plan, stats, fact)
            )
        elif isinstance(fact, ContentTrust):
            found[fact.key] = image_answers.content_trust(answers)
        elif isinstance(fact, Authorities):
            found[fact.key] = node_answers.authorities(answers)
        elif isinstance(fact, KubernetesVersion):
            found[fact.key] = node_answers.kubernetes_version(answers, processes)
        elif isinstance(fact, AddressFilter):
            found[fact.key] = node_answers.address_filter(answers, fact)
        elif isinstance(fact, AuditRules):
            found[fact.key] = host_answers.audit_rules(answers)
        elif isinstance(fact, Listeners):
            found[fact.key] = system_answers.listeners(answers, processes)
        elif type(fact) in system_answers.OTHERS:
            found[fact.key] = system_answers.OTHERS[type(fact)](answers)
        elif isinstance(fact, ExecLog):
            found[fact.key] = inside_answers.exec_log(first(answers, "exec-log"), missing(answers))
        elif isinstance(fact, Engine | Swarm | Images | Programs | Execs):
            engines = engines if engines is not None else engine_answers.engines(answers, processes)
            name = fact.document if isinstance(fact, Engine) else fact.key
            found[fact.key] = engines.get(name, engines.get("", []))
        elif fact.key not in found:
            found[fact.key] = Problem(Reason.ABSENT, "a host can't answer this; it needs the cluster's API")
    return found


def _system(answers: Answers) -> Any:
    record = first(answers, "system")
    lines = lines_of(text(record.body)) if record else []
    if len(lines) < 5:
        return missing(answers)
    release = first(answers, "os-release")
    pretty = re.search(r'^PRETTY_NAME="?([^"\n]{1,200})"?$', text(release.body) if release else "", re.MULTILINE)
    detail = " ".join(answers.preamble.split())
    # sudo quotes what it does not allow, in whatever language, where a rule of ours is there but for another script.
    detail = OTHER_SCRIPT if f"/bin/sh -c {PINNED}" in detail else detail[:300]
    return {"uid": whole(lines[0]), "user": lines[1], "hostname": lines[2], "kernel": lines[3], "become": lines[4],
            "become_detail": detail if lines[4] == "denied" else "", "os": pretty[1] if pretty else "unknown",
            "ids": [redact.identity(line) for line in lines[5:7] if line]}  # fmt: skip


def _processes(answers: Answers) -> Any:
    boot, mount, system = (first(answers, w) for w in ("boot", "proc-mount", "system"))
    if boot is None or mount is None or system is None or first(answers, "scanned") is None:
        return missing(answers)
    uid = whole(text(system.body).split("\n", 1)[0])
    if uid != 0 and re.search(r"hidepid=([12]|noaccess|invisible|ptraceable)", text(mount.body)):
        return Problem(Reason.DENIED, "/proc hides other users' processes from this account (hidepid); root is needed")
    numbers = [whole(w) for w in text(boot.body).split()]
    started_at = partial(_started, btime=numbers[0] if numbers else 0, ticks=numbers[1] if len(numbers) > 1 else 100)
    found = []
    records = iter(answers.records)
    for record in records:
        if record.words[0] in ("a", "e"):
            return _CUT
        if record.words[0] != "p":
            continue
        argv, environ = next(records, None), next(records, None)
        pid = record.words[1]
        if argv is None or environ is None or argv.words[:2] != ["a", pid] or environ.words[:2] != ["e", pid]:
            return _CUT  # a program that is left out would make its controls not applicable
        found.append(_process(record, argv, environ, started_at))
    embedded_answers.add(answers, found)
    return sorted(found, key=lambda p: p["pid"])


def _process(record: Record, argv: Record, environ: Record, started_at: Any) -> dict[str, Any]:
    _, pid, uid, contained, namespace, name = record.words[:6]
    exe, _, stat = text(record.body).partition("\n")
    args = [text(a) for a in argv.body.removesuffix(b"\0").split(b"\0")]
    if name in _TITLED and " " in args[0]:
        args = args[0].split(" ")  # it wrote a title over its command line, so as to show no secrets
    variables = dict(line.partition("=")[::2] for line in lines_of(text(environ.body)) if "=" in line)
    return {
        "pid": whole(pid), "name": name, "exe": exe.removesuffix(" (deleted)") or None, "args": redact.redact_args(args[1:]),
        "uid": whole(uid), "started": started_at(stat), "contained": contained == "yes", "namespace": namespace,
        "environ": None if "ermission denied" in environ.stderr else variables,
    }  # fmt: skip


def _started(stat: str, btime: int, ticks: int) -> int:
    """Return the UNIX time at which a process started: field 22 of its stat, in ticks since boot (proc(5))."""
    after = stat.rpartition(")")[2].split()
    return btime + whole(after[19]) // max(ticks, 1) if len(after) > 19 else 0
