"""The campaign, and what its users handed in: authorisations and sealed exports."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from migrator.database.tables.kinds import Key, Serial, metadata

campaign = Table(
    "migrator_campaign",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("environment", String(16), nullable=False),
    Column("created_at", String(40), nullable=False),
    Column("reference_key_service", Text, nullable=False),
    Column("wrapped_reference_key", LargeBinary, nullable=False),
    # Raised by every import of authorisations, in its transaction: running work re-checks when it changes.
    Column("authorization_version", BigInteger, nullable=False, server_default="0"),
)

reference_salt = Table(
    "migrator_reference_salt",
    metadata,
    Column("subject_id", Key, primary_key=True),
    Column("salt", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

authorization = Table(
    "migrator_authorization",
    metadata,
    Column("authorization_no", Serial, primary_key=True, autoincrement=True),
    Column("record_id", String(64), nullable=False, unique=True),
    Column("record_sha256", String(64), nullable=False),
    Column("account_id", Key, nullable=False),
    # The guardian who signed for the account; null where the account spoke for itself.
    Column("guardian_id", Key),
    Column("answer", String(16), nullable=False),
    Column("covers_all", Boolean, nullable=False),
    Column("decided_at", String(40), nullable=False),
    Column("valid_until", String(40)),
    Column("device_id", Key),
    Column("issuer", Text),
    Column("notice_id", String(64), nullable=False),
    Column("notice_version", String(32), nullable=False),
    Column("notice_locale", String(35), nullable=False),
    Column("recorded_at", String(40), nullable=False),
    Column("record", Text, nullable=False),
    Index("migrator_authorization_account", "account_id"),
    Index("migrator_authorization_guardian", "guardian_id"),
)

authorization_scope = Table(
    "migrator_authorization_scope",
    metadata,
    Column(
        "authorization_no",
        BigInteger,
        ForeignKey("migrator_authorization.authorization_no"),
        primary_key=True,
    ),
    Column("thread_key", Key, primary_key=True),
    sqlite_with_rowid=False,
)

export = Table(
    "migrator_export",
    metadata,
    Column("export_no", Serial, primary_key=True, autoincrement=True),
    Column("export_id", String(64), nullable=False, unique=True),
    Column("account_id", Key, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("scheme", String(32), nullable=False),
    Column("device_id", Key),
    Column("issuer", Text),
    Column("created_at", String(40), nullable=False),
    Column("recipient_key_id", String(64), nullable=False),
    Column("manifest_sha256", String(64), nullable=False),
    Column("manifest", Text, nullable=False),
    # Null: sealed and usable as far as anyone knows; else why the whole export counts as absent.
    Column("refused", String(32)),
    Column("recorded_at", String(40), nullable=False),
    # Its sealed parts are gone, its manifest stays as evidence.
    Column("destroyed_at", String(40)),
    # The operator who brought it in for the account, where no device and no consent service signed it.
    Column("brought_in_by", Text),
    Index("migrator_export_account", "account_id"),
)

export_part = Table(
    "migrator_export_part",
    metadata,
    Column("export_no", BigInteger, ForeignKey("migrator_export.export_no"), primary_key=True),
    Column("part_no", Integer, primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    # Null, or why this part counts as absent.
    Column("refused", String(32)),
)

export_conversation = Table(
    "migrator_export_conversation",
    metadata,
    Column("conversation_id", Key, primary_key=True),
    Column("export_no", BigInteger, ForeignKey("migrator_export.export_no"), primary_key=True),
    Column("messages", BigInteger, nullable=False),
    # The manifest's coverage as it stands there: canonical JSON.
    Column("coverage", Text, nullable=False),
    sqlite_with_rowid=False,
)
