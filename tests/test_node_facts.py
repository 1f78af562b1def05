"""What is asked of a Kubernetes node and how its answers are read, without a node."""

from __future__ import annotations

import subprocess
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.facts import flags, node_answers
from auditor.facts.host import NODE_FILES, Files
from auditor.facts.node import AddressFilter, Authorities
from auditor.facts.records import split
from auditor.facts.script import UnsafeQuestionError, compose
from auditor.model import Problem
from checks.audit_probes import LEVELS, PROBES, level_of
from checks.loopback import is_loopback
from tests.support import streams
from tests.support.kube_node import certificate

M = "0f" * 16
SECRET = "cGxhbnRlZC1lbmNyeXB0aW9uLWtleS1vZi0zMi1ieXRlcw=="


@pytest.mark.parametrize(
    "text",
    [
        f"providers:\n- aescbc:\n    keys:\n    - name: k\n      secret: {SECRET}\n- identity: {{}}\n",
        f"providers:\n- aescbc: {{keys: [{{name: k, secret: {SECRET}}}]}}\n",
        f'{{"providers":[{{"aescbc":{{"keys":[{{"name":"k","secret":"{SECRET}"}}]}}}}]}}',
        f'{{\n  "secret" : "{SECRET}"\n}}\n',
        f"secret: |\n  {SECRET}\n",
        f"secret:\n  {SECRET}\nname: k\n",
        f"'secret': '{SECRET}'\n",
    ],
)
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_keys_never_leave_the_host(shell: str, text: str) -> None:
    part = (resources.files("auditor.facts") / "sh" / "config.sh").read_text()
    done = subprocess.run([shell, "-c", part + "\nveil"], input=text, capture_output=True, text=True, check=True)
    assert "cGxhbnRl" not in done.stdout
    assert not done.stderr


def test_questions_outside_of_the_known_are_refused() -> None:
    for fact in (Files(node="home"), AddressFilter(unit="sshd.service")):
        with pytest.raises(UnsafeQuestionError):
            compose([fact], M)
    script, _ = compose([*(Files(node=kind) for kind in NODE_FILES), Authorities(), AddressFilter(unit="kubelet.service")], M)
    assert all(f"node_file {n} " in script.decode() for n in range(2, 2 + len(NODE_FILES)))


def answered(*records: bytes) -> object:
    stdout = b"".join(b"\n" + M.encode() + b" " + r for r in records)
    return node_answers.authorities(split(stdout, streams.heard(stdout, M), M))


def test_authorities_tell_keys_apart() -> None:
    one, other = certificate("one").encode(), certificate("other").encode()
    found = answered(b"authorities\n", b"ca 4 /a b.crt\n" + one + other, b"rc 0\n", b"ca 3 /c\n" + one, b"rc 0\n", b"end\n")
    assert isinstance(found, list)
    assert [(f["pid"], f["path"], len(f["keys"])) for f in found] == [(3, "/c", 1), (4, "/a b.crt", 2)]
    assert found[0]["keys"][0] == found[1]["keys"][0]
    assert found[1]["keys"][0]["sha256"] != found[1]["keys"][1]["sha256"]


@pytest.mark.parametrize(
    "body",
    [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"-----BEGIN CERTIFICATE-----\n", b"\xff\x00" * 50],
)
def test_a_broken_authority_is_a_problem(body: bytes) -> None:
    found = answered(b"authorities\n", b"ca 4 /a\n" + body, b"rc 0\n", b"end\n")
    assert isinstance(found, list)
    assert "problem" in found[0]


def test_an_authority_that_is_cut_off_is_a_problem() -> None:
    stdout = b"".join(b"\n%s %s" % (M.encode(), r) for r in (b"authorities\n", b"ca 4 /a\n" + certificate("one").encode()))
    found = node_answers.authorities(split(stdout, streams.heard(stdout, M) + b"\n%s end\n" % M.encode(), M))
    assert isinstance(found, list)
    assert found == [] or "problem" in found[0]
    assert isinstance(answered(b"end\n"), Problem)


@given(st.binary(max_size=300))
def test_any_answer_is_read_without_raising(said: bytes) -> None:
    stdout = b"\n%s authorities\n\n%s ca %s\n%s end\n" % (M.encode(), M.encode(), said, M.encode())
    answers = split(stdout, streams.heard(stdout, M), M)
    node_answers.authorities(answers)
    node_answers.address_filter(answers, AddressFilter(unit="kubelet.service"))


@pytest.mark.parametrize(
    ("word", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("1h30m", 5400),
        ("5m0s", 300),
        ("1.5s", 2),
        ("100ms", 1),
        ("1ns", 1),
        ("-1s", -1),
        (".5h", 1800),
        ("1m1.1s", 62),
    ],
)
def test_durations_as_go_reads_them(word: str, seconds: int) -> None:
    assert flags.duration_of(word) == seconds


@pytest.mark.parametrize("word", ["", "60", "1d", "s", "1 m", "1m 2s", "0x1s", "1e3s", "."])
def test_what_is_no_duration(word: str) -> None:
    assert isinstance(flags.duration_of(word), Problem)


@pytest.mark.parametrize(
    ("address", "own"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]:1", True), ("localhost:1", True), ("::ffff:127.0.0.1", True),
     ("0.0.0.0", False), ("", False), (":10249", False), ("[::]:1", False), ("10.0.0.1", False), ("::ffff:10.0.0.1", False)],
)  # fmt: skip
def test_loopback(address: str, own: bool) -> None:
    assert is_loopback(address) is own


rules = st.lists(
    st.fixed_dictionaries(
        {"level": st.sampled_from(LEVELS)},
        optional={
            "verbs": st.lists(st.sampled_from(["get", "create", "*"]), max_size=2),
            "users": st.lists(st.sampled_from(["system:kube-proxy", "x"]), max_size=2),
            "resources": st.lists(
                st.fixed_dictionaries(
                    {"group": st.sampled_from(["", "apps"]), "resources": st.lists(st.sampled_from(["pods", "*", "pods/*"]))}
                ),
                max_size=2,
            ),
        },
    ),
    max_size=4,
)


@given(rules, rules)
def test_rules_after_the_one_that_matches_change_nothing(first: list[dict], then: list[dict]) -> None:  # type: ignore[type-arg]
    catch_all = {"level": "Request"}
    for probes in PROBES.values():
        for probe in probes:
            assert level_of(probe, [*first, catch_all, *then]) == level_of(probe, [*first, catch_all])
