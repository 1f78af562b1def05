"""Manifests: what a run wrote, signed, each naming the one before it, so that nothing can be altered, left out or put in unseen.

A manifest is an in-toto Statement v1 (https://github.com/in-toto/attestation) in a signed envelope, ``manifest.dsse.json`` in the
folder of the output. Its subjects are the files of that folder; its predicate says what the run was and which manifest came before.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import mmap
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.evidence import file_name, load
from auditor.files import write_private
from auditor.model import AuditRun, TargetResult
from auditor.packs import DamagedError, documents
from auditor.signing import PublicKey, SignatureProblem, SigningKey, open_envelope
from auditor.yamlfile import InputError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from auditor.store import Store

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://cis-auditor.dev/attestation/run-1"
#: The manifest of a folder, and the folder of those that it had before: each is a link of a chain.
NAME, FORMER = "manifest.dsse.json", "manifests"
_MAX_BYTES = 512 * 1024 * 1024
#: How many manifests beside a folder are looked at for the newest one.
_BESIDE = 20
_ROW = "manifest/"
#: How the names of chains begin that are those of a history.
_STORED = "history-"
#: What of the history's rows a manifest vouches for: what runs are loaded from, and what is searched; findings' documents, too.
_KEPT: Mapping[str, tuple[str, ...]] = {
    "runs": ("id", "started", "finished", "document"),
    "targets": ("position", "name", "kind", "status", "document"),
    "benchmarks": ("position", "name", "version", "sha256", "text", "document"),
    "findings": ("position", "target", "benchmark", "version", "id", "control", "level", "severity", "status", "attested"),
    "scores": ("position", "target", "benchmark", "version", "document"),
}


@dataclass(frozen=True)
class Link:
    """A manifest's place in a chain: counted from 1, with the run and digest (of the file) of the one before, if there is one."""

    chain: str
    position: int
    before: str = ""
    before_run: str = ""


@dataclass(frozen=True)
class Manifest:
    """A manifest as it was read. ``problem`` says why it can't be trusted; then all the rest is what it claims.

    ``files`` are digests by the file's name in the folder, ``evidence`` digests of the evidence by target.
    """

    path: Path
    sha256: str
    problem: str = ""
    signer: str = ""
    run: str = ""
    made: str = ""
    folder: str = ""
    link: Link = Link("", 0)
    files: Mapping[str, str] = field(default_factory=dict)
    evidence: Mapping[str, str] = field(default_factory=dict)
    history: str = ""

    @property
    def home(self) -> Path:
        """The folder that it is about."""
        return self.path.parent.parent if self.path.parent.name == FORMER else self.path.parent


@dataclass(frozen=True)
class Row:
    """A manifest as the history knows it."""

    position: int
    run: str
    sha256: str
    chain: str
    before: str
    folder: str


def read(path: Path, keys: Sequence[PublicKey]) -> Manifest:
    """Read a manifest and check its signature; what is wrong with it is its ``problem``."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return Manifest(path, "", "is no file of a manifest's size")
        data = path.read_bytes()
    except OSError as error:
        return Manifest(path, "", f"can't be read: {error.strerror}")
    digest = hashlib.sha256(data).hexdigest()
    try:
        opened = open_envelope(data, keys)
        return _decoded(path, digest, opened.signer, opened.problem, opened.payload)
    except SignatureProblem as error:
        return Manifest(path, digest, str(error))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return Manifest(path, digest, f"is no manifest of a run ({type(error).__name__})")


def _decoded(path: Path, digest: str, signer: str, problem: str, payload: bytes) -> Manifest:
    statement = json.loads(payload)
    if statement["_type"] != STATEMENT or statement["predicateType"] != PREDICATE:
        return Manifest(path, digest, problem or "is a statement of another kind")
    told, chain = statement["predicate"], statement["predicate"]["chain"]
    before = chain["previous"] or {"run": "", "digest": {"sha256": ""}}
    return Manifest(
        path, digest, problem, signer, str(told["run"]["id"]), str(told["made"]), str(told["folder"]),
        Link(str(chain["id"]), int(chain["position"]), str(before["digest"]["sha256"]), str(before["run"])),
        {str(s["name"]): str(s["digest"]["sha256"]) for s in statement["subject"]},
        {str(t["name"]): str(t["evidence"]["sha256"]) for t in told["targets"] if t["evidence"]},
        str(told["history"]["sha256"]) if told["history"] else "",
    )  # fmt: skip


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file that is no link. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sign(run: AuditRun, folder: Path, written: Iterable[Path], key: SigningKey, store: Store | None, *, whole: bool = True) -> str:
    """Write the manifest of a run's output; return what could not be done beside that, if anything.

    It vouches for the files that are named and for the evidence of the run in that folder. With a store, the chain is that of the
    store, and the manifest vouches for the run as it is kept there, if it is there as a ``whole``. Raises OSError.
    """
    files = _subjects(run, folder, written)
    problem = ""
    if store is not None:
        from auditor.store import StoreError

        try:
            _sign_in(store, run, folder, files, key, whole=whole)
        except StoreError as error:  # the output is signed all the same, in a chain of its own
            problem = f"the manifest is not in the run history: {error}"
        else:
            return ""
    with _alone(folder.resolve().parent):
        _put(folder, key.envelope(_statement(run, folder, files, _beside(folder, key), "")))
    return problem


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other runs from ending in this folder meanwhile, where the file system can: two would follow the same one."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def _sign_in(store: Store, run: AuditRun, folder: Path, files: Mapping[str, str], key: SigningKey, *, whole: bool) -> None:
    """Sign as the last one of a store's chain: nobody else gets between the one before and this one."""
    with store.plainly(), store.writing(alone=True) as connection:
        last = next(iter(_rows(store, connection, 1)), None)
        link = Link(last.chain, last.position + 1, last.sha256, last.run) if last else Link(f"{_STORED}{secrets.token_hex(8)}", 1)
        data = key.envelope(_statement(run, folder, files, link, _history(store, connection, run.id) if whole else ""))
        digest = hashlib.sha256(data).hexdigest()
        row = {"run": run.id, "sha256": digest, "chain": link.chain, "before": link.before, "folder": str(folder.resolve())}
        named = {"name": f"{_ROW}{link.position:09d}", "value": json.dumps(row)}
        connection.execute(store.tables.meta.insert(), named)
        _put(folder, data)  # the last thing, so that it is undone when this fails


def _put(folder: Path, data: bytes) -> None:
    """Write a manifest, and keep the one that was there: the next one in its chain may be elsewhere."""
    path = folder / NAME
    if path.is_file():
        before = path.read_bytes()
        write_private(folder / FORMER / f"{hashlib.sha256(before).hexdigest()[:16]}.dsse.json", before)
    write_private(path, data)


def _statement(run: AuditRun, folder: Path, files: Mapping[str, str], link: Link, history: str) -> bytes:
    before = {"run": link.before_run, "digest": {"sha256": link.before}} if link.before else None
    predicate = {
        "run": {"id": run.id, "started": run.started, "finished": run.finished, "auditor_version": run.auditor_version,
                "operator": run.operator, "selection": dict(run.selection)},
        "made": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "folder": folder.resolve().name,
        "benchmarks": [{"name": b.name, "version": b.version, "digest": {"sha256": b.sha256}} for b in run.benchmarks],
        "tailoring": list(run.selection.get("tailoring", ())),
        "targets": [{"name": t.name, "status": t.status.value,
                     "evidence": {"sha256": t.evidence_sha256} if t.evidence_sha256 else None} for t in run.targets],
        "history": {"sha256": history} if history else None,
        "chain": {"id": link.chain, "position": link.position, "previous": before},
    }  # fmt: skip
    subjects = [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(files.items())]
    statement = {"_type": STATEMENT, "subject": subjects, "predicateType": PREDICATE, "predicate": predicate}
    return json.dumps(statement, sort_keys=True, separators=(",", ":")).encode("ascii")


def _subjects(run: AuditRun, folder: Path, written: Iterable[Path]) -> dict[str, str]:
    """Return the digests of a run's files by their names in the folder. Raises OSError."""
    files = {p.relative_to(folder).as_posix(): file_digest(p) for p in written}
    for target in run.targets:
        for name in (f"evidence/{file_name(target.name)}.evidence.json", f"{file_name(target.name)}.evidence.json"):
            path = folder / name  # an audit keeps it in a folder of its own, and who only collects does not
            if path.is_file() and (_says(path, target.evidence_sha256) if target.evidence_sha256 else _lost(path, target)):
                files[name] = file_digest(path)
    return files


def _lost(path: Path, target: TargetResult) -> bool:
    """Return whether a bundle says, as the run does, that this target could not be audited, and why."""
    try:
        found = load(path)
    except InputError:
        return False
    said = (found.target.name, found.status, str(found.error) if found.error else None, found.collected_at)
    return said == (target.name, target.status, target.error, target.collected_at)


def _says(path: Path, digest: str) -> bool:
    """Return whether a bundle claims this digest: another run's may lie in the folder."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(digest.encode("ascii")) >= 0


def _beside(folder: Path, key: SigningKey) -> Link:
    """Return the place after the newest manifest by this key in the folder or in one beside it that no history's chain has."""
    paths = [folder / NAME, *(p / NAME for p in _folders(folder.resolve().parent))]
    dated = []
    for path in paths:
        with contextlib.suppress(OSError):
            dated.append((path.lstat().st_mtime, path))
    found = [read(path, [key.public]) for _, path in sorted(dated, reverse=True)[:_BESIDE]]
    newest = max(
        (m for m in found if not m.problem and not m.link.chain.startswith(_STORED)),
        key=lambda m: (m.made, m.link.position),
        default=None,
    )
    if newest is None:
        return Link(secrets.token_hex(8), 1)
    return Link(newest.link.chain, newest.link.position + 1, newest.sha256, newest.run)


def _folders(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        yield from [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]


def rows(store: Store) -> list[Row]:
    """Return every manifest that a store knows, in the order of its chain. Raises `StoreError`."""
    with store.plainly(), store.reading() as connection:
        return _rows(store, connection)[::-1]


def _rows(store: Store, connection: sa.Connection, limit: int | None = None) -> list[Row]:
    """Return the newest manifests that a store knows, the last one first."""
    from auditor.store import StoreError

    meta = store.tables.meta
    query = meta.select().where(meta.c.name.startswith(_ROW)).order_by(meta.c.name.desc()).limit(limit)
    try:
        return [_row(int(r.name.removeprefix(_ROW)), json.loads(r.value)) for r in connection.execute(query).all()]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{store.name}: its list of manifests can't be read ({type(error).__name__})") from None


def _row(position: int, told: dict[str, Any]) -> Row:
    return Row(position, **{n: str(told[n]) for n in ("run", "sha256", "chain", "before", "folder")})


def history_digest(store: Store, run: str) -> str:
    """Return the digest over everything that a store keeps of a run, empty when it keeps none. Raises `StoreError`."""
    with store.plainly(), store.reading() as connection:
        return _history(store, connection, run)


def _history(store: Store, connection: sa.Connection, run: str) -> str:
    import sqlalchemy as sa

    digest, tables, found = hashlib.sha256(), store.tables, False
    for name, columns in _KEPT.items():
        table: sa.Table = getattr(tables, name)
        whose = table.c.id if name == "runs" else table.c.run
        wanted = [table.c[c] for c in columns]
        query = sa.select(*wanted).where(whose == run)
        if name == "benchmarks":  # their words stand apart, once for all runs
            query = sa.select(*wanted, tables.texts.c.document).join_from(table, tables.texts).where(whose == run)
        query = query.order_by(whose if name == "runs" else table.c.position).execution_options(yield_per=500)
        digest.update(f"{name}\n".encode())
        with connection.execute(query) as kept:
            for row in _documented(kept, documents(connection, tables, run)) if name == "findings" else kept:
                found = True
                texts = [b"-" if value is None else str(value).encode("utf-8", "surrogatepass") for value in row]
                digest.update(b"".join([b"%d:%b" % (len(text), text) for text in texts]))
    return digest.hexdigest() if found else ""


def _documented(rows: Iterable[sa.Row[Any]], texts: Iterator[tuple[int, str]]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of findings, each with its document in the place of ``attested``, which follows from it.

    It is the same wherever the documents are kept. A row has none that it doesn't go with.
    """
    try:
        for row, (place, text) in zip(rows, texts, strict=True):
            fits = place == row.position and row.attested == _attested(text)
            yield (*row[:-1], text if fits else None)
    except (DamagedError, AttributeError, TypeError, ValueError):
        yield (None,)


def _attested(text: str) -> str | None:
    if text.endswith('"attestation":null}'):  # as almost all do
        return None
    verdict = (json.loads(text).get("attestation") or {}).get("verdict")
    return None if verdict is None else str(verdict)
