"""cis_auditor.prom: figures for the textfile collector of Prometheus' node_exporter, OpenMetrics and the older text format in one.

Labels are targets, benchmarks, statuses and severities: never controls, subjects or runs, so that series don't grow with findings
or time.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from auditor.model import AuditRun, Score, Severity, Status, TargetStatus
from auditor.queries import having
from auditor.score import adjusted_coverage_of, adjusted_score_of, stands
from reports import plain
from reports.view import count_of

if TYPE_CHECKING:
    from prometheus_client import Metric
    from prometheus_client.core import GaugeMetricFamily

    _Gauge = Callable[..., GaugeMetricFamily]

#: The most targets that get series of their own: the worst come first, and a metric says how many are left out.
TARGETS = 1_000

#: The longest value of a label.
LABEL = 120

_WHERE = ("target", "benchmark", "version")


def render(run: AuditRun) -> Iterator[bytes]:
    """Yield the metrics."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.openmetrics.exposition import generate_latest
    from prometheus_client.registry import Collector

    class Audit(Collector):
        def collect(self) -> Iterator[Metric]:
            return _metrics(run)

    registry = CollectorRegistry()
    registry.register(Audit())
    content: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]
    yield content


def _value(text: str) -> str:
    """Return a text as a label's value, short and on one line; a long one is told apart by its digest."""
    value = plain.line(text, 10_000)
    return value if len(value) <= LABEL else f"{value[: LABEL - 11]}-{hashlib.sha256(value.encode()).hexdigest()[:10]}"


def _seconds(text: str) -> float | None:
    return datetime.fromisoformat(text).timestamp() if plain.moment(text) else None


def _metrics(run: AuditRun) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    def gauge(name: str, says: str, labels: tuple[str, ...] = ()) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"cis_auditor_{name}", says, labels=labels)

    info = gauge("info", "The version of the program that wrote these figures.", ("version",))
    info.add_metric([_value(run.auditor_version)], 1)
    yield info
    started, finished = _seconds(run.started), _seconds(run.finished)
    for name, says, seconds in (
        ("run_finished_timestamp_seconds", "When the run ended, in seconds since 1970.", finished),
        ("run_duration_seconds", "How long the run took.", None if started is None or finished is None else finished - started),
    ):
        if seconds is not None:
            made = gauge(name, says)
            made.add_metric([], seconds)
            yield made
    reached = Counter(t.status for t in run.targets)
    targets = gauge("targets", "Targets that were asked for, by how far their audit came.", ("status",))
    for state in TargetStatus:
        targets.add_metric([state.value], reached[state])
    yield targets

    worst = {t: n for n, t in enumerate(s.target for s in sorted(run.scores, key=lambda s: (s.score is None, s.score or 0.0)))}
    asked = [t for t in run.targets if t.status is not TargetStatus.EXCLUDED]
    kept = sorted(asked, key=lambda t: (t.status is TargetStatus.AUDITED, worst.get(t.name, -1)))[:TARGETS]
    shown = {t.name: _value(t.name) for t in kept}
    left = gauge("targets_without_series", "Targets that have no series of their own here, because there are too many.")
    left.add_metric([], len(asked) - len(kept))
    yield left
    audited = gauge("target_audited", "1 where the target could be audited, else 0.", ("target",))
    for label, ok in {shown[t.name]: t.status is TargetStatus.AUDITED for t in run.targets if t.name in shown}.items():
        audited.add_metric([label], int(ok))
    yield audited
    yield from _scores(run, shown, gauge)
    yield from _open(run, shown, gauge)


def _scores(run: AuditRun, shown: dict[str, str], gauge: _Gauge) -> Iterator[Metric]:
    own = [(s, [shown[s.target], _value(s.benchmark), _value(s.version)]) for s in run.scores if s.target in shown]
    figures: dict[str, tuple[str, Callable[[Score], float | None]]] = {
        "score_ratio": ("pass / (pass + fail + error), from 0 to 1, by the evidence alone.", lambda s: s.score),
        "coverage_ratio": ("(pass + fail) / (pass + fail + error + manual), from 0 to 1.", lambda s: s.coverage),
        "adjusted_score_ratio": ("The score with waivers and attestations, from 0 to 1.", lambda s: adjusted_score_of(s.counts)),
        "adjusted_coverage_ratio": ("The coverage with attestations, from 0 to 1.", lambda s: adjusted_coverage_of(s.counts)),
    }
    for name, (says, of) in figures.items():
        made = gauge(name, says, _WHERE)
        for score, labels in own:
            value = of(score)
            if value is not None:
                made.add_metric(labels, round(round(value, 2) / 100, 4))  # no more digits than a stored run has
        yield made
    counted = gauge(
        "findings", "Findings by status. A waived failure is a failure here, an attested finding manual.", (*_WHERE, "status")
    )
    marked = gauge(
        "marked_findings", "Findings that people decided about: waived failures and attested manual ones.", (*_WHERE, "mark")
    )
    for score, labels in own:
        for status in Status:
            counted.add_metric([*labels, status.value], count_of(score.counts, status))
        c = score.counts
        for mark, number in (("waived", c.waived), ("attested_pass", c.attested_pass), ("attested_fail", c.attested_fail)):
            marked.add_metric([*labels, mark], number)
    yield from (counted, marked)
    fleet = gauge("fleet_findings", "Findings of all targets by status.", ("benchmark", "version", "status"))
    summed: Counter[tuple[str, str, Status]] = Counter()
    for s in run.scores:
        for status in Status:
            summed[_value(s.benchmark), _value(s.version), status] += count_of(s.counts, status)
    for (benchmark, version, status), number in summed.items():
        fleet.add_metric([benchmark, version, status.value], number)
    yield fleet


def _open(run: AuditRun, shown: dict[str, str], gauge: _Gauge) -> Iterator[Metric]:
    standing: Counter[tuple[str, str, str, Severity]] = Counter()
    every: Counter[tuple[str, str, Severity]] = Counter()
    for f in having(run.findings, (Status.FAIL, Status.MANUAL)):  # nothing else fails, or can be attested to
        if stands(f):
            standing[f.target, f.benchmark, f.version, f.severity] += 1
            every[_value(f.benchmark), _value(f.version), f.severity] += 1
    says = "Failures that are not waived, and manual findings attested as failing, by severity"
    own = gauge("open_failures", f"{says}.", (*_WHERE, "severity"))
    fleet = gauge("fleet_open_failures", f"{says}, of all targets.", ("benchmark", "version", "severity"))
    for s in run.scores:
        if s.target in shown:
            for severity in Severity:
                number = standing[s.target, s.benchmark, s.version, severity]
                own.add_metric([shown[s.target], _value(s.benchmark), _value(s.version), severity.value], number)
    for benchmark, version in dict.fromkeys((_value(s.benchmark), _value(s.version)) for s in run.scores):
        for severity in Severity:
            fleet.add_metric([benchmark, version, severity.value], every[benchmark, version, severity])
    yield from (own, fleet)
