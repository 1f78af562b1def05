"""The start of an audit loads what is selected and nothing else, and finds in it what reading everything finds."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from auditor import catalogue, yamltree
from auditor.catalogue import parse, parse_as_needed
from auditor.places import places_of
from auditor.yamlfile import InputError
from auditor.yamltree import MAX_DEPTH, compose
from checks import BUILT_IN, check_types

FILES = catalogue._packaged_files()


def loaded(code: str) -> set[str]:
    """Run code in a Python of its own and return the modules that it has loaded."""
    code += "\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    return set(json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout))


def shape(node: yaml.Node) -> Any:
    """Return everything that a tree of nodes says."""
    here = [(m.name, m.line, m.column) for m in (node.start_mark, node.end_mark)]
    below = node.value if isinstance(node.value, str) else [
        tuple(map(shape, part)) if isinstance(part, tuple) else shape(part) for part in node.value
    ]  # fmt: skip
    return type(node), node.tag, here, below


def test_one_benchmark_loads_its_own_check_types_and_files() -> None:
    code = """
from auditor import catalogue, places
from checks import check_types
read = []
whole = catalogue.parse
catalogue.parse = lambda files, types: (read.extend(f for f, _ in files), whole(files, types))[1]
catalogue.packaged(check_types()).load("cis-docker@1.6.0")
assert read and all(f.startswith("benchmarks/docker/") for f in read), read
assert [f for f in read if "/cis-" in f] == ["benchmarks/docker/cis-1.6.0.yaml"], read
"""
    modules = loaded(code)
    assert "checks.container" in modules
    assert not modules & {"checks.rbac", "checks.etcd_peers", "checks.workload", "checks.encryption", "importlib.metadata"}


def test_paramiko_comes_without_what_only_match_exec_needs() -> None:
    code = "from auditor.inventory import Inventory; from auditor.transports.logins import Hops; Hops(Inventory(hosts=()))"
    modules = loaded(code)
    assert "paramiko" in modules
    assert not modules & {"invoke", "asyncio", "unittest.mock"}


def test_reading_as_needed_finds_what_reading_everything_finds() -> None:
    needed, whole = parse_as_needed(FILES, check_types()), parse(FILES, check_types())
    assert places_of(FILES) is not None, "the packaged files are looked through by their lines"
    assert (needed.digest, needed.names()) == (whole.digest, whole.names())
    assert set(needed.definitions) == set(whole.definitions)
    assert len(needed.definitions) == len(whole.definitions)
    for kind in ("definitions", "contents"):
        for key, (file, node) in getattr(whole, kind).items():
            assert key in getattr(needed, kind)
            other, same = getattr(needed, kind)[key]
            assert (file, shape(node)) == (other, shape(same)), key
    with pytest.raises(KeyError):
        needed.definitions["nothing"]


CONTROLS = "- key: ask\n  title: Somebody knows\n- key: other\n"
CONTENTS = 'benchmark: house\nversion: "1.0"\ncontrols: []\n'


@pytest.mark.parametrize(
    "texts",
    [
        (CONTROLS, CONTROLS.replace("other", "more")),  # twice in two files
        (CONTROLS.replace("other", "ask"),),
        (CONTENTS, CONTENTS),
        (CONTROLS.replace("- key", "-  key"),),  # other looks
        (CONTROLS.replace("other", '"other"'),),
        (CONTROLS + "- title: no key\n",),
        (CONTENTS.replace('"1.0"', "1.0"),),
        (CONTENTS + CONTENTS,),
        ("{benchmark: house, version: '1'}",),
        ("text",),
        ("a: [",),
        ("",),
    ],
)
def test_files_of_another_look_are_all_parsed(texts: tuple[str, ...]) -> None:
    files = [(f"{n}.yaml", text) for n, text in enumerate(texts)]
    assert places_of(files) is None

    def said(read: Any) -> str:
        try:
            return str(sorted(read(files, {}).definitions))
        except InputError as error:
            return str(error)

    assert said(parse_as_needed) == said(parse)


def test_a_file_with_more_in_it_than_its_lines_show_is_no_surprise() -> None:
    """A key within a block of text is not one."""
    files = [
        ("0.yaml", 'benchmark: house\nversion: "1.0"\ntitle: |\n  text\n'),
        ("1.yaml", "- key: ask\n  text: |\n    - key: no\n"),
    ]
    found = parse_as_needed(files, {})
    assert list(found.definitions) == ["ask"]
    assert found.definitions["ask"][1].value[0][1].value == "ask"


def plainly(text: str) -> Iterator[Any]:
    """Yield what both ways of composing come to."""
    for way in (compose, yamltree._compose_watched):
        try:
            yield shape(way(text, "f.yaml"))
        except InputError as error:
            yield str(error)


@pytest.mark.parametrize(
    "text",
    [
        *(text for _, text in FILES),
        "", "a", "- 1\n- 1.5\n- true\n- ~\n- ''\n- 2020-01-01\n- 0x1f\n- .inf\n- <<\n- =\n- no\n", "a: [1, {b: c}]", "a: [", "a: b: c", "\ta",
        "a\n---\nb", "---\na\n...\n", "%YAML 1.1\n---\na", "&x a", "a: &x b", "[&x a]", "{a: *x}", '{"a":&x b}', "- *x", "!a b", "a: !!str 1",
        "? &x a\n: b", "! a", "-&x", "a&b: c*d!e", "a: 'x & y * z'", "a: x & y", 'a: "&x"', "#&x\na: b", "[a,&x b]", "\ufeff&x a", "--- &x a",
        "a: |\n  &x\n", "a:\n- &x b", "a\x85&x b", "a:\u2028  &x b", "a: 'b'&x", "[a]&x",
        "[" * MAX_DEPTH + "]" * MAX_DEPTH, "[" * MAX_DEPTH + "a" + "]" * MAX_DEPTH, "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        "[" * 5000, "- " * MAX_DEPTH + "a", "- " * (MAX_DEPTH + 1) + "a", "- " * 3000 + "a",
    ],
)  # fmt: skip
def test_text_without_marks_is_composed_alike(text: str) -> None:
    fast, watched = plainly(text)
    assert fast == watched


def test_check_types_know_their_names_without_loading() -> None:
    types = check_types()
    assert set(types) >= set(BUILT_IN)
    assert list(types) == sorted(types)
    assert len(types) == len(list(types))
    assert "nothing" not in types
    with pytest.raises(KeyError):
        types["nothing"]
    assert types["manual"].__name__ == "Manual"


def test_match_exec_of_an_ssh_config_still_works(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Match exec true\n  User found\n")
    code = f"""
from pathlib import Path
from auditor.inventory import HostSpec, Inventory
from auditor.transports.logins import Hops
login = Hops(Inventory(hosts=()), Path({str(config)!r})).login(HostSpec(name="web-1"))
assert login.user == "found", login
"""
    assert "invoke" in loaded(code)
