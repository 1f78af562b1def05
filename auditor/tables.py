"""The tables of the run history as this version of the program has them; `auditor.migrations` makes them of earlier ones."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auditor.model import Counts
from auditor.results import counts_document

if TYPE_CHECKING:
    import sqlalchemy as sa

#: The newest of `auditor.migrations`: a history that is newer than that is refused, never guessed at.
SCHEMA_VERSION = 4


def kind_of(selection: Mapping[str, Any]) -> str:
    """Return what sort of run this is: ``full``, ``re-check`` (of what failed in another) or ``demo``."""
    return "re-check" if selection.get("recheck") else "demo" if selection.get("demo") else "full"


@dataclass(frozen=True)
class Tables:
    """Every table of the history."""

    meta: sa.Table
    runs: sa.Table
    texts: sa.Table
    benchmarks: sa.Table
    targets: sa.Table
    findings: sa.Table
    packs: sa.Table
    scores: sa.Table
    marks: sa.Table


@functools.cache
def tables() -> Tables:
    """Return the tables as this version of the program has them."""
    import sqlalchemy as sa

    metadata = sa.MetaData()
    text, number = sa.Text, sa.Integer

    def of_run(name: str, *columns: sa.Column[Any], kind: type[Any] = text) -> sa.Table:
        run = sa.Column("run", text, sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
        position = sa.Column("position", number, primary_key=True)
        return sa.Table(name, metadata, run, position, *columns, sa.Column("document", kind, nullable=False))

    made = Tables(
        meta=sa.Table("meta", metadata, sa.Column("name", text, primary_key=True), sa.Column("value", text, nullable=False)),
        runs=sa.Table(
            "runs", metadata, sa.Column("id", text, primary_key=True), sa.Column("started", text, nullable=False, index=True),
            sa.Column("finished", text, nullable=False), sa.Column("document", text, nullable=False), sa.Column("kind", text),
            # "running", "interrupted" or, like those of earlier versions which have none, "finished"; and what a run that is
            # not finished needs so that it can go on.
            sa.Column("status", text), sa.Column("plan", text),
        ),
        # A benchmark's words are the same in every run, so they are kept once.
        texts=sa.Table("texts", metadata, sa.Column("sha256", text, primary_key=True), sa.Column("document", text, nullable=False)),
        benchmarks=of_run("benchmarks", sa.Column("name", text), sa.Column("version", text), sa.Column("sha256", text),
                          sa.Column("text", text, sa.ForeignKey("texts.sha256"), nullable=False)),
        # ``done`` is 0 while a target is still waited for; ``chosen`` are the benchmarks that judged it, and why.
        targets=of_run("targets", sa.Column("name", text, index=True), sa.Column("kind", text), sa.Column("status", text),
                       sa.Column("done", number), sa.Column("chosen", text)),
        # ``attested`` is a person's verdict on it; its document is empty where it is in a pack.
        findings=of_run("findings", *(sa.Column(n, text) for n in ("target", "benchmark", "version", "id", "control")),
                        sa.Column("level", number), sa.Column("severity", text), sa.Column("status", text),
                        sa.Column("attested", text)),
        packs=of_run("packs", kind=sa.LargeBinary),
        scores=of_run("scores", *(sa.Column(n, text) for n in ("target", "benchmark", "version")), sa.Column("score", sa.Double),
                      sa.Column("coverage", sa.Double), *(sa.Column(n, number) for n in counts_document(Counts()))),
        marks=sa.Table("marks", metadata, sa.Column("name", text, primary_key=True),
                       sa.Column("run", text, sa.ForeignKey("runs.id"), nullable=False)),
    )  # fmt: skip
    f = made.findings.c  # everything that the age of a failure is made of, so that the rows themselves needn't be read
    sa.Index("findings_of_control", f.target, f.control, f.benchmark, f.status, f.run)
    return made
