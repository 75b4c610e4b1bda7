"""Plans for a part of the population, and runs for what failed in another."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Make the table and the columns."""
    op.create_table(
        "migrator_plan_order",
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("conversation_no", sa.BigInteger(), nullable=False),
        sa.Column("tail_messages", sa.BigInteger(), nullable=True),
        sa.Column("late_gaps", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("plan_id", "place", "conversation_no"),
        sqlite_with_rowid=False,
    )
    op.add_column("migrator_run", sa.Column("retry_of", sa.String(length=64), nullable=True))
    op.add_column("migrator_run", sa.Column("retry_outcomes", sa.Text(), nullable=True))
    op.add_column(
        "migrator_finalization", sa.Column("kept_unannounced", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.add_column(
        "migrator_finalization", sa.Column("kept_messages", sa.BigInteger(), server_default="0", nullable=False)
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_column("migrator_finalization", "kept_messages")
    op.drop_column("migrator_finalization", "kept_unannounced")
    op.drop_column("migrator_run", "retry_outcomes")
    op.drop_column("migrator_run", "retry_of")
    op.drop_table("migrator_plan_order")
