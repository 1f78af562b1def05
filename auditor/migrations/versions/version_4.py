"""Version 4: the documents of findings in packs; who asks for failures finds those that a person attested without reading them."""

from __future__ import annotations

import json

revision = "4"
down_revision = "3"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table and a column, and fill in the column; documents stay in the rows that they are in."""
    import sqlalchemy as sa
    from alembic import op

    run = sa.Column("run", sa.Text, sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    position = sa.Column("position", sa.Integer, primary_key=True)
    op.create_table("packs", run, position, sa.Column("document", sa.LargeBinary, nullable=False))
    op.add_column("findings", sa.Column("attested", sa.Text))
    connection = op.get_bind()
    runs = sa.table("runs", sa.column("id"), sa.column("document"))
    f = sa.table("findings", *map(sa.column, ("run", "position", "status", "document", "attested")))
    attested = sa.select(runs.c.id).where(runs.c.document.contains('"attestations":[{', autoescape=True))
    for id_ in connection.execute(attested).scalars().all():
        marked = (f.c.run == id_, f.c.document.contains('"attestation":{', autoescape=True))
        for row in connection.execute(sa.select(f.c.position, f.c.document).where(*marked)).all():
            try:
                verdict = json.loads(row.document)["attestation"]["verdict"]
            except (ValueError, KeyError, TypeError):  # a row that was tampered with stays as it is; reading it says so
                continue
            connection.execute(f.update().where(f.c.run == id_, f.c.position == row.position).values(attested=str(verdict)))
    op.execute("UPDATE meta SET value = '4' WHERE name = 'schema_version'")
