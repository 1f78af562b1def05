"""Preflight asks clusters and engines little, and names the controls that an audit then can't judge."""

from __future__ import annotations

import json
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from auditor import preflight
from auditor.cli import cli
from auditor.facts.kubernetes import KINDS
from auditor.transports.base import ShellAnswer, TargetError
from tests.support.apiserver import ApiServer
from tests.support.engine_api import engine
from tests.test_privileges import Rbac
from tests.test_privileges import said as privileges


def said(folder: Path, inventory: dict[str, Any], *argv: str) -> tuple[int, list[dict[str, Any]], str]:
    """Run preflight twice; return its exit code, what it says as JSON, and as text."""
    path = folder / "inventory.yaml"
    path.write_text(yaml.safe_dump(inventory))
    results = [CliRunner().invoke(cli, ["preflight", "-i", str(path), *argv, *more]) for more in (("--format", "json"), ())]
    assert {r.exit_code for r in results} <= {0, 3}, results[0].output
    assert results[0].exit_code == results[1].exit_code
    return results[0].exit_code, json.loads(results[0].stdout)["targets"], results[1].stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("server")) as running:
        yield running


def cluster(server: ApiServer, token: str = "token-limited", **keys: Any) -> dict[str, Any]:
    return {"clusters": [{"name": "prod", "kubeconfig": str(server.kubeconfig(token)), **keys}]}


def test_a_cluster_is_asked_for_one_object_of_each_kind(server: ApiServer, tmp_path: Path) -> None:
    server.denied = {"limited": Rbac(privileges("--kubernetes"))}  # type: ignore[dict-item]
    server.queries.clear()
    server.methods.clear()
    code, (found,), text = said(tmp_path, cluster(server))
    assert (code, found["ready"], found["missing"], found["controls"]) == (0, True, [], [])
    assert text.splitlines()[0] == "prod: ready as the kubeconfig's user u, who may have another name there"
    assert set(server.methods) == {"GET"}
    asked = Counter(path for path, _ in server.queries)
    assert set(asked.values()) == {2}  # it was run twice
    lists = [query for path, query in server.queries if path not in ("/version", "/apis", "/flagz")]
    assert len(lists) > 40
    assert all(query == {"limit": ["1"]} for query in lists)
    assert not [path for path in asked if "secrets" in path or "proxy" in path]


@pytest.mark.parametrize("kind", ["networkpolicies", "pods", "default/configmaps"])
def test_a_right_that_lacks_is_named_with_its_line(server: ApiServer, tmp_path: Path, kind: str) -> None:
    where = KINDS[kind]
    rbac = Rbac(privileges("--kubernetes"))
    rbac.allowed.remove((where.namespace, where.group, where.resource))
    server.denied = {"limited": rbac}  # type: ignore[dict-item]
    code, (found,), text = said(tmp_path, cluster(server))
    assert code == 3
    assert {m["what"] for m in found["missing"]} == {"list components", "list pods"} if kind == "pods" else {f"list {kind}"}
    for missing in found["missing"]:
        at, _, rule = missing["line"].partition(": ")
        assert at == (f"Role in {where.namespace}" if where.namespace else "ClusterRole") or kind == "pods"
        assert yaml.safe_load(rule) == {"apiGroups": [where.group], "resources": [where.resource], "verbs": ["list"]}
        assert f"to add: {missing['line']}" in text
    path = tmp_path / "out"
    CliRunner().invoke(
        cli, ["audit", "-i", str(tmp_path / "inventory.yaml"), "-o", str(path), "--format", "json", "--no-store", "--quiet"]
    )
    audited = json.loads((path / "results.json").read_text())["findings"]
    named = {(c["benchmark"], c["control"]) for c in found["controls"]}
    errors = {(f"{f['benchmark']}@{f['version']}", f["control"]) for f in audited
              if any(o["status"] == "error" and "may not list" in o["actual"] for o in f["observations"])}  # fmt: skip
    assert errors
    assert errors <= named


def test_kubelets_and_flags(server: ApiServer, tmp_path: Path) -> None:
    rbac = Rbac(privileges("--kubernetes"))
    rbac.urls.discard("/flagz")
    server.denied = {"limited": rbac}  # type: ignore[dict-item]
    proxies = [p for p in server.documents if p.endswith("/proxy/configz")]
    server.denied["auditor"] = set(proxies)
    _, (found,), _ = said(tmp_path, cluster(server))
    assert [m["line"] for m in found["missing"]] == ["ClusterRole: {nonResourceURLs: [/flagz], verbs: [get]}"]
    _, (found,), _ = said(tmp_path, cluster(server, "token-auditor", nodes_proxy=True))
    assert [m["line"] for m in found["missing"]] == ['ClusterRole: {apiGroups: [""], resources: [nodes/proxy], verbs: [get]}']


def test_who_is_nobody_to_the_server_or_finds_none(server: ApiServer, tmp_path: Path) -> None:
    server.denied = {}
    code, (found,), _ = said(tmp_path, cluster(server, "token-of-nobody"))
    assert (code, found["missing"]) == (3, [])
    assert "does not accept the credentials" in found["error"]
    config = server.kubeconfig(url="https://127.0.0.1:9")
    code, (found,), text = said(tmp_path, {"clusters": [{"name": "gone", "kubeconfig": str(config)}]})
    assert code == 3
    assert text.startswith("gone: can't be audited: unreachable: ")


def test_an_engine_is_asked_for_its_version_alone(tmp_path: Path) -> None:
    with engine(tmp_path) as (spec, running):
        code, (found,), _ = said(tmp_path, {"docker": [{"name": "ci", "url": spec.url}]})
        assert {str(s).rpartition("/")[2].strip("'\"]) ") for s in running.seen} <= {"version", "_ping"}, running.seen
    assert code == 3
    assert not found["error"]
    keys = {c["control"] for c in found["controls"]}
    assert "docker-audit-dockerd" in keys
    assert not {k for k in keys if k.startswith(("docker-container", "docker-image"))}
    code, (found,), _ = said(tmp_path, {"docker": [{"name": "ci", "url": f"unix://{tmp_path}/none.sock"}]})
    assert "none.sock" in found["error"]


def test_this_machine(tmp_path: Path) -> None:
    before = {p: stat.S_IFMT(p.lstat().st_mode) for p in tmp_path.iterdir()}
    result = CliRunner().invoke(cli, ["preflight", "--only", "docker-audit-dockerd"])
    assert result.exit_code in (0, 3)
    assert "targets are ready" in result.stdout
    assert {p: stat.S_IFMT(p.lstat().st_mode) for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("said_", "why"),
    [
        ("m id 0 root\nm how root 0\n\n", ""),
        ("m id 5 a b\nm how sudo 3\n\n", ""),
        ("m id 5 a\nm how sudo 3\n/bin/sh: 1: head: Permission denied\n", "doesn't let the script run commands"),
        ("m id 5 a\nm how sudo 1\nsudo: a password is required\n", "a password is required"),
        ("m id 5 a\nm how sudo 126\n\n", "it ended with 126"),
        ("m id 5 a\nm how sudo \n", "it ended with"),
        ("m id 5 a\nm how nosudo 0\n", "there is no sudo"),
    ],
)
def test_what_a_host_says(said_: str, why: str) -> None:
    told = preflight._told(ShellAnswer(said_.encode(), b""), "m")
    assert (why in told["why"]) if why else told["why"] == ""


@pytest.mark.parametrize(
    "text", ["", "m how root 0\n", "m id 0 root\n", "This account is not available.\n", "x id 0 root\nx how root 0\n"]
)
def test_a_host_that_says_something_else_can_not_be_audited(text: str) -> None:
    with pytest.raises(TargetError):
        preflight._told(ShellAnswer(text.encode(), b"\x1b[31m"), "m")
