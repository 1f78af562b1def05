"""``container``: a field of every container, or one of the rules that need more than a field."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

from auditor.facts.docker import Engine
from auditor.model import Fact, Facts, Observation, Outcome, Problem, problem_of
from checks import base, engines
from checks.container_access import EngineSocket, SensitiveMounts
from checks.container_devices import Devices
from checks.container_identity import NoNewPrivileges, User
from checks.container_image import CurrentImage
from checks.container_isolation import AppArmor, Capabilities, CpuWeight, SeLinux
from checks.container_life import Health, RestartPolicy
from checks.container_limits import CgroupParent, Ulimits
from checks.container_namespaces import DefaultBridge, HostNamespace
from checks.container_ports import BoundAddress, NeededPorts, PrivilegedPorts
from checks.container_programs import SshServer
from checks.container_propagation import MountPropagation
from checks.container_seccomp import Seccomp
from checks.docker_info import field_judge
from checks.engines import EngineFacts
from checks.expectation import Expect, Scalar


class Rule(Protocol):
    """A condition on one container: a frozen dataclass whose fields are its parameters in a benchmark file."""

    def needs(self) -> frozenset[Fact]:
        """Return the facts it reads beside the containers."""
        ...

    def applies(self, engine: EngineFacts) -> str | Problem:
        """Return why it doesn't apply to an engine's containers; empty when it does."""
        ...

    def judge(self, subject: str, container: dict[str, Any], engine: EngineFacts) -> Observation:
        """Return the observation about one container (an inspect document; see `auditor.facts.docker`)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """Every container must satisfy ``field`` with ``expect``, or one rule; one observation a container.

    ``scope``: ``all`` has stopped containers too, ``running`` only those that run (paused ones run). ``default`` is what a
    field that isn't given means; without it such a field is missing evidence.
    """

    field: str = ""
    expect: Expect | None = None
    default: Scalar | tuple[Scalar, ...] | None = None
    scope: Literal["all", "running"] = "all"
    apparmor: AppArmor | None = None
    bound_address: BoundAddress | None = None
    capabilities: Capabilities | None = None
    cgroup_parent: CgroupParent | None = None
    cpu_weight: CpuWeight | None = None
    current_image: CurrentImage | None = None
    default_bridge: DefaultBridge | None = None
    devices: Devices | None = None
    engine_socket: EngineSocket | None = None
    health: Health | None = None
    host_namespace: HostNamespace | None = None
    mount_propagation: MountPropagation | None = None
    needed_ports: NeededPorts | None = None
    no_new_privileges: NoNewPrivileges | None = None
    privileged_ports: PrivilegedPorts | None = None
    restart_policy: RestartPolicy | None = None
    seccomp: Seccomp | None = None
    selinux: SeLinux | None = None
    sensitive_mounts: SensitiveMounts | None = None
    ssh_server: SshServer | None = None
    ulimits: Ulimits | None = None
    user: User | None = None

    def __post_init__(self) -> None:
        rules = self._rules()
        if bool(self.field) + len(rules) != 1:
            names = [f.name for f in dataclasses.fields(self) if f.name not in ("field", "expect", "default", "scope")]
            raise ValueError("give either field and expect, or exactly one rule: " + ", ".join(names))
        if bool(self.field) != (self.expect is not None) or (self.default is not None and not self.field):
            raise ValueError("field and expect go together, and default only with them")
        if self.field:
            engines.parse_path("containers", self.field)

    def _rules(self) -> list[Rule]:
        return [rule for name in _RULES if (rule := getattr(self, name)) is not None]

    def needs(self) -> frozenset[Fact]:
        """The containers, and what the rule reads beside them."""
        return frozenset({Engine("containers")}).union(*(rule.needs() for rule in self._rules()))

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every container in scope of every engine."""
        found = engines.answers(facts, "containers")
        observations = list(found.missing)
        reasons = [found.reason]
        rules = self._rules()
        judge = self._judgement(rules)
        for engine, containers in found.read:
            chosen = engine.once(f"containers {self.scope}", partial(self._chosen, engine, containers))
            if not chosen:
                reasons.append("the engine has no running containers" if containers else "the engine has no containers")
                continue
            why_not = next((why for rule in rules if (why := rule.applies(engine))), "")
            if isinstance(why_not, Problem):
                observations.append(base.error(f"daemon/dockerd{engine.suffix}", why_not))
            elif why_not:
                reasons.append(why_not)
            else:
                for subject, container in chosen:
                    if "problem" in container:
                        problem = problem_of(container)
                        observations.append(base.error(subject, problem, source=engines.source("containers")))
                    else:
                        observations.append(judge(subject, container, engine))
        return engines.conclude(observations, reasons)

    def _chosen(self, engine: EngineFacts, containers: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
        """Return the containers in scope with their subjects."""
        return [(f"container/{engines.name_of_container(c)}{engine.suffix}", c) for c in containers if self._in_scope(c)]

    def _in_scope(self, container: dict[str, Any]) -> bool:
        """One that could not be read may be running."""
        return self.scope == "all" or "problem" in container or container["State"].get("Running") is not False

    def _judgement(self, rules: list[Rule]) -> Callable[[str, dict[str, Any], EngineFacts], Observation]:
        """Return the one rule's judgement, or that of the field."""
        for rule in rules:
            return rule.judge
        assert self.expect is not None
        judge = field_judge("containers", self.field, self.expect, self.default)
        return lambda subject, container, _: judge(subject, container)


#: Looked up once: every control about containers asks for its rule.
_RULES = tuple(f.name for f in dataclasses.fields(Container) if f.name not in ("field", "expect", "default", "scope"))
