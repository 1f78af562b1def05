"""What is planned for nodes whose programs are started in other ways than kubeadm's, and what is never left to a script."""

from __future__ import annotations

import dataclasses
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from auditor.catalogue import packaged
from auditor.engine import judge
from auditor.fixes import as_ansible, as_shell, words
from auditor.fixes.plan import Case, plan
from auditor.fixes.planners import PLANNERS
from auditor.fixes.steps import After, ByHand, Effect, HaveLines, KeepBits, Own, Plan, Run, SetFlag, SetKey, Step
from auditor.model import Evidence, Finding, Observation, Status, Target, TargetKind, TargetResult, TargetStatus
from checks import check_types
from tests.support.kube_node import APISERVER, KUBELET

BENCHMARK = packaged(check_types()).load("cis-kubernetes@2.1")
MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"
CONFIG = "/var/lib/kubelet/config.yaml"


def process(name: str, args: Sequence[str], **more: Any) -> dict[str, Any]:
    return {"pid": 7, "name": name, "exe": f"/usr/bin/{name}", "args": list(args), "uid": 0, "started": 100, "contained": name != "kubelet",
            "environ": {}, **more}  # fmt: skip


def stat(path: str) -> dict[str, Any]:
    return {"path": path, "type": "regular file", "mode": "0600", "uid": 0, "gid": 0, "user": "root", "group": "root", "mtime": 1}


def host(
    *processes: dict[str, Any], manifests: Sequence[str] = (MANIFEST,), kubelet: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    documents = [{"mtime": 1, **d} for d in kubelet]
    return {
        "processes": list(processes),
        "files:static_pod=kube-apiserver": {"files": [stat(m) for m in manifests], "searched": []},
        "config:kube-apiserver --authorization-config": [{"pid": 7, "documents": []}],
        "config:kubelet --config --config-dir/*.conf": [{"pid": 7, "documents": documents}],
        "files:unit=kubelet.service": {"files": [stat("/usr/lib/systemd/system/kubelet.service")], "searched": []},
    }


def planned(facts: dict[str, Any], *keys: str) -> tuple[Step, ...]:
    evidence = Evidence(Target("n1", "ssh", "10.0.0.1"), "", facts)
    target = TargetResult("n1", TargetKind.NODE, "10.0.0.1", "ssh", (), (), TargetStatus.AUDITED, None, None)
    chosen = dataclasses.replace(BENCHMARK, controls=tuple(c for c in BENCHMARK.controls if c.key in keys))
    found = [f for f in judge([chosen], evidence) if f.status is Status.FAIL]
    assert {f.control for f in found} == set(keys), found
    controls = {c.key: c for c in chosen.controls}
    return plan("r1", target, [Case(controls[f.control], f, target, evidence) for f in found], PLANNERS).steps


def said(step: Step) -> str:
    assert isinstance(step.action, ByHand), step
    return "\n".join((step.action.words, *step.action.lines))


def api_server(*args: str) -> dict[str, Any]:
    return process("kube-apiserver", [*APISERVER[1:], *args])


def test_controls_that_ask_of_one_list_make_one_value() -> None:
    keys = ("k8s-apiserver-no-always-admit", "k8s-apiserver-deny-external-ips", "k8s-apiserver-always-pull-images")
    (step,) = planned(host(api_server("--enable-admission-plugins=PodSecurity,AlwaysAdmit")), *keys)
    value = "NodeRestriction,PodSecurity,DenyServiceExternalIPs,AlwaysPullImages"
    assert step.action == SetFlag(MANIFEST, "kube-apiserver", "--enable-admission-plugins", value)
    assert len(step.controls) == 3
    assert step.effect is Effect.CONTROL_PLANE
    assert step.after is not None
    assert step.after.path == MANIFEST


def test_one_authorizer_alone_is_never_what_is_left() -> None:
    """A control that asks for Node where no flag is given must not shut everybody else out."""
    args = [a for a in APISERVER[1:] if not a.startswith("--authorization-mode")]
    (step,) = planned(host(process("kube-apiserver", args)), "k8s-apiserver-authorization-node")
    assert isinstance(step.action, SetFlag)
    assert step.action.value == "Node,RBAC"


@pytest.mark.parametrize(
    ("facts", "key", "words"),
    [
        (host(api_server(), manifests=()), "k8s-apiserver-profiling", "no manifest of a static pod is its own"),
        (host(api_server(), manifests=(MANIFEST, MANIFEST + "2")), "k8s-apiserver-profiling", "several manifests"),
        (host(api_server(), manifests=("/etc/a\nb.yaml",)), "k8s-apiserver-profiling", "not for a script"),
        (host(api_server("--enable-admission-plugins=AlwaysAdmit,x y")), "k8s-apiserver-no-always-admit", "not for a script"),
        (host(api_server("--admission-control=AlwaysAdmit")), "k8s-apiserver-no-always-admit", "something else decides"),
        (host(api_server("--audit-log-path=", "--audit-log-maxage=1")), "k8s-apiserver-audit-log-maxage", "nothing without --audit-log-path"),
        (host(process("kube-scheduler", ["--config=/etc/s.yaml"])) | {"config:kube-scheduler --config": [
            {"pid": 7, "documents": [{"path": "/etc/s.yaml", "data": {}, "mtime": 1}]}]}, "k8s-scheduler-profiling", "enableProfiling"),
        (host(process("rke2", [], contained=False, pid=1), api_server()), "k8s-apiserver-profiling",
         'kube-apiserver-arg:\n- "profiling=false"\nsystemctl restart rke2-server'),
        (host(process("kubelite", ["--apiserver-args-file=/var/snap/microk8s/7/args/kube-apiserver"], contained=False, pid=1),
              api_server()), "k8s-apiserver-profiling", "/var/snap/microk8s/7/args/kube-apiserver\n--profiling=false\nsnap restart"),
    ],
)  # fmt: skip
def test_flags_that_a_person_sets(facts: dict[str, Any], key: str, words: str) -> None:
    (step,) = planned(facts, key)
    assert words in said(step)


def kubelet(*args: str) -> dict[str, Any]:
    return process("kubelet", [*KUBELET[1:], *args])


ANONYMOUS = {"authentication": {"anonymous": {"enabled": True}}}


def test_the_kubelets_deciding_file() -> None:
    """A key that a drop-in sets is changed there; one that nobody sets goes into the file."""
    drop_in = {"path": "/etc/kubernetes/kubelet.conf.d/10.conf", "data": {"readOnlyPort": 10255}}
    facts = host(kubelet(), kubelet=({"path": CONFIG, "data": {"readOnlyPort": 0, **ANONYMOUS}}, drop_in))
    steps = planned(facts, "k8s-kubelet-read-only-port", "k8s-kubelet-anonymous-auth", "k8s-kubelet-pod-pids-limit")
    made = {(a.path, a.key, a.value) for s in steps if isinstance(a := s.action, SetKey)}
    assert made == {
        (drop_in["path"], ("readOnlyPort",), 0), (CONFIG, ("authentication", "anonymous", "enabled"), False), (CONFIG, ("podPidsLimit",), 4096),
    }  # fmt: skip
    assert {s.after for s in steps} == {After("Restart the kubelet", service="kubelet")}


def test_a_flag_that_beats_the_file_is_named() -> None:
    """The file is set as well, for when the flag is gone."""
    facts = host(kubelet("--anonymous-auth=true"), kubelet=({"path": CONFIG, "data": ANONYMOUS},))
    step, flag = planned(facts, "k8s-kubelet-anonymous-auth")
    assert isinstance(step.action, SetKey)
    assert "grep -n -e --anonymous-auth /var/lib/kubelet/kubeadm-flags.env" in said(flag)
    assert "/usr/lib/systemd/system/kubelet.service" in said(flag)


def test_k3s_reads_drop_ins_of_others() -> None:
    folder = "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d"
    facts = host(process("k3s", ["server"], contained=False, pid=1), process("kubelet", [f"--config-dir={folder}"]),
                 kubelet=({"path": f"{folder}/00-k3s-defaults.conf", "data": ANONYMOUS},))  # fmt: skip
    (step,) = planned(facts, "k8s-kubelet-anonymous-auth")
    assert f"a file of your own in {folder}" in said(step)
    assert "kind: KubeletConfiguration\nauthentication:\n  anonymous:\n    enabled: false" in said(step)


def test_a_kubelet_without_a_file() -> None:
    (step,) = planned(host(process("kubelet", ["--anonymous-auth=true"])), "k8s-kubelet-anonymous-auth")
    assert "started without a file" in said(step)


def test_what_the_api_shows_of_a_node_is_for_a_person() -> None:
    control = next(c for c in BENCHMARK.controls if c.key == "k8s-apiserver-profiling")
    finding = Finding("c", "b", "1", control.id, control.key, "", 1, "", control.severity, Status.FAIL, "",
                      (Observation("node/cp-1/process/kube-apiserver", Status.FAIL),))  # fmt: skip
    target = TargetResult("c", TargetKind.CLUSTER, "", "kubernetes", (), (), TargetStatus.AUDITED, None, None)
    (step,) = plan("r", target, [Case(control, finding, target, Evidence(Target("c", "kubernetes")))], PLANNERS).steps
    assert "on cp-1: audit these nodes as hosts" in said(step)


@pytest.mark.parametrize("together", [False, True])
def test_the_engine_starts_afterwards(together: bool) -> None:
    """dockerd refuses to start with icc off while iptables is off: not unless that is put right as well."""
    docker = packaged(check_types()).load("cis-docker")
    keys = ("docker-daemon-icc", *(("docker-daemon-iptables",) if together else ()))
    documents = [{"path": "/etc/docker/daemon.json", "data": {"iptables": False}, "mtime": 1}]
    facts = {"processes": [process("dockerd", [], contained=False)],
             "config:dockerd --config-file=/etc/docker/daemon.json": [{"pid": 7, "documents": documents}]}  # fmt: skip
    evidence = Evidence(Target("n1", "ssh"), "", facts)
    target = TargetResult("n1", TargetKind.DOCKER_HOST, "", "ssh", (), (), TargetStatus.AUDITED, None, None)
    controls = [c for c in docker.controls if c.key in keys]
    failure = (Observation("daemon/dockerd", Status.FAIL, "", "made up"),)
    found = [Finding("n1", "cis-docker", "1", c.id, c.key, "", 1, "", c.severity, Status.FAIL, "", failure) for c in controls]
    cases = [Case(c, f, target, evidence) for c, f in zip(controls, found, strict=True)]
    steps = plan("r", target, cases, PLANNERS).steps
    assert [isinstance(s.action, ByHand) for s in steps] == ([False, False] if together else [True])


EVIL = "EVIL{{ lookup('pipe', 'id') }}{% x %}"


def evil_plan() -> Plan:
    after = After(EVIL, command=("touch", EVIL))
    actions = (
        KeepBits(f"/etc/{EVIL}", 0o600), Own(f"/etc/{EVIL}", "root", ""), SetKey(f"/etc/{EVIL}", "json", (EVIL,), {EVIL: [EVIL]}),
        SetKey(f"/etc/{EVIL}.yaml", "yaml", ("a",), EVIL), SetFlag(f"/etc/{EVIL}", "etcd", "--a", EVIL), HaveLines(f"/etc/{EVIL}", (EVIL,)),
        HaveLines(f"/etc/{EVIL}", (EVIL,), whole=True), Run((EVIL,), (EVIL,), EVIL, EVIL), ByHand(EVIL, (EVIL,)),
    )  # fmt: skip
    steps = tuple(Step(action=a, controls=(EVIL,), subject=EVIL, words=EVIL, after=after, caution=EVIL) for a in actions)
    return Plan(run=EVIL, target=EVIL, kind="node", address=EVIL, steps=steps, open=((EVIL, EVIL, EVIL),))


class Marked(str):
    """Text that was marked as data."""

    __slots__ = ()


class Loader(yaml.SafeLoader):
    """Keeps Ansible's tag apart."""


Loader.add_constructor("!unsafe", lambda loader, node: Marked(node.value))


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [t for pair in value.items() for part in pair for t in texts(part)]
    return [t for v in value for t in texts(v)] if isinstance(value, list) else [value] if isinstance(value, str) else []


@pytest.mark.parametrize("text", [as_ansible.render(evil_plan()), as_ansible.inventory([evil_plan()])])
def test_no_word_of_evidence_is_a_template(text: str) -> None:
    found = [t for t in texts(yaml.load(text, Loader=Loader)) if "EVIL" in t]
    assert found
    assert [t for t in found if not isinstance(t, Marked) and ("{{ lookup" in t or "{%" in t)] == []


def test_an_empty_plan_is_a_playbook_too() -> None:
    empty = Plan(run="r", target="web-1", kind="docker-host", address="", steps=())
    (play,) = yaml.safe_load(as_ansible.render(empty))
    assert play["hosts"] == "web-1"
    assert as_shell.render(empty)


@pytest.mark.parametrize("step", evil_plan().steps, ids=lambda s: type(s.action).__name__)
def test_a_script_has_the_functions_that_it_calls(step: Step) -> None:
    for after in (step.after, After("", service="docker"), After("", path="/etc/p.yaml")):
        plan = dataclasses.replace(evil_plan(), steps=(dataclasses.replace(step, after=after),))
        library, _, calls = as_shell.render(plan).partition("\nbegin ")
        place = {"step": 6, "after": 4, "by_hand": 0, "finish": 0}
        said = shlex.split(calls, comments=True)
        called = {said[i + place[word]] for i, word in enumerate(said) if word in place}
        assert called > {"finish"}
        assert [name for name in called if f"\n{name}() {{" not in library] == []


def test_modes_only_lose_bits() -> None:
    assert words.symbolic(0o644) == "u-xs,g-wxs,o-wxt"
    assert words.symbolic(0o0600) == "u-xs,g-rwxs,o-rwxt"
    assert "+" not in words.symbolic(0)


def test_names_that_ansible_takes_for_patterns() -> None:
    names = {as_ansible.alias(n) for n in ("web:1", "web_1", "all,web", "!web", "-web", "~web.*", "web[1]", "all", "ungrouped")}
    assert len(names) == 9
    assert not {"all", "ungrouped"} & names, "groups that are there without being named"
    assert all(n.replace("_", "").replace("-", "").replace(".", "").isalnum() and n[0] not in "-.!~" for n in names)


def test_keys_wait_for_the_drop_in_that_takes_their_flags_away(tmp_path: Path) -> None:
    """dockerd refuses to start with both: where the drop-in can't be written, the keys stay out."""
    after = After("Restart", service="docker")
    there, other = tmp_path / "taken", After("Another", command=("true",))
    there.mkdir()  # no file can be written where a folder is
    actions = ((HaveLines(str(there), ("x",), whole=True), after), (HaveLines(str(tmp_path / "key"), ("y",)), after),
               (HaveLines(str(tmp_path / "free"), ("z",)), other))  # fmt: skip
    steps = tuple(Step(action=a, controls=("b 1",), subject="s", words="w", after=then) for a, then in actions)
    plan = Plan(run="r", target="t", kind="docker-host", address="", steps=steps)
    (play,) = yaml.load(as_ansible.render(plan), Loader=Loader)
    blocks = [t for t in play["tasks"] if t.get("name") == "w"]
    assert [b["vars"].get("cis_auditor_needs") for b in blocks] == [str(there), str(there), None]
    assert "cis_auditor_needs not in cis_auditor_look.stdout_lines" in blocks[1]["when"]
    trusting = as_shell.render(plan).replace("folder_ok() {", "folder_ok() {\n  return 0", 1).replace("$(id -u)", "0")
    script = trusting.replace("/run/cis-auditor-fix.lock", f"{tmp_path}/lock").replace("/var/backups", str(tmp_path))
    done = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, check=False, timeout=20)
    assert "needs, failed" in done.stdout, done
    assert (done.returncode, (tmp_path / "key").exists(), (tmp_path / "free").exists()) == (1, False, True)


def test_a_playbook_keeps_links_and_their_files_modes() -> None:
    """Ansible's copy would put a file of its own in the place of a link, with the mode of any new file."""
    text = as_ansible.render(evil_plan())
    assert text.count("ansible.builtin.copy:") == text.count("follow: true") > 2
