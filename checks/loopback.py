"""``loopback``: a program listens only for its own host."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason
from checks import base, running
from checks.expectation import Expect
from checks.running import Instance
from checks.setting import FileSource, Setting

_ANY = Expect(set=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loopback:
    """The address on which a running program listens is one of its own host's: 127.0.0.0/8 or ::1, with or without a port.

    It is that of the ``flag``, else under ``key`` in the ``file``, else ``default``. With ``file_overrides`` a program that has a
    file looks at nothing else. An address that is empty means the default.
    """

    process: str
    flag: str
    file: FileSource | None = None
    key: str = ""
    default: str
    file_overrides: bool = False

    def __post_init__(self) -> None:
        self._setting()

    def _setting(self) -> Setting:
        return Setting(process=self.process, flag=self.flag, file=self.file, key=self.key, default=self.default, expect=_ANY,
                       file_overrides=self.file_overrides, zero_is_unset=self.file is not None)  # fmt: skip

    def needs(self) -> frozenset[Fact]:
        """The running programs, and their files where there is a file to read."""
        return self._setting().needs()

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every running instance; none is not applicable."""
        return running.each(facts, self.process, lambda i: self._judge(facts, i))

    def _judge(self, facts: Facts, instance: Instance) -> Observation:
        expected = "an address of this host alone (127.0.0.1 or ::1)"
        found = self._setting().find(facts, instance)
        if isinstance(found, Problem):
            return base.error(instance.subject, found, expected=expected, source=f"{self.flag} of {instance}")
        address = str(found.value) or self.default
        own = is_loopback(address)
        if isinstance(own, Problem):
            return base.error(instance.subject, own, expected=expected, source=found.source)
        if own and found.pending:
            problem = Problem(Reason.ABSENT, f"{found.pending} changed after pid {instance.pid} started: restart pending")
            return base.error(instance.subject, problem, expected=expected, source=found.source)
        return base.verdict(instance.subject, own, expected=expected, actual=base.show(address), source=found.source)


def is_loopback(address: str) -> bool | Problem:
    """Return whether an address, with or without a port (``[::1]:10249``), is one of the host's own."""
    bare = address
    if match := re.fullmatch(r"\[([^\]]*)\](:\d+)?|([^:]*):\d+", address):
        bare = match[1] if match[1] is not None else match[3]
    if bare == "localhost":
        return True
    try:
        parsed = ipaddress.ip_address(bare or "0.0.0.0")  # noqa: S104 - an empty host means every address
    except ValueError:
        return Problem(Reason.UNPARSABLE, f"{base.show(address)} is no address")
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback
