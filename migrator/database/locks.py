"""What one transaction may count on while another runs. On SQLite write transactions follow one another: no-ops there.

On PostgreSQL a worker's transaction *shares* the rows it rests on (`SELECT … FOR SHARE`: the run, the campaign) until
its commit; whoever changes such a row waits for the commits under way. Sharers don't wait for each other and could go
on for ever, so whoever changes the row takes the table first (`ahead_of_sharers`): those who come later queue behind.
"""

import sqlalchemy as sa


def shared(query: sa.Select[*tuple[object, ...]]) -> sa.Select[*tuple[object, ...]]:
    """A query whose rows stay as they are until the end of the caller's transaction."""
    return query.with_for_update(read=True)


def ahead_of_sharers(connection: sa.Connection, table: sa.Table) -> None:
    """Let the transactions that share rows of a table end, and keep new ones waiting until this one's end."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"LOCK TABLE {qualified(connection, table)} IN EXCLUSIVE MODE")


def one_at_a_time(connection: sa.Connection, work: str) -> None:
    """Let one transaction at a time do some kind of work; others of that kind wait for its end."""
    if connection.dialect.name == "postgresql":
        name = f"migrator/{_schema(connection) or ''}/{work}"
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(name, 0))))


def qualified(connection: sa.Connection, table: sa.Table) -> str:
    """A table's name as a raw statement must have it: in the schema of the settings, quoted."""
    quote = connection.dialect.identifier_preparer.quote
    schema = _schema(connection)
    return quote(table.name) if schema is None else f"{quote(schema)}.{quote(table.name)}"


def _schema(connection: sa.Connection) -> str | None:
    translated = connection.get_execution_options().get("schema_translate_map") or {}
    schema = translated.get(None)
    return schema if isinstance(schema, str) else None
