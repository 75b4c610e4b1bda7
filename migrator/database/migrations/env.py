"""Runs revisions on the connection that `migrator.database.schema` hands over."""

import sqlalchemy as sa
from alembic import context

from migrator.database.schema import VERSION_TABLE
from migrator.database.tables import metadata

connection: sa.Connection = context.config.attributes["connection"]
schema: str | None = context.config.attributes.get("schema")
if schema is not None and connection.dialect.name == "postgresql":
    # `ALTER TABLE` is not translated to the schema of the settings as statements on tables are. Until the commit.
    connection.execute(sa.select(sa.func.set_config("search_path", sa.func.quote_ident(schema), True)))
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    version_table_schema=schema,
)
with context.begin_transaction():
    context.run_migrations()
