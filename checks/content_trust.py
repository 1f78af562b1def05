"""``content_trust``: logins tell the docker client to verify signatures, where the client still can."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from auditor.facts.host import Processes
from auditor.facts.images import ContentTrust as Places
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason
from checks import base, engines

#: The first docker client without content trust.
RETIRED = 29


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentTrust:
    """Every login has DOCKER_CONTENT_TRUST=1, from a file that all logins read, and no file takes it back.

    Docker retired content trust: its client ignores the variable from version 29 on. ``retired`` says what holds there.
    """

    retired: Literal["not_applicable", "fail"] = "not_applicable"

    def needs(self) -> frozenset[Fact]:
        """The places that set up a login, the client, and whether an engine runs."""
        return frozenset({Places(), Processes()})

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge what all places together do."""
        expected = "DOCKER_CONTENT_TRUST=1 for every login"
        subject = "client/docker"
        processes = facts.get(Processes())
        if not isinstance(processes, Problem) and not any(p["name"] == "dockerd" and not p["contained"] for p in processes):
            return base.outcome([], engines.NO_ENGINE)
        told = facts.get(Places())
        if isinstance(processes, Problem):
            return Outcome((base.error(subject, processes, expected=expected, source="processes of the host"),))
        if isinstance(told, Problem):
            return Outcome((base.error(subject, told, expected=expected, source="files that set up logins"),))
        if told["client"] is None:
            return base.outcome([], "the host has no docker client, which alone would verify signatures")
        if _major(told["client"]) >= RETIRED:
            reason = (
                f"docker client {told['client']} has no content trust any more and ignores DOCKER_CONTENT_TRUST; what the control "
                "wants, that only signed images are used, is for a signature policy of the registry or of the cluster"
            )
            if self.retired == "not_applicable":
                return base.outcome([], reason)
            return Outcome((base.verdict(subject, ok=False, expected=expected, actual=reason, source="docker --version"),))
        return Outcome((self._judge(subject, told, expected),))

    @staticmethod
    def _judge(subject: str, told: dict[str, Any], expected: str) -> Observation:
        places = told["places"]
        lines = [f"{p['path']}:{p['line']} {_words(p)}" for p in places]
        source = base.short(", ".join(f"{p['path']}:{p['line']}" for p in places)) or "files that set up logins"
        actual = base.short("; ".join(lines)) or "set nowhere"
        exported = {p["path"] for p in places if p["form"] == "exported"}
        on = [p for p in places if _for_all(p["path"]) and p["value"] == "1" and (p["form"] == "export" or p["path"] in exported)]
        off = [p for p in places if p["form"] == "unset" or (p["value"] in ("0", "") and p["form"] in ("export", "assign"))]
        unclear = [p for p in places if p["form"] == "other" or p["value"] == "other"]
        if off or (not on and not unclear):
            if not off and told["denied"]:
                return base.error(subject, _denied(told), expected=expected, source=source)
            return base.verdict(subject, ok=False, expected=expected, actual=actual, source=source)
        if told["denied"]:
            return base.error(subject, _denied(told), expected=expected, source=source)
        if unclear:
            return base.manual(subject, expected=expected, actual=actual, source=source)
        return base.verdict(subject, ok=True, expected=expected, actual=actual, source=source)


def _for_all(path: str) -> bool:
    """Return whether every login reads a file; a user's own, or one that only some shells read, proves nothing for the others."""
    return path in ("/etc/environment", "/etc/profile", "/etc/security/pam_env.conf") or path.startswith("/etc/profile.d/")


def _denied(told: dict[str, Any]) -> Problem:
    return Problem(Reason.DENIED, f"{', '.join(told['denied'][:3])}: this account may not read it")


def _words(place: dict[str, Any]) -> str:
    named = {"1": "turns it on", "0": "turns it off", "": "empties it", "other": "sets it to another value"}
    forms = {"unset": "unsets it", "exported": "exports it", "other": "speaks of it in a way that isn't followed"}
    words = forms.get(place["form"]) or named.get(place["value"], "sets it")
    return f"{words}, for this shell only" if place["form"] == "assign" else words


def _major(version: str) -> int:
    number = re.match(r"[0-9]{1,4}", version)
    return int(number[0]) if number else 0
