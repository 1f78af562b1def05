"""Scripts of steps that a test names, run on a host."""

from __future__ import annotations

import subprocess

from auditor.fixes.as_shell import render
from auditor.fixes.steps import Action, After, Effect, Plan, Step
from tests.support.host import ENVIRONMENT, TestHost

#: Where scripts note what must still follow their changes.
DUE = "/var/backups/cis-auditor/due"


def step(action: Action, after: After | None = None, effect: Effect = Effect.NONE) -> Step:
    return Step(
        action=action, controls=("cis-docker 1",), subject="file/x", words=type(action).__name__, after=after, effect=effect
    )


def script(*steps: Step) -> str:
    return render(Plan(run="r", target="t", kind="docker-host", address="", steps=steps))


def apply(host: TestHost, text: str, *options: str, user: str = "root") -> tuple[int, list[str]]:
    """Run a script on the host; return its exit code and lines."""
    host.run("sh", "-c", "cat >/fix.sh && chmod 755 /fix.sh", stdin=text.encode())
    argv = ["sh", "/fix.sh", *options]
    if user != "root":
        argv = ["/usr/bin/busybox", "su", "-s", "/bin/sh", user, "-c", " ".join(argv)]
    done = subprocess.run(host.enter(argv), capture_output=True, env=ENVIRONMENT, check=False, timeout=60, text=True)
    return done.returncode, [*done.stdout.splitlines(), *done.stderr.splitlines()]


def rerun(host: TestHost, *options: str, shell: str = "sh") -> tuple[int, str]:
    """Run the script that is on the host as /root/fix.sh; return its exit code and what it says. It has no errors to say."""
    argv = host.enter([shell, "/root/fix.sh", *options])
    done = subprocess.run(argv, capture_output=True, env=ENVIRONMENT, check=False, timeout=60, text=True)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def said(host: TestHost, action: Action) -> str:
    """Return the line of a single step."""
    return apply(host, script(step(action)))[1][0]
