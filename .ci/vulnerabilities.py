# ruff: noqa: INP001, T201 - a program of its own
"""Ask what vulnerabilities are known of what lock files name: ``vulnerabilities.py LOCK...``, by pip-audit (or what PIP_AUDIT is).

Exit codes: 0 none is known of any package; 1 some are; 2 it could not be found out for every package. pip-audit itself ends with 0
when its service knows nothing of a package, as an index without PyPI's own interface does not.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from typing import Any


def dependencies(lock: str) -> list[dict[str, Any]]:
    """Return what pip-audit says of each package of a lock file. Raises ValueError when it says nothing of use."""
    program = shlex.split(os.environ.get("PIP_AUDIT", "pip-audit"))
    options = ["--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json", "-r", lock]
    try:
        done = subprocess.run([*program, *options], capture_output=True, text=True, check=False, timeout=600)  # noqa: S603 - the user's own
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"{program[0]}: {getattr(error, 'strerror', None) or 'no answer in time'}") from None
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise ValueError(f"{program[0]}: {said[-1].strip()[:300] if said else 'no answer'}") from None
    if not found:
        raise ValueError("pip-audit looked at no package")
    return list(found)


def main(locks: list[str]) -> int:
    """Say what is known and what is not; return the exit code."""
    looked, known, unknown = 0, 0, 0
    for lock in locks:
        try:
            found = dependencies(lock)
        except ValueError as error:
            print(f"{lock}: not looked up: {error}", file=sys.stderr)
            unknown += 1
            continue
        skipped = [d["name"] for d in found if "version" not in d or "vulns" not in d]
        if skipped:
            print(f"{lock}: nothing is said of {len(skipped)} of {len(found)} packages, such as {skipped[0]}", file=sys.stderr)
        looked += len(found) - len(skipped)
        unknown += len(skipped)
        for package in found:
            for flaw in package.get("vulns", ()):
                fixed = ", ".join(flaw.get("fix_versions", ())) or "no version"
                print(f"{lock}: {package['name']} {package.get('version')}: {flaw['id']}, fixed in {fixed}")
                known += 1
    print(f"{looked} packages looked up, {known} vulnerabilities known" + ("; NOT COMPLETE" if unknown else ""))
    return 2 if unknown else 1 if known else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
