"""Rules about the ports of its host that a running container is published on.

What is published is what the engine did (NetworkSettings.Ports), not what was asked for. Ports of a swarm's routing mesh are
not in there: a container on the network ``ingress`` has some, on every address of the host, whose numbers a manager knows.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from auditor.facts.docker import Engine
from auditor.facts.swarm import Swarm
from auditor.model import Fact, Observation, Problem, Reason
from checks import base, engines
from checks.container_isolation import Everywhere
from checks.container_namespaces import network_owner
from checks.container_service import service_of
from checks.engines import EngineFacts, source

#: Ports below this one are for root alone, unless the host says otherwise (net.ipv4.ip_unprivileged_port_start).
UNPRIVILEGED = 1024
MESH = "ingress"
_WHERE = source("containers", "NetworkSettings.Ports")


@dataclass(frozen=True, slots=True, order=True)
class Published:
    """A port of the host that leads to one of the container's; ``inner`` is ``80/tcp``, ``address`` that of the host."""

    port: int
    inner: str
    address: str

    def __str__(self) -> str:
        shown = f"[{self.address}]" if ":" in self.address else self.address or "*"
        return f"{shown}:{self.port}->{self.inner}"

    @property
    def everywhere(self) -> bool | None:
        """Whether it is on all addresses of the host; None when the address is none."""
        if not self.address:
            return True
        try:
            address = ipaddress.ip_address(self.address.strip("[]").partition("%")[0])
        except ValueError:
            return None
        mapped = getattr(address, "ipv4_mapped", None)
        return bool((mapped or address).is_unspecified)


Ports = list[Published]


def published(container: dict[str, Any]) -> Ports | Problem:
    """Return every port that the engine published for a running container."""
    ports = (container.get("NetworkSettings") or {}).get("Ports")
    if ports is None:
        ports = {}  # of a container without a network of its own
    if not isinstance(ports, dict):
        return Problem(Reason.UNPARSABLE, "NetworkSettings.Ports is not an object")
    found: set[Published] = set()
    for inner, bindings in ports.items():
        for binding in bindings or ():
            word = str(binding.get("HostPort") if isinstance(binding, dict) else "")
            if not (word.isascii() and word.isdecimal()):
                return Problem(Reason.UNPARSABLE, f"port {inner} is published on {word[:20]!r}, which is no number")
            found.add(Published(int(word), str(inner), str(binding.get("HostIp") or "")))
    return sorted(found)


def all_published(container: dict[str, Any], engine: EngineFacts) -> Ports | Problem:
    """Return what `published` does and the ports of the swarm's routing mesh, which are on every address of the host."""
    ports = published(container)
    if isinstance(ports, Problem) or not on_mesh(container):
        return ports
    service = service_of(container, engine)
    if isinstance(service, Problem):
        return service
    found = set(ports)
    for port in (service.get("Endpoint") or {}).get("Ports") or ():
        number, target = port.get("PublishedPort"), port.get("TargetPort")
        if port.get("PublishMode", "ingress") == "ingress":
            if not isinstance(number, int) or not isinstance(target, int):
                return Problem(Reason.UNPARSABLE, "a port of its service has no number")
            found.add(Published(number, f"{target}/{port.get('Protocol') or 'tcp'}", ""))
    return sorted(found)


def show(ports: Iterable[Published]) -> str:
    """Return ports as a report shows them."""
    return base.show([str(p) for p in ports])


def on_mesh(container: dict[str, Any]) -> bool:
    """Return whether a container takes part in its swarm's routing mesh."""
    return MESH in ((container.get("NetworkSettings") or {}).get("Networks") or {})


def _elsewhere(container: dict[str, Any], engine: EngineFacts) -> str | Problem:
    """Return whose network a container uses, when it has none of its own: ``host`` or another container's name; else ""."""
    owner = network_owner(container, engine)
    if isinstance(owner, Problem):
        return owner
    if owner is None:
        return "host"
    return "" if owner["Id"] == container["Id"] else engines.name_of_container(owner)


class _PortRule(Everywhere):
    """What the rules about ports share: where a container's ports can't be told from what is published."""

    __slots__ = ()

    def needs(self) -> frozenset[Fact]:
        """The services of a swarm."""
        return frozenset({Swarm()})

    def judge(self, subject: str, container: dict[str, Any], engine: EngineFacts) -> Observation:
        """Judge what is published; a container in another network has no ports of its own."""
        expected = self.expected()
        whose = _elsewhere(container, engine)
        if isinstance(whose, Problem):
            return base.error(subject, whose, expected=expected, source=source("containers", "HostConfig.NetworkMode"))
        if whose == "host":
            return self.on_host(subject, expected)
        if whose:
            actual = f"uses the network of container/{whose}, whose ports are judged there"
            return base.not_applicable(
                subject, expected=expected, actual=actual, source=source("containers", "HostConfig.NetworkMode")
            )
        ports = self.ports_of(container, engine)
        if isinstance(ports, Problem):
            return base.error(subject, ports, expected=expected, source=_WHERE)
        return self.judge_ports(subject, container, engine, ports)

    def ports_of(self, container: dict[str, Any], engine: EngineFacts) -> Ports | Problem:
        """Return the ports that are to be judged."""
        return all_published(container, engine)

    def expected(self) -> str:
        """Return the expectation in words."""
        raise NotImplementedError

    def on_host(self, subject: str, expected: str) -> Observation:
        """Return what is to be said of a container in the host's own network: any of its ports may be a port of the host."""
        actual = "uses the host's network: nothing is published, but whatever it listens on is a port of the host"
        return base.manual(subject, expected=expected, actual=actual, source=source("containers", "HostConfig.NetworkMode"))

    def judge_ports(self, subject: str, container: dict[str, Any], engine: EngineFacts, ports: Ports) -> Observation:
        """Judge the published ports of a container with a network of its own."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivilegedPorts(_PortRule):
    """A running container is published on no port of the host below 1024 but those ``allowed``."""

    allowed: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for port in self.allowed:
            if not 0 < port < UNPRIVILEGED:
                raise ValueError(f"{port} is not a port below {UNPRIVILEGED}")

    def expected(self) -> str:
        """Say which ports there may be."""
        return f"no port of the host below {UNPRIVILEGED}" + (f" but {base.show(self.allowed)}" if self.allowed else "")

    def judge_ports(self, subject: str, container: dict[str, Any], engine: EngineFacts, ports: Ports) -> Observation:  # noqa: ARG002
        """Compare every port of the host with the bound."""
        bad = [p for p in ports if p.port < UNPRIVILEGED and p.port not in self.allowed]
        actual = show(bad) if bad else show(ports) if ports else "nothing published"
        return base.verdict(subject, not bad, expected=self.expected(), actual=actual, source=_WHERE)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundAddress(_PortRule):
    """Every published port of a running container is bound to an address that somebody chose, not to all of the host's.

    ``allowed`` are ports of the host that may be open on all addresses.
    """

    allowed: tuple[int, ...] = ()

    def ports_of(self, container: dict[str, Any], engine: EngineFacts) -> Ports | Problem:
        """Return the mesh's ports where they are known; that there are some is enough to fail."""
        ports = all_published(container, engine)
        return published(container) if isinstance(ports, Problem) and on_mesh(container) else ports

    def expected(self) -> str:
        """Say what an address must not be."""
        return "every published port on one address of the host" + (f", but {base.show(self.allowed)}" if self.allowed else "")

    def judge_ports(self, subject: str, container: dict[str, Any], engine: EngineFacts, ports: Ports) -> Observation:  # noqa: ARG002
        """Look for the unspecified addresses of both families, in whatever spelling."""
        expected = self.expected()
        bad = [p for p in ports if p.everywhere and p.port not in self.allowed]
        if bad:
            return base.verdict(subject, ok=False, expected=expected, actual=show(bad), source=_WHERE)
        if on_mesh(container) and all(p.address for p in ports):  # whatever their numbers are
            actual = "its service publishes through the swarm's routing mesh, which is on every address of the host"
            where = source("containers", "NetworkSettings.Networks")
            return base.verdict(subject, ok=False, expected=expected, actual=actual, source=where)
        odd = [p for p in ports if p.everywhere is None]
        if odd:
            problem = Problem(Reason.UNPARSABLE, f"{odd[0].address[:60]!r} is not an address")
            return base.error(subject, problem, expected=expected, source=_WHERE)
        if not ports:
            return base.not_applicable(subject, expected=expected, actual="nothing published", source=_WHERE)
        return base.verdict(subject, ok=True, expected=expected, actual=show(ports), source=_WHERE)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredPorts:
    """The ports of their own (``80/tcp``) that some containers may publish.

    ``container`` and ``image`` are names or patterns with ``*`` and ``?`` (``shop-*``); at least one of them. An image is
    named as the container was started with it.
    """

    ports: tuple[str, ...]
    container: str = ""
    image: str = ""

    def __post_init__(self) -> None:
        if not self.container and not self.image:
            raise ValueError("name a container or an image")
        for port in self.ports:
            number, _, protocol = port.partition("/")
            if not number.isdecimal() or protocol not in ("tcp", "udp", "sctp"):
                raise ValueError(f"{port!r} is not a port such as 80/tcp")

    def covers(self, container: dict[str, Any]) -> bool:
        """Return whether a container is meant."""
        image = str(container["Config"].get("Image") or "")
        name = engines.name_of_container(container)
        return fnmatchcase(name, self.container or "*") and fnmatchcase(image, self.image or "*")


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededPorts(_PortRule):
    """A running container publishes only ports that are declared for it.

    Without a declaration two things are wrong for sure: all exposed ports are published at random, or a port is that the image
    doesn't name with EXPOSE. Everything else is shown for a person to judge.
    """

    declared: tuple[DeclaredPorts, ...] = ()

    def needs(self) -> frozenset[Fact]:
        """What images expose, and the services of a swarm."""
        return frozenset({Engine("images"), Swarm()})

    def expected(self) -> str:
        """Say what may be published."""
        return "only ports that are needed"

    def judge_ports(self, subject: str, container: dict[str, Any], engine: EngineFacts, ports: Ports) -> Observation:
        """Compare with the declaration, else with what the image exposes."""
        declarations = [d for d in self.declared if d.covers(container)]
        if declarations:
            return self._declared(subject, ports, {p for d in declarations for p in d.ports})
        expected = self.expected()
        where = source("containers", "NetworkSettings.Ports, HostConfig.PublishAllPorts")
        everything = container["HostConfig"].get("PublishAllPorts")
        if everything:
            actual = f"all exposed ports are published (-P): {show(ports)}"
            return base.verdict(subject, ok=False, expected=expected, actual=actual, source=where)
        if not ports:
            if everything is None:
                return base.error(subject, Problem(Reason.ABSENT, "PublishAllPorts is not given"), expected=expected, source=where)
            return base.verdict(subject, ok=True, expected=expected, actual="nothing published", source=where)
        exposed = _exposed(container, engine)
        where += "; " + source("images", "Config.ExposedPorts")
        if isinstance(exposed, Problem):
            return base.error(subject, exposed, expected=expected, source=where)
        unexpected = [p for p in ports if p.inner not in exposed]
        if unexpected:
            actual = f"not exposed by its image: {show(unexpected)}"
            return base.verdict(subject, ok=False, expected=expected, actual=actual, source=where)
        return base.manual(subject, expected=f"{expected}: is each of these?", actual=show(ports), source=where)

    @staticmethod
    def _declared(subject: str, ports: Ports, wanted: set[str]) -> Observation:
        expected = f"only {base.show(sorted(wanted))}" if wanted else "nothing published"
        extra = [p for p in ports if p.inner not in wanted]
        actual = f"beyond it: {show(extra)}" if extra else show(ports) if ports else "nothing published"
        return base.verdict(subject, not extra, expected=expected, actual=actual, source=_WHERE)


def _exposed(container: dict[str, Any], engine: EngineFacts) -> set[str] | Problem:
    image = engine.image_of(container)
    if isinstance(image, Problem):
        return image
    return set(_names((image.get("Config") or {}).get("ExposedPorts") or {}))


def _names(ports: Iterable[str]) -> Iterator[str]:
    """EXPOSE without a protocol means tcp."""
    for port in ports:
        yield port if "/" in port else f"{port}/tcp"
