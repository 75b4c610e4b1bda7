"""Attachments of messages, sealed in a store of blobs."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_Key = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "migrator_attachment",
        sa.Column("conversation_no", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.Column("message_id", _Key, nullable=False),
        sa.Column("attachment_id", _Key, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("blob", sa.String(length=32), nullable=True),
        sa.Column("blob_size", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(), nullable=True),
        sa.Column("key_id", sa.BigInteger(), nullable=True),
        sa.Column("wrapped_keyset", sa.LargeBinary(), nullable=True),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("staged", sa.Boolean(), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("conversation_no", "sent_at", "message_id", "attachment_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("migrator_attachment_blob", "migrator_attachment", ["blob"], unique=True)
    op.create_table(
        "migrator_stray_blob",
        sa.Column("blob", sa.String(length=32), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("doomed", sa.Boolean(), nullable=False),
        sa.Column("noted_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("blob"),
    )


def downgrade() -> None:
    """Drop them; the blobs stay where they are."""
    op.drop_table("migrator_stray_blob")
    op.drop_table("migrator_attachment")
