"""The examples in docs/examples, and the bill of materials, are what their formats ask for and what the text beside them says."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from auditor import __version__
from auditor.cli import cli

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs" / "examples"
DOCKERFILE = (EXAMPLES / "Dockerfile").read_text()
PIPELINES = {"github-actions.yml": "vendor.github-workflows", "gitlab-ci.yml": "vendor.gitlab-ci"}


# -- pipelines ----------------------------------------------------------------


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_fits_the_schema_of_its_format(name: str, tmp_path: Path) -> None:
    def mistakes(path: Path) -> str:
        argv = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", PIPELINES[name], str(path)]
        found = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        assert found.returncode in (0, 1), found.stderr
        return found.stdout if found.returncode else ""

    assert mistakes(EXAMPLES / name) == ""
    wrong = tmp_path / name
    wrong.write_text((EXAMPLES / name).read_text().replace("timeout", "tmieout").replace("name:", "name: [1]\nx:", 1))
    assert mistakes(wrong)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_calls_the_auditor_as_it_is(name: str) -> None:
    text = (EXAMPLES / name).read_text()
    calls = re.findall(r'(?:/auditor"|\$AUDITOR) (audit|preflight) (.+)$', text, re.MULTILINE)
    assert "audit" in {command for command, _ in calls}
    for command, words in calls:
        argv = [w.replace("inventory.yaml", str(ROOT / "inventory.example.yaml")) for w in shlex.split(words)]
        assert cli.commands[command].make_context(command, argv).params["inventory"]
    assert "StrictHostKeyChecking" not in text
    assert not re.search(r"curl|wget|\| *sh\b", text)


def test_the_workflow_gets_no_more_rights_than_it_needs() -> None:
    workflow = yaml.safe_load((EXAMPLES / "github-actions.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"]
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")  # what stands there would be part of a script
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False


# -- the Dockerfile -----------------------------------------------------------


def instructions(text: str) -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n\s*", " ", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines() if line.strip()]


def test_the_dockerfile_names_what_is_there() -> None:
    found = instructions(DOCKERFILE)
    assert {i for i, _ in found} <= {"ARG", "FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
    assert [words for i, words in found if i == "FROM"] == ["${BASE} AS build", "${BASE}"]
    copied = [shlex.split(words)[:-1] for i, words in found if i == "COPY" and "--from" not in words]
    sources = [s for words in copied for s in words]
    assert all((ROOT / s).exists() for s in sources)
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(packages) <= set(sources)
    ignored = (EXAMPLES / "Dockerfile.dockerignore").read_text().splitlines()
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == set(sources)
    assert f"cis-auditor:{__version__}" in DOCKERFILE


def test_the_image_is_not_root_and_holds_what_the_locks_name() -> None:
    found = instructions(DOCKERFILE)
    users = [words for i, words in found if i == "USER"]
    assert users == ["65532:65532"]
    after = found[[i for i, _ in found].index("USER") :]
    assert {i for i, _ in after} <= {"USER", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
    assert json.loads(next(words for i, words in found if i == "ENTRYPOINT")) == ["/opt/auditor/bin/auditor"]
    for command in (c for i, words in found if i == "RUN" for c in words.split("&&")):
        if re.search(r"pip (install|wheel)", command):
            assert "--no-deps" in command
            assert "--no-index" in command or re.search(r"--require-hashes .*-r requirements(-build)?\.lock", command)
    makefile = (ROOT / "Makefile").read_text()
    wanted = set(re.search(r"^AUDIT_PACKAGES := (.+)$", makefile, re.MULTILINE)[1].split()) - {"python3-venv"}  # type: ignore[index]
    assert all(package in DOCKERFILE for package in wanted)


def test_the_image_can_talk_to_postgresql() -> None:
    """As the manifests of shards have it: what the build takes of the tests' lock is the driver, whole and with its hashes."""
    (command,) = (
        c for i, words in instructions(DOCKERFILE) if i == "RUN" for c in words.split("&&") if c.strip().startswith("sed")
    )
    assert command.strip().endswith("requirements-test.lock >postgresql.lock")
    assert "-r requirements.lock -r postgresql.lock" in DOCKERFILE
    taken = subprocess.run(
        ["/bin/sh", "-c", command.rpartition(">")[0]], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    packages = re.split(r"^(?=[a-z])", taken, flags=re.MULTILINE)[1:]
    assert [p.partition("==")[0] for p in packages] == ["psycopg", "psycopg-binary"]
    assert all("--hash=sha256:" in p and p.rstrip("\n")[-1] != "\\" for p in packages)
    locked = (ROOT / "requirements.lock").read_text()
    needed = [r for r in map(Requirement, metadata.requires("psycopg") or ()) if r.marker is None or "extra" not in str(r.marker)]
    assert [r.name for r in needed if not re.search(rf"^{r.name.replace('_', '-')}==", locked, re.MULTILINE)] == []


def test_the_shell_of_the_image_takes_every_line() -> None:
    for i, words in instructions(DOCKERFILE):
        if i == "RUN":
            assert subprocess.run(["/bin/sh", "-n", "-c", words], check=False).returncode == 0, words


# -- the bill of materials ----------------------------------------------------


@pytest.fixture(scope="module")
def sbom() -> dict[str, Any]:
    printed = [subprocess.run([sys.executable, ".ci/sbom.py"], cwd=ROOT, capture_output=True, check=True).stdout for _ in range(2)]
    assert printed[0] == printed[1]
    return json.loads(printed[0])  # type: ignore[no-any-return]


def test_the_bill_fits_the_official_schema(sbom: dict[str, Any]) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(json.dumps(sbom)) is None
    assert validator.validate_str(json.dumps({**sbom, "components": [{"type": "libary", "name": "x"}]})) is not None


def test_the_bill_names_what_the_lock_names(sbom: dict[str, Any]) -> None:
    lock = (ROOT / "requirements.lock").read_text()
    named = dict(re.findall(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)", lock, re.MULTILINE))
    assert {c["name"]: c["version"] for c in sbom["components"]} == {re.sub(r"[-_.]+", "-", n): v for n, v in named.items()}
    assert sum(len(c["hashes"]) for c in sbom["components"]) == lock.count("--hash=sha256:")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert len(sbom["dependencies"][0]["dependsOn"]) == len(project["dependencies"])
    assert sbom["metadata"]["component"]["version"] == __version__


def test_a_line_of_the_lock_that_is_no_package_is_refused() -> None:
    module = runpy.run_path(str(ROOT / ".ci" / "sbom.py"))
    for line in ("x==1", "x @ file:///x", "-e .", "x==1 --hash=sha256:abc"):
        with pytest.raises(ValueError, match="not a package"):
            module["components"](line)


# -- known vulnerabilities ------------------------------------------------------

FINE = {"name": "a", "version": "1", "vulns": []}
FLAWED = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "not found on PyPI"}


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ([FINE], 0, "1 packages looked up, 0 vulnerabilities known\n"),
        ([FINE, FLAWED], 1, "x.lock: b 2: PYSEC-1, fixed in 3"),
        ([FINE, SKIPPED], 2, "nothing is said of 1 of 2 packages, such as c"),
        ([FLAWED, SKIPPED], 2, "PYSEC-1"),
        ([], 2, "looked at no package"),
        (None, 2, "x.lock: not looked up: "),
        ("gone", 2, "gone: No such file or directory"),
    ],
)
def test_what_can_not_be_looked_up_is_not_taken_for_fine(tmp_path: Path, said: Any, code: int, words: str) -> None:
    """The service is on the network, so what pip-audit prints is given: nothing of a package, or no answer, must not end with 0."""
    (tmp_path / "said").write_text("no json" if said is None else json.dumps({"dependencies": said}))
    program = "gone" if said == "gone" else f"sh -c 'cat {tmp_path}/said; echo a line of the service >&2' --"
    command = [sys.executable, str(ROOT / ".ci" / "vulnerabilities.py"), "x.lock"]
    done = subprocess.run(command, env={**os.environ, "PIP_AUDIT": program}, capture_output=True, text=True, check=False)
    assert done.returncode == code, done
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert ("NOT COMPLETE" in done.stdout) is (code == 2)
