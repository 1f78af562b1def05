"""What the commands print that look things up: history, benchmarks, controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from auditor.catalogue import CONTROLS, Library, decode_definition
from auditor.fixes.kindwords import in_words
from auditor.model import Benchmark, Decided
from auditor.past import days
from auditor.summary import percent
from auditor.terminal import clean
from auditor.yamlfile import InputError, Mistake, did_you_mean

if TYPE_CHECKING:
    from auditor.past import Age, TrendPoint
    from auditor.store import RunSummary


def _print_table(columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; ``columns`` are (title, whether it holds numbers)."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, number in columns:
        table.add_column(title, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(clean(cell)) for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal:  # a file or a pipe has no width of its own
        console.width = 140
    console.print(table)


def _kind(run: RunSummary) -> str:
    return ", ".join([run.kind, *([run.status] if run.status != "finished" else []), *(["baseline"] if run.baseline else [])])


def show_history(runs: Sequence[RunSummary]) -> None:
    """Print runs, a line for each benchmark that had something to judge in it."""
    columns = [("run", False), ("started", False), ("kind", False), ("audited", True), ("benchmark", False), ("score %", True),
               ("coverage %", True), ("fail", True), ("error", True)]  # fmt: skip
    rows = []
    for r in runs:
        head = [r.id, r.started, _kind(r), f"{r.audited} of {r.targets}"]
        for f in [f for f in r.benchmarks if f.coverage is not None]:
            rows.append([*head, f.benchmark, percent(f.score), percent(f.coverage), str(f.fail), str(f.error)])
            head = [""] * len(head)
        if head[0]:
            rows.append([*head, "", "-", "-", str(r.counts.fail), str(r.counts.error)])
    _print_table(columns, rows) if rows else print("no runs, or none that fits the options")  # noqa: T201


_BARS = "▁▂▃▄▅▆▇█"


def _bars(values: Sequence[float | None]) -> str:
    """Return small bars from the lowest of the values to the highest; a blank for none."""
    values = [v if v is None else round(v, 1) for v in values]  # as they are shown: no cliff between two equal figures
    present = [v for v in values if v is not None]
    low, span = min(present, default=0), (max(present, default=0) - min(present, default=0)) or 1
    return "".join(" " if v is None else _BARS[int((v - low) / span * (len(_BARS) - 1))] for v in values)


def show_trend(trend: Mapping[str, Sequence[TrendPoint]]) -> None:
    """Print where a benchmark's score and its open failures are going, over the targets of the latest full run."""
    for benchmark, points in trend.items():
        if len(points) > 1:
            first, last = points[0], points[-1]
            kinds = dict.fromkeys(p.version for p in points)
            unlike = f"; judged by {clean('; '.join(kinds), 300)}" if len(kinds) > 1 else ""
            print(  # noqa: T201
                f"\n{clean(benchmark)}, {len(points)} comparable runs: score {_bars([p.score for p in points])} "
                f"{percent(first.score)} to {percent(last.score)}; open failures {_bars([p.fail for p in points])} "
                f"{first.fail} to {last.fail}; errors {first.error} to {last.error}{unlike}"
            )


def show_failures(run: RunSummary, found: Sequence[tuple[Mapping[str, Any], Age]], limit: int) -> None:
    """Print the failures of a run with their age: since when, as far as runs are kept, and in how many runs."""
    columns = [("since", False), ("days", True), ("runs", True), ("severity", False), ("target", False), ("control", False)]
    rows = []
    for d, age in found[:limit]:
        old = days(age.since, run.started)
        marks = (", waived" if (d.get("waiver") or {}).get("complete") else "") + (", attested" if d.get("attestation") else "")
        what = f"{d['id']} {d['title']}"
        rows.append([age.since[:10], "?" if old is None else str(old), str(age.runs), d["severity"] + marks, d["target"], what])
    lost = run.targets - run.audited
    unknown = f"; {lost} of its {run.targets} targets {'was' if lost == 1 else 'were'} not audited" if lost else ""
    if not rows:
        print(f"no failures in run {run.id}{unknown}")  # noqa: T201
        return
    _print_table(columns, rows)
    attested = sum(d.get("attestation") is not None for d, _ in found)
    more = f", of which {attested} {'is' if attested == 1 else 'are'} attested by a person" if attested else ""
    more += f", the oldest {limit} shown (--limit)" if len(found) > limit else ""
    print(f"{len(found)} failures in run {run.id} of {run.started}{more}{unknown}")  # noqa: T201


#: What reports of coverage say about each kind of deciding: a heading, and why it isn't automatic.
_DECIDED = {
    Decided.AUTOMATIC: ("automatic", "the evidence of a target alone gives pass and fail"),
    Decided.WITH_POLICY: (
        "policy",
        "a site's own values are needed (parameters in a tailoring file); without them the facts are shown",
    ),
    Decided.WITH_RECORDS: ("records", "needs what is not on the target: a site's records, a registry's or a scanner's answer"),
    Decided.BY_PERSON: ("person", "evidence decides some cases; the rest is judgement, for which the facts are shown"),
}


def show_benchmarks(library: Library) -> None:
    """Print every benchmark version with how much of it is covered, how much of that is decided, and why the rest is not."""
    rows = []
    for name, versions in library.names().items():
        for version in versions:
            b = library.load(f"{name}@{version}")
            counts = [sum(c.decided is kind for c in b.controls) for kind in _DECIDED]
            rows.append([name, version, str(b.controls_total), str(len(b.controls)), *map(str, counts)])
    columns = [("benchmark", False), ("version", False), ("controls", True), ("covered", True)]
    _print_table([*columns, *((heading, True) for heading, _ in _DECIDED.values())], rows)
    print()  # noqa: T201
    for name in library.names():
        for edition in library.editions(name):
            note = f"; preliminary: {edition.preliminary}" if edition.preliminary else ""
            print(f"for Kubernetes {edition.kubernetes}: {name}@{edition.version}{note}")  # noqa: T201
    for heading, why in _DECIDED.values():
        print(f"{heading}: {why}")  # noqa: T201
    print("auditor benchmarks show NAME@VERSION says it of every control.")  # noqa: T201


def show_benchmark(benchmark: Benchmark) -> None:
    """Print a benchmark's controls."""
    rows = [[c.id, str(c.level), c.assessment, _DECIDED[c.decided][0], c.severity, c.key, c.title] for c in benchmark.controls]
    titles = ("number", "level", "assessment", "decided", "severity", "control", "title")
    columns = [(title, title == "level") for title in titles]
    _print_table(columns, rows)
    print(f"{len(benchmark.controls)} of the {benchmark.controls_total} controls of {benchmark.title} {benchmark.version}.")  # noqa: T201


def show_control(library: Library, wanted: str) -> None:
    """Print everything about a control: where it stands, what it needs, expects and how to meet it. Raises `InputError`."""
    key = _key_of(library, wanted)
    file, node = library.definitions[key]
    definition = decode_definition(file, node, library.types)
    raw = yaml.safe_load(yaml.serialize(node))
    lines = [
        f"{definition.title}",
        f"  control      {key} ({file}:{node.start_mark.line + 1})",
        f"  severity     {definition.severity}",
        f"  decided      {_DECIDED[definition.decided][0]}: {_DECIDED[definition.decided][1]}",
    ]
    for name, version, control in _places(library, key):
        lines.append(f"  {name} {version}: {control.id}, level {control.level}, {control.assessment} in the document")
    lines += ["", "Why", f"  {' '.join(definition.rationale.split())}", "", "Facts"]
    needed = definition.check.needs() | (definition.applies_when.needs() if definition.applies_when else frozenset())
    lines += [f"  {fact.key}" for fact in sorted(needed, key=lambda f: f.key)] or ["  none: a person decides"]
    for title, part in (("Applies when", "applies_when"), ("Check", "check"), ("Parameters", "parameters")):
        if raw.get(part):
            text = yaml.safe_dump(raw[part], sort_keys=False, allow_unicode=True, width=110)
            lines += ["", title, *(f"  {line}" for line in text.splitlines())]
    lines += ["", "To meet it", f"  {' '.join(definition.remediation.text.split())}"]
    lines += [f"  auditor fix: {in_words(fix)}" for fix in definition.remediation.fix]
    print("\n".join(clean(line, 4000) for line in lines))  # noqa: T201


def _places(library: Library, key: str) -> list[tuple[str, str, Any]]:
    found = []
    for name, versions in library.names().items():
        for version in versions:
            found += [(name, version, c) for c in library.load(f"{name}@{version}").controls if c.key == key]
    return found


def _key_of(library: Library, wanted: str) -> str:
    if wanted in library.definitions:
        return wanted
    ref, _, number = wanted.rpartition("/")
    refs = [ref] if ref else list(library.names())
    keys = {c.key for r in refs for c in library.load(r).controls if c.id == number}
    if len(keys) == 1:
        return keys.pop()
    if keys:
        detail = f"{wanted!r} is a number in several benchmarks: write {', '.join(f'{r}/{number}' for r in refs)}"
    else:
        detail = f"there is no control {wanted!r}{did_you_mean(wanted, library.definitions, CONTROLS)}"
    raise InputError([Mistake("explain", 0, 0, detail)])
