"""``auditor fix``: what an operator does about a run's failures, as scripts, playbooks or words. Nothing is applied."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditor import session

if TYPE_CHECKING:
    from auditor.catalogue import Library
    from auditor.fixes.plan import Case
    from auditor.fixes.steps import Plan
    from auditor.model import AuditRun, Benchmark, Evidence, Finding, TargetResult
    from auditor.store import Store

FORMATS = ("shell", "ansible", "markdown")
_ENDINGS = {"shell": "sh", "ansible": "yml", "markdown": "md"}


@click.command()
@click.argument("run", default="latest")
@click.option(
    "--format", "formats", default="shell", show_default=True, metavar="LIST", help="shell, ansible, markdown, with commas."
)
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for the files [standard output].")
@click.option("--limit", multiple=True, metavar="TARGET", help="Only this target, with * and ? (repeatable).")
@click.option("--only", multiple=True, metavar="CONTROL", help="Only this control, by number or key (repeatable).")
@click.option("--with-waived", is_flag=True, help="Failures that are waived, too.")
@click.option("--evidence", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of the run's evidence.")
@click.option(
    "--tailoring", type=click.Path(dir_okay=False, path_type=Path), help="The tailoring file with the run's own controls."
)
@session.storing()
def fix(run: str, output: Path | None, **options: Any) -> None:
    """Write, per target, commands or tasks for what failed in a run: its folder, its results.json, or what the history calls it.

    Each script has a check mode, makes back-ups and does what disturbs nothing unless it is told more. Nothing is applied here.
    """
    from auditor.cli_history import find_run
    from auditor.terminal import clean

    formats = session.formats_of(options["formats"], FORMATS)
    if not formats:
        raise click.BadParameter(f"names none; known: {', '.join(FORMATS)}", param_hint="--format")
    found, stored = find_run(run, options["store"])
    targets = _targets(found, options["limit"])
    wanted, waived = _failures(found, {t.name for t in targets}, options["only"], with_waived=options["with_waived"])
    if waived:
        click.echo(f"left out: {waived} waived failing subject{'s' if waived > 1 else ''} (--with-waived takes them in)", err=True)
    failing = [t for t in targets if t.name in wanted]
    if not failing:
        click.echo("nothing to fix: nothing that was asked for failed", err=True)
        return
    if output is None and (len(failing) > 1 or len(formats) > 1):
        raise click.UsageError(f"{len(failing)} targets and {len(formats)} formats are several files: say where with -o DIR")
    folders = _evidence_folders(run, found.id, options, stored=stored, demo=bool(found.selection.get("demo")))
    controls = _Controls(found, options["tailoring"])
    if output is not None:
        session.check_writable(output)
    plans = []
    for target in failing:
        plan = _plan(found, target, wanted[target.name], folders, controls)
        plans.append(plan)
        files = list(_written(plan, formats))
        if output is None:
            click.echo(files[0][1], nl=False)
            _say_beside(files[1:])
            continue
        for name, text, mode in files:
            _write(output / name, text, mode)
            click.echo(f"written: {clean(str(output / name))}")
        click.echo(f"{clean(plan.target)}: {_counted(plan)}")
        for label, title, _ in plan.open:
            click.echo(f"  without a fix: {clean(label)} {clean(title)}")
    if output is not None and "ansible" in formats:
        from auditor.fixes.as_ansible import inventory

        _write(output / "inventory.yml", inventory(plans), 0o600)
        click.echo(f"written: {clean(str(output / 'inventory.yml'))}")


def _say_beside(files: Sequence[tuple[str, str, int]]) -> None:
    for name, _, _ in files:
        click.echo(f"not written: {name} (say where with -o DIR)", err=True)


def _counted(plan: Plan) -> str:
    from auditor.fixes.steps import ByHand

    by_hand = sum(isinstance(s.action, ByHand) for s in plan.steps)
    disruptive = sum(s.effect.disruptive and not isinstance(s.action, ByHand) for s in plan.steps)
    others = len(plan.steps) - by_hand - disruptive
    off = f"{disruptive} that restart or restrict something (off by default)"
    return f"{others} steps that disturb nothing, {off}, {by_hand} by hand, {len(plan.open)} without a fix"


def _targets(run: AuditRun, limit: Sequence[str]) -> list[TargetResult]:
    for word in limit:
        if not any(fnmatchcase(t.name, word) for t in run.targets):
            raise click.BadParameter(f"run {run.id} has no target {word!r}", param_hint="--limit")
    return [t for t in run.targets if not limit or any(fnmatchcase(t.name, word) for word in limit)]


def _failures(run: AuditRun, targets: set[str], only: Sequence[str], *, with_waived: bool) -> tuple[dict[str, list[Finding]], int]:
    """Return the failures that are asked for by target, and how many subjects were left out for being waived."""
    from auditor.model import Status

    known = {w for f in run.findings for w in (f.id, f.control)}
    for word in only:
        if word not in known:
            raise click.BadParameter(f"run {run.id} judged no control {word!r}", param_hint="--only")
    found: dict[str, list[Finding]] = {}
    waived = 0
    for f in run.findings:
        if f.status is not Status.FAIL or f.target not in targets or (only and not {f.id, f.control} & set(only)):
            continue
        if f.waiver is not None and not with_waived:
            covered = {o.subject for o in f.observations} if f.waiver.complete else set(f.waiver.subjects)
            left = tuple(o for o in f.observations if o.subject not in covered)
            waived += sum(o.status is Status.FAIL for o in f.observations) - sum(o.status is Status.FAIL for o in left)
            if not any(o.status is Status.FAIL for o in left):
                continue
            found.setdefault(f.target, []).append(dataclasses.replace(f, observations=left))
            continue
        found.setdefault(f.target, []).append(f)
    return found, waived


def _evidence_folders(wanted: str, run: str, options: Mapping[str, Any], *, stored: bool, demo: bool) -> list[Path]:
    """Return the folders with the evidence of a run, one for each of its shards. Raises `InputError` when none is known."""
    if options["evidence"] is not None:
        return [options["evidence"]]
    places: list[Path] = []
    if stored:
        with session.open_store(options["store"]) as kept:
            places += [Path(folder) / "evidence" for folder in _folders(kept, run)]
    else:
        path = Path(wanted)
        places.append((path if path.is_dir() else path.parent) / "evidence")
    places.append(Path(f"cis-audit-{run}") / "evidence")
    if demo:
        places.append(Path(__file__).parent / "demo")  # its evidence ships with the program
    found = [place for place in dict.fromkeys(places) if place.is_dir()]
    if not found:
        looked = " or ".join(dict.fromkeys(map(str, places)))
        raise _wrong(f"run {run}", f"its evidence is not in {looked}: say where it is with --evidence DIR")
    return found


def _folders(store: Store, run: str) -> list[str]:
    """Return the folders that the parts of a stored run were written to; none for a run that was stored when it was over."""
    import json

    t = store.tables
    with store.plainly(), store.reading() as connection:
        row = connection.execute(t.runs.select().where(t.runs.c.id == store.find(connection, run))).one()
    parts = json.loads(row.plan)["parts"] if row.plan else {}
    return [str(part["folder"]) for _, part in sorted(parts.items()) if "folder" in part]


def _wrong(what: str, why: str) -> Exception:
    from auditor.yamlfile import InputError, Mistake

    return InputError([Mistake(what, 0, 0, why)])


class _Controls:
    """The controls that a run judged by, with the parameters that were in force on each target."""

    def __init__(self, run: AuditRun, tailoring: Path | None) -> None:
        from auditor.tailoring import load

        self.run = run
        library = session.packaged_library()
        self.library: Library = load(library, tailoring).library if tailoring is not None else library
        self.benchmarks: dict[tuple[str, str], Benchmark] = {}

    def of(self, finding: Finding) -> Any:
        """Return the control of a finding, None where this version has none of that number. Raises `InputError`."""
        ref = (finding.benchmark, finding.version)
        if ref not in self.benchmarks:
            bare = dataclasses.replace(self.library, keeps=lambda *_: True, tailored={})
            if ref not in bare.contents:
                raise _wrong("@".join(ref), "is not a benchmark of this version of cis-auditor, nor of --tailoring FILE")
            self.benchmarks[ref] = bare.load("@".join(ref))
        benchmark = self.benchmarks[ref]
        plain = next((c for c in benchmark.controls if (c.id, c.key) == (finding.id, finding.control)), None)
        if plain is None or dict(plain.parameters) == dict(finding.parameters):
            return plain
        made = self.library.variant(benchmark, {plain.key: (self._node(finding, plain.parameters),)})
        return next(c for c in made.controls if c.id == finding.id)

    def _node(self, finding: Finding, known: Mapping[str, Any]) -> Any:
        """Return the parameters in force as the YAML that the catalogue reads; JSON is YAML."""
        import json

        from auditor.yamltree import compose

        values = {k: v for k, v in finding.parameters.items() if k in known}
        return compose(json.dumps(values), f"the parameters of {finding.control} in run {self.run.id}")


def _plan(run: AuditRun, target: TargetResult, findings: Iterable[Finding], folders: Sequence[Path], controls: _Controls) -> Plan:
    from auditor.fixes.plan import Case, plan
    from auditor.fixes.planners import PLANNERS

    evidence = _bundle(target, folders)
    cases: list[Case] = []
    gone: list[tuple[str, str, str]] = []
    for finding in findings:
        control = controls.of(finding)
        if control is None:
            why = "this version of cis-auditor has no such control"
            gone.append((f"{finding.benchmark} {finding.id}", finding.title, why))
        else:
            cases.append(Case(control, finding, target, evidence))
    made = plan(run.id, target, cases, PLANNERS)
    return dataclasses.replace(made, open=(*made.open, *gone))


def _bundle(target: TargetResult, folders: Sequence[Path]) -> Evidence:
    """Return the evidence that a target was judged by. Raises `InputError` when it isn't there or is another."""
    from auditor import evidence

    paths = [folder / f"{evidence.file_name(target.name)}.evidence.json" for folder in folders]
    path = next((p for p in paths if p.is_file()), None)
    if path is None:
        raise _wrong(str(paths[0]), f"is not there: the fixes for {target.name} need the evidence of the run (--evidence DIR)")
    bundle = evidence.load(path)
    if bundle.target.name != target.name or evidence.digest(bundle) != target.evidence_sha256:
        raise _wrong(str(path), f"is not the evidence that {target.name} was judged by in this run: its digest is another")
    return bundle


def _written(plan: Plan, formats: Sequence[str]) -> Iterator[tuple[str, str, int]]:
    """Yield the name, the text and the mode of each file of a plan."""
    from auditor import __version__
    from auditor.evidence import file_name
    from auditor.fixes.words import override_text, overrides

    name = file_name(plan.target)
    for word in formats:
        # A target called inventory leaves that file's name to the inventory of the playbooks.
        plain = file_name(f"{plan.target}/playbook") if (name, word) == ("inventory", "ansible") else name
        yield f"{plain}.{_ENDINGS[word]}", _writer(word)(plan), 0o700 if word == "shell" else 0o600
    for project, document in overrides(plan).items():
        yield f"{name}.compose-{project}.yaml", override_text(document, plan, __version__), 0o600


def _writer(word: str) -> Callable[[Plan], str]:
    from importlib import import_module

    render: Callable[[Plan], str] = import_module(f"auditor.fixes.as_{word}").render
    return render


def _write(path: Path, text: str, mode: int) -> None:
    from auditor.files import write_private

    try:
        write_private(path, text.encode("utf-8", "backslashreplace"))
        path.chmod(mode)
    except OSError as error:
        raise _wrong(str(path), f"can't be written: {error.strerror}") from None


def add_to(cli: click.Group) -> None:
    """Make this command part of the command line."""
    cli.add_command(fix)
