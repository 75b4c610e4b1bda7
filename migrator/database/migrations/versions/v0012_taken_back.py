"""Which messages a run took out of the server history because the source had taken them back."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("migrator_addition", sa.Column("taken_back", sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("migrator_addition", "taken_back")
