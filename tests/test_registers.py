"""Tailoring, waivers and attestations from the command line to every report, on the evidence that ships with the program."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pypdf
import pytest

import reports
from auditor.model import AuditRun, Counts, Score
from auditor.registers import AttestationEntry, AttestationMark, Change, Registers, State, WaiverEntry, WaiverMark
from auditor.results import run_of, to_json
from auditor.score import adjusted_score_of, coverage_of, score_of, scores
from auditor.summary import show
from reports.build import build
from tests.support import sample_run
from tests.support.pdf import squeezed
from tests.test_cli import auditor, results
from tests.test_results import validator

TAILORING = """\
tailoring: 1
files: [own.yaml, shop.yaml]
benchmarks:
  - benchmark: cis-docker
    exclude:
      - {control: docker-live-restore, reason: Hosts are rebuilt instead}
overrides:
  - {control: docker-container-capabilities, targets: ["web-*"], parameters: {allowed: [NET_ADMIN]}, reason: They are routers}
attestations:
  - {control: shop-asked, targets: ["*"], verdict: fail, by: Kim Stone, at: 2020-01-01, statement: Nobody asked, evidence: MIN-7,
     expires: 2999-12-31}
"""
WAIVERS = """\
register: 1
waivers:
  - {id: W-ALL, control: 5.5@cis-docker@1.8.0, targets: ["web-*"], reason: Until the builders are there, owner: Jo, approver: Kim,
     ticket: SEC-1, expires: 2999-12-31}
  - {id: W-PART, control: docker-container-memory-limit, targets: ["*"], subjects: ["container/bad"], reason: Small, owner: Jo,
     approver: Kim, expires: 2999-12-31}
  - {id: W-OLD, control: docker-container-socket, targets: ["*"], reason: Old, owner: Jo, approver: Kim, expires: 2020-02-29}
  - {id: W-SOON, control: docker-container-socket, targets: ["*"], reason: Soon, owner: Jo, approver: Kim, starts: 2999-01-01,
     expires: 2999-12-31}
  - {id: W-NONE, control: docker-container-socket, targets: [nobody], reason: None, owner: Jo, approver: jo, expires: 2999-12-31}
"""
OWN = """\
- key: shop-asked
  title: Somebody has asked the shop
  severity: high
  target: docker-host
  rationale: Because.
  check: {manual: {question: Was it asked?}}
  decided: by_person
  remediation: {text: Ask.}
"""
SHOP = """\
benchmark: shop
version: "1"
title: Shop rules
controls_total: 1
controls:
  - {id: "1.1", control: shop-asked, level: 1, assessment: manual}
"""
OPTIONS = ("--tailoring", "t.yaml", "--waivers", "w.yaml", "--no-store")


def key_of(number: str) -> str:
    from auditor.catalogue import packaged
    from checks import check_types

    return next(c.key for c in packaged(check_types()).load("cis-docker@1.8.0").controls if c.id == number)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    waivers = WAIVERS.replace("docker-container-memory-limit", key_of("5.11")).replace("docker-container-socket", key_of("5.32"))
    for name, text in (("t.yaml", TAILORING), ("w.yaml", waivers), ("own.yaml", OWN), ("shop.yaml", SHOP)):
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def audited(site: Path) -> str:
    wanted = ("docker-container-privileged", "docker-container-capabilities", "shop-asked", "5.11", "5.32", "5.10", "5.9", "3.5")
    only = [word for control in wanted for word in ("--only", control)]
    done = auditor(site, "audit", "--demo", *OPTIONS, *only, "-o", "out", "--format", "json,html,pdf,markdown")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_results_hold_marks_and_registers(site: Path, audited: str) -> None:
    document = results(site / "out")
    assert [e.message for e in validator().iter_errors(document)] == []
    registers = document["run"]["registers"]
    assert {w["id"]: w["state"] for w in registers["waivers"]} == {
        "W-ALL": "in force", "W-PART": "in force", "W-OLD": "expired", "W-SOON": "not yet valid", "W-NONE": "matches nothing",
    }  # fmt: skip
    assert [(a["id"], a["state"], a["findings"]) for a in registers["attestations"]] == [("A1", "in force", 2)]
    assert {c["what"] for c in registers["tailoring"]} == {"own benchmark", "excluded", "parameter"}
    by = {(f["target"], f["benchmark"], f["control"]): f for f in document["findings"]}
    privileged = by["web-1", "cis-docker", "docker-container-privileged"]
    assert (privileged["status"], privileged["waiver"]) == ("fail", {"waivers": ["W-ALL"], "complete": True, "subjects": []})
    part = by["web-1", "cis-docker", key_of("5.11")]
    assert part["status"] == "fail"
    assert (part["waiver"]["complete"], part["waiver"]["subjects"]) == (False, ["container/bad"])
    assert by["web-1", "shop", "shop-asked"]["attestation"] == {"attestation": "A1", "verdict": "fail"}
    assert by["web-1", "shop", "shop-asked"]["status"] == "manual"
    assert by["web-1", "cis-docker", "docker-container-capabilities"]["tailored"]
    assert not by["cp-1", "cis-docker", "docker-container-capabilities"]["tailored"]
    (docker,) = (s for s in document["scores"] if (s["target"], s["benchmark"]) == ("web-1", "cis-docker"))
    assert docker["counts"]["waived"] == 1
    assert docker["score"] < docker["adjusted"]["score"]
    assert len(document["run"]["selection"]["tailoring"]) == 4
    assert all("(SHA-256 " in name for name in document["run"]["selection"]["tailoring"])


def test_the_summary_says_what_needs_a_look(audited: str) -> None:
    text = " ".join(audited.split())
    for words in (
        "[waived: W-ALL]", "tailoring: 3 changes from the defaults", "waivers: 2 in force, 1 expired, 1 not yet valid, 1 matches nothing",
        "1 failure waived, 1 more in part", "0 findings attested pass, 2 fail", "waiver W-OLD", "expired: it would cover 1 failure", "waiver W-NONE",
        "no target of this run is one that it means; its owner approved it", "score with waivers and attestations = 100 x",
        "cis-docker 1.8.0: 7 of 118 controls (1 left out by tailoring, 110 left out by --only)",
    ):  # fmt: skip
        assert words in text, words


def test_means_are_of_each_benchmark_alone_and_twice_where_people_decided(audited: str, capsys: pytest.CaptureFixture[str]) -> None:
    printed = [" ".join(line.split()) for line in audited.splitlines() if line.startswith("mean of")]
    assert printed == [
        "mean of 2 shop 1 - 0.0", "mean of 2 targets shop 1 with waivers and attestations: 0.0 % score, 100.0 % coverage",
    ]  # fmt: skip
    counts = {"a": Counts(1, 3), "b": Counts(1, 1), "c": Counts(not_applicable=9)}
    scored = [Score(n, "one", "1", score_of(c), coverage_of(c), c) for n, c in counts.items()]
    other = Score("a", "two", "1", 100.0, 100.0, Counts(5))
    show(dataclasses.replace(sample_run.single(), scores=(*scored, other)), [], [])
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.startswith("mean of")]
    assert printed == ["mean of 2 one 1 37.5 100.0"], "a target counts once, and not where nothing applies to it"


def test_the_markdown_summary_says_what_was_left_out(site: Path, audited: str) -> None:
    text = (site / "out" / "summary.md").read_text()
    assert "- `cis-docker 1.8.0`: looked at 7 of 118 controls (1 left out by tailoring, 110 left out by --only).\n" in text
    assert "`shop 1`: looked" not in text


SAID = (
    "W-ALL", "Until the builders are there", "SEC-1", "approved by Kim", "2999-12-31", "W-OLD", "it would cover 1 failure", "W-SOON",
    "not yet valid", "W-NONE", "its owner approved it", "A1", "Nobody asked", "MIN-7", "Kim Stone", "They are routers",
    "Hosts are rebuilt instead", 'allowed: ["NET_ADMIN"]', "With waivers and attestations", "Attested fail", "Waived in part",
    "score with waivers and attestations = 100 x (pass + attested_pass)", "A waived failure stays a failure",
)  # fmt: skip


def test_html_says_all_of_it(site: Path, audited: str) -> None:
    import html

    text = html.unescape((site / "out" / "report.html").read_text())
    for words in SAID:
        assert words in text, words


def test_pdf_says_all_of_it(site: Path, audited: str) -> None:
    reader = pypdf.PdfReader(site / "out" / "report.pdf")
    text = squeezed((site / "out" / "report.pdf").read_bytes())
    for words in SAID:
        assert "".join(words.split()) in text, words
    assert "Tailoring, waivers and attestations" in [o.title for o in reader.outline if not isinstance(o, list)]


def test_a_report_without_any_says_so() -> None:
    run = sample_run.single()
    for words in ("Nothing was tailored: every default is in force.", "None was given.", "None marks a finding of this run"):
        assert words in reports.render(run, "html").decode()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--only", "docker-container-privileged", "--fail-on", "critical"], 0, ""),
        (["--only", "docker-container-privileged", "--fail-on", "critical", "--limit-waivers"], 2, "No such option"),
        (["--benchmark", "shop", "--fail-on", "high"], 1, "--fail-on high: 2 failures of that severity or worse"),
        (["--benchmark", "shop", "--fail-on", "critical"], 0, ""),
        (["--benchmark", "shop", "--min-coverage", "100"], 0, ""),
        (["--benchmark", "shop", "--min-score", "1"], 1, "has a score of 0.0 on shop"),
    ],
)
def test_gates_count_what_people_decided(site: Path, options: list[str], code: int, said: str) -> None:
    done = auditor(site, "audit", "--demo", *OPTIONS, "-o", "gates", "--format", "json", *options)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout + done.stderr


def test_what_is_left_out_is_not_judged(site: Path) -> None:
    done = auditor(site, "audit", "--demo", *OPTIONS, "-o", "gates", "--format", "json", "--only", "docker-live-restore")
    assert done.returncode == 2
    assert "'docker-live-restore' is in none of the selected benchmarks, or the tailoring file leaves it out" in done.stderr


def test_without_the_waiver_the_gate_fails(site: Path) -> None:
    done = auditor(site, "audit", "--demo", "--no-store", "-o", "gates", "--format", "json", "--only", "docker-container-privileged",
                   "--fail-on", "critical")  # fmt: skip
    assert done.returncode == 1


def test_nothing_is_audited_with_half_of_a_file(site: Path, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("tailoring: 1\nparameters: {docker-live-restor: {}}\nwaivers: [{}]\n")
    (tmp_path / "w.yaml").write_text("register: 1\nwaiver: []\n")
    done = auditor(tmp_path, "audit", "--demo", *OPTIONS, "-o", "out")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert "t.yaml:2:34: there is no control 'docker-live-restor'; did you mean 'docker-live-restore'?" in lines
    assert "t.yaml:3:11: the key 'approver' is missing" in lines
    assert "w.yaml:2:1: there is no key 'waiver' here; did you mean 'waivers'?" in lines
    assert not (tmp_path / "out").exists()
    lint = auditor(tmp_path, "tailoring", "lint", "t.yaml", "w.yaml")
    assert (lint.returncode, lint.stderr) == (2, done.stderr)


def test_init_lint_and_show(site: Path, tmp_path: Path) -> None:
    assert auditor(tmp_path, "tailoring", "init", "mine.yaml").returncode == 0
    assert auditor(tmp_path, "tailoring", "init", "mine.yaml").returncode == 2, "nothing is overwritten"
    assert auditor(tmp_path, "tailoring", "init").stdout == (tmp_path / "mine.yaml").read_text()
    assert auditor(tmp_path, "tailoring", "lint", "mine.yaml").stdout == "1 file without a mistake\n"
    assert "none, every default is in force" in auditor(tmp_path, "tailoring", "show", "mine.yaml").stdout
    shown = auditor(site, "tailoring", "show", "t.yaml", "w.yaml").stdout
    for words in (
        'parameter docker-container-capabilities, targets web-*: allowed: ["NET_ADMIN"] (default allowed: [])', "They are routers (t.yaml:8)",
        "W-ALL docker-container-privileged of cis-docker@1.8.0 on web-*: until 2999-12-31", "A1 shop-asked on *: fail",
        "cis-docker@1.8.0: 117 of 118 controls are judged", "shop@1: 1 of 1 controls",
    ):  # fmt: skip
        assert words in shown, words
    assert auditor(site, "tailoring", "show", "t.yaml", "t.yaml").returncode == 2


def test_a_stored_run_keeps_its_registers(site: Path) -> None:
    options = [o for o in OPTIONS if o != "--no-store"]
    assert auditor(site, "audit", "--demo", *options, "-o", "kept", "--format", "json", "--quiet").returncode == 0
    assert auditor(site, "report", "-o", "again", "--format", "json").returncode == 0
    assert results(site / "again") == results(site / "kept")


def marked() -> AuditRun:
    """The small sample with marks of every kind."""
    run = sample_run.small()
    findings = []
    for n, f in enumerate(run.findings):
        if f.status.value == "fail":
            mark = WaiverMark(("W1",), True) if n % 2 else WaiverMark(("W1", "W2"), False, (f.observations[0].subject,))
            findings.append(dataclasses.replace(f, waiver=mark))
        elif f.status.value == "manual":
            findings.append(dataclasses.replace(f, attestation=AttestationMark("A1", "pass" if n % 2 else "fail")))
        else:
            findings.append(f)
    hostile = "<script>alert(1)</script> \x1b[31m \u202e"
    common: dict[str, Any] = {"control": "k", "benchmark": "cis-docker", "targets": ("*",), "groups": ("prod",), "expires": "2026-12-31",
                              "until": "2027-01-01T00:00:00Z", "state": State.IN_FORCE}  # fmt: skip
    waivers = tuple(
        WaiverEntry(**common, id=w, since="", place="w.yaml:3", subjects=("container/*",), reason=hostile, owner="o", approver="p",
                    ticket="", starts="", waived=3, partly=2) for w in ("W1", "W2")
    )  # fmt: skip
    entry = AttestationEntry(**common, id="A1", since="2026-01-01T00:00:00Z", place="w.yaml:9", verdict="pass", by=hostile,
                             at="2026-01-01", statement=hostile, evidence="e", findings=2)  # fmt: skip
    change = Change("parameter", "k", "everywhere", "a: 1", hostile, hostile, "t.yaml:3")
    return dataclasses.replace(
        run, findings=tuple(findings), scores=scores(findings), registers=Registers((change,), waivers, (entry,))
    )


def test_marks_come_back_as_they_were() -> None:
    run = marked()
    document = json.loads(to_json(run))
    assert [e.message for e in validator().iter_errors(document)] == []
    back = run_of(document)
    assert (back.findings, back.registers) == (run.findings, run.registers)
    assert [s.counts for s in back.scores] == [s.counts for s in run.scores]


def test_results_of_an_earlier_version_are_still_read() -> None:
    document = json.loads(to_json(sample_run.small()))
    del document["run"]["registers"]
    for score in document["scores"]:
        del score["attested"], score["adjusted"]
    assert validator().is_valid(document)
    back = run_of(document)
    assert not back.registers
    assert [s.counts for s in back.scores] == [s.counts for s in sample_run.small().scores]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d["findings"][0].update(waiver={}),
        lambda d: d["findings"][0].update(waiver={"waivers": [], "complete": True, "subjects": []}),
        lambda d: d["findings"][0].update(attestation={"attestation": "A1", "verdict": "maybe"}),
        lambda d: d["run"]["registers"]["waivers"][0].update(state="fine"),
        lambda d: d["run"]["registers"]["waivers"][0].pop("owner"),
        lambda d: d["run"]["registers"].pop("attestations"),
        lambda d: d["scores"][0]["adjusted"].update(score=101),
    ],
)
def test_the_schema_refuses(spoil) -> None:
    document = json.loads(to_json(marked()))
    spoil(document)
    with pytest.raises(jsonschema.ValidationError):
        validator().validate(document)


def test_the_figures_are_the_same_everywhere() -> None:
    """Findings, controls, targets, benchmarks and results count alike."""
    run = marked()
    view = build(run)
    waived = sum(f.waiver is not None and f.waiver.complete for f in run.findings)
    attested = sum(f.attestation is not None for f in run.findings)
    assert waived
    assert attested
    for counts in (
        [view.counts],
        [c.counts for c in view.controls],
        [t.counts for t in view.targets],
        [b.counts for b in view.benchmarks],
        [s.counts for s in run.scores],
    ):
        assert sum(c.waived for c in counts) == waived
        assert sum(c.attested_pass + c.attested_fail for c in counts) == attested
        assert sum(c.total for c in counts) == len(run.findings)
    for b in view.benchmarks:
        (single, *_) = b.scores
        assert single.score == score_of(single.counts)
        assert adjusted_score_of(single.counts) is not None
    assert sum(len(g.targets) for groups in view.marked.values() for _, g in groups if not g.waiver or g.waiver.complete) >= waived


def test_what_people_wrote_is_hostile_too() -> None:
    run = marked()
    page = reports.render(run, "html").decode()
    assert "<script>alert(1)" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    text = squeezed(reports.render(run, "pdf"))
    assert "<script>alert(1)</script>" in text
