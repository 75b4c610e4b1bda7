"""Attachments of server history, and blobs that no row shows."""

from sqlalchemy import BigInteger, Boolean, Column, Index, LargeBinary, String, Table, Text

from migrator.database.tables.kinds import Key, metadata

attachment = Table(
    "migrator_attachment",
    metadata,
    Column("conversation_no", BigInteger, primary_key=True),
    Column("sent_at", BigInteger, primary_key=True),
    Column("message_id", Key, primary_key=True),
    Column("attachment_id", Key, primary_key=True),
    Column("kind", String(16), nullable=False),
    # Of the content: as the client sent it, or as the source kept it where the client's own key opens it.
    Column("size", BigInteger),
    # The sealed bytes: where they lie, how many there are, their digest. NULL where the attachment is a gap.
    Column("blob", String(32)),
    Column("blob_size", BigInteger),
    Column("sha256", LargeBinary),
    # Tink's EncryptedKeyset under the conversation's data key of that id.
    Column("key_id", BigInteger),
    Column("wrapped_keyset", LargeBinary),
    Column("reason", String(32)),
    # Written ahead of the transaction that shows it, by a run that adds to a visible conversation.
    Column("staged", Boolean, nullable=False),
    Column("run_id", String(64), nullable=False),
    Index("migrator_attachment_blob", "blob", unique=True),
    sqlite_with_rowid=False,
)

stray_blob = Table(
    "migrator_stray_blob",
    metadata,
    Column("blob", String(32), primary_key=True),
    Column("run_id", String(64), nullable=False),
    # Nobody may show it any more: it is to be removed.
    Column("doomed", Boolean, nullable=False),
    Column("noted_at", Text, nullable=False),
)
