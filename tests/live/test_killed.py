"""Real audits of real hosts into a real PostgreSQL that are killed, split or lose their database: nothing is lost or asked twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from auditor.inventory import load, target_of
from auditor.shards import shards_of
from auditor.store import Store
from tests.support import postgres, stores
from tests.support.auditing import auditor, host_entry, write_inventory
from tests.support.counting import counting
from tests.support.host import TestHost

pytestmark = pytest.mark.live

#: Each host has two names; of three shards the first has two of them, the others one.
NAMES = ("real-a", "real-b", "real-c", "real-d")
#: What a command is told in the place of ``python -m auditor``: a store that is gone is not waited for.
IMPATIENT = "import auditor.journal as j; j.Following.PAUSE = j.Following.PATIENCE = 0.2; from auditor.cli import main; main()"


class Fleet:
    """Two hosts under four names, their inventory, and what an audit finds there that nothing befalls."""

    def __init__(self, folder: Path, hosts: list[TestHost]) -> None:
        self.folder, self.hosts = folder, hosts
        entries = [host_entry(hosts[n % len(hosts)], name, ssh={"become": "none"}) for n, name in enumerate(NAMES)]
        self.inventory = write_inventory(folder, entries)
        done = auditor(folder, "audit", *self.words("whole"), "--no-store")
        assert done.code == 0, done.stderr
        self.whole = comparable(folder / "whole")
        assert len(self.whole["findings"]) >= 4 * 100

    def words(self, out: str, *more: str) -> list[str]:
        """Return the options of an audit, one target at a time, which writes to a folder of this name."""
        return ["-i", str(self.inventory), "-o", str(self.folder / out), "--format", "json", "--jobs", "1", "--benchmark", "cis-docker",
                *more]  # fmt: skip

    def until(self, done: int, act: Callable[[subprocess.Popen[str]], None], *words: str, program: str = "") -> tuple[int, str]:
        """Run an audit and do something once so many targets are done; return its exit code and what it said."""
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder / "home"), "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, *(["-c", program] if program else ["-m", "auditor"]), "audit", *words]
        with subprocess.Popen(
            command, cwd=self.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as run:
            assert run.stdout is not None
            said = []
            for line in run.stdout:
                said.append(line)
                if line.startswith(f"[{done}/"):
                    act(run)
            code = run.wait(60)
        assert "Traceback" not in "".join(said), said
        return code, "".join(said)


@pytest.fixture(scope="module")
def fleet(needs_hosts: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with ExitStack() as stack:
        yield Fleet(folder, [stack.enter_context(TestHost(hostname=f"real-{n}")) for n in range(2)])


@pytest.fixture
def url(tmp_path: Path) -> str:
    return stores.new("postgresql", tmp_path)


def comparable(folder: Path) -> dict[str, Any]:
    """Return what was found in a run: all but its id, its times, and what hosts said only then."""
    document: dict[str, Any] = json.loads((folder / "results.json").read_text())
    targets = [{k: v for k, v in t.items() if k not in ("collected_at", "evidence_sha256")} for t in document["targets"]]
    return {**{k: document[k] for k in ("benchmarks", "findings", "scores")}, "targets": targets}


def asked(fleet: Fleet, act: Callable[[], None]) -> int:
    """Return how often the hosts were connected to while something was done."""
    with ExitStack() as stack:
        seen = [stack.enter_context(counting(host)) for host in fleet.hosts]
        act()
    return sum(s.connections for s in seen)


def test_killed_and_gone_on_with(fleet: Fleet, url: str) -> None:
    code, _ = fleet.until(2, lambda run: run.send_signal(signal.SIGKILL), *fleet.words("killed", "--store", url))
    assert code == -signal.SIGKILL
    with Store(url) as store:
        (run,) = store.history()
        assert (run.status, run.targets, run.audited) == ("running", 4, 2)
    connections = asked(fleet, lambda: _succeeds(fleet, "audit", "--resume", "latest", "--store", url, "--format", "json"))
    assert connections == 2, "two were done before, and are not asked again"
    assert comparable(fleet.folder / "killed") == fleet.whole
    with Store(url) as store:
        (after,) = store.history()
        assert (after.id, after.status, after.audited) == (run.id, "finished", 4)


def test_postgresql_killed_and_back(fleet: Fleet, url: str) -> None:
    """It dies while the second target is asked and is there again before the end: nobody notices."""
    server = postgres.server()

    def begun(run: subprocess.Popen[str]) -> None:
        server.kill()
        lines = iter(run.stdout or ())
        assert next(lines).startswith("[2/4]"), "the audit goes on without it"
        server.start()

    try:
        code, said = fleet.until(1, begun, *fleet.words("back", "--store", url))
    finally:
        server.start_again()
    assert code == 0, said
    assert comparable(fleet.folder / "back") == fleet.whole
    with Store(url) as store:
        (run,) = store.history()
        assert (run.status, run.audited) == ("finished", 4)


def test_postgresql_killed_for_good(fleet: Fleet, url: str) -> None:
    """The report is whole, what happened is said, and the run can be gone on with once the database is back."""
    server = postgres.server()
    try:
        code, said = fleet.until(1, lambda _: server.kill(), *fleet.words("gone", "--store", url), program=IMPATIENT)
    finally:
        server.start_again()
    assert code == 2, said
    (problem,) = [line for line in said.splitlines() if "the run history was not kept" in line]
    assert "postgresql" in problem
    assert comparable(fleet.folder / "gone") == fleet.whole
    with Store(url) as store:
        (run,) = store.history()
        assert (run.status, run.audited) == ("running", 1)
    assert asked(fleet, lambda: _succeeds(fleet, "audit", "--resume", run.id, "--store", url, "--format", "json")) == 3
    assert comparable(fleet.folder / "gone") == fleet.whole


def test_three_shards_of_which_one_is_lost(fleet: Fleet, url: str) -> None:
    of = shards_of([target_of(s) for s in load(fleet.inventory).specs()], 3)
    assert sorted(of.values()) == [1, 1, 2, 3]

    def shard(n: int, end: Callable[[subprocess.Popen[str]], None] = lambda _: None) -> int:
        return fleet.until(1, end, *fleet.words(f"shard-{n}", "--store", url, "--run", "split", "--shard", f"{n}/3"))[0]

    assert shard(2) == 0
    assert shard(1, lambda run: run.send_signal(signal.SIGKILL)) == -signal.SIGKILL
    assert shard(3) == 0
    missing = [n for n in NAMES if of[n] == 1][1:]
    with Store(url) as store:
        run = store.load("split")
    lost = {t.name: t.error or "" for t in run.targets if t.status != "audited"}
    assert list(lost) == missing, "one of its targets was done"
    assert all("shard 1/3 was interrupted, or is still going on" in e for e in lost.values())
    assert f"{len(missing)} of 4 targets are not in it" in run.notices[0]
    assert asked(fleet, lambda: shard(1)) == len(missing)
    _succeeds(fleet, "report", "split", "--store", url, "-o", str(fleet.folder / "split"), "--format", "json")
    assert comparable(fleet.folder / "split") == fleet.whole


def _succeeds(fleet: Fleet, *argv: str) -> None:
    done = auditor(fleet.folder, *argv)
    assert done.code == 0, done.stderr
