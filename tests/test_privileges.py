"""The rights that the auditor prints are those that it needs: for clusters a ClusterRole, for hosts a sudoers rule."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from auditor.audit import Benchmarks, Selection
from auditor.cli import cli
from auditor.collect import CLUSTER_ALWAYS, HOST_ALWAYS
from auditor.engine import judge
from auditor.facts import answers
from auditor.facts.components import KubeletConfigs
from auditor.facts.kubernetes import KINDS, Objects
from auditor.facts.script import PINNED, bootstrap, compose, digest, pinned
from auditor.model import Evidence, Fact, Finding, Status, Target
from auditor.privileges import Subject, cluster_role, escaped, script_of
from auditor.session import packaged_library
from auditor.transports.kubernetes import collect_cluster
from auditor.yamlfile import InputError
from tests.support.apiserver import ApiServer
from tests.support.cluster import Spec

ROOT = Path(__file__).parent.parent


def said(*argv: str) -> str:
    result = CliRunner().invoke(cli, ["privileges", *argv], catch_exceptions=False, standalone_mode=False)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*argv: str) -> str:
    result = CliRunner().invoke(cli, ["privileges", *argv], standalone_mode=False)
    assert result.exception is not None, result.output
    return str(result.exception) or result.output


# -- clusters -----------------------------------------------------------------


@dataclass
class Rbac:
    """Refuses every path that the printed roles do not allow, as RBAC does; put it where a test server keeps what is denied."""

    text: str
    allowed: set[tuple[str, str, str]] = field(default_factory=set)  # (namespace or "", group, resource), which may be listed
    urls: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for document in yaml.safe_load_all(self.text):
            namespace = document["metadata"].get("namespace", "")
            for rule in document.get("rules", ()):
                if "nonResourceURLs" in rule:
                    assert rule["verbs"] == ["get"]
                    self.urls |= set(rule["nonResourceURLs"])
                elif rule["verbs"] == ["list"]:
                    self.allowed |= {(namespace, g, r) for g in rule["apiGroups"] for r in rule["resources"]}

    def __contains__(self, path: str) -> bool:
        parts = path.strip("/").split("/")
        if len(parts) < 3:
            return path not in self.urls
        group = parts[1] if parts[0] == "apis" else ""
        rest = parts[3:] if parts[0] == "apis" else parts[2:]
        namespace = rest[1] if rest[0] == "namespaces" and len(rest) == 3 else ""
        assert len(rest) == (3 if namespace else 1), path
        return not {(namespace, group, rest[-1]), ("", group, rest[-1])} & self.allowed


@pytest.fixture(scope="module")
def benchmarks() -> Benchmarks:
    return Selection().resolve(packaged_library())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("server")) as running:
        yield running


def findings(server: ApiServer, benchmarks: Benchmarks, rbac: Rbac | None) -> dict[tuple[str, str], Finding]:
    """Collect and judge as an account that may do what ``rbac`` says; None is one that may do everything."""
    server.denied = {"limited": rbac} if rbac else {}  # type: ignore[dict-item]
    spec = Spec(str(server.kubeconfig("token-limited")))
    facts = collect_cluster(spec, frozenset(f.key for f in benchmarks.needs("cluster") | CLUSTER_ALWAYS))
    found = judge(benchmarks.all(), Evidence(Target("cluster", "kubernetes"), "", facts))
    return {(f.version, f.control): f for f in found}


def test_the_role_is_all_that_the_selected_controls_need(server: ApiServer, benchmarks: Benchmarks) -> None:
    everything = findings(server, benchmarks, None)
    assert len(everything) > 100
    assert findings(server, benchmarks, Rbac(said("--kubernetes"))) == everything


@pytest.mark.parametrize("kind", ["networkpolicies", "clusterroles", "pods", "serviceaccounts", "default/services"])
def test_without_one_right_the_controls_that_need_it_say_so(server: ApiServer, benchmarks: Benchmarks, kind: str) -> None:
    where = KINDS[kind]
    rbac = Rbac(said("--kubernetes"))
    full = findings(server, benchmarks, rbac)
    rbac.allowed.remove((where.namespace, where.group, where.resource))
    found = findings(server, benchmarks, rbac)
    differing = {key[1] for key in full if found[key] != full[key]}
    same = {
        Objects(k)
        for k, v in KINDS.items()
        if (v.group, v.resource) == (where.group, where.resource) and v.namespace in ("", where.namespace, "kube-system")
    }
    needing = {
        c.key for b in benchmarks.all() for c in b.controls for part in (c.check, c.applies_when) if part and part.needs() & same
    }
    assert differing
    assert differing <= needing
    reason = f'the account may not list {where.resource} in the API group "{where.group}" '
    for key, finding in found.items():
        if key[1] in differing:
            assert finding.status in (Status.ERROR, Status.FAIL), finding
            errors = [o for o in finding.observations if o.status is Status.ERROR]
            assert any(reason in o.actual for o in errors), (key, errors)


def test_it_is_no_more_than_they_need() -> None:
    (role,) = [d for d in yaml.safe_load_all(said("--kubernetes", "--only", "k8s-default-namespace")) if d["kind"] == "ClusterRole"]
    resources = {r for rule in role["rules"] for r in rule.get("resources", ())}
    assert resources < {k.resource for k in KINDS.values()}
    assert not resources & {"networkpolicies", "clusterroles", "certificatesigningrequests"}
    for rule in role["rules"]:
        assert rule["verbs"] == (["get"] if "nonResourceURLs" in rule else ["list"])
        assert "*" not in str(rule)


def test_a_cluster_is_asked_for_controls_about_its_nodes_too() -> None:
    text = said("--kubernetes", "--only", "k8s-apiserver-profiling")
    assert "for 1 control of cis-kubernetes" in text
    rules = [rule for d in yaml.safe_load_all(text) for rule in d.get("rules", ())]
    assert {r for rule in rules for r in (*rule.get("resources", ()), *rule.get("nonResourceURLs", ()))} >= {
        "nodes",
        "pods",
        "/flagz",
    }


def test_never_secrets_and_no_wildcard() -> None:
    text = said("--kubernetes", "--nodes-proxy")
    assert "secrets" not in {r for d in yaml.safe_load_all(text) for rule in d.get("rules", ()) for r in rule.get("resources", ())}
    assert "*" not in text


def test_kubelets_only_when_asked_for_and_not_without_a_warning() -> None:
    assert "nodes/proxy" not in said("--kubernetes")
    text = said("--kubernetes", "--nodes-proxy")
    assert {"apiGroups": [""], "resources": ["nodes/proxy"], "verbs": ["get"]} in [
        rule for d in yaml.safe_load_all(text) if d["kind"] == "ClusterRole" for rule in d["rules"]
    ]
    comment = " ".join(text[text.index("# DANGER") : text.index("nodes/proxy]")].replace("# ", "").split())
    assert "close to root on every node" in comment
    assert "nodes/configz" in comment
    facts: frozenset[Fact] = frozenset({KubeletConfigs(), Objects("pods")})
    assert "nodes/proxy" not in cluster_role(facts, "", Subject.parse("user:a"))


def test_bindings_name_the_roles_and_the_account() -> None:
    for words, who in (
        ((), {"kind": "ServiceAccount", "name": "cis-auditor", "namespace": "cis-auditor"}),
        (("--subject", "serviceaccount:ops/aud"), {"kind": "ServiceAccount", "name": "aud", "namespace": "ops"}),
        (("--subject", "user:jo@example.org"), {"kind": "User", "name": "jo@example.org", "apiGroup": "rbac.authorization.k8s.io"}),
        (("--subject", "group:aud:it"), {"kind": "Group", "name": "aud:it", "apiGroup": "rbac.authorization.k8s.io"}),
    ):
        documents = list(yaml.safe_load_all(said("--kubernetes", *words)))
        roles = {(d["kind"], d["metadata"].get("namespace")) for d in documents if d["kind"] in ("Role", "ClusterRole")}
        bindings = [d for d in documents if d["kind"].endswith("Binding")]
        assert {(b["roleRef"]["kind"], b["metadata"].get("namespace")) for b in bindings} == roles
        assert all(b["subjects"] == [who] and b["roleRef"]["name"] == "cis-auditor" for b in bindings)
        made = {(d["kind"], d["metadata"]["name"]) for d in documents if d["kind"] in ("ServiceAccount", "Namespace")}
        service = {("ServiceAccount", who["name"]), ("Namespace", who.get("namespace"))}
        assert made == (service if who["kind"] == "ServiceAccount" else set())


# -- hosts --------------------------------------------------------------------


def test_the_file_is_one_that_sudo_takes(tmp_path: Path) -> None:
    if not shutil.which("visudo"):
        pytest.skip("visudo checks sudoers files")
    for subject in ("user:audit", "group:auditors"):
        path = tmp_path / "sudoers"
        said("--ssh", "--subject", subject, "-o", str(path))
        path.chmod(0o440)
        checked = subprocess.run(["visudo", "-c", "-f", str(path)], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("subject", "who"), [("user:AUDIT_1", {"username": "AUDIT_1"}), ("user:Audit", {"username": "Audit"}),
                         ("user:a.b-C", {"username": "a.b-C"}), ("group:ALL", {"usergroup": "ALL"})],
)  # fmt: skip
def test_sudo_takes_a_name_for_that_of_the_account(tmp_path: Path, subject: str, who: dict[str, str]) -> None:
    """Not for a list of accounts that another file makes under that name."""
    if not shutil.which("cvtsudoers"):
        pytest.skip("cvtsudoers says how sudo reads a file")
    path = tmp_path / "sudoers"
    path.write_text("User_Alias AUDIT_1 = joe, ann\n" + said("--ssh", "--subject", subject))
    shown = subprocess.run(["cvtsudoers", "-f", "json", str(path)], capture_output=True, text=True, check=True)
    assert [spec["User_List"] for spec in json.loads(shown.stdout)["User_Specs"]] == [[who]] * 2


def test_the_digest_is_that_of_the_script_that_an_audit_sends(tmp_path: Path, benchmarks: Benchmarks) -> None:
    text = said("--ssh", "--script", str(tmp_path / "script"))
    found = hashlib.sha256((tmp_path / "script").read_bytes()).hexdigest()
    assert text.count(found) == 2
    facts = benchmarks.needs("host") | HOST_ALWAYS
    for marker, timeout in (("feed", 5), ("abcdef", 1200)):
        assert digest(compose(facts, marker, timeout)[0]) == found
    assert digest(compose(facts, "feed")[0]) != digest(compose(benchmarks.needs("cluster"), "feed")[0])
    assert "feed" not in script_of(facts).decode()


def test_the_digest_is_the_same_in_every_process(tmp_path: Path) -> None:
    seen = set()
    for seed in ("0", "1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-m", "auditor", "privileges", "--ssh"], capture_output=True, check=True, env=env, cwd=tmp_path
        )
        seen.add(done.stdout)
    assert len(seen) == 1


def test_nothing_of_the_account_runs_before_the_digest_was_compared() -> None:
    """sudo compares arguments joined by spaces and lets ``sudo -s`` quote each of them: see `pinned`."""
    words = pinned("d" * 64).split(" ")
    assert words[0] == "true"
    assert not {w for w in words if not w}  # two spaces would be one in a sudoers file
    assert words.index("eval") > words.index("test")
    assert "\\" not in pinned("d" * 64)
    assert not re.search(r"[\n\t'`]", pinned("d" * 64))


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1))
def test_escaping_loses_nothing(words: str) -> None:
    assert re.sub(r"\\(.)", r"\1", escaped(words)) == words
    assert not re.search(r"(?<!\\)(\\\\)*[ ,:=#!*?\[\]]", escaped(words))


def test_the_script_is_sent_to_root_in_one_way() -> None:
    command = bootstrap("sudo", b"set -- x feed 9\nbody\n")
    assert command.count("sudo -n") == 1
    assert hashlib.sha256(b"body").hexdigest() in command
    assert hashlib.sha256(b"body").hexdigest() not in bootstrap("none", b"set -- x feed 9\nbody\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (f"Sorry, user a is not allowed to execute '/bin/sh -c {PINNED}/usr/bin && ...' as root on h.", answers.OTHER_SCRIPT),
        (f"Leider darf a »/bin/sh -c {PINNED}/usr/bin« als root auf h nicht ausführen.", answers.OTHER_SCRIPT),
        ("sudo: a password is required", "sudo: a password is required"),
    ],
)
def test_why_sudo_refused(words: str, told: str) -> None:
    stdout = b"\nfeed system\n2001\nplain\nh\nLinux\ndenied\n\nfeed end\n"
    records = answers.split(stdout, f"{words}\n".encode() + b"\nfeed system\n\nfeed end\n", "feed")
    assert answers.facts_of(records, [])["system"]["become_detail"] == told


# -- usage --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ((), "one of --ssh and --kubernetes"),
        (("--ssh", "--kubernetes"), "one of --ssh and --kubernetes"),
        (("--kubernetes", "--script", "x"), "--script goes with --ssh"),
        (("--ssh", "--nodes-proxy"), "--nodes-proxy goes with --kubernetes"),
        (("--ssh", "--subject", "serviceaccount:a/b"), "user:NAME or group:NAME"),
        (("--ssh", "--subject", "user:a b"), "is none of user:NAME"),
        (("--ssh", "--subject", "user:ALL=(ALL)"), "is none of user:NAME"),
        (("--ssh", "--subject", "user:+a"), "user:NAME or group:NAME"),
        (("--ssh", "--subject", "user:ALL"), "ALL means everybody"),
        (("--kubernetes", "--subject", "group:system:authenticated"), "is everybody"),
        (("--kubernetes", "--subject", "user:system:anonymous"), "is everybody"),
        (("--kubernetes", "--benchmark", "cis-docker"), "no selected control asks a cluster anything"),
        (("--ssh", "--only", "no-such"), "there is no control 'no-such'"),
        (("--ssh", "-o", "/proc/nonexistent/file"), "can't be written"),
    ],
)
def test_mistakes_are_one_line(argv: tuple[str, ...], words: str) -> None:
    assert words in refused(*argv)


def test_input_errors_are_input_errors() -> None:
    result = CliRunner().invoke(cli, ["privileges", "--ssh", "--subject", "nobody"], standalone_mode=False)
    assert isinstance(result.exception, InputError)
