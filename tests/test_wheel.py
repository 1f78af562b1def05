"""The built wheel, in an environment that holds nothing else: complete, and able to audit."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import auditor

ROOT = Path(__file__).parent.parent
LOCKED = ("install", "--require-hashes", "--no-deps", "--no-compile")

pytestmark = pytest.mark.slow


def environment(folder: Path, lock: str) -> Path:
    """Make a virtual environment that holds what a lock file names and nothing besides; return its Python.

    The packages are copied from the environment that runs the tests, which was made from the same locks, each with its hash;
    where that has another version, pip fetches what the lock names.
    """
    venv.create(folder, clear=True)
    python = folder / "bin" / "python"
    lines = [line.rstrip(" \\") for line in (ROOT / lock).read_text().splitlines() if line[:1].isalnum()]
    wanted = [r for r in map(Requirement, lines) if r.marker is None or r.marker.evaluate()]
    here = [next(iter(metadata.distributions(name=r.name)), None) for r in wanted]
    if any(found is None or found.version not in r.specifier for r, found in zip(wanted, here, strict=True)):
        pip(python, *LOCKED, "-r", ROOT / lock, cwd=folder)
        return python
    (site,) = folder.glob("lib/python3*/site-packages")
    for found in here:
        assert found is not None
        assert found.files
        for file in found.files:
            if ".." not in file.parts:  # a program of its own: it would start the other environment's Python
                target = site / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file.locate(), target)
    return python


def run(*arguments: str | Path, cwd: Path, code: int = 0) -> str:
    """Run a program as somebody would who has just logged in: no PYTHONPATH, a home folder of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "XDG_", "COV", "PYTEST"))}
    result = subprocess.run(
        arguments,
        cwd=cwd,
        env={**kept, "HOME": os.environ["HOME"], "XDG_STATE_HOME": str(cwd / "state"), "XDG_CONFIG_HOME": str(cwd / "config")},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert result.returncode == code, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout + result.stderr


def pip(python: Path, *arguments: str | Path, cwd: Path) -> None:
    """Run this environment's pip for another one, which has none."""
    run(sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", python, *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python with the builder that the lock file names and nothing besides."""
    return environment(tmp_path_factory.mktemp("builder") / "venv", "requirements-build.lock")


@pytest.fixture(scope="module")
def wheel(builder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it from a copy."""
    return build(builder, tmp_path_factory.mktemp("build"))


def build(python: Path, folder: Path) -> Path:
    """Build the wheel from a copy below ``folder``, with nothing fetched, and return its path."""
    source = folder / "source"
    source.mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore", "auditor", "benchmarks", "checks", "reports", "tests"):
        subprocess.run(["cp", "-r", ROOT / name, source / name], check=True)
    pip(python, "wheel", "--no-index", "--no-deps", "--no-build-isolation", "-w", folder / "dist", source, cwd=folder)
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install it, with what the lock file names, where nothing else is; return the folder of its programs."""
    folder = tmp_path_factory.mktemp("installed")
    python = environment(folder / "venv", "requirements.lock")
    pip(python, "install", "--no-index", "--no-deps", wheel, cwd=folder)
    pip(python, "check", cwd=folder)
    return python.parent


def test_the_same_source_gives_the_same_wheel(wheel: Path, builder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In another folder, on another day, under another umask; with a date given, twice the same."""
    before = os.umask(0o077)
    try:
        again = build(builder, tmp_path / "elsewhere")
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        dated = [build(builder, tmp_path / name) for name in ("one", "two")]
    finally:
        os.umask(before)
    first, second, third, fourth = (hashlib.sha256(w.read_bytes()).hexdigest() for w in (wheel, again, *dated))
    assert first == second
    assert third == fourth


def test_wheel_holds_the_code_and_all_its_data(wheel: Path) -> None:
    assert wheel.name == f"cis_auditor-{auditor.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if ".dist-info/" not in n}
        assert any(n.endswith(".dist-info/licenses/LICENSE") for n in archive.namelist())
    rooms = ("auditor", "benchmarks", "checks", "reports")
    there = {str(p.relative_to(ROOT)) for r in rooms for p in (ROOT / r).rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert names == there
    for wanted in (
        "benchmarks/docker/",
        "benchmarks/kubernetes/",
        "reports/templates/",
        "reports/assets/",
        "auditor/demo/",
        "auditor/py.typed",
    ):
        assert any(n.startswith(wanted) for n in names), wanted


def test_installed_wheel_audits(installed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    printed = run(installed / "auditor", "audit", "--demo", "-o", out, cwd=tmp_path)
    assert {"report.html", "report.pdf", "results.json"} <= {p.name for p in out.iterdir()}
    assert str(out / "report.html") in printed
    assert (out / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert "<html" in (out / "report.html").read_text()[:500]
    results = json.loads((out / "results.json").read_text())
    assert results["run"]["auditor_version"] == auditor.__version__
    assert {t["kind"] for t in results["targets"]} == {"docker-host", "node", "cluster"}
    assert {f["status"] for f in results["findings"]} >= {"pass", "fail"}
    assert results["run"]["id"][:8] in run(installed / "auditor", "history", cwd=tmp_path)


def test_installed_wheel_judges_evidence_as_the_source_does(installed: Path, tmp_path: Path) -> None:
    run(
        installed / "auditor",
        "evaluate",
        ROOT / "auditor" / "demo",
        "-o",
        tmp_path / "wheel",
        "--format",
        "json",
        "--quiet",
        cwd=tmp_path,
    )
    run(sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); from auditor.cli import main; main()", "evaluate",
        ROOT / "auditor" / "demo", "-o", tmp_path / "source", "--format", "json", "--quiet", cwd=tmp_path)  # fmt: skip
    one, other = (json.loads((tmp_path / n / "results.json").read_text()) for n in ("wheel", "source"))
    for key in ("findings", "scores", "benchmarks"):
        assert one[key] == other[key]


def test_installed_command_line(installed: Path, tmp_path: Path) -> None:
    assert auditor.__version__ in run(installed / "auditor", "--version", cwd=tmp_path)
    assert "cis-docker" in run(installed / "auditor", "benchmarks", "list", cwd=tmp_path)
    assert "Usage:" in run(installed / "python", "-m", "auditor", "--help", cwd=tmp_path)
    assert "Traceback" not in run(installed / "auditor", "audit", "-i", "none.yaml", cwd=tmp_path, code=2)
