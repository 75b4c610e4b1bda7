"""Which message used up which session and index first; and who brought an export in that no device signed."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0013"
down_revision: str | None = "0008"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

KEY = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
_CLAIMED = sa.text("claim IS NOT NULL")


def upgrade() -> None:
    """Make the table, the columns, and the way from a claim to what is staged."""
    op.create_table(
        "migrator_claim",
        sa.Column("conversation_no", sa.BigInteger(), nullable=False),
        sa.Column("claim", sa.LargeBinary(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.Column("message_id", KEY, nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("conversation_no", "claim"),
        sqlite_with_rowid=False,
    )
    op.add_column("migrator_addition", sa.Column("claim", sa.LargeBinary(), nullable=True))
    op.create_index(
        "migrator_addition_claim",
        "migrator_addition",
        ["run_id", "conversation_no", "claim"],
        sqlite_where=_CLAIMED,
        postgresql_where=_CLAIMED,
    )
    op.add_column("migrator_export", sa.Column("brought_in_by", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("migrator_export", "brought_in_by")
    op.drop_index("migrator_addition_claim", "migrator_addition")
    op.drop_column("migrator_addition", "claim")
    op.drop_table("migrator_claim")
