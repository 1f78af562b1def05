"""What every test is kept from, and in which order the files of tests come."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Wall time says how busy the machine is, with another test process beside this one. What must be fast is held to CPU time.
# The same inputs at every run, so that what turns a test red is a change; `--hypothesis-profile search` and the fuzzer look for more.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("tests", settings.get_profile("search"), derandomize=True, database=None)
settings.load_profile("tests")


@pytest.fixture(scope="session", autouse=True)
def own_configuration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Have programs that take over our environment keep their key where the tests' other files are."""
    folder = tmp_path_factory.mktemp("config")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "XDG_CONFIG_HOME", str(folder))
        yield folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long: the last ones are short then, and no test process waits for another at the end."""
    long = {item.path for item in items if item.get_closest_marker("live") or item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)
