"""Results of image scanners: read, reduced, matched by digest, judged, ranked, and the same again from the bundle."""

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from auditor import evidence, exposure, scan_formats, scans
from auditor.cli import cli
from auditor.facts.docker import Engine
from auditor.facts.scans import Scans, layers_key, match
from auditor.model import Evidence, Problem, Reason, Status, Target
from auditor.results import target_document, target_of
from auditor.session import packaged_library
from auditor.targets import result_of
from auditor.yamlfile import InputError
from checks.image_rebuilt import Rebuilt
from checks.image_view import ImageView
from reports.exposure import exposure as ranked
from tests.support import recorded_audit as fleet

DEMO = Path(__file__).parent.parent / "auditor" / "demo"
A, B, C, D, L = (f"sha256:{letter * 64}" for letter in "abcd1")
DAY = "2026-11-20T08:00:00Z"
AT = "2026-11-21T09:00:00Z"


def trivy(found=(), *, image_id=A, digests=(), tags=("shop/web:1",), layers=(), created=DAY, results=True, **more):
    """A result of Trivy; ``found`` are (id, package, fixed version, severity)."""
    listed = [
        {"VulnerabilityID": i, "PkgName": p, "InstalledVersion": "1", "FixedVersion": f, "Severity": s, "Title": "x", "CVSS": {}}
        for i, p, f, s in found
    ]
    return {
        "SchemaVersion": 2, "CreatedAt": created, "ArtifactName": "shop/web:1", "ArtifactType": "container_image",
        "Metadata": {
            "OS": {"Family": "debian", "Name": "12.5", **more.get("os", {})}, "ImageID": image_id, "DiffIDs": list(layers),
            "RepoTags": list(tags), "RepoDigests": list(digests), "ImageConfig": {"architecture": more.get("platform", "amd64")},
        },
        "Results": [{"Target": "shop/web:1 (debian 12.5)", "Class": "os-pkgs", "Type": "debian", "Vulnerabilities": listed}]
        if results
        else [],
        "Trivy": {"Version": "0.68.0"},
    }  # fmt: skip


def grype(found=(), *, distro="debian", **more):
    matches = [
        {"vulnerability": {"id": i, "severity": s, "fix": {"versions": [f] if f else [], "state": "fixed" if f else "wont-fix"}},
         "matchDetails": [], "artifact": {"name": p, "version": "1", "type": "deb"}}
        for i, p, f, s in found
    ]  # fmt: skip
    return {
        "matches": matches,
        "source": {"type": "image", "target": {"userInput": "shop/web:1", "imageID": A, "manifestDigest": B, "tags": ["shop/web:1"],
                                               "repoDigests": [f"r.example/shop/web@{C}"], "architecture": "amd64"}},
        "distro": {"name": distro, "version": "12", "idLike": []},
        "descriptor": {"name": "grype", "version": "0.104.1", "timestamp": "2026-11-20T10:00:00.5+02:00", "configuration": {}},
        **more,
    }  # fmt: skip


def clair(found=(), *, packages=("openssl",), digest=C):
    return {
        "manifest_hash": digest,
        "packages": {str(n): {"id": str(n), "name": p, "version": "1"} for n, p in enumerate(packages)},
        "vulnerabilities": {
            str(n): {"id": str(n), "name": i, "normalized_severity": s, "fixed_in_version": f, "severity": "x"}
            for n, (i, _, f, s) in enumerate(found)
        },
        "package_vulnerabilities": {"0": [str(n) for n, _ in enumerate(found)]} if found else {},
        "distributions": {}, "environments": {}, "enrichments": {},
    }  # fmt: skip


HOLES = [("CVE-1", "openssl", "2", "CRITICAL"), ("CVE-2", "zlib", "", "CRITICAL"), ("CVE-3", "zlib", "3", "High"),
         ("CVE-3", "zlib", "3", "High"), ("CVE-4", "tar", "", "Negligible"), ("CVE-5", "tar", "", "odd")]  # fmt: skip


def reduced(document, **more):
    return {**scan_formats.reduce(json.dumps(document).encode()), "file": "f.json", "sha256": "0" * 64, **more}


@pytest.mark.parametrize(("document", "scanner", "time"), [(trivy(HOLES), "trivy", DAY), (grype(HOLES), "grype", DAY)])
def test_a_result_is_reduced_to_counts_and_the_worst(document, scanner, time):
    scan = reduced(document)
    assert (scan["scanner"], scan["time"], scan["image_id"], scan["platform"]) == (scanner, time, A, "amd64")
    assert scan["counts"] == {"critical": [1, 1], "high": [1, 0], "medium": [0, 0], "low": [0, 1], "unknown": [0, 1]}
    assert [(v["id"], v["fixed"]) for v in scan["worst"]][:3] == [("CVE-1", "2"), ("CVE-2", ""), ("CVE-3", "3")]


def test_clair_names_a_manifest_and_no_time():
    scan = reduced(clair(HOLES))
    assert (scan["scanner"], scan["digests"], scan["time"], scan["looked"]) == ("clair", [C], "", True)
    assert scan["counts"]["critical"] == [1, 1]
    assert reduced(clair(digest=C.removeprefix("sha256:")))["digests"] == [C]
    assert reduced(clair(packages=()))["looked"] is False


@pytest.mark.parametrize(("family", "kinds", "looked"), [
    ("debian", ["os-pkgs"], True), ("debian", ["os-pkgs", "lang-pkgs"], True), ("debian", ["lang-pkgs"], False), ("debian", [], False),
    ("", ["lang-pkgs"], True), ("none", ["lang-pkgs"], True), ("", ["secret", "config"], False),
])  # fmt: skip
def test_a_system_whose_packages_were_left_out_was_not_looked_at(family, kinds, looked):
    document = {**trivy(os={"Family": family}), "Results": [{"Target": "t", "Class": kind} for kind in kinds]}
    assert reduced(document)["looked"] is looked


def test_a_list_of_vulnerabilities_is_bounded_but_counted():
    scan = reduced(trivy([(f"CVE-{n}", "p" * 5000, "2", "LOW") for n in range(3000)]))
    assert (scan["counts"]["low"], len(scan["worst"])) == ([3000, 0], scan_formats.WORST)
    assert len(json.dumps(scan)) < 10_000


@pytest.mark.parametrize(("content", "said"), [
    (b"", "not a JSON object"), (b"[]", "holds a list"), (b"{}", "not a result of"), (b"\xff\xfe", "not a JSON object"),
    (b'{"a":' * 200_000, ""), (b'{"SchemaVersion":2,"ArtifactType":' + b"[" * 200_000, ""),
    (json.dumps({**trivy(), "ArtifactType": "filesystem"}).encode(), "of a filesystem"),
    (json.dumps({**trivy(), "SchemaVersion": 1}).encode(), "schema version 1"),
    (json.dumps({**trivy(), "Results": [{"Vulnerabilities": [{"VulnerabilityID": 5}]}]}).encode(), "Results[0].Vulnerabilities[0]"),
    (json.dumps({**trivy(), "CreatedAt": "yesterday\u001b[2J"}).encode(), "a time that is none"),
    (json.dumps({**trivy(), "CreatedAt": "2026-11-20T08:00:00"}).encode(), "a time that is none"),
    (json.dumps({**trivy(), "Metadata": []}).encode(), "Metadata"),
    (json.dumps({**grype(), "source": {"type": "directory", "target": "/src"}}).encode(), "of a directory"),
    (json.dumps({**grype(), "matches": None}).encode(), "matches"),
    (json.dumps({**clair(HOLES), "packages": {}}).encode(), "doesn't hold"),
    (json.dumps({**clair(HOLES), "package_vulnerabilities": {}}).encode(), "of no package"),
], ids=range(16))  # fmt: skip
def test_what_is_no_result_is_refused_in_one_line(tmp_path, content, said):
    file = tmp_path / "odd.json"
    file.write_bytes(content)
    with pytest.raises(InputError) as refused:
        scans.read([tmp_path])
    (mistake,) = refused.value.mistakes
    assert said in str(mistake)
    assert str(mistake).startswith(f"{file}: ")
    assert len(str(mistake).splitlines()) == 1
    assert "\x1b" not in str(mistake)


def test_every_file_that_is_none_is_named_and_size_is_bounded(tmp_path, monkeypatch):
    (tmp_path / "good.json").write_text(json.dumps(trivy()))
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError) as refused:
        scans.read([tmp_path])
    assert [Path(m.file).name for m in refused.value.mistakes] == ["a.json", "b.json"]
    monkeypatch.setattr(scans, "MAX_BYTES", 100)
    with pytest.raises(InputError, match="too large"):
        scans.read([tmp_path / "good.json"])
    with pytest.raises(InputError, match="can't be read"):
        scans.read([tmp_path / "none.json"])


IMAGE = {"Id": A, "RepoTags": ["shop/web:1"], "RepoDigests": [], "Architecture": "amd64", "Created": "2026-11-01T00:00:00Z",
         "RootFS": {"Layers": [L]}}  # fmt: skip


@pytest.mark.parametrize(("scan", "image", "how"), [
    (trivy(), {}, "image id"),
    (trivy(image_id=B), {}, ""),  # the same tag, another image
    (trivy(image_id=B, digests=[f"r/x@{C}"]), {"RepoDigests": [f"r/x@{C}"]}, ""),  # two configurations behind one index
    (trivy(image_id=B, layers=[L]), {}, "layers"),
    (trivy(image_id=B, layers=[L, D]), {}, ""),
    (trivy(image_id=B, digests=[f"r/x@{C}"]), {"Id": C, "RepoDigests": [f"r/x@{C}"]}, "digest"),  # containerd's store
    (trivy(image_id=B, digests=[f"r/x@{C}"], platform="arm64"), {"Id": C, "RepoDigests": [f"r/x@{C}"]}, ""),
    (clair(), {"RepoDigests": [f"r/x@{C}"]}, "digest"),
    (clair(digest=D), {"RepoDigests": [f"r/x@{C}"]}, ""),
    (trivy(image_id=""), {}, "tag"),
    (trivy(image_id="sha256:short"), {}, "tag"),
    (trivy(image_id="", tags=["shop/web:2"]), {}, ""),
    (trivy(image_id="", tags=[]), {"RepoTags": []}, ""),
    (trivy(image_id="", digests=[f"r/x@{D}"]), {}, ""),  # it names a digest, so its tag doesn't count
])  # fmt: skip
def test_images_are_told_by_digests(scan, image, how):
    assert match(reduced(scan), {**IMAGE, **image}) == how


def test_layers_without_digests_are_nobodys():
    assert layers_key([]) == layers_key(["x"]) == ""
    assert layers_key([L, D]) != layers_key([D, L])


def host(image=None, containers=(), at=AT):
    answer = {"engine": "unix:///x", "pid": 1}
    facts = {
        "engine:images": [{**answer, "data": [{**IMAGE, **(image or {})}]}],
        "engine:containers": [{**answer, "data": list(containers)}],
        "engine:info": [{**answer, "data": {"ServerVersion": "28", "SystemTime": at}}],
    }
    return Evidence(Target("h", "ssh"), at, facts)


def judged(given, rule=None, image=None, at=AT):
    from checks import engines

    found = scans.attach(host(image, at=at), [{**s, "sha256": f"{n:064}"} for n, s in enumerate(given)])
    ((engine, images),) = engines.answers(found, "images").read
    return (rule or Rebuilt()).judge("image/x", images[0], ImageView(engine, images, "all"))


FIXABLE, UNFIXED = [("CVE-1", "openssl", "2", "CRITICAL")], [("CVE-2", "zlib", "", "CRITICAL")]


@pytest.mark.parametrize(("given", "rule", "status", "said"), [
    ([], None, Status.MANUAL, "no scanner's result was given"),
    ([trivy()], None, Status.PASS, "trivy 0.68.0 2026-11-20: nothing found, by its id"),
    ([trivy(UNFIXED)], None, Status.PASS, "1 critical (0 with a fix)"),
    ([trivy(FIXABLE)], None, Status.FAIL, "CVE-1 in openssl 1 fixed by 2"),
    ([trivy(FIXABLE)], Rebuilt(fixable_critical=1), Status.PASS, "1 critical (1 with a fix)"),
    ([trivy([("CVE-9", "p", "2", "HIGH")])], None, Status.FAIL, "1 high (1 with a fix)"),
    ([trivy([("CVE-9", "p", "2", "HIGH")])], Rebuilt(fixable_high=None), Status.PASS, "1 high"),
    ([trivy(created="2026-10-01T00:00:00Z")], None, Status.FAIL, "51 days before the evidence, which is too old"),
    ([trivy(created="2026-10-01T00:00:00Z")], Rebuilt(max_scan_days=None), Status.PASS, "nothing found"),
    ([trivy(created="2027-11-20T08:00:00Z")], None, Status.MANUAL, "days after the evidence"),
    ([trivy(created="2026-10-01T00:00:00Z", found=FIXABLE), trivy()], None, Status.PASS, "nothing found"),  # the newest counts
    ([trivy(), grype(FIXABLE)], None, Status.FAIL, "grype 0.104.1"),  # the worse of two scanners
    ([trivy(created="2026-10-01T00:00:00Z"), grype()], None, Status.PASS, "grype"),
    ([trivy(image_id=""), {**grype(), "descriptor": {**grype()["descriptor"], "timestamp": "2026-10-01T00:00:00Z"}}], None,
     Status.FAIL, "too old"),
    ([trivy(results=False)], None, Status.MANUAL, "no package that was looked at"),
    ([trivy(os={"EOSL": True})], None, Status.FAIL, "debian 12.5 gets no updates any more"),
    ([grype(alertsByPackage=[{"package": {}, "alerts": [{"type": "distro-eol", "message": "x"}]}])], None, Status.FAIL, "debian 12"),
    ([grype(distro="")], None, Status.MANUAL, "no package that was looked at"),
    ([{**grype(), "descriptor": {**grype()["descriptor"], "configuration": {"only-notfixed": True}}}], None, Status.MANUAL,
     "only-notfixed"),
    ([grype(ignoredMatches=[{}, {}])], None, Status.PASS, "2 more hidden by its user's rules"),
    ([trivy(image_id="")], None, Status.MANUAL, "may be of another image"),
    ([trivy(image_id="", found=FIXABLE)], None, Status.MANUAL, "may be of another image"),
    ([trivy(image_id=B)], None, Status.MANUAL, "none of the 1 scanners' results is of this image"),
    ([trivy()], Rebuilt(max_days=5), Status.FAIL, "built 2026-11-01, 20 days ago"),
], ids=range(24))  # fmt: skip
def test_verdicts(given, rule, status, said):
    seen = judged([reduced(s) for s in given], rule)
    assert (seen.status, said in seen.actual) == (status, True), seen


@pytest.mark.parametrize(("rule", "time", "status"), [
    (Rebuilt(), DAY, Status.MANUAL), (Rebuilt(file_dates=True), DAY, Status.PASS), (Rebuilt(max_scan_days=None), DAY, Status.PASS),
    (Rebuilt(), "2026-10-01T00:00:00Z", Status.FAIL), (Rebuilt(file_dates=True), "", Status.MANUAL),
])  # fmt: skip
def test_the_date_of_a_file_counts_only_where_it_is_said_to(rule, time, status):
    scan = reduced(clair(), time=time, time_from="file")
    assert judged([scan], rule, {"RepoDigests": [f"r/x@{C}"]}).status is status


def test_an_age_that_is_asked_for_and_not_known_is_an_error():
    found = scans.attach(host({"Created": ""}), [reduced(trivy())])
    assert judged([reduced(trivy())], Rebuilt(max_days=9), {"Created": ""}).status is Status.ERROR
    assert judged([reduced(trivy())], Rebuilt(), {"Created": ""}).status is Status.PASS
    assert evidence.digest(found) != evidence.digest(host())


def test_only_scans_of_a_targets_images_become_its_evidence():
    mine, other = reduced(trivy()), reduced(trivy(image_id=B), sha256="1" * 64)
    found = scans.attach(host(), [other, mine])
    assert found.get(Scans()) == {"at": AT, "given": 2, "scans": [mine]}
    assert [s["sha256"] for s in scans.attach(found, [mine]).get(Scans())["scans"]] == [mine["sha256"]]
    for facts in ({}, {Engine("images").key: Problem(Reason.DENIED, "no")}):
        cluster = dataclasses.replace(host(), facts=facts)
        assert scans.attach(cluster, [mine]) is cluster


def container(n, *, image=A, running=True, privileged=False, ports=None, network=""):
    return {"Id": str(n), "Name": f"/c{n}", "Image": image, "State": {"Running": running}, "Config": {},
            "HostConfig": {"Privileged": privileged, "NetworkMode": network}, "NetworkSettings": {"Ports": ports or {}}}  # fmt: skip


def on(ip):
    return {"80/tcp": [{"HostIp": ip, "HostPort": "8080"}], "90/tcp": None}


def test_what_runs_from_an_image_is_told_beside_what_was_found_in_it():
    listed = [container(1, ports=on("0.0.0.0")), container(2, privileged=True), container(3, ports=on("127.0.0.1")),
              container(4, running=False, privileged=True), container(5, network="host"), container(6, image=B)]  # fmt: skip
    found = scans.attach(host(containers=listed), [reduced(trivy(HOLES))])
    (image,) = exposure.scanned_of(found)
    assert (image.running, image.privileged, image.published) == (4, 1, 2)
    assert image.ports == ("8080/tcp", exposure.HOST_NETWORK)
    assert (image.critical, image.critical_fixable, image.high, image.high_fixable) == (2, 1, 1, 1)
    assert exposure.scanned_of(scans.attach(host(), [reduced(trivy(HOLES, image_id=""))])) == ()
    result = result_of(found)
    assert target_of(json.loads(json.dumps(target_document(result)))).scanned == result.scanned == (image,)


def test_images_are_ranked_by_exposure_then_by_what_was_found():
    (base,) = exposure.scanned_of(scans.attach(host(), [reduced(trivy(HOLES))]))
    result = result_of(host())

    def image(name, **more):
        return dataclasses.replace(base, name=name, id=name, **more)

    both = image("both", running=1, privileged=1, published=1)
    first = dataclasses.replace(result, name="h1", scanned=(
        image("idle", critical=50), image("runs", running=3), image("privileged", running=1, privileged=1), both,
        image("high", critical=0, running=1, published=1), image("published", running=1, published=1),
        image("clean", critical=0, high=0, running=1, privileged=1),
    ))  # fmt: skip
    second = dataclasses.replace(result, name="h2", scanned=(image("runs-too", running=1), image("runs")))
    third = dataclasses.replace(result, name="h3", scanned=(image("runs"),))
    told = ranked([first, second, third])
    assert [i.name for i in told.images] == ["both", "privileged", "published", "high", "runs", "runs-too", "idle"]
    assert told.images[4].targets == ("h1", "h2", "h3")
    assert (told.scanned, told.targets) == (8, 3)


def demo_scan(folder, **more):
    """Write a result for the demo's web image, with what a report must escape."""
    image = next(
        i for i in evidence.load(DEMO / "web-1.evidence.json").facts["engine:images"][0]["data"] if "web" in i["RepoTags"][0]
    )
    document = trivy([("CVE-1", "<script>alert(1)</script>", "2", "CRITICAL")], image_id=image["Id"], **more)
    folder.mkdir()
    (folder / "web.json").write_text(json.dumps(document))


def run(*args):
    done = CliRunner().invoke(cli, [*map(str, args)], catch_exceptions=False)
    return done.exit_code, done.output


def test_a_bundle_with_scans_gives_the_same_again_without_them(tmp_path):
    demo_scan(tmp_path / "scans")
    common = ("--only", "docker-image-rebuilt", "--format", "json,html", "--no-sign", "--quiet")
    first, second = tmp_path / "first", tmp_path / "second"
    assert run("evaluate", DEMO / "web-1.evidence.json", "--scans", tmp_path / "scans", "-o", first, *common)[0] == 0
    (tmp_path / "scans" / "web.json").unlink()
    assert run("evaluate", first / "evidence", "-o", second, *common)[0] == 0
    before, after = (json.loads((f / "results.json").read_text()) for f in (first, second))
    assert before["findings"] == after["findings"]
    assert before["targets"] == after["targets"]
    (finding,) = [f for f in before["findings"] if f["control"] == "docker-image-rebuilt"]
    assert {o["subject"]: o["status"] for o in finding["observations"]}["image/shop/web:1.4"] == "fail"
    html = (first / "report.html").read_text()
    assert "Vulnerable images by exposure" in html
    assert "<script>alert(1)" not in html


def test_a_run_that_goes_on_takes_its_scans_with_it(tmp_path):
    demo_scan(tmp_path / "scans")
    inventory = str(fleet.inventory(tmp_path, 3, 0))
    only = ("--only", "docker-image-rebuilt", "--limit", "web-*")
    fleet.ended(tmp_path, "first", "web-1", "-i", inventory, "--scans", "scans", *only, "--format", "json", "-o", "out")
    done = fleet.audit(tmp_path, "second", "--resume", "latest", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert "web-0" not in fleet.asked(tmp_path, "second")
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    told = {f["target"]: {o["subject"]: o["status"] for o in f["observations"]}["image/shop/web:1.4"] for f in document["findings"]}
    assert told == dict.fromkeys(("web-0", "web-1", "web-2"), "fail")
    assert all(t["scanned"][0]["critical_fixable"] == 1 for t in document["targets"] if t["status"] == "audited")


def test_the_pdf_ranks_them_too(tmp_path):
    from auditor.audit import Judge, Selection
    from reports.as_pdf import page

    demo_scan(tmp_path / "scans")
    judge = Judge(Selection().resolve(packaged_library()), {})
    judge.add(scans.attach(evidence.load(DEMO / "web-1.evidence.json"), scans.read([tmp_path / "scans"])))
    for mode in ("by-control", "summary"):
        html = page(judge.run(["web-1"]), mode)
        assert "1. shop/web:1.4" in html
        assert "1 critical (1 with a fix)" in html


def test_scans_that_are_none_end_the_command_before_anything_is_done(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    code, said = run("evaluate", DEMO / "web-1.evidence.json", "--scans", tmp_path / "missing", "-o", tmp_path / "o", "--no-sign")
    assert (code, "does not exist" in said) == (2, True)
    with pytest.raises(InputError, match="not a result of Trivy"):
        run("evaluate", DEMO / "web-1.evidence.json", "--scans", tmp_path, "-o", tmp_path / "o", "--no-sign")
    assert not (tmp_path / "o").exists()
