"""Facts wanted -> evidence: one script a host, a few reads an engine or a cluster."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from auditor.facts import answers
from auditor.facts.host import Processes, System
from auditor.facts.kubernetes import Objects, Server
from auditor.facts.records import Answers
from auditor.facts.script import bootstrap, compose
from auditor.inventory import EngineSpec, HostSpec, Inventory, Spec, target_of
from auditor.model import Evidence, Fact, Problem, Reason, TargetStatus
from auditor.transports import local
from auditor.transports.base import TargetError

#: What is asked whatever the controls need: who answers.
HOST_ALWAYS: frozenset[Fact] = frozenset({System(), Processes()})
CLUSTER_ALWAYS: frozenset[Fact] = frozenset({Server(), Objects("nodes"), Objects("namespaces")})


def now() -> str:
    """Return the time in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Collector:
    """Collects from every target of an inventory, several at once.

    ``host_facts`` and ``cluster_facts`` are what the selected controls need.
    """

    inventory: Inventory
    host_facts: frozenset[Fact]
    cluster_facts: frozenset[Fact]
    jobs: int = 16
    _ssh: Any = field(default=None, init=False)

    def run(self, targets: list[Spec], started: Callable[[Spec], None] = lambda _: None) -> Iterator[Evidence]:
        """Yield the evidence of each target as it is complete; whatever goes wrong with one is in its evidence.

        When the consumer stops or is interrupted, targets not yet begun are not begun.
        """
        remote = [t for t in targets if isinstance(t, HostSpec) and t.transport == "ssh"]
        if remote:
            self._ssh = _Ssh(self.inventory)
        pool = ThreadPoolExecutor(max(1, min(self.jobs, len(targets))), thread_name_prefix="audit")
        try:
            waiting: set[Future[Evidence]] = {pool.submit(self._collect, t, started) for t in targets}
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            if self._ssh is not None:
                self._ssh.connections.close()  # an interrupted audit doesn't wait for hosts that hang
            pool.shutdown(wait=True)

    def _collect(self, spec: Spec, started: Callable[[Spec], None]) -> Evidence:
        started(spec)
        target = target_of(spec)
        when = now()
        try:
            return Evidence(target, when, self._facts(spec))
        except TargetError as error:
            return Evidence(target, when, {}, _status(error.problem), error.problem)
        except Exception as error:  # noqa: BLE001 - one target's surprise must not lose the others; it is reported
            problem = Problem(Reason.UNPARSABLE, f"collecting failed: {type(error).__name__}: {error}"[:500])
            return Evidence(target, when, {}, TargetStatus.FAILED, problem)

    def _facts(self, spec: Spec) -> dict[str, Any]:
        if isinstance(spec, HostSpec):
            return self._host(spec)
        if isinstance(spec, EngineSpec):
            from auditor.transports.docker import collect_engine

            return collect_engine(spec, frozenset(f.key for f in self.host_facts))
        from auditor.transports.kubernetes import collect_cluster

        return collect_cluster(spec, frozenset(f.key for f in self.cluster_facts | CLUSTER_ALWAYS))

    def _host(self, spec: HostSpec) -> dict[str, Any]:
        marker = secrets.token_hex(16)
        timeout = spec.ssh.timeout
        script, ordered = compose(self.host_facts | HOST_ALWAYS, marker, timeout)
        command = bootstrap(spec.ssh.become, script)
        if spec.transport == "local":
            answer = local.run(command, script, timeout)
        else:
            answer = self._ssh.connections.run(self._ssh.hops.login(spec), command, script, timeout)
        records = answers.split(answer.stdout, answer.stderr, marker, answer.lost)
        if not records.records:
            raise TargetError(answer.lost or _silent(records, answer.stdout))
        return answers.facts_of(records, ordered)


class _Ssh:
    """The SSH side, made (and paramiko imported) only when a target needs it."""

    def __init__(self, inventory: Inventory) -> None:
        from auditor.transports.ssh import Connections, Hops

        self.hops = Hops(inventory)
        self.connections = Connections()


def _silent(records: Answers, stdout: bytes) -> Problem:
    """What a login says in place of the script's answers (an account that is closed, a forced command) tells what is wrong."""
    said = f"{records.preamble} {stdout[:1000].decode('utf-8', 'replace')}"
    words = " ".join("".join(c if c.isprintable() else " " for c in said).split())[:300]
    return Problem(Reason.UNPARSABLE, f"the host's shell did not run the audit script{': ' + words if words else ''}")


def _status(problem: Problem) -> TargetStatus:
    """A target that answered but did not let us in, or not as expected, failed; else it was not reached."""
    reached = (Reason.UNPARSABLE, Reason.TRUNCATED)
    return TargetStatus.FAILED if problem.reason in reached else TargetStatus.UNREACHABLE
