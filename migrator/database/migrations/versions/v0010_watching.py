"""What whoever watches a run sees of it: how far it came when, its last commits and checkpoints, its hooks."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Runs of before expect nothing in particular."""
    op.add_column("migrator_run", sa.Column("expected", sa.BigInteger(), nullable=True))
    op.add_column("migrator_run", sa.Column("earlier", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("migrator_run", sa.Column("session_at", sa.String(length=40), nullable=True))
    op.add_column("migrator_run", sa.Column("committed_at", sa.String(length=40), nullable=True))
    op.add_column("migrator_shard", sa.Column("committed_at", sa.String(length=40), nullable=True))
    op.add_column("migrator_audit_state", sa.Column("checkpoint_at", sa.String(length=40), nullable=True))
    op.create_table(
        "migrator_run_sample",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("at", sa.String(length=40), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("held_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "slot"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "migrator_hook_call",
        sa.Column(
            "call_no",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("hook", sa.String(length=32), nullable=False),
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("called_at", sa.String(length=40), nullable=False),
        sa.Column("took_ms", sa.BigInteger(), nullable=False),
        sa.Column("result", sa.String(length=16), nullable=False),
        sa.Column("exit_status", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("call_no"),
    )
    op.create_index("migrator_hook_call_plan", "migrator_hook_call", ["plan_id"])


def downgrade() -> None:
    """Nobody watches."""
    op.drop_index("migrator_hook_call_plan", table_name="migrator_hook_call")
    op.drop_table("migrator_hook_call")
    op.drop_table("migrator_run_sample")
    op.drop_column("migrator_audit_state", "checkpoint_at")
    op.drop_column("migrator_shard", "committed_at")
    op.drop_column("migrator_run", "committed_at")
    op.drop_column("migrator_run", "session_at")
    op.drop_column("migrator_run", "earlier")
    op.drop_column("migrator_run", "expected")
