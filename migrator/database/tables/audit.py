"""The outbox, and what the database remembers of the audit log."""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    String,
    Table,
    Text,
)

from migrator.database.tables.kinds import Serial, metadata

outbox = Table(
    # Events, written in the transaction whose effect they report. The sequencer numbers them once their line is safe
    # in the write-ahead log.
    "migrator_outbox",
    metadata,
    Column("outbox_no", Serial, primary_key=True, autoincrement=True),
    Column("event_id", String(64), nullable=False, unique=True),
    Column("type", String(64), nullable=False),
    Column("subject", String(64)),
    Column("run_id", String(64)),
    Column("actor", String(200), nullable=False),
    Column("time", String(40), nullable=False),
    Column("data", Text, nullable=False),
    Column("seq", BigInteger, unique=True),
    Index("migrator_outbox_subject", "subject"),
)
# What waits for the sequencer is found at once, however long the log is.
_waits = outbox.c.seq.is_(None)
Index("migrator_outbox_waiting", outbox.c.outbox_no, postgresql_where=_waits, sqlite_where=_waits)


audit_state = Table(
    # One row: how far the log goes, which shows a restored backup of either side.
    "migrator_audit_state",
    metadata,
    Column("origin", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("wal_bytes", BigInteger, nullable=False),
    Column("last_line_sha256", String(64), nullable=False),
    # The last checkpoint that was signed: leaves, root in hex (empty: none yet), and where the file had come to.
    Column("checkpoint_size", BigInteger, nullable=False),
    Column("checkpoint_root", String(64), nullable=False),
    Column("checkpoint_wal_bytes", BigInteger, nullable=False),
    # Real time at which it was signed.
    Column("checkpoint_at", String(40)),
)

audit_checkpoint = Table(
    # Every checkpoint that was signed: one that is no longer kept in the log's directory is missed.
    "migrator_audit_checkpoint",
    metadata,
    Column("origin", Text, primary_key=True),
    Column("size", BigInteger, primary_key=True),
    Column("root", String(64), nullable=False),
)
