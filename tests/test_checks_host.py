"""The check types of hosts: what they refuse to load, and the corners that no control reaches yet."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from auditor.catalogue import parse
from auditor.facts.host import AuditRules, Config, Files, Processes
from auditor.model import Evidence, Problem, Reason, Status, Target
from auditor.yamlfile import InputError
from checks import check_types
from checks.audit_rule import AuditRule
from checks.auditrules import canonical, coverage
from checks.auditrules import parse as parse_rule
from checks.base import SHOWN, show
from checks.expectation import Expect
from checks.files import FileMode, FileOwner
from checks.setting import DropIns, FileSource, ProcessFlag, Setting

WA = frozenset("wa")


def evidence(**facts):
    return Evidence(Target("t", "ssh"), "", facts)


def process(name="kubelet", **changes):
    return {
        "pid": 7,
        "name": name,
        "exe": f"/usr/bin/{name}",
        "args": [],
        "uid": 0,
        "started": 1000,
        "contained": False,
        "environ": {},
    } | changes


def load(check):
    """Return the first mistake in a control with this check, empty when there is none."""
    head = (
        '{"key": "k", "title": "t", "severity": "low", "target": "node", "rationale": "r", "remediation": {"text": "x"}, "check": '
    )
    contents = '{"benchmark": "b", "version": "1.0", "title": "t", "controls_total": 1, "controls": [{"id": "1", "control": "k", "level": 1, "assessment": "manual"}]}'
    try:
        parse([("controls.yaml", f"[{head}{check}}}]"), ("contents.yaml", contents)], check_types()).load("b")
    except InputError as error:
        return str(error.mistakes[0])
    return ""


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ('{file_mode: {file: {path: /srv/keys/id_ed25519}, at_most: "600"}}', "outside the folders"),
        ('{file_mode: {file: {path: /etc/../srv/x}, at_most: "600"}}', "not a plain absolute path"),
        ('{file_mode: {file: {path: "/etc/*/x"}, at_most: "600"}}', "not a plain absolute path"),
        ('{file_mode: {file: {path: "/etc/$(id)"}, at_most: "600"}}', "not a plain absolute path"),
        ('{file_mode: {file: {path: etc/docker}, at_most: "600"}}', "not a plain absolute path"),
        ('{file_mode: {file: {path: /etc/docker}, at_most: "888"}}', "octal mode in quotes"),
        ("{file_mode: {file: {path: /etc/docker}, at_most: 0644}}", "quotes"),
        ('{file_mode: {file: {path: /etc/docker, unit: docker.service}, at_most: "644"}}', "exactly one"),
        ('{file_mode: {file: {}, at_most: "644"}}', "exactly one"),
        ('{file_mode: {file: {process: kubelet}, at_most: "644"}}', "process goes with one of flag and setting"),
        ('{file_mode: {file: {process: sshd, flag: --config}, at_most: "644"}}', "is not a program"),
        ('{file_mode: {file: {unit: "../x.service"}, at_most: "644"}}', "systemd unit"),
        ("{file_owner: {file: {static_pod: nginx}}}", "is not a program"),
        ("{audit_rule: {path: /home/x}}", "outside the folders"),
        ("{audit_rule: {executable: bash}}", "executable must be one of"),
        ("{audit_rule: {}}", "exactly one of path, executable, file and place"),
        ("{audit_rule: {executable: dockerd, perms: rwz}}", "letters of rwxa"),
        ("{setting: {process: sshd, flag: --x, default: true, expect: {equals: true}}}", "process must be one of"),
        ("{setting: {process: etcd, env: AWS_SECRET_ACCESS_KEY, type: text, expect: {set: true}}}", "env must be one of"),
        ("{setting: {process: etcd, flag: --x, expect: {set: true}}}", "give type"),
        ("{setting: {process: etcd, flag: -x, default: true, expect: {equals: true}}}", "must look like --some-name"),
        ("{setting: {process: etcd, default: true, expect: {equals: true}}}", "at least one of"),
        ("{setting: {process: etcd, flag: --x, key: a, default: true, expect: {equals: true}}}", "key goes with file"),
        ("{setting: {process: etcd, flag: --x, default: true, expect: {equals: yes-it-is}}}", "with another type"),
        ("{setting: {process: etcd, flag: --x, default: true, type: int, expect: {equals: 1}}}", "default is not of the type"),
        ("{setting: {process: etcd, flag: --x, default: a, expect: {contains: [a]}}}", "can't be used with the type text"),
        ("{setting: {process: etcd, flag: --x, default: true, default_without_file: false, expect: {equals: true}}}", "need a file"),
        ("{setting: {process: dockerd, file: {path: /etc/shadow, from_flag: --config-file}, key: a, type: text, expect: {set: true}}}", "path must be one of"),
        ("{setting: {process: dockerd, file: {from_flag: --tlskey}, key: a, type: text, expect: {set: true}}}", "from_flag must be one of"),
        ("{setting: {process: kubelet, file: {from_flag: --config}, drop_ins: {from_flag: --root-dir}, key: a, type: text, expect: {set: true}}}", "from_flag must be one of"),
        ("{process_flag: {process: kubelet, flag: --x, expect: {set: true}}}", "give type"),
        ("{process_flag: {process: kubelet, flag: --x, type: int, expect: {equals: 1, at_most: 2}}}", "exactly one operator"),
        ("{daemon_listener: {port: 1}}", "there is no key"),
        ("{first: {checks: [{nothing: {}}]}}", "there is no check type"),
    ],
)  # fmt: skip
def test_a_check_that_can_not_be_is_refused_where_it_stands(check, said):
    mistake = load(check)
    assert said in mistake
    assert mistake.startswith("controls.yaml:1:")


def test_a_good_check_loads():
    assert load('{file_mode: {file: {path: "/etc/cni/net.d/*"}, at_most: "0600"}}') == ""


# Settings


def test_a_mapping_merges_flag_and_files_per_key():
    gates = Setting(process="kubelet", flag="--feature-gates", file=FileSource(from_flag="--config"), drop_ins=DropIns(from_flag="--config-dir"),
                    key="featureGates", type="map", default=(), expect=Expect(contains=("A=true", "B=false", "C=true")))  # fmt: skip
    documents = [
        {"path": "/c", "mtime": 1, "data": {"featureGates": {"A": False, "B": True}}},
        {"path": "/d/1.conf", "mtime": 1, "data": {"featureGates": {"B": False}}},
    ]
    facts = evidence(
        processes=[process(args=["--config=/c", "--feature-gates=A=true,C=true"])],
        **{gates.config.key: [{"pid": 7, "documents": documents}]},
    )
    outcome = gates.evaluate(facts)
    assert [o.status for o in outcome.observations] == [Status.PASS]
    assert "--feature-gates of process/kubelet (pid 7)" in outcome.observations[0].source
    assert "/d/1.conf" in outcome.observations[0].source


def test_a_mapping_without_any_entry_has_its_default():
    gates = Setting(process="kubelet", flag="--feature-gates", file=FileSource(from_flag="--config"), key="featureGates", type="map",
                    default=(), expect=Expect(contains_none=("A=false",)))  # fmt: skip
    facts = evidence(processes=[process(args=[])], **{gates.config.key: [{"pid": 7, "documents": []}]})
    assert gates.evaluate(facts).status is Status.PASS


def test_a_setting_is_not_decided_by_the_files_of_another_process():
    check = Setting(
        process="kubelet", file=FileSource(from_flag="--config"), key="readOnlyPort", default=0, expect=Expect(equals=0)
    )
    facts = evidence(processes=[process(args=["--config=/c"])], **{check.config.key: [{"pid": 8, "documents": []}]})
    assert check.evaluate(facts).status is Status.ERROR


def test_sources_say_where_a_value_was_read():
    check = Setting(process="dockerd", flag="--icc", file=FileSource(path="/etc/docker/daemon.json", from_flag="--config-file"), key="icc",
                    default=True, expect=Expect(equals=False))  # fmt: skip

    def source(args, documents):
        facts = evidence(processes=[process("dockerd", args=args)], **{check.config.key: [{"pid": 7, "documents": documents}]})
        return check.evaluate(facts).observations[0].source

    file = {"path": "/etc/docker/daemon.json", "mtime": 1, "data": {"icc": False}}
    assert source(["--icc=0"], []) == "--icc of daemon/dockerd (pid 7)"
    assert source([], [file]) == "icc in /etc/docker/daemon.json"
    assert source([], []) == "default (no --icc, no configuration file)"
    assert source([], [file | {"data": {}}]) == "default (no --icc, no icc in /etc/docker/daemon.json)"


def test_files_written_while_a_program_starts_are_what_it_runs_with():
    check = Setting(
        process="kubelet", file=FileSource(from_flag="--config"), key="readOnlyPort", default=0, expect=Expect(equals=0)
    )

    def status(mtime):
        documents = [{"path": "/c", "mtime": mtime, "data": {}}]
        return check.evaluate(
            evidence(processes=[process(args=["--config=/c"])], **{check.config.key: [{"pid": 7, "documents": documents}]})
        ).status

    assert (status(1002), status(1003)) == (Status.PASS, Status.ERROR)


@pytest.mark.parametrize("data", [[], "text", 5, {"a": 5}, {"a": []}, {"a": {"b": {}}}, {"a": {"b": [True]}}])
def test_documents_of_another_shape_are_errors(data):
    check = Setting(process="kubelet", file=FileSource(from_flag="--config"), key="a.b", default=True, expect=Expect(equals=True))
    facts = evidence(
        processes=[process(args=["--config=/c"])],
        **{check.config.key: [{"pid": 7, "documents": [{"path": "/c", "mtime": 1, "data": data}]}]},
    )
    assert check.evaluate(facts).status is Status.ERROR


def test_an_empty_file_sets_nothing():
    check = Setting(process="kubelet", file=FileSource(from_flag="--config"), key="a.b", default=True, expect=Expect(equals=True))
    facts = evidence(
        processes=[process(args=["--config=/c"])],
        **{check.config.key: [{"pid": 7, "documents": [{"path": "/c", "mtime": 1, "data": None}]}]},
    )
    assert check.evaluate(facts).status is Status.PASS


def test_a_flag_is_judged_for_each_process_by_itself():
    check = ProcessFlag(process="kube-proxy", flag="--v", type="int", default=0, expect=Expect(at_most=4))
    outcome = check.evaluate(
        evidence(processes=[process("kube-proxy", args=["--v", "2"]), process("kube-proxy", pid=8, args=["-v=9"])])
    )
    assert [(o.subject, o.status) for o in outcome.observations] == [
        ("process/kube-proxy pid 7", Status.PASS),
        ("process/kube-proxy pid 8", Status.FAIL),
    ]
    assert check.needs() == {Processes()}


def test_needs_are_what_evaluate_reads():
    check = Setting(
        process="kubelet", flag="--x", file=FileSource(from_flag="--config"), key="a", default=True, expect=Expect(equals=True)
    )
    assert check.needs() == {Processes(), Config(process="kubelet", flag="--config")}
    assert FileMode(file=Files(path="/etc/docker"), at_most="755").needs() == {Files(path="/etc/docker")}
    assert AuditRule(path="/etc/docker").needs() == {AuditRules(), Files(path="/etc/docker")}


# Files


@given(st.integers(0, 0o7777), st.integers(0, 0o777))
def test_modes_are_compared_bit_by_bit(mode, limit):
    """It passes exactly when no bit is set that the limit lacks, whatever the numbers look like in decimal."""
    check = FileMode(file=Files(path="/etc/docker"), at_most=f"{limit:03o}")
    entry = {"path": "/etc/docker", "mode": f"{mode:04o}", "uid": 0, "gid": 0, "user": "root", "group": "root"}
    outcome = check.evaluate(evidence(**{check.file.key: {"files": [entry], "searched": []}}))
    allowed = all(not (mode >> bit & 1) or (limit >> bit & 1) for bit in range(12))
    assert outcome.status is (Status.PASS if allowed else Status.FAIL)


@pytest.mark.parametrize(("field", "value"), [("mode", "rw-r--r--"), ("mode", ""), ("mode", "9999")])
def test_an_odd_mode_is_an_error(field, value):
    check = FileMode(file=Files(path="/etc/docker"), at_most="644")
    entry = {"path": "/etc/docker", "mode": "0644", "uid": 0, "gid": 0, "user": "root", "group": "root", field: value}
    assert check.evaluate(evidence(**{check.file.key: {"files": [entry], "searched": []}})).status is Status.ERROR


def test_owners_are_numbers():
    check = FileOwner(file=Files(path="/var/lib/etcd"), uid=999, gid=999)
    entry = {"path": "/var/lib/etcd", "mode": "0700", "uid": 999, "gid": 999, "user": "", "group": "etcd"}
    assert check.evaluate(evidence(**{check.file.key: {"files": [entry], "searched": []}})).status is Status.PASS
    unreadable = entry | {"uid": -1}
    assert check.evaluate(evidence(**{check.file.key: {"files": [unreadable], "searched": []}})).status is Status.ERROR


def test_an_executable_that_runs_must_be_found():
    check = FileMode(file=Files(executable="dockerd"), at_most="755")
    facts = {check.file.key: {"files": [], "searched": []}}
    assert check.evaluate(evidence(processes=[process("dockerd")], **facts)).status is Status.ERROR
    assert check.evaluate(evidence(processes=[], **facts)).reason == "no dockerd runs here"


# Audit rules


@given(st.text())
@example("-a always,exit -F")
@example("-w")
@example("-a always,exit -F path=/x -S")
def test_no_line_breaks_the_parser(line):
    rule = parse_rule(line)
    assert rule is None or rule.action in ("always", "never", "possible")


@given(st.lists(st.text(max_size=60)))
def test_lines_that_are_no_rules_cover_nothing(lines):
    found = coverage([x for x in lines if "/usr/bin/dockerd" not in x and "-w" not in x and "dir" not in x], "/usr/bin/dockerd", WA)
    assert not found.perms


PARTS = st.sampled_from(["-w /usr/bin/dockerd", "-w /usr", "-w /etc", "-a always,exit", "-a never,exit", "-a exit,never", "-A never,exit", "-p wa", "-p x",
                         "-F path=/usr/bin/dockerd", "-F dir=/usr/bin/", "-F perm=wa", "-F auid>=1000", "-F arch=b64", "-S all", "-S open", "-k key"])  # fmt: skip


@given(st.lists(st.lists(PARTS, max_size=5).map(" ".join), max_size=6))
def test_a_rule_that_ignores_the_file_first_leaves_nothing(lines):
    assert not coverage(
        ["-a never,exit -F path=/usr/bin/dockerd", *(x for x in lines if "-A" not in x)], "/usr/bin/dockerd", WA
    ).perms


@given(st.lists(st.lists(PARTS, max_size=5).map(" ".join), max_size=6))
def test_a_watch_that_comes_first_always_counts(lines):
    assert coverage(["-w /usr/bin/dockerd -p wa", *(x for x in lines if "-A" not in x)], "/usr/bin/dockerd", WA).perms == WA


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/lib/x", "/usr/lib/x"),
        ("/var/run/docker.sock", "/run/docker.sock"),
        ("/sbin/dockerd/", "/usr/sbin/dockerd"),
        ("//etc//docker/", "/etc/docker"),
    ],
)
def test_names_of_the_same_file_are_equal(one, other):
    assert canonical(one) == canonical(other)


def test_names_that_only_begin_alike_differ():
    assert canonical("/library/x") == "/library/x"
    assert not coverage(["-w /etc/dock -p wa"], "/etc/docker", WA).perms


def test_exclusions_below_a_folder_leave_it_covered():
    rules = ["-a never,exit -F dir=/var/lib/docker/overlay2", "-w /var/lib/docker -p wa"]
    assert coverage(rules, "/var/lib/docker", WA).perms == WA
    assert not coverage(rules, "/var/lib/docker", WA).holes


def test_a_path_that_is_not_there_does_not_apply():
    check = AuditRule(path="/etc/docker")
    files = {"files": [], "searched": ["/etc/docker"]}
    assert check.evaluate(evidence(**{Files(path="/etc/docker").key: files})).reason == "there is no /etc/docker"
    there = {"files": [{"path": "/etc/docker", "mode": "0755"}], "searched": []}
    facts = evidence(audit_rules={"enabled": 1, "rules": ["-w /etc/docker/ -p wa"]}, **{Files(path="/etc/docker").key: there})
    assert check.evaluate(facts).status is Status.PASS
    denied = {"files": [{"path": "/etc/docker", "problem": {"reason": "denied", "detail": "no"}}], "searched": []}
    assert check.evaluate(evidence(**{Files(path="/etc/docker").key: denied})).status is Status.ERROR


def test_long_values_are_cut_and_say_so():
    shown = show("x" * 5_000_000)
    assert len(shown) < SHOWN + 40
    assert "5000000 characters" in shown


def test_missing_facts_are_errors_everywhere():
    problem = Problem(Reason.TRUNCATED, "the connection ended")
    for check in (FileMode(file=Files(path="/etc/docker"), at_most="755"), AuditRule(executable="dockerd"), AuditRule(path="/etc/docker"),
                  ProcessFlag(process="kubelet", flag="--x", default=True, expect=Expect(equals=True))):  # fmt: skip
        facts = {fact.key: problem for fact in check.needs()}
        assert check.evaluate(evidence(**facts)).status is Status.ERROR
        assert check.evaluate(evidence()).status is Status.ERROR
