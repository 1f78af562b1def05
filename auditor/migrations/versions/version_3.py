"""Version 3: a run is there from its first moment on, and its targets one by one as they are done."""

from __future__ import annotations

revision = "3"
down_revision = "2"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns; a run or a target that has nothing in them is finished."""
    import sqlalchemy as sa
    from alembic import op

    for name in ("status", "plan"):
        op.add_column("runs", sa.Column(name, sa.Text))
    op.add_column("targets", sa.Column("done", sa.Integer))
    op.add_column("targets", sa.Column("chosen", sa.Text))
    op.execute("UPDATE meta SET value = '3' WHERE name = 'schema_version'")
