"""Tailoring files: a site's policy inputs, typed like the controls' own, and visible in the results."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from auditor import tailoring
from auditor.catalogue import Library, packaged
from auditor.engine import judge, needs
from auditor.model import Evidence, Status, Target
from auditor.results import finding_document, finding_of
from auditor.yamlfile import InputError
from checks import check_types
from tests.test_docs import said_of_tailoring

INSPECT = {"Id": "a" * 64, "Name": "/web", "State": {"Status": "running", "Running": True}, "Config": {},
           "HostConfig": {"CapAdd": ["NET_ADMIN"], "CapDrop": [], "Privileged": False}}  # fmt: skip
FACTS = {"engine:containers": [{"engine": "unix:///run/docker.sock", "pid": None, "data": [INSPECT]}]}


@pytest.fixture(autouse=True, scope="module")
def fits_the_schema() -> Iterator[None]:
    """Hold every file of this module that is accepted against the JSON Schema as well."""
    load = tailoring.load

    def checked(library: Library, file: Path | None = None, registers: Iterable[Path] = ()) -> tailoring.Tailoring:
        found = load(library, file, registers)
        for path in (*([file] if file else ()), *registers):
            assert said_of_tailoring(path.read_text()) == []
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tailoring, "load", checked)
        yield


def write(folder: Path, text: str) -> Path:
    path = folder / "tailoring.yaml"
    path.write_text(text)
    return path


def judged(path: Path | None):
    library = packaged(check_types())
    if path is not None:
        library = tailoring.load(library, path).library
    benchmark = library.load("cis-docker@1.6.0")
    findings = judge([benchmark], Evidence(Target("t", "ssh"), "", FACTS))
    return next(f for f in findings if f.control == "docker-container-capabilities")


def test_a_parameter_decides_and_is_shown(tmp_path: Path) -> None:
    assert judged(None).status is Status.FAIL
    assert not judged(None).tailored
    name = next(iter(judged(None).parameters))
    path = write(tmp_path, f"tailoring: 1\nparameters:\n  docker-container-capabilities: {{{name}: [NET_ADMIN]}}\n")
    finding = judged(path)
    assert finding.status is Status.PASS
    assert finding.tailored
    assert finding.parameters == {**judged(None).parameters, name: ["NET_ADMIN"]}
    assert finding_of(finding_document(finding)) == finding


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "tailoring: 1\nparameters: {docker-container-capabilitys: {}}\n",
            "2:44: there is no control 'docker-container-capabilitys'; did you",
        ),
        ("tailoring: 2\n", "1:12: this program reads tailoring files of version 1"),
        ("parameters: {}\n", "1:1: the key 'tailoring' is missing"),
        ("tailoring: 1\nparametrs: {}\n", "2:1: there is no key 'parametrs' here; did you mean 'parameters'?"),
        ("tailoring: 1\nparameters: {docker-container-capabilities: {nope: 1}}\n", "the control has no parameter 'nope'"),
        ("tailoring: 1\nparameters: {docker-container-capabilities: [x]}\n", "must be a mapping of parameters, not a list"),
        (
            "tailoring: 1\nparameters: {docker-container-capabilities: {allowed: NET_ADMIN}}\n",
            "2:55: must be a list, not text (NET_ADMIN)",
        ),
    ],
)
def test_a_mistake_is_named_at_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as raised:
        judged(write(tmp_path, text))
    assert said in str(raised.value)
    assert str(raised.value).startswith(str(tmp_path / "tailoring.yaml"))


GOOD = """\
tailoring: 1
zone: Europe/Berlin
files: [own/controls.yaml, own/shop.yaml]
benchmarks:
  - benchmark: cis-docker
    level: 1
    reason: Baseline
    exclude:
      - {control: docker-live-restore, reason: Rebuilt}
      - {section: "7", reason: No swarm}
    include:
      - {control: docker-daemon-userns-remap, reason: Wanted}
parameters:
  docker-container-capabilities: {denied: [SYS_ADMIN]}
overrides:
  - {control: docker-container-capabilities, targets: ["web-*"], parameters: {allowed: [NET_ADMIN]}, reason: Routers}
  - {control: 5.4@cis-docker@1.8.0, groups: [edge], parameters: {allowed: [NET_RAW]}, reason: Probes}
waivers:
  - {control: 5.5@cis-docker@1.8.0, targets: ["*"], reason: r, owner: o, approver: p, expires: 2026-12-31}
attestations:
  - {control: own-question, targets: ["*"], verdict: fail, by: b, at: 2026-01-01, statement: s, evidence: e, expires: 2026-12-31}
"""
OWN = {
    "controls.yaml": "- key: own-question\n  title: Asked\n  severity: low\n  target: docker-host\n  rationale: r\n"
    "  check: {manual: {question: Was it asked?}}\n  decided: by_person\n  remediation: {text: Ask.}\n",
    "shop.yaml": 'benchmark: shop\nversion: "1"\ntitle: Shop\ncontrols_total: 2\ncontrols:\n'
    '  - {id: "1.1", control: own-question, level: 1, assessment: manual}\n'
    '  - {id: "1.2", control: docker-daemon-icc, level: 1, assessment: automated}\n',
}


def folder_with(folder: Path, text: str = GOOD, **own: str) -> Path:
    (folder / "own").mkdir(exist_ok=True)
    for name, content in {**OWN, **{k.replace("_", "."): v for k, v in own.items()}}.items():
        (folder / "own" / name).write_text(content)
    return write(folder, text)


def mistakes(path: Path | None, *registers: Path) -> list[str]:
    with pytest.raises(InputError) as raised:
        tailoring.load(LIBRARY, path, registers)
    return [str(m).removeprefix(f"{path.parent if path else registers[0].parent}/") for m in raised.value.mistakes]


LIBRARY = packaged(check_types())


def test_everything_at_once(tmp_path: Path) -> None:
    site = tailoring.load(LIBRARY, folder_with(tmp_path))
    docker = site.library.load("cis-docker@1.8.0")
    keys = {c.key for c in docker.controls}
    assert "docker-live-restore" not in keys
    assert not [c.id for c in docker.controls if c.id.startswith("7.")]
    assert {c.key for c in docker.controls if c.level == 2} == {"docker-daemon-userns-remap"}
    assert len(LIBRARY.load("cis-docker@1.8.0").controls) == 118, "the packaged benchmarks stay as they are"
    assert site.own == ("shop@1",)
    shop = site.library.load("shop")
    assert [c.key for c in shop.controls] == ["own-question", "docker-daemon-icc"]
    assert shop.sha256 != docker.sha256 == LIBRARY.load("cis-docker@1.8.0").sha256
    (waiver,) = site.waivers
    assert (waiver.scope.control, waiver.scope.ref) == ("docker-container-privileged", "cis-docker@1.8.0")
    assert waiver.until.isoformat() == "2026-12-31T23:00:00+00:00"
    (entry,) = site.attestations
    assert (entry.id, entry.verdict) == ("A1", "fail")
    assert [(c.what, c.subject, c.after, c.reason) for c in site.changes] == [
        ("own benchmark", "shop@1", "judged", ""),
        ("level", "cis-docker", "up to level 1", "Baseline"),
        ("excluded", "docker-live-restore", "not judged", "Rebuilt"),
        ("excluded", "section 7", "not judged", "No swarm"),
        ("included", "docker-daemon-userns-remap", "judged", "Wanted"),
        ("parameter", "docker-container-capabilities", 'denied: ["SYS_ADMIN"]', ""),
    ]
    assert {c.place.rpartition("/")[2] for c in site.changes} == {
        "shop.yaml:1", "tailoring.yaml:5", "tailoring.yaml:9", "tailoring.yaml:10", "tailoring.yaml:12", "tailoring.yaml:14",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "groups", "allowed", "tailored"),
    [
        ("db-1", (), [], True),  # of the values for everybody
        ("web-1", (), ["NET_ADMIN"], True),
        ("web-1", ("edge",), ["NET_RAW"], True),  # the last that fits counts
        ("db-1", ("edge",), ["NET_RAW"], True),
    ],
)
def test_values_for_some_targets(tmp_path: Path, name: str, groups: tuple[str, ...], allowed: list[str], tailored: bool) -> None:
    site = tailoring.load(LIBRARY, folder_with(tmp_path))
    benchmark = site.library.load("cis-docker@1.8.0")
    target = Target(name, "ssh", "", groups)
    (judged_by,) = site.benchmarks([benchmark], target)
    assert site.benchmarks([benchmark], target)[0] is judged_by, "made once"
    findings = judge([judged_by], Evidence(target, "", FACTS))
    (found,) = [f for f in findings if f.control == "docker-container-capabilities"]
    assert (found.parameters["allowed"], found.parameters["denied"], found.tailored) == (allowed, ["SYS_ADMIN"], tailored)
    assert found.status is (Status.PASS if "NET_ADMIN" in allowed else Status.FAIL)
    other = site.library.load("cis-docker@1.7.0")
    (elsewhere,) = site.benchmarks([other], Target("db-1", "ssh", "", ("edge",)))
    assert elsewhere is other or next(c for c in elsewhere.controls if c.key == found.control).parameters["allowed"] == []


def test_every_fact_that_an_override_may_need_is_asked(tmp_path: Path) -> None:
    site = tailoring.load(LIBRARY, folder_with(tmp_path))
    benchmark = site.library.load("cis-docker@1.8.0")
    forms = site.every([benchmark])
    seen = {str(c.parameters["allowed"]) for b in forms for c in b.controls if c.key == "docker-container-capabilities"}
    assert seen == {"[]", "['NET_ADMIN']", "['NET_RAW']"}
    assert needs([benchmark], "host") <= needs(forms, "host")


def test_an_override_that_means_no_target_is_noted(tmp_path: Path) -> None:
    site = tailoring.load(LIBRARY, folder_with(tmp_path))
    notes = {c.scope: c.note for c in site.changed({"db-1": ("edge",)}) if c.what == "parameter"}
    assert notes == {"everywhere": "", "targets web-*": "no target is meant", "groups edge; cis-docker@1.8.0": ""}


def test_the_template_changes_nothing_and_its_values_are_the_defaults(tmp_path: Path) -> None:
    from auditor.tailoringtext import template

    text = template(LIBRARY)
    site = tailoring.load(LIBRARY, write(tmp_path, text))
    assert (site.changes, site.waivers, site.attestations, site.overrides) == ((), (), (), ())
    head, _, parameters = text.partition("# parameters:\n")
    uncommented = "parameters:\n" + re.sub(r"^#", "", parameters, flags=re.MULTILINE)
    every = tailoring.load(LIBRARY, write(tmp_path, "tailoring: 1\n" + uncommented))
    assert len(every.changes) > 100
    assert [c for c in every.changes if c.before != c.after] == []
    examples = re.sub(r"^# (?=zone|benchmarks|overrides|waivers|attestations|  )", "", head, flags=re.MULTILINE)
    shown = tailoring.load(LIBRARY, write(tmp_path, examples))
    assert (len(shown.waivers), len(shown.attestations), len(shown.overrides), len(shown.changes)) == (1, 1, 1, 5)


def test_the_examples_of_the_documentation_are_right(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "docs" / "tailoring.md").read_text()
    blocks = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    selection, parameters, files, register, attested = blocks
    own = files.replace("shop-1.0", "shop")
    site = tailoring.load(LIBRARY, folder_with(tmp_path, selection + parameters + own))
    assert len(site.changes) == 7
    (tmp_path / "w.yaml").write_text(register + attested)
    site = tailoring.load(LIBRARY, None, [tmp_path / "w.yaml"])
    assert (len(site.waivers), len(site.attestations)) == (1, 1)
