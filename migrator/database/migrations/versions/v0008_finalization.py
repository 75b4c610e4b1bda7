"""What a campaign that is made final remembers of it."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_COUNTS = ("conversations", "messages", "exports", "recipient_keys", "kept_conversations", "kept_exports")


def upgrade() -> None:
    """Make the table and the two columns."""
    op.add_column("migrator_conversation", sa.Column("retired_at", sa.String(length=40), nullable=True))
    op.add_column("migrator_export", sa.Column("destroyed_at", sa.String(length=40), nullable=True))
    op.create_table(
        "migrator_finalization",
        sa.Column("finalization_id", sa.String(length=64), nullable=False),
        sa.Column("finalization_no", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("what", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("through", sa.Text(), nullable=False),
        sa.Column("pending", sa.Text(), nullable=True),
        *[sa.Column(name, sa.BigInteger(), server_default="0", nullable=False) for name in _COUNTS],
        sa.Column("started_at", sa.String(length=40), nullable=False),
        sa.Column("finished_at", sa.String(length=40), nullable=True),
        sa.PrimaryKeyConstraint("finalization_id"),
        sa.UniqueConstraint("finalization_no"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("migrator_finalization")
    op.drop_column("migrator_export", "destroyed_at")
    op.drop_column("migrator_conversation", "retired_at")
