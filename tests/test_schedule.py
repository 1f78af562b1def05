"""Files that schedule an audit: systemd, cron and Kubernetes take them, and they do what they say."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from auditor import schedule
from auditor.cli import cli
from auditor.inventory import parse
from auditor.yamlfile import InputError

ROOT = Path(__file__).parent.parent
FLEET = """
defaults: {ssh: {port: 2222, identity_file: ~/.ssh/id_ed25519, known_hosts: ~/.ssh/known_hosts}}
hosts:
  - {name: web-1, address: 10.0.0.11, jump: "me@10.0.0.1:2022"}
docker:
  - {name: ci, url: "tcp://10.0.0.41:2377", tls_ca: ~/.docker/ca.pem}
clusters:
  - {name: here, in_cluster: true}
"""


def written(folder: Path) -> Path:
    path = folder / "my fleet 100%.yaml"
    path.write_text(FLEET)
    return path


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    return written(tmp_path)


def said(*argv: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(cli, ["schedule", *map(str, argv)], standalone_mode=False)
    if code:
        assert isinstance(result.exception, InputError), (result.exception, result.output)
        return str(result.exception)
    assert result.exception is None, result.exception
    return result.output


# -- systemd ------------------------------------------------------------------


def wanted(text: str = "", **options: Any) -> schedule.Job:
    inventory = parse(text, Path("/etc/cis-auditor/my fleet 100%.yaml"), elsewhere=True) if text else None
    return schedule.job(inventory, {"tailoring": None, "waivers": (), "level": 2, **options})


def verified(folder: Path, files: dict[str, str]) -> None:
    """Have systemd read the units; skip where it isn't here."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    schedule.put(files, folder)
    units = [folder / name for name in files if name.endswith((".service", ".timer"))]
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False, timeout=60
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


@pytest.mark.parametrize("text", ["", FLEET, "hosts: [{name: here, transport: local}]"])
def test_systemd_takes_the_units(text: str, tmp_path: Path) -> None:
    files = schedule.systemd(wanted(text, only=("5.4",)), "Mon..Fri *-*-* 03:00", ["/bin/true"])
    verified(tmp_path, files)


@pytest.mark.parametrize("name", ["a b", "100%n", "$HOME", "${x}", "-a;b", "ümläut"])
def test_systemd_finds_the_program_whatever_its_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "_TEMPORARY", ())
    program = tmp_path / name
    program.symlink_to("/bin/true")
    verified(tmp_path / "units", schedule.systemd(wanted(FLEET, limit=("$x", "%h")), "daily", [str(program)]))
    with pytest.raises(InputError, match="no program that has a quote"):
        schedule.systemd(wanted(FLEET), "daily", [f"{program}'"])


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=["C"])), min_size=1))
def test_systemd_reads_back_every_word(words: list[str]) -> None:
    """By systemd's own rules: quotes and backslashes, then specifiers and variables."""
    line = " ".join(schedule.systemd_word(w) for w in words)
    read = [w.replace("%%", "%").replace("$$", "$") for w in re.findall(r'"(?:\\.|[^"\\])*"|[^" ]+', line)]
    assert [re.sub(r"\\(.)", r"\1", w[1:-1]) if w.startswith('"') else w for w in read] == words


def security(folder: Path, files: dict[str, str], at_most: float) -> float:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    schedule.put(files, folder)
    unit = folder / "cis-auditor.service"
    found = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={at_most * 10:g}", "--no-pager", unit],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    (level,) = re.findall(r"Overall exposure level for cis-auditor.service: ([0-9.]+)", found.stdout)
    print(f"exposure of {'a fleet' if 'User=' in unit.read_text() else 'this machine'}: {level} of 10")
    assert found.returncode == 0, found.stdout
    return float(level)


def test_the_units_are_hardened(tmp_path: Path) -> None:
    fleet = security(tmp_path / "fleet", schedule.systemd(wanted(FLEET), "daily", ["/bin/true"]), 1.5)
    assert fleet < security(tmp_path / "local", schedule.systemd(wanted(), "daily", ["/bin/true"]), 6.0)


def test_the_machine_itself_is_not_audited_from_another_mount_namespace() -> None:
    """What gives a unit mounts of its own would make programs seem to run elsewhere."""
    text = schedule.systemd(wanted(), "daily", ["/bin/true"])["cis-auditor.service"]
    settings = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    namespaces = r"Protect(System|Home|Proc|Control|Kernel|Hostname)|Private|ProcSubset|\w*Paths|Mount|DynamicUser|RootD"
    assert not [s for s in settings if re.match(namespaces, s)]
    assert "User" not in settings


def test_every_call_that_an_audit_makes_is_one_that_the_unit_allows(tmp_path: Path) -> None:
    """With PDF and history, so with threads, a child with limits, and SQLite."""
    if not shutil.which("systemd-analyze") or not shutil.which("strace"):
        pytest.skip("strace and systemd-analyze say which calls are made and which are allowed")
    argv = [
        sys.executable,
        "-m",
        "auditor",
        "audit",
        "--demo",
        "--quiet",
        "--only",
        "5.4",
        "--format",
        "pdf",
        "-o",
        str(tmp_path / "o"),
    ]
    log = tmp_path / "calls"
    counted = ["strace", "-f", "-qq", "-c", "-U", "name", "-o", str(log), *argv, "--store", f"sqlite:///{tmp_path}/h"]
    done = subprocess.run(counted, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    if "ptrace" in done.stderr and done.returncode:
        pytest.skip("this machine doesn't let strace trace")
    assert done.returncode == 0, done.stderr
    made = {w for w in log.read_text().split() if re.fullmatch(r"[a-z][a-z0-9_]+", w)} - {"syscall", "total"}
    allowed = calls("@system-service") - calls("@privileged")
    root_only = {"fchown"} if os.geteuid() == 0 else set()  # SQLite keeps a file's owner; what comes of it doesn't matter to it
    assert len(made) > 30
    assert made - allowed == root_only & made


def calls(group: str) -> set[str]:
    shown = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True).stdout
    words = [w for line in shown.splitlines()[1:] if (w := line.strip()) and not w.startswith("#")]
    return {c for w in words for c in (calls(w) if w.startswith("@") else {w})}


def test_an_audit_needs_no_memory_that_is_written_and_run(tmp_path: Path) -> None:
    """What MemoryDenyWriteExecute= refuses, refused by the kernel itself where it can."""
    script = (
        "import ctypes, sys\n"
        "if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): sys.exit(77)\n"  # PR_SET_MDWE, from Linux 6.3 on
        f"sys.argv = ['auditor', 'audit', '--demo', '--no-store', '--quiet', '--only', '5.4', '--format', 'pdf', '-o', {str(tmp_path)!r}]\n"
        "from auditor.cli import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


def test_files_that_a_unit_could_not_see_are_refused() -> None:
    inventory = parse(FLEET, Path("/var/tmp/x.yaml"), elsewhere=True)
    with pytest.raises(InputError, match="a folder of its own"):
        schedule.systemd(schedule.job(inventory, wanted().options), "daily", ["/bin/true"])
    for home, protect in (("/home/me/auditor", "read-only"), ("/opt/auditor", "yes")):
        assert f"\nProtectHome={protect}\n" in schedule.systemd(wanted(FLEET), "daily", [home])["cis-auditor.service"]


def test_options_of_the_audit_reach_the_unit(fleet: Path) -> None:
    shown = said(
        "cron", "-i", fleet, "--program", "/usr/bin/auditor", "--only", "5.4", "--only", "5.5", "--fail-on", "high", "--min-score", "80",
        "--level", "1", "--format", "json", "--limit", "web-*", "--store", "sqlite:////srv/h",
    )  # fmt: skip
    assert (
        "--level 1 --only=5.4 --only=5.5 --fail-on=high --min-score=80 '--limit=web-*' --store=sqlite:////srv/h --format=json"
        in shown
    )


# -- cron ---------------------------------------------------------------------


def as_cron(text: str, home: Path) -> subprocess.Popen[str]:
    """Run a crontab's line as cron does: a bare % ends the command, what follows goes to its input."""
    line = next(line for line in text.splitlines() if line and not line.startswith("#"))
    fields = line.split(" ", 5)
    assert len(fields) == 6
    command = re.split(r"(?<!\\)%", fields[5], maxsplit=1)[0].replace("\\%", "%")
    env = {"HOME": str(home), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "x"}
    return subprocess.Popen(
        ["/bin/sh", "-c", command], env=env, cwd=home, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_cron_runs_the_audit_once_at_a_time(tmp_path: Path, fleet: Path) -> None:
    if not shutil.which("flock"):
        pytest.skip("the line takes flock (util-linux)")
    program, home = tmp_path / "audi'tor $x", tmp_path / "home"
    home.mkdir()
    go = tmp_path / "go"
    os.mkfifo(go)
    program.write_text(f'#!/bin/sh\npwd\numask\nfor a; do printf "<%s>\\n" "$a"; done\ncat {shlex.quote(str(go))}\n')
    program.chmod(0o755)
    text = said("cron", "-i", fleet, "--program", program)
    first = as_cron(text, home)
    assert first.stdout is not None
    shown = [first.stdout.readline().rstrip("\n") for _ in range(5)]
    assert shown == [str(home / "cis-audits"), "0077", "<audit>", "<-i>", f"<{fleet}>"]
    second = as_cron(text, home)
    second.communicate(timeout=20)
    assert second.returncode == 75
    go.write_text("")
    first.communicate(timeout=20)
    assert first.returncode == 0


@pytest.mark.parametrize("when", ["* * * * *", "*/5 0-23/2 1,15 jan-mar MON", "@daily", "0 3 * * 7"])
def test_times_of_cron(when: str) -> None:
    schedule.check_cron(when)


@pytest.mark.parametrize("when", ["", "* * * *", "60 * * * *", "* 24 * * *", "5-1 * * * *", "a * * * *", "* * * * * *", "@reboot",
                                  "* * * * *\nroot", "*/0 * * * *", "1- * * * *", "$(id) * * * *"])  # fmt: skip
def test_what_is_no_time_of_cron(when: str) -> None:
    with pytest.raises(InputError):
        schedule.check_cron(when)
