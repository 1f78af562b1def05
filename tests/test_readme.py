"""What the README says is so: the two commands, the options, the files and the formulas."""

import re
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from auditor import __version__, tailoring
from auditor.catalogue import packaged
from auditor.cli import cli
from auditor.score import COVERAGE_FORMULA, SCORE_FORMULA
from checks import check_types

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


def commands(group: click.Group, path: str = "auditor") -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        found[f"{path} {name}"] = command
        if isinstance(command, click.Group):
            found |= commands(command, f"{path} {name}")
    return found


COMMANDS = commands(cli)
OPTIONS = {o for command in [cli, *COMMANDS.values()] for p in command.params for o in p.opts} | {"--help", "--version"}


def test_set_up_is_exactly_two_commands_of_one_line() -> None:
    section = README.partition("## Set-up\n")[2].partition("\n## ")[0]
    assert re.findall(r"^    (.+)$", section, re.MULTILINE) == ["make audit", "make test"]


@pytest.mark.parametrize("target", ["audit", "test"])
def test_make_knows_the_command(target: str) -> None:
    result = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_make_alone_names_the_two_commands() -> None:
    result = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [line.split()[1] for line in result.stdout.splitlines()] == ["audit", "test"]


def test_every_option_that_is_documented_exists() -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README + CHANGELOG))
    assert named - OPTIONS == set()


def test_every_command_is_documented_and_every_documented_one_exists() -> None:
    table = set(re.findall(r"^\| `(auditor [a-z]+)`", README, re.MULTILINE))
    assert table == {name for name in COMMANDS if name.count(" ") == 1}
    for group, words in re.findall(r"`(auditor \w+)` \| (`\w+`(?:, `\w+`)* and `\w+`)", README):
        assert {f"{group} {w}" for w in re.findall(r"`(\w+)`", words)} == {n for n in COMMANDS if n.startswith(f"{group} ")}
    used = set(re.findall(r"^    \.venv/bin/(auditor \w+)", README, re.MULTILINE))
    assert used <= set(COMMANDS)


def test_every_command_and_option_says_what_it_is_for() -> None:
    for name, command in COMMANDS.items():
        assert command.help, name
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts}"


@pytest.mark.parametrize("line", re.findall(r"^    \.venv/bin/auditor (.+?)(?: +#.*)?$", README, re.MULTILINE))
def test_every_command_line_is_one_that_click_takes(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evidence").mkdir()
    name, *arguments = line.split()
    command = cli.commands[name]
    while isinstance(command, click.Group) and arguments and arguments[0] in command.commands:
        name, *arguments = arguments
        command = command.commands[name]
    context: Any = command.make_context(name, arguments)
    assert context.params


def test_the_tailoring_file_is_one(tmp_path: Path) -> None:
    (block,) = re.findall(r"((?:^    .*\n)*^    tailoring: 1\n(?:^    .*\n)+)", README, re.MULTILINE)
    path = tmp_path / "tailoring.yaml"
    path.write_text(textwrap.dedent(block))
    tailored = tailoring.load(packaged(check_types()), path).library
    for name, versions in tailored.names().items():
        for version in versions:
            assert tailored.load(f"{name}@{version}").controls


def test_the_shown_output_is_what_the_demo_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Line by line; between two lines more may stand only where the README says so. A PDF takes too long here."""
    (block,) = re.findall(r"((?:^    .*\n)*^    target +benchmark .*\n(?:^    .*\n)+)", README, re.MULTILINE)
    shown = [line for line in textwrap.dedent(block).splitlines() if line != "written: out/report.pdf"]
    monkeypatch.chdir(tmp_path)
    words = ["audit", "--demo", "-o", "out", "--no-store", "--format", "html,json"]
    done = CliRunner().invoke(cli, words, env={"HOME": str(tmp_path)}, standalone_mode=False)
    assert done.exit_code == 0, done.output
    printed = [line.rstrip() for line in done.stdout.splitlines()]
    at, skip = 0, False
    for line in shown:
        if line.strip() == "...":
            skip = True
            continue
        at = printed.index(line, at) if skip else at
        assert printed[at] == line
        at, skip = at + 1, False
    assert at == len(printed)


def test_every_link_leads_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).is_file(), link


def test_exit_codes_are_those_of_the_help() -> None:
    codes = dict(re.findall(r"^\| (\d) \| (.+) \|$", README, re.MULTILINE))
    assert set(codes) == {"0", "1", "2", "3"}
    help_text = " ".join((cli.help or "").split())
    assert set(re.findall(r"\b(\d) (?:every|a|bad)", help_text)) == set(codes)


def test_formulas_are_the_ones_that_are_used() -> None:
    assert f"    {SCORE_FORMULA}\n    {COVERAGE_FORMULA}\n" in README


def test_who_we_are_not() -> None:
    assert "Not affiliated with" in README


def test_changelog_has_its_form_and_this_version() -> None:
    assert CHANGELOG.startswith("# Changelog\n")
    assert "keepachangelog.com" in CHANGELOG
    versions = re.findall(r"^## \[(.+?)\]", CHANGELOG, re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert __version__ in versions
    assert set(re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE)) <= {
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    }
