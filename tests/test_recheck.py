"""Re-checks in the history: they show what they judged, go on after a kill, and nobody does the same part of a run twice at once."""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from auditor import session
from auditor.cli import cli
from auditor.collect import Collector, now
from auditor.store import Store, StoreError
from tests.support import recorded_audit as fleet
from tests.support import stores
from tests.test_integrity import LIBRARY

FLEET = ("-i", "inventory.yaml", "--tailoring", "site.yaml")
#: Some controls of hosts, nodes and clusters: enough to have failures, errors and passes.
ONLY = tuple(
    w for number in ("2.2", "5.5", "5.11", "5.29", "1.2.1", "1.2.16", "4.1.9", "5.1.1", "5.2.2") for w in ("--only", number)
)


@pytest.fixture(params=stores.KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return stores.new(request.param, tmp_path)


def here(folder: Path, log: str, monkeypatch: pytest.MonkeyPatch, *argv: str) -> Result:
    """Audit the fleet in this process."""
    monkeypatch.setattr(Collector, "run", fleet.answering(folder / log))
    return CliRunner().invoke(cli, ["audit", "--format", "json", *argv], catch_exceptions=False, standalone_mode=False)


def test_a_recheck_goes_on_after_a_kill_and_nobody_else_does_it_meanwhile(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.inventory(tmp_path, 3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(session, "packaged_library", LIBRARY)
    done = here(tmp_path, "log-first", monkeypatch, *FLEET, *ONLY, "--store", url, "-o", "first", "--quiet")
    assert done.exit_code in (0, 3), done.output
    first = json.loads((tmp_path / "first" / "results.json").read_text())
    wanted = {(f["target"], f["control"]) for f in first["findings"] if f["status"] in ("fail", "error")}

    while now() == first["run"]["started"]:  # which of two runs of one second is the latest is not known
        time.sleep(0.02)
    again = (*FLEET, "--recheck", first["run"]["id"], "--store", url, "--no-sign")
    process = subprocess.Popen(fleet.command(tmp_path, "killed", *again, "-o", "second", "--format", "json", stall="web-1"),
                               cwd=tmp_path, env=fleet.environment(tmp_path), stderr=subprocess.PIPE, text=True)  # fmt: skip
    end = time.monotonic() + 60
    while "web-1" not in fleet.asked(tmp_path, "killed"):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    with Store(url) as store:
        (run, _) = store.history()
    assert (run.kind, run.status) == ("re-check", "running")
    for words in (("--resume", run.id), ("--resume", "latest", "-o", "other")):
        said = f"^run {run.id} is being done by another process: wait for its end, or end that first$"
        with pytest.raises(StoreError, match=said):
            here(tmp_path, "none", monkeypatch, *words, "--store", url)
    assert not (tmp_path / "none").exists(), "nobody was asked"
    process.kill()
    said = process.communicate(timeout=60)[1]
    lines = {m[1]: m[2] for m in re.finditer(r"^\[\d/7\] ([\w-]+): (.*)$", said, re.MULTILINE)}
    assert set(lines) == {"web-0", "cp-0-0", "cp-0-1", "shop-0"}
    for name, line in lines.items():
        assert sum(map(int, re.findall(r"\d+", line))) == sum(t == name for t, _ in wanted), "what was looked at again alone"

    done = here(tmp_path, "resumed", monkeypatch, "--resume", run.id, "--store", url, "--no-sign")
    assert done.exit_code == 3, done.output
    assert fleet.asked(tmp_path, "resumed") == ["web-1", "web-2", "lost"]
    assert "goes on: 4 of 7 targets were done before" in done.output
    assert "What changed since the run that was checked again" in done.output
    found = fleet.comparable(tmp_path / "second" / "results.json")
    assert {(f["target"], f["control"]) for f in found["findings"]} == wanted
    assert found["run"]["selection"]["recheck"] == first["run"]["id"]
    gone_on, notice, *_ = found["run"]["notices"]
    assert gone_on.startswith("This run was interrupted and gone on with (")
    assert notice.startswith(f"This is a re-check of run {first['run']['id']}: ")
    found["run"]["notices"].remove(gone_on)
    states = {w["id"]: w["state"] for w in found["run"]["registers"]["waivers"]}
    assert states == {"W-HOSTS": "in force", "W-PART": "in force", "W-NOTHING": "not judged"}, "what it did not ask is not unused"
    assert {w["state"] for w in first["run"]["registers"]["waivers"]} == {"in force", "matches nothing"}, "all targets were asked"
    assert "waivers: 2 in force, 1 not judged; " in done.output
    assert "waiver W-NOTHING" not in done.output, "there is nothing to look at"
    assert here(tmp_path, "log-apart", monkeypatch, *again, "-o", "apart", "--no-store", "--quiet").exit_code == 3
    assert found == fleet.comparable(tmp_path / "apart" / "results.json")
    with Store(url) as store:
        assert [(r.kind, r.status) for r in store.history()] == [("re-check", "finished"), ("full", "finished")]
