"""What a host says of itself as a whole, hostile hosts included: never an exception, never more than what was said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.facts import answers, system_answers
from auditor.facts.host import EnginePackages, Files, Hardening, Listeners, Mounts, SocketGroups
from auditor.facts.host_answers import parse_toml
from auditor.model import Problem, Reason
from tests.support import streams
from tests.test_answers import END, HEAD, SCANNED, M, process

API, LISTENERS = Files(listener="dockerd"), Listeners()
FACTS = sorted([Mounts(), LISTENERS, SocketGroups(), Hardening(), EnginePackages(), API], key=lambda f: f.key)
ENGINE = process(7, "dockerd", b"dockerd\0") + SCANNED
STAT = f"\n{M} stat\n660|0|995|root|docker|1|socket|/run/docker.sock\n\n{M} rc 0\n".encode()


def facts(*records: str, head: bytes = HEAD + ENGINE, end: bytes = END) -> dict:
    body = b"".join(f"\n{M} {record}\n".encode() for record in records)
    stdout = head + body + end
    return answers.facts_of(answers.split(stdout, streams.heard(stdout, M), M), FACTS)


def test_mounts_of_containers_are_left_out_and_the_topmost_counts() -> None:
    lines = ["overlay 0:1 / /", "ext4 8:1 / /srv/a\\040b", "nsfs 0:4 mnt:[1] /run/docker/netns/x", "overlay 0:9 / /var/lib/docker/overlay2/i/merged",
             "ext4 8:2 / /srv/c", "ext4 8:3 /sub /srv/c"]  # fmt: skip
    found = facts("mounts\n" + "\n".join(lines), "rc 0")["mounts"]
    assert [(m["path"], m["device"], m["root"]) for m in found] == [
        ("/", "0:1", "/"),
        ("/srv/a b", "8:1", "/"),
        ("/srv/c", "8:3", "/sub"),
    ]


def test_mounts_without_a_root_are_not_believed() -> None:
    assert facts("mounts\next4 8:2 / /srv", "rc 0")["mounts"].reason is Reason.UNPARSABLE


@pytest.mark.parametrize(
    ("word", "read"),
    [("00000000:0947", "0.0.0.0:2375"), ("0100007F:0016", "127.0.0.1:22"), ("00000000000000000000000000000000:0948", "[::]:2376"),
     ("00000000000000000000000001000000:0050", "[::1]:80"), ("xyz", "xyz (not understood)"), ("", " (not understood)")],
)  # fmt: skip
def test_addresses(word: str, read: str) -> None:
    assert system_answers.address(word) == read


def test_sockets_for_the_engines_own_purposes_are_left_out() -> None:
    lines = ["read", "u /run/docker.sock", "/run/docker.sock", "u /run/docker/libnetwork/a.sock", "/x", "u /run/docker/swarm/control.sock",
             "/y", "t 00000000:0947"]  # fmt: skip
    found = facts("listen 7\n" + "\n".join(lines), end=STAT + END)
    assert found[LISTENERS.key] == [{"pid": 7, "unix": ["/run/docker.sock"], "tcp": ["0.0.0.0:2375"]}]
    (entry,) = found[API.key]["files"]
    assert (entry["path"], entry["mode"], entry["gid"], entry["pid"]) == ("/run/docker.sock", "0660", 995, 7)


@pytest.mark.parametrize(("records", "reason"), [(("listen 7\nunread",), "denied"), ((), "unparsable")])
def test_an_engine_that_can_not_be_looked_into_is_no_engine_without_sockets(records: tuple[str, ...], reason: str) -> None:
    found = facts(*records, end=STAT + END)
    assert found[LISTENERS.key][0]["problem"]["reason"] == reason
    assert [f["problem"]["reason"] for f in found[API.key]["files"]] == [reason]


def test_members_by_group_and_by_primary_group() -> None:
    found = facts("groups\ndocker:x:995:ann,bob\n", "rc 2", "accounts\nroot:0:0\neve:1002:995\n", "rc 0")
    assert found["socket_groups"] == [{"name": "docker", "gid": 995, "members": ["ann", "bob", "eve"]}]


def test_groups_without_any_account_are_not_believed() -> None:
    assert isinstance(facts("groups\ndocker:x:995:\n", "rc 0", "accounts\n", "rc 0")["socket_groups"], Problem)


def test_groups_that_took_too_long() -> None:
    assert facts("groups\n", "rc 124", "accounts\nroot:0:0\n", "rc 0")["socket_groups"].reason is Reason.TIMEOUT


PACKAGES = "packages\ndpkg\ndocker-ce 5:29.1.2-1\nopenssl:amd64 3.0.1\n"


def test_what_is_on_offer() -> None:
    policy = "policy\nnew docker-ce 5:29.1.2-1 5:29.1.3-1\nnew openssl:amd64 3.0.1 3.0.2\nsecurity openssl:amd64\nlooked 2\n"
    found = facts(PACKAGES, policy, "hardening\nuptime 10")
    assert found["engine_packages"]["packages"] == [{"name": "docker-ce", "installed": "5:29.1.2-1", "candidate": "5:29.1.3-1"}]
    assert [(p["name"], p["security"]) for p in found["hardening"]["pending"]] == [("docker-ce", False), ("openssl", True)]


def test_a_package_manager_that_was_not_asked_offers_nothing_known() -> None:
    found = facts(PACKAGES, "policy\n", "hardening\nuptime 10")
    assert found["engine_packages"]["packages"][0]["candidate"] is None
    assert found["hardening"]["pending"] is None


def test_hardening() -> None:
    lines = ["uptime 7250", "lsm lockdown,apparmor", "selinux 1", "sysctl kernel/randomize_va_space 2", "reboot-required", "refreshed 5",
             "refreshed 9", "tcp 0100007F:0016", "tcp 00000000:0016", "sshd permitrootlogin no"]  # fmt: skip
    found = facts(PACKAGES, "policy\nlooked 1", "hardening\n" + "\n".join(lines))["hardening"]
    assert (found["now"], found["refreshed"], found["lsm"], found["selinux"]) == (7200, 9, ["lockdown", "apparmor"], "enforcing")
    assert (found["listening"], found["sshd"], found["sysctl"]) == (
        ["0.0.0.0:22"],
        {"permitrootlogin": "no"},
        {"kernel.randomize_va_space": "2"},
    )
    assert found["reboot_required"] is True


def test_nothing_said_is_a_problem_each() -> None:
    found = facts()
    assert [key for key in ("mounts", "socket_groups", "hardening", "engine_packages") if not isinstance(found[key], Problem)] == []


@given(st.lists(st.tuples(st.sampled_from(["mounts", "listen 7", "groups", "accounts", "hardening", "packages", "policy", "rc 0", "stat"]),
                          st.text(alphabet="/ :.,0123abcnutselinuxrd\n\\", max_size=80)), max_size=12))  # fmt: skip
def test_nothing_that_a_host_says_raises(records: list[tuple[str, str]]) -> None:
    facts(*(f"{word}\n{body}" for word, body in records))


@pytest.mark.parametrize("content", [b"a = 1\na = 2", b"\xff", b"[", b"x = [" * 5000])
def test_toml_that_is_none_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match="TOML|UTF-8|deeply"):
        parse_toml(content)


def test_toml_becomes_json_values() -> None:
    assert parse_toml(b"version = 2\nwhen = 2026-01-01\n[grpc]\naddress = '/run/c.sock'") == {
        "version": 2, "when": "2026-01-01", "grpc": {"address": "/run/c.sock"},
    }  # fmt: skip
