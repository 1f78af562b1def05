"""A small fleet over SSH, from the connection to the history: all there, each with the same verdicts, none kept in memory."""

from pathlib import Path

import pytest

from auditor.store import Store
from tests.support import fleet, stores
from tests.support.auditing import auditor

HOSTS = 30


def test_thirty_hosts(tmp_path: Path) -> None:
    pytest.importorskip("paramiko")
    url = stores.new("sqlite", tmp_path)
    fleet.record(tmp_path)
    with fleet.serving(tmp_path) as port:
        path = fleet.inventory(tmp_path, port, HOSTS)
        done = auditor(
            tmp_path, "audit", "-i", str(path), "-o", str(tmp_path / "out"), "--format", "json", "--store", url, "--jobs", "8"
        )
    assert done.code == 0, done.stderr
    document = done.document
    assert [t["status"] for t in document["targets"]] == ["audited"] * HOSTS
    assert [t["name"] for t in document["targets"]] == [f"host-{n:04}" for n in range(HOSTS)]
    verdicts = [done.statuses(f"host-{n:04}") for n in range(HOSTS)]
    assert len(verdicts[0]) > 100
    assert verdicts == [verdicts[0]] * HOSTS
    assert len(list((tmp_path / "out" / "evidence").iterdir())) == HOSTS
    with Store(url) as store:
        (run,) = store.history()
        assert (run.status, run.targets, run.audited) == ("finished", HOSTS, HOSTS)
