"""Scripts of fixes that are stopped, killed or can't go on: nothing is lost, nothing is forgotten, and the next run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from auditor.fixes.steps import After, Effect, HaveLines, KeepBits, Run, SetFlag, SetKey
from tests.support.fixing_script import DUE, apply, said, script, step
from tests.support.host import Entry, TestHost

pytestmark = pytest.mark.live


@pytest.fixture
def host(fixed_host: TestHost) -> TestHost:
    return fixed_host


INIT = """#!/bin/sh
[ -e /etc/works ] || { echo "it can't $1" >&2; exit 1; }
echo "$1" >>/etc/told
"""


@pytest.fixture
def service(host: TestHost) -> Iterator[str]:
    """A service that does what it is told once there is /etc/works, and notes it in /etc/told."""
    host.place(Entry("/etc/init.d/thing", INIT, 0o755), Entry("/etc/told", ""))
    yield "thing"
    host.remove("/etc/works", "/etc/told", "/etc/init.d/thing")


def test_what_could_not_follow_a_change_is_due_the_next_time(host: TestHost, service: str) -> None:
    reload = After("Reload it", service=service, verb="reload")
    text = script(step(HaveLines("/etc/thing", ("x",)), reload, Effect.RELOAD), step(HaveLines("/etc/thing2", ("y",))))
    code, lines = apply(host, text)
    assert code == 1
    assert f"              it stays due; if you do it by hand, remove {DUE}/reload-thing" in lines
    assert host.run("stat", "-c", "%a %u", DUE) == "700 0\n"
    code, lines = apply(host, text, "--check")
    assert (code, lines[2]) == (2, "would be done Reload it, due since a run before")
    code, lines = apply(host, text)
    assert (code, lines[2]) == (1, "failed        Reload it: it can't reload")
    assert lines[-1].startswith("0 changed, 2 ok, 1 failed")
    code, lines = apply(host, text, "--only", "cis-docker 2")
    assert (code, lines[-1].rpartition(", ")[2]) == (1, "1 still due")
    code, lines = apply(host, script(step(HaveLines("/etc/thing2", ("y",)))))
    assert (code, lines[1].partition(",")[0]) == (1, "not done      reload-thing")
    host.place(Entry("/etc/works", ""))
    assert host.run("cat", "/etc/told") == ""
    assert apply(host, text) == (0, [
        "ok            1. [cis-docker 1] HaveLines", "ok            2. [cis-docker 1] HaveLines",
        "done          Reload it, due since a run before", "0 changed, 2 ok, 0 failed, 0 left out, 0 by hand, 0 without a fix"
    ])  # fmt: skip
    assert apply(host, text, "--check")[0] == apply(host, text)[0] == 0
    assert host.run("cat", "/etc/told") == "reload\n"
    assert "due" not in host.run("ls", "/var/backups/cis-auditor").split()


def test_a_restart_that_is_due_waits_until_it_is_asked_for(host: TestHost, service: str) -> None:
    """By default nothing restarts; a restart is a reload as well, also of what another script left."""
    reload, restart = After("Reload it", service=service, verb="reload"), After("Restart it", service=service)
    assert apply(host, script(step(HaveLines("/etc/thing", ("z",)), reload, Effect.RELOAD)))[0] == 1
    text = script(step(HaveLines("/etc/thing", ("restart",)), restart, Effect.RESTART))
    assert apply(host, text, "--disruptive")[0] == 1
    host.place(Entry("/etc/works", ""))
    for options in ((), ("--check",)):
        code, lines = apply(host, text, *options)
        assert (code, lines[1]) == (
            1,
            "left out      Restart it, due since a run before (restarts a program; --disruptive does it)",
        )
        assert lines[-1].endswith(", 2 still due")
    assert host.run("cat", "/etc/told") == ""
    code, lines = apply(host, text, "--disruptive")
    assert (code, lines[1]) == (0, "done          Restart it, due since a run before")
    assert host.run("cat", "/etc/told") == "restart\n"


def test_a_script_that_is_killed_leaves_what_is_due(host: TestHost, service: str) -> None:
    """At once after a change, before it could say so."""
    restart = After("Restart it", service=service)
    text = script(step(HaveLines("/etc/killed", ("x",)), restart, Effect.RESTART))
    host.place(
        Entry("/etc/works", ""),
        Entry("/usr/sbin/restorecon", "#!/bin/sh\nkill -9 $(cat /run/cis-auditor-fix.lock/pid)\n", 0o755),
    )
    code, lines = apply(host, text, "--disruptive")
    assert (code, lines) == (-9, []) or code == 137, (code, lines)
    host.remove("/usr/sbin/restorecon")
    assert host.run("cat", "/etc/killed", "/etc/told") == "x\n"
    assert apply(host, text, "--disruptive")[1][:2] == [
        "ok            1. [cis-docker 1] HaveLines", "done          Restart it, due since a run before"
    ]  # fmt: skip
    assert host.run("cat", "/etc/told") == "restart\n"


def test_what_failed_before_it_changed_anything_leaves_nothing_due(host: TestHost, service: str) -> None:
    host.place(Entry("/etc/refused.json", "{}"))
    refused = SetKey("/etc/refused.json", "json", ("a",), 1, validate=("grep", "-q", "never there"))
    assert apply(host, script(step(refused, After("Reload it", service=service, verb="reload"))))[0] == 1
    assert "due" not in host.run("ls", "/var/backups/cis-auditor").split()


MANIFEST = """\
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers:
  - name: p
    command:
    - p
    - --one=1
"""


def test_what_a_killed_script_left_is_not_gone_on_with(host: TestHost) -> None:
    """It was made of a manifest that may have changed since; and only one script takes its lock over."""
    host.place(
        Entry("/etc/p.yaml", MANIFEST), Entry("/etc/.cis-auditor.Ab12Cd", "half"), Entry("/etc/.cis-auditor.more", "not ours"),
        Entry("/run/cis-auditor-fix.lock/staged/etc/p.yaml", MANIFEST.replace("1", "old")), Entry("/run/cis-auditor-fix.lock/pid", "999999"),
        Entry("/run/cis-auditor-fix.lock/after-999999", None, 0o700),
    )  # fmt: skip
    text = script(step(SetFlag("/etc/p.yaml", "p", "--two", "2"), After("publish", path="/etc/p.yaml")))
    code, lines = apply(host, text)
    assert (code, "another run is going on" in lines[0]) == (1, True), "another one is about to"
    host.remove("/run/cis-auditor-fix.lock/after-999999")
    code, lines = apply(host, text)
    assert (code, lines[1]) == (0, "done          publish")
    assert host.run("cat", "/etc/p.yaml") == MANIFEST + "    - --two=2\n"
    assert [n for n in host.run("ls", "-A", "/etc").split() if n.startswith(".cis")] == [".cis-auditor.more"]
    host.place(Entry("/run/cis-auditor-fix.lock", ""))
    assert apply(host, text) == (1, ["/fix.sh: can't make the folder /run/cis-auditor-fix.lock"])
    host.remove("/run/cis-auditor-fix.lock", "/etc/.cis-auditor.more")


def test_a_script_that_is_stopped_says_so_and_can_go_on(host: TestHost, service: str) -> None:
    """What was changed is kept, what must follow is due, and the next run may begin."""
    reload = After("Reload it", service=service, verb="reload")
    stop = Run(("sh", "-c", "[ -e /etc/works ] || kill -TERM $(cat /run/cis-auditor-fix.lock/pid)"), ("false",), "x")
    text = script(step(HaveLines("/etc/stopped", ("x",)), reload), step(stop), step(HaveLines("/etc/later", ("x",))))
    host.remove("/etc/later")
    code, lines = apply(host, text)
    assert (code, lines[1]) == (143, "stopped, with 1 changed so far: run this script again to go on")
    assert lines[2].startswith("to put everything back: sh /var/backups/cis-auditor/")
    assert "later" not in host.run("ls", "/etc").split()
    host.place(Entry("/etc/works", ""))
    code, lines = apply(host, text)
    assert (code, [line.split()[0] for line in lines[:4]]) == (0, ["ok", "changed", "changed", "done"])


@contextmanager
def mounted(host: TestHost, place: str, *options: str) -> Iterator[None]:
    host.run("mount", *options, place)
    try:
        yield
    finally:
        host.run("umount", place)


def test_nothing_is_changed_without_a_copy_on_a_full_disk(host: TestHost) -> None:
    """Nor are the copies of before lost."""
    host.place(Entry("/etc/small", "x", 0o666), Entry("/etc/large", "x" * 50_000, 0o666), Entry("/etc/small2", "x", 0o666))
    steps = [step(KeepBits("/etc/small", 0o600)), step(HaveLines("/etc/large", ("a",))), step(HaveLines("/etc/large", ("b",)))]
    with mounted(host, "/var/backups/cis-auditor", "-t", "tmpfs", "-o", "size=40k,mode=0700", "tmpfs"):
        code, lines = apply(host, script(*steps, step(KeepBits("/etc/small2", 0o600))))
        assert [line.split()[0] for line in lines[:4]] == ["changed", "failed", "failed", "changed"], lines
        assert "can't copy /etc/large to /var/backups/cis-auditor/" in lines[1]
        assert (code, len(host.run("cat", "/etc/large"))) == (1, 50_000)
        host.run("sh", "-c", "dd if=/dev/zero of=/var/backups/cis-auditor/full 2>/dev/null || :")
        host.run("sh", lines[-1].rpartition(" ")[2])
        assert host.run("stat", "-c", "%a", "/etc/small", "/etc/small2").split() == ["666"] * 2
        code, lines = apply(host, script(*steps))
        assert (code, [line.split()[0] for line in lines[:3]]) == (1, ["failed"] * 3), lines
        assert host.run("stat", "-c", "%a", "/etc/small") == "666\n"


def test_back_ups_of_before_are_not_lost_on_a_full_disk(host: TestHost) -> None:
    """It fills between two changes."""
    host.place(Entry("/etc/first", "x", 0o666), Entry("/etc/second", "x", 0o666))
    fill = Run(("sh", "-c", "dd if=/dev/zero of=/var/backups/cis-auditor/full 2>/dev/null; :"), ("false",), "x")
    text = script(step(KeepBits("/etc/first", 0o600)), step(fill), step(KeepBits("/etc/second", 0o600)))
    with mounted(host, "/var/backups/cis-auditor", "-t", "tmpfs", "-o", "size=40k,mode=0700", "tmpfs"):
        code, lines = apply(host, text)
        assert (code, [line.split()[0] for line in lines[:3]]) == (1, ["changed", "changed", "failed"])
        host.run("sh", lines[-1].rpartition(" ")[2])
    assert host.run("stat", "-c", "%a", "/etc/first", "/etc/second").split() == ["666"] * 2


def test_what_can_not_be_written_to_holds_up_nothing_else(host: TestHost, service: str) -> None:
    host.place(Entry("/etc/fixed", None, 0o755), Entry("/etc/fixed/a", "x", 0o666), Entry("/etc/free", "x", 0o666))
    reload = After("Reload it", service=service, verb="reload")
    steps = (step(KeepBits("/etc/free", 0o600)), step(KeepBits("/etc/fixed/a", 0o600), reload),
             step(HaveLines("/etc/fixed/a", ("y",)), reload))  # fmt: skip
    with mounted(host, "/etc/fixed", "-o", "bind", "/etc/fixed"):
        host.run("mount", "-o", "remount,bind,ro", "/etc/fixed")
        code, lines = apply(host, script(*steps))
        assert (code, [line.split()[0] for line in lines[:3]]) == (1, ["changed", "failed", "failed"])
        assert "Read-only file system" in lines[1]
        assert "can't write to /etc/fixed" in lines[2]
        assert "due" not in host.run("ls", "/var/backups/cis-auditor").split()
        restored = host.run("sh", "-c", f"sh {lines[-1].rpartition(' ')[2]} 2>&1 || echo failed", check=False)
        assert "Read-only" in restored
        assert restored.endswith("failed\n")
    assert host.run("stat", "-c", "%a", "/etc/free", "/etc/fixed/a").split() == ["666"] * 2


def test_back_ups_may_lie_elsewhere_by_a_link_of_roots(host: TestHost) -> None:
    host.place(Entry("/srv/back-ups", None, 0o755), Entry("/etc/linked", "x", 0o666), Entry("/etc/in\nlines", "x", 0o666))
    host.run("ln", "-s", "/etc/in\nlines", "/etc/to-lines")
    host.run("mv", "/var/backups", "/var/backups.away")
    host.run("ln", "-s", "/srv/back-ups", "/var/backups")
    code, lines = apply(host, script(step(KeepBits("/etc/linked", 0o600)), step(KeepBits("/etc/to-lines", 0o600))))
    host.run("chown", "2003", "/srv/back-ups")
    refused = said(host, KeepBits("/etc/linked", 0o400))
    host.run("rm", "/var/backups")
    host.run("mv", "/var/backups.away", "/var/backups")
    assert (code, lines[0].split()[0]) == (1, "changed"), lines
    assert "a name in several lines is not for a script" in lines[1]
    assert "/srv/back-ups can be written by others than root" in refused
