"""Runs revisions on the connection that `migrator.database.schema` hands over."""

from alembic import context

from migrator.database.schema import VERSION_TABLE
from migrator.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    version_table_schema=context.config.attributes.get("schema"),
)
with context.begin_transaction():
    context.run_migrations()
