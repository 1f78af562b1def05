"""Command lines read as dockerd (pflag), the Kubernetes components (pflag) and etcd (Go's flag package) read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.facts import flags
from auditor.facts.flags import DOCKERD, FALSE_WORDS, GO, KUBERNETES, TRUE_WORDS
from auditor.model import Problem

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
ARGS = st.lists(
    st.one_of(WORDS, st.sampled_from(["--icc", "--icc=false", "-D", "-H", "--", "-", "--host", "--x=y", "-DH", "--icc="]))
)
DIALECTS = st.sampled_from([DOCKERD, KUBERNETES, GO])
PLAIN = st.text("abcdefghijklmnopqrstuvwxyz0123456789:/.", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("args", "value"),
    [
        ([], None),
        (["--icc"], True),
        (["--icc=false"], False),
        (["--icc=0"], False),
        (["--icc=F"], False),
        (["--icc=T"], True),
        (["--icc", "false"], True),  # the next word is no value of a boolean
        (["--icc=false", "--icc"], True),
        (["--icc", "--icc=false"], False),
        (["--iccx=false"], None),
        (["-icc=false"], None),  # short flags of dockerd, not the long one
        (["--", "--icc=false"], None),
        (["-l", "--icc=false"], None),  # the value of -l, as pflag reads it
        (["icc=false"], None),
    ],
)
def test_booleans_of_dockerd(args, value):
    """A bare flag is true, the last one wins, and only real occurrences count."""
    assert flags.boolean(args, "--icc", DOCKERD) is value


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "", "tRUE", "2", " true", "-1"])
def test_what_is_no_boolean_is_a_problem(word):
    assert isinstance(flags.boolean([f"--icc={word}"], "--icc", DOCKERD), Problem)


def test_a_bad_boolean_spoils_the_good_one_after_it():
    """The program would not have started, so what we were given can't be trusted."""
    assert isinstance(flags.boolean(["--icc=yes", "--icc=false"], "--icc", DOCKERD), Problem)


@pytest.mark.parametrize(
    ("args", "hosts"),
    [
        (["-H", "unix:///a", "-H", "tcp://b"], ["unix:///a", "tcp://b"]),
        (["-Hunix:///a"], ["unix:///a"]),
        (["-H=unix:///a"], ["unix:///a"]),
        (["-DHtcp://b"], ["tcp://b"]),
        (["-DH", "tcp://b"], ["tcp://b"]),
        (["-D=false", "-H", "tcp://b"], ["tcp://b"]),
        (["--host", "tcp://b", "--host=tcp://c"], ["tcp://b", "tcp://c"]),
        (["--host=tcp://b,tcp://c"], ["tcp://b,tcp://c"]),  # dockerd's lists don't split
        (["-ldebug", "-H", "x"], ["x"]),
        (["-l=debug", "-H", "x"], ["x"]),
        (["-l", "debug", "-H", "x"], ["x"]),
        (["-H", "--debug"], ["--debug"]),
        (["--label", "x"], None),
    ],
)
def test_short_and_repeated_flags_of_dockerd(args, hosts):
    assert flags.listing(args, "--host", DOCKERD) == hosts


def test_lists_of_kubernetes_split_and_accumulate():
    args = ["--authorization-mode=Node,RBAC", "--authorization_mode", "Webhook"]
    assert flags.listing(args, "--authorization-mode", KUBERNETES) == ["Node", "RBAC", "Webhook"]
    assert flags.listing(["--authorization-mode="], "--authorization-mode", KUBERNETES) == []
    assert flags.listing(['--authorization-mode="Node","RBAC"'], "--authorization-mode", KUBERNETES) == ["Node", "RBAC"]


def test_a_flag_without_its_value_is_a_problem():
    assert isinstance(flags.text(["--client-ca-file"], "--client-ca-file", KUBERNETES), Problem)
    assert isinstance(flags.listing(["-H"], "--host", DOCKERD), Problem)


def test_text_may_be_empty_and_the_last_wins():
    assert flags.text(["--client-ca-file=a", "--client-ca-file="], "--client-ca-file", KUBERNETES) == ""
    assert flags.text(["--client-ca-file", "a", "--client-ca-file", "b"], "--client-ca-file", KUBERNETES) == "b"


def test_etcd_knows_one_dash_and_two():
    args = ["-cert-file=/a", "--key-file", "/b"]
    assert flags.text(args, "--cert-file", GO) == "/a"
    assert flags.text(args, "--key-file", GO) == "/b"


def test_underscores_equal_dashes_only_in_kubernetes():
    assert flags.boolean(["--anonymous_auth=false"], "--anonymous-auth", KUBERNETES) is False
    assert flags.boolean(["--live_restore"], "--live-restore", DOCKERD) is None


def test_feature_gates_merge_per_key():
    args = ["--feature-gates=A=true,B=false", "--feature-gates", "B=true"]
    assert flags.mapping(args, "--feature-gates", KUBERNETES) == {"A": "true", "B": "true"}
    assert isinstance(flags.mapping(["--feature-gates=A"], "--feature-gates", KUBERNETES), Problem)


@pytest.mark.parametrize(
    ("word", "number"),
    [("0", 0), ("-1", -1), ("10255", 10255), ("0x10", 16), ("010", 8), ("0o10", 8), ("0b11", 3), ("1_000", 1000)],
)
def test_whole_numbers_as_go_reads_them(word, number):
    assert flags.integer([f"--n={word}"], "--n", KUBERNETES) == number


@pytest.mark.parametrize("word", ["", "ten", "1.0", " 1", "08", "1e3", "\u0661", "_1", "0x"])
def test_what_is_no_number_is_a_problem(word):
    assert isinstance(flags.integer([f"--n={word}"], "--n", KUBERNETES), Problem)


@given(ARGS, DIALECTS)
def test_no_command_line_breaks_a_reader(args, dialect):
    """Whatever stands in argv, each reader answers with its type, None or a Problem."""
    for reader, kind in (
        (flags.boolean, bool),
        (flags.integer, int),
        (flags.text, str),
        (flags.listing, list),
        (flags.mapping, dict),
    ):
        for flag in ("--icc", "--host", "--x"):
            assert isinstance(reader(args, flag, dialect), kind | Problem | None)


@given(st.lists(st.sampled_from(sorted(TRUE_WORDS | FALSE_WORDS)), min_size=1), DIALECTS)
def test_the_last_boolean_wins(words, dialect):
    args = [f"--some-flag={w}" for w in words]
    assert flags.boolean(args, "--some-flag", dialect) is (words[-1] in TRUE_WORDS)


@given(st.lists(PLAIN, min_size=1), DIALECTS, st.data())
def test_equals_sign_and_space_mean_the_same(values, dialect, data):
    args = [a for v in values for a in ([f"--name={v}"] if data.draw(st.booleans()) else ["--name", v])]
    assert flags.text(args, "--name", dialect) == values[-1]
    assert flags.listing(args, "--name", dialect) == values


@given(ARGS, DIALECTS)
def test_other_flags_never_set_ours(args, dialect):
    """A name that stands nowhere in the words is given nowhere."""
    assert flags.text(args, "--unheard-of", dialect) is None
