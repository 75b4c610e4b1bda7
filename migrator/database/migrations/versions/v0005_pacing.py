"""The limit on a run's pace, and what holds its workers up."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Runs of before have no limit."""
    op.add_column("migrator_run", sa.Column("max_rate", sa.Float(), nullable=True))
    op.add_column("migrator_run", sa.Column("sharing", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("migrator_run", sa.Column("held_ms", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("migrator_shard", sa.Column("waiting", sa.Text(), nullable=True))
    op.add_column("migrator_shard", sa.Column("held_ms", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Without a limit."""
    op.drop_column("migrator_shard", "held_ms")
    op.drop_column("migrator_shard", "waiting")
    op.drop_column("migrator_run", "held_ms")
    op.drop_column("migrator_run", "sharing")
    op.drop_column("migrator_run", "max_rate")
