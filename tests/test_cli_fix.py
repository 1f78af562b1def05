"""``auditor fix`` as an operator meets it: which run, which evidence, which files, and what is said when something isn't there."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from auditor import session
from auditor.audit import Selection
from auditor.cli import cli
from auditor.evidence import digest, load, save
from auditor.model import AuditRun, Status
from auditor.registers import WaiverMark
from auditor.results import to_json
from auditor.store import Store

DEMO = Path(__file__).parents[1] / "auditor" / "demo"


@pytest.fixture(scope="module")
def run() -> AuditRun:
    """The demo's run, as if its evidence were somebody's own."""
    return dataclasses.replace(session.demo_run(session.packaged_library(), Selection()), selection={})


@pytest.fixture
def folder(run: AuditRun, tmp_path: Path) -> Path:
    return written(run, tmp_path / "run")


def written(run: AuditRun, folder: Path) -> Path:
    shutil.copytree(DEMO, folder / "evidence")
    (folder / "results.json").write_bytes(to_json(run))
    return folder


def fix(*argv: object) -> Result:
    return CliRunner().invoke(cli, ["fix", *map(str, argv)], standalone_mode=False)


def refused(*argv: object) -> str:
    """Return the one line of a refusal."""
    result = fix(*argv)
    assert result.exception is not None
    said = str(getattr(result.exception, "message", result.exception))
    assert type(result.exception).__name__ in ("InputError", "UsageError", "BadParameter", "StoreError"), result.exception
    assert len(said.splitlines()) == 1
    return said


def test_files_a_target(folder: Path, tmp_path: Path) -> None:
    result = fix(folder, "-o", tmp_path / "out", "--format", "shell,ansible,markdown")
    assert result.exit_code == 0, result.exception
    made = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "out").iterdir()}
    assert {name: mode for name, mode in made.items() if name.startswith("web-1")} == {
        "web-1.sh": 0o700,
        "web-1.yml": 0o600,
        "web-1.md": 0o600,
    }
    assert {"cp-1.sh", "shop.md"} <= set(made)
    assert "without a fix: cis-docker 2.1 The engine runs without root" in result.stdout
    for target in ("web-1", "cp-1", "shop"):  # hosts, and a cluster, of which nothing restarts
        (counted,) = (line for line in result.stdout.splitlines() if line.startswith(f"{target}: "))
        assert re.fullmatch(
            target + r": \d+ steps that disturb nothing, \d+ that restart or restrict something \(off by default\), "
            r"\d+ by hand, \d+ without a fix", counted), counted  # fmt: skip
    script = (tmp_path / "out" / "web-1.sh").read_text()
    assert "'cis-docker 2.2'" in script
    assert "# without a fix: cis-docker 2.1" in script
    assert "## Failures without a fix" in (tmp_path / "out" / "web-1.md").read_text()


def test_a_target_may_be_called_inventory(run: AuditRun, tmp_path: Path) -> None:
    """Its playbook is not where the inventory of all playbooks is."""
    bundle = load(DEMO / "web-1.evidence.json")
    named = dataclasses.replace(bundle, target=dataclasses.replace(bundle.target, name="inventory"))
    path = save(named, tmp_path)
    target = dataclasses.replace(
        next(t for t in run.targets if t.name == "web-1"), name="inventory", evidence_sha256=digest(load(path))
    )
    findings = tuple(dataclasses.replace(f, target="inventory") for f in run.findings if f.target == "web-1")
    (tmp_path / "results.json").write_bytes(to_json(dataclasses.replace(run, targets=(target,), findings=findings, scores=())))
    result = fix(tmp_path / "results.json", "--evidence", tmp_path, "-o", tmp_path / "out", "--format", "shell,ansible")
    assert result.exit_code == 0, result.exception
    books = [p for p in (tmp_path / "out").glob("*.yml") if "hosts: inventory" in p.read_text()]
    assert len(books) == 1
    assert books[0].name != "inventory.yml"
    assert "ansible_host" in (tmp_path / "out" / "inventory.yml").read_text()


def test_one_target_on_standard_output(folder: Path) -> None:
    """By the folder or its results; nothing else is written there."""
    for given in (folder, folder / "results.json"):
        result = fix(given, "--limit", "web-1", "--only", "docker-daemon-icc", "--only", "2.16")
        assert result.exit_code == 0
        assert result.stdout.startswith("#!/bin/sh\n")
        assert result.stdout.count("\nstep '") == 2
    assert "several files: say where with -o DIR" in refused(folder)


def test_the_evidence_must_be_the_runs_own(folder: Path, run: AuditRun, tmp_path: Path) -> None:
    bundle = folder / "evidence" / "web-1.evidence.json"
    found = load(bundle)
    save(dataclasses.replace(found, collected_at="2026-01-01T00:00:00Z"), folder / "evidence")
    assert f"{bundle}: is not the evidence that web-1 was judged by in this run" in refused(
        folder, "-o", tmp_path / "o", "--limit", "web-1"
    )
    bundle.write_text(bundle.read_text().replace("2026-01-01", "2026-01-02"))
    assert "was altered" in refused(folder, "-o", tmp_path / "o", "--limit", "web-1")
    bundle.unlink()
    assert "--evidence DIR" in refused(folder, "-o", tmp_path / "o", "--limit", "web-1")
    assert not (tmp_path / "o" / "web-1.sh").exists()
    assert fix(folder, "--limit", "web-1", "--evidence", DEMO).exit_code == 0
    shutil.rmtree(folder / "evidence")
    assert f"run {run.id}: its evidence is not in" in refused(folder, "-o", tmp_path / "o")


def test_what_is_not_there(folder: Path, tmp_path: Path) -> None:
    assert "no target 'web-2'" in refused(folder, "--limit", "web-2")
    assert "judged no control '9.9'" in refused(folder, "--only", "9.9")
    assert "there is no format 'bash'" in refused(folder, "--format", "bash")
    assert "names none" in refused(folder, "--format", ",")
    url = f"sqlite:///{tmp_path}/h.sqlite"
    assert "no run" in refused("latest", "--store", url)
    assert "no run" in refused("nothing-like-it", "--store", url)
    (tmp_path / "x.json").write_text("{}")
    assert "is no results document" in refused(tmp_path / "x.json")


def test_a_run_of_the_history(run: AuditRun, tmp_path: Path) -> None:
    """Its evidence is found where the run was written to, or where the demo's is."""
    url = f"sqlite:///{tmp_path}/h.sqlite"
    demo = dataclasses.replace(run, id="demo", selection={"demo": True})
    with Store(url) as store:
        store.save(demo)
    assert fix("demo", "--store", url, "--limit", "web-1").exit_code == 0
    with Store(url) as store:
        store.save(run)
        t = store.tables.runs
        plan = json.dumps(
            {"options": {}, "parts": {"1/2": {"folder": str(tmp_path / "a")}, "2/2": {"folder": str(tmp_path / "b")}}}
        )
        with store.plainly(), store.writing() as connection:
            connection.execute(t.update().where(t.c.id == run.id).values(plan=plan))
    (tmp_path / "a" / "evidence").mkdir(parents=True)
    shutil.copytree(DEMO, tmp_path / "b" / "evidence")
    assert fix(run.id[:12], "--store", url, "--limit", "web-1").exit_code == 0


def test_waived_failures_are_left_out(run: AuditRun, tmp_path: Path) -> None:
    """All of one, the waived subjects of another; --with-waived takes them in."""

    def waive(finding: object) -> object:
        f = finding
        if f.target == "web-1" and f.control == "docker-daemon-icc":
            return dataclasses.replace(f, waiver=WaiverMark(("W1",), complete=True))
        if f.target == "web-1" and f.control == "docker-container-pids-limit":
            return dataclasses.replace(f, waiver=WaiverMark(("W2",), complete=False, subjects=("container/bad",)))
        return f

    waived = dataclasses.replace(run, findings=tuple(map(waive, run.findings)))
    folder = written(waived, tmp_path / "run")
    assert any(o.subject == "container/bad" and o.status is Status.FAIL for f in run.findings for o in f.observations)
    only = ("--limit", "web-1", "--only", "docker-daemon-icc", "--only", "docker-container-pids-limit")
    result = fix(folder, *only)
    assert "left out: 2 waived failing subjects (--with-waived takes them in)" in result.stderr
    assert "icc" not in result.stdout.partition("\nbegin '")[2]
    assert "container bad " not in result.stdout
    assert "container plain " in result.stdout
    everything = fix(folder, *only, "--with-waived").stdout
    assert "container bad " in everything
    assert '"icc"' in everything


def test_the_values_in_force_count(run: AuditRun, tmp_path: Path) -> None:
    """A tailored parameter is in the finding; the fix goes by it, not by the control's default."""
    findings = tuple(
        dataclasses.replace(f, parameters={"groups": ["engine"]}, status=Status.FAIL,
                            observations=tuple(dataclasses.replace(o, status=Status.FAIL) for o in f.observations))
        if f.control == "docker-socket-owner" else f
        for f in run.findings
    )  # fmt: skip
    folder = written(dataclasses.replace(run, findings=findings), tmp_path / "run")
    result = fix(folder, "--limit", "web-1", "--only", "docker-socket-owner")
    assert "'own' '/var/run/docker.sock' 'root' 'engine'" in result.stdout


def test_nothing_failed(folder: Path, run: AuditRun) -> None:
    passed = next(f.control for f in run.findings if f.target == "web-1" and f.status is Status.PASS)
    result = fix(folder, "--limit", "web-1", "--only", passed)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "nothing to fix" in result.stderr


def test_a_benchmark_that_is_not_here_any_more(run: AuditRun, tmp_path: Path) -> None:
    findings = tuple(dataclasses.replace(f, version="0.1") for f in run.findings)
    folder = written(dataclasses.replace(run, findings=findings), tmp_path / "run")
    assert "is not a benchmark of this version of cis-auditor, nor of --tailoring FILE" in refused(folder, "--limit", "web-1")
    renamed = tuple(dataclasses.replace(f, id="99.1") if f.control == "docker-daemon-icc" else f for f in run.findings)
    folder = written(dataclasses.replace(run, findings=renamed), tmp_path / "again")
    result = fix(folder, "--limit", "web-1", "--format", "markdown")
    assert "has no such control" in result.stdout


OWN = """\
- key: site-etc-docker
  title: Nobody but root may look into the engine's folder
  severity: low
  target: docker-host
  rationale: A site's own.
  parameters: {most: "0700"}
  check:
    file_mode: {file: {path: /etc/docker}, at_most: {parameter: most}}
  remediation:
    text: Use chmod.
    fix: [{file_mode: {keep: {parameter: most}}}]
"""
CONTENTS = """\
{benchmark: site, version: "1", title: Site, controls_total: 1, controls: [{id: "1.1", control: site-etc-docker, level: 1, assessment: automated}]}
"""
TAILORING = """\
tailoring: 1
files: [own.yaml, contents.yaml]
overrides: [{control: site-etc-docker, targets: [web-1], parameters: {most: "0500"}, reason: It is so.}]
"""


def test_a_sites_own_controls(tmp_path: Path) -> None:
    """With the run's tailoring file, and the values that were meant for this target."""
    for name, text in (("own.yaml", OWN), ("contents.yaml", CONTENTS), ("site.yaml", TAILORING)):
        (tmp_path / name).write_text(text)
    tailored = ("--tailoring", str(tmp_path / "site.yaml"))
    folder = tmp_path / "run"
    argv = ["evaluate", str(DEMO), *tailored, "--benchmark", "site", "-o", str(folder), "--format", "json", "--no-sign", "--quiet"]
    CliRunner().invoke(cli, argv, standalone_mode=False, catch_exceptions=False)
    assert "site@1: is not a benchmark" in refused(folder, "--evidence", DEMO, "--limit", "web-1")
    result = fix(folder, "--evidence", DEMO, "--limit", "web-1", *tailored)
    assert "'keep_bits' '/etc/docker' '0500'" in result.stdout
