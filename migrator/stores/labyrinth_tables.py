"""The tables of a Labyrinth store (formats, section 1), as SQLAlchemy Core knows them.

The store only reads them; `metadata.create_all` serves fixtures and rehearsals. Ids are compared bytewise: on
PostgreSQL by collation "C", which SQLite's default is the equal of.
"""

import sqlalchemy as sa
from sqlalchemy import Column, Table
from sqlalchemy.dialects import postgresql

metadata = sa.MetaData()

_Id = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
_Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

account = Table(
    "account",
    metadata,
    Column("account_id", _Id, primary_key=True),
    Column("email", sa.Text),
    Column("locale", sa.Text, nullable=False),
    Column("timezone", sa.Text, nullable=False),
    Column("region", sa.Text, nullable=False),
    Column("jurisdiction", sa.Text, nullable=False),
    Column("age_band", sa.Text, nullable=False),
    Column("guardian_account_id", _Id),
    Column("status", sa.Text, nullable=False),
    Column("created_at", sa.Text, nullable=False),
)
device = Table(
    "device",
    metadata,
    Column("device_id", _Id, primary_key=True),
    Column("account_id", _Id, nullable=False),
    Column("signing_key", sa.LargeBinary, nullable=False),
    Column("added_at", sa.Text, nullable=False),
    Column("revoked_at", sa.Text),
)
inbox = Table("inbox", metadata, Column("inbox_id", _Id, primary_key=True), Column("account_id", _Id, nullable=False))
epoch = Table(
    "epoch",
    metadata,
    Column("inbox_id", _Id, primary_key=True),
    Column("epoch_id", _Id, primary_key=True),
    Column("epoch_sequence", _Number, nullable=False),
)
thread = Table(
    "thread",
    metadata,
    Column("inbox_id", _Id, primary_key=True),
    Column("thread_id", _Id, primary_key=True),
    Column("kind", sa.Text, nullable=False),
)
thread_member = Table(
    "thread_member",
    metadata,
    Column("inbox_id", _Id, primary_key=True),
    Column("thread_id", _Id, primary_key=True),
    Column("account_id", _Id, primary_key=True),
)
message = Table(
    "message",
    metadata,
    Column("inbox_id", _Id, primary_key=True),
    Column("thread_id", _Id, primary_key=True),
    Column("sent_at", _Number, primary_key=True),
    Column("message_id", _Id, primary_key=True),
    Column("sender_id", _Id),
    Column("epoch_id", _Id),
    Column("version", sa.Integer),
    Column("encrypted_message_data", sa.LargeBinary),
)
attachment = Table(
    "attachment",
    metadata,
    Column("inbox_id", _Id, primary_key=True),
    Column("attachment_id", _Id, primary_key=True),
    Column("thread_id", _Id, nullable=False),
    Column("message_id", _Id, nullable=False),
    Column("blob_uri", sa.Text, nullable=False),
    Column("size", _Number, nullable=False),
    Column("sha256", sa.LargeBinary, nullable=False),
)
legal_hold = Table(
    "legal_hold",
    metadata,
    Column("account_id", _Id, primary_key=True),
    Column("placed_at", sa.Text, primary_key=True),
    Column("released_at", sa.Text),
)

REQUIRED = (account, device, inbox, thread, thread_member, message)
"""What migration reads; a source without one of these is not a Labyrinth store."""
