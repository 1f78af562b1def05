"""The test hosts that live tests share, started once a session."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reports import as_html
from tests.support.browser import ARGUMENTS, CHROMIUM, RUNS, visiting
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser of the tests' own."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        started = p.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The addresses of reports, by the names of their runs."""
    folder = tmp_path_factory.mktemp("reports")
    for name, run in RUNS.items():
        (folder / f"{name}.html").write_bytes(as_html.render(run()))
    return {name: f"file://{folder}/{name}.html" for name in RUNS}


@pytest.fixture
def visit(browser: Any, files: dict[str, str]) -> Iterator[Callable[..., Any]]:
    """Open a report by its run's name, at a place in it; it may ask for nothing and complain of nothing."""
    with visiting(browser, files) as open_:
        yield open_
