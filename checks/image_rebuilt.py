"""The rule that images are scanned and rebuilt: by scanners' results where there are any, and by the day of the build."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from auditor.facts.docker import Engine
from auditor.facts.scans import SEVERITIES, Match, Scans, match
from auditor.model import Fact, Observation, Problem, Reason, Status
from checks import base, engines
from checks.image_view import ImageView, Scope

_BY: dict[Match, str] = {"image id": "its id", "layers": "its layers", "digest": "a registry's digest", "tag": "a tag alone"}
#: A scan with a reason not to believe in it decides nothing; the worst verdict among scanners counts.
_ORDER = (Status.FAIL, Status.MANUAL, Status.PASS)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """An image was scanned and has no more holes than allowed that an update closes, and is at most ``max_days`` days old.

    Results of scanners come with ``--scans``. One counts that is of this image by a digest, at most ``max_scan_days`` days older
    than the evidence (null: however old); of each scanner the newest. The image fails with more than ``fixable_critical`` or
    ``fixable_high`` vulnerabilities that have a fix (null: no limit), when all its scans are too old, or when its distribution
    gets no updates any more. ``file_dates``: the date of a result's file counts where the result has no time, as Clair's. Without
    a result of its own a young image may be vulnerable: then this never passes. ``max_days`` null: no limit.
    """

    with_bases: ClassVar[bool] = False
    max_days: int | None = None
    max_scan_days: int | None = 30
    fixable_critical: int | None = 0
    fixable_high: int | None = 0
    file_dates: bool = False

    def needs(self, scope: Scope) -> frozenset[Fact]:  # noqa: ARG002 - the same for both
        """The engine's clock. Scans are given beside what a target is asked for."""
        return frozenset({Engine("info")})

    def judge(self, subject: str, image: dict[str, Any], view: ImageView) -> Observation:
        """Judge the age, then the scans."""
        age = self._age(subject, image, view)
        given: Any = view.engine.facts.get(Scans())
        if isinstance(given, Problem):
            return age
        expected, found = self._expected(), [(how, s) for s in given["scans"] if (how := match(s, image))]
        if not found:
            none = f"{age.actual}; none of the {given['given']} scanners' results is of this image"
            return Observation(subject, age.status, expected, none.replace(_NONE, ""), age.source)
        status, said, files = self._scanned(found, given["at"])
        source = f"{files}; {age.source}"
        if self.max_days is not None and age.status in (Status.FAIL, Status.ERROR):
            return Observation(
                subject, age.status if status is not Status.FAIL else status, expected, f"{age.actual}; {said}", source
            )
        built = "" if age.status is Status.ERROR else f"; {age.actual.replace(_NONE, '')}"
        return Observation(subject, status, expected, f"{said}{built}", source)

    def _expected(self) -> str:
        parts = ["scanned for vulnerabilities" + ("" if self.max_scan_days is None else f" at most {self.max_scan_days} days ago")]
        limits = (("critical", self.fixable_critical), ("high", self.fixable_high))
        parts += [
            f"at most {most} {word} with a fix" if most else f"no {word} with a fix" for word, most in limits if most is not None
        ]
        return ", ".join(parts) + ("" if self.max_days is None else f"; at most {self.max_days} days old")

    def _age(self, subject: str, image: dict[str, Any], view: ImageView) -> Observation:
        """Compare the day of the build with the engine's clock."""
        limit = "" if self.max_days is None else f", at most {self.max_days} days old"
        expected = f"scanned for vulnerabilities and rebuilt with updates{limit}"
        source = f"{engines.source('images', 'Created')}; {engines.source('info', 'SystemTime')}"
        info = view.engine.document("info")
        if isinstance(info, Problem):
            return base.error(subject, info, expected=expected, source=source)
        created, now = _day(image.get("Created")), _day(info.get("SystemTime"))
        if created is None or now is None:
            missing = "when it was built" if created is None else "the engine's clock"
            problem = Problem(Reason.ABSENT, f"{missing} is not told")
            return base.error(subject, problem, expected=expected, source=source)
        names = base.show(image.get("RepoDigests") or "no registry's digest")
        if created.year < 2010 or created > now:  # reproducible builds set the date to nothing or to that of their source
            actual = f"its date is {created.date()}, which says nothing of its age; {names}"
            return base.manual(subject, expected=expected, actual=actual, source=source)
        days = (now - created).days
        actual = f"built {created.date()}, {days} days ago; {names}"
        if self.max_days is not None and days > self.max_days:
            return base.verdict(subject, ok=False, expected=expected, actual=actual, source=source)
        return base.manual(subject, expected=expected, actual=actual + _NONE, source=source)

    def _scanned(self, found: Iterable[tuple[Match, dict[str, Any]]], at: str) -> tuple[Status, str, str]:
        """Return the verdict of the newest believable scan of each scanner, what they say, and where that stands."""
        ranked = sorted(found, key=lambda f: (f[1]["time"], f[1]["sha256"]), reverse=True)
        newest: dict[str, tuple[bool, Match, dict[str, Any]]] = {}
        for how, scan in ranked:
            proven = how != "tag"
            if scan["scanner"] not in newest or (proven and not newest[scan["scanner"]][0]):
                newest[scan["scanner"]] = (proven, how, scan)
        verdicts = [(self._judged(how, scan, at), how, scan) for _, how, scan in newest.values()]
        # An old result says nothing beside a new one of another scanner, if that one is of this very image.
        fresh = [v for v in verdicts if not v[0][2] and v[1] != "tag"] or verdicts
        fresh.sort(key=lambda v: (_ORDER.index(v[0][0]), v[2]["scanner"]))
        said = "; ".join(f"{_shown(scan)}, by {_BY[how]}{why}" for (_, why, _), how, scan in fresh)
        files = ", ".join(f"{scan['scanner']}'s {scan['file']} (SHA-256 {scan['sha256'][:12]})" for _, _, scan in fresh)
        return fresh[0][0][0], said, files

    def _judged(self, how: Match, scan: dict[str, Any], at: str) -> tuple[Status, str, bool]:
        """Return a scan's verdict, why it is that, and whether the scan is too old."""
        if how == "tag":
            return Status.MANUAL, ": it names no digest, so that it may be of another image", False
        counts, limits = scan["counts"], (("critical", self.fixable_critical), ("high", self.fixable_high))
        days = _days(scan["time"], at)
        if self.max_scan_days is not None and days is not None and days > self.max_scan_days:
            return Status.FAIL, f": {days} days before the evidence, which is too old", True
        if any(most is not None and counts[word][0] > most for word, most in limits):
            return Status.FAIL, "", False
        if scan["eol"]:
            return Status.FAIL, f": {scan['eol']} gets no updates any more", False
        if not scan["looked"]:
            return Status.MANUAL, ": it tells of no package that was looked at", False
        if scan["narrowed"]:
            return Status.MANUAL, f": it leaves out what it was told to ({scan['narrowed']})", False
        if self.max_scan_days is None:
            return Status.PASS, "", False
        if days is None or (scan["time_from"] != "report" and not self.file_dates):
            return Status.MANUAL, ": it doesn't tell when it was made", False
        if days < -self.max_scan_days:
            return Status.MANUAL, f": it is dated {-days} days after the evidence", False
        return Status.PASS, "", False


_NONE = "; no scanner's result was given"


def _shown(scan: dict[str, Any]) -> str:
    """Return what a scan found, worst first."""
    when = f"{scan['time'][:10]}{' by its file' if scan['time_from'] == 'file' else ''}" if scan["time"] else "at no known time"
    counts = [f"{sum(scan['counts'][s])} {s} ({scan['counts'][s][0]} with a fix)" for s in SEVERITIES if sum(scan["counts"][s])]
    worst = [
        f"{v['id']} in {v['package']} {v['installed']}{' fixed by ' + v['fixed'] if v['fixed'] else ', no fix'}"
        for v in scan["worst"][:3]
        if v["severity"] in ("critical", "high")
    ]
    hidden = f"; {scan['suppressed']} more hidden by its user's rules" if scan["suppressed"] else ""
    found = ", ".join(counts) or "nothing found"
    name = f"{scan['scanner']} {scan['version']}".strip()
    return f"{name} {when}: {found}" + (f" ({base.show(worst)})" if worst else "") + hidden


def _days(time: str, at: str) -> int | None:
    """Return how many days a time is before another, both as evidence has them; None where one is no time."""
    try:
        one, other = (datetime.strptime(t, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) for t in (time, at))
    except ValueError:
        return None
    return (other - one).days


def _day(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(f"{str(text)[:10]}T00:00:00")
    except ValueError:
        return None
