"""Mistakes in tailoring files, waivers and attestations: every one is said in one run, at its place."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor import tailoring
from auditor.yamlfile import InputError
from tests.test_tailoring import LIBRARY, OWN, fits_the_schema, folder_with, mistakes, write  # noqa: F401 - one is a fixture


def test_every_mistake_is_said_in_one_run(tmp_path: Path) -> None:
    bad = """\
tailoring: 1
zone: Europe/Berln
filez: []
files: [../out.yaml, /etc/hosts, own/none.yaml, own/controls.yaml, own/shop.yaml]
benchmarks:
  - {benchmark: cis-dokcer, level: 3}
  - {benchmark: cis-docker@1.8.0, sections: ["9"], exclude: [{control: k8s-kubelet-anonymous, reason: x}, {reason: y}]}
  - {benchmark: cis-docker@1.8.0, include: [{control: docker-live-restore, reason: ""}]}
  - {benchmark: cis-docker, include: [{control: docker-live-restore, reason: x}], exclude: [{control: k8s-kubelet-anonymous-auth, reason: x}]}
overrides:
  - {control: docker-container-capabilities, parameters: {alowed: []}, reason: r}
  - {control: docker-container-capabilities, parameters: {allowed: [5]}, reason: r}
waivers:
  - {control: "5.5", targets: [x], reason: r, owner: o, approver: p, expires: 2027-02-29}
  - {control: 2.15@cis-docker, targets: [], reason: r, owner: o, aprover: p, expires: 2026-12-31}
  - {control: docker-live-restore, groups: [a], reason: r, owner: o, approver: p, starts: 2026-12-31, expires: 2026-12-30}
  - {id: W, control: docker-live-restore, groups: [a], reason: r, owner: o, approver: p, expires: never}
attestations:
  - {control: docker-live-restore, targets: ["*"], verdict: maybe, by: b, at: 2026-01-01, statement: s, evidence: e, expires: 2026-12-31}
  - {control: docker-live-restore, targets: ["*"], verdict: pass, by: b, at: 2026-01-01, statement: s, evidence: e, expires: 2026-12-31}
parameters:
  docker-live-restor: {}
"""
    register = tmp_path / "waivers.yaml"
    register.write_text("register: 1\nwaivers:\n  - {control: docker-live-restore, targets: [x], reason: r, owner: o, approver: p, "
                        "expires: 2026-12-31T10:00}\nparameters: {}\n")  # fmt: skip
    said = mistakes(folder_with(tmp_path, bad), register)
    expected = [
        "tailoring.yaml:2:7: 'Europe/Berln' is no time zone known here",
        "tailoring.yaml:3:1: there is no key 'filez' here; did you mean 'files'?",
        "tailoring.yaml:4:9: '../out.yaml' must be a path below the folder of this file",
        "tailoring.yaml:4:22: '/etc/hosts' must be a path below the folder of this file",
        "tailoring.yaml:4:34: 'own/none.yaml' can't be read: No such file or directory",
        "tailoring.yaml:6:5: the key 'reason' is missing: why these levels or sections",
        "tailoring.yaml:6:17: there is no benchmark 'cis-dokcer'; did you mean 'cis-docker'?",
        "tailoring.yaml:6:36: level must be 1 or 2",
        "tailoring.yaml:7:46: cis-docker@1.8.0 has no section '9'",
        "tailoring.yaml:7:107: name either a control or a section to leave out",
        "tailoring.yaml:8:84: must not be empty",
        "tailoring.yaml:11:67: the control has no parameter 'alowed'; did you mean 'allowed'?",
        "tailoring.yaml:12:69: must be text, not a whole number (5): put it in quotes",
        "tailoring.yaml:14:15: a number alone doesn't say of which benchmark",
        "tailoring.yaml:14:79: there is no day 2027-02-29: it is no leap year",
        "tailoring.yaml:15:5: say which targets or groups this is for",
        "tailoring.yaml:15:15: 2.15 is not the same control in every version of cis-docker",
        "tailoring.yaml:15:66: there is no key 'aprover' here; did you mean 'approver'?",
        "tailoring.yaml:16:112: expires before it begins (starts: 2026-12-31)",
        "tailoring.yaml:17:99: must be a day such as 2026-12-31",
        "tailoring.yaml:19:61: 'maybe' is not one of the allowed words",
        "tailoring.yaml:19:15: evidence alone decides 'docker-live-restore': there is nothing to attest",
        "tailoring.yaml:20:15: evidence alone decides 'docker-live-restore': there is nothing to attest",
        "tailoring.yaml:22:23: there is no control 'docker-live-restor'; did you mean 'docker-live-restore'?",
        "waivers.yaml:3:93: a time of day needs its offset",
        "waivers.yaml:4:1: there is no key 'parameters' here",
        "tailoring.yaml:8:17: the benchmark 'cis-docker@1.8.0' stands here twice",
        "tailoring.yaml:9:49: there is nothing to except this control from",
        "tailoring.yaml:9:103: cis-docker has no control 'k8s-kubelet-anonymous-auth'",
    ]
    for words in expected:
        assert [s for s in said if s.startswith(words)], f"{words} not in\n" + "\n".join(said)


def test_what_is_named_as_a_file_is_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    said = mistakes(folder_with(tmp_path, "tailoring: 1\nfiles: [pipe.yaml, own]\n"))
    assert [s.partition("tailoring.yaml:")[2] for s in said] == ["2:9: 'pipe.yaml' is no file", "2:20: 'own' is no file"]


def test_no_mistake_of_an_entry_hides_another_one(tmp_path: Path) -> None:
    said = mistakes(folder_with(tmp_path, """\
tailoring: 1
attestations:
  - {control: docker-live-restore, targets: [], verdict: passed, by: "", at: 2026-13-01, statment: s, evidence: e, expires: soon}
overrides:
  - {control: docker-container-capabilities, parameters: {alowed: []}, targets: [x], reson: r}
"""))  # fmt: skip
    assert [s.partition("tailoring.yaml:")[2].partition(" ")[0] for s in said] == [
        "3:5:", "3:5:", "3:15:", "3:45:", "3:58:", "3:70:", "3:78:", "3:90:", "3:125:", "5:5:", "5:67:", "5:86:",
    ], "\n".join(said)  # fmt: skip


def test_own_controls_are_held_to_the_same_rules(tmp_path: Path) -> None:
    path = folder_with(tmp_path, controls_yaml=OWN["controls.yaml"].replace("low", "lwo") + "- {key: docker-live-restore}\n")
    said = mistakes(path)
    assert any("own/controls.yaml:3:13: 'lwo' is not one of the allowed words" in s for s in said)
    assert any("the control 'docker-live-restore' is already defined" in s for s in said)
    assert not any("'own-question'" in s for s in said), "one mistake in a control doesn't make all that name it wrong"
    path = folder_with(tmp_path, shop_yaml=OWN["shop.yaml"].replace("own-question", "docker-daemon-icc"))
    assert any("'own-question' stands in no table of contents" in s for s in mistakes(path))
    path = folder_with(tmp_path, shop_yaml=OWN["shop.yaml"].replace("benchmark:", "bench:"))
    assert not any("stands in no table of contents" in s for s in mistakes(path)), "the table that holds it can't be read"
    path = folder_with(tmp_path, shop_yaml=OWN["shop.yaml"].replace("benchmark: shop", "benchmark: cis-docker"))
    assert any("'cis-docker' is a packaged benchmark" in s for s in mistakes(path))
    path = folder_with(
        tmp_path, controls_yaml=OWN["controls.yaml"].replace("{manual: {question: Was it asked?}}", "{run: {command: id}}")
    )
    assert any("there is no check type 'run'" in s for s in mistakes(path)), "a file can't bring a command"


def test_own_files_stay_below_the_folder(tmp_path: Path) -> None:
    path = folder_with(tmp_path, "tailoring: 1\nfiles: [own/link.yaml]\n")
    (tmp_path / "secret.yaml").write_text("x")
    inside = tmp_path / "site"
    inside.mkdir()
    path = path.rename(inside / "tailoring.yaml")
    (inside / "own").mkdir()
    (inside / "own" / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    assert mistakes(path) == ["tailoring.yaml:2:9: 'own/link.yaml' must be a path below the folder of this file"]


def test_ids_are_unique_over_all_files(tmp_path: Path) -> None:
    entry = "{%s control: docker-live-restore, targets: [x], reason: r, owner: o, approver: p, expires: 2026-12-31}"
    files = []
    for name, ids in (("a.yaml", ["id: W2,", ""]), ("b.yaml", ["", "id: W2,"])):
        files.append(tmp_path / name)
        files[-1].write_text("register: 1\nwaivers:\n" + "".join(f"  - {entry % i}\n" for i in ids))
    assert [s.partition(str(tmp_path))[0] for s in mistakes(None, *files)] == ["b.yaml:4:10: the id 'W2' is taken already at "]
    files[1].write_text("register: 1\nwaivers:\n" + f"  - {entry % ''}\n")
    assert [w.id for w in tailoring.load(LIBRARY, None, files).waivers] == ["W2", "W1", "W3"]


def test_an_id_is_taken_though_its_entry_is_wrong(tmp_path: Path) -> None:
    text = """\
register: 1
waivers:
  - {control: docker-live-restore, targets: [x], reason: r, owner: o, approver: p, expires: 2026-12-31}
  - {id: W1, control: docker-live-restore, targets: [x], reason: r, owner: o, approver: p, expires: 2026-12-31}
"""
    path = write(tmp_path, text)
    assert [w.id for w in tailoring.load(LIBRARY, None, [path]).waivers] == ["W2", "W1"], "an id that was given is kept"
    wrong = "  - {id: W1, control: docker-live-restore, targets: [x], reason: r, owner: o, approver: p, expires: never}\n"
    said = mistakes(None, write(tmp_path, text + wrong))
    assert len(said) == 2
    assert any("the id 'W1' is taken already" in s for s in said)


def test_a_list_that_names_nothing_does_not_mean_everything(tmp_path: Path) -> None:
    text = """\
tailoring: 1
overrides:
  - {control: docker-container-capabilities, targets: [], parameters: {}, reason: r}
waivers:
  - {control: docker-live-restore, targets: [x], subjects: [], reason: r, owner: o, approver: p, expires: 2026-12-31}
"""
    words = "must not be empty: leave the key out, or name something"
    assert mistakes(write(tmp_path, text)) == [f"tailoring.yaml:{at}: {words}" for at in ("3:55", "3:71", "5:60")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "register: 1\nwaivers: []\n",
            "the key 'tailoring' is missing: it is the version of the format, 1; a file with 'register'",
        ),
        ("tailoring: 3\nfuture: {}\n", "1:12: this program reads tailoring files of version 1"),
        ("- a\n", "must be a mapping, not a list"),
        ("tailoring: 1\nwaivers: {}\n", "2:10: must be a list, not a mapping"),
        ("tailoring: 1\nwaivers: [5]\n", "2:11: must be a mapping"),
        ("tailoring: 1\noverrides: [{control: x, control: y}]\n", "the key 'control' stands here twice"),
        ("tailoring: !!python/object:os.system {}\n", "the tag"),
        ("tailoring: 1\nzone: [UTC]\n", "2:7: must be text, not a list"),
        ("", "is empty"),
    ],
)
def test_shapes(tmp_path: Path, text: str, said: str) -> None:
    assert any(said in m for m in mistakes(write(tmp_path, text)))


@given(st.text(max_size=60))
def test_any_text_is_a_tailoring_file_or_a_mistake_with_its_place(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.yaml"
        path.write_bytes(("tailoring: 1\n" + text).encode("utf-8", "surrogatepass"))
        try:
            tailoring.load(LIBRARY, path)
        except InputError as error:
            assert error.mistakes
