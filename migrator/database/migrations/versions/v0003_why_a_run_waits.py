"""What a run waits for, and what exactly stopped it."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Two texts for people."""
    schema = op.get_context().version_table_schema  # what is added to a table is not translated to the schema in use
    op.add_column("migrator_run", sa.Column("stop_detail", sa.Text(), nullable=True), schema=schema)
    op.add_column("migrator_run", sa.Column("waiting", sa.Text(), nullable=True), schema=schema)


def downgrade() -> None:
    """Without them."""
    schema = op.get_context().version_table_schema
    op.drop_column("migrator_run", "waiting", schema=schema)
    op.drop_column("migrator_run", "stop_detail", schema=schema)
