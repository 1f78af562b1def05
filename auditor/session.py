"""What the commands that judge have in common: selection, the audit itself, storing, writing and showing a run."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from auditor.audit import Plan, Selection
    from auditor.catalogue import Library
    from auditor.inventory import Inventory
    from auditor.model import AuditRun, Evidence
    from auditor.pades import Seal
    from auditor.signing import SigningKey
    from auditor.summary import Gates
    from auditor.tailoring import Tailoring
    from reports import Options


def storing(said: str = "Run history: a database URL [an SQLite file below ~/.local/state].") -> Callable[[Any], Any]:
    """Return the option ``--store``. A password in it is refused: everybody on the machine could read it."""
    return click.option("--store", metavar="URL", callback=_without_password, help=said)


def _without_password(_: click.Context, __: click.Parameter, url: str | None) -> str | None:
    from auditor.databases import holds_password

    if url and holds_password(url):
        raise click.UsageError(
            "--store: a password stands in the list of processes; leave it to ~/.pgpass, PGPASSFILE or PGPASSWORD"
        )
    return url


def packaged_library() -> Library:
    """Return the benchmarks that come with the program."""
    from auditor.catalogue import packaged
    from checks import check_types

    return packaged(check_types())


def prepare(options: dict[str, Any]) -> tuple[Library, Selection, Gates]:
    """Return the benchmarks (tailored where asked for), what of them is selected, and the gates. Raises `InputError`."""
    from auditor.audit import Selection
    from auditor.model import Severity
    from auditor.summary import Gates
    from auditor.tailoring import NOTHING, load

    pdf_modes(options.get("pdf", ""))  # before anything is audited
    check_signing(options)
    fail_on = Severity(options["fail_on"]) if options.get("fail_on") else None
    library = packaged_library()
    site = NOTHING
    if options["tailoring"] is not None or options["waivers"]:
        site = load(library, options["tailoring"], options["waivers"])
        library = site.library
        options["tailored"] = list(site.files)
    selection = Selection(options["benchmarks"], options["level"], options["only"], site)
    if options.get("scans"):
        from auditor.scans import read

        options["scan_results"] = read(options["scans"])
    return library, selection, Gates(fail_on, options.get("min_score"), options.get("min_coverage"))


def tailoring_of(files: Sequence[Path]) -> Tailoring:
    """Return what files say together: one tailoring file at most, and registers of waivers. Raises `InputError`."""
    from auditor.tailoring import is_register, load
    from auditor.yamlfile import InputError, Mistake

    tailorings = [f for f in files if not is_register(f)]
    if len(tailorings) > 1:
        raise InputError(
            [Mistake(str(f), 0, 0, "is one tailoring file too many: only one can be in force") for f in tailorings[1:]]
        )
    registers = [f for f in files if f not in tailorings]
    return load(packaged_library(), tailorings[0] if tailorings else None, registers)


def write_new(file: Path | None, text: str) -> None:
    """Write a file that isn't there yet, or to standard output. Raises `InputError`."""
    from auditor.files import write_private
    from auditor.yamlfile import InputError, Mistake

    if file is None:
        click.echo(text, nl=False)
        return
    try:
        write_private(file, text.encode(), new=True)
    except OSError as error:
        raise InputError([Mistake(str(file), 0, 0, f"can't be written: {error.strerror}")]) from None
    click.echo(f"written: {file}")


def selected(options: dict[str, Any]) -> dict[str, object]:
    """Return what narrowed the run, as the results document has it."""
    narrowed = {"benchmarks": list(options["benchmarks"]), "level": options["level"], "only": list(options["only"]),
                "limit": list(options.get("limit") or ())}  # fmt: skip
    return narrowed | ({"tailoring": options["tailored"]} if "tailored" in options else {})


def inventory_of(path: Path | None) -> Inventory:
    """Return the inventory of a file, else of this machine."""
    from auditor import inventory

    return inventory.load(path) if path is not None else inventory.local_inventory()


def formats_of(words: str, known: Sequence[str] = ()) -> list[str]:
    """Return the formats that a list names, of those that are known, by default of reports."""
    import reports

    known = known or tuple(reports.FORMATS)
    wanted = [w.strip() for w in words.split(",") if w.strip()]
    for word in wanted:
        if word not in known:
            raise click.BadParameter(f"there is no format {word!r}; known: {', '.join(known)}", param_hint="--format")
    return list(dict.fromkeys(wanted))


def report_options(run: str, pdf: str, store: Any) -> Options:
    """Return what reports are told beside a run that the store, where there is one, holds. Raises `click.BadParameter`."""
    import reports
    from auditor.past import Past

    past = Past()
    if store is not None:
        from auditor.trends import past_of

        past = past_of(store, run)
    return reports.Options(pdf_modes(pdf), past)


def pdf_modes(words: str) -> tuple[str, ...]:
    """Return the PDF documents that a list names."""
    import reports

    wanted = tuple(dict.fromkeys(w.strip() for w in words.split(",") if w.strip()))
    for word in wanted:
        if word not in reports.PDF_MODES:
            raise click.BadParameter(f"there is no document {word!r}; known: {', '.join(reports.PDF_MODES)}", param_hint="--pdf")
    return wanted


def plan(chosen: Inventory, library: Library, selection: Selection, options: dict[str, Any]) -> Plan:
    """Settle what is audited against what, so that whatever is wrong with it is said before anything is done."""
    from auditor import inventory
    from auditor.audit import Plan
    from auditor.collect import hops
    from auditor.credentials import resolve

    kept, excluded = inventory.limit(chosen, options["limit"])
    if not kept.specs():
        raise click.UsageError("the inventory names no target")
    benchmarks = selection.resolve(library)
    credentials = resolve(kept)
    if any(h.transport == "ssh" for h in kept.hosts):
        hops(kept, credentials)
    return Plan(kept, excluded, benchmarks, selected(options), credentials)


@contextlib.contextmanager
def stopping(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at the first Ctrl-C or SIGTERM; the second one interrupts as usual."""
    import signal

    before: dict[int, Any] = {}

    def handle(number: int, _frame: Any) -> None:
        signal.signal(number, signal.default_int_handler)
        stop()

    try:
        for which in (signal.SIGINT, signal.SIGTERM):
            before[which] = signal.signal(which, handle)
    except ValueError:  # not the main thread: signals are somebody else's
        pass
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def check_writable(folder: Path) -> None:
    """Find out before the audit, not after it, that nothing can be written."""
    import tempfile

    from auditor.yamlfile import InputError, Mistake

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()  # where it can be without a name, so that nothing can stand in for it
    except OSError as error:
        raise InputError([Mistake(str(folder), 0, 0, f"can't be written: {error.strerror}")]) from None


def demo_run(library: Library, selection: Selection) -> AuditRun:
    """Return a run on the evidence that ships with the program."""
    from importlib.resources import as_file, files

    from auditor import evidence
    from auditor.audit import Judge, clusters_last

    tailored = {"tailoring": list(selection.tailoring.files)} if selection.tailoring.files else {}
    judge = Judge(selection.resolve(library), {"demo": True, **tailored})
    with as_file(files("auditor") / "demo") as folder:
        bundles = evidence.load_all(folder)
    for found in clusters_last(bundles):
        judge.add(found)
    return judge.run([b.target.name for b in bundles])


def with_scans(bundles: Sequence[Evidence], options: dict[str, Any]) -> list[Evidence]:
    """Return bundles with the scanners' results that were given, and keep those as evidence beside the reports."""
    if not options.get("scan_results"):
        return list(bundles)
    from auditor import evidence
    from auditor.audit import new_id
    from auditor.scans import attach

    options["output"] = options["output"] or Path(f"cis-audit-{new_id()}")
    check_writable(options["output"])
    found = [attach(b, options["scan_results"]) for b in bundles]
    for bundle in found:  # the verdicts rest on these, not on the bundles that were given
        evidence.save(bundle, options["output"] / "evidence")
    return found


def refuse_twins(bundles: list[Evidence]) -> None:
    """Refuse two bundles of one target: their findings could not be told apart."""
    from auditor.yamlfile import InputError, Mistake

    names = [b.target.name for b in bundles]
    twins = sorted({n for n in names if names.count(n) > 1})
    if twins:
        raise InputError([Mistake("evidence", 0, 0, f"two bundles are of the target {n!r}") for n in twins])


def store_unless(url: str | None, off: bool) -> Any:  # noqa: FBT001
    """Open the run history unless it is off, before anything is audited."""
    return None if off else open_store(url)


def open_store(url: str | None) -> Any:
    """Open the run history; it is closed when the command ends."""
    from auditor.store import Store

    store = Store(url)
    if (context := click.get_current_context(silent=True)) is not None:
        context.call_on_close(store.close)
    return store


def finish(run: AuditRun, options: dict[str, Any], formats: list[str], gates: Gates, store: Any) -> int:
    """Store, write and show a run; return its exit code. What can't be written is said, the rest is written all the same."""
    import reports
    from auditor.summary import exit_code, show

    failures = gates.failures(run)
    folder = options["output"] or Path(f"cis-audit-{run.id}")
    written: list[Path] = []
    problems: list[str] = list(options.get("problems", ()))
    if store is not None and "kept" not in options:  # else it was written target by target
        try:
            store.save(run)
        except Exception as error:  # noqa: BLE001 - the reports must be written though the history can't be kept
            problems.append(f"the run history was not kept: {error}")
    usable = store if not problems else None
    told = report_options(run.id, options["pdf"], None)
    if usable is not None:
        try:
            told = report_options(run.id, options["pdf"], usable)
        except Exception as error:  # noqa: BLE001 - reports without a past are better than none
            problems.append(f"earlier runs can't be read, so the reports hold no trend: {error}")
    key = signing_key(options)
    told = dataclasses.replace(told, signer=key.fingerprint if key else "", seal=options.get("seal"))
    for name in formats:
        try:
            written += reports.write(run, folder, [name], told)
        except (reports.ReportError, OSError) as error:
            problems.append(f"the {name} report was not written: {error}")
    problems += seal(run, folder, written, key, usable)
    if not options["quiet"]:
        show(run, written, failures)
    code = say_problems(problems)
    return exit_code(run, failures) or code


def check_signing(options: dict[str, Any]) -> None:
    """Find out before the audit that a key or certificate that was given can't sign. Raises `click.UsageError` and `InputError`.

    What signs PDFs is ``options["seal"]`` afterwards.
    """
    options["seal"] = _seal(options)
    if options.get("signing_key") is None:
        return
    if options.get("no_sign"):
        raise click.UsageError("one of --signing-key and --no-sign")
    from auditor.signing import load_signing_key

    load_signing_key(options["signing_key"])


def _seal(options: dict[str, Any]) -> Seal | None:
    certificate, key, variable, file = (options.get(f"pdf_{n}") for n in ("certificate", "key", "password_env", "password_file"))
    if certificate is None:
        if key or variable or file:
            raise click.UsageError("--pdf-key, --pdf-password-env and --pdf-password-file go with --pdf-certificate")
        return None
    if variable and file:
        raise click.UsageError("one of --pdf-password-env and --pdf-password-file")
    if "pdf" not in formats_of(options["formats"]):
        raise click.UsageError("--pdf-certificate signs the PDF, which --format leaves out")
    from auditor.pades import load

    return load(certificate, key, variable, file)


def signing_key(options: dict[str, Any]) -> SigningKey | None:
    """Return the key that signs a run: the one that was given, else the user's own, which is made on first use; None for none."""
    from auditor import signing
    from auditor.yamlfile import InputError

    if options["no_sign"]:
        return None
    if options["signing_key"] is not None:
        return signing.load_signing_key(options["signing_key"])
    try:
        key = signing.own_key()
    except OSError as error:
        click.echo(f"not signed: {signing.default_path()} can't be made: {error.strerror}", err=True)
        return None
    except InputError as error:
        click.echo(f"not signed: {error}", err=True)
        return None
    if key.new and not options.get("quiet"):
        click.echo(f"A key was made that signs every run: {key.path}. Hand out {signing.public_path(key.path).name} beside it "
                   f"(SHA-256 {key.fingerprint}) to whoever is to check.", err=True)  # fmt: skip
    return key


def seal(run: AuditRun, folder: Path, written: list[Path], key: SigningKey | None, store: Any, *, whole: bool = True) -> list[str]:
    """Sign what a run wrote, or with ``whole`` False a part of it; return what could not be done.

    The manifest is one more file that was written.
    """
    if key is None:
        return []
    from auditor import integrity

    try:
        problem = integrity.sign(run, folder, written, key, store, whole=whole)
    except OSError as error:
        return [f"the output was not signed: {error.filename or folder}: {error.strerror}"]
    written.append(folder / integrity.NAME)
    return [problem] if problem else []


def say_problems(problems: Sequence[str]) -> int:
    """Say what could not be kept or written; return the exit code of that."""
    from auditor.summary import EXIT_OK, EXIT_USAGE
    from auditor.terminal import clean

    for problem in problems:
        click.echo(clean(problem), err=True)
    return EXIT_USAGE if problems else EXIT_OK


def say_lost(run: AuditRun) -> None:
    """Say which targets could not be audited."""
    from auditor.terminal import clean

    for target in run.targets:
        if target.error:
            click.echo(f"not audited: {clean(target.name)}: {clean(target.error)}", err=True)
