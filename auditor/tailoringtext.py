"""Tailoring, waivers and attestations in plain text: a template to start from, what is in force, and a run's registers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import yaml

from auditor.catalogue import Library, decode_definition
from auditor.model import AuditRun, Decided, Status
from auditor.queries import having
from auditor.registers import AttestationEntry, State, WaiverEntry
from auditor.terminal import clean

if TYPE_CHECKING:
    from auditor.tailoring import Tailoring
    from auditor.waivers import Scope

_HEAD = """\
# What this site decides differently from the benchmarks' defaults, and why. Everything below is commented out: nothing is changed.
# auditor tailoring lint FILE says every mistake; auditor tailoring show FILE says what is in force and where it differs.
tailoring: 1

# Days without a time end at their last instant in this zone: UTC, an offset such as "+01:00", or a name.
# zone: Europe/Berlin

# Controls and whole benchmarks of your own: YAML files below this file's folder, in the format of the packaged ones.
# files: [own/controls.yaml, own/shop-1.0.yaml]

# What of a benchmark is judged; NAME@VERSION means one version. Levels and sections need a reason, and so does every exception.
# benchmarks:
#   - benchmark: cis-docker
#     level: 1
#     sections: ["1", "2", "5"]
#     reason: The baseline of our platform team
#     exclude:
#       - {control: docker-live-restore, reason: Hosts are rebuilt instead}
#       - {section: "1.2", reason: Another team's benchmark}
#     include:
#       - {control: docker-daemon-userns-remap, reason: Wanted in spite of its level}

# Values for some targets. Names and groups are patterns (* and ?); a target must fit all that is given. The last that fits counts.
# overrides:
#   - control: docker-container-capabilities
#     groups: [edge]
#     targets: ["vpn-*"]
#     parameters: {allowed: [NET_ADMIN]}
#     reason: They are routers

# Failures that somebody answers for during a time. They stay failures, are marked, and are listed in every report; there is a
# score with them and one without. A control is its key, or NUMBER@BENCHMARK. With subjects, the failure is waived only if they
# cover everything that fails and every error beside it.
# waivers:
#   - id: W-2026-01
#     control: docker-container-privileged
#     targets: ["ci-*"]
#     subjects: ["container/builder-*"]
#     reason: Image builds need it until the new builders are there
#     owner: Jo Field
#     approver: Kim Stone
#     ticket: SEC-123
#     starts: 2026-01-01
#     expires: 2026-12-31

# What a person found out about controls that evidence can't decide. The finding stays manual and carries the verdict.
# attestations:
#   - control: docker-image-rebuilt
#     targets: ["*"]
#     verdict: pass
#     by: Kim Stone
#     at: 2026-02-01
#     statement: All images are taken from the registry by digest
#     evidence: SEC-130, minutes of the review
#     expires: 2026-08-01

# The same lists may stand in a file of their own, given by --waivers: it begins with "register: 1" instead of "tailoring: 1".

# Every parameter of every control with its default.
# parameters:
"""


def template(library: Library) -> str:
    """Return a tailoring file in which everything is commented out, with every parameter and its default."""
    lines = [_HEAD.rstrip("\n")]
    places = _places(library)
    for key, (file, node) in sorted(library.definitions.items()):
        definition = decode_definition(file, node, library.types)
        if not definition.parameters:
            continue
        policy = " (decides nothing until it is set)" if definition.decided is Decided.WITH_POLICY else ""
        lines += [f"#   # {definition.title}{policy}", f"#   # {places.get(key, 'in no benchmark')}", f"#   {key}:"]
        for name, value in definition.parameters.items():
            # One parameter is one line, since a comment in front of each makes the value.
            text = yaml.safe_dump(value, default_flow_style=True, width=10**9, allow_unicode=True).removesuffix("\n...\n").strip()
            lines.append(f"#     {name}: {text}")
    return "\n".join(lines) + "\n"


def _places(library: Library) -> dict[str, str]:
    """Return where each control stands: its numbers in the newest version of each benchmark that has it."""
    from auditor.catalogue import entries_of

    found: dict[str, dict[str, str]] = {}
    for name, versions in library.names().items():
        for version in versions:
            for number, key in entries_of(library.contents[name, version][1]).items():
                found.setdefault(key, {})[name] = f"{number}@{name}@{version}"
    return {key: ", ".join(places.values()) for key, places in found.items()}


def show(tailoring: Tailoring) -> str:
    """Return what is in force and where it differs from the defaults."""
    lines = [f"read: {name}" for name in tailoring.files]
    changes = [*tailoring.changes, *(c for o in tailoring.overrides for c in o.changes)]
    lines += ["", f"Changes: {len(changes) or 'none, every default is in force'}"]
    for c in changes:
        default = "which is the default" if c.before == c.after else f"default {c.before}"
        lines += [f"  {c.what} {c.subject}, {c.scope}: {c.after} ({default})", f"    {c.reason or 'no reason given'} ({c.place})"]
    lines += ["", f"Waivers: {len(tailoring.waivers) or 'none'}"]
    for w in tailoring.waivers:
        subjects = f", only {', '.join(w.subjects)}" if w.subjects else ""
        begins, ticket = (f", from {w.starts}" if w.starts else ""), (f", {w.ticket}" if w.ticket else "")
        lines.append(f"  {w.id} {_where(w.scope)}{subjects}: until {w.expires}{begins}")
        lines.append(f"    {w.reason} (owner {w.owner}, approved by {w.approver}{ticket}; {w.place})")
    lines += ["", f"Attestations: {len(tailoring.attestations) or 'none'}"]
    for a in tailoring.attestations:
        lines += [f"  {a.id} {_where(a.scope)}: {a.verdict}, from {a.at} until {a.expires}",
                  f"    {a.statement} ({a.by}; evidence: {a.evidence}; {a.place})"]  # fmt: skip
    lines += ["", "Benchmarks"]
    for ref in (f"{name}@{version}" for name, versions in tailoring.library.names().items() for version in versions):
        benchmark = tailoring.library.load(ref)
        total = len(entries(tailoring.library, ref))
        tailored = sum(c.tailored for c in benchmark.controls)
        lines.append(f"  {ref}: {len(benchmark.controls)} of {total} controls are judged, {tailored} with values of this site")
    return "\n".join(clean(line, 4000) for line in lines)


def entries(library: Library, ref: str) -> dict[str, str]:
    """Return the controls of a benchmark version before any selection, number -> key."""
    from auditor.catalogue import entries_of

    name, _, version = ref.partition("@")
    return entries_of(library.contents[name, version][1])


def _where(scope: Scope) -> str:
    parts = [scope.control, *([f"of {scope.ref}"] if scope.ref else [])]
    parts += [f"{what} {', '.join(p)}" for what, p in (("on", scope.targets), ("in groups", scope.groups)) if p]
    return " ".join(parts)


def register_lines(run: AuditRun) -> Iterator[str]:
    """Yield what a run's summary says about its registers: how many entries became what, and every one that needs a look."""
    registers = run.registers
    if registers.tailoring:
        n = len(registers.tailoring)
        yield f"tailoring: {n} change{'' if n == 1 else 's'} from the defaults, listed in the reports"
    if registers.waivers:
        marked = Counter(w.complete for f in having(run.findings, (Status.FAIL,)) if (w := f.waiver))
        waived, partly = marked[True], marked[False]
        more = f", {partly} more in part (they count as failures)" if partly else ""
        yield f"waivers: {_states(registers.waivers)}; {waived} failure{'' if waived == 1 else 's'} waived{more}"
    if registers.attestations:
        attested = Counter(a.verdict for f in having(run.findings, (Status.MANUAL,)) if (a := f.attestation))
        findings = f"{attested['pass']} finding{'' if attested['pass'] == 1 else 's'} attested pass, {attested['fail']} fail"
        yield f"attestations: {_states(registers.attestations)}; {findings}"
    every: list[WaiverEntry | AttestationEntry] = [*registers.waivers, *registers.attestations]
    for entry in every:
        if entry.state not in (State.IN_FORCE, State.NOT_JUDGED):  # of the latter this run knows nothing
            what = "waiver" if isinstance(entry, WaiverEntry) else "attestation"
            yield f"  {what} {entry.id} ({entry.control}, until {entry.expires}) {entry.state}: {entry.note} [{entry.place}]"


def _states(register: tuple[WaiverEntry, ...] | tuple[AttestationEntry, ...]) -> str:
    counts = Counter(entry.state for entry in register)
    return ", ".join(f"{counts[s]} {s}" for s in State if counts[s])
