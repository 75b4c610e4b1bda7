"""What an operator changes about a run that is at work, and what its workers find of the services' load."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_FIGURES = ("commits", "commit_us", "database_errors", "key_calls", "key_us", "key_errors")


def upgrade() -> None:
    """Runs of before have no limits but a rate, and are nobody's."""
    op.add_column("migrator_run", sa.Column("lease_token", sa.BigInteger(), nullable=True))
    op.add_column("migrator_run", sa.Column("seen_at", sa.String(length=40), nullable=True))
    op.add_column("migrator_run", sa.Column("limits", sa.Text(), nullable=True))
    op.add_column("migrator_run", sa.Column("throttled", sa.Boolean(), nullable=False, server_default=sa.false()))
    for name in _FIGURES:
        op.add_column("migrator_shard", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Drop the columns."""
    for name in reversed(_FIGURES):
        op.drop_column("migrator_shard", name)
    for name in ("throttled", "limits", "seen_at", "lease_token"):
        op.drop_column("migrator_run", name)
