"""Rules about what a swarm's managers manage: the managers themselves, and services' secrets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from auditor.facts.redact import is_secret_name
from auditor.facts.swarm import name_of
from auditor.model import Fact, Observation, Problem, Reason
from checks import base
from checks.swarm_member import Member


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerCount:
    """The number of managers is odd, and from ``least`` to ``most``."""

    least: int
    most: int
    asks: ClassVar[Literal["manager"]] = "manager"

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ValueError("least must be 1 or more, and not more than most")

    def needs(self) -> frozenset[Fact]:
        """Nothing more."""
        return frozenset()

    def judge(self, member: Member) -> list[Observation]:
        """Return the observation about the swarm that this manager belongs to."""
        count = member.info.get("Managers")
        expected = "1 manager" if self.most == 1 else f"an odd number of managers from {self.least} to {self.most}"
        source = "docker info: Swarm.Managers"
        if not count:
            problem = Problem(Reason.ABSENT, "the manager doesn't say how many managers there are")
            return [base.error(member.subject, problem, expected=expected, source=source)]
        nodes = member.part("nodes")
        names = "" if isinstance(nodes, Problem) else ", ".join(sorted(_manager(n) for n in nodes if n.get("ManagerStatus")))
        actual = f"{count} of {member.info.get('Nodes')} nodes" + (f": {names}" if names else "")
        ok = count % 2 == 1 and self.least <= count <= self.most
        return [base.verdict(member.subject, ok, expected=expected, actual=base.short(actual), source=source)]


def _manager(node: dict[str, Any]) -> str:
    status = node["ManagerStatus"]
    word = "leader" if status.get("Leader") else str(status.get("Reachability") or "unknown")
    return f"{name_of(node)} ({word})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSecrets:
    """No service carries what looks like a secret in its environment or arguments, no config is named like one.

    ``harmless`` are names of variables, flags and configs that look like a secret's without being one. A service that carries
    nothing of the kind passes when it uses the swarm's secrets, or when it has neither environment, arguments nor configs;
    where a secret may hide behind a plain name, a person must look.
    """

    harmless: tuple[str, ...] = ()
    asks: ClassVar[Literal["manager"]] = "manager"

    def needs(self) -> frozenset[Fact]:
        """Nothing more."""
        return frozenset()

    def judge(self, member: Member) -> list[Observation] | str:
        """Return an observation a service, and one a config that is named like a secret."""
        services, configs = member.part("services"), member.part("configs")
        found: list[Observation] = []
        expected, suffix = "no secret outside the swarm's secrets", member.engine.suffix
        if isinstance(services, Problem):
            found.append(base.error(member.subject, services, expected=expected, source="docker service inspect"))
        else:
            found += [self._service(f"service/{name_of(s)}{suffix}", s["Spec"], expected) for s in services]
        if isinstance(configs, Problem):
            found.append(base.error(member.subject, configs, expected=expected, source="docker config ls"))
        else:
            named = [name_of(c) for c in configs if self._looks_secret(name_of(c))]
            source = "docker config ls: name"
            found += [
                base.verdict(f"config/{name}{suffix}", ok=False, expected=expected, actual="named like a secret", source=source)
                for name in named
            ]
        return found or "the swarm runs no service"

    def _looks_secret(self, name: str) -> bool:
        return is_secret_name(name) and name not in self.harmless

    def _service(self, subject: str, spec: dict[str, Any], expected: str) -> Observation:
        source = "docker service inspect: TaskTemplate.ContainerSpec"
        container = (spec.get("TaskTemplate") or {}).get("ContainerSpec")
        if not isinstance(container, dict):
            return base.manual(subject, expected=expected, actual="it runs no container (a plugin?): not looked at", source=source)
        hits = [h for h in container.get("suspicious") or () if h["where"].split(" ")[-1] not in self.harmless]
        hits += [
            {"where": f"config {c.get('ConfigName')}", "kind": "named like a secret"}
            for c in container.get("Configs") or ()
            if self._looks_secret(str(c.get("ConfigName") or ""))
        ]
        if hits:
            actual = base.show([f"{h['where']}: {h['kind']}" for h in hits])
            return base.verdict(subject, ok=False, expected=expected, actual=actual, source=source)
        used = [str(s.get("SecretName")) for s in container.get("Secrets") or ()]
        if used:
            actual = f"nothing that looks like one; it uses the swarm's secrets {base.show(used)}"
            return base.verdict(subject, ok=True, expected=expected, actual=actual, source=source)
        env = [str(name) for name in container.get("Env") or ()]
        names = [str(c.get("ConfigName")) for c in container.get("Configs") or ()]
        carriers = [f"environment {base.show(env)}"] * bool(env) + [f"configs {base.show(names)}"] * bool(names)
        carriers += ["arguments"] * bool(container.get("Args") or container.get("Command"))
        if not carriers:
            actual = "it has neither environment, arguments nor configs"
            return base.verdict(subject, ok=True, expected=expected, actual=actual, source=source)
        actual = f"it uses no secret of the swarm, and nothing here looks like one: {'; '.join(carriers)}"
        return base.manual(subject, expected="does it need a secret, and where does that come from?", actual=actual, source=source)
