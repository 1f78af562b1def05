"""The script that fixes are applied with, on a host where sh is busybox and there is no Python: what it refuses, and what nothing runs."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from auditor.catalogue import packaged
from auditor.fixes.as_markdown import render as words
from auditor.fixes.as_shell import render
from auditor.fixes.plan import Case, plan
from auditor.fixes.planners import PLANNERS
from auditor.fixes.steps import REMOVED, After, ByHand, Effect, HaveLines, KeepBits, Own, Plan, Run, SetKey
from auditor.model import Evidence, Finding, Observation, Status, Target, TargetKind, TargetResult, TargetStatus
from checks import check_types
from tests.support.fixing_script import apply, said, script, step
from tests.support.host import Entry, TestHost

pytestmark = pytest.mark.live
OTHER = 2003


@pytest.fixture
def host(fixed_host: TestHost) -> TestHost:
    return fixed_host


def test_what_may_be_another_file_is_refused(host: TestHost) -> None:
    """A folder that others may write to, links that others made, other names of the same file."""
    host.place(
        Entry("/etc/open", None, 0o777), Entry("/etc/open/a", "x", 0o666), Entry("/etc/theirs", None, 0o755, OTHER, OTHER),
        Entry("/etc/theirs/a", "x", 0o666), Entry("/etc/real", "x", 0o600), Entry("/etc/ours", link="/etc/real"),
        Entry("/etc/chain", link="/etc/theirs/link"), Entry("/etc/theirs/link", link="/etc/real"), Entry("/etc/loop", link="/etc/loop"),
        Entry("/etc/group-of-root", None, 0o775), Entry("/etc/group-of-root/a", "x", 0o666),
        Entry("/etc/planted", link="/etc/real"), Entry("/etc/twice", "x", 0o666),
    )  # fmt: skip
    host.run("ln", "/etc/twice", "/etc/second")
    host.run("chown", "-h", "2003", "/etc/planted")
    for path in ("/etc/open/a", "/etc/theirs/a", "/etc/chain"):
        assert "can be written by others than root" in said(host, KeepBits(path, 0o600)), path
    assert "a link that is not root's" in said(host, Own("/etc/planted", "root", "root"))
    assert "leads in circles" in said(host, KeepBits("/etc/loop", 0o600))
    assert "another name" in said(host, KeepBits("/etc/twice", 0o600))
    assert host.run("stat", "-c", "%a", "/etc/open/a", "/etc/theirs/a", "/etc/twice").split() == ["666"] * 3
    assert said(host, KeepBits("/etc/ours", 0o400)).startswith("changed"), "root's own link is followed"
    assert said(host, KeepBits("/etc/group-of-root/a", 0o644)).startswith("changed")
    assert host.run("stat", "-c", "%a %U", "/etc/real", "/etc/group-of-root/a").split() == ["400", "root", "644", "root"]
    assert said(host, KeepBits("/etc/not-there", 0o600)).startswith("ok")
    assert "there is no group nogroups" in said(host, Own("/etc/real", "root", "nogroups"))


def test_a_folder_comes_first_and_a_check_knows(host: TestHost) -> None:
    host.place(Entry("/etc/all", None, 0o777, OTHER, OTHER), Entry("/etc/all/a", "x", 0o666, OTHER, OTHER))
    steps = [
        step(Own("/etc/all", "root", "root")), step(KeepBits("/etc/all", 0o755)),
        step(Own("/etc/all/a", "root", "root")), step(KeepBits("/etc/all/a", 0o644)),
    ]  # fmt: skip
    code, lines = apply(host, script(*steps), "--check")
    assert (code, [line.split()[0] for line in lines[:4]]) == (2, ["would"] * 4)
    code, lines = apply(host, script(*steps))
    assert code == 0, lines
    assert host.run("stat", "-c", "%a %u:%g", "/etc/all", "/etc/all/a").split() == ["755", "0:0", "644", "0:0"]


def test_json_without_python(host: TestHost) -> None:
    """By jq; what isn't JSON stays, a validator's no is a no, and without any tool nothing is guessed."""
    host.place(
        Entry("/etc/app/a.json", '{"a": {"b": 1}, "täst": "ü"}', 0o640, 0, 42),
        Entry("/etc/app/bad.json", "{a"),
        Entry("/etc/app/empty.json", ""),
    )
    change = SetKey("/etc/app/a.json", "json", ("a", "c"), [True, "x'$(touch /tmp/no)"])
    assert said(host, change).startswith("changed")
    assert json.loads(host.run("cat", "/etc/app/a.json")) == {"a": {"b": 1, "c": [True, "x'$(touch /tmp/no)"]}, "täst": "ü"}
    assert host.run("stat", "-c", "%a %u:%g", "/etc/app/a.json") == "640 0:42\n"
    assert said(host, change).startswith("ok")
    assert said(host, SetKey("/etc/app/a.json", "json", ("a",), REMOVED)).startswith("changed")
    assert said(host, SetKey("/etc/app/a.json", "json", ("a",), REMOVED)).startswith("ok")
    refused = said(host, dataclasses.replace(change, validate=("grep", "-q", "never there")))
    assert "refuses the new file, so nothing was changed" in refused
    assert json.loads(host.run("cat", "/etc/app/a.json")) == {"täst": "ü"}
    assert "could not be read as JSON" in said(host, SetKey("/etc/app/bad.json", "json", ("a",), 1))
    assert host.run("cat", "/etc/app/bad.json") == "{a"
    assert said(host, SetKey("/etc/app/empty.json", "json", ("a",), 1)).startswith("changed")
    assert said(host, SetKey("/etc/new/b.json", "json", ("a",), 1)).startswith("changed")
    assert host.run("stat", "-c", "%a", "/etc/new", "/etc/new/b.json") == "755\n600\n"
    host.run("mv", "/usr/bin/jq", "/usr/bin/jq.away")
    assert "neither python3 nor jq" in said(host, SetKey("/etc/new/b.json", "json", ("a",), 2))
    host.run("mv", "/usr/bin/jq.away", "/usr/bin/jq")
    assert host.run("ls", "-A", "/etc/app", "/etc/new").split() == [
        "/etc/app:",
        "a.json",
        "bad.json",
        "empty.json",
        "/etc/new:",
        "b.json",
    ]


def test_what_follows_is_done_once_and_not_after_a_failure(host: TestHost) -> None:
    host.place(Entry("/etc/lines", "one\ntwo", 0o600), Entry("/etc/b.json", "{"))
    good, bad = After("count", command=("sh", "-c", "echo x >>/etc/count")), After("never", command=("touch", "/etc/never"))
    steps = (
        step(HaveLines("/etc/lines", ("two", "three")), good), step(HaveLines("/etc/lines", ("-n four",)), good),
        step(HaveLines("/etc/others", ("a b",)), bad), step(SetKey("/etc/b.json", "json", ("a",), 1), bad),
        step(HaveLines("/etc/whole", ("x",), 0o644, whole=True)),
    )  # fmt: skip
    code, lines = apply(host, script(*steps))
    assert code == 1
    assert any(line.startswith("not done") and "touch /etc/never" in line for line in lines)
    assert host.run("cat", "/etc/lines") == "one\ntwo\nthree\n-n four\n"
    assert host.run("cat", "/etc/count") == "x\n"
    assert "never" not in host.run("ls", "/etc")
    apply(host, script(*steps))
    assert host.run("cat", "/etc/count", "/etc/whole") == "x\nx\n"
    code, lines = apply(host, script(step(HaveLines("/etc/lines", ("new",)), After("fall over", command=("false",)))))
    assert (code, lines[1].split()) == (1, ["failed", "fall", "over:"])
    restore = next(line for line in lines if "to go back: sh " in line).partition("sh ")[2].partition(",")[0]
    host.run("sh", restore)
    assert host.run("cat", "/etc/lines") == "one\ntwo\nthree\n-n four\n"


def test_only_the_engine_itself_is_told_to_reload(host: TestHost) -> None:
    """Whatever else has the number in its pid file would end by the signal."""
    reload = After("reload", service="docker", verb="reload")
    wait = ["sh", "-c", "trap 'echo x >>/etc/hung-up' HUP; echo ready; while :; do /bin/busybox sleep 0.05; done"]
    host.run("cp", "/usr/bin/busybox", "/usr/sbin/dockerd")
    host.place(Entry("/root/dockerd", "#!/bin/sh\nwhile :; do /bin/busybox sleep 0.05; done\n", 0o755),
               Entry("/usr/sbin/docker-untar", link="dockerd"))  # fmt: skip
    others = [host.spawn(wait, executable="/usr/bin/busybox", log="other"), host.spawn(["/root/dockerd"], log="named"),
              host.spawn(wait, executable="/usr/sbin/docker-untar", log="child"),
              host.spawn(wait, executable="/usr/sbin/dockerd", container="/a/container", log="contained")]  # fmt: skip

    def reloaded(number: str) -> list[str]:
        host.place(Entry("/run/docker.pid", number))
        return apply(host, script(step(HaveLines("/etc/reload", (f"to {number}",)), reload)))[1]

    for number in ("", "0", "1", "-1", "x", "999999", *map(str, others)):
        assert reloaded(number)[1] == (
            "failed        reload: no running dockerd is named by /var/run/docker.pid /var/run/docker-ssd.pid: "
            "if it runs, send it a SIGHUP by hand"
        )
    assert set(others) <= set(host.processes())
    assert "hung-up" not in host.run("ls", "/etc")
    engine = host.spawn(wait, executable="/usr/sbin/dockerd", log="engine")
    host.wait_for(lambda: "ready" in host.log("engine"), "the stand-in")
    host.run("rm", "/usr/sbin/dockerd")
    assert reloaded(f"{engine}\n")[1] == "done          reload"
    host.wait_for(lambda: "hung-up" in host.run("ls", "/etc"), "the signal")
    assert "due" not in host.run("ls", "/var/backups/cis-auditor").split(), "what failed before is done"
    for pid in (*others, engine):
        host.kill(pid)


def test_only_root_and_only_one_at_a_time(host: TestHost) -> None:
    text = script(step(HaveLines("/etc/mine", ("x",))), step(HaveLines("/etc/later", ("x",)), effect=Effect.RESTART))
    assert apply(host, text, user="plain") == (1, ["/fix.sh: must be run as root"])
    assert apply(host, text, "--list", user="plain")[0] == 0
    host.run("sh", "-c", "mkdir /run/cis-auditor-fix.lock; echo 1 >/run/cis-auditor-fix.lock/pid")
    code, lines = apply(host, text)
    assert (code, "another run is going on" in lines[0]) == (1, True)
    host.run("sh", "-c", "echo 999999 >/run/cis-auditor-fix.lock/pid")
    code, lines = apply(host, text)
    assert code == 0, lines
    assert any(line.startswith("left out") for line in lines)
    assert "later" not in host.run("ls", "/etc")
    assert "cis-auditor-fix.lock" not in host.run("ls", "/run")
    assert apply(host, text, "--only", "cis-docker 2")[1][0].startswith("0 changed")
    assert apply(host, text, "--nonsense")[0] == 64


EVIL = ["$(touch /tmp/pwned)", "$(touch${IFS}/tmp/pwned)", "x`touch${IFS}/tmp/pwned`", "x;touch${IFS}/tmp/pwned;'",
        "`touch /tmp/pwned`", "';touch /tmp/pwned;'", '"; touch /tmp/pwned; "', "a\ntouch /tmp/pwned\n", "\\'; touch /tmp/pwned #",
        "-e x", "$IFS", "*", "x\r\n## Run this: `curl evil`", "\x1b[2Jx", "```\n# evil\n```", "<script>alert(1)</script>", "é\u202e"]  # fmt: skip


BENCHMARK = packaged(check_types()).load("cis-docker")


def hostile(control: str, subject: str, word: str) -> Case:
    bound = next(c for c in BENCHMARK.controls if c.key == control)
    observation = Observation(subject + word, Status.FAIL, word, word, word)
    finding = Finding("t", "cis-docker", BENCHMARK.version, bound.id, bound.key, bound.title, 1, "automated", bound.severity, Status.FAIL,
                      observations=(observation,))  # fmt: skip
    process = {"pid": 7, "name": "dockerd", "exe": f"/usr/bin/dockerd{word}", "args": ["--config-file", f"/etc/{word}", "--icc=true", "-l", word], "uid": 0,
               "started": 1, "contained": False, "environ": {}}  # fmt: skip
    container = {
        "Id": "1",
        "Name": "/" + word,
        "Config": {"Labels": {f"com.docker.{k}": word for k in ("compose.project", "compose.service", "swarm.service.name")}},
    }
    facts = {"processes": [process], "engine:containers": [{"engine": f"unix:///run/{word}", "pid": 7, "data": [container]}],
             "audit_rules": {"installed": False} if "IFS" in word else {"enabled": 1, "rules": []},
             "files:unit=docker.service": {"files": [{"path": "/x"}], "searched": []}}  # fmt: skip
    target = TargetResult("t" + word, TargetKind.DOCKER_HOST, word, "ssh", (), (), TargetStatus.AUDITED, None, "")
    return Case(bound, finding, target, Evidence(Target("t", "ssh"), "", facts))


HOSTILE = [
    ("docker-etc-mode", "file//etc/"), ("docker-etc-owner", "file//etc/"), ("docker-audit-dockerd", "file//etc/"), ("docker-daemon-icc", "daemon/"),
    ("docker-daemon-log-level", "daemon/"), ("docker-container-pids-limit", "container/"), ("docker-container-privileged", "container/"),
    ("docker-image-healthcheck", "image/"), ("docker-socket-owner", "file/"),
]  # fmt: skip


def test_evidence_is_never_run(host: TestHost) -> None:
    """Whatever a target calls its files, containers, images, flags and itself: it stays text."""
    entries = [Entry("/all", None, 0o755)]
    for number, word in enumerate(EVIL):
        cases = [hostile(control, subject, word) for control, subject in HOSTILE]
        made = plan(word, cases[0].target, cases, PLANNERS)
        assert {label for s in made.steps for label in s.controls} == {c.label for c in cases}
        document = words(made)
        assert "\x1b" not in document
        assert "\u202e" not in document
        parts = document.split("\n```")
        assert not re.search(r"(?<!\\)<script", "".join(parts[::2]))
        # Who copies all commands of a document runs no other ones.
        copied = "systemctl() { :; }; docker() { :; }; cd /tmp\n" + "\n".join(parts[1::2]).replace("sh\n", "")
        entries += [Entry(f"/all/script-{number}", render(made)), Entry(f"/all/copied-{number}", copied)]
    host.place(*entries)
    out = host.run(
        "sh",
        "-c",
        "cd /all; for f in script-*; do sh $f --list; sh $f --disruptive; done 2>&1; for f in copied-*; do sh $f; done >/dev/null 2>&1; :",
    )
    assert out.count(" without a fix") == len(EVIL), out
    assert "pwned" not in host.run("ls", "/tmp")
    assert "\x1b" not in out


def test_what_a_person_does_is_said_when_it_is_asked_for(host: TestHost) -> None:
    """Else it is counted: it would be the same many lines after every run."""
    text = script(
        step(ByHand("Look at it", ("docker ps", "# and think"))), step(ByHand("Look again")), step(HaveLines("/etc/n", ("x",)))
    )
    assert apply(host, text, "--list") == (0, [
        "by hand       1. [cis-docker 1] Look at it", "                  docker ps", "                  # and think",
        "by hand       2. [cis-docker 1] Look again", "3. [cis-docker 1] HaveLines",
    ])  # fmt: skip
    for options in (("--check",), ()):
        lines = apply(host, text, *options)[1]
        assert lines[1] == "by hand       2 steps for a person: --list shows what to do"
        assert ", 2 by hand," in lines[2]
    assert "by hand      " not in "".join(apply(host, text, "--only", "cis-docker 2")[1])


def test_a_command_is_run_unless_it_is_so(host: TestHost) -> None:
    action = Run(("sh", "-c", "cat >/etc/given"), ("cat", "/etc/given"), "it's $(so)\n  yes", "it's $(so)\n  yes")
    assert said(host, action).startswith("changed")
    assert host.run("cat", "/etc/given") == "it's $(so)\n  yes"
    assert said(host, action).startswith("ok")


KUBECTL = """#!/bin/sh
[ ! -e "$HOME/down" ] || { echo "The connection to the server was refused" >&2; exit 1; }
case "$*" in
"get it") cat "$HOME/it" 2>/dev/null || echo old ;;
"set it new") printf new >"$HOME/it" ;;
esac
"""


def test_a_clusters_script_is_its_operators(host: TestHost) -> None:
    """Not root's: with the kubectl that he has; what was before is noted below his home."""
    user = "plain"
    home = f"/home/{user}"
    host.place(Entry(f"{home}/bin", None, 0o755, OTHER, OTHER), Entry(f"{home}/bin/kubectl", KUBECTL, 0o755))
    steps = (step(Run(("kubectl", "set", "it", "new"), ("kubectl", "get", "it"), "new")),)
    text = render(Plan(run="r", target="shop", kind="cluster", address="", steps=steps))
    host.run("sh", "-c", "cat >/fix.sh", stdin=text.encode())

    def run(options: str) -> str:
        command = f"PATH=$HOME/bin:$PATH; sh /fix.sh {options}"
        return host.run("/usr/bin/busybox", "su", "-s", "/bin/sh", user, "-c", command, check=False)

    assert run("--check").startswith("would change")
    assert "cis-auditor" not in host.run("find", home)
    assert run("").startswith("changed")
    assert run("").startswith("ok")
    assert "# Run: kubectl set it new; before it was: old" in host.run(
        "sh", "-c", f"cat {home}/.local/state/cis-auditor/fixes/*/changes"
    )
    host.place(Entry(f"{home}/down", "", 0o644))
    assert run("--check").startswith("failed        1. [cis-docker 1] Run: The connection to the server was refused")
    assert ", 1 failed," in run("")
