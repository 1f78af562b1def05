"""``log_shipping``: what containers log leaves the host by default, so that who takes over the host can't wipe it out."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from auditor.facts import flags
from auditor.facts.docker import Engine
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason
from checks import base, engines, running
from checks.configured import documents
from checks.engines import EngineFacts

_STAYS = {"json-file": "keeps logs on the host", "local": "keeps logs on the host", "none": "keeps no logs"}
#: Drivers that send to an address of their own choosing: what they send to, and whether a program here may pass it on.
_ADDRESSED = {"syslog": ("syslog-address", False), "gelf": ("gelf-address", True), "fluentd": ("fluentd-address", True)}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogShipping:
    """The default logging driver of every engine is one of ``drivers``, and sends to another machine.

    A program on the host that may pass logs on (an agent, or a driver that isn't known) is for a person to judge (manual);
    ``journald_is_forwarded`` says that the journal leaves the host. Containers that chose a driver which keeps logs are named.
    """

    drivers: tuple[str, ...]
    journald_is_forwarded: bool = False

    def needs(self) -> frozenset[Fact]:
        """What the engines say, and the driver's options in flags and files."""
        return frozenset({Engine("info"), Engine("containers")}) | engines.DAEMON_FACTS

    @property
    def expected(self) -> str:
        """The expectation in words."""
        return f"a driver that sends logs to another machine: {base.show(self.drivers)}"

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every engine."""
        return engines.each(facts, "info", self._judge)

    def _judge(self, engine: EngineFacts, info: dict[str, Any]) -> Observation:
        subject, source = f"daemon/dockerd{engine.suffix}", engines.source("info", "LoggingDriver")
        driver = str(info.get("LoggingDriver") or "")
        own = _others(engine, driver)
        if not driver:
            problem = Problem(Reason.ABSENT, "the engine's answer has no LoggingDriver")
            return base.error(subject, problem, expected=self.expected, source=source)
        if driver in _STAYS:
            return base.verdict(subject, ok=False, expected=self.expected, actual=f"{driver}: {_STAYS[driver]}{own}", source=source)
        if driver == "journald":
            if self.journald_is_forwarded:
                return base.verdict(
                    subject, ok=True, expected=self.expected, actual=f"journald, which is forwarded{own}", source=source
                )
            actual = f"journald: keeps logs on the host unless the journal is forwarded{own}"
            return base.verdict(subject, ok=False, expected=self.expected, actual=actual, source=source)
        if driver not in self.drivers:
            actual = f"{driver}: where it sends to is not known; say whether it is accepted{own}"
            return base.manual(subject, expected=self.expected, actual=actual, source=source)
        if driver not in _ADDRESSED:
            return base.verdict(subject, ok=True, expected=self.expected, actual=f"{driver}{own}", source=source)
        name, agent = _ADDRESSED[driver]
        address = _option(engine, name)
        source += f"; --log-opt and log-opts: {name}"
        if isinstance(address, Problem):
            return base.error(subject, address, expected=self.expected, source=source)
        actual = f"{driver} to {address or 'this host (no ' + name + ')'}{own}"
        if address and not _local(address):
            return base.verdict(subject, ok=True, expected=self.expected, actual=actual, source=source)
        if agent:
            actual += "; say whether the program that listens there passes logs on"
            return base.manual(subject, expected=self.expected, actual=actual, source=source)
        return base.verdict(subject, ok=False, expected=self.expected, actual=actual, source=source)


def _option(engine: EngineFacts, name: str) -> str | Problem:
    """Return an option of the default logging driver, empty when it isn't set."""
    found = running.instances(engine.facts, "dockerd")
    instances = [] if isinstance(found, Outcome) else [i for i in found if i.pid == engine.pid]
    if not instances:
        return Problem(Reason.ABSENT, f"{name} stands in the engine's flags or files, which were not collected")
    given = flags.listing(instances[0].args, "--log-opt", instances[0].dialect)
    if isinstance(given, Problem):
        return given
    for word in reversed(given or []):
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    read = documents(engine.facts, engines.DAEMON_CONFIG, instances[0])
    if isinstance(read, Problem):
        return read
    if changed := read.changed():
        return Problem(Reason.ABSENT, f"{changed} changed after the engine started: restart pending")
    options = read.find("log-opts", "map")
    return options if isinstance(options, Problem) else str(options[0].get(name, "")) if options else ""


def _local(address: str) -> bool:
    scheme, _, rest = address.rpartition("://")
    host = re.sub(r":\d+$", "", rest).strip("[]") if rest else ""
    if scheme.startswith("unix") or host in ("", "localhost") or rest.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _others(engine: EngineFacts, driver: str) -> str:
    """Name the containers that keep their logs here although the default may not."""
    containers = engine.document("containers")
    if isinstance(containers, Problem):
        return ""
    kinds = [(c, ((c.get("HostConfig") or {}).get("LogConfig") or {}).get("Type")) for c in containers if "problem" not in c]
    names = [f"{engines.name_of_container(c)} ({kind})" for c, kind in kinds if kind in _STAYS and kind != driver]
    return f"; containers with a driver of their own: {base.show(names)}" if names else ""
