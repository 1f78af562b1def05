"""``etcd_own_ca``: the datastore trusts other CAs than the API server does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditor.facts.host import Processes
from auditor.facts.node import Authorities
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason, problem_of
from checks import base, running
from checks.expectation import Expect
from checks.running import Instance
from checks.setting import FileSource, Setting

_ETCD = Setting(process="etcd", flag="--trusted-ca-file", env="ETCD_TRUSTED_CA_FILE", type="text", file_overrides=True,
                file=FileSource(from_flag="--config-file", from_env="ETCD_CONFIG_FILE"),
                key="client-transport-security.trusted-ca-file", expect=Expect(set=True))  # fmt: skip
_API = Setting(process="kube-apiserver", flag="--client-ca-file", type="text", expect=Expect(set=True))
_EXPECTED = "a CA with another key than the cluster's"


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdOwnCa:
    """No key of a CA that etcd trusts for its clients is one of the API server's for its clients, whatever the files.

    Where no API server runs on the host there is nothing to compare with, and a person decides.
    """

    def needs(self) -> frozenset[Fact]:
        """The running programs, etcd's configuration and the certificates."""
        own: frozenset[Fact] = frozenset({Authorities(), Processes()})
        return own | _ETCD.needs()

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every running etcd; none is not applicable."""
        return running.each(facts, "etcd", lambda i: self._judge(facts, i))

    def _judge(self, facts: Facts, instance: Instance) -> Observation:
        own = _trusted(facts, _ETCD, instance)
        if isinstance(own, Problem):
            return base.error(instance.subject, own, expected=_EXPECTED, source=f"trusted CA of {instance}")
        path, keys = own
        source = f"certificates in {path}" if path else "default"
        if not path:
            return base.verdict(instance.subject, ok=False, expected=_EXPECTED, actual="it was given no CA", source=source)
        told = "; ".join(f"{k['subject']} (key {k['sha256'][:16]})" for k in keys)
        servers = running.instances(facts, "kube-apiserver")
        if isinstance(servers, Outcome):
            return base.manual(
                instance.subject, expected=_EXPECTED, actual=f"{told}; no API server here to compare it with", source=source
            )
        for server in servers:
            others = _trusted(facts, _API, server)
            if isinstance(others, Problem):
                return base.error(instance.subject, others, expected=_EXPECTED, source=f"--client-ca-file of {server}")
            if not others[0]:
                return base.verdict(
                    instance.subject, ok=False, expected=_EXPECTED, actual=f"{server} was given no CA", source="default"
                )
            same = {k["sha256"] for k in keys} & {k["sha256"] for k in others[1]}
            if same:
                actual = f"{told}: {server} trusts the same key for its clients, in {others[0]}"
                return base.verdict(instance.subject, ok=False, expected=_EXPECTED, actual=actual, source=source)
        return base.verdict(instance.subject, ok=True, expected=_EXPECTED, actual=told, source=source)


def _trusted(facts: Facts, setting: Setting, instance: Instance) -> tuple[str, list[dict[str, Any]]] | Problem:
    """Return the file of the CAs that an instance trusts for its clients (empty: none) and their keys."""
    found = setting.find(facts, instance)
    if isinstance(found, Problem):
        return found
    if not found.value:
        return "", []
    if found.pending:
        return Problem(Reason.ABSENT, f"{found.pending} changed after pid {instance.pid} started: restart pending")
    answer = facts.get(Authorities())
    if isinstance(answer, Problem):
        return answer
    entry = next((e for e in answer if e["pid"] == instance.pid and e["path"] == found.value), None)
    if entry is None:
        return Problem(Reason.ABSENT, f"{base.show(found.value)} was not looked at")
    return problem_of(entry) if "problem" in entry else (str(found.value), entry["keys"])
