"""The schema's version: brought up to date by `migrator init`, checked by every other command."""

from functools import cache
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.schema import CreateSchema

from migrator.core.errors import SchemaVersionError
from migrator.database import locks, postgresql
from migrator.database.connect import Database

VERSION_TABLE = "migrator_schema_version"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


@cache
def _revisions() -> ScriptDirectory:
    """The revisions of this program, read once in a process: each reading executes every one of their files."""
    return ScriptDirectory.from_config(_config())


def newest() -> str:
    """The revision that this program works with."""
    head = _revisions().get_current_head()
    assert head is not None  # noqa: S101 - a package without revisions is not migrator
    return head


def current(connection: sa.Connection, schema: str | None) -> str | None:
    """The revision that a database is at; None if it has none of our tables."""
    context = MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE, "version_table_schema": schema}
    )
    return context.get_current_revision()


def refuse_newer(database: Database) -> None:
    """Raise `SchemaVersionError` if a later migrator made or upgraded this database."""
    with database.read() as connection:
        _refuse_newer(current(connection, database.schema))


def upgrade(database: Database) -> bool:
    """Bring a new or older database to this program's schema; False if it was there already."""
    database.make_file()
    with database.write("schema") as connection:
        locks.one_at_a_time(connection, "schema")
        if database.is_postgresql:
            postgresql.require_utf8(connection)
        _make_schema(connection, database.schema)
        before = current(connection, database.schema)
        _refuse_newer(before)
        if before == newest():
            return False
        config = _config()
        config.attributes["connection"] = connection
        config.attributes["schema"] = database.schema
        command.upgrade(config, "head")
    return True


def _make_schema(connection: sa.Connection, schema: str | None) -> None:
    """PostgreSQL refuses `IF NOT EXISTS` to a role that may not make one, even where it is there: so look first.

    For the rest of the transaction it is where tables are looked for: a revision that alters one names no schema.
    """
    if schema is None:
        return
    if not sa.inspect(connection).has_schema(schema):
        connection.execute(CreateSchema(schema, if_not_exists=True))
    path = connection.dialect.identifier_preparer.quote(schema)
    connection.execute(sa.select(sa.func.set_config("search_path", path, True)))


def require_current(database: Database) -> None:
    """Raise `SchemaVersionError` unless the database has exactly this program's schema."""
    with database.read() as connection:
        found = current(connection, database.schema)
    if found == newest():
        return
    if found is None:
        raise SchemaVersionError(
            "the migrator database has no tables yet", hint="`migrator init` makes them; check database.url"
        )
    _refuse_newer(found)
    raise SchemaVersionError(
        f"the migrator database has schema {found}, this migrator works with {newest()}",
        hint="back the database up, then run `migrator init`, which upgrades it",
    )


def _refuse_newer(found: str | None) -> None:
    known = {revision.revision for revision in _revisions().walk_revisions()}
    if found is not None and found not in known:
        raise SchemaVersionError(
            f"the migrator database has schema {found}, which is newer than this migrator",
            hint="use the migrator version that made it, or a newer one",
        )
