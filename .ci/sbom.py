# ruff: noqa: INP001 - a program of its own
"""Print a CycloneDX 1.6 bill of materials of what requirements.lock names.

It has no time and no random number in it: the same lock file gives the same bytes. Of a package's hashes any is accepted, since
they are those of its wheels for several platforms.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def canonical(name: str) -> str:
    """Return a package's name as indexes and package URLs write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def components(lock: str) -> list[dict[str, Any]]:
    """Return the packages of a lock file. Raises ValueError for a line that is none."""
    found = []
    for entry in re.sub(r" *\\\n +", " ", lock).splitlines():
        if not entry or entry.startswith("#"):
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;]+)(?: ; (.+?))?((?: --hash=sha256:[0-9a-f]{64})+)", entry)
        if match is None:
            raise ValueError(f"not a package with hashes: {entry[:100]}")
        name, version, marker, hashes = match.groups()
        purl = f"pkg:pypi/{canonical(name)}@{version}"
        found.append(
            {
                "type": "library", "bom-ref": purl, "name": canonical(name), "version": version, "purl": purl,
                "scope": "optional" if marker else "required",
                "hashes": [{"alg": "SHA-256", "content": h} for h in re.findall("[0-9a-f]{64}", hashes)],
                **({"properties": [{"name": "python:marker", "value": marker}]} if marker else {}),
            }
        )  # fmt: skip
    return found


def document(project: dict[str, Any], lock: str) -> dict[str, Any]:
    """Return the bill of materials of a project (pyproject.toml's table) and its lock file."""
    found = components(lock)
    refs = {c["name"]: c["bom-ref"] for c in found}
    purl = f"pkg:pypi/{project['name']}@{project['version']}"
    direct = [refs[canonical(re.split(r"[\[>=<~! ;]", r)[0])] for r in project["dependencies"]]
    main = {"type": "application", "bom-ref": purl, "name": project["name"], "version": project["version"], "purl": purl,
            "description": project["description"], "licenses": [{"license": {"id": project["license"]}}]}  # fmt: skip
    bom = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.6",
        "version": 1, "metadata": {"component": main}, "components": found,
        "dependencies": [{"ref": purl, "dependsOn": sorted(direct)}],
        # Which package needs which other one isn't in a lock file.
        "compositions": [{"aggregate": "complete", "assemblies": [purl]},
                         {"aggregate": "unknown", "dependencies": sorted(refs.values())}],
    }  # fmt: skip
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(bom, sort_keys=True))
    return {**bom, "serialNumber": f"urn:uuid:{serial}"}


if __name__ == "__main__":
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    json.dump(document(table, (ROOT / "requirements.lock").read_text()), sys.stdout, indent=2)
    sys.stdout.write("\n")
