"""Rules about a swarm's network: where it listens, what is encrypted, which addresses carry what."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from auditor.facts.docker import Engine
from auditor.model import Fact, Observation, Problem, Reason
from checks import base
from checks.swarm_member import WORKER, Member

_NETWORKS = Engine("networks")
#: Where nodes gossip about networks, TCP and UDP. Unlike the managers' port no option moves it.
_GOSSIP = 7946


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenAddress:
    """The engine's own sockets of the swarm (the managers' port, and 7946) are bound to an address, not to all."""

    asks: ClassVar[Literal["member"]] = "member"

    def needs(self) -> frozenset[Fact]:
        """Nothing more."""
        return frozenset()

    def judge(self, member: Member) -> list[Observation]:
        """Return the observation about this host."""
        expected = "bound to an address, not to all of them"
        source = "sockets of dockerd (/proc/net); docker-state.json: ListenAddr"
        sockets, settings = member.part("listeners"), member.part("settings")
        if isinstance(sockets, Problem):
            return [base.error(member.subject, sockets, expected=expected, source=source)]
        if isinstance(settings, Problem):
            return [base.error(member.subject, settings, expected=expected, source=source)]
        asked = str(settings["data"]["ListenAddr"])
        port = asked.rpartition(":")[2]
        wanted = [("tcp", _GOSSIP), ("udp", _GOSSIP)]
        if member.manager:
            wanted.insert(0, ("tcp", int(port) if port.isdecimal() else 0))
        seen = [s for s in sockets if (s["protocol"], s["port"]) in wanted]
        missing = [w for w in wanted if w not in {(s["protocol"], s["port"]) for s in seen}]
        shown = ", ".join(f"{s['port']}/{s['protocol']} on {s['address']}" for s in seen)
        if any(ipaddress.ip_address(s["address"]).is_unspecified for s in seen):
            actual = f"{shown} (asked for: {asked})"
            return [base.verdict(member.subject, ok=False, expected=expected, actual=actual, source=source)]
        if missing:
            words = ", ".join(f"{number}/{protocol}" for protocol, number in missing)
            problem = Problem(Reason.ABSENT, f"no socket of dockerd was found on {words}; found: {shown or 'none'}")
            return [base.error(member.subject, problem, expected=expected, source=source)]
        return [base.verdict(member.subject, ok=True, expected=expected, actual=shown, source=source)]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedOverlays:
    """Every overlay network encrypts what it carries between nodes.

    ``exempt`` are names of networks that needn't, ``single_node_exempt`` says that a swarm of one node needn't. A worker knows
    only the networks of its own tasks: it can show a failure, but nothing else.
    """

    exempt: tuple[str, ...] = ()
    single_node_exempt: bool = False
    asks: ClassVar[Literal["member"]] = "member"

    def needs(self) -> frozenset[Fact]:
        """The networks."""
        return frozenset({_NETWORKS})

    def judge(self, member: Member) -> list[Observation] | str:
        """Return an observation a network."""
        if self.single_node_exempt and member.alone:
            return "the swarm has this one node only, which the policy exempts"
        networks = member.engine.document("networks")
        source = "docker network inspect: Options.encrypted"
        if isinstance(networks, Problem):
            return [base.error(member.subject, networks, source=source)]
        judged = [n for n in networks if n.get("Driver") == "overlay" and n["Name"] not in self.exempt]
        found = [self._network(member, n, source) for n in judged]
        if not member.manager:
            return [o for o in found if o.status == "fail"] or WORKER
        return found or "there is no overlay network" + (" that isn't exempt" if self.exempt else "")

    def _network(self, member: Member, network: dict[str, Any], source: str) -> Observation:
        # The driver looks only at whether the key is there: "false" encrypts as well.
        encrypted = "encrypted" in (network.get("Options") or {})
        actual = "encrypted" if encrypted else "not encrypted" + (" (the ingress network)" if network.get("Ingress") else "")
        subject = f"network/{network['Name']}{member.engine.suffix}"
        return base.verdict(subject, encrypted, expected="encrypted", actual=actual, source=source)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeparatePlanes:
    """Data between tasks goes over another interface than the swarm's management.

    ``single_node_exempt`` says that a swarm of one node needn't.
    """

    single_node_exempt: bool = False
    asks: ClassVar[Literal["member"]] = "member"

    def needs(self) -> frozenset[Fact]:
        """Nothing more."""
        return frozenset()

    def judge(self, member: Member) -> list[Observation] | str:
        """Return the observation about this host."""
        if self.single_node_exempt and member.alone:
            return "the swarm has this one node only, which the policy exempts"
        expected, source = "a data path address on an interface of its own", "docker-state.json: DataPathAddr, AdvertiseAddr"
        settings = member.part("settings")
        if isinstance(settings, Problem):
            return [base.error(member.subject, settings, expected=expected, source=source)]
        told = settings["data"]
        data = str(told.get("DataPathAddr") or "")
        management = [_host(str(told.get(name) or "")) for name in ("AdvertiseAddr", "LocalAddr")]
        management = [a for a in management if a] or [str(member.info.get("NodeAddr") or "")]
        if not data or data in management:
            actual = f"the same address, {management[0]}" + ("" if data else " (no data path address was given)")
            return [base.verdict(member.subject, ok=False, expected=expected, actual=actual, source=source)]
        addresses = member.part("interfaces")
        if isinstance(addresses, Problem):
            return [base.error(member.subject, addresses, expected=expected, source="ip addr")]
        # What is advertised may be an address outside this host; the local one is then the host's own.
        of_management = {addresses[a] for a in management if a in addresses}
        if data not in addresses or not of_management:
            problem = Problem(Reason.ABSENT, f"no interface of this host has {data if of_management else ' or '.join(management)}")
            return [base.error(member.subject, problem, expected=expected, source="ip addr")]
        actual = f"data {data} on {addresses[data]}, management {management[0]} on {', '.join(sorted(of_management))}"
        ok = addresses[data] not in of_management
        return [base.verdict(member.subject, ok, expected=expected, actual=actual, source=f"{source}; ip addr")]


def _host(address: str) -> str:
    """Return the host of ``host:port``, or the whole."""
    host, _, port = address.rpartition(":")
    has_port = port.isdecimal() and (":" not in host or host.endswith("]"))
    return (host if has_port else address).strip("[]")
