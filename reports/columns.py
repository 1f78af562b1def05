"""The findings as columns over shared strings: what the script of the HTML report searches, filters and sorts."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from typing import Any

from auditor.model import SEVERITY_ORDER, STATUS_ORDER, Status
from auditor.past import Past
from reports.environment import clip
from reports.seen import KINDS, each
from reports.text import plural
from reports.view import View

#: The age of a failure that no earlier run saw.
NEW = "new in this run"

_STATUS = {s: i for i, s in enumerate(STATUS_ORDER)}
_SEVERITY = {s: i for i, s in enumerate(SEVERITY_ORDER)}


class _Strings:
    """A table of distinct texts, each made visible and cut once."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}

    def add(self, text: str) -> int:
        return self.index.setdefault(text, len(self.index))

    def table(self) -> list[str]:
        # those that need nothing done to them are the same objects again
        return [clip(text) for text in self.index]


def columns(view: View, past: Past | None = None) -> dict[str, Any]:
    """Return the findings of a view, as JSON values (long lists of numbers are arrays).

    ``evidence`` holds each distinct verdict once: its status, its reason, what people decided (in a word and in a sentence), and
    where its observations start in the columns of ``observations`` (one entry more than there are verdicts). An observation is a
    subject and a number into ``results``: status, expected, actual and source. ``findings`` point at a target, a control and a
    verdict. ``things`` is the inventory of what was seen, ``since`` the age of failures by the number of the finding.
    Texts are numbers into ``strings``; statuses and severities are numbers into their orders, worst first.
    """
    strings = _Strings()
    add = strings.add
    targets = {t.result.name: n for n, t in enumerate(view.targets)}
    evidence = {name: array("I") for name in ("status", "reason", "mark", "decided")} | {"start": array("I", [0])}
    observations = {name: array("I") for name in ("subject", "result")}
    distinct: dict[tuple[Status, str, str, str], int] = {}
    findings = {name: array("I") for name in ("target", "control", "evidence")}
    ages = past.ages if past else {}
    since: dict[int, int] = {}
    o_subject, o_result = observations.values()
    controls: list[list[int]] = []
    for b, benchmark in enumerate(view.benchmarks):
        for control in benchmark.controls:
            c, i = len(controls), control.info
            controls.append([b, add(i.id), add(i.title), i.level, add(i.assessment), _SEVERITY[i.severity], add(i.rationale),
                             add(i.remediation), add(i.key), add(control.policy)])  # fmt: skip
            for group in control.groups:
                e = len(evidence["status"])
                evidence["status"].append(_STATUS[group.status])
                evidence["reason"].append(add(group.reason))
                evidence["mark"].append(add(group.mark))
                evidence["decided"].append(add(view.decided(group)))
                for o in group.observations:
                    o_subject.append(add(o.subject))
                    o_result.append(distinct.setdefault((o.status, o.expected, o.actual, o.source), len(distinct)))
                evidence["start"].append(len(o_subject))
                findings["target"].extend(targets[name] for name in group.targets)
                findings["control"].extend([c] * len(group.targets))
                findings["evidence"].extend([e] * len(group.targets))
                if ages and group.fails:
                    for f, name in enumerate(group.targets, len(findings["target"]) - len(group.targets)):
                        age = ages.get((name, benchmark.info.name, i.key))
                        if age is not None:
                            since[f] = add(f"{age.since[:10]}, {plural(age.runs, 'run')}" if age.runs > 1 else NEW)
    results = {
        "status": array("I", (_STATUS[status] for status, *_ in distinct)),
        **{name: array("I", (add(key[n]) for key in distinct)) for n, name in enumerate(("expected", "actual", "source"), 1)},
    }
    kinds = [*KINDS, *sorted({k for k, *_ in each(view)} - set(KINDS))]
    about = [
        [add(r.name), r.kind.value, add(r.address), add(r.evidence_sha256 or ""), add(r.collected_at), [add(g) for g in r.groups]]
        for r in (t.result for t in view.targets)
    ]
    things = array("I", (n for k, t, name, said in each(view) for n in (kinds.index(k), targets[t], add(name), add(said))))
    return {
        "run": clip(view.run.id),
        "statuses": [s.value for s in STATUS_ORDER],
        "severities": [s.value for s in SEVERITY_ORDER],
        "benchmarks": [clip(f"{b.info.name}@{b.info.version}") for b in view.benchmarks],
        "targets": about,
        "controls": controls,
        "evidence": evidence,
        "observations": observations,
        "results": results,
        "findings": findings,
        "since": since,
        "new": NEW,
        "things": {
            "kinds": kinds,
            "rows": things,
        },
        "strings": strings.table(),
    }


#: How many items of a long list are written at once.
_SOME = 2_000


def script_json(value: Any) -> Iterator[str]:
    """Yield JSON that can stand inside a script element: no text in it can end the element or open a comment."""
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        lead = "{"
        for key, part in value.items():
            yield f"{lead}{_plain(key)}:"
            yield from script_json(part)
            lead = ","
        yield "{}" if lead == "{" else "}"
    elif isinstance(value, list | array) and len(value) > _SOME:
        for n in range(0, len(value), _SOME):
            yield f"{',' if n else '['}{_plain(list(value[n : n + _SOME]))[1:-1]}"
        yield "]"
    else:
        yield _plain(list(value) if isinstance(value, array) else value)


def _plain(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
