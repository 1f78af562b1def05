"""Client CPU of an audit over SSH, per host, against the floor: a paramiko connection that runs ``true``.

Run as ``python -m tests.performance.ssh``. Both are measured in this process, on the same host, in turns.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable

from auditor.collect import Collector
from auditor.engine import judge, needs
from auditor.inventory import Inventory
from auditor.model import Benchmark
from tests.support.collecting import benchmarks, spec
from tests.support.counting import counting
from tests.support.engine import DockerHost
from tests.support.host import TestHost, why_not
from tests.support.kube_node import KubeNode

HOSTS, ROUNDS = 20, 5


def cpu() -> float:
    """Return the CPU seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def floor(host: TestHost) -> None:
    """Log in and run ``true``, once a host."""
    import paramiko

    for _ in range(HOSTS):
        client = paramiko.SSHClient()
        client.load_host_keys(str(host.known_hosts))
        client.connect(host.address, host.port, "root", key_filename=str(host.identity), allow_agent=False, look_for_keys=False)
        _, stdout, _ = client.exec_command("true")
        stdout.channel.recv_exit_status()
        client.close()


def audit(host: TestHost, jobs: int, selected: list[Benchmark]) -> None:
    """Collect what some benchmarks ask for and judge it, once a host."""
    specs = tuple(spec(host, f"host-{i}") for i in range(HOSTS))
    collector = Collector(Inventory(hosts=specs), needs(selected, "host"), frozenset(), jobs)
    for evidence in collector.run(list(specs)):
        assert evidence.error is None, evidence.error
        judge(selected, evidence)


def measured(action: Callable[[], None]) -> tuple[float, float]:
    """Return the CPU and the wall-clock milliseconds that an action takes per host."""
    before, start = cpu(), time.monotonic()
    action()
    return (cpu() - before) * 1000 / HOSTS, (time.monotonic() - start) * 1000 / HOSTS


def compare(name: str, host: TestHost) -> None:
    """Print both figures for one host, the median of several rounds."""
    selected = benchmarks()  # read once a run, however many hosts there are
    ways: dict[str, Callable[[], None]] = {
        "floor": lambda: floor(host),
        "one by one": lambda: audit(host, 1, selected),
        "16 at once": lambda: audit(host, 16, selected),
    }
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for run in ways.values():
        run()  # imports and caches
    for _ in range(ROUNDS):
        for way, run in ways.items():
            found[way].append(measured(run))
    figures = {way: (statistics.median(c for c, _ in f), statistics.median(w for _, w in f)) for way, f in found.items()}
    base = figures["floor"][0]
    for way, (used, wall) in figures.items():
        print(f"{name:13} {way:11} {used:7.2f} ms CPU a host  {wall:7.1f} ms a host  {used / base:5.2f} x floor")
    (evidence,) = Collector(Inventory(hosts=(spec(host),)), needs(selected, "host"), frozenset()).run([spec(host)])

    def again() -> None:
        for _ in range(HOSTS):
            judge(selected, evidence)

    alone = statistics.median(measured(again)[0] for _ in range(ROUNDS))
    print(f"{name:13} of which judging {sum(c.target != 'cluster' for b in selected for c in b.controls)} controls: {alone:.2f} ms")
    with counting(host) as seen:
        audit(host, 16, selected)
    print(f"{name:13} {HOSTS} audits: {seen.connections} connections, {len(seen.channels)} channels on the server's side")


def main() -> None:
    """Measure a Docker host, a control plane and a bare host."""
    if reason := why_not():
        sys.exit(reason)
    makers: dict[str, Callable[[], TestHost]] = {"bare host": TestHost, "Docker host": DockerHost, "control plane": KubeNode}
    for name, make in makers.items():
        with make() as host:
            compare(name, host)
    print("aim: at most 2 x floor")


if __name__ == "__main__":
    main()
