"""docs/fixes.md says of every control what its fix is and whether it is proven: no control in two columns, none in none."""

from collections import Counter

import pytest

from auditor.model import Control
from tests.support import proofs
from tests.test_fixes import CONTROLS

FIXED = {key: control for key, control in CONTROLS.items() if control.remediation.fix}


@pytest.mark.parametrize("control", FIXED.values(), ids=FIXED)
def test_a_fix_is_proven_or_it_is_said_why_not(control: Control) -> None:
    places = [
        control.key in proofs.proven(),
        control.key in proofs.UNPROVEN,
        control.key in proofs.NOT_YET,
        proofs.by_hand(control),
    ]
    assert sum(places) == 1, "tests/support/proofs.py must say it once"


def test_the_lists_name_controls_with_a_fix_and_each_once() -> None:
    named = Counter(
        [*proofs.DOCKER_QUIET, *proofs.DOCKER_DISRUPTIVE, *proofs.NODE, *proofs.CLUSTER, *proofs.UNPROVEN, *proofs.NOT_YET]
    )
    assert set(named) <= set(FIXED)
    assert [key for key, count in named.items() if count > 1] == []
    assert set(proofs.ANSIBLE) <= set(proofs.proven())


def test_the_table_is_current() -> None:
    _, mark, written = proofs.DOCUMENT.read_text().partition(proofs.MARK)
    assert mark
    assert written == f"\n{proofs.table()}", "run: python -m tests.support.proofs"
