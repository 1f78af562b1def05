"""The rules of the house that a machine can see."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import auditor

ROOT = Path(__file__).parent.parent


def tracked() -> list[Path]:
    """The project's own files: what git knows, or in an unpacked archive everything but what is made here."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        return [ROOT / f for f in listed.split("\0") if f and (ROOT / f).is_file()]
    made = {".venv", ".venv-validators", "__pycache__", "dist", "build"}
    return [p for p in ROOT.rglob("*") if p.is_file() and not {x for x in p.parts if x in made or x.endswith("_cache")}]


FILES = tracked()
MODULES = [f for f in FILES if f.suffix == ".py" and f.relative_to(ROOT).parts[0] in {"auditor", "checks", "reports", "benchmarks"}]
LOCKS = sorted(ROOT.glob("requirements*.lock"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_module_is_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 420


def test_top_level_is_the_users_choice() -> None:
    top = {f.relative_to(ROOT).parts[0] for f in FILES}
    wanted = {"pyproject.toml", "auditor", "checks", "benchmarks", "reports", "tests", "inventory.example.yaml"}
    assert wanted <= top
    extra = {"Makefile", "README.md", "CHANGELOG.md", "LICENSE", "docs", ".ci", ".gitignore", *(lock.name for lock in LOCKS)}
    assert top - wanted <= extra


def test_licence() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert PROJECT["project"]["license"] == "Apache-2.0"


def test_version_is_said_once() -> None:
    assert PROJECT["project"]["version"] == auditor.__version__


def test_every_requirement_names_a_minimum() -> None:
    lists = [
        PROJECT["build-system"]["requires"],
        PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"].values(),
        *PROJECT["dependency-groups"].values(),
    ]
    for requirement in (r for listed in lists for r in listed):
        assert re.fullmatch(r"[A-Za-z0-9-]+(\[[a-z]+\])?>=[0-9][0-9.]*", requirement), requirement


@pytest.mark.parametrize("lock", LOCKS, ids=named)
def test_lock_has_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert not re.search(r"://|file:|@ |^-|^\s*--(?!hash=sha256:[0-9a-f]{64}( \\)?$)", text, re.MULTILINE)
    packages = re.findall(r"^([a-z0-9][a-z0-9._-]*)==", text, re.MULTILINE)
    assert packages == sorted(set(packages))
    assert all("--hash=sha256:" in part for part in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE) if part.strip())


def test_locks_hold_what_is_required() -> None:
    def packages(name: str) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))

    def required(requirements: list[str]) -> dict[str, tuple[int, ...]]:
        return {
            r.partition(">=")[0].partition("[")[0].lower(): tuple(int(p) for p in r.partition(">=")[2].split("."))
            for r in requirements
        }

    runtime, test, build = packages("requirements.lock"), packages("requirements-test.lock"), packages("requirements-build.lock")
    for lock, requirements in (
        (runtime, PROJECT["project"]["dependencies"]),
        (test, PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["test"]),
        (build, PROJECT["build-system"]["requires"]),
        (packages("requirements-validators.lock"), PROJECT["dependency-groups"]["validators"]),
    ):
        for name, least in required(requirements).items():
            assert name in lock, name
            assert tuple(int(p) for p in re.findall(r"\d+", lock[name])) >= least
    assert {n: v for n, v in test.items() if n in runtime} == runtime


def test_the_lock_of_node_has_hashes_and_no_address() -> None:
    folder = ROOT / "tests" / "validators"
    lock = json.loads((folder / "package-lock.json").read_text())
    packages = {name: p for name, p in lock["packages"].items() if name}
    assert packages
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name
        assert not package.get("hasInstallScript"), name
    assert lock["packages"][""]["dependencies"] == json.loads((folder / "package.json").read_text())["dependencies"]


# Written in parts, so that this file doesn't find itself.
MACHINE = re.compile(
    "|".join(
        [
            "/" + "work/",
            "/tmp/" + r"w\b",
            "/opt/" + "pypi",
            "/root/" + r"\.(?:pyenv|cache|local)",
            "/home/" + r"(?!kubernetes|me\b|user\b|app\b)[a-z]+/",
        ]
    )
)


@pytest.mark.parametrize("path", [f for f in FILES if f.suffix not in {".woff", ".woff2", ".ttf", ".png"}], ids=named)
def test_no_path_of_somebodys_machine(path: Path) -> None:
    assert MACHINE.findall(path.read_text(errors="replace")) == []


def test_scripts_can_be_run() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    assert "make test" in (ROOT / ".ci" / "run").read_text()
