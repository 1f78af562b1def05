"""Wall time and CPU of auditing a kubeadm control plane over SSH with all of its controls, beside kube-bench's on the same node.

``python -m tests.performance.node [RUNS [FOLDER]]``. FOLDER holds a ``kube-bench`` program and its ``cfg``; without one (or one in
PATH with /etc/kube-bench/cfg) the figure printed for it is one that was measured before, and says so.

The client's CPU is that of the process and its children; the node's is what its cgroups used, sshd included. kube-bench runs on
the node itself, as root, with sections 1 to 4: it has no other side.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from auditor.collect import Collector
from auditor.engine import judge, needs
from auditor.inventory import Inventory
from auditor.model import Benchmark
from tests.support.auditing import host_entry, write_inventory
from tests.support.collecting import benchmarks, spec
from tests.support.counting import counting
from tests.support.host import ENVIRONMENT, Entry, TestHost, why_not
from tests.support.kube_node import KubeNode

ROUNDS = 7
#: What kube-bench took when it was at hand, on a test host like this one. It is printed where it can't be run.
BEFORE = "about 1.1 s, CPU 1.35 s (an earlier figure: it is not here to be run)"

#: Reading every packaged benchmark and decoding the one that is asked for.
CATALOGUE = "from auditor.session import packaged_library as p; p().load('cis-kubernetes@1.12')"


@dataclass(frozen=True)
class Cost:
    """Seconds of one run: on the clock, of the client's CPU, of the node's."""

    wall: float
    client: float
    node: float


def client_cpu() -> float:
    """Return the CPU seconds of this process and its ended children."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


def node_cpu(host: TestHost) -> float:
    """Return the CPU seconds of a host's processes; 0 where the machine doesn't count them."""
    folder = Path("/sys/fs/cgroup/cpuacct", host.name)
    files = [folder / "cpuacct.usage"] if folder.exists() else []
    return sum(int(f.read_text()) for f in files) / 1e9


def measured(host: TestHost, action: Callable[[], None]) -> Cost:
    """Run something and return what it took."""
    client, node, start = client_cpu(), node_cpu(host), time.monotonic()
    action()
    wall = time.monotonic() - start
    return Cost(wall, client_cpu() - client, node_cpu(host) - node)


def command(host: TestHost, folder: Path) -> list[str]:
    """Return the command line of a whole audit of one node: JSON, no history."""
    inventory = write_inventory(folder, [host_entry(host)])
    options = ["--benchmark", "cis-kubernetes@1.12", "--format", "json", "--no-store"]
    return [sys.executable, "-m", "auditor", "audit", "-i", str(inventory), "-o", str(folder / "out"), *options]


def run_command(argv: Sequence[str], folder: Path) -> None:
    """Run the auditor's own command, away from anybody's ~/.ssh."""
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(argv, check=True, capture_output=True, env=env)


def collect_and_judge(host: TestHost, selected: list[Benchmark]) -> None:
    """Audit one node in this process: what every further node of a run takes."""
    only = spec(host)
    (evidence,) = Collector(Inventory(hosts=(only,)), needs(selected, "host"), frozenset(), 1).run([only])
    assert evidence.error is None, evidence.error
    assert judge(selected, evidence)


@contextmanager
def kube_bench(host: TestHost, folder: str) -> Iterator[list[str]]:
    """Put kube-bench on a node, if it is there, and yield its command line; none without it."""
    program = Path(folder, "kube-bench") if folder else Path(shutil.which("kube-bench") or "/nonexistent")
    configuration = Path(folder, "cfg") if folder else Path("/etc/kube-bench/cfg")
    if not program.exists() or not (configuration / "cis-1.12").is_dir():
        yield []
        return
    files = [configuration / "config.yaml", *(configuration / "cis-1.12").iterdir()]
    there = [Entry(f"/opt/kube-bench/cfg/{f.relative_to(configuration)}", f.read_bytes()) for f in files]
    host.place(Entry("/opt/kube-bench/kube-bench", program.read_bytes(), 0o755), *there)
    options = ["--benchmark", "cis-1.12", "--targets", "master,etcd,controlplane,node", "--json"]
    folders = ["--config-dir", "/opt/kube-bench/cfg", "--config", "/opt/kube-bench/cfg/config.yaml"]
    yield host.enter(["/opt/kube-bench/kube-bench", "run", *folders, *options])
    host.remove("/opt/kube-bench")


def show(name: str, costs: Sequence[Cost]) -> None:
    """Print the median and the best of some runs."""
    for word, pick in (("median", statistics.median), ("best", min)):
        wall, client, node = (pick([getattr(c, part) for c in costs]) for part in ("wall", "client", "node"))
        print(f"{name:34} {word:6}  wall {wall:5.2f} s  its CPU {client:5.2f} s  node's CPU {node:5.2f} s")


def parts(argv: Sequence[str], folder: Path, rounds: int) -> None:
    """Print the CPU of commands that do less and less of an audit: what of the whole is not about the node."""
    smaller = {
        "Python": [argv[0], "-c", "pass"],
        "its command line": [*argv[:3], "--version"],
        "and paramiko": [argv[0], "-c", "import auditor.cli, paramiko"],
        "and the catalogue": [argv[0], "-c", f"import auditor.cli, paramiko; {CATALOGUE}"],
    }
    for name, less in smaller.items():
        costs = []
        for _ in range(rounds):
            before = client_cpu()
            run_command(less, folder)
            costs.append(client_cpu() - before)
        print(f"  of that, {name:18} median  its CPU {statistics.median(costs):5.2f} s")


def main(rounds: int = ROUNDS, folder: str = "") -> None:
    """Measure in turns, so that both see the same machine."""
    if reason := why_not():
        sys.exit(reason)
    selected = [b for b in benchmarks() if b.name == "cis-kubernetes"]
    with KubeNode() as host, tempfile.TemporaryDirectory() as scratch, kube_bench(host, folder) as theirs:
        argv = command(host, Path(scratch))
        ways: dict[str, Callable[[], None]] = {
            "auditor audit, the whole command": lambda: run_command(argv, Path(scratch)),
            "one more node of a run": lambda: collect_and_judge(host, selected),
        }
        if theirs:
            ways["kube-bench on the node itself"] = lambda: void(theirs)
        for run in ways.values():
            run()  # imports and caches
        found: dict[str, list[Cost]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, run in ways.items():
                found[name].append(measured(host, run))
        for name, costs in found.items():
            show(name, costs)
            if name.startswith("auditor"):
                parts(argv, Path(scratch), rounds)
        if not theirs:
            print(f"{'kube-bench on the node itself':34} {BEFORE}")
        with counting(host) as seen:
            collect_and_judge(host, selected)
        print(f"{seen.connections} connection, {len(seen.channels)} channel, {rounds} runs in turns, load {os.getloadavg()[0]:.1f}")


def void(argv: Sequence[str]) -> None:
    """Run a command and drop its output."""
    subprocess.run(argv, check=True, capture_output=True, env=ENVIRONMENT)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS, *sys.argv[2:3])
