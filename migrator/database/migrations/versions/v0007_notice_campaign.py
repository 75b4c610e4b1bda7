"""Notices as a campaign: occasions, attempts, evidence, preferences, and what holds a channel or all sending back."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

KEY = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
BEFORE = (
    "account_id", "notice_id", "channel", "version", "locale", "locale_wanted", "template_sha256", "rendered_sha256",
    "state", "detail", "message_id", "queued_at", "sent_at",
)  # fmt: skip


def _table(name: str, *columns: str) -> sa.Table:
    """A table to write statements with; unlike `sa.table` it follows the connection into a schema of its own."""
    return sa.Table(name, sa.MetaData(), *[sa.Column(column, sa.Text) for column in columns])


def _before() -> list[sa.Column[object]]:
    return [
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("notice_id", sa.String(length=64), nullable=False),
        sa.Column("channel", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("locale", sa.String(length=35), nullable=True),
        sa.Column("locale_wanted", sa.String(length=35), nullable=True),
        sa.Column("template_sha256", sa.String(length=64), nullable=True),
        sa.Column("rendered_sha256", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("message_id", KEY, nullable=True),
        sa.Column("queued_at", sa.String(length=40), nullable=False),
        sa.Column("sent_at", sa.String(length=40), nullable=True),
    ]


def _after() -> list[sa.Column[object]]:
    return [
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("notice_id", sa.String(length=64), nullable=False),
        sa.Column("occasion", sa.String(length=64), server_default=sa.text("''"), nullable=False),
        sa.Column("channel", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("locale", sa.String(length=35), nullable=True),
        sa.Column("locale_wanted", sa.String(length=35), nullable=True),
        sa.Column("template_sha256", sa.String(length=64), nullable=True),
        sa.Column("rendered_sha256", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("message_id", KEY, nullable=True),
        sa.Column("delivery_key", sa.String(length=40), nullable=True),
        sa.Column("generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("address_ref", sa.String(length=32), nullable=True),
        sa.Column("wave", sa.String(length=16), nullable=True),
        sa.Column("queued_at", sa.String(length=40), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("retry_at", sa.String(length=40), nullable=True),
        sa.Column("accepted_at", sa.String(length=40), nullable=True),
        sa.Column("sent_at", sa.String(length=40), nullable=True),
        sa.Column("bounced_at", sa.String(length=40), nullable=True),
        sa.Column("complained_at", sa.String(length=40), nullable=True),
        sa.Column("seen_at", sa.String(length=40), nullable=True),
    ]


def _replace(columns: list[sa.Column[object]], key: tuple[str, ...], **added: sa.ColumnElement[object]) -> None:
    """Make the notices' table anew with other columns and another key, with what it held."""
    kept, notice = _table("migrator_notice_kept", *BEFORE), _table("migrator_notice", *BEFORE, *added)
    op.create_table("migrator_notice_kept", *_before())
    op.execute(kept.insert().from_select(BEFORE, sa.select(*[notice.c[name] for name in BEFORE])))
    op.drop_table("migrator_notice")
    op.create_table("migrator_notice", *columns, sa.PrimaryKeyConstraint(*key))
    values = [*[kept.c[name] for name in BEFORE], *added.values()]
    op.execute(notice.insert().from_select([*BEFORE, *added], sa.select(*values)))
    op.drop_table("migrator_notice_kept")


def upgrade() -> None:
    """Make the notices' table anew, as its key changes, and the tables beside it."""
    _replace(
        _after(), ("account_id", "notice_id", "occasion", "channel"), occasion=sa.literal(""),
        accepted_at=sa.column("sent_at"), delivery_key=sa.func.substr(sa.column("message_id"), 2, 40),
    )  # fmt: skip
    op.create_index("migrator_notice_delivery", "migrator_notice", ["delivery_key"])
    op.create_index("migrator_authorization_guardian", "migrator_authorization", ["guardian_id"])
    op.create_table(
        "migrator_notice_preference",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("reminders_off_at", sa.String(length=40), nullable=True),
        sa.PrimaryKeyConstraint("account_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "migrator_notice_channel",
        sa.Column("channel", sa.String(length=64), nullable=False),
        sa.Column("not_before", sa.String(length=40), nullable=True),
        sa.Column("disabled_at", sa.String(length=40), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("channel"),
    )
    op.create_table(
        "migrator_notice_control",
        sa.Column("campaign", sa.String(length=100), nullable=False),
        sa.Column("paused_at", sa.String(length=40), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("resumed_at", sa.String(length=40), nullable=True),
        sa.Column("results_for", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("campaign"),
    )
    op.create_table(
        "migrator_notice_ward",
        sa.Column("guardian_id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.PrimaryKeyConstraint("guardian_id", "account_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "migrator_notice_result",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("moved", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop what the upgrade added; of several notices of one id the first stays."""
    for table in ("result", "ward", "control", "channel", "preference"):
        op.drop_table(f"migrator_notice_{table}")
    op.drop_index("migrator_authorization_guardian", table_name="migrator_authorization")
    op.drop_index("migrator_notice_delivery", table_name="migrator_notice")
    notice = _table("migrator_notice", "occasion")
    op.execute(notice.delete().where(notice.c.occasion != ""))
    _replace(_before(), ("account_id", "notice_id", "channel"))
