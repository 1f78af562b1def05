"""From failures to steps: each fix does what its check asks for, by the file, flag and restart that decide on that host."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.catalogue import packaged
from auditor.facts import flags
from auditor.facts.host import Files
from auditor.fixes.engine import without
from auditor.fixes.kinds import KINDS, Chmod, Chown
from auditor.fixes.kindwords import in_words
from auditor.fixes.plan import Case, plan
from auditor.fixes.planners import PLANNERS
from auditor.fixes.steps import ByHand, Effect, HaveLines, KeepBits, Own, Plan, Run, SetKey, Step, safe_path
from auditor.fixes.words import overrides
from auditor.model import Control, Evidence, Finding, Observation, Status, Target, TargetKind, TargetResult, TargetStatus
from checks import check_types
from checks.files import FileMode, FileOwner

LIBRARY = packaged(check_types())
CONTROLS: dict[str, Control] = {
    c.key: c for name in LIBRARY.names() for v in LIBRARY.names()[name] for c in LIBRARY.load(f"{name}@{v}").controls
}
TARGET = TargetResult("t", TargetKind.DOCKER_HOST, "", "ssh", (), (), TargetStatus.AUDITED, None, "")


def case(key: str, *subjects: str, actual: str = "", expected: str = "", control: Control | None = None, **facts: Any) -> Case:
    bound = control or CONTROLS[key]
    seen = tuple(Observation(s, Status.FAIL, expected, actual, "") for s in subjects)
    finding = Finding("t", "b", "1", bound.id, key, bound.title, 1, "manual", bound.severity, Status.FAIL, observations=seen)
    return Case(bound, finding, TARGET, Evidence(Target("t", "ssh"), "", {k.replace("_", ":", 1): v for k, v in facts.items()}))


def made(*cases: Case) -> Plan:
    return plan("r", TARGET, cases, PLANNERS)


def host(
    *args: str, settings: dict[str, Any] | None = None, unit: bool = True, info: dict[str, Any] | None = None, **process: Any
) -> dict[str, Any]:
    """Return the facts of a host with one dockerd."""
    running = {
        "pid": 7,
        "name": "dockerd",
        "exe": "/usr/bin/dockerd",
        "args": list(args),
        "uid": 0,
        "started": 1,
        "contained": False,
        "environ": {},
    } | process
    path = flags.text(args, "--config-file", flags.DOCKERD) or "/etc/docker/daemon.json"
    documents = [{"path": path, "data": settings, "mtime": 1}] if settings is not None else []
    said = {"ServerVersion": "27.1.0", "LiveRestoreEnabled": True, "Swarm": {"LocalNodeState": "inactive"}} | (info or {})
    return {
        "processes": [running], "config:dockerd --config-file=/etc/docker/daemon.json": [{"pid": 7, "documents": documents}],
        "engine_info": [{"engine": "unix:///var/run/docker.sock", "pid": 7, "data": said}],
        "files:unit=docker.service": {"files": [{"path": "/usr/lib/systemd/system/docker.service"}] if unit else [], "searched": []},
    }  # fmt: skip


@pytest.mark.parametrize("key", sorted(CONTROLS))
def test_a_fix_is_what_the_check_asks_for(key: str) -> None:
    """Modes and owners are those of the check; a fix of another kind would not turn it to pass."""
    control = CONTROLS[key]
    for fix in control.remediation.fix:
        assert len(in_words(fix)) > 15
        if isinstance(fix, Chmod) and isinstance(control.check, FileMode):
            assert int(fix.keep, 8) == int(control.check.at_most, 8)
        if isinstance(fix, Chown) and isinstance(control.check, FileOwner):
            assert (control.check.uid, control.check.gid) == (0, 0)
            assert (fix.user, fix.group) == ("root", "root")
    if isinstance(control.check, FileMode | FileOwner):
        assert [type(f) for f in control.remediation.fix] == [Chmod if isinstance(control.check, FileMode) else Chown]


def test_every_kind_has_a_planner() -> None:
    assert set(PLANNERS) == set(KINDS.values())


def test_files() -> None:
    """A folder before what is in it; names that no script should handle go to a person."""
    found = made(
        case("docker-daemon-json-mode", "file//etc/docker/daemon.json"), case("docker-etc-owner", "file//etc/docker"),
        case("docker-registry-certs-mode", "file//etc/docker/certs.d/x\ny", "file/relative", "file//etc/../x"),
        case("docker-socket-owner", "file//run/docker.sock"), case("docker-service-mode", "node/cp-1/file//etc/x"),
    )  # fmt: skip
    assert [s.action for s in found.steps if not isinstance(s.action, ByHand)] == [
        Own("/etc/docker", "root", "root"), Own("/run/docker.sock", "root", "docker"), KeepBits("/etc/docker/daemon.json", 0o644),
    ]  # fmt: skip
    assert sum(isinstance(s.action, ByHand) for s in found.steps) == 4
    assert "SocketMode" in next(s.caution for s in found.steps if s.subject == "file//run/docker.sock")


def test_a_socket_goes_to_the_group_that_the_site_chose() -> None:
    own = LIBRARY.variant(LIBRARY.load("cis-docker"), {"docker-socket-owner": (node("{groups: [engine, docker]}"),)})
    control = next(c for c in own.controls if c.key == "docker-socket-owner")
    assert made(case("docker-socket-owner", "file//run/docker.sock", control=control)).steps[0].action == Own(
        "/run/docker.sock", "root", "engine"
    )


@pytest.mark.parametrize(
    ("name", "key", "tailored", "value"),
    [
        ("cis-docker", "docker-container-restart-policy", "{max_retries: 3}", "on-failure:3"),
        ("cis-kubernetes@2.1", "k8s-kubelet-event-qps", "{at_least: 100}", 100),
        ("cis-kubernetes@2.1", "k8s-kubelet-event-qps", "{at_least: 0}", 50),
    ],
)
def test_the_value_is_one_that_a_site_accepts(name: str, key: str, tailored: str, value: Any) -> None:
    own = LIBRARY.variant(LIBRARY.load(name), {key: (node(tailored),)})
    (fix,) = next(c for c in own.controls if c.key == key).remediation.fix
    assert getattr(fix, "value", "") == value


def test_a_folder_and_what_is_in_it_have_modes_of_their_own() -> None:
    benchmark = LIBRARY.load("cis-kubernetes@2.1")
    control = next(c for c in benchmark.controls if c.key == "k8s-kubelet-drop-ins-mode")
    folder = {
        "path": "/etc/k",
        "type": "directory",
        "mode": "0755",
        "uid": 0,
        "gid": 0,
        "user": "root",
        "group": "root",
        "mtime": 1,
    }
    asked = next(f for f in control.check.needs() if isinstance(f, Files) and f.flag and not f.match)
    facts = {asked.key: {"files": [folder], "searched": []}}
    found = made(
        dataclasses.replace(
            case(control.key, "file//etc/k", "file//etc/k/a.conf", control=control), facts=Evidence(Target("t", "ssh"), "", facts)
        )
    )
    assert [s.action for s in found.steps] == [KeepBits("/etc/k", 0o700), KeepBits("/etc/k/a.conf", 0o600)]


def node(text: str) -> Any:
    from auditor.yamltree import compose

    return compose(text, "a test")


@pytest.mark.parametrize(
    ("path", "safe"),
    [("/etc/a b$(x)'\"", True), ("/é", True), ("etc", False), ("/", False), ("/a\nb", False), ("/a/../b", False), ("/a\x7f", False), ("/\udc80", False), ("/a\u2028", False)],
)  # fmt: skip
def test_paths(path: str, safe: bool) -> None:
    assert safe_path(path) is safe


def keys(found: Plan) -> dict[str, Step]:
    return {s.action.key[0]: s for s in found.steps if isinstance(s.action, SetKey)}


def test_a_setting_goes_into_the_file_that_decides() -> None:
    facts = host("--config-file", "/srv/d.json", settings={"x": 1})
    step = keys(made(case("docker-daemon-icc", "daemon/dockerd", **facts)))["icc"]
    assert isinstance(step.action, SetKey)
    assert (step.action.path, step.action.value, step.action.validate) == (
        "/srv/d.json",
        False,
        ("dockerd", "--validate", "--config-file"),
    )
    assert step.after is not None
    assert (step.after.service, step.after.verb) == ("docker", "restart")


@pytest.mark.parametrize(
    ("key", "info", "effect"),
    [
        ("docker-live-restore", {}, Effect.RELOAD),
        ("docker-daemon-no-new-privileges", {}, Effect.RESTART),
        ("docker-daemon-no-new-privileges", {"LiveRestoreEnabled": False}, Effect.WORKLOADS),
        ("docker-daemon-no-new-privileges", {"Swarm": {"LocalNodeState": "active"}}, Effect.WORKLOADS),
        ("docker-daemon-icc", {}, Effect.WORKLOADS),
        ("docker-daemon-userns-remap", {}, Effect.WORKLOADS),
    ],
)
def test_what_a_setting_disturbs(key: str, info: dict[str, Any], effect: Effect) -> None:
    (step,) = made(case(key, "daemon/dockerd", **host(settings={}, info=info))).steps
    assert step.effect is effect
    assert step.effect.disruptive is (effect is not Effect.RELOAD)


def test_only_what_is_set_is_changed() -> None:
    """The level is as it should be, debug isn't, and a file that says so already waits for a restart."""
    found = made(case("docker-daemon-log-level", "daemon/dockerd", **host(settings={"debug": True})))
    assert set(keys(found)) == {"debug"}
    (step,) = made(case("docker-daemon-icc", "daemon/dockerd", **host(settings={"icc": False}))).steps
    assert isinstance(step.action, ByHand)
    assert step.action.lines == ("systemctl restart docker",)
    assert "only when it starts while no container runs" in step.caution
    old = made(case("docker-daemon-icc", "daemon/dockerd", **host(settings={}, info={"ServerVersion": "20.10.24"})))
    assert keys(old)["icc"].action.validate == (), "an engine of that age can't validate"


def test_what_a_site_accepts_stays() -> None:
    own = LIBRARY.variant(LIBRARY.load("cis-docker"), {"docker-daemon-insecure-registries": (node("{accepted: [kept:1]}"),)})
    control = next(c for c in own.controls if c.key == "docker-daemon-insecure-registries")
    facts = host(settings={"insecure-registries": ["bad:1", "kept:1"]})
    found = made(case(control.key, "daemon/dockerd", control=control, **facts))
    assert keys(found)["insecure-registries"].action.value == ["kept:1"]
    flagged = made(
        case(
            control.key,
            "daemon/dockerd",
            control=control,
            **host("--insecure-registry=bad:1", "--insecure-registry", "kept:1", settings={}),
        )
    )
    assert keys(flagged)["insecure-registries"].action.value == ["kept:1"]
    assert not any("kept" in line for s in flagged.steps if isinstance(s.action, HaveLines) for line in s.action.lines)


def test_flags_go_by_one_drop_in() -> None:
    """A key that is a flag too keeps dockerd from starting: whoever sets the one takes away the other."""
    facts = host("-H", "fd://", "-Dl", "debug", "--icc=true", "--userland-proxy", "--dns", "192.0.2.1", settings={})
    cases = [
        case(k, "daemon/dockerd", **facts) for k in ("docker-daemon-icc", "docker-daemon-log-level", "docker-daemon-userland-proxy")
    ]
    found = made(*cases)
    drop = next(s for s in found.steps if isinstance(s.action, HaveLines))
    assert drop.action.whole
    assert drop.action.lines[-1] == "ExecStart=/usr/bin/dockerd -H fd:// --dns 192.0.2.1"
    assert len(drop.controls) == 3
    assert set(keys(found)) == {"icc", "debug", "log-level", "userland-proxy"}
    assert {s.after for s in found.steps} == {drop.after}


@pytest.mark.parametrize(
    "change",
    [{"unit": False}, {"exe": "/opt/dockerd"}, {"exe": None}],
    ids=["no unit", "another program", "not known"],
)
def test_flags_of_what_is_not_known_are_for_a_person(change: dict[str, Any]) -> None:
    (step,) = made(case("docker-daemon-icc", "daemon/dockerd", **host("--icc=true", settings={}, **change))).steps
    assert isinstance(step.action, ByHand)
    assert any("--icc" in line for line in step.action.lines)


@pytest.mark.parametrize("word", ["a b", "$HOME", "100%", "'x'", "[REDACTED]", "ü"])
def test_a_command_line_with_more_than_plain_words_is_for_a_person(word: str) -> None:
    (step,) = made(case("docker-daemon-icc", "daemon/dockerd", **host("--icc", "--label", word, settings={}))).steps
    assert isinstance(step.action, ByHand)


def test_engines_that_a_script_should_not_touch() -> None:
    two = host(settings={})
    two["processes"] = [*two["processes"], {**two["processes"][0], "pid": 8}]
    for facts in (two, host(uid=1000, settings={}), {}):
        (step,) = made(case("docker-daemon-icc", "daemon/dockerd", **facts)).steps
        assert isinstance(step.action, ByHand)


WORDS = st.sampled_from(["--icc", "--icc=true", "-D", "-Dl", "-l", "debug", "--log-level=info", "--log-level", "--dns", "x", "-H", "fd://", "-lwarn", "-l=warn", "--iptables=false"])  # fmt: skip


@given(st.lists(WORDS, max_size=8))
def test_flags_are_gone_as_dockerd_reads_them(args: list[str]) -> None:
    left = without(args, ("--icc", "--log-level", "--debug", "--iptables"))
    for name, boolean in (("--icc", True), ("--log-level", False), ("--debug", True), ("--iptables", True)):
        if not isinstance(flags.occurrences(args, name, flags.DOCKERD, boolean=boolean), list):
            continue  # such a dockerd doesn't run
        assert flags.occurrences(left, name, flags.DOCKERD, boolean=boolean) == []


def test_watches() -> None:
    """In a file of our own, loaded once; a host without the audit system, or with locked rules, is told."""
    key = "docker-audit-dockerd"
    (step,) = made(case(key, "file//usr/bin/dockerd", audit_rules=None)).steps
    assert isinstance(step.action, HaveLines)
    assert step.action.lines == ("-w /usr/bin/dockerd -p wa -k cis-auditor",)
    rules = {"enabled": 1, "rules": []}
    first = made(case(key, "file//usr/bin/dockerd"), case("docker-audit-data-root", "file//var/lib/docker")).steps
    assert len({s.after for s in first}) == 1
    assert "see that the records fit the disk" in first[1].caution
    for state, kind in ((rules, HaveLines), ({"enabled": 2, "rules": []}, HaveLines), ({"installed": False}, ByHand)):
        one = case(key, "file//usr/bin/dockerd")
        one = dataclasses.replace(one, facts=Evidence(Target("t", "ssh"), "", {"audit_rules": state}))
        (step,) = made(one).steps
        assert isinstance(step.action, kind)
        assert (step.after is None) == (state != rules)
    assert isinstance(made(case(key, "file//usr/bin/my dockerd")).steps[0].action, ByHand), "rules files know no quotes"


def containers(**labels: str) -> dict[str, Any]:
    found = {"Id": "1", "Name": "/web", "Config": {"Labels": {k.replace("_", "."): v for k, v in labels.items()}}}
    return {"engine_containers": [{"engine": "unix:///var/run/docker.sock", "pid": 7, "data": [found]}]}


def test_containers() -> None:
    """Updated while they run where that can be, else by hand; of a Compose project with a file that is ready."""
    compose = {"com_docker_compose_project": "shop", "com_docker_compose_service": "front"}
    alone = made(case("docker-container-pids-limit", "container/web", **containers()))
    (step,) = alone.steps
    assert isinstance(step.action, Run)
    assert step.action.command == ("docker", "update", "--pids-limit", "200", "web")
    found = made(
        *(
            case(k, "container/web", **containers(**compose))
            for k in ("docker-container-pids-limit", "docker-container-privileged", "docker-container-user")
        ),
        case("docker-container-capabilities", "container/web", **containers(**compose)),
    )
    assert overrides(found) == {"shop": {"services": {"front": {"pids_limit": 200, "privileged": False, "cap_drop": ["ALL"]}}}}
    swarm = made(case("docker-container-pids-limit", "container/web", **containers(com_docker_swarm_service_name="api"))).steps
    assert [type(s.action) for s in swarm] == [ByHand]
    other = made(case("docker-container-pids-limit", "container/web@unix:///run/second.sock", **containers())).steps
    assert other[0].action.command[:3] == ("docker", "-H", "unix:///run/second.sock")


def test_what_has_no_fix_is_said() -> None:
    found = made(case("docker-daemon-rootless", "daemon/dockerd"), case("docker-image-healthcheck", "image/a:1"))
    assert [label for label, *_ in found.open] == ["b 2.1"]
    assert found.steps[0].effect is Effect.WORKLOADS
