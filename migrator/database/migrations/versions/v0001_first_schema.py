"""The first schema."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


KEY = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "migrator_addition",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("conversation_no", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.Column("message_id", KEY, nullable=False),
        sa.Column("sender_id", KEY, nullable=True),
        sa.Column("content_type", sa.Text(), nullable=True),
        sa.Column("key_id", sa.BigInteger(), nullable=True),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=True),
        sa.Column("gap_reason", sa.String(length=32), nullable=True),
        sa.Column("prior_gap", sa.String(length=32), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "conversation_no", "sent_at", "message_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "migrator_audit_state",
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("wal_bytes", sa.BigInteger(), nullable=False),
        sa.Column("last_line_sha256", sa.String(length=64), nullable=False),
        sa.Column("checkpoint_size", sa.BigInteger(), nullable=False),
        sa.Column("checkpoint_root", sa.String(length=64), nullable=False),
        sa.Column("checkpoint_wal_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("origin"),
    )
    op.create_table(
        "migrator_authorization",
        sa.Column(
            "authorization_no",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("record_id", sa.String(length=64), nullable=False),
        sa.Column("record_sha256", sa.String(length=64), nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("guardian_id", KEY, nullable=True),
        sa.Column("answer", sa.String(length=16), nullable=False),
        sa.Column("covers_all", sa.Boolean(), nullable=False),
        sa.Column("decided_at", sa.String(length=40), nullable=False),
        sa.Column("valid_until", sa.String(length=40), nullable=True),
        sa.Column("device_id", KEY, nullable=True),
        sa.Column("issuer", sa.Text(), nullable=True),
        sa.Column("notice_id", sa.String(length=64), nullable=False),
        sa.Column("notice_version", sa.String(length=32), nullable=False),
        sa.Column("notice_locale", sa.String(length=35), nullable=False),
        sa.Column("recorded_at", sa.String(length=40), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("authorization_no"),
        sa.UniqueConstraint("record_id"),
    )
    op.create_index("migrator_authorization_account", "migrator_authorization", ["account_id"], unique=False)
    op.create_table(
        "migrator_campaign",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("environment", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.String(length=40), nullable=False),
        sa.Column("reference_key_service", sa.Text(), nullable=False),
        sa.Column("wrapped_reference_key", sa.LargeBinary(), nullable=False),
        sa.Column("authorization_version", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "migrator_conversation",
        sa.Column(
            "conversation_no",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("conversation_id", KEY, nullable=False),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.Column("plan_id", sa.String(length=64), nullable=True),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("flipped_at", sa.String(length=40), nullable=True),
        sa.Column("message_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("gap_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("source_through", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("conversation_no"),
        sa.UniqueConstraint("conversation_id"),
    )
    op.create_table(
        "migrator_data_key",
        sa.Column("conversation_no", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.BigInteger(), nullable=False),
        sa.Column("key_service", sa.Text(), nullable=False),
        sa.Column("wrapped_keyset", sa.LargeBinary(), nullable=True),
        sa.Column("context", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(length=40), nullable=False),
        sa.Column("destroyed_at", sa.String(length=40), nullable=True),
        sa.PrimaryKeyConstraint("conversation_no", "key_id"),
    )
    op.create_table(
        "migrator_export",
        sa.Column(
            "export_no",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("export_id", sa.String(length=64), nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("scheme", sa.String(length=32), nullable=False),
        sa.Column("device_id", KEY, nullable=True),
        sa.Column("issuer", sa.Text(), nullable=True),
        sa.Column("created_at", sa.String(length=40), nullable=False),
        sa.Column("recipient_key_id", sa.String(length=64), nullable=False),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("refused", sa.String(length=32), nullable=True),
        sa.Column("recorded_at", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("export_no"),
        sa.UniqueConstraint("export_id"),
    )
    op.create_index("migrator_export_account", "migrator_export", ["account_id"], unique=False)
    op.create_table(
        "migrator_extension",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("conversation_no", sa.BigInteger(), nullable=False),
        sa.Column("prior_plan_id", sa.String(length=64), nullable=True),
        sa.Column("prior_run_id", sa.String(length=64), nullable=True),
        sa.Column("prior_flipped_at", sa.String(length=40), nullable=True),
        sa.Column("prior_message_count", sa.BigInteger(), nullable=False),
        sa.Column("prior_gap_count", sa.BigInteger(), nullable=False),
        sa.Column("prior_source_through", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "conversation_no"),
    )
    op.create_table(
        "migrator_gap",
        sa.Column("conversation_no", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.Column("message_id", KEY, nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("conversation_no", "sent_at", "message_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "migrator_item",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("conversation_no", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(length=64), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("gaps", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "conversation_no"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "migrator_lease",
        sa.Column("campaign", sa.String(length=100), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("purpose", sa.String(length=64), nullable=True),
        sa.Column("heartbeat_at", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("campaign"),
    )
    op.create_table(
        "migrator_message",
        sa.Column("conversation_no", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.Column("message_id", KEY, nullable=False),
        sa.Column("sender_id", KEY, nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("key_id", sa.BigInteger(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("conversation_no", "sent_at", "message_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "migrator_notice",
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
        sa.PrimaryKeyConstraint("account_id", "notice_id", "channel"),
    )
    op.create_table(
        "migrator_notice_template",
        sa.Column("notice_id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("locale", sa.String(length=35), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("published_at", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("notice_id", "version", "locale"),
    )
    op.create_table(
        "migrator_outbox",
        sa.Column(
            "outbox_no",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=True),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("time", sa.String(length=40), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("outbox_no"),
        sa.UniqueConstraint("event_id"),
        sa.UniqueConstraint("seq"),
    )
    op.create_index("migrator_outbox_subject", "migrator_outbox", ["subject"], unique=False)
    op.create_index(
        "migrator_outbox_waiting",
        "migrator_outbox",
        ["outbox_no"],
        unique=False,
        postgresql_where=sa.text("seq IS NULL"),
        sqlite_where=sa.text("seq IS NULL"),
    )
    op.create_table(
        "migrator_plan",
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("plan_no", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("created_at", sa.String(length=40), nullable=False),
        sa.Column("decided_as_of", sa.String(length=40), nullable=False),
        sa.Column("config_sha256", sa.String(length=64), nullable=False),
        sa.Column("source_identity", sa.String(length=64), nullable=False),
        sa.Column("last_authorization_no", sa.BigInteger(), nullable=False),
        sa.Column("last_export_no", sa.BigInteger(), nullable=False),
        sa.Column("conversations", sa.BigInteger(), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("consumed_by", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("plan_id"),
        sa.UniqueConstraint("plan_no"),
    )
    op.create_table(
        "migrator_plan_item",
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("conversation_no", sa.BigInteger(), nullable=False),
        sa.Column("decision", sa.String(length=64), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("plan_id", "conversation_no"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "migrator_progress",
        sa.Column("conversation_no", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("key_id", sa.BigInteger(), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("gaps", sa.BigInteger(), nullable=False),
        sa.Column("countable_gaps", sa.BigInteger(), nullable=False),
        sa.Column("frontier", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("conversation_no"),
    )
    op.create_table(
        "migrator_recipient_key",
        sa.Column("recipient_key_id", sa.String(length=64), nullable=False),
        sa.Column("kem", sa.String(length=32), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("key_service", sa.Text(), nullable=False),
        sa.Column("wrapped_private_key", sa.LargeBinary(), nullable=True),
        sa.Column("context", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(length=40), nullable=False),
        sa.Column("destroyed_at", sa.String(length=40), nullable=True),
        sa.PrimaryKeyConstraint("recipient_key_id"),
    )
    op.create_table(
        "migrator_reference_salt",
        sa.Column("subject_id", KEY, nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("subject_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "migrator_run",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("run_no", sa.BigInteger(), nullable=False),
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("stop_reason", sa.String(length=32), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.String(length=40), nullable=False),
        sa.Column("finished_at", sa.String(length=40), nullable=True),
        sa.Column("worked_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
        sa.UniqueConstraint("run_no"),
    )
    op.create_table(
        "migrator_shard",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("shard_no", sa.Integer(), nullable=False),
        sa.Column("first_no", sa.BigInteger(), nullable=False),
        sa.Column("last_no", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("finished", sa.Boolean(), nullable=False),
        sa.Column("messages", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("failures", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("run_id", "generation", "shard_no"),
    )
    op.create_table(
        "migrator_verification",
        sa.Column("verification_id", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("sample", sa.String(length=16), nullable=False),
        sa.Column("through_no", sa.BigInteger(), nullable=False),
        sa.Column("checked", sa.Text(), nullable=False),
        sa.Column("ok", sa.Boolean(), nullable=True),
        sa.Column("started_at", sa.String(length=40), nullable=False),
        sa.Column("finished_at", sa.String(length=40), nullable=True),
        sa.PrimaryKeyConstraint("verification_id"),
    )
    op.create_table(
        "migrator_verification_mismatch",
        sa.Column("verification_id", sa.String(length=64), nullable=False),
        sa.Column("mismatch_no", sa.Integer(), nullable=False),
        sa.Column("conversation_no", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("verification_id", "mismatch_no"),
    )
    op.create_table(
        "migrator_authorization_scope",
        sa.Column("authorization_no", sa.BigInteger(), nullable=False),
        sa.Column("thread_key", KEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["authorization_no"],
            ["migrator_authorization.authorization_no"],
        ),
        sa.PrimaryKeyConstraint("authorization_no", "thread_key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "migrator_export_conversation",
        sa.Column("conversation_id", KEY, nullable=False),
        sa.Column("export_no", sa.BigInteger(), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("coverage", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["export_no"],
            ["migrator_export.export_no"],
        ),
        sa.PrimaryKeyConstraint("conversation_id", "export_no"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "migrator_export_part",
        sa.Column("export_no", sa.BigInteger(), nullable=False),
        sa.Column("part_no", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("refused", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["export_no"],
            ["migrator_export.export_no"],
        ),
        sa.PrimaryKeyConstraint("export_no", "part_no"),
    )


def downgrade() -> None:
    """Drop every table."""
    op.drop_table("migrator_export_part")
    op.drop_table("migrator_export_conversation")
    op.drop_table("migrator_authorization_scope")
    op.drop_table("migrator_verification_mismatch")
    op.drop_table("migrator_verification")
    op.drop_table("migrator_shard")
    op.drop_table("migrator_run")
    op.drop_table("migrator_reference_salt")
    op.drop_table("migrator_recipient_key")
    op.drop_table("migrator_progress")
    op.drop_table("migrator_plan_item")
    op.drop_table("migrator_plan")
    op.drop_index("migrator_outbox_waiting", table_name="migrator_outbox")
    op.drop_index("migrator_outbox_subject", table_name="migrator_outbox")
    op.drop_table("migrator_outbox")
    op.drop_table("migrator_notice_template")
    op.drop_table("migrator_notice")
    op.drop_table("migrator_message")
    op.drop_table("migrator_lease")
    op.drop_table("migrator_item")
    op.drop_table("migrator_gap")
    op.drop_table("migrator_extension")
    op.drop_index("migrator_export_account", table_name="migrator_export")
    op.drop_table("migrator_export")
    op.drop_table("migrator_data_key")
    op.drop_table("migrator_conversation")
    op.drop_table("migrator_campaign")
    op.drop_index("migrator_authorization_account", table_name="migrator_authorization")
    op.drop_table("migrator_authorization")
    op.drop_table("migrator_audit_state")
    op.drop_table("migrator_addition")
