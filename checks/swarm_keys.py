"""Rules about a swarm's keys and certificates: is the managers' state locked, how old may what is secret become."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, ClassVar, Literal

from auditor.model import Fact, Observation, Problem, Reason
from checks import base
from checks.swarm_member import DAY, Member, day, moment

_AUTOLOCK = "docker info: Swarm.Cluster.Spec.EncryptionConfig.AutoLockManagers"
#: swarmkit dates a certificate back by an hour, for clocks that differ.
_BACKDATED = timedelta(hours=1)
_SILENT = Problem(Reason.ABSENT, "the manager doesn't say it")


def _locks(member: Member) -> object:
    """Whether managers lock themselves; None where it isn't told."""
    return ((member.info["Cluster"].get("Spec") or {}).get("EncryptionConfig") or {}).get("AutoLockManagers")


def _untold(member: Member, problem: Problem, expected: str, source: str) -> list[Observation]:
    return [base.error(member.subject, problem, expected=expected, source=source)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Autolock:
    """Managers need the unlock key after a restart. A manager that is locked proves it."""

    asks: ClassVar[Literal["manager"]] = "manager"

    def needs(self) -> frozenset[Fact]:
        """Nothing more."""
        return frozenset()

    def judge(self, member: Member) -> list[Observation]:
        """Return the observation about the swarm."""
        value = _locks(member)
        if value is None:
            return _untold(member, _SILENT, "true", _AUTOLOCK)
        return [base.verdict(member.subject, value is True, expected="true", actual=base.show(value), source=_AUTOLOCK)]

    def judge_locked(self, member: Member) -> list[Observation]:
        """Return the observation about a manager that waits for its key: only autolock makes it wait."""
        actual, source = "locked: the manager waits for its unlock key", "docker info: Swarm.LocalNodeState"
        return [base.verdict(member.subject, ok=True, expected="true", actual=actual, source=source)]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlockKey:
    """The unlock key is at most ``max_days`` old, as far as that can be proved.

    The engine keeps no date of it. The key is at least as young as the swarm, which proves a pass; every rotation changes the
    swarm, so a swarm that nobody changed proves a failure. ``rotated_on`` is the date that a site's records give
    (``YYYY-MM-DD``, empty: none). Otherwise a person decides.
    """

    max_days: int
    rotated_on: str = ""
    asks: ClassVar[Literal["manager"]] = "manager"

    def __post_init__(self) -> None:
        if self.rotated_on:
            try:
                date.fromisoformat(self.rotated_on)
            except ValueError:
                raise ValueError(f"rotated_on is a date such as 2026-01-31, not {self.rotated_on!r}") from None

    def needs(self) -> frozenset[Fact]:
        """Nothing more."""
        return frozenset()

    def judge(self, member: Member) -> list[Observation] | str:
        """Return the observation about the swarm; it doesn't apply where there is no key."""
        if _locks(member) is None:
            return _untold(member, _SILENT, "autolock", _AUTOLOCK)
        if _locks(member) is not True:
            return "managers lock nothing, so there is no unlock key to rotate (autolock is the finding)"
        cluster = member.info["Cluster"]
        expected, source = f"rotated at least every {self.max_days} days", "docker info: Swarm.Cluster.CreatedAt, UpdatedAt"
        now, made, changed = (
            member.now(),
            moment(cluster.get("CreatedAt"), "when the swarm was made"),
            moment(cluster.get("UpdatedAt"), "when the swarm was changed last"),
        )
        for told in (now, made, changed):
            if isinstance(told, Problem):
                return _untold(member, told, expected, source)
        assert not isinstance(now, Problem)
        assert not isinstance(made, Problem)
        assert not isinstance(changed, Problem)
        shown = f"the swarm was made {day(made)} and changed last {day(changed)}"
        ok = self._proved(now, made, changed)
        if ok is None:
            question = "when was the unlock key rotated last?"
            return [base.manual(member.subject, expected=question, actual=f"{shown}; the key's age is not recorded", source=source)]
        if self.rotated_on:
            shown, source = f"rotated on {self.rotated_on} by the site's records; {shown}", f"parameter rotated_on; {source}"
        return [base.verdict(member.subject, ok, expected=expected, actual=shown, source=source)]

    def _proved(self, now: datetime, made: datetime, changed: datetime) -> bool | None:
        oldest = now - self.max_days * DAY
        if made >= oldest:
            return True
        if changed < oldest:
            return False
        if not self.rotated_on:
            return None
        rotated = date.fromisoformat(self.rotated_on)  # a day either way for the record's time zone
        return oldest.date() <= rotated <= (changed + DAY).date() and rotated <= (now + DAY).date()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCertificate:
    """Nodes' certificates live ``max_hours`` at most, and this node's is valid now.

    A manager tells what new certificates get; what a worker has is read from its certificate.
    """

    max_hours: int
    asks: ClassVar[Literal["member"]] = "member"

    def needs(self) -> frozenset[Fact]:
        """Nothing more."""
        return frozenset()

    def judge(self, member: Member) -> list[Observation]:
        """Return an observation about the swarm's setting (from a manager), and one about this node's certificate."""
        found = []
        expected = f"at most {_hours(timedelta(hours=self.max_hours))}"
        if member.manager:
            source = "docker info: Swarm.Cluster.Spec.CAConfig.NodeCertExpiry"
            spec = (member.info.get("Cluster") or {}).get("Spec") or {}
            nanoseconds = (spec.get("CAConfig") or {}).get("NodeCertExpiry")
            if member.info.get("Error") or not isinstance(nanoseconds, int) or nanoseconds <= 0:
                problem = Problem(Reason.ABSENT, str(member.info.get("Error") or "the manager doesn't say it"))
                found += _untold(member, problem, expected, source)
            else:
                life = timedelta(microseconds=nanoseconds / 1000)
                ok = life <= timedelta(hours=self.max_hours)
                found.append(base.verdict(member.subject, ok, expected=expected, actual=_hours(life), source=source))
        found.append(self._own(member, expected))
        return found

    def _own(self, member: Member, expected: str) -> Observation:
        part, now = member.part("node_certificate"), member.now()
        expected_here = "this node's certificate is valid"
        if isinstance(part, Problem):
            return base.error(member.subject, part, expected=expected_here, source="swarm-node.crt")
        if isinstance(now, Problem):
            return base.error(member.subject, now, expected=expected_here, source="docker info: SystemTime")
        subject, source = f"file/{part['path']}{member.engine.suffix}", "dates in the certificate"
        begin, end = _dates(part["data"][0])
        life = end - begin - _BACKDATED
        actual = f"valid from {day(begin)} until {day(end)}"
        if not begin <= now <= end:
            actual += f", not at the engine's time {day(now)}"
            return base.verdict(subject, ok=False, expected="valid", actual=actual, source=source)
        if member.manager:
            return base.verdict(subject, ok=True, expected="valid", actual=actual, source=source)
        ok = life <= timedelta(hours=self.max_hours)
        return base.verdict(subject, ok, expected=f"valid, for {expected}", actual=f"{actual}: {_hours(life)}", source=source)


@dataclass(frozen=True, slots=True, kw_only=True)
class RootCa:
    """The oldest certificate that the swarm trusts is at most ``max_days`` old, and valid.

    A manager tells it through the engine's API, a worker's host has it as a file. Its own dates count, not those of the file.
    """

    max_days: int
    asks: ClassVar[Literal["member"]] = "member"

    def needs(self) -> frozenset[Fact]:
        """Nothing more."""
        return frozenset()

    def judge(self, member: Member) -> list[Observation]:
        """Return the observation about the root certificate that this member trusts."""
        expected, source = f"rotated at least every {self.max_days} days", "docker info: Swarm.Cluster.TLSInfo.TrustRoot"
        roots = member.part("trust_root")
        if isinstance(roots, Problem):
            part = member.part("root_certificates")
            if isinstance(part, Problem):
                return _untold(member, part, expected, "swarm-root-ca.crt")
            roots, source = part["data"], str(part["path"])
        now = member.now()
        if isinstance(now, Problem):
            return _untold(member, now, expected, "docker info: SystemTime")
        begin, end = min(_dates(root) for root in roots)
        actual = f"made {day(begin)}, {(now - begin).days} days ago; valid until {day(end)}"
        if (member.info.get("Cluster") or {}).get("RootRotationInProgress"):
            actual += "; a rotation is going on"
        ok = now - self.max_days * DAY <= begin <= now + DAY and now <= end
        return [base.verdict(member.subject, ok, expected=expected, actual=actual, source=source)]


def _dates(certificate: dict[str, Any]) -> tuple[datetime, datetime]:
    return datetime.fromisoformat(certificate["from"]), datetime.fromisoformat(certificate["until"])


def _hours(life: timedelta) -> str:
    hours = life.total_seconds() / 3600
    return f"{hours / 24:g} days" if hours >= 48 else f"{hours:g} hours"
