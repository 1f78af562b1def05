"""With the sudoers file that the auditor prints, an account learns what root learns, and can do nothing else as root."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from auditor.audit import Selection
from auditor.facts.script import digest, pinned
from auditor.privileges import script_of
from auditor.session import packaged_library
from tests.support.auditing import Result, audit, auditor, host_entry
from tests.support.collecting import apart_from_who, one
from tests.support.counting import counting
from tests.support.engine import DockerHost
from tests.support.host import Entry, TestHost, busybox_applets
from tests.support.kube_node import KubeNode

pytestmark = pytest.mark.live

FILE = "/etc/sudoers.d/zz-auditor"
HOME = "/home/plain"
HEADER = b"set -- x feed 96\n"


def permit(host: TestHost, folder: Path, *options: str, user: str = "plain", more: str = "") -> str:
    """Let an account run the script that some options select, and return the file that says so."""
    printed = auditor(folder, "privileges", "--ssh", "--subject", f"user:{user}", *options)
    assert printed.code == 0, printed.stderr
    host.place(Entry(FILE, printed.stdout + more, 0o440))
    assert f"{FILE}: parsed OK" in host.run("visudo", "-c")
    return printed.stdout


def rule(host: TestHost, text: bytes) -> str:
    """Let the account run one script of the test's own, and return what root's shell is told."""
    told = pinned(digest(HEADER + text))
    from auditor.privileges import escaped

    host.place(Entry(FILE, f"plain ALL=(root) NOPASSWD:NOSETENV:EXEC: /bin/sh -c {escaped(told)}\n", 0o440))
    return told


def verdicts(result: Result, name: str) -> dict[str, Any]:
    return {k: (f["status"], f["reason"], f["observations"]) for k, f in result.findings(name).items()}


@pytest.fixture(scope="module")
def node(needs_docker: None) -> Iterator[TestHost]:
    """A Docker host that is a control plane too: every question has an answer."""

    @dataclass
    class Both(DockerHost, KubeNode):
        __test__ = False

    with Both(hostname="both") as host:
        yield host


def test_the_verdicts_are_those_of_root(node: TestHost, tmp_path: Path) -> None:
    permit(node, tmp_path)
    folders = [tmp_path / name for name in ("narrow", "root", "none")]
    for folder in folders:
        folder.mkdir()
    with counting(node) as seen:
        narrow = audit(folders[0], [host_entry(node, user="plain")])
    assert (seen.connections, seen.channels) == (1, ("session",))
    root = audit(folders[1], [host_entry(node)])
    none = audit(folders[2], [host_entry(node, user="plain", ssh={"become": "none"})])
    assert narrow.evidence("both")["system"]["become"] == "sudo"
    assert len(verdicts(root, "both")) > 150
    assert verdicts(narrow, "both") == verdicts(root, "both")
    assert sum(s == "error" for s in none.statuses("both").values()) > 50  # without it, much would be missing


def test_another_selection_is_refused_with_the_reason(node: TestHost, tmp_path: Path) -> None:
    permit(node, tmp_path, "--only", "docker-daemon-icc")
    started = time.monotonic()
    result = audit(tmp_path, [host_entry(node, user="plain")], "--only", "docker-audit-dockerd")
    assert time.monotonic() - started < 20
    assert "another selection of controls or another version" in result.target("both")["facts"]["account"]
    assert "auditor privileges --ssh" in result.target("both")["facts"]["account"]
    assert set(result.statuses("both").values()) == {"error"}
    permit(node, tmp_path, "--only", "docker-audit-dockerd")
    again = audit(tmp_path, [host_entry(node, user="plain")], "--only", "docker-audit-dockerd")
    assert again.target("both")["facts"]["account"] == "plain (root by sudo)"
    assert "error" not in again.statuses("both").values()


SITES = {
    "requiretty": "Defaults requiretty\n",
    "noexec": "Defaults noexec\n",
    "use_pty": "Defaults use_pty\n",
    "environment": "Defaults !env_reset\n",
    "lecture": "Defaults lecture=always\n",
}


@pytest.mark.parametrize("site", SITES)
def test_whatever_else_the_site_says(bare_host: TestHost, tmp_path: Path, site: str) -> None:
    bare_host.place(Entry("/etc/sudoers.d/a-site", SITES[site], 0o440))
    try:
        permit(bare_host, tmp_path, "--only", "docker-audit-dockerd")
        result = audit(tmp_path, [host_entry(bare_host, user="plain")], "--only", "docker-audit-dockerd")
        assert result.target("test-host")["facts"]["account"] == "plain (root by sudo)"
    finally:
        bare_host.remove("/etc/sudoers.d/a-site", FILE)


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_nothing_else_is_run_as_root(needs_hosts: None, shell: str) -> None:
    """Other commands, the arguments cut elsewhere, other scripts, other data: no way leads to a command of one's own."""
    with TestHost(shell=shell) as host:
        told = rule(host, b'echo "as $(id -u) $1 $2 $3"\n')
        if shell == "busybox":
            host.place(*busybox_applets())
        script, evil = b'echo "as $(id -u) $1 $2 $3"\n', b"touch /pwned\n"
        exact = f"sudo -n /bin/sh -c {shlex.quote(told)}"
        assert host.ssh(exact, user="plain", stdin=HEADER + script) == "as 0 sudo feed 96\n"
        words = told.split(" ")
        cut = [[" ".join(words[:n]), *words[n:]] for n in range(len(words))]
        cut += [["-c " + " ".join(words[:n]), *words[n:]] for n in (0, 1, len(words))]
        tries = [f"sudo -n /bin/sh {'' if c[0].startswith('-c ') else '-c'} {' '.join(map(shlex.quote, c))}" for c in cut]
        quoted = " ".join(map(shlex.quote, words))
        tries += [
            *(f"SHELL=/bin/sh sudo -n {how} {what}" for how in ("-s", "-s --", "-i", "-i --") for what in (quoted, shlex.quote(told))),
            f"{exact} x",
            f"sudo -n -E /bin/sh -c {shlex.quote(told)}",
            f"sudo -n PATH=/tmp /bin/sh -c {shlex.quote(told)}",
            f"sudo -n -u nobody /bin/sh -c {shlex.quote(told)}",
            f"sudo -n /tmp/sh -c {shlex.quote(told)}",
            # Programs of one's own are not found in place of those that compare.
            f"for f in sha256sum head true test printf; do cp /tmp/sh /tmp/$f; done; PATH=/tmp:$PATH {exact}",
            f"export ENV=/tmp/sh BASH_ENV=/tmp/sh IFS=e PS4='$(touch /pwned)' SHELLOPTS=xtrace; {exact}",
            f"env 'BASH_FUNC_true%%=() {{ touch /pwned; }}' 'BASH_FUNC_eval%%=() {{ touch /pwned; }}' {exact}",
            "sudo -n sh -s sudo", "sudo -n sh", "sudo -n -i", "sudo -n -s", "sudo -n id", "sudo -n touch /pwned", "sudo -n -e /pwned",
            "sudo -n /bin/sh -c 'touch /pwned'", "sudo -n /bin/sh -c 'true && touch /pwned'",
        ]  # fmt: skip
        bodies = [HEADER + evil, evil, HEADER + script + evil, b"set -- x $(touch${IFS}/pwned) 9\n" + script, b"x x x a b\n" + evil]
        lines = [f"sh -c {shlex.quote(t)} <{HOME}/body{n}" for i, t in enumerate(tries) for n in {0, i % len(bodies)}]
        home = [Entry(f"{HOME}/body{n}", data) for n, data in enumerate(bodies)]
        pwn = "#!/bin/sh\ntouch /pwned\n"
        home += [Entry("/tmp/sh", pwn, 0o755), *(Entry(f"{HOME}/{w}", pwn, 0o755) for w in words if "/" in w)]
        host.place(Entry(f"{HOME}/tries", "\n".join([*lines, "echo tried"])), *home)
        assert host.ssh("sh ./tries 2>&1", user="plain").endswith("tried\n")
        for data in bodies:
            host.ssh(exact, user="plain", check=False, stdin=data)
        assert host.run("ls", "/pwned", check=False) == ""


def test_what_the_account_says_is_not_run(bare_host: TestHost) -> None:
    """The true script, with words of the account's own in the line that it writes."""
    library = packaged_library()
    plan = Selection(only=("docker-daemon-icc",)).resolve(library)
    script = script_of(plan.needs("host"))
    told = rule(bare_host, script)
    for words in (
        b"$(touch$IFS/pwned) 9",
        b"feed a[$(touch${IFS}/pwned)]",
        b"feed 9;touch${IFS}/pwned",
        b"'x' 9",
        b"feed -1",
        b"feed",
    ):
        said = bare_host.ssh(
            f"sudo -n /bin/sh -c {shlex.quote(told)}", user="plain", check=False, stdin=b"set -- x " + words + b"\n" + script
        )
        assert said == "", words
    said = bare_host.ssh(f"sudo -n /bin/sh -c {shlex.quote(told)}", user="plain", stdin=b"set -- x feed 96\n" + script)
    assert "\nfeed end\n" in said
    assert bare_host.run("ls", "/pwned", check=False) == ""


SECRET = "only-root-may-know"


@pytest.mark.parametrize("place", ["/etc/secret.json", "/root/secret.json", "link", "group"])
def test_a_program_of_the_account_gets_no_file_read(bare_host: TestHost, tmp_path: Path, place: str) -> None:
    """What is called dockerd and started by the account names a file; root must not read it out to the account."""
    mode = {"/root/secret.json": 0o644, "group": 0o640}.get(place, 0o600)
    path = place if place.startswith("/") else f"/etc/{place}.json"
    bare_host.place(
        Entry(path, f'{{"icc": "{SECRET}"}}', mode), Entry(f"{HOME}/own.json", '{"icc": "of its own"}', 0o600, 2003, 2003)
    )
    named = path
    if place == "link":
        named = f"{HOME}/link.json"
        bare_host.place(Entry(named, link=path))
    script = script_of(Selection(only=("docker-daemon-icc",)).resolve(packaged_library()).needs("host"))
    told = rule(bare_host, script)
    ask = f"sudo -n /bin/sh -c {shlex.quote(told)}"

    def said(file: str, program: str = "sh -c 'sleep 20; :'") -> str:
        fake = f"exec -a dockerd {program} --config-file={file}"
        start = f"sleep 20 | bash -c {shlex.quote(fake)} >/dev/null 2>&1 & sleep 0.2; {ask}; pkill -u plain sleep"
        return bare_host.ssh(start, user="plain", stdin=HEADER + script)

    try:
        assert "of its own" in said(f"{HOME}/own.json")
        # sudo itself can be called like this, with the account's words among its own, and it goes on as root.
        itself = f"exec -a dockerd sudo -n -p --config-file={named} {ask.removeprefix('sudo -n ')}"
        again = bare_host.ssh(f"bash -c {shlex.quote(itself)}", user="plain", stdin=HEADER + script)
        for answer in (said(named), said(named, "sudo -S /bin/true"), again):
            assert f"--config-file={named}" in answer
            assert SECRET not in answer
    finally:
        bare_host.remove(path, f"{HOME}/own.json", named)


def test_full_sudo_goes_on_to_do(bare_host: TestHost) -> None:
    """An account that may do everything is asked the same question, also where nothing can tell a script's digest."""
    root, sudo = one(bare_host), one(bare_host, user="auditor")
    assert (root["system"]["become"], sudo["system"]["become"]) == ("root", "sudo")
    with TestHost() as host:
        host.remove("/usr/bin/sha256sum")
        bare = one(host, user="auditor")
        assert bare["system"]["become"] == "sudo"
        assert apart_from_who(bare).keys() == apart_from_who(one(host)).keys()
