"""The Docker check types: parameters that can't be meant, and what no control uses yet."""

from typing import Any

import pytest

from auditor.model import Evidence, Status, Target
from checks.container import Container
from checks.container_access import EngineSocket, SensitiveMounts, plain_path
from checks.container_isolation import Capabilities, CpuWeight, declared_capabilities
from checks.container_namespaces import HostNamespace
from checks.docker_info import DockerInfo
from checks.expectation import Expect
from checks.image import Image, ImageUser

ON = Expect(equals=True)
URL = "unix:///run/docker.sock"


def evidence(**documents: Any) -> Evidence:
    return Evidence(
        Target("t", "ssh"), "", {f"engine:{d}": [{"engine": URL, "pid": 1, "data": data}] for d, data in documents.items()}
    )


@pytest.mark.parametrize(
    "make",
    [
        Container,
        lambda: Container(field="HostConfig.Privileged"),
        lambda: Container(expect=ON),
        lambda: Container(field="HostConfig.Privilege", expect=ON),
        lambda: Container(field="HostConfig.Privileged", expect=ON, cpu_weight=CpuWeight()),
        lambda: Container(cpu_weight=CpuWeight(), default=1),
        lambda: Container(cpu_weight=CpuWeight(), capabilities=Capabilities()),
        lambda: Capabilities(allowed=("CAP_NET_ADMIN",)),
        lambda: SensitiveMounts(allowed=("etc/localtime",)),
        lambda: EngineSocket(sockets=("containerd.sock",)),
        Image,
        lambda: Image(user=ImageUser(), field="Config.User", expect=ON),
        lambda: DockerInfo(document="networks", field="Options", expect=ON),
        lambda: DockerInfo(document="info", field="LiveRestoreEnabled", expect=ON, network="default_bridge"),
    ],
)
def test_what_can_not_be_meant_is_refused(make: Any) -> None:
    with pytest.raises(ValueError):
        make()


def bridge(icc: str) -> dict[str, Any]:
    return {
        "Id": "b",
        "Name": "bridge",
        "Options": {"com.docker.network.bridge.default_bridge": "true", "com.docker.network.bridge.enable_icc": icc},
    }


@pytest.mark.parametrize(("icc", "status"), [("false", Status.PASS), ("true", Status.FAIL)])
def test_an_option_of_the_default_bridge(icc: str, status: Status) -> None:
    other = {"Id": "o", "Name": "other", "Options": {"com.docker.network.bridge.enable_icc": "other"}}
    check = DockerInfo(
        document="networks",
        network="default_bridge",
        field='Options["com.docker.network.bridge.enable_icc"]',
        expect=Expect(equals="false"),
    )
    outcome = check.evaluate(evidence(networks=[other, bridge(icc)]))
    assert [(o.status, o.actual) for o in outcome.observations] == [(status, icc)]


def test_no_default_bridge_is_not_applicable() -> None:
    check = DockerInfo(document="networks", network="default_bridge", field="Options", expect=Expect(set=True))
    outcome = check.evaluate(evidence(networks=[]))
    assert outcome.status is Status.NOT_APPLICABLE
    assert outcome.reason == "the engine has no default bridge network"


@pytest.mark.parametrize(("user", "status"), [("", "fail"), ("0:0", "fail"), ("+0", "fail"), ("1000", "pass"), ("app", "error")])
def test_an_images_user(user: str, status: str) -> None:
    (seen,) = (
        Image(user=ImageUser())
        .evaluate(evidence(images=[{"Id": "sha256:a", "RepoTags": ["a:1"], "Config": {"User": user}}]))
        .observations
    )
    assert seen.status == status


@pytest.mark.parametrize(
    ("namespace", "field", "mode", "status"),
    [
        ("pid", "PidMode", "host", "fail"), ("pid", "PidMode", "", "pass"), ("pid", "PidMode", "container:gate", "fail"),
        ("ipc", "IpcMode", "private", "pass"), ("ipc", "IpcMode", "container:gate", "fail"), ("ipc", "IpcMode", None, "error"),
        ("uts", "UTSMode", "host", "fail"), ("uts", "UTSMode", "", "pass"), ("user", "UsernsMode", "host", "fail"), ("user", "UsernsMode", "", "pass"),
    ],
)  # fmt: skip
def test_the_other_namespaces(namespace: Any, field: str, mode: str | None, status: str) -> None:
    shape = {"State": {"Running": True}, "Config": {}}
    gate = {**shape, "Id": "g" * 64, "Name": "/gate", "HostConfig": {field: "host"}}
    web = {**shape, "Id": "w" * 64, "Name": "/web", "HostConfig": {} if mode is None else {field: mode}}
    outcome = Container(host_namespace=HostNamespace(namespace=namespace)).evaluate(evidence(containers=[gate, web]))
    assert {o.subject: o.status for o in outcome.observations} == {"container/gate": "fail", "container/web": status}


def one(host: dict[str, Any], **more: Any) -> Evidence:
    return evidence(
        containers=[{"Id": "w" * 64, "Name": "/web", "State": {"Running": False}, "Config": {}, "HostConfig": host, **more}],
        volumes=[],
    )


def test_parameters_widen_and_narrow() -> None:
    admin = one({"Privileged": False, "CapAdd": ["SYS_TIME"]})
    assert Container(capabilities=Capabilities(allowed=("SYS_TIME",))).evaluate(admin).status is Status.PASS
    plain = one({"Privileged": False})
    assert Container(capabilities=Capabilities(denied=("NET_RAW",))).evaluate(plain).status is Status.FAIL
    dropped = one({"Privileged": False, "CapDrop": ["NET_RAW"]})
    assert Container(capabilities=Capabilities(denied=("NET_RAW",))).evaluate(dropped).status is Status.PASS
    quota = one({"CpuShares": 0, "NanoCpus": 1})
    assert Container(cpu_weight=CpuWeight()).evaluate(quota).status is Status.FAIL
    clock = one({"Binds": ["/etc/localtime:/etc/localtime:ro"]})
    assert Container(sensitive_mounts=SensitiveMounts()).evaluate(clock).status is Status.FAIL
    assert Container(sensitive_mounts=SensitiveMounts(allowed=("/etc/localtime",))).evaluate(clock).status is Status.PASS
    other = one({"Binds": ["/run/containerd:/x"]})
    assert Container(engine_socket=EngineSocket(sockets=("/run/containerd/containerd.sock",))).evaluate(other).status is Status.FAIL


def test_capabilities_add_up_as_the_engine_adds_them() -> None:
    assert declared_capabilities(["all"], ["ALL"]) == declared_capabilities(["ALL"], [])
    assert declared_capabilities([], ["ALL"]) == set()
    assert declared_capabilities(["NET_RAW"], ["cap_net_raw"]) == declared_capabilities([], [])


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("/var/run", "/run"),
        ("/var/run/docker.sock", "/run/docker.sock"),
        ("/var/runner", "/var/runner"),
        ("//etc/./x/..", "/etc"),
        ("/", "/"),
        ("/a/", "/a"),
    ],
)
def test_paths_are_compared_plain(path: str, plain: str) -> None:
    assert plain_path(path) == plain
