"""Answers of a form that nobody thought of: the target that gave them has failed, and no other is lost with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from auditor import evidence
from auditor.audit import Judge, Selection, consume, nodes_of
from auditor.catalogue import packaged
from auditor.cli import cli
from auditor.model import Evidence, Target
from auditor.progress import Quiet
from checks import check_types

DEMO = Path(__file__).parents[1] / "auditor" / "demo"
WHEN = "2026-11-21T09:00:00Z"
#: Name -> (transport, facts): a number that JSON can't hold, a program that is no object, a node whose parts are none.
ODD = {
    "number": ("ssh", {"engine:info": [{"engine": "unix:///x", "pid": 1, "data": {"NCPU": 10**5000}}]}),
    "program": ("ssh", {"processes": ["dockerd"]}),
    "node": ("kubernetes", {"server": {"gitVersion": "v1.36.2"}, "objects:nodes": [{"metadata": {"name": "n"}, "status": {"nodeInfo": [1]}}]}),
    "cluster with a node": ("kubernetes", {"server": {"gitVersion": "v1.36.2"}, "objects:nodes": ["n"]}),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_others_are_judged(name: str, tmp_path: Path) -> None:
    good = next(e for e in evidence.load_all(DEMO) if e.target.name == "web-1")
    transport, facts = ODD[name]
    target = Target(name, transport, nodes=("gone",) if name.startswith("cluster") else ())
    targets = [target, good.target]
    judge = Judge(Selection(only=("docker-live-restore",)).resolve(packaged(check_types())), {}, together=nodes_of(targets))
    unkept = consume([Evidence(target, WHEN, facts), good], judge, Quiet(), tmp_path)
    run = judge.run([t.name for t in targets])
    assert unkept == []
    assert [t.status for t in run.targets] == ["failed", "audited"]
    assert str(run.targets[0].error).startswith("unparsable: its answers can't be worked with (")
    assert {f.target for f in run.findings} == {"web-1"}
    assert len(list(tmp_path.iterdir())) == 2


def test_a_bundle_that_holds_them_is_no_traceback(tmp_path: Path) -> None:
    evidence.save(Evidence(Target("odd", "ssh"), WHEN, {"processes": ["dockerd"]}), tmp_path)
    words = ["evaluate", str(tmp_path), "-o", str(tmp_path / "out"), "--format", "json", "--no-sign"]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 3, done.output
    assert "its answers can't be worked with" in (tmp_path / "out" / "results.json").read_text()
