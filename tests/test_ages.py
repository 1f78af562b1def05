"""The age of failures, by evidence and by what people attest: in the history, the difference of two runs and reports."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reports
from auditor import evidence, listing, score
from auditor.audit import Judge, Selection
from auditor.catalogue import packaged
from auditor.diff import diff
from auditor.difftext import to_json
from auditor.model import AuditRun, Status
from auditor.past import Age
from auditor.registers import AttestationEntry, AttestationMark, Registers, State
from auditor.trends import failures, past_of
from checks import check_types
from tests.support import stores
from tests.test_history import run, saved

ROOT = Path(__file__).parent.parent
FAIL, PASS, ERROR = Status.FAIL, Status.PASS, Status.ERROR


@pytest.fixture(params=stores.KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return stores.new(request.param, tmp_path)


KEY = ("web-1", "cis-docker", "control-0")


def test_a_failure_is_as_old_as_its_last_break(url: str) -> None:
    with saved(
        url, run(1, FAIL), run(2, PASS), run(3, FAIL), run(4, ERROR), run(5, PASS, targets=("other",)), run(6, FAIL)
    ) as store:
        assert past_of(store, "run-06").ages == {KEY: Age("run-03", "2026-01-03T05:00:00Z", 2)}
        assert past_of(store, "run-03").ages == {KEY: Age("run-03", "2026-01-03T05:00:00Z", 1)}, "later runs are not its past"
        assert past_of(store, "run-02").ages == {}


def attested(n: int, *verdicts: str) -> AuditRun:
    """The ``n``th run, of manual controls, each attested by a person to the verdict given; with none they are left open."""
    made = run(n, *(Status.MANUAL for _ in verdicts))
    marks = [AttestationMark(f"a-{v}", v) if v else None for v in verdicts]
    entries = tuple(
        AttestationEntry(
            id=m.attestation, control=f.control, benchmark="", targets=(), groups=(), expires="2027-01-01", since="", until="", place="",
            state=State.IN_FORCE, verdict=m.verdict, by="A. Person", at="2026-01-01", statement="looked at it", evidence="", findings=1,
        )
        for f, m in zip(made.findings, marks, strict=True) if m
    )  # fmt: skip
    found = tuple(dataclasses.replace(f, attestation=m) for f, m in zip(made.findings, marks, strict=True))
    return dataclasses.replace(made, findings=found, scores=score.scores(found), registers=Registers(attestations=entries))


def test_what_a_person_attests_to_fail_is_a_failure_with_an_age(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    runs = (run(1, FAIL, PASS, PASS), attested(2, "fail", "fail", "pass"), attested(3, "fail", "fail", "pass"))
    with saved(url, *runs) as store:
        ages = past_of(store, "run-03").ages
        assert {c: (a.since[:10], a.runs) for (_, _, c), a in ages.items()} == {
            "control-0": ("2026-01-01", 3), "control-1": ("2026-01-02", 2),
        }  # fmt: skip
        found = failures(store, "run-03")
        assert [(d["control"], a.runs) for d, a in found] == [("control-0", 3), ("control-1", 2)]
        listing.show_failures(store.history()[0], found, 20)
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[:5] for line in lines[1:3]] == [
            ["2026-01-01", "2", "3", "high,", "attested"], ["2026-01-02", "1", "2", "high,", "attested"],
        ]  # fmt: skip
        assert lines[-1].startswith("2 failures in run run-03 of 2026-01-03T05:00:00Z, of which 2 are attested")
        since = {c["control"]: c["since"] for c in json.loads(to_json(diff(runs[1], runs[2], ages)))["changes"]}
        assert since == {
            "control-0": {"run": "run-01", "started": "2026-01-01T05:00:00Z", "runs": 3},
            "control-1": {"run": "run-02", "started": "2026-01-02T05:00:00Z", "runs": 2},
        }
        page = reports.render(store.load("run-03"), "html", reports.Options(past=past_of(store, "run-03"))).decode()
    data = json.loads(page.partition('<script type="application/json" id="data">')[2].partition("</script>")[0])
    assert [data["strings"][n] for n in data["since"].values()] == ["2026-01-01, 3 runs", "2026-01-02, 2 runs"]
    table = page.partition("<caption>Age of failures")[2].partition("</table>")[0]
    assert "2 of them are attested" in table
    assert re.findall(r'<th scope="row"[^>]*>([^<]*)</th>.*?<td class="num" data-label="High">(\d+)', table)[1] == (
        "up to 7 days",
        "2",
    )
    assert "failing since 2026-01-01, 3 runs" in page.partition('id="dangerous"')[2].partition("</section>")[0]


_VERDICTS = (FAIL, "fail", PASS, "pass", "", ERROR, None)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(_VERDICTS), min_size=1, max_size=8), st.sampled_from([FAIL, "fail"]))
def test_ages_of_evidence_and_attestations_against_the_plain_rule(verdicts: list[Status | str | None], last: Status | str) -> None:
    every = [*verdicts, last]

    def made(n: int, verdict: Status | str | None) -> AuditRun:
        if verdict is None:
            return run(n)
        return run(n, verdict) if isinstance(verdict, Status) else attested(n, verdict)

    with saved("sqlite://", *(made(n, v) for n, v in enumerate(every, 1))) as store:
        seen: list[int] = []
        for n in range(len(every), 0, -1):
            if every[n - 1] in (FAIL, "fail"):
                seen.append(n)
            elif every[n - 1] not in (None, ERROR):
                break
        run_id = f"run-{len(every):02}"
        assert past_of(store, run_id).ages == {KEY: Age(f"run-{seen[-1]:02}", f"2026-01-{seen[-1]:02}T05:00:00Z", len(seen))}
        assert [(d["control"], a.runs) for d, a in failures(store, run_id)] == [("control-0", len(seen))]


def under(made: AuditRun, name: str) -> AuditRun:
    """A run whose findings another benchmark has, under other numbers."""
    found = tuple(dataclasses.replace(f, benchmark=name, version="1", id=f"S.{n}") for n, f in enumerate(made.findings))
    return dataclasses.replace(made, findings=found, scores=score.scores(found))


def test_a_failure_keeps_its_age_under_another_benchmark(url: str) -> None:
    """What judged it is no change of what was audited; where its own benchmark judged too, that alone counts."""
    both = [*run(4, FAIL, FAIL).findings, *under(run(4, PASS, FAIL), "site").findings]
    runs = (under(run(1, FAIL, FAIL), "site"), under(run(2, FAIL, PASS), "site"), run(3, FAIL, FAIL))
    with saved(url, *runs, dataclasses.replace(run(4), findings=tuple(both)), run(5, FAIL, FAIL)) as store:
        ages = {key[1:]: (a.since[:10], a.runs) for key, a in past_of(store, "run-05").ages.items()}
        assert ages == {("cis-docker", "control-0"): ("2026-01-01", 5), ("cis-docker", "control-1"): ("2026-01-03", 3)}
        since = {key[1:]: a.since[:10] for key, a in past_of(store, "run-04").ages.items()}
        assert since == {("cis-docker", "control-0"): "2026-01-01", ("cis-docker", "control-1"): "2026-01-03",
                        ("site", "control-1"): "2026-01-03"}  # fmt: skip


@pytest.mark.parametrize("order", [("1.6.0", "1.8.0"), ("1.8.0", "1.6.0")])
@pytest.mark.parametrize(("worse", "since"), [(FAIL, "2026-01-01"), (ERROR, "2026-01-01"), (Status.MANUAL, "2026-01-03")])
def test_of_two_versions_in_one_run_the_worse_counts(order: tuple[str, str], worse: Status, since: str) -> None:
    found = [f for v in order for f in run(2, worse if v == "1.6.0" else PASS, version=v).findings]
    twice = dataclasses.replace(run(2), findings=tuple(found))
    with saved("sqlite://", run(1, FAIL), twice, run(3, FAIL)) as store:
        assert past_of(store, "run-03").ages[KEY].since[:10] == since


def test_failures_of_a_cluster_keep_their_age_when_kubernetes_is_upgraded(url: str) -> None:
    """The demo's cluster and node as they would be judged under other versions: every document has its own numbers."""
    library = packaged(check_types())

    def audited(n: int, version: str) -> AuditRun:
        judge = Judge(Selection(("cis-kubernetes",)).resolve(library), {})
        for name in ("cp-1", "shop"):
            found = evidence.load(ROOT / "auditor" / "demo" / f"{name}.evidence.json")
            said = json.loads(
                json.dumps({k: evidence.encode_answer(v) for k, v in found.facts.items()}).replace("v1.35.2", version)
            )
            judge.add(dataclasses.replace(found, facts={k: evidence.decode_answer(v) for k, v in said.items()}))
        day = f"2026-01-{n:02}T05:00:00Z"
        return dataclasses.replace(judge.run(["cp-1", "shop"]), id=f"run-{n:02}", started=day, finished=day, selection={"level": 2})

    runs = [audited(1, "v1.30.14"), audited(2, "v1.35.2"), audited(3, "v1.36.0")]
    assert [{f.version for f in r.findings if f.benchmark == "cis-kubernetes"} for r in runs] == [{"1.11"}, {"2.0.1"}, {"2.1"}]
    failed = [{(f.target, f.control): f.id for f in r.findings if f.status is FAIL} for r in runs]
    stayed = failed[0].keys() & failed[1].keys() & failed[2].keys()
    assert len(stayed) > 30
    assert any(failed[0][key] != failed[2][key] for key in stayed), "the same number would prove little"
    with saved(url, *runs) as store:
        ages = {(t, c): a.runs for (t, _, c), a in past_of(store, "run-03").ages.items()}
        assert ages.keys() == failed[2].keys()
        assert {key for key, n in ages.items() if n == 3} == stayed
        assert len(failures(store, "run-03")) == len(failed[2])
