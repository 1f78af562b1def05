"""Manifests that schedule an audit in a cluster: the API takes them, they ask for no more than they need, and our own controls pass."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from auditor.cli import cli
from auditor.facts.kubernetes import KINDS
from auditor.inventory import parse
from auditor.model import Status
from tests.support.apiserver import ApiServer
from tests.support.cluster import collect, controls, judged
from tests.support.kube_models import mistakes
from tests.test_privileges import Rbac
from tests.test_schedule import FLEET, said, written


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    return written(tmp_path)


def base(folder: Path, *argv: str | Path) -> dict[str, list[dict[str, Any]]]:
    said("kubernetes", "-o", folder, *argv)
    return {p.name: list(yaml.safe_load_all(p.read_text())) for p in folder.iterdir()}


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    return base(tmp_path_factory.mktemp("base"))


def documents(files: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [d for name, parts in files.items() if name != "kustomization.yaml" and not name.startswith("optional-") for d in parts]


def test_manifests_are_what_the_api_says(manifests: dict[str, list[dict[str, Any]]], tmp_path: Path, fleet: Path) -> None:
    everything = [*documents(manifests), *documents(base(tmp_path / "fleet", "-i", fleet))]
    assert [m for d in everything for m in mistakes(d)] == []
    assert {d["kind"] for d in everything} == {
        "Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ConfigMap",
        "PersistentVolumeClaim", "NetworkPolicy", "CronJob",
    }  # fmt: skip


def test_the_test_sees_wrong_manifests(manifests: dict[str, list[dict[str, Any]]]) -> None:
    (job,) = manifests["cronjob.yaml"]
    for path, value in (
        ("shedule", "x"),
        ("schedule", 5),
        ("schedule", None),
        ("jobTemplate", {"spec": {"template": {"specs": {}}}}),
    ):
        wrong = copy.deepcopy(job)
        wrong["spec"][path] = value
        assert mistakes(wrong), path


def test_kustomize_takes_the_base(tmp_path: Path, fleet: Path) -> None:
    files = base(tmp_path / "base", "-i", fleet)
    (listed,) = files["kustomization.yaml"]
    assert {*listed["resources"], "kustomization.yaml"} == {n for n in files if not n.startswith("optional-")}
    if not shutil.which("kubectl"):
        pytest.skip("kubectl builds the base")
    built = subprocess.run(["kubectl", "kustomize", tmp_path / "base"], capture_output=True, text=True, check=False, timeout=60)
    assert built.returncode == 0, built.stderr
    order = lambda d: (d["kind"], d["metadata"].get("namespace", ""), d["metadata"]["name"])  # noqa: E731
    assert sorted(yaml.safe_load_all(built.stdout), key=order) == sorted(documents(files), key=order)


def test_what_is_printed_can_be_applied_as_it_is(manifests: dict[str, list[dict[str, Any]]]) -> None:
    assert list(yaml.safe_load_all(said("kubernetes"))) == documents(
        {n: manifests[n] for n in ("account.yaml", "rights.yaml", "config.yaml", "state.yaml", "network.yaml", "cronjob.yaml")}
    )


def test_the_rights_are_those_that_are_printed(manifests: dict[str, list[dict[str, Any]]]) -> None:
    printed = CliRunner().invoke(cli, ["privileges", "--kubernetes"], standalone_mode=False).output
    ours = "---\n".join(yaml.safe_dump(d) for n in manifests if n != "kustomization.yaml" for d in manifests[n])
    assert Rbac(ours).allowed == Rbac(printed).allowed
    assert Rbac(ours).urls == Rbac(printed).urls


def template(manifests: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    return manifests["cronjob.yaml"][0]["spec"]["jobTemplate"]["spec"]["template"]["spec"]  # type: ignore[no-any-return]


def test_the_arguments_are_those_of_an_audit(manifests: dict[str, list[dict[str, Any]]], tmp_path: Path, fleet: Path) -> None:
    for files in (manifests, base(tmp_path / "fleet", "-i", fleet, "--fail-on", "high")):
        (config,) = files["config.yaml"]
        (container,) = template(files)["containers"]
        (tmp_path / "inventory.yaml").write_text(config["data"]["inventory.yaml"])
        argv = [a.replace("/etc/cis-auditor", str(tmp_path)) for a in container["args"]]
        assert cli.commands["audit"].make_context("audit", argv[1:]).params["inventory"] == tmp_path / "inventory.yaml"
        found = parse(config["data"]["inventory.yaml"], tmp_path / "inventory.yaml", elsewhere=True)
        assert found.clusters[0].in_cluster
    assert config["data"]["inventory.yaml"] == FLEET


def test_an_audit_that_asks_no_cluster_gets_no_token_and_no_rights(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yaml"
    path.write_text("hosts: [{name: web-1, address: 10.0.0.1}]\n")
    files = base(tmp_path / "base", "-i", path)
    assert template(files)["automountServiceAccountToken"] is False
    assert "rights.yaml" not in files
    (policy,) = files["network.yaml"]
    assert [p["port"] for p in policy["spec"]["egress"][1]["ports"]] == [22]


def test_what_kubernetes_would_take_for_a_variable_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yaml"
    path.write_text('hosts: [{name: "a$(HOME)", address: 10.0.0.1}]\n')
    (container,) = template(base(tmp_path / "base", "-i", path, "--limit", "a$(HOME)"))["containers"]
    assert "--limit=a$$(HOME)" in container["args"]


def test_what_is_reached_is_what_the_inventory_names(tmp_path: Path, fleet: Path) -> None:
    files = base(tmp_path / "base", "-i", fleet, "--store", "postgresql://audit@db/history")
    (policy,) = files["network.yaml"]
    assert [p["port"] for p in policy["spec"]["egress"][1]["ports"]] == [443, 2022, 2222, 2377, 5432, 6443]
    assert "ingress" not in policy["spec"]
    secrets = {v["secret"]["secretName"]: v["secret"]["optional"] for v in template(files)["volumes"] if "secret" in v}
    assert secrets == {"cis-auditor-ssh": True, "cis-auditor-docker": True, "cis-auditor-postgresql": True}


def environment(files: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    (container,) = template(files)["containers"]
    return {e["name"]: e.get("value") for e in container["env"]}


@pytest.mark.parametrize("shards", [(), ("--shards", "3")])
def test_a_pod_can_log_in_to_its_database(tmp_path: Path, shards: tuple[str, ...]) -> None:
    """By a service file in a secret, of which psycopg doesn't ask, as of a password file, that nobody else may read it."""
    files = base(tmp_path / "base", "--store", "postgresql:///?service=audits", *shards)
    place = Path(environment(files)["PGSERVICEFILE"])
    (mounted,) = [m for m in template(files)["containers"][0]["volumeMounts"] if m["mountPath"] == str(place.parent)]
    (volume,) = [v for v in template(files)["volumes"] if v["name"] == mounted["name"]]
    assert volume["secret"] == {"secretName": "cis-auditor-postgresql", "optional": True, "defaultMode": 0o440}


def test_the_key_that_signs_outlives_the_pod(manifests: dict[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    (state,) = [m for m in template(manifests)["containers"][0]["volumeMounts"] if m["name"] == "state"]
    assert environment(manifests)["XDG_CONFIG_HOME"] == state["mountPath"]
    split = base(tmp_path, "--store", "postgresql://audit@db/history", "--shards", "2")
    assert "XDG_CONFIG_HOME" not in environment(split), "a key that is gone with its pod proves nothing"


def test_a_run_that_is_split_is_an_indexed_job(tmp_path: Path, fleet: Path) -> None:
    assert "--store postgresql" in said("kubernetes", "-i", fleet, "--shards", "3", code=2)
    files = base(tmp_path / "base", "-i", fleet, "--shards", "3", "--store", "postgresql://audit@db/history")
    assert [m for d in documents(files) for m in mistakes(d)] == []
    job = files["cronjob.yaml"][0]["spec"]["jobTemplate"]["spec"]
    assert (job["completionMode"], job["completions"], job["parallelism"]) == ("Indexed", 3, 3)
    assert (job.get("backoffLimit"), job["backoffLimitPerIndex"], job["maxFailedIndexes"]) == (None, 0, 3)
    assert "state.yaml" not in files
    (container,) = template(files)["containers"]
    name = "metadata.labels['batch.kubernetes.io/job-name']"
    assert [e["valueFrom"]["fieldRef"]["fieldPath"] for e in container["env"] if e["name"] == "AUDIT_RUN"] == [name]
    assert "command" not in container
    assert container["args"][-2:] == ["--run=$(AUDIT_RUN)", "--shard=job/3"]
    assert cli.commands["audit"].make_context("audit", container["args"][1:]).params["shard"] == "job/3"
    assert ours(judged_with(tmp_path / "judged", list(running(files)))) == []


PLURALS = {"Namespace": "namespaces", "ServiceAccount": "serviceaccounts", "ClusterRole": "clusterroles",
           "ClusterRoleBinding": "clusterrolebindings", "Role": "roles", "RoleBinding": "rolebindings",
           "NetworkPolicy": "networkpolicies", "CronJob": "cronjobs", "Job": "jobs", "Pod": "pods"}  # fmt: skip


def running(files: dict[str, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """What the API lists once the manifests are applied and the CronJob has started an audit."""
    (cronjob,) = files["cronjob.yaml"]
    yield from documents(files)
    owner = {"apiVersion": "batch/v1", "controller": True}
    spec = cronjob["spec"]["jobTemplate"]["spec"]
    meta = {"name": "cis-auditor-1", "namespace": cronjob["metadata"]["namespace"]}
    job = {**meta, "ownerReferences": [{**owner, "kind": "CronJob", "name": "cis-auditor"}]}
    yield {"apiVersion": "batch/v1", "kind": "Job", "metadata": job, "spec": spec}
    pod = {**meta, "ownerReferences": [{**owner, "kind": "Job", "name": "cis-auditor-1"}]}
    status = {"phase": "Running"}
    yield {"apiVersion": "v1", "kind": "Pod", "metadata": pod, "spec": spec["template"]["spec"], "status": status}


def judged_with(folder: Path, objects: list[dict[str, Any]]) -> dict[str, Any]:
    with ApiServer(folder) as server:
        for item in objects:
            if item["kind"] in PLURALS:
                found = server.lists[KINDS[PLURALS[item["kind"]]].path]
                found.items = [*found.items, json.dumps(item).encode()]
        return judged(collect(server))


#: Whether images are verified is settled by a webhook or policy of the cluster, of which the recorded one has none.
CLUSTERS_OWN = "k8s-image-provenance"


def ours(findings: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    return [
        (name, o.subject, o.status.value, o.actual)
        for name, f in findings.items()
        for o in f.observations
        if "cis-auditor" in o.subject and o.status in (Status.FAIL, Status.ERROR) and name != CLUSTERS_OWN
    ]


def test_nothing_of_ours_fails_when_we_audit_it(manifests: dict[str, list[dict[str, Any]]], tmp_path: Path, fleet: Path) -> None:
    before = judged_with(tmp_path / "before", [])
    for name, files in (("cluster", manifests), ("fleet", base(tmp_path / "fleet", "-i", fleet))):
        after = judged_with(tmp_path / name, list(running(files)))
        assert len(after) == len(controls())
        seen = {k for k, f in after.items() if any("cis-auditor" in o.subject for o in f.observations)}
        assert len(seen) > 10, seen
        assert ours(after) == []
        assert {k: f.status for k, f in after.items()} == {k: f.status for k, f in before.items()}


def test_the_test_sees_a_bad_pod(manifests: dict[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    files = copy.deepcopy(manifests)
    template(files)["hostPID"] = True
    del template(files)["containers"][0]["securityContext"]["allowPrivilegeEscalation"]
    files["account.yaml"] = [d for d in files["account.yaml"] if d["metadata"]["name"] != "default"]
    files["network.yaml"] = []
    (role,) = [d for d in files["rights.yaml"] if d["kind"] == "Role" and d["metadata"]["namespace"] == "default"]
    role["rules"][0]["verbs"] = ["list", "watch"]
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "cis-auditor"}}
    assert {name for name, *_ in ours(judged_with(tmp_path, [account, *running(files)]))} >= {
        "k8s-pods-host-pid", "k8s-namespace-network-policy", "k8s-pods-security-context", "k8s-default-namespace",
        "k8s-default-service-accounts",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("kubernetes", "--namespace", "kube-system"), "not a namespace of the audit's own"),
        (("kubernetes", "--image", "a b"), "not the name of an image"),
        (("kubernetes", "--cron", "daily"), "five fields"),
        (("systemd", "--program", "/bin/true", "--on-calendar", "daily\nExecStart=x"), "calendar event"),
        (("cron", "--user", "a b"), "not the name of an account"),
        (("cron", "--store", "postgresql://a:secret@db/x"), "a password would stand in the file"),
        (("kubernetes", "--store", "postgresql://a@db:secret/x"), "is no database URL"),
        (("cron", "--only", "5.4\nx"), "there is no control"),
    ],
)
def test_mistakes_are_one_line(argv: tuple[str, ...], words: str) -> None:
    text = said(*argv, code=2)
    assert words in text
    assert "secret@" not in text


def test_targets_that_a_pod_can_not_reach_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "i.yaml"
    for text in ("hosts: [{name: here, transport: local}]", 'docker: [{name: ci, url: "unix:///run/docker.sock"}]',
                 "hosts: [{name: here, ssh: {password_env: FLEET}}]"):  # fmt: skip
        path.write_text(text)
        assert re.match(r"(here|ci): ", said("kubernetes", "-i", path, code=2))
