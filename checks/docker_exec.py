"""``docker_exec``: commands that were started in running containers with more rights than the container has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from auditor.facts.docker import Engine
from auditor.facts.inside import ExecLog, Execs
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason, problem_of
from checks import base, engines
from checks.container_identity import declared_uid
from checks.engines import EngineFacts

_LIVE, _LOG = "GET /exec of the engine", "/var/log/audit"


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerExec:
    """No ``docker exec`` was given privileges (``forbid: privileged``) or a root that its container isn't (``forbid: root``).

    Commands that have not ended are asked for at the engine, earlier ones are looked up in the host's audit log. One that is
    found fails. That none is found proves little about the past: then a person judges, shown what was looked at, unless
    ``accept_unproven`` is true. What a health check starts as the container's own user is not meant.
    """

    forbid: Literal["privileged", "root"]
    accept_unproven: bool = False

    def needs(self) -> frozenset[Fact]:
        """Containers, the commands started in them, and the audit log."""
        return frozenset({Engine("containers"), Execs(), ExecLog()})

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge the running commands of every engine, then the log of the host."""
        found = engines.answers(facts, "containers")
        observations = list(found.missing)
        reasons = [found.reason]
        log = facts.get(ExecLog())
        past = [] if isinstance(log, Problem) else [e for e in log["execs"] if self._bad(e, None)]
        for engine, containers in found.read:
            if all(c["State"].get("Running") is False for c in containers if "problem" not in c) and not _unread(containers):
                reasons.append("the engine has no running containers")
                continue
            execs = engine.answer(Execs())
            subject = f"daemon/dockerd{engine.suffix}"
            if not isinstance(execs, Problem) and _unread(containers):
                execs = Problem(Reason.ABSENT, "not every container could be read, nor what was started in those")
            if isinstance(execs, Problem):
                observations.append(base.error(subject, execs, expected=self._expected, source=_LIVE))
                continue
            bad = list(self._live(engine, containers, execs))
            observations += bad
            if not bad and not past:
                observations.append(self._summary(subject, execs, log))
        if past and found.read:
            observations.append(self._logged(past))
        return engines.conclude(observations, reasons)

    @property
    def _expected(self) -> str:
        return "no docker exec " + ("with --privileged" if self.forbid == "privileged" else "as root")

    def _bad(self, command: dict[str, Any], own_user: str | None) -> bool:
        if self.forbid == "privileged":
            return command["privileged"] is True
        user = command["user"]
        return user not in ("", own_user) and declared_uid(user) == 0

    def _live(self, engine: EngineFacts, containers: list[dict[str, Any]], execs: list[dict[str, Any]]) -> Iterator[Observation]:
        by_id = {c["Id"]: c for c in containers}
        for command in execs:
            if "problem" in command:
                problem = problem_of(command)
                yield base.error(f"daemon/dockerd{engine.suffix}", problem, expected=self._expected, source=_LIVE)
                continue
            container = by_id.get(command["ContainerID"], {"Id": command["ContainerID"]})
            own_user = str((container.get("Config") or {}).get("User") or "")
            if self._bad(command, own_user):
                state = "running" if command["Running"] else "not begun"
                how = "privileged" if self.forbid == "privileged" else f"user {command['user']}"
                subject = f"container/{engines.name_of_container(container)}{engine.suffix}"
                actual = f"{command['command'] or 'a command'}: {how}, {state}"
                yield base.verdict(subject, ok=False, expected=self._expected, actual=actual, source=_LIVE)

    def _logged(self, past: list[dict[str, Any]]) -> Observation:
        shown = [f"in {e['container']} at {_moment(e['time'])}" for e in past[-3:]]
        actual = f"{len(past)} in the log, the last: " + "; ".join(shown)
        return base.verdict("file//var/log/audit/audit.log", ok=False, expected=self._expected, actual=actual, source=_LOG)

    def _summary(self, subject: str, execs: list[dict[str, Any]], log: dict[str, Any] | Problem) -> Observation:
        """Return what is to be said when nothing was found."""
        if isinstance(log, Problem):
            history = f"earlier ones are not known: {log}"
            if self.accept_unproven:
                return base.error(subject, log, expected=self._expected, source=_LOG)
        elif log["since"] is None:
            history = "earlier ones are not known: the host keeps no audit log"
        else:
            history = f"the audit log from {_moment(log['since'])} on holds {len(log['execs'])} docker exec, none of them"
        actual = f"{len(execs)} commands in containers now, none of them so; {history}"
        where = f"{_LIVE}; {_LOG}"
        if self.accept_unproven:
            return base.verdict(subject, ok=True, expected=self._expected, actual=actual, source=where)
        question = f"{self._expected}: does who may use docker here know, and does the audit log cover the docker client?"
        return base.manual(subject, expected=question, actual=actual, source=where)


def _unread(containers: list[dict[str, Any]]) -> bool:
    return any("problem" in c for c in containers)


def _moment(when: int) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d %H:%M UTC")
