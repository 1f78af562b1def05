"""What a control says of itself about how it is decided, against its evidence cases."""

import pytest

from auditor.catalogue import packaged
from auditor.listing import show_benchmark, show_benchmarks
from auditor.model import Decided
from checks import check_types
from checks.manual import Manual
from tests.test_cases import CASES, CONTROLS

LIBRARY = packaged(check_types())


def verdicts(key: str, *, tailored: bool) -> set[str]:
    return {case["expect"] for k, case in CASES if k == key and bool(case.get("parameters")) == tailored}


@pytest.mark.parametrize("key", sorted(k for k, (_, c) in CONTROLS.items() if c.decided is Decided.AUTOMATIC))
def test_automatic(key: str) -> None:
    """Evidence alone gives both verdicts."""
    assert {"pass", "fail"} <= verdicts(key, tailored=False)
    assert not isinstance(CONTROLS[key][1].check, Manual)


@pytest.mark.parametrize("key", sorted(k for k, (_, c) in CONTROLS.items() if c.decided is not Decided.AUTOMATIC))
def test_not_automatic(key: str) -> None:
    """Some evidence decides nothing without more, and then the facts are shown."""
    assert "manual" in verdicts(key, tailored=False)


@pytest.mark.parametrize("key", sorted(k for k, (_, c) in CONTROLS.items() if c.decided is Decided.WITH_POLICY))
def test_with_policy(key: str) -> None:
    """There is something to set, and setting it gives both verdicts where evidence alone doesn't."""
    assert CONTROLS[key][1].parameters
    assert {"pass", "fail"} <= verdicts(key, tailored=True) | verdicts(key, tailored=False)
    assert {"pass", "fail"} & verdicts(key, tailored=True)


def test_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Every control is counted once, and every kind is explained."""
    show_benchmarks(LIBRARY)
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if line.startswith(("cis-", "cluster-"))]
    assert {(name, version) for name, version, *_ in rows} == set(LIBRARY.contents)
    for _, _, total, covered, *kinds in rows:
        assert sum(map(int, kinds)) == int(covered) <= int(total)
    assert sum(line.startswith(("automatic: ", "policy: ", "records: ", "person: ")) for line in lines) == len(Decided)


def test_shown(capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = LIBRARY.load("cis-docker")
    show_benchmark(benchmark)
    out = " ".join(capsys.readouterr().out.split())
    assert " records " in out
    assert f"{len(benchmark.controls)} of the" in out
