"""A fleet of SSH targets on loopback: time, client CPU a target beside paramiko's floor, memory as the fleet grows, none lost.

Run as ``python -m tests.performance.fleet [--hosts N] [--real N] [--postgresql] [--formats LIST]``. The floor logs in and runs ``true``, in a process
of its own as the audit is, 16 at once, on the same server.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.support import fleet, postgres
from tests.support.auditing import host_entry

ROOT = Path(__file__).parents[2]
JOBS = 16


def floor(folder: Path, port: int, hosts: int) -> None:
    """Log in to every host and run ``true``: what nobody can do without."""
    import paramiko

    key = paramiko.Ed25519Key.from_private_key_file(str(folder / "key"))
    pin = paramiko.Ed25519Key.from_private_key_file(str(folder / "host_key"))

    def one(n: int) -> None:
        client = paramiko.SSHClient()
        client.get_host_keys().add(f"[{fleet.address(n)}]:{port}", "ssh-ed25519", pin)
        client.connect(fleet.address(n), port, "root", pkey=key, allow_agent=False, look_for_keys=False)
        _, stdout, _ = client.exec_command("true")
        stdout.channel.recv_exit_status()
        client.close()

    with ThreadPoolExecutor(JOBS) as pool:
        list(pool.map(one, range(hosts)))


def measured(command: list[str], folder: Path, last: str = "") -> dict[str, Any]:
    """Run a command; return its seconds and CPU, its peak of memory in MB, and that when a line that begins with ``last`` came."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines, then, early, spent = [], 0, 0.0, 0.0
    for line in process.stderr:
        lines.append(line)
        if last and line.startswith(last):
            status = Path(f"/proc/{process.pid}/status").read_text()
            then = int(status.partition("VmHWM:")[2].split()[0]) // 1024
            early = time.monotonic() - start
            words = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            spent = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    _, code, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(code)
    return {"wall": time.monotonic() - start, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss // 1024,
            "auditing": then, "audited": early, "spent": spent, "code": process.returncode, "lines": lines}  # fmt: skip


def audit(folder: Path, inventory: Path, hosts: int, formats: str, *options: str) -> dict[str, Any]:
    """Audit a fleet and see that none of it is lost."""
    out = folder / f"out-{hosts}-{len(options)}"
    words = ["-i", str(inventory), "-o", str(out), "--format", formats, "--jobs", str(JOBS), *options]
    found = measured([sys.executable, "-m", "auditor", "audit", *words], folder, f"[{hosts}/{hosts}]")
    assert found["code"] == 0, "".join(found["lines"][-20:])
    found["size"] = sum(p.stat().st_size for p in out.rglob("*") if p.is_file() and p.parent.name != "evidence")
    # In a process of its own: what this one holds would count as the next command's, which begins as a copy of it.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found["findings"] = pool.apply(checked, (out / "results.json", hosts))
    return found


def checked(results: Path, hosts: int) -> int:
    """Return how many findings there are; no target may be missing."""
    document = json.loads(results.read_text())
    assert len(document["targets"]) == hosts
    assert all(t["status"] == "audited" for t in document["targets"])
    return len(document["findings"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--real", type=int, default=0, help="how many real sshd hosts stand among them")
    parser.add_argument("--postgresql", action="store_true", help="keep the history in a PostgreSQL of the test's own")
    parser.add_argument("--formats", default="json", help="which reports are written: json and others, or all (but PDF)")
    parser.add_argument("--floor", nargs=3, metavar=("FOLDER", "PORT", "HOSTS"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.floor:
        floor(Path(asked.floor[0]), int(asked.floor[1]), int(asked.floor[2]))
        return
    import reports

    formats = ",".join(f for f in reports.FORMATS if f != "pdf") if asked.formats == "all" else asked.formats
    with TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        from tests.support.engine import DockerHost
        from tests.support.host import TestHost, why_not

        reason = why_not()
        if reason:
            print(f"answers are this machine's own: {reason}")
            fleet.record(folder)
        else:
            with DockerHost(hostname="web-1") as host:
                fleet.record(folder, lambda command, script: _streams(host, command, script))
        wanted = 0 if reason else asked.real
        real = [host_entry(stack.enter_context(TestHost(hostname=f"real-{n}")), f"real-{n}") for n in range(wanted)]
        size = (folder / "stdout").stat().st_size
        with fleet.serving(folder) as port:
            few, many = max(1, asked.hosts // 10), asked.hosts
            print(
                f"{many} hosts that say {size:,} bytes each, {len(real)} real ones, {JOBS} at once, {os.cpu_count()} CPUs",
                flush=True,
            )
            base = measured([sys.executable, "-m", "tests.performance.fleet", "--floor", str(folder), str(port), str(few)], folder)
            base_many = measured(
                [sys.executable, "-m", "tests.performance.fleet", "--floor", str(folder), str(port), str(many)], folder
            )
            assert (base["code"], base_many["code"]) == (0, 0), base["lines"] + base_many["lines"]
            ground = (base_many["cpu"] - base["cpu"]) / (many - few) * 1000
            print(f"floor: {base_many['wall']:.1f} s, {ground:.2f} ms of CPU a target", flush=True)
            store = ("--store", postgres.server().url()) if asked.postgresql else ()
            for options in (store, ("--no-store",)):
                small = audit(folder, fleet.inventory(folder, port, few), few, formats, *options)
                large = audit(folder, fleet.inventory(folder, port, many - len(real), tuple(real)), many, formats, *options)
                each, alone = ((large[k] - small[k]) / (many - few) * 1000 for k in ("cpu", "spent"))
                kept = "no history" if "--no-store" in options else "PostgreSQL" if asked.postgresql else "SQLite"
                print(
                    f"{kept}: {many} targets in {large['wall']:.1f} s ({large['audited']:.1f} s until the last was done), "
                    f"{alone:.2f} ms of CPU a target ({alone / ground:.1f} x floor), {each:.2f} ms with the reports; "
                    f"{large['findings']:,} findings, no target lost"
                )
                print(
                    f"  memory while auditing: {small['auditing']} MB for {few}, {large['auditing']} MB for {many}, "
                    f"ratio {large['auditing'] / small['auditing']:.2f}; with {large['size'] / 1e6:.0f} MB of reports ({formats}): "
                    f"{small['peak']} and {large['peak']} MB, ratio {large['peak'] / small['peak']:.2f}",
                    flush=True,
                )


def _streams(host: Any, command: str, script: bytes) -> tuple[bytes, bytes]:
    ssh = [
        "ssh",
        "-i",
        str(host.identity),
        "-p",
        str(host.port),
        "-o",
        f"UserKnownHostsFile={host.known_hosts}",
        f"root@{host.address}",
    ]
    done = subprocess.run([*ssh, command], input=script, capture_output=True, check=True, timeout=120)
    return done.stdout, done.stderr


if __name__ == "__main__":
    main()
