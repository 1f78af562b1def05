"""The inventory file -> what to audit and how to reach it.

Everything that can be wrong in the file is said at once, with its line and column. Relative paths are taken from the
inventory's own folder and ``~`` is the home of whoever runs the auditor.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from auditor.inventoryfile import ADDRESS, MAX_NAME, SECRET_SOURCES, Become, HostKeys, decode, given
from auditor.model import Target
from auditor.yamlfile import InputError, Mistake, did_you_mean, read_text


@dataclass(frozen=True, slots=True, kw_only=True)
class SshOptions:
    """How to log in. None leaves it to OpenSSH's own configuration and agent; timeouts are in seconds.

    ``timeout`` is for everything that is asked of one host; ``become`` says how facts are read that only root may read. For a
    password and for a passphrase there is one place at most. ``channels``: so many targets are asked through this host at once.
    """

    user: str | None = None
    port: int | None = None
    identity_file: Path | None = None
    known_hosts: Path | None = None
    become: Become = "sudo"
    connect_timeout: float = 10.0
    timeout: float = 120.0
    password_env: str | None = None
    password_file: Path | None = None
    password_prompt: bool = False
    passphrase_env: str | None = None
    passphrase_file: Path | None = None
    passphrase_prompt: bool = False
    channels: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSpec:
    """A host, over SSH or the one we run on. ``jump`` is another host's name, ``user@address[:port]``, or empty.

    ``host_key`` pins its key: ``SHA256:...`` as ssh-keygen -l prints it, or ``ssh-ed25519 AAAA...``; empty: known_hosts decides.
    """

    name: str
    address: str = ""
    transport: Literal["ssh", "local"] = "ssh"
    groups: tuple[str, ...] = ()
    jump: str = ""
    host_key: str = ""
    ssh: SshOptions = SshOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """A Docker engine that is reached by its API alone: ``unix://``, ``tcp://`` (with TLS files) or ``ssh://``."""

    name: str
    url: str
    groups: tuple[str, ...] = ()
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    timeout: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """A cluster by its API. ``kubeconfig`` None is the usual one; ``context`` empty the current one; ``nodes`` are hosts' names.

    With ``nodes_proxy`` kubelets are asked for their configuration through the API server.
    """

    name: str
    kubeconfig: Path | None = None
    context: str = ""
    in_cluster: bool = False
    nodes: tuple[str, ...] = ()
    nodes_proxy: bool = False
    groups: tuple[str, ...] = ()
    timeout: float = 120.0


Spec = HostSpec | EngineSpec | ClusterSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What to audit. ``others`` are hosts that are not audited but that jumps may lead through (see `limit`)."""

    hosts: tuple[HostSpec, ...] = ()
    engines: tuple[EngineSpec, ...] = ()
    clusters: tuple[ClusterSpec, ...] = ()
    path: Path | None = None
    ssh: SshOptions = SshOptions()
    others: tuple[HostSpec, ...] = ()

    def specs(self) -> tuple[Spec, ...]:
        """Return everything to audit, in the file's order within hosts, engines, clusters."""
        return (*self.hosts, *self.engines, *self.clusters)

    def jumps(self, host: HostSpec) -> tuple[HostSpec, ...]:
        """Return the hosts on the way to ``host``, the first to log in to first."""
        known = {h.name: h for h in (*self.hosts, *self.others)}
        way: list[HostSpec] = []
        jump = host.jump
        while jump:
            hop = known.get(jump) or _hop(jump, self.ssh)
            way.append(hop)
            jump = hop.jump
        return tuple(reversed(way))


def target_of(spec: Spec) -> Target:
    """Return the target that a part of the inventory stands for."""
    if isinstance(spec, HostSpec):
        return Target(spec.name, spec.transport, spec.address, spec.groups)
    if isinstance(spec, EngineSpec):
        return Target(spec.name, "docker", spec.url, spec.groups)
    return Target(spec.name, "kubernetes", spec.context or ("in-cluster" if spec.in_cluster else ""), spec.groups, spec.nodes)


def load(path: Path, *, elsewhere: bool = False) -> Inventory:
    """Read an inventory; raises `InputError` with every mistake in it. For ``elsewhere`` see `parse`."""
    return parse(read_text(path), path, elsewhere=elsewhere)


def parse(text: str, path: Path, *, elsewhere: bool = False) -> Inventory:
    """Return the inventory that a text says; ``path`` is what it was read from. Raises `InputError`.

    With ``elsewhere`` it is for another machine or account: the files that it names need not be here.
    """
    keys = decode(text, path, elsewhere=elsewhere)
    defaults = given(keys.defaults.ssh)
    return Inventory(
        hosts=tuple(_host(h, defaults) for h in keys.hosts),
        engines=tuple(EngineSpec(**given(e)) for e in keys.docker),
        clusters=tuple(ClusterSpec(**given(c)) for c in keys.clusters),
        path=path,
        ssh=SshOptions(**defaults),
    )


def local_inventory() -> Inventory:
    """Return the inventory of the machine we run on, under its own host name."""
    name = "".join(c for c in socket.gethostname() if c.isprintable())[:MAX_NAME].strip()
    return Inventory(hosts=(HostSpec(name=name or "localhost", transport="local"),))


def limit(inventory: Inventory, patterns: Sequence[str]) -> tuple[Inventory, tuple[str, ...]]:
    """Keep what one of ``patterns`` means by its name or a group (``*``, ``?`` and ``[...]`` as in a shell).

    Returns the inventory and the names that were left out. Raises `InputError` for a pattern that means nothing.
    """
    if not patterns:
        return inventory, ()
    words = {word for spec in inventory.specs() for word in (spec.name, *spec.groups)}
    missing = [p for p in patterns if not any(_means(p, w) for w in words)]
    if missing:
        raise InputError([Mistake("--limit", 0, 0, f"no target or group is called {p!r}{did_you_mean(p, words)}") for p in missing])

    def kept(spec: Spec) -> bool:
        return any(_means(p, word) for p in patterns for word in (spec.name, *spec.groups))

    left_out = tuple(spec.name for spec in inventory.specs() if not kept(spec))
    reduced = dataclasses.replace(
        inventory,
        hosts=tuple(h for h in inventory.hosts if kept(h)),
        engines=tuple(e for e in inventory.engines if kept(e)),
        clusters=tuple(c for c in inventory.clusters if kept(c)),
        others=(*inventory.others, *(h for h in inventory.hosts if not kept(h))),
    )
    return reduced, left_out


def _means(pattern: str, word: str) -> bool:
    return pattern == word or fnmatch.fnmatchcase(word, pattern)


def _host(keys: HostKeys, defaults: dict[str, Any]) -> HostSpec:
    values = given(keys)
    if keys.transport == "ssh":
        values.setdefault("address", keys.name)
    own = given(keys.ssh)
    for secret in ("password", "passphrase"):  # a place of its own stands for the defaults' one, also of another kind
        if any(f"{secret}_{kind}" in own for kind in SECRET_SOURCES):
            defaults = {k: v for k, v in defaults.items() if not k.startswith(f"{secret}_")}
    return HostSpec(**{**values, "ssh": SshOptions(**{**defaults, **own})})


def _hop(jump: str, defaults: SshOptions) -> HostSpec:
    match = ADDRESS.fullmatch(jump)
    assert match is not None, jump
    port = int(match["port"]) if match["port"] else None
    return HostSpec(
        name=jump, address=match["address"].strip("[]"), ssh=dataclasses.replace(defaults, user=match["user"], port=port)
    )
