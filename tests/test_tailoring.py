"""Tailoring files: a site's policy inputs, typed like the controls' own, and visible in the results."""

from pathlib import Path

import pytest

from auditor import tailoring
from auditor.catalogue import packaged
from auditor.engine import judge
from auditor.model import Evidence, Status, Target
from auditor.results import finding_document, finding_of
from auditor.yamlfile import InputError
from checks import check_types

INSPECT = {"Id": "a" * 64, "Name": "/web", "State": {"Status": "running", "Running": True}, "Config": {},
           "HostConfig": {"CapAdd": ["NET_ADMIN"], "CapDrop": [], "Privileged": False}}  # fmt: skip
FACTS = {"engine:containers": [{"engine": "unix:///run/docker.sock", "pid": None, "data": [INSPECT]}]}


def write(folder: Path, text: str) -> Path:
    path = folder / "tailoring.yaml"
    path.write_text(text)
    return path


def judged(path: Path | None):
    library = packaged(check_types())
    if path is not None:
        library = tailoring.load(library, path).library
    benchmark = library.load("cis-docker@1.6.0")
    findings = judge([benchmark], Evidence(Target("t", "ssh"), "", FACTS))
    return next(f for f in findings if f.control == "docker-container-capabilities")


def test_a_parameter_decides_and_is_shown(tmp_path: Path) -> None:
    assert judged(None).status is Status.FAIL
    assert not judged(None).tailored
    name = next(iter(judged(None).parameters))
    path = write(tmp_path, f"tailoring: 1\nparameters:\n  docker-container-capabilities: {{{name}: [NET_ADMIN]}}\n")
    finding = judged(path)
    assert finding.status is Status.PASS
    assert finding.tailored
    assert finding.parameters == {**judged(None).parameters, name: ["NET_ADMIN"]}
    assert finding_of(finding_document(finding)) == finding


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "tailoring: 1\nparameters: {docker-container-capabilitys: {}}\n",
            "2:44: there is no control 'docker-container-capabilitys'; did you",
        ),
        ("tailoring: 2\n", "1:12: this program reads tailoring files of version 1"),
        ("parameters: {}\n", "1:1: the key 'tailoring' is missing"),
        ("tailoring: 1\nparametrs: {}\n", "2:1: there is no key 'parametrs' here; did you mean 'parameters'?"),
        ("tailoring: 1\nparameters: {docker-container-capabilities: {nope: 1}}\n", "the control has no parameter 'nope'"),
        ("tailoring: 1\nparameters: {docker-container-capabilities: [x]}\n", "must be a mapping of parameters, not a list"),
        (
            "tailoring: 1\nparameters: {docker-container-capabilities: {allowed: NET_ADMIN}}\n",
            "2:55: must be a list, not text (NET_ADMIN)",
        ),
    ],
)
def test_a_mistake_is_named_at_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as raised:
        judged(write(tmp_path, text))
    assert said in str(raised.value)
    assert str(raised.value).startswith(str(tmp_path / "tailoring.yaml"))
