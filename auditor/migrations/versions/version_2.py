"""Version 2: runs have a kind, runs can be marked (baseline), findings are indexed by what they are about."""

from __future__ import annotations

import json

revision = "2"
down_revision = "1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column, a table and an index, and fill in the column."""
    import sqlalchemy as sa
    from alembic import op

    op.add_column("runs", sa.Column("kind", sa.Text))
    runs = sa.table("runs", sa.column("id"), sa.column("document"), sa.column("kind"))
    connection = op.get_bind()
    for row in connection.execute(sa.select(runs.c.id, runs.c.document)).all():
        try:
            selection = json.loads(row.document).get("selection", {})
            kind = "re-check" if selection.get("recheck") else "demo" if selection.get("demo") else "full"
        except (ValueError, AttributeError):  # a row that was tampered with stays as it is; reading it says so
            continue
        connection.execute(runs.update().where(runs.c.id == row.id).values(kind=kind))
    op.create_table("marks", sa.Column("name", sa.Text, primary_key=True),
                    sa.Column("run", sa.Text, sa.ForeignKey("runs.id"), nullable=False))  # fmt: skip
    op.create_index("findings_of_control", "findings", ["target", "control", "benchmark", "status", "run"])
    op.execute("UPDATE meta SET value = '2' WHERE name = 'schema_version'")
