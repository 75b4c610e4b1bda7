"""Revisions and tables agree, upgrades are repeatable, and a database of another version is refused."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from migrator.core.errors import DatabaseError, SchemaVersionError
from migrator.database import schema, tables
from migrator.database.connect import Database


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """A database without any table."""
    return Database(f"sqlite:///{tmp_path}/migrator.db")


def _set_version(database: Database, revision: str) -> None:
    with database.write("test") as connection:
        connection.execute(sa.text(f"UPDATE {schema.VERSION_TABLE} SET version_num = :v"), {"v": revision})


def test_revisions_make_the_tables(database: Database) -> None:
    """Alembic finds nothing to add, drop or change after an upgrade: columns, types, nullability, indexes, defaults."""
    schema.upgrade(database)
    with database.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": schema.VERSION_TABLE, "compare_server_default": True}
        )
        assert compare_metadata(context, tables.metadata) == []


def _ddl(connection: sa.Connection) -> dict[str, str]:
    """What SQLite keeps of each table, spelled alike."""
    rows = connection.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
    return {row.name: " ".join(row.sql.split()).replace('"', "") for row in rows if "version" not in row.name}


def test_revisions_keep_what_autogenerate_does_not_see(database: Database, tmp_path: Path) -> None:
    """Primary keys, foreign keys, WITHOUT ROWID: a database made by revisions has the DDL of one made from `tables`."""
    schema.upgrade(database)
    direct = Database(f"sqlite:///{tmp_path}/direct.db")
    direct.make_file()
    with direct.write("test") as connection:
        tables.metadata.create_all(connection)
    with database.read() as ours, direct.read() as theirs:
        upgraded, made = _ddl(ours), _ddl(theirs)
    assert upgraded.keys() == made.keys()
    for name, ddl in made.items():
        assert ("WITHOUT ROWID" in ddl) == ("WITHOUT ROWID" in upgraded[name]), name
        assert _keys(direct, name) == _keys(database, name)


def _keys(database: Database, table: str) -> object:
    with database.read() as connection:
        inspector = sa.inspect(connection)
        foreign = [(key["constrained_columns"], key["referred_table"]) for key in inspector.get_foreign_keys(table)]
        unique = sorted(tuple(key["column_names"]) for key in inspector.get_unique_constraints(table))
        return inspector.get_pk_constraint(table)["constrained_columns"], sorted(foreign), unique


def test_upgrade_twice(database: Database) -> None:
    """The first makes, the second finds all done; the database is then current."""
    assert schema.upgrade(database) is True
    assert schema.upgrade(database) is False
    schema.require_current(database)


def test_interrupted_upgrade_leaves_nothing(database: Database) -> None:
    """Killed before its commit, an upgrade has not happened; the next one does it whole."""

    def pull_the_plug(label: str, moment: str) -> None:
        if (label, moment) == ("schema", "before"):
            raise KeyboardInterrupt

    database.boundary = pull_the_plug
    with pytest.raises(KeyboardInterrupt):
        schema.upgrade(database)
    with database.read() as connection:
        assert sa.inspect(connection).get_table_names() == []
    database.boundary = lambda _label, _moment: None
    assert schema.upgrade(database) is True


def test_newer_database_is_refused(database: Database) -> None:
    """A revision that this program does not know: no command goes on, none upgrades, and the hint says what to use."""
    schema.upgrade(database)
    _set_version(database, "9999")
    for act in (schema.require_current, schema.refuse_newer, schema.upgrade):
        with pytest.raises(SchemaVersionError, match="newer than this migrator") as caught:
            act(database)
        assert "migrator version that made it" in caught.value.hint


def test_older_database_says_how_to_upgrade(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A known but older revision: the hint names the command that upgrades."""
    schema.upgrade(database)
    held = schema.newest()
    monkeypatch.setattr(schema, "newest", lambda: "9999")
    with pytest.raises(SchemaVersionError, match=f"schema {held}, this migrator works with 9999") as caught:
        schema.require_current(database)
    assert "`migrator init`" in caught.value.hint


def test_empty_database_says_what_makes_tables(database: Database) -> None:
    """A database without tables is not silently taken for a campaign."""
    database.make_file()
    with pytest.raises(SchemaVersionError, match="no tables yet") as caught:
        schema.require_current(database)
    assert "`migrator init`" in caught.value.hint


def test_missing_database_is_not_made(database: Database, tmp_path: Path) -> None:
    """Looking for a database at a mistyped path leaves no file behind."""
    with pytest.raises(DatabaseError):
        schema.require_current(database)
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_signed_before_its_checkpoints_were_remembered(database: Database) -> None:
    """The last checkpoint is remembered from the upgrade on, so that those before it are not taken for strangers."""
    database.make_file()
    with database.write("test") as connection:
        config = schema._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        values = {"origin": "o", "size": 9, "wal_bytes": 90, "last_line_sha256": "", "checkpoint_wal_bytes": 50}
        connection.execute(tables.audit_state.insert().values(**values, checkpoint_size=5, checkpoint_root="ab" * 32))
    assert schema.upgrade(database) is True
    with database.read() as connection:
        assert connection.execute(sa.select(tables.audit_checkpoint)).all() == [("o", 5, "ab" * 32)]
