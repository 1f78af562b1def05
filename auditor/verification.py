"""Checking signed runs: each one's files and evidence, the chain that they make, and what the history keeps of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from auditor import evidence, integrity
from auditor.integrity import FORMER, NAME, Manifest, file_digest
from auditor.model import TargetStatus
from auditor.signing import PublicKey
from auditor.yamlfile import InputError

if TYPE_CHECKING:
    from auditor.store import Store

_FOLDER = re.compile(r"cis-audit-([A-Za-z0-9][A-Za-z0-9._-]*)")
#: What tells the folder of a run by its looks, where it has no manifest (any more).
_OUTPUT = ("results.json", "report.html", "report.pdf", "evidence")
_BUNDLE = ".evidence.json"


@dataclass
class Checked:
    """What was found. ``problems`` are lines that begin with what happened (altered, missing, added, re-ordered, not trusted, ...);
    with none all is fine. ``notes`` say what could not be held against anything."""  # noqa: D205, D209 - one sentence

    runs: list[Manifest] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: int = 0
    bundles: int = 0


def verify(folders: Sequence[Path], keys: Sequence[PublicKey], store: Store | None = None) -> Checked:
    """Check runs in folders, or in the folders within these. Raises `StoreError`."""
    checked = Checked()
    homes = list(dict.fromkeys(home for folder in folders for home in _homes(folder, checked)))
    current = [integrity.read(home / NAME, keys) for home in homes]
    former = {home: [integrity.read(p, keys) for p in sorted((home / FORMER).glob("*.dsse.json"))] for home in homes}
    checked.runs = current
    everything = [*current, *(m for listed in former.values() for m in listed)]
    for manifest in everything:
        if manifest.problem:
            kind = "not trusted" if "not signed by" in manifest.problem else "altered"
            whose = f" (it says it is of run {manifest.run})" if manifest.run else ""
            checked.problems.append(f"{kind}: {manifest.path}: {manifest.problem}{whose}")
    owners = {(name, digest): m for m in everything for name, digest in m.files.items()}
    for manifest in current:
        _folder(manifest, former[manifest.home], owners, checked)
        _place(manifest, current, checked)
    # Evidence may have a manifest of its own within the folder of a run.
    tops = [h for h in homes if not any(other in h.parents for other in homes)]
    _chain(everything, checked, alone=len(tops) == 1)
    if store is not None:
        _history(current, everything, [f for f in folders if not (f / NAME).exists()] if len(tops) < 2 else _parents(tops), store,
                 checked)  # fmt: skip
    return checked


def _parents(homes: Iterable[Path]) -> list[Path]:
    return list(dict.fromkeys(h.resolve().parent for h in homes))


def _homes(folder: Path, checked: Checked) -> Iterator[Path]:
    """Yield the folders that hold a manifest: this one and those within; say which should hold one."""
    found = False
    for path, names, files in os.walk(folder):
        names.sort()
        here = Path(path)
        if NAME in files or (here / NAME).is_symlink():
            found = True
            yield here
        elif (
            here.parent == folder and here != folder and not (folder / NAME).exists() and any((here / n).exists() for n in _OUTPUT)
        ):
            found = True
            checked.problems.append(f"missing: {here / NAME}: the folder looks like a run's and has no manifest")
    if not found:
        checked.problems.append(f"missing: {folder / NAME}: there is no manifest")


def _walk(home: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return the files of a run by their names, but for manifests; and apart from them those of runs further within."""
    own: dict[str, Path] = {}
    within: dict[str, Path] = {}
    runs: set[Path] = set()
    for path, names, files in os.walk(home):
        here = Path(path)
        files += [n for n in names if (here / n).is_symlink()]
        runs |= {here / n for n in names if here in runs or (here / n / NAME).exists()}
        for name in files:
            file = here / name
            if file != home / NAME and not (here == home / FORMER and name.endswith(".dsse.json")):
                (within if here in runs else own)[file.relative_to(home).as_posix()] = file
    return own, within


def _digest(path: Path) -> str:
    """Return a file's digest, or in other words why it has none."""
    try:
        return file_digest(path)
    except OSError as error:
        return "a link now, not a file" if path.is_symlink() else f"not to be read ({error.strerror})"


def _folder(manifest: Manifest, former: Iterable[Manifest], owners: Mapping[tuple[str, str], Manifest], checked: Checked) -> None:
    """Hold the files of a folder against its manifest, and those of earlier runs that are still there against theirs."""
    home, (own, within) = manifest.home, _walk(manifest.home)
    files = {**own, **within}  # evidence that was collected and signed before it was judged lies in a run's folder as well
    known: dict[str, tuple[str, Manifest]] = {}
    left: dict[str, int] = {}
    for m in sorted((m for m in former if not m.problem), key=lambda m: (m.made, m.link.position)):
        if m.folder != manifest.folder and not manifest.problem:
            checked.problems.append(f"re-ordered: {m.path}: run {m.run} was written to {m.folder}, not to {manifest.folder}")
            continue
        known |= {name: (digest, m) for name, digest in m.files.items() if m.run == manifest.run or name in files}
    known |= {name: (digest, manifest) for name, digest in manifest.files.items()}
    for name, (digest, m) in sorted(known.items()):
        if name not in files:
            checked.problems.append(f"missing: {home / name}: run {m.run} wrote it")
            continue
        checked.files += 1
        if m.run != manifest.run:
            left[m.run] = left.get(m.run, 0) + 1
        actual = _digest(files[name])
        if actual != digest:
            other = owners.get((name, actual))
            if other is not None and other.run != m.run:
                checked.problems.append(f"re-ordered: {home / name}: it is that of run {other.run}, not of run {m.run}")
            else:
                checked.problems.append(
                    f"altered: {home / name}: run {m.run} wrote another one (SHA-256 was {digest}, is {actual})"
                )
        elif name.endswith(_BUNDLE) and m is manifest:
            _bundle(home / name, m, checked)
    checked.notes += [
        f"{home}: {n} file{'s' * (n != 1)} of the earlier run {run} {'are' if n != 1 else 'is'} left there"
        for run, n in left.items()
    ]
    checked.problems += [f"added: {home / name}: no manifest knows it" for name in sorted(own.keys() - known.keys())]


def _bundle(path: Path, manifest: Manifest, checked: Checked) -> None:
    """See that a bundle is the evidence that the run was judged by."""
    try:
        found = evidence.load(path)
    except InputError as error:
        checked.problems.append(f"altered: {error}")
        return
    checked.bundles += 1
    wanted = manifest.evidence.get(found.target.name)
    lost = wanted is None and found.status is not TargetStatus.AUDITED  # which nothing was judged by
    if wanted != evidence.digest(found) and not lost:
        checked.problems.append(f"altered: {path}: run {manifest.run} was not judged by this evidence of {found.target.name}")


def _place(manifest: Manifest, current: Sequence[Manifest], checked: Checked) -> None:
    """See whether a run is in the folder that it was written to."""
    name, named = manifest.home.resolve().name, _FOLDER.fullmatch(manifest.home.resolve().name)
    if not manifest.folder or manifest.folder == name:
        return
    others = [m for m in current if m.sha256 != manifest.sha256]  # a copy of this one is no other run
    taken = manifest.folder in {m.home.resolve().name for m in others} or name in {m.folder for m in others}
    if taken or (named and named[1] != manifest.run):
        checked.problems.append(f"re-ordered: {manifest.home}: run {manifest.run} in it was written to {manifest.folder}")
    else:
        checked.notes.append(f"{manifest.home}: run {manifest.run} was written to a folder named {manifest.folder}")


def _chain(manifests: Iterable[Manifest], checked: Checked, *, alone: bool) -> None:
    """See that each manifest's predecessor is there, and that none has two successors.

    ``alone``: they are all of one folder, and runs that were written elsewhere may lie between them.
    """
    known = {m.sha256: m for m in manifests}  # the same one may be seen twice
    chains: dict[str, list[Manifest]] = {}
    for m in known.values():
        if not m.problem:
            chains.setdefault(m.link.chain, []).append(m)
    for linked in chains.values():
        linked.sort(key=lambda m: (m.link.position, m.made))
        for n, m in enumerate(linked):
            before = known.get(m.link.before)
            other = linked[n - 1]
            if n and other.link.position == m.link.position:
                said = f"runs {m.run} and {other.run} both have place {m.link.position} of a chain"
                checked.problems.append(f"forked: {m.path} and {other.path}: {said}")
            elif m.link.before and before is None:
                _gap(m, known.values(), checked, note=alone or n == 0)
            elif before is not None and not before.problem and before.made > m.made:
                checked.notes.append(
                    f"{m.path}: made {m.made}, before the one that it follows ({before.made}): was a clock set back?"
                )
    if len(chains) > 1:
        checked.notes.append(
            f"these runs are in {len(chains)} chains: nothing says whether one of another was left out between them"
        )


def _gap(m: Manifest, known: Iterable[Manifest], checked: Checked, *, note: bool) -> None:
    """Say what is known of a predecessor that isn't there."""
    changed = [o for o in known if o.run == m.link.before_run and (o.problem or o.link.position == m.link.position - 1)]
    if changed:
        where = ", ".join(str(o.path) for o in changed)
        checked.problems.append(f"altered: {where}: run {m.run} follows another manifest of run {m.link.before_run}")
    elif note:
        checked.notes.append(f"{m.path}: follows run {m.link.before_run} (SHA-256 {m.link.before}), which is not among these")
    else:
        said = f"run {m.run} follows it at place {m.link.position} of the chain"
        checked.problems.append(f"missing: the run {m.link.before_run} (manifest SHA-256 {m.link.before}): {said}")


def _history(
    current: Sequence[Manifest], everything: Sequence[Manifest], parents: Sequence[Path], store: Store, checked: Checked
) -> None:
    """Hold runs against a history: its list of manifests, and the results that it keeps."""
    rows = integrity.rows(store)
    for n, row in enumerate(rows):
        before = rows[n - 1] if n else None
        if row.position != n + 1 and (before is None or row.position != before.position + 1):
            checked.problems.append(f"missing: {store.name}: its list of manifests has none before place {row.position}")
        elif before is not None and row.before != before.sha256:
            checked.problems.append(
                f"re-ordered: {store.name}: run {row.run} at place {row.position} does not follow run {before.run} there"
            )
    by_digest = {r.sha256: r for r in rows}
    trusted = [m for m in everything if not m.problem]
    for m in trusted:
        row_ = by_digest.get(m.sha256)
        if row_ is None and (m.history or any(m.run == r.run for r in rows)):
            checked.problems.append(f"missing: {store.name}: it does not know {m.path} of run {m.run}")
        elif row_ is not None and (row_.position, row_.run, row_.chain) != (m.link.position, m.run, m.link.chain):
            checked.problems.append(f"re-ordered: {store.name}: run {m.run} is at place {row_.position}, was at {m.link.position}")
        later = [r.position for r in rows if row_ is not None and r.run == m.run and r.position > row_.position]
        if m.history and row_ is not None and not any(o.run == m.run and o.link.position in later for o in trusted):
            _kept(m, store, checked, later)
    digests = {m.sha256 for m in everything}
    for m in current:
        here = str(m.home.resolve())
        newer = [r for r in rows if r.folder == here and r.chain == m.link.chain and r.position > m.link.position]
        if newer and not m.problem:
            checked.problems.append(
                f"re-ordered: {m.path}: is an older one; run {newer[-1].run} was written here after run {m.run}"
            )
    oldest = min((by_digest[d].position for d in digests if d in by_digest), default=0)
    places = {str(p.resolve()) for p in parents}
    for row in rows:
        if row.sha256 not in digests and str(Path(row.folder).parent) in places:
            line = f"{row.folder}: run {row.run} was written there, at place {row.position} of the history's chain"
            if row.position > oldest:
                checked.problems.append(f"missing: {line}")
            else:
                checked.notes.append(f"not here: {line}")


def _kept(m: Manifest, store: Store, checked: Checked, later: Sequence[int]) -> None:
    """Hold what the history keeps of a run against what was signed; ``later`` are the places at which the run was signed again."""
    digest = integrity.history_digest(store, m.run)
    if not digest:
        checked.notes.append(f"{store.name}: run {m.run} is not kept any more")
    elif digest != m.history and later:
        said = f"run {m.run} was gone on with and signed again at place {later[-1]} of the chain, by a manifest that is not here"
        checked.notes.append(f"{m.path}: {said}: it can't be held against the history")
    elif digest != m.history:
        checked.problems.append(f"altered: {store.name}: what it keeps of run {m.run} is not what was signed")
