"""Ids that a shell may offer while somebody types: the newest runs and plans. Reads only, and asks nobody.

1. No ids of accounts or conversations: they would stand on a screen, and in nobody's audit log.
2. The key services and the source are not opened; a `database.url` that is a command is not run for a key press.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from migrator.core.settings import Settings
from migrator.database import tables
from migrator.database.connect import Database
from migrator.secrets import absolute_url, resolve_text

MOST: Final = 20

Recent = Sequence[tuple[str, str]]
"""Ids, the newest first, each with its state."""


def runs(settings: Settings, directory: Path) -> Recent:
    """The newest runs; `MigratorError` where the database can't be read."""
    table = tables.run
    return _newest(settings, directory, sa.select(table.c.run_id, table.c.state).order_by(table.c.run_no.desc()))


def plans(settings: Settings, directory: Path) -> Recent:
    """The newest plans that are whole; the same."""
    table = tables.plan
    query = sa.select(table.c.plan_id, table.c.state).where(table.c.state != "making").order_by(table.c.plan_no.desc())
    return _newest(settings, directory, query)


def _newest(settings: Settings, directory: Path, query: sa.Select[str, str]) -> Recent:
    if settings.database.url.startswith("command:"):
        return ()
    url = absolute_url(resolve_text(settings.database.url, directory), directory)
    database = Database(url, schema=settings.database.schema_name, read_only=True)
    try:
        with database.read() as connection:
            return [(row[0], row[1]) for row in connection.execute(query.limit(MOST))]
    finally:
        database.close()
