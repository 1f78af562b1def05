"""The command line as a user meets it: commands, exit codes, messages, files."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from auditor import session
from auditor.cli import cli

ROOT = Path(__file__).parents[1]


def auditor(folder: Path, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", "COLUMNS": "140", **env}
    command = [sys.executable, "-m", "auditor", *argv]
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=180, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the demo was audited, with its history."""
    folder = tmp_path_factory.mktemp("demo")
    done = auditor(folder, "audit", "--demo", "-o", "out", "--format", "json,html")
    assert done.returncode == 0, done.stderr
    return folder


def results(folder: Path) -> dict:
    return dict(json.loads((folder / "results.json").read_text()))


def test_demo_reports_three_targets(demo: Path) -> None:
    document = results(demo / "out")
    assert {(t["name"], t["kind"]) for t in document["targets"]} == {
        ("web-1", "docker-host"),
        ("cp-1", "node"),
        ("shop", "cluster"),
    }
    statuses = {f["status"] for f in document["findings"]}
    assert {"pass", "fail", "not_applicable"} <= statuses
    assert not [f for f in document["findings"] if f["status"] == "error"]


def test_files_are_private(demo: Path) -> None:
    out = demo / "out"
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in out.iterdir() if p.is_file()} == {0o600}
    history = next(demo.rglob("history.sqlite"))
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_evaluating_evidence_gives_the_same_findings(demo: Path, tmp_path: Path) -> None:
    done = auditor(tmp_path, "evaluate", str(ROOT / "auditor" / "demo"), "-o", "again", "--format", "json", "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    first, again = results(demo / "out"), results(tmp_path / "again")
    assert json.dumps(first["findings"]) == json.dumps(again["findings"])
    assert first["scores"] == again["scores"]
    assert [t["evidence_sha256"] for t in first["targets"]] == [t["evidence_sha256"] for t in again["targets"]]


def test_history_and_reports_from_it(demo: Path) -> None:
    listed = auditor(demo, "history")
    identity = results(demo / "out")["run"]["id"]
    assert identity in listed.stdout
    done = auditor(demo, "report", identity[:12], "-o", "again", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert results(demo / "again") == results(demo / "out")
    assert auditor(demo, "report", "20010101").returncode == 2


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--fail-on", "critical"], 1, "--fail-on critical"),
        (["--fail-on", "low"], 1, "--fail-on low"),
        (["--min-score", "99.9"], 1, "--min-score 99.9"),
        (["--min-coverage", "50"], 0, ""),
        (["--min-score", "0"], 0, ""),
        (["--only", "docker-image-healthcheck", "--fail-on", "critical"], 0, ""),
        (["--level", "1"], 0, ""),
    ],
)
def test_gates(tmp_path: Path, options: list[str], code: int, said: str) -> None:
    done = auditor(tmp_path, "audit", "--demo", "-o", "out", "--format", "json", "--no-store", *options)
    assert done.returncode == code, done.stderr
    assert said in done.stdout
    assert (tmp_path / "out" / "results.json").exists()


def test_selection_is_in_the_results(tmp_path: Path) -> None:
    options = ("--benchmark", "cis-docker@1.6.0", "--only", "2.15", "--level", "1")
    auditor(tmp_path, "evaluate", str(ROOT / "auditor" / "demo"), "-o", "out", "--format", "json", *options)
    document = results(tmp_path / "out")
    assert {f["id"] for f in document["findings"]} == {"2.15"}
    assert document["run"]["selection"] == {"benchmarks": ["cis-docker@1.6.0"], "level": 1, "only": ["2.15"], "limit": []}
    assert [(b["name"], b["version"], b["selected_because"]) for b in document["benchmarks"]] == [
        ("cis-docker", "1.6.0", "asked for")
    ]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["audit", "--benchmark", "cis-dokcer"], "did you mean 'cis-docker'?"),
        (["audit", "--benchmark", "cis-docker@9"], "has no version '9'"),
        (["audit", "--only", "docker-image-healthchek"], "did you mean 'docker-image-healthcheck'?"),
        (["audit", "--format", "docx"], "no format 'docx'"),
        (["audit", "-i", "missing.yaml"], "missing.yaml"),
        (["audit", "--fail-on", "severe"], "severe"),
        (["audit", "--demo", "-i", "x.yaml"], "--demo"),
        (["audit", "--limit", "nobody"], "nobody"),
        (["audit", "-o", "/proc/nowhere"], "/proc/nowhere"),
        (["audit", "--demo", "--store", "nosuch://x"], "nosuch"),
        (["evaluate", "missing"], "missing"),
        (["evaluate", "."], "holds no *.evidence.json"),
        (["explain", "docker-image-healthchek"], "did you mean"),
        (["explain", "nope"], " more, which `auditor benchmarks show NAME` lists"),
        (["audit", "--demo", "--only", "nope"], " more, which `auditor benchmarks show NAME` lists"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_bad_usage_is_one_clear_line_and_exit_code_2(tmp_path: Path, argv: list[str], said: str) -> None:
    done = auditor(tmp_path, *argv)
    assert done.returncode == 2
    assert said in done.stderr
    assert not list(tmp_path.glob("cis-audit-*"))


def test_bad_inventory_names_every_mistake(tmp_path: Path) -> None:
    (tmp_path / "inv.yaml").write_text(
        "hosts:\n  - {name: a, adress: 10.0.0.1}\n  - {name: a}\nclusters:\n  - {name: c, nodes: [zz]}\n"
    )
    done = auditor(tmp_path, "audit", "-i", "inv.yaml")
    assert done.returncode == 2
    assert "inv.yaml:2:15: there is no key 'adress' here; did you mean 'address'?" in done.stderr
    assert all(line.startswith("inv.yaml:") for line in done.stderr.splitlines())


def test_altered_evidence_is_refused(tmp_path: Path) -> None:
    bundle = tmp_path / "web-1.evidence.json"
    text = (ROOT / "auditor" / "demo" / "web-1.evidence.json").read_text()
    assert '"LiveRestoreEnabled": false' in text
    bundle.write_text(text.replace('"LiveRestoreEnabled": false', '"LiveRestoreEnabled": true'))
    done = auditor(tmp_path, "evaluate", str(bundle))
    assert done.returncode == 2
    assert "was altered" in done.stderr


def test_lint_and_explain(tmp_path: Path) -> None:
    assert auditor(tmp_path, "benchmarks", "lint", *map(str, (ROOT / "benchmarks").rglob("*.yaml"))).returncode == 0
    (tmp_path / "mine.yaml").write_text("- key: mine\n  title: Mine\n  severity: hihg\n  check: {setings: {}}\n")
    done = auditor(tmp_path, "benchmarks", "lint", "mine.yaml")
    assert done.returncode == 2
    assert "mine.yaml:3:13: 'hihg' is not one of the allowed words; did you mean 'high'?" in done.stderr
    assert "mine.yaml:4:11: there is no check type 'setings'; did you mean 'setting'?" in done.stderr
    shown = auditor(tmp_path, "explain", "docker-daemon-icc").stdout
    assert "cis-docker 1.8.0: 2.2, level 1" in shown
    assert "To meet it" in shown
    assert auditor(tmp_path, "explain", "cis-docker@1.6.0/2.2").stdout == shown
    assert "117" in auditor(tmp_path, "benchmarks", "list").stdout
    assert "docker-daemon-icc" in auditor(tmp_path, "benchmarks", "show", "cis-docker").stdout


def test_this_machine_can_be_audited(tmp_path: Path) -> None:
    done = auditor(tmp_path, "audit", "--format", "json", "--log-json")
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.glob("cis-audit-*")
    document = results(folder)
    assert document["targets"][0]["transport"] == "local"
    assert document["targets"][0]["status"] == "audited"
    assert (folder / "evidence").is_dir()
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert [e["event"] for e in events] == ["begin", "target", "end"]
    if not document["targets"][0]["roles"]:
        assert "neither a Docker engine nor Kubernetes" in done.stderr
        assert (folder / "demo" / "results.json").exists()
        assert {f["status"] for f in document["findings"]} <= {"pass", "fail", "not_applicable"}
        assert all(f["reason"] for f in document["findings"] if f["status"] == "not_applicable")


def test_a_report_that_fails_loses_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "out" / "report.html").mkdir(parents=True)
    done = auditor(tmp_path, "audit", "--demo", "-o", "out", "--format", "html,json", "--no-store")
    assert done.returncode == 2
    assert "report.html" in done.stderr
    assert (tmp_path / "out" / "results.json").exists()


WRITERS = {
    "privileges --ssh -o there --script also": ("there", "also"),
    "privileges --kubernetes -o deep/folder/there": ("deep/folder/there",),
    "schedule systemd --program /bin/true -o units": ("units/cis-auditor.service", "units/cis-auditor.timer"),
    "schedule kubernetes -o base": ("base/cronjob.yaml", "base/kustomization.yaml", "base/config.yaml"),
    "tailoring init site.yaml": ("site.yaml",),
}


@pytest.mark.parametrize("command", WRITERS)
def test_what_is_written_is_ours_alone(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the umask, and whatever somebody planted in the folder beforehand."""
    monkeypatch.chdir(tmp_path)
    outside = tmp_path.with_name(f"{tmp_path.name}-outside")
    outside.write_text("precious")
    before = os.umask(0)
    try:
        for planted in (False, True):
            for name in WRITERS[command] if planted else ():
                Path(name).unlink()
                Path(name).symlink_to(outside)
            result = CliRunner().invoke(cli, command.split(), standalone_mode=False)
            if planted and command.startswith("tailoring"):  # what is there is not written over
                assert "can't be written: File exists" in str(result.exception)
                continue
            assert result.exception is None, result.output
            for name in WRITERS[command]:
                path = Path(name)
                assert (path.is_symlink(), stat.S_IMODE(path.lstat().st_mode)) == (False, 0o600), name
                assert path.parent == Path() or stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    finally:
        os.umask(before)
    assert outside.read_text() == "precious"


def test_finding_out_that_a_folder_can_be_written_makes_no_file_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".write-test").symlink_to(tmp_path / "elsewhere")
    session.check_writable(tmp_path / "out")
    assert not (tmp_path / "elsewhere").exists()
    assert [p.name for p in (tmp_path / "out").iterdir()] == [".write-test"]


def test_an_ssh_config_that_can_not_be_read_begins_no_run(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("nonsense\n")
    (tmp_path / "i.yaml").write_text("hosts: [{name: a}]\n")
    done = auditor(tmp_path, "audit", "-i", "i.yaml", "-o", "out")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "a line in it is no option with a value" in done.stderr
    assert "no run is stored" in auditor(tmp_path, "history").stdout + auditor(tmp_path, "report").stderr
    assert not (tmp_path / "out").exists()


def test_a_crash_leaves_no_file_of_the_memory(tmp_path: Path) -> None:
    """Passwords and tokens are in it."""
    os.mkfifo(tmp_path / "i.yaml")
    command = [
        "/bin/sh",
        "-c",
        'ulimit -c "$(ulimit -H -c)"; exec "$0" "$@"',
        sys.executable,
        "-m",
        "auditor",
        "audit",
        "-i",
        "i.yaml",
    ]
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE) as process:
        with (tmp_path / "i.yaml").open("w") as inventory:  # which it waits for
            (line,) = [
                w for w in Path(f"/proc/{process.pid}/limits").read_text().splitlines() if w.startswith("Max core file size")
            ]
            inventory.write("hosts: []\n")
        process.communicate(timeout=60)
    assert line.split()[4] == "0", line
