"""``host_hardening``: the host under the containers is looked after. Hard facts can fail it; that it is hardened, somebody says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from auditor.facts.host import Hardening, System
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason, Status
from checks import base

#: Distribution and version -> the day until which everybody gets security updates for it, as its makers announced.
END_OF_SUPPORT = {
    "almalinux 8": "2029-03-01", "almalinux 9": "2032-05-31", "almalinux 10": "2035-05-31", "alpine 3.18": "2025-05-09",
    "alpine 3.19": "2025-11-01", "alpine 3.20": "2026-04-01", "alpine 3.21": "2026-11-01", "alpine 3.22": "2027-05-01",
    "centos 7": "2024-06-30", "centos 8": "2024-05-31", "centos 9": "2027-05-31", "debian 9": "2022-06-30",
    "debian 10": "2024-06-30", "debian 11": "2026-08-31", "debian 12": "2028-06-30", "debian 13": "2030-06-30",
    "ol 7": "2024-12-31", "ol 8": "2029-07-31", "ol 9": "2032-06-30", "rhel 7": "2024-06-30", "rhel 8": "2029-05-31",
    "rhel 9": "2032-05-31", "rhel 10": "2035-05-31", "rocky 8": "2029-05-31", "rocky 9": "2032-05-31", "rocky 10": "2035-05-31",
    "ubuntu 16.04": "2021-04-30", "ubuntu 18.04": "2023-05-31", "ubuntu 20.04": "2025-05-31", "ubuntu 22.04": "2027-05-31",
    "ubuntu 24.04": "2029-05-31", "ubuntu 24.10": "2025-07-10", "ubuntu 25.04": "2026-01-15", "ubuntu 25.10": "2026-07-31",
    "ubuntu 26.04": "2031-05-31",
}  # fmt: skip
_DAY = 86400
_EXPECTED = "a maintained system with its security updates, hardened by a baseline"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostHardening:
    """The host's system is still supported, and no security update has waited longer than ``max_update_days``.

    Beyond that only people can say that a host follows a baseline: ``attestation`` is their words (who looked, at what, with
    which result), valid until the day ``attested_until`` (such as "2027-03-31"); without both, the facts are shown (manual).
    ``end_of_support`` adds to or corrects the known days, for example ``{"ubuntu 20.04": "2030-04-30"}`` with extended support.
    """

    attestation: str = ""
    attested_until: str = ""
    max_update_days: int = 30
    end_of_support: dict[str, str]

    def __post_init__(self) -> None:
        for text in (self.attested_until, *self.end_of_support.values()):
            if text and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
                raise ValueError(f'a day must look like "2027-03-31", not {text!r}')

    def needs(self) -> frozenset[Fact]:
        """The host's state."""
        return frozenset({Hardening(), System()})

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge the host."""
        state = facts.get(Hardening())
        if isinstance(state, Problem):
            return Outcome((base.error("host/system", state, expected=_EXPECTED, source="the host's own state"),))
        return Outcome((self._support(state, facts), self._updates(state), *self._rest(state)))

    def _attested(self, state: dict[str, Any]) -> bool:
        return bool(self.attestation) and bool(self.attested_until) and _today(state) <= date.fromisoformat(self.attested_until)

    def _support(self, state: dict[str, Any], facts: Facts) -> Observation:
        system = facts.get(System())
        name = state["id"] if isinstance(system, Problem) else system["os"]
        known = {**END_OF_SUPPORT, **self.end_of_support}
        major = state["version"].partition(".")[0]
        end = known.get(f"{state['id']} {state['version']}") or known.get(f"{state['id']} {major}") or state["support_end"]
        expected, source = "security updates are still made for it", "/etc/os-release"
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", end):
            return self._shown("host/system", expected, f"{name}: until when is not known", source, state)
        if not state["now"]:
            problem = Problem(Reason.ABSENT, "the host's clock could not be read")
            return base.error("host/system", problem, expected=expected, source=source)
        over = _today(state) > date.fromisoformat(end)
        return base.verdict("host/system", not over, expected=expected, actual=f"{name}: until {end}", source=source)

    def _updates(self, state: dict[str, Any]) -> Observation:
        subject, source = "host/updates", "the package manager's cache"
        expected = f"no security update waits for more than {self.max_update_days} days"
        age = (state["now"] - state["refreshed"]) // _DAY if state["refreshed"] else None
        lists = "the package lists are of unknown age" if age is None else f"package lists of {age} days ago"
        if state["pending"] is None:
            return self._shown(subject, expected, f"what is pending is not known; {lists}", source, state)
        urgent = [p["name"] for p in state["pending"] if p["security"]]
        said = f"{len(state['pending'])} updates are pending, {len(urgent)} of them for security; {lists}"
        if urgent and age is not None and age > self.max_update_days:
            actual = f"{said}, so they wait at least as long: {base.show(urgent)}"
            return base.verdict(subject, ok=False, expected=expected, actual=base.short(actual), source=source)
        if age is None or age > self.max_update_days:
            return self._shown(subject, expected, f"{said}: newer updates may be there", source, state)
        if urgent:
            return self._shown(subject, expected, base.short(f"{said}: {base.show(urgent)}"), source, state)
        return base.verdict(subject, ok=True, expected=expected, actual=said, source=source)

    def _rest(self, state: dict[str, Any]) -> list[Observation]:
        lsm = ", ".join(state["lsm"]) or "none known"
        kernel = [f"security modules: {lsm}", *([f"SELinux {state['selinux']}"] if state["selinux"] else [])]
        kernel += [f"{name}={value}" for name, value in sorted(state["sysctl"].items())]
        if state["reboot_required"]:
            kernel.append("a restart is needed for installed updates")
        login = [f"{name} {value}" for name, value in sorted(state["sshd"].items())] or ["not known"]
        shown = (
            ("host/kernel", "the kernel's protections are on", kernel, "/sys/kernel/security, /proc/sys"),
            ("host/sshd", "only keys open the door, not for root", login, "sshd -T"),
            ("host/listening", "only what is needed listens", state["listening"] or ["nothing"], "/proc/net"),
        )
        return [self._shown(subject, expected, base.show(actual), source, state) for subject, expected, actual, source in shown]

    def _shown(self, subject: str, expected: str, actual: str, source: str, state: dict[str, Any]) -> Observation:
        """Return what a person has to judge, or has judged."""
        if self._attested(state):
            said = f"attested until {self.attested_until}: {base.short(self.attestation)}"
            return Observation(subject, Status.PASS, expected, f"{actual} ({said})", source)
        if self.attestation:
            told = f"ended {self.attested_until}" if self.attested_until else "names no day until which it holds"
            actual += f" (the attestation {told})"
        return base.manual(subject, expected=expected, actual=actual, source=source)


def _today(state: dict[str, Any]) -> date:
    """Return the day at the host when it was asked."""
    return datetime.fromtimestamp(state["now"], UTC).date()
