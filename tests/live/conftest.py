"""The test hosts that live tests share, started once a session."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.support.engine import DockerHost
from tests.support.fixing_script import DUE
from tests.support.host import TestHost, why_not
from tests.support.kube_node import KubeNode


@pytest.fixture(scope="session")
def needs_hosts() -> None:
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def needs_docker(needs_hosts: None) -> None:
    if missing := [tool for tool in ("dockerd", "containerd", "runc", "docker") if not shutil.which(tool)]:
        pytest.skip("a Docker test host needs " + ", ".join(missing))


@pytest.fixture(scope="session")
def bare_host(needs_hosts: None) -> Iterator[TestHost]:
    """A host that runs neither an engine nor a kubelet."""
    with TestHost() as host:
        yield host


@pytest.fixture(scope="module")
def busybox_host(needs_hosts: None) -> Iterator[TestHost]:
    """A host on which sh is busybox and there is no Python, for the tests of one file."""
    with TestHost(shell="busybox") as host:
        yield host


@pytest.fixture
def fixed_host(busybox_host: TestHost) -> TestHost:
    """A host for scripts of fixes, on which none left anything to be done."""
    busybox_host.remove(DUE)
    return busybox_host


@pytest.fixture(scope="session")
def docker_host(needs_docker: None) -> Iterator[DockerHost]:
    """A Docker host as it comes, with its six containers. Tests that change it start their own."""
    with DockerHost() as host:
        yield host


@pytest.fixture
def kube_node(needs_hosts: None) -> Iterator[KubeNode]:
    """A control plane that a test may change."""
    with KubeNode() as host:
        yield host
