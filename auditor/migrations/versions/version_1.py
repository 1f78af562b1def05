"""Version 1: runs with their benchmarks, targets, findings and scores."""

from __future__ import annotations

from typing import Any

revision = "1"
down_revision = None
branch_labels = None
depends_on = None

COUNTS = ("pass", "fail", "manual", "not_applicable", "error", "waived")


def upgrade() -> None:
    """Make the tables."""
    import sqlalchemy as sa
    from alembic import op

    text, number = sa.Text, sa.Integer

    def of_run(name: str, *columns: Any) -> None:
        run = sa.Column("run", text, sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
        position = sa.Column("position", number, primary_key=True)
        op.create_table(name, run, position, *columns, sa.Column("document", text, nullable=False))

    def texts(*names: str) -> list[Any]:
        return [sa.Column(n, text) for n in names]

    op.create_table("meta", sa.Column("name", text, primary_key=True), sa.Column("value", text, nullable=False))
    op.execute("INSERT INTO meta (name, value) VALUES ('schema_version', '1')")
    op.create_table("runs", sa.Column("id", text, primary_key=True), sa.Column("started", text, nullable=False),
                    sa.Column("finished", text, nullable=False), sa.Column("document", text, nullable=False))  # fmt: skip
    op.create_index("ix_runs_started", "runs", ["started"])
    op.create_table("texts", sa.Column("sha256", text, primary_key=True), sa.Column("document", text, nullable=False))
    digest = sa.Column("text", text, sa.ForeignKey("texts.sha256"), nullable=False)
    of_run("benchmarks", *texts("name", "version", "sha256"), digest)
    of_run("targets", *texts("name", "kind", "status"))
    op.create_index("ix_targets_name", "targets", ["name"])
    of_run("findings", *texts("target", "benchmark", "version", "id", "control"), sa.Column("level", number),
           *texts("severity", "status"))  # fmt: skip
    of_run("scores", *texts("target", "benchmark", "version"), sa.Column("score", sa.Double), sa.Column("coverage", sa.Double),
           *(sa.Column(n, number) for n in COUNTS))  # fmt: skip
