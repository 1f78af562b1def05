"""Engines 20.10 to 29, and podman's socket: the same containers get the same verdicts, whatever the version leaves out."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from auditor.catalogue import packaged
from auditor.engine import judge
from auditor.facts.docker import Engine, reduce
from auditor.model import Benchmark, Evidence, Finding, Problem, Reason, Target
from auditor.transports.docker import NO_HOST
from checks import check_types
from tests.support import derived

DERIVED = {name: json.loads((derived.FOLDER / name).read_text()) for name in sorted(derived.derive())}
VERSIONS = {
    "engine-20.10": derived.base(),
    **{n.removesuffix("-derived.json"): d for n, d in DERIVED.items() if n != "podman-derived.json"},
}
PODMAN = DERIVED["podman-derived.json"]
LIBRARY = packaged(check_types())
DOCKER: Benchmark = LIBRARY.load("cis-docker")
PROCESS = {"pid": 7, "name": "dockerd", "exe": "/usr/bin/dockerd", "args": ["-H", "unix:///run/docker.sock"], "uid": 0, "started": 1000,
           "contained": False, "namespace": "same", "environ": {}}  # fmt: skip
CONTROLS = {c.key: c for c in DOCKER.controls if any(isinstance(f, Engine) for f in c.check.needs())}


def raw(document: Any) -> bytes:
    return json.dumps(document).encode()


def facts(documents: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a host with one engine that says this; the host's own files are not told."""
    containers = [reduce("containers", raw(c)) for c in documents["containers"]]
    for container in containers:
        if container["State"]["Running"]:
            container["proc"] = documents["proc"][container["Id"]]
    reduced = {
        **{d: reduce(d, raw(documents[d])) for d in ("info", "version", "networks", "volumes")},  # type: ignore[arg-type]
        "containers": containers,
        "images": [reduce("images", raw(i)) for i in documents["images"]],
    }
    known = {f"engine:{name}": [{"engine": "unix:///run/docker.sock", "pid": 7, "data": data}] for name, data in reduced.items()}
    for control in DOCKER.controls:
        for fact in control.check.needs():
            known.setdefault(fact.key, [{"pid": 7, "documents": []}] if fact.key.startswith("config:dockerd") else NO_HOST)
    return {**known, "processes": [PROCESS]}


def findings(told: Mapping[str, Any]) -> dict[str, Finding]:
    chosen = Benchmark(DOCKER.name, DOCKER.version, "", tuple(CONTROLS.values()), len(CONTROLS), "")
    return {f.control: f for f in judge([chosen], Evidence(Target("host", "ssh"), "", told))}


def seen(finding: Finding) -> tuple[str, dict[str, str]]:
    return str(finding.status), {o.subject: str(o.status) for o in finding.observations}


FOUND = {version: findings(facts(documents)) for version, documents in VERSIONS.items()}

#: Control -> what is expected of each subject, the same for every version. Others are compared with 20.10 only.
EXPECTED: dict[str, dict[str, str]] = {
    "docker-container-privileged": {"created": "pass", "good": "pass", "hostnet": "pass", "priv": "fail"},
    "docker-container-host-network": {"created": "pass", "good": "pass", "hostnet": "fail", "priv": "fail"},
    "docker-container-memory": {"created": "fail", "good": "pass", "hostnet": "fail", "priv": "fail"},
    "docker-container-cpu-shares": {"created": "fail", "good": "pass", "hostnet": "fail", "priv": "fail"},
    "docker-container-pids-limit": {"created": "fail", "good": "pass", "hostnet": "fail", "priv": "fail"},
    "docker-container-user": {"good": "pass", "hostnet": "pass"},
    "docker-container-engine-socket": {"created": "fail", "good": "pass", "hostnet": "pass", "priv": "pass"},
    "docker-container-no-new-privileges": {"created": "fail", "good": "pass", "hostnet": "fail", "priv": "fail"},
}
#: Where a version makes a difference, and why.
_OLD = ("engine-23.0", "engine-24.0", "engine-25.0", "engine-26.1", "engine-27.5", "engine-28.5")
DIFFERENT: dict[str, dict[str, str]] = {
    "docker-engine-version": dict.fromkeys(_OLD, "fail"),  # 20.10 here is a distribution's own package, which that one supports
    "docker-data-root-mount": {"engine-29.1": "error"},  # images are in containerd's root now, which counts as well
}


def test_documents_are_what_is_documented() -> None:
    """The files are those that the changes make: run ``python -m tests.support.derived``."""
    for name, documents in derived.derive().items():
        assert (derived.FOLDER / name).read_text() == derived.text(documents), name
        assert documents["header"].startswith("Derived, not recorded")


@pytest.mark.parametrize("version", VERSIONS)
def test_no_check_stumbles(version: str) -> None:
    broken = [f"{f.control}: {o.actual}" for f in FOUND[version].values() for o in f.observations if "the check failed" in o.actual]
    assert broken == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("control", EXPECTED)
def test_expected_verdict(version: str, control: str) -> None:
    expected = {f"container/{name}": status for name, status in EXPECTED[control].items()}
    assert seen(FOUND[version][control])[1] == expected


@pytest.mark.parametrize("version", list(VERSIONS)[1:])
@pytest.mark.parametrize("control", sorted(CONTROLS))
def test_same_verdict_as_before(version: str, control: str) -> None:
    """What the recorded engine gets, its successors get for the same configuration."""
    status, subjects = seen(FOUND[version][control])
    expected = DIFFERENT.get(control, {}).get(version)
    if expected is not None:
        assert status == expected, FOUND[version][control]
    else:
        assert (status, subjects) == seen(FOUND["engine-20.10"][control]), FOUND[version][control]


@pytest.mark.parametrize("version", VERSIONS)
def test_image_without_a_user(version: str) -> None:
    """From API 1.52 on an image that sets no user has no such field, which means root as before."""
    documents = copy.deepcopy(VERSIONS[version])
    for image in documents["images"]:
        image["Config"].pop("User", None)
    for container in documents["containers"]:
        container["Config"]["User"] = ""
    for proc in documents["proc"].values():
        proc["Uid"] = "0\t0\t0\t0"
    assert findings(facts(documents))["docker-container-user"].status == "fail"


def test_engine_wide_no_new_privileges() -> None:
    """From 24 on the engine tells that it is the default for every container."""
    documents = copy.deepcopy(VERSIONS["engine-24.0"])
    documents["info"]["SecurityOptions"].append("name=no-new-privileges")
    found = findings(facts(documents))
    assert found["docker-daemon-no-new-privileges"].status == "pass"
    assert FOUND["engine-24.0"]["docker-daemon-no-new-privileges"].status == "fail"


class TestPodman:
    """Podman answers on a socket of its own, with much that is fixed."""

    told: ClassVar[dict[str, Any]] = {**facts(PODMAN), "processes": NO_HOST}

    def test_as_a_url(self) -> None:
        """What podman fixes is no setting; containers are judged as everywhere."""
        found = findings(self.told)
        assert [f.control for f in found.values() for o in f.observations if "the check failed" in o.actual] == []
        assert found["docker-live-restore"].status == "not_applicable"
        assert "podman answers" in found["docker-live-restore"].reason
        for control in (
            "docker-daemon-experimental",
            "docker-daemon-authorization",
            "docker-engine-version",
            "docker-swarm-inactive",
        ):
            assert found[control].status == "not_applicable", control
        assert seen(found["docker-container-privileged"])[1]["container/priv"] == "fail"
        assert seen(found["docker-container-host-network"])[1]["container/hostnet"] == "fail"
        assert seen(found["docker-container-memory"])[1]["container/good"] == "pass"

    def test_on_a_host(self) -> None:
        """A host that runs podman alone has no engine: nothing of it is a Docker host's business."""
        told = {key: [] for key in self.told if key.startswith(("engine:", "config:"))}
        told["swarm"] = []
        process = {**PROCESS, "name": "podman", "exe": "/usr/bin/podman", "args": ["system", "service"]}
        found = findings({**told, "processes": [process]})
        decided = {f.control: (f.status, f.reason) for f in found.values() if f.status in ("pass", "fail")}
        assert decided == {}


@pytest.mark.parametrize("document", ["info", "version", "networks", "volumes"])
def test_nothing_is_a_pass_where_the_engine_is_silent(document: str) -> None:
    """Without one of its documents no control that reads it passes on a guess."""
    told = dict(facts(VERSIONS["engine-29.1"]))
    told[f"engine:{document}"] = Problem(Reason.TIMEOUT, "no answer")
    for control in CONTROLS.values():
        needed = {f.key for f in control.check.needs() if isinstance(f, Engine)}
        if needed == {f"engine:{document}"}:
            assert findings(told)[control.key].status != "pass", control.key
