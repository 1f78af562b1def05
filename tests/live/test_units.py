"""The service that audits its own machine learns with its few capabilities what root learns with all of them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from auditor.audit import Selection
from auditor.collect import HOST_ALWAYS
from auditor.facts import answers
from auditor.facts.script import compose
from auditor.session import packaged_library
from tests.support.collecting import lasting
from tests.support.engine import DockerHost

pytestmark = pytest.mark.live

UNIT = Path(__file__).parents[2] / "auditor" / "deploy" / "local.service"


def learnt(host: DockerHost, *before: str) -> dict[str, Any]:
    """Run the audit's whole script in the host, as its root, behind some words."""
    facts = Selection().resolve(packaged_library()).needs("host") | HOST_ALWAYS
    script, ordered = compose(facts, "feed", 60)
    stdout = host.run(*before, "sh", "-c", "exec 2>/run/said; exec sh -s root", stdin=script, check=False)
    stderr = host.run("cat", "/run/said")
    return answers.facts_of(answers.split(stdout.encode(), stderr.encode(), "feed"), ordered)


def test_the_capabilities_of_the_unit_are_enough(docker_host: DockerHost) -> None:
    if not shutil.which("setpriv"):
        pytest.skip("setpriv (util-linux) takes capabilities away")
    named = re.search(r"^CapabilityBoundingSet=(.+)$", UNIT.read_text(), re.MULTILINE)
    assert named
    kept = [f"+{c.removeprefix('CAP_').lower()}" for c in named[1].split()]
    less = ("setpriv", "--inh-caps=-all", "--no-new-privs", f"--bounding-set={','.join(['-all', *kept])}")
    everything = lasting(learnt(docker_host))
    assert len(everything) > 60
    assert lasting(learnt(docker_host, *less)) == everything
    assert lasting(learnt(docker_host, *less[:3], "--bounding-set=-all")) != everything
