"""How a run history of an earlier version becomes today's, by Alembic: one revision a version of the tables.

A revision only adds. All of them together are one transaction of the caller's, so that an upgrade is done or not. Alembic is
imported when there is something to upgrade and not before: opening a history that is current costs one query.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy as sa


def upgrade(connection: sa.Connection, version: int, target: int | str = "heads") -> None:
    """Bring the tables of a version (0: there are none) up to another, inside the caller's transaction."""
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    config = Config()
    here = str(Path(__file__).parent).replace("%", "%%")
    config.set_main_option("script_location", here)
    config.set_main_option("version_locations", str(Path(__file__).parent / "versions").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    context = MigrationContext.configure(connection, opts={"fn": lambda rev, _: script._upgrade_revs(str(target), rev)})  # noqa: SLF001 - as Alembic's own documents do
    known = context.get_current_heads()
    if version and known != (str(version),):  # made by a version of the program that did not know Alembic
        context.stamp(script, str(version))
    with Operations.context(context):
        context.run_migrations()
