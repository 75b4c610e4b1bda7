"""Server history: what the serving application reads. The contract names these tables."""

from sqlalchemy import (
    BigInteger,
    Column,
    LargeBinary,
    String,
    Table,
    Text,
)

from migrator.database.tables.kinds import Key, Serial, metadata

conversation = Table(
    "migrator_conversation",
    metadata,
    Column("conversation_no", Serial, primary_key=True, autoincrement=True),
    Column("conversation_id", Key, nullable=False, unique=True),
    Column("mode", String(16), nullable=False),
    Column("plan_id", String(64)),
    Column("run_id", String(64)),
    Column("flipped_at", String(40)),
    Column("message_count", BigInteger, nullable=False, server_default="0"),
    Column("gap_count", BigInteger, nullable=False, server_default="0"),
    Column("source_through", Text),
    # When its ciphertext left the source: from then on there is nothing to go back to.
    Column("retired_at", String(40)),
)

message = Table(
    "migrator_message",
    metadata,
    Column("conversation_no", BigInteger, primary_key=True),
    Column("sent_at", BigInteger, primary_key=True),
    Column("message_id", Key, primary_key=True),
    Column("sender_id", Key, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("key_id", BigInteger, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

data_key = Table(
    "migrator_data_key",
    metadata,
    Column("conversation_no", BigInteger, primary_key=True),
    Column("key_id", BigInteger, primary_key=True),
    Column("key_service", Text, nullable=False),
    Column("wrapped_keyset", LargeBinary),
    Column("context", Text, nullable=False),
    Column("created_at", String(40), nullable=False),
    Column("destroyed_at", String(40)),
)

gap = Table(
    "migrator_gap",
    metadata,
    Column("conversation_no", BigInteger, primary_key=True),
    Column("sent_at", BigInteger, primary_key=True),
    Column("message_id", Key, primary_key=True),
    Column("reason", String(32), nullable=False),
    sqlite_with_rowid=False,
)

claim = Table(
    # What a message uses up, a session and an index of Megolm's: whoever brings it again is a replay.
    "migrator_claim",
    metadata,
    Column("conversation_no", BigInteger, primary_key=True),
    Column("claim", LargeBinary, primary_key=True),
    Column("sent_at", BigInteger, nullable=False),
    Column("message_id", Key, nullable=False),
    Column("run_id", String(64), nullable=False),
    sqlite_with_rowid=False,
)

item = Table(
    "migrator_item",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("conversation_no", BigInteger, primary_key=True),
    Column("outcome", String(64), nullable=False),
    Column("messages", BigInteger, nullable=False),
    Column("gaps", BigInteger, nullable=False),
    Column("finished_at", String(40), nullable=False),
    sqlite_with_rowid=False,
)

recipient_key = Table(
    "migrator_recipient_key",
    metadata,
    Column("recipient_key_id", String(64), primary_key=True),
    Column("kem", String(32), nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("key_service", Text, nullable=False),
    Column("wrapped_private_key", LargeBinary),
    Column("context", Text, nullable=False),
    Column("created_at", String(40), nullable=False),
    Column("destroyed_at", String(40)),
)
