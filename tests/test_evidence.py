"""Evidence bundles: what is written is what is read, nobody else reads it, and nobody changes it unseen."""

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from auditor import evidence as module
from auditor.evidence import decode_answer, digest, encode_answer, file_name, load, load_all, save, write_private
from auditor.model import Evidence, Problem, Reason, Target, TargetStatus
from auditor.yamlfile import InputError

FULL = Evidence(
    Target("web-1", "ssh", "10.0.0.11", ("prod", "web")),
    "2025-01-01T00:00:00Z",
    {
        "system": {"hostname": "web-1", "uid": 0},
        "engine:info": Problem(Reason.DENIED, "permission denied"),
        "processes": [],
        "odd": "\x00\x1b[31m\ud800 <script> é",
    },
)
LOST = Evidence(
    Target("web-2", "ssh"), "2025-01-01T00:00:00Z", {}, TargetStatus.UNREACHABLE, Problem(Reason.UNREACHABLE, "connection refused")
)

JSON = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5).filter(lambda k: k != "problem"), st.none() | inner, max_size=3)
    ),
    max_leaves=10,
)
PROBLEMS = st.builds(Problem, st.sampled_from(list(Reason)), st.text(max_size=20))


@pytest.mark.parametrize("evidence", [FULL, LOST], ids=["full", "lost"])
def test_what_is_saved_is_loaded(tmp_path: Path, evidence: Evidence) -> None:
    path = save(evidence, tmp_path)
    assert load(path) == evidence
    assert digest(load(path)) == digest(evidence) == json.loads(path.read_text())["sha256"]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.text(max_size=20), st.dictionaries(st.text(max_size=8), JSON | PROBLEMS, max_size=4), st.none() | PROBLEMS)
def test_any_evidence_survives(tmp_path: Path, name: str, facts: dict[str, Any], error: Problem | None) -> None:
    evidence = Evidence(Target(name, "ssh", name, (name,)), "now", facts, TargetStatus.FAILED, error)
    path = save(evidence, tmp_path)
    assert path.parent == tmp_path
    assert load(path) == evidence


@given(JSON | PROBLEMS)
def test_answers_survive(answer: Any) -> None:
    assert decode_answer(json.loads(json.dumps(encode_answer(answer)))) == answer


def test_digest_is_of_the_content_not_of_the_layout(tmp_path: Path) -> None:
    path = save(FULL, tmp_path)
    document = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(document.items())), indent=7))
    assert load(path) == FULL


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [at, *(p for k, v in value.items() for p in places(v, (*at, k)))]
    if isinstance(value, list):
        return [at, *(p for k, v in enumerate(value) for p in places(v, (*at, k)))]
    return [at]


@pytest.mark.parametrize("evidence", [FULL, LOST], ids=["full", "lost"])
def test_any_change_is_noticed(tmp_path: Path, evidence: Evidence) -> None:
    path = save(evidence, tmp_path)
    original = path.read_text()
    for place in places(json.loads(original)):
        for change in ("changed", None, 1, {}, [], ["x"]):
            document = json.loads(original)
            if not place:
                document = change
            else:
                container = document
                for key in place[:-1]:
                    container = container[key]
                if container[place[-1]] == change and type(container[place[-1]]) is type(change):
                    continue
                container[place[-1]] = change
            path.write_text(json.dumps(document))
            with pytest.raises(InputError) as error:
                load(path)
            assert str(error.value).startswith(f"{path}: ")
            assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"x"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"format": "cis-auditor-evidence/2"}',
        b'{"format": "cis-auditor-evidence/1"}',
    ],
)
def test_what_is_no_bundle(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.evidence.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: (is not an evidence bundle|has the format)"):
        load(path)


def test_files_that_can_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="can't be read: No such file"):
        load(tmp_path / "none")
    with pytest.raises(InputError, match="can't be read: Is a directory"):
        load(tmp_path)
    with pytest.raises(InputError, match=r"holds no \*\.evidence\.json"):
        load_all(tmp_path)
    path = save(FULL, tmp_path)
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    with pytest.raises(InputError, match="is larger than 100 bytes"):
        load(path)


def test_load_all_is_in_the_order_of_names_and_reads_nothing_else(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        save(Evidence(Target(name, "ssh")), tmp_path)
    (tmp_path / "notes.json").write_text("{")
    assert [e.target.name for e in load_all(tmp_path)] == ["a", "b", "c"]
    assert [e.target.name for e in load_all(tmp_path / "b.evidence.json")] == ["b"]


def test_what_never_ends_is_no_bundle(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, target in (("a", "/dev/zero"), ("b", tmp_path / "pipe")):
        path = tmp_path / f"{name}.evidence.json"
        path.symlink_to(target)
        with pytest.raises(InputError, match="is no file"):
            load(path)


def test_files_belong_to_the_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = save(FULL, tmp_path / "evidence")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    write_private(path, b"first")
    with pytest.raises(TypeError):
        write_private(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("nameless", [True, False])
def test_a_file_has_no_name_until_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool) -> None:
    """A kill in the middle leaves nothing; and what somebody put in the way is not written to."""
    if not nameless:
        monkeypatch.setattr("auditor.files._nameless", lambda _: None)
    mine = f".x.{os.getpid()}"
    theirs = (tmp_path / mine).open("wb+")
    seen: list[list[str]] = []

    def parts() -> Iterator[bytes]:
        yield b"one"
        seen.append([p.name for p in tmp_path.iterdir()])
        yield b"two"

    write_private(tmp_path / "x", parts())
    assert seen == [[] if nameless else [mine]]
    assert [(p.name, p.read_bytes(), stat.S_IMODE(p.stat().st_mode)) for p in tmp_path.iterdir()] == [("x", b"onetwo", 0o600)]
    with theirs:
        assert theirs.read() == b""


def test_a_link_in_the_folder_is_replaced_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    folder = tmp_path / "evidence"
    folder.mkdir()
    (folder / "web-1.evidence.json").symlink_to(outside)
    path = save(FULL, folder)
    assert outside.read_text() == "precious"
    assert not path.is_symlink()
    path.unlink()
    (folder / f".web-1.evidence.json.{os.getpid()}").symlink_to(outside)
    assert save(FULL, folder) == path
    assert [p.name for p in folder.iterdir()] == [path.name]
    assert outside.read_text() == "precious"


def test_what_is_no_file_or_is_there_already_stays(tmp_path: Path) -> None:
    """A device's name is no place for a report, which would be the device from then on; and what is new replaces nothing."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/stdout")):
        before = path.lstat()
        with pytest.raises(OSError, match="is no file that can be replaced"):
            write_private(path, b"x")
        assert os.path.samestat(path.lstat(), before)
    write_private(tmp_path / "new" / "a", b"first", new=True)
    (tmp_path / "new" / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("a", "link"):
        with pytest.raises(FileExistsError):
            write_private(tmp_path / "new" / name, b"second", new=True)
    assert (tmp_path / "new" / "a").read_bytes() == b"first"
    assert not (tmp_path / "elsewhere").exists()
    assert [p.name for p in sorted((tmp_path / "new").iterdir())] == ["a", "link"]


@given(st.text(max_size=300))
@example("../../etc/passwd")
@example("/etc/passwd")
@example("..")
@example(".")
@example("")
@example(".hidden")
@example("a/b")
@example("a\x00b")
@example("x" * 253)
@example("é" * 253)
@example("con\n.txt")
def test_any_name_makes_a_file_name(name: str) -> None:
    safe = file_name(name)
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", safe)
    assert len(f".{safe}.evidence.json.1234567") <= 255


@given(st.text(max_size=20), st.text(max_size=20))
@example("a/b", "a_b")
@example("a b", "a/b")
@example("x" * 101, "x" * 102)
@example("Web", "web")
def test_two_names_never_share_a_file(one: str, other: str) -> None:
    assert (file_name(one) == file_name(other)) == (one == other)
