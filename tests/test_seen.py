"""The inventory of what was seen on a target: from its evidence, finite, and always in the same order."""

from pathlib import Path

from auditor import evidence, seen
from auditor.model import Evidence, Problem, Reason, Target
from auditor.targets import result_of

DEMO = Path(evidence.__file__).parent / "demo"
CONTAINER = {"Id": "c" * 64, "Name": "/web", "Config": {"Image": "nginx:1.27"}, "State": {"Status": "running"}}


def docker(**answers) -> Evidence:
    return Evidence(Target("h", "ssh"), "2026-01-01T00:00:00Z", {f"engine:{k}": v for k, v in answers.items()})


def told(found) -> dict[str, list[tuple[str, str]]]:
    return {s.kind: list(s.things) for s in found}


def test_engines_containers_and_images_are_named():
    version = {
        "Version": "27.3.1",
        "ApiVersion": "1.47",
        "Components": [{"Name": "Engine", "Version": "27.3.1"}, {"Name": "runc", "Version": "1.1"}],
    }
    images = [{"Id": "sha256:" + "ab" * 32, "RepoTags": ["b:1", "a:1"], "Os": "linux", "Architecture": "arm64", "Created": "2026-02-03T00:00:00Z"},
              {"Id": "sha256:" + "cd" * 32, "RepoTags": ["<none>:<none>"]}]  # fmt: skip
    nameless = {**CONTAINER, "Name": "", "Id": "d" * 64}
    found = seen.seen_of(
        docker(version=[{"data": version}], containers=[{"data": [CONTAINER, nameless]}], images=[{"data": images}])
    )
    assert told(found) == {
        "engine": [("Docker 27.3.1", "runc 1.1, API 1.47")],
        "container": [("d" * 12, "nginx:1.27, running"), ("web", "nginx:1.27, running")],
        "image": [("a:1", "abababababab, linux/arm64, built 2026-02-03"), ("b:1", "abababababab, linux/arm64, built 2026-02-03"),
                  ("cdcdcdcdcdcd", "cdcdcdcdcdcd")],
    }  # fmt: skip


def test_podman_is_not_called_docker():
    version = {"Version": "5.2.0", "Components": [{"Name": "Podman Engine", "Version": "5.2.0"}]}
    assert told(seen.seen_of(docker(version=[{"data": version}])))["engine"] == [("Podman 5.2.0", "")]


def test_what_could_not_be_read_is_not_there():
    problem = Problem(Reason.DENIED, "no")
    assert seen.seen_of(docker(version=problem, containers=[{"engine": "x", "problem": {}}], images=[])) == ()


def test_an_inventory_is_finite_and_says_how_much_there_was():
    many = [{**CONTAINER, "Name": f"/{n:05d}" + "x" * 400} for n in range(3000, 0, -1)]
    (found,) = seen.seen_of(docker(containers=[{"data": many}]))
    assert (found.count, len(found.things)) == (3000, seen.MOST)
    assert found.things[0][0].startswith("00001x")
    assert max(len(text) for thing in found.things for text in thing) <= seen.LONGEST


def test_a_cluster_shows_nodes_namespaces_and_images():
    result = result_of(evidence.load(DEMO / "shop.evidence.json"))
    found = told(result.seen)
    assert found["node"] == [("cp-1", "v1.35.2, Debian GNU/Linux 12 (bookworm), containerd://1.6.20, amd64")]
    assert ("kube-system", "4 pods") in found["namespace"]
    assert ("docker.io/library/app:1", "in 6 pods") in found["image"]


def test_a_node_shows_its_programs():
    assert told(result_of(evidence.load(DEMO / "cp-1.evidence.json")).seen)["program"] == [("kubelet v1.35.2", "")]


def test_pods_that_were_not_read_are_not_counted_as_none():
    cluster = Evidence(Target("c", "kubernetes"), "", {"objects:namespaces": [{"metadata": {"name": "default"}}]})
    assert told(seen.seen_of(cluster)) == {"namespace": [("default", "")]}
