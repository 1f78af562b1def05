"""YAML that is changed on hosts by awk: exactly the one change, or none at all, whatever the file holds and whichever awk it is."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.fixes.yamltext import one_line
from tests.support.kube_node import APISERVER, KUBELET_CONFIG, manifest

SCRIPT = Path(__file__).parent.parent / "auditor/fixes/sh/yaml.sh"
AWKS = ("mawk", "gawk", "busybox")
REFUSED = 3


@pytest.fixture(scope="module")
def awks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders that hold one awk each, by its name."""
    found = {}
    for name in AWKS:
        program = shutil.which(name)
        assert program, f"{name} is needed"
        folder = tmp_path_factory.mktemp(name)
        (folder / "awk").symlink_to(program)
        found[name] = str(folder)
    return found


def edit(awks: dict[str, str], text: str, *words: str) -> tuple[int, str]:
    """Return the exit code and what the text became; every awk must say the same."""
    one = 'PATH={}:$PATH; yaml_edit "$@" <"$0" 2>&1; code=$?; printf "\\n=%s=\\n" "$code"'
    script = "\n".join([f". {SCRIPT}", *(one.format(folder) for folder in awks.values())])
    file = Path(awks["mawk"], "text")
    file.write_text(text)
    argv = ["sh", "-c", script, str(file), *words]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    answers = re.findall(r"(.*?)\n=(\d+)=\n", said, re.DOTALL)
    assert len(answers) == len(awks), said
    assert len(set(answers)) == 1, answers
    changed, code = answers[0]
    return int(code), changed


def document(text: str) -> Any:
    return yaml.safe_load(text)


def with_key(data: Any, path: list[str], value: Any) -> Any:
    data = {} if data is None else copy.deepcopy(data)
    here = data
    for key in path[:-1]:
        if here.get(key) is None:
            here[key] = {}
        here = here[key]
    here[path[-1]] = value
    return data


def without_key(data: Any, path: list[str]) -> Any:
    data = copy.deepcopy(data)
    here = data
    for key in path[:-1]:
        here = here.get(key) if isinstance(here, dict) else None
        if here is None:
            return data
    if isinstance(here, dict):
        here.pop(path[-1], None)
    return data


def comments(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.lstrip().startswith("#")]


KEYS = st.sampled_from(["a", "b", "c", "mode", "x-y", "p/q.r"])
WORDS = st.sampled_from(
    ["Webhook", "0s", "/etc/a b", "yes", "1e3", "null", "a: b", "#no", "- x", "it's", '"', "0x1", "1:30", "~", "a #b"]
)
SCALARS = st.one_of(WORDS, st.booleans(), st.integers(-3, 12000), st.none())
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.dictionaries(KEYS, inner, max_size=4),
        st.lists(SCALARS, max_size=3),
        st.lists(st.dictionaries(KEYS, inner, min_size=1, max_size=3), max_size=2),
    ),
    max_leaves=12,
)
PATHS = st.lists(st.sampled_from(["a", "b", "c", "mode"]), min_size=1, max_size=3)
VALUES = st.one_of(st.booleans(), st.integers(0, 9000), st.sampled_from(["Webhook", "5m", "yes", "No", "a: b", 'say "hi"', "back\\slash"]),
                   st.lists(st.sampled_from(["TLS_A", "off", "x"]), max_size=3))  # fmt: skip
REMARKS = st.sampled_from(["", "", "", "   # why", "\n# between", "\n", "\n      # further in"])
#: Lines that mean something else than a simple reader of lines thinks.
ODD = st.sampled_from(["a: |", "a: >-", "  text", "more: text", "- x", "-", "? k", '"a": 1', "a: 'x", "a: [1,", "]", "a: {b: 1}", "{}", "a: &x 1",
                       "b: *x", "<<: {}", "---", "...", "\ta: 1", "a: b: c", "a:b", "a: !!str 1", "b: x # y", "# z", "a:", "  b:", "    c: 1", "  - a: 1",
                       "    b: 2", "- - 1", "a: x\\", "a: b\u0085c: 1", "b: [\"x]\", 'y']", 'a: "b" c', "a: ''", "mode: - x", "a: -", "a: ?x", "c: 1 # :", "a : 1"])  # fmt: skip


@st.composite
def texts(draw: st.DrawFn) -> str:
    """What a library writes, with remarks strewn in; or a soup of odd lines."""
    if draw(st.booleans()):
        lines = draw(st.lists(st.tuples(st.integers(0, 2), ODD), max_size=7))
        return "".join("  " * n + line + "\n" for n, line in lines)
    data = draw(st.dictionaries(KEYS, TREES, min_size=1, max_size=5))
    style = {
        "default_flow_style": draw(st.sampled_from([False, False, None])),
        "indent": draw(st.sampled_from([2, 4])),
        "sort_keys": False,
    }
    text = yaml.safe_dump(data, width=draw(st.sampled_from([20, 1000])), **style)
    return "".join(line + draw(REMARKS) + "\n" for line in text.splitlines())


@settings(max_examples=70, deadline=None)
@given(text=texts(), path=PATHS, value=VALUES, take=st.sampled_from([False, False, True]))
def test_a_key_is_set_or_taken_out_and_nothing_else(
    awks: dict[str, str], text: str, path: list[str], value: Any, take: bool
) -> None:
    words = ("unset", ".".join(path)) if take else ("set", ".".join(path), one_line(value))
    code, changed = edit(awks, text, *words)
    if code == REFUSED:
        return
    assert code == 0
    before = document(text)  # what YAML doesn't allow is refused too
    assert document(changed) == (without_key(before, path) if take else with_key(before, path, value))
    assert comments(changed) == comments(text)
    assert edit(awks, changed, *words) == (0, changed)


FLAGS = st.sampled_from(["--profiling=false", "--profiling=true", "--a=b,c", "--a", "--bind-address=::1", "-v=2", "x", "--x_y=1", "--", "--z=a b #c",
                         "--k=v: w", "--q='1'", "--profiling"])  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    first=st.lists(FLAGS, max_size=4), args=st.none() | st.lists(FLAGS, max_size=3), other=st.booleans(), style=st.sampled_from([False, False, None]),
    flag=st.sampled_from(["--profiling", "--x-y", "--new"]), value=st.none() | st.sampled_from(["false", "a: b", "it's", "1,2", "x #y", "5:"]),
)  # fmt: skip
def test_a_flag_of_a_manifest(
    awks: dict[str, str], first: list[str], args: list[str] | None, other: bool, style: Any, flag: str, value: str | None
) -> None:
    container = {"name": "kube-x", "command": ["/bin/kube-x", *first], "image": "i", **({"args": args} if args is not None else {})}
    data: dict[str, Any] = {
        "kind": "Pod",
        "spec": {"hostNetwork": True, "containers": [*([{"name": "side", "command": ["sh"]}] if other else []), container]},
    }
    text = yaml.safe_dump(data, default_flow_style=style, sort_keys=False)
    words = ("unflag", "kube-x", flag) if value is None else ("flag", "kube-x", f"{flag}={value}")
    code, changed = edit(awks, text, *words)
    if code == REFUSED:
        return
    assert code == 0
    after = document(changed)
    ours = after["spec"]["containers"][-1]
    rest = [w for w in (*first, *(args or ())) if w.lstrip("-").partition("=")[0].replace("_", "-") != flag[2:]]
    said = [*ours["command"][1:], *ours.get("args", ())]
    assert [w for w in said if w.lstrip("-").partition("=")[0].replace("_", "-") != flag[2:]] == rest
    assert [w for w in said if w not in rest] == ([] if value is None else [f"{flag}={value}"])
    ours["command"], ours["args"] = container["command"], container.get("args")
    assert after == {
        **data,
        "spec": {**data["spec"], "containers": [*data["spec"]["containers"][:-1], {"args": None, **container}]},
    }
    assert edit(awks, changed, *words) == (0, changed)


PLAIN = {
    "kubelet: a value": (KUBELET_CONFIG, ("set", "authentication.anonymous.enabled", "true")),
    "kubelet: a new key": (KUBELET_CONFIG, ("set", "seccompDefault", "true")),
    "kubelet: a new key in a mapping": (KUBELET_CONFIG, ("set", "authentication.x509.other", "5")),
    "kubelet: gone": (KUBELET_CONFIG, ("unset", "rotateCertificates")),
    "kubelet: the only key": (KUBELET_CONFIG, ("unset", "authorization.mode")),
    "manifest: a flag": (manifest("kube-apiserver", APISERVER), ("flag", "kube-apiserver", "--authorization-mode=Node")),
    "manifest: a new flag": (manifest("kube-apiserver", APISERVER), ("flag", "kube-apiserver", "--profiling=false")),
    "manifest: without a flag": (manifest("kube-apiserver", APISERVER), ("unflag", "kube-apiserver", "--allow-privileged")),
    "a mapping that is empty": ("a: {}  # c\n", ("set", "a.b", "1")),
    "a comment beside": ("a: 1  # c\n", ("set", "a", "2")),
}


@pytest.mark.parametrize("case", PLAIN)
def test_what_installers_write_is_changed(awks: dict[str, str], case: str) -> None:
    """One line is another, new or gone; all others stay as they are."""
    text, words = PLAIN[case]
    code, changed = edit(awks, text, *words)
    assert code == 0, changed
    before, after = text.splitlines(), changed.splitlines()
    assert len(set(before) - set(after)) <= 2
    assert len(set(after) - set(before)) <= 2
    assert changed != text


ODD_SHAPES = {
    "a tab": "a:\t1\n", "an anchor": "a: &x 1\n", "flow over lines": "a: [1,\n  2]\n", "two documents": "a: 1\n---\nb: 1\n", "given twice": "a: 1\na: 2\n",
    "a block of text": "b: |\n  a: 1\na: 1\n", "text over lines": "b: x\n  y\na: 1\n", "a quoted key": '"a": 1\n', "a mapping there": "a:\n  b: 1\n",
    "a comment in what goes": "a:\n# why\n- x\n", "a tag": "a: !!str 1\n", "CR LF": "a: 1\r\n", "JSON": '{"a": 1}\n', "nested flow": "b: {c: {d: 1}}\n",
}  # fmt: skip


@pytest.mark.parametrize("shape", ODD_SHAPES)
def test_other_shapes_are_refused(awks: dict[str, str], shape: str) -> None:
    code, said = edit(awks, ODD_SHAPES[shape], "set", "a", "5")
    assert code == REFUSED, said
    assert said.startswith("this YAML is not of a shape that is changed here: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "value", ["yes", "No", "on", "y", "null", "~", "1e3", "0x10", "010", "1:30", "5m", "", " a", "a: b", "a #b", "[x", "2026-01-01"]
)
def test_text_stays_text(value: str) -> None:
    """Nothing is written plain that a reader of YAML 1.1 or of 1.2 could take for something else."""
    written = one_line(value)
    assert yaml.safe_load(written) == value
    assert written.startswith('"')


@pytest.mark.parametrize("value", [None, 1.5, {"a": 1}, "ä", "a\nb"])
def test_what_is_not_written(value: Any) -> None:
    with pytest.raises(ValueError, match="line of YAML"):
        one_line(value)
