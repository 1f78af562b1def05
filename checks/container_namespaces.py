"""Rules about the namespaces of a container: whose they are, and which network it is in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from auditor.facts.docker import Engine
from auditor.model import Fact, Observation, Problem, Reason
from checks import base
from checks.container_isolation import Everywhere
from checks.docker_info import DEFAULT_BRIDGE
from checks.engines import EngineFacts, name_of_container, security_options, source

#: Namespace -> the mode's name in HostConfig, and the namespace's in /proc.
_NAMES = {
    "network": ("NetworkMode", "net"), "pid": ("PidMode", "pid"), "ipc": ("IpcMode", "ipc"), "uts": ("UTSMode", "uts"),
    "user": ("UsernsMode", "user"),
}  # fmt: skip


def joined(container: dict[str, Any], engine: EngineFacts, field: str) -> list[dict[str, Any]] | Problem:
    """Return a container and those it joins by ``container:NAME``, the one whose namespace it is in the end last."""
    chain = [container]
    while True:
        kind, _, other = str(chain[-1]["HostConfig"].get(field) or "").partition(":")
        if kind != "container":
            return chain
        following = _find(engine, other)
        if isinstance(following, Problem):
            return following
        if any(following["Id"] == c["Id"] for c in chain):
            return Problem(Reason.UNPARSABLE, "the containers join each other")
        chain.append(following)


def _find(engine: EngineFacts, name: str) -> dict[str, Any] | Problem:
    """Find a container by its full id, its name, or the beginning of its id, in this order."""
    containers = engine.document("containers")
    if isinstance(containers, Problem):
        return containers
    named = engine.once("containers by name", lambda: {n: c for c in reversed(containers) for n in (c.get("Name"), c["Id"])})
    exact = named.get(name) or named.get(f"/{name}")
    found: list[dict[str, Any]] = [exact] if exact else [c for c in containers if name and c["Id"].startswith(name)]
    if not found:
        return Problem(Reason.ABSENT, f"container {name[:12]}, which it joins, is not on the engine")
    if "HostConfig" not in found[0]:
        return Problem(Reason.ABSENT, f"container {name[:12]}, which it joins, could not be read")
    return found[0]


def networks_of(container: dict[str, Any]) -> dict[str, Any] | None:
    """Return the networks a container is on, by name; None when that isn't given."""
    networks = (container.get("NetworkSettings") or {}).get("Networks")
    return networks if isinstance(networks, dict) else None


def network_owner(container: dict[str, Any], engine: EngineFacts) -> dict[str, Any] | Problem | None:
    """Return the container whose network a container uses, itself as a rule; None when it is the host's."""
    chain = joined(container, engine, "NetworkMode")
    if isinstance(chain, Problem):
        return chain
    mode = chain[-1]["HostConfig"].get("NetworkMode")
    if mode is None:
        return Problem(Reason.ABSENT, "NetworkMode is not given")
    return None if mode == "host" or "host" in (networks_of(chain[-1]) or {}) or shares(chain[-1], "net") else chain[-1]


def shares(container: dict[str, Any], namespace: str) -> bool:
    """Return whether /proc proves that a container's first process is in the same namespace (``net``, ...) as its dockerd."""
    return namespace in ((container.get("proc") or {}).get("shared") or ())


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNamespace(Everywhere):
    """A container doesn't share this namespace of its host, neither by itself nor by joining another container that does.

    Judged on its options; where the host can be read, its first process must not be in dockerd's own namespace either. The
    ``user`` namespace is that of the host wherever the engine remaps no users, which is another control's matter: here no
    container may ask for it, and where the engine does remap, none may be in it.
    """

    namespace: Literal["network", "pid", "ipc", "uts", "user"]

    def needs(self) -> frozenset[Fact]:
        """Whether the engine remaps users, where that matters."""
        return frozenset({Engine("info")}) if self.namespace == "user" else frozenset()

    @property
    def field(self) -> str:
        """The mode's name in HostConfig."""
        return _NAMES[self.namespace][0]

    def judge(self, subject: str, container: dict[str, Any], engine: EngineFacts) -> Observation:
        """Follow ``container:NAME`` to the container whose namespace it is in the end."""
        expected = f"a {self.namespace} namespace of its own" if self.namespace != "user" else "user namespace not set to host"
        where = source("containers", f"HostConfig.{self.field}")
        chain = joined(container, engine, self.field)
        if isinstance(chain, Problem):
            return base.error(subject, chain, expected=expected, source=where)
        last = chain[-1]
        mode = last["HostConfig"].get(self.field)
        if mode is None and self.namespace in ("network", "ipc"):  # the engine always gives these two
            return base.error(subject, Problem(Reason.ABSENT, f"{self.field} is not given"), expected=expected, source=where)
        path = [f"container:{name_of_container(c)}" for c in chain[1:]]
        if mode == "host" or (self.namespace == "network" and "host" in (networks_of(last) or {})):
            return base.verdict(subject, ok=False, expected=expected, actual=" -> ".join([*path, "host"]), source=where)
        shared = any(shares(c, _NAMES[self.namespace][1]) for c in (container, last))
        remapped = self._remapped(engine) if shared else False
        if isinstance(remapped, Problem):
            return base.error(subject, remapped, expected=expected, source=source("info", "SecurityOptions"))
        if remapped:
            actual = " -> ".join([*path, mode or "private"]) + "; but its first process is in the namespace of dockerd"
            where = f"/proc of its first process: ns/{_NAMES[self.namespace][1]}"
            return base.verdict(subject, ok=False, expected=expected, actual=actual, source=where)
        shown = mode or ("private" if self.namespace != "user" else self._default(engine))
        return base.verdict(subject, ok=True, expected=expected, actual=" -> ".join([*path, shown]), source=where)

    def _remapped(self, engine: EngineFacts) -> bool | Problem:
        """Whether a shared namespace contradicts the options: the user namespace does so only when the engine remaps users."""
        if self.namespace != "user":
            return True
        options = security_options(engine)
        return options if isinstance(options, Problem) else "name=userns" in options

    @staticmethod
    def _default(engine: EngineFacts) -> str:
        options = security_options(engine)
        if isinstance(options, Problem):
            return "the engine's default"
        if "name=userns" in options:
            return "the engine's default: users are remapped"
        return "the engine's default, which is the host's namespace: the engine remaps no users"


@dataclass(frozen=True, slots=True)
class DefaultBridge:
    """A running container is not on the engine's default bridge network, neither by itself nor through one that it joins.

    The network is told by its role, so that another name of its interface doesn't hide it.
    """

    def needs(self) -> frozenset[Fact]:
        """The engine's networks."""
        return frozenset({Engine("networks")})

    def applies(self, engine: EngineFacts) -> str | Problem:
        """Where there is such a network."""
        bridge = _default_bridge(engine)
        return bridge if isinstance(bridge, Problem) else "" if bridge else "the engine has no default bridge network"

    def judge(self, subject: str, container: dict[str, Any], engine: EngineFacts) -> Observation:
        """Look at the networks of the container whose network it is in the end."""
        expected = "no endpoint on the default bridge"
        where = source("containers", "NetworkSettings.Networks")
        owner = network_owner(container, engine)
        if owner is None:
            return base.verdict(subject, ok=True, expected=expected, actual="the host's network", source=where)
        networks = owner if isinstance(owner, Problem) else networks_of(owner)
        if networks is None:
            networks = Problem(Reason.ABSENT, "its networks are not given")
        if isinstance(networks, Problem):
            return base.error(subject, networks, expected=expected, source=where)
        bridge = _default_bridge(engine)
        assert isinstance(bridge, dict)
        assert isinstance(owner, dict)
        ids = {n.get("NetworkID") for n in networks.values() if isinstance(n, dict)}
        on_it = bridge["Name"] in networks or bridge["Id"] in ids
        shown = base.show(sorted(networks)) if networks else str(owner["HostConfig"].get("NetworkMode"))
        if owner["Id"] != container["Id"]:
            shown = f"container:{name_of_container(owner)} -> {shown}"
        return base.verdict(subject, not on_it, expected=expected, actual=shown, source=where)


def _default_bridge(engine: EngineFacts) -> dict[str, Any] | Problem | None:
    networks = engine.document("networks")
    if isinstance(networks, Problem):
        return networks
    return next((n for n in networks if (n.get("Options") or {}).get(DEFAULT_BRIDGE) == "true"), None)
