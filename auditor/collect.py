"""Facts wanted -> evidence: one script a host, a few reads an engine or a cluster."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from auditor.credentials import Credentials, resolve
from auditor.facts import answers
from auditor.facts.host import Processes, System
from auditor.facts.kubernetes import Objects, Server
from auditor.facts.records import Answers
from auditor.facts.script import bootstrap, compose
from auditor.inventory import EngineSpec, HostSpec, Inventory, Spec, target_of
from auditor.model import Evidence, Fact, Problem, Reason, TargetStatus
from auditor.transports import local
from auditor.transports.base import TargetError
from auditor.yamlfile import InputError, Mistake

if TYPE_CHECKING:
    from auditor.transports.logins import Hops

#: What is asked whatever the controls need: who answers.
HOST_ALWAYS: frozenset[Fact] = frozenset({System(), Processes()})
CLUSTER_ALWAYS: frozenset[Fact] = frozenset({Server(), Objects("nodes"), Objects("namespaces")})
#: Seconds that a run which is over waits for its threads; those that hang are left, and end with the program.
PATIENCE = 3.0
#: File descriptors that a target may take at once (its connection, an agent's, a file that is read), and some for the rest.
DESCRIPTORS, SPARE = 4, 8


def now() -> str:
    """Return the time in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Collector:
    """Collects from every target of an inventory, several at once.

    ``host_facts`` and ``cluster_facts`` are what the selected controls need; ``deadline`` is how many seconds a run may take.
    ``credentials`` are the logins' secrets; without them they are read when the run begins. ``rate`` is how many SSH connections
    may be begun in a second.
    """

    inventory: Inventory
    host_facts: frozenset[Fact]
    cluster_facts: frozenset[Fact]
    jobs: int = 16
    deadline: float | None = None
    credentials: Credentials | None = None
    rate: float | None = None
    stopped: bool = field(default=False, init=False)
    overdue: bool = field(default=False, init=False)  # the deadline came before all were done
    _ssh: Any = field(default=None, init=False)
    _done: SimpleQueue[Evidence | None] = field(default_factory=SimpleQueue, init=False)
    _room: threading.Semaphore = field(default_factory=threading.Semaphore, init=False)  # for evidence that nobody has taken yet

    def stop(self) -> None:
        """Begin no other target and wait for none: `run` ends. May be called from a signal handler."""
        self.stopped = True
        self._done.put(None)

    def run(self, targets: list[Spec], started: Callable[[Spec], None] = lambda _: None) -> Generator[Evidence, None, None]:
        """Yield the evidence of each target as it is complete; whatever goes wrong with one is in its evidence.

        Targets that are not done at the deadline failed for that reason. When the consumer stops or is interrupted, targets not
        yet begun are not begun. Raises `InputError` for an ssh_config or secrets that can't be read.
        """
        end = None if self.deadline is None else time.monotonic() + self.deadline
        if any(isinstance(t, HostSpec) and t.transport == "ssh" for t in targets):
            self._ssh = _Ssh(self.inventory, self.credentials or resolve(self.inventory), self.rate)
        left: dict[str, Spec] = {t.name: t for t in targets}
        waiting = deque(targets)
        self._room = threading.Semaphore(2 * self.jobs)
        # Not a pool of the standard library's: the interpreter would wait for its threads, and one may hang in a name's look-up.
        workers = [
            threading.Thread(target=self._work, args=(waiting, started), name=f"audit-{i}", daemon=True)
            for i in range(_affordable(min(self.jobs, len(targets))))
        ]
        try:
            for worker in workers:
                worker.start()
            while left and not self.stopped:
                try:
                    found = self._done.get(timeout=None if end is None else max(0.0, end - time.monotonic()))
                except Empty:
                    break
                if found is not None and found.target.name in left:
                    del left[found.target.name]
                    yield found
                del found  # while the next one is waited for, nobody needs it
                self._room.release()
            if not self.stopped:
                self.overdue = bool(left)
                for spec in left.values():
                    problem = Problem(Reason.TIMEOUT, f"the run's deadline of {self.deadline:g} s came before this target was done")
                    yield Evidence(target_of(spec), now(), {}, TargetStatus.FAILED, problem)
        finally:
            waiting.clear()
            self._room.release(len(workers))
            if self._ssh is not None:
                self._ssh.connections.close()  # an interrupted audit doesn't wait for hosts that hang
            local.end()
            patience = time.monotonic() + PATIENCE
            for worker in workers:
                if worker.ident is not None:
                    worker.join(max(0.0, patience - time.monotonic()))

    def _work(self, waiting: deque[Spec], started: Callable[[Spec], None]) -> None:
        while True:
            self._room.acquire()
            try:
                spec = waiting.popleft()
            except IndexError:
                return
            self._done.put(self._collect(spec, started))

    def _collect(self, spec: Spec, started: Callable[[Spec], None]) -> Evidence:
        target = target_of(spec)
        when = now()
        try:
            started(spec)
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
            begun = records.lost if marker.encode() in answer.stdout else None
            raise TargetError(answer.lost or begun or _silent(records, answer.stdout))
        return answers.facts_of(records, ordered)


def _affordable(jobs: int) -> int:
    """Return how many targets can be asked at once with the file descriptors that we may have, of which each takes some."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        used = sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:
        used = 64
    wanted = used + SPARE + jobs * DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        jobs = min(jobs, (soft - used - SPARE) // DESCRIPTORS)
    return max(1, jobs)


def hops(inventory: Inventory, credentials: Credentials) -> Hops:
    """Return what finds the logins for an inventory's hosts. Raises `InputError` for an ssh_config that can't be read."""
    from auditor.transports.logins import Hops

    try:
        return Hops(inventory, secrets=credentials.of)
    except TargetError as error:
        raise InputError([Mistake("ssh_config", 0, 0, error.problem.detail)]) from None


class _Ssh:
    """The SSH side, made (and paramiko imported) only when a target needs it."""

    def __init__(self, inventory: Inventory, credentials: Credentials, rate: float | None) -> None:
        from auditor.transports.ssh import Connections

        self.hops = hops(inventory, credentials)
        self.connections = Connections(rate=rate)


def _silent(records: Answers, stdout: bytes) -> Problem:
    """What a login says in place of the script's answers (an account that is closed, a forced command) tells what is wrong."""
    said = f"{records.preamble} {stdout[:1000].decode('utf-8', 'replace')}"
    words = " ".join("".join(c if c.isprintable() else " " for c in said).split())[:300]
    return Problem(Reason.UNPARSABLE, f"the host's shell did not run the audit script{': ' + words if words else ''}")


def _status(problem: Problem) -> TargetStatus:
    """A target that answered but did not let us in, or not as expected, failed; else it was not reached."""
    reached = (Reason.UNPARSABLE, Reason.TRUNCATED)
    return TargetStatus.FAILED if problem.reason in reached else TargetStatus.UNREACHABLE
