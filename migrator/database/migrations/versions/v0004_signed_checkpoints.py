"""Every checkpoint of the audit log that was signed is remembered, so that one that was taken away is missed."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Make the table. Of what was signed before, the last checkpoint is what is remembered."""
    signed = op.create_table(
        "migrator_audit_checkpoint",
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("origin", "size"),
    )
    names = ("origin", "checkpoint_size", "checkpoint_root")
    state = sa.Table("migrator_audit_state", sa.MetaData(), *(sa.Column(name) for name in names))
    known = sa.select(*(state.c[name] for name in names)).where(state.c.checkpoint_size > 0)
    op.get_bind().execute(signed.insert().from_select(["origin", "size", "root"], known))


def downgrade() -> None:
    """Drop it."""
    op.drop_table("migrator_audit_checkpoint")
