"""Which version of the Kubernetes benchmark judges what: by the published table, and never silently where that doesn't fit."""

import html as markup
import json
import os
import re
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditor.audit import Judge, Selection
from auditor.catalogue import lint, packaged
from auditor.facts import answers
from auditor.facts.node import KubernetesVersion
from auditor.facts.script import compose
from auditor.model import AuditRun, BenchmarkInfo, Evidence, Problem, Reason, Target, TargetStatus
from auditor.results import run_of, to_document
from auditor.versions import Running, choose, fits, minor_of, running_of
from checks import check_types
from tests.support.kube_node import waiting_program
from tests.support.pdf import squeezed

LIBRARY = packaged(check_types())
NAME = "cis-kubernetes"
EDITIONS = LIBRARY.editions(NAME)
UNKNOWN = Problem(Reason.DENIED, "root is needed")


def cluster(version: str, *nodes: str, name: str = "shop") -> Evidence:
    return Evidence(Target(name, "kubernetes", nodes=nodes), "", {"server": {"gitVersion": version}})


def node(version: str = "", name: str = "cp-1", program: str = "kubelet", **more: Any) -> Evidence:
    process = {"pid": 7, "name": program, "exe": f"/usr/bin/{program}", "args": [], "uid": 0, "started": 1, "contained": False,
               "environ": {}}  # fmt: skip
    said = [{"pid": 7, "name": program, "version": version}] if version else []
    return Evidence(Target(name, "ssh"), "", {"processes": [process] if program else [], "kubernetes_version": said, **more})


def chosen(version: str) -> tuple[str, str]:
    running = running_of(cluster(version))
    choice = choose(NAME, EDITIONS, running)
    return choice.version, choice.warning


@pytest.mark.parametrize(
    ("kubernetes", "benchmark"),
    [
        ("v1.28.15", "1.10"),
        ("v1.29.0", "1.11"),
        ("v1.30.2-eks-1234", "1.11"),
        ("v1.31.4+k3s1", "1.11"),
        ("v1.32.0", "1.12"),
        ("v1.33.5-gke.100", "1.12"),
        ("v1.34.0", "2.0.1"),
        ("v1.35.1+rke2r1", "2.0.1"),
    ],
)
def test_published_for_it(kubernetes: str, benchmark: str) -> None:
    """Of the documents that cover a version, the newest; nothing to warn of."""
    assert chosen(kubernetes) == (benchmark, "")


@pytest.mark.parametrize("kubernetes", ["v1.36.2", "v1.37.0"])
def test_preliminary(kubernetes: str) -> None:
    """2.1 is what is published for it, so it judges, and the run says that its table isn't confirmed."""
    version, warning = chosen(kubernetes)
    assert version == "2.1"
    assert "preliminary" in warning
    assert "cis-kubernetes@2.0.1" in warning


@pytest.mark.parametrize(
    ("kubernetes", "benchmark", "said"),
    [
        ("v1.27.16", "1.10", "older than what any version known here is published for (its own document is 1.9"),
        ("v1.24.0", "1.10", "its own document is 1.24"),
        ("v1.19.3", "1.10", "is older than what any version known here is published for;"),
        ("v1.38.0", "2.1", "newer than what any version known here is published for"),
        ("v1.99.0", "2.1", "newer"),
    ],
)
def test_not_covered(kubernetes: str, benchmark: str, said: str) -> None:
    version, warning = chosen(kubernetes)
    assert version == benchmark
    assert said in warning
    assert f"{NAME} {benchmark} was taken" in warning


@pytest.mark.parametrize("said", ["", "v2.0.0", "1.x", "main", "\x1b[31m", "v1.", "v1.1234.0"])
def test_a_version_that_says_nothing(said: str) -> None:
    version, warning = chosen(said)
    assert version == "2.0.1", "the newest that is not preliminary"
    assert "not known" in warning


def test_tables_overlap_only_where_a_newer_one_wins() -> None:
    """Ranges have no gap, so what isn't covered is older or newer than all of them."""
    covered = {m for m in range(20, 50) if any(e.kubernetes.distance(m) == 0 for e in EDITIONS)}
    assert covered == set(range(28, 38))


def test_nodes_own_word() -> None:
    assert running_of(node("v1.31.4")) == Running("v1.31.4", 31, "its kubelet")
    assert running_of(node("v1.31.4+k3s1", program="k3s")) == Running("v1.31.4+k3s1", 31, "its k3s")


def test_the_api_server_outranks_the_kubelet() -> None:
    said = [{"pid": 8, "name": "kubelet", "version": "v1.31.4"}, {"pid": 9, "name": "kube-apiserver", "version": "v1.32.1"}]
    assert running_of(node(kubernetes_version=said)) == Running("v1.32.1", 32, "its kube-apiserver")


def test_an_api_server_in_a_container_may_be_newer() -> None:
    hidden = {"pid": 9, "name": "kube-apiserver", "problem": {"reason": "unparsable", "detail": "it runs in a container"}}
    running = running_of(node(kubernetes_version=[{"pid": 8, "name": "kubelet", "version": "v1.31.4"}, hidden]))
    assert isinstance(running, Running)
    assert running.version == "v1.31.4"
    assert "may be up to 3 minor versions newer" in choose(NAME, EDITIONS, running).because


@pytest.mark.parametrize(
    "evidence",
    [
        node(kubernetes_version=UNKNOWN),
        node(processes=UNKNOWN, kubernetes_version=UNKNOWN),
        node(kubernetes_version=[{"pid": 7, "name": "kubelet", "problem": {"reason": "timeout", "detail": "took too long"}}]),
        node(program="etcd"),
        Evidence(Target("old", "ssh"), "", {"processes": node().facts["processes"]}),
    ],
)
def test_unknown_is_said(evidence: Evidence) -> None:
    running = running_of(evidence)
    assert isinstance(running, Problem)
    choice = choose(NAME, EDITIONS, running)
    assert (choice.version, "not known which Kubernetes" in choice.warning) == ("2.0.1", True)


def test_where_no_kubernetes_runs_there_is_nothing_to_warn_of() -> None:
    assert running_of(node(program="")) is None
    assert running_of(Evidence(Target("ci", "docker"), "", {})) is None
    assert choose(NAME, EDITIONS, None).warning == ""


def test_asked_for_a_version_that_does_not_fit() -> None:
    running = running_of(cluster("v1.30.1"))
    choice = fits(NAME, EDITIONS, "1.12", running)
    assert choice.version == "1.12"
    assert "cis-kubernetes 1.12 was asked for, which is published for Kubernetes 1.32 to 1.34" in choice.warning
    assert "v1.30.1" in choice.warning
    assert "cis-kubernetes 1.11 would be the nearest" in choice.warning
    assert fits(NAME, EDITIONS, "1.11", running).warning == ""
    assert fits(NAME, EDITIONS, "1.10", running).warning == "", "published for it, though not the newest"
    assert "preliminary" in fits(NAME, EDITIONS, "2.1", running_of(cluster("v1.36.0"))).warning


def judged(*bundles: Evidence, asked: tuple[str, ...] = (NAME,)) -> AuditRun:
    judge = Judge(Selection(asked).resolve(LIBRARY), {})
    for found in bundles:
        judge.add(found)
    return judge.run([b.target.name for b in bundles])


def versions_of(run: AuditRun) -> dict[str, set[str]]:
    return {t.name: {f.version for f in run.findings if (f.target, f.benchmark) == (t.name, NAME)} for t in run.targets}


def infos(run: AuditRun) -> list[BenchmarkInfo]:
    return [b for b in run.benchmarks if b.name == NAME]


def test_a_cluster_and_its_nodes_are_judged_by_one_version() -> None:
    """The API server's counts, whichever target comes first, and the difference is said."""
    parts = [cluster("v1.34.1", "cp-1", "worker-1"), node("v1.34.1"), node("v1.33.2", "worker-1")]
    for order in (parts, parts[::-1]):
        run = judged(*order)
        assert versions_of(run) == {"shop": {"2.0.1"}, "cp-1": {"2.0.1"}, "worker-1": {"2.0.1"}}
        (notice,) = run.notices
        assert notice.startswith("worker-1: its kubelet is v1.33.2, but the API server of shop is v1.34.1, which counts")
        assert "not supported" not in notice
        (info,) = infos(run)
        assert "ATTENTION" in info.selected_because
        (line,) = [t.facts[NAME] for t in run.targets if t.name == "worker-1"]
        assert "ATTENTION: its kubelet is v1.33.2" in line


@pytest.mark.parametrize("kubelet", ["v1.35.0", "v1.30.0"])
def test_a_difference_that_kubernetes_does_not_support(kubelet: str) -> None:
    run = judged(cluster("v1.34.1", "cp-1"), node(kubelet))
    assert "not supported by Kubernetes" in run.notices[0]


def test_a_cluster_that_could_not_be_asked() -> None:
    lost = Evidence(
        Target("shop", "kubernetes", nodes=("cp-1",)), "", {}, TargetStatus.UNREACHABLE, Problem(Reason.TIMEOUT, "no answer")
    )
    run = judged(lost, node("v1.31.4"))
    assert versions_of(run) == {"shop": set(), "cp-1": {"1.11"}}
    assert "the API server of shop did not say its version" in run.notices[0]


def test_a_mixed_fleet() -> None:
    """Each by its own version; scores, reports and what is stored tell them apart."""
    from reports.build import build

    run = judged(
        cluster("v1.30.1"), node("v1.33.2", "a"), node("v1.28.0", "b"), node("", "c", program=""), cluster("v1.39.0", name="new")
    )
    assert versions_of(run) == {"shop": {"1.11"}, "a": {"1.12"}, "b": {"1.10"}, "c": {"2.0.1"}, "new": {"2.1"}}
    assert [b.version for b in infos(run)] == ["1.10", "1.11", "1.12", "2.0.1", "2.1"]
    assert {(s.target, s.version) for s in run.scores if s.benchmark == NAME} == {
        (t, v) for t, vs in versions_of(run).items() for v in vs
    }
    view = build(run)
    assert sum(b.counts.total for b in view.benchmarks) == len(run.findings)
    for b in view.benchmarks:
        assert b.counts.total == sum((f.benchmark, f.version) == (b.info.name, b.info.version) for f in run.findings)
        assert b.info.name != NAME or all(c.counts.total in (0, 1) for c in b.controls)
    assert len(run.notices) == 1
    back = run_of(json.loads(json.dumps(to_document(run))))
    assert (back.benchmarks, back.notices, back.targets) == (run.benchmarks, run.notices, run.targets)


def test_said_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the terminal, in each report, in the results: once for the run and on the target."""
    import reports
    from auditor.summary import show

    run = judged(cluster("v1.34.1", "cp-1"), node("v1.30.1"))
    (notice,) = run.notices
    html, pdf, document = reports.write(run, tmp_path, ["html", "pdf", "json"])
    show(run, [], [])
    text = squeezed(pdf.read_bytes())
    said = {"terminal": capsys.readouterr().out, "pdf": text, "html": markup.unescape(re.sub("<[^>]*>", "", html.read_text()))}
    for where, words in said.items():
        assert "".join(notice.split()) in "".join(words.split()), where
    assert "".join(said["pdf"].split()).count("".join(notice.partition(": ")[2].split())) >= 3, "cover, scope, target"
    written = json.loads(document.read_text())
    assert written["run"]["notices"] == [notice]
    assert all("ATTENTION" in b["selected_because"] for b in written["benchmarks"] if b["name"] == NAME)


def test_reasons_name_their_targets() -> None:
    run = judged(*(node(f"v1.31.{i % 2}", f"n{i}") for i in range(20)))
    (info,) = infos(run)
    assert info.version == "1.11"
    assert (
        "n0, n2, n4, n6, n8, n10 and 4 more: published for Kubernetes 1.29 to 1.31; its kubelet is v1.31.0" in info.selected_because
    )
    assert "its kubelet is v1.31.1" in info.selected_because


def test_asked_for_a_version_everywhere() -> None:
    run = judged(cluster("v1.30.1", "cp-1"), node("v1.30.1"), asked=(f"{NAME}@1.12",))
    assert versions_of(run) == {"shop": {"1.12"}, "cp-1": {"1.12"}}
    (notice,) = run.notices
    assert notice.startswith("shop, cp-1: cis-kubernetes 1.12 was asked for")
    assert infos(run)[0].selected_because.startswith("asked for. ATTENTION: ")


def test_numbers_that_only_one_version_has_can_be_selected() -> None:
    judge = Judge(Selection((NAME,), only=("4.2.15",)).resolve(LIBRARY), {})
    assert [f.id for f in judge.add(node("v1.30.0"))] == ["4.2.15"]
    assert judge.add(node("v1.33.0", "other")) == []


def test_new_in_2_1() -> None:
    old, new = (LIBRARY.load(f"{NAME}@{v}") for v in ("2.0.1", "2.1"))
    assert {c.id for c in new.controls} - {c.id for c in old.controls} == {"4.1.11", "5.1.14", "5.2.13"}
    assert "preliminary" in new.title
    assert new.controls_total == len(new.controls) == 134


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('kubernetes: {first: "1.34", last: "1.32"}', "first must not be newer than last"),
        ("kubernetes: {first: 1.32, last: 1.34}", "put it in quotes"),
        ('kubernetes: {first: "1.32.1", last: "1.34"}', "must be a minor version of Kubernetes"),
        ('kubernetes: {from: "1.32", to: "1.34"}', "there is no key 'from' here"),
        ('earlier: {"v1": "1.9"}', "must be a minor version of Kubernetes"),
    ],
)
def test_mistakes_in_a_table(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f'benchmark: mine\nversion: "1"\ntitle: t\ncontrols_total: 0\n{line}\ncontrols: []\n')
    assert said in "; ".join(m.message for m in lint(path, check_types()))


def test_minor_of() -> None:
    assert [minor_of(v) for v in ("v1.31.4+k3s1", "1.9", "v1.31", "v11.3", "v1.x", "", "v1.1234")] == [
        31,
        9,
        31,
        None,
        None,
        None,
        None,
    ]


# What a host answers.

SHELLS = [["dash", "-s", "root"], ["bash", "-s", "root"], ["busybox", "sh", "-s", "root"]]
Start = Callable[..., int]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start programs of this name that say this about their version."""
    running = []

    def begin(name: str, says: str, uid: int = 0) -> int:
        program = tmp_path / name
        program.write_bytes(waiting_program(says))
        program.chmod(0o755)
        for folder in (tmp_path, *tmp_path.parents):
            if folder.is_relative_to("/tmp") and folder != Path("/tmp"):  # so that another account can run it
                folder.chmod(0o755)
        running.append(subprocess.Popen([program, "--config=/x", "--v=2"], user=uid, extra_groups=[]))
        return running[-1].pid

    yield begin
    for process in running:
        process.kill()
        process.wait()


def ask(shell: list[str]) -> dict[int, dict[str, Any]]:
    marker = secrets.token_hex(16)
    script, ordered = compose({KubernetesVersion()}, marker)
    done = subprocess.run(shell, input=script, capture_output=True, timeout=60, check=False)
    found = answers.facts_of(answers.split(done.stdout, done.stderr, marker), ordered)["kubernetes_version"]
    assert isinstance(found, list), found
    return {entry["pid"]: entry for entry in found}


@pytest.mark.skipif(os.getuid() != 0, reason="only root's programs are asked")
@pytest.mark.parametrize("shell", SHELLS, ids=lambda s: s[0])
def test_programs_are_asked(start: Start, shell: list[str]) -> None:
    kubelet, k3s = start("kubelet", "Kubernetes v1.31.4"), start("k3s", "exe version v1.32.1+k3s1 (6a322f12)\ngo version go1.23.3")
    other = start("kube-apiserver", "sleep (GNU coreutils) 9.1")
    said = ask(shell)
    assert said[kubelet] == {"pid": kubelet, "name": "kubelet", "version": "v1.31.4"}
    assert said[k3s]["version"] == "v1.32.1+k3s1"
    assert "names no Kubernetes version" in said[other]["problem"]["detail"]


@pytest.mark.skipif(os.getuid() != 0, reason="it takes root to be another account")
def test_what_a_user_calls_a_kubelet_is_not_run_as_root(start: Start) -> None:
    """Else whoever may start a program on the host gets root by the next audit."""
    pid = start("kubelet", "Kubernetes v1.31.4", uid=65534)
    assert "runs without root" in ask(SHELLS[0])[pid]["problem"]["detail"]


def test_a_benchmark_that_was_asked_for_and_judged_nothing_is_said() -> None:
    """None of it is for an engine's API, nor is CIS Docker for a cluster; by default nothing is said of it."""
    engine, shop = Evidence(Target("ci", "docker"), "", {}), cluster("v1.35.0")
    for asked, bundles, said in (
        ((NAME,), (engine,), [f"{NAME} was asked for"]),
        (("cis-docker@1.8.0", NAME), (shop,), ["cis-docker was asked for"]),
        (("cis-docker", NAME), (engine, shop), []),
        ((), (engine,), []),
    ):
        judge = Judge(Selection(asked).resolve(LIBRARY), {"benchmarks": list(asked)})
        for found in bundles:
            judge.add(found)
        notices = judge.run([b.target.name for b in bundles]).notices
        assert [n.partition(", ")[0] for n in notices if "judged" in n] == said
    lost = Evidence(engine.target, "", {}, TargetStatus.UNREACHABLE, Problem(Reason.TIMEOUT, "no answer"))
    judge = Judge(Selection((NAME,)).resolve(LIBRARY), {"benchmarks": [NAME]})
    judge.add(lost)
    assert judge.run(["ci"]).notices == (), "what it would have been judged by is not known"
