"""Plans, their items, and who approved them."""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    String,
    Table,
    Text,
)

from migrator.database.tables.kinds import Serial, metadata

plan = Table(
    "migrator_plan",
    metadata,
    Column("plan_id", String(64), primary_key=True),
    Column("plan_no", BigInteger, nullable=False, unique=True),
    Column("digest", String(80), nullable=False),
    Column("created_at", String(40), nullable=False),
    Column("decided_as_of", String(40), nullable=False),
    Column("config_sha256", String(64), nullable=False),
    Column("source_identity", String(64), nullable=False),
    # What the plan knew: later grants and exports are for the next plan.
    Column("last_authorization_no", BigInteger, nullable=False),
    Column("last_export_no", BigInteger, nullable=False),
    Column("conversations", BigInteger, nullable=False),
    Column("messages", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    # `making` until its items are complete: an interrupted plan is not a plan.
    Column("state", String(16), nullable=False),
    Column("consumed_by", String(64)),
)

# Who recorded them is known by login name, who signed by their key: four eyes may sit at one machine.
approval = Table(
    "migrator_approval",
    metadata,
    Column("approval_no", Serial, primary_key=True, autoincrement=True),
    Column("plan_id", String(64), nullable=False),
    Column("signer", Text, nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("signature", Text, nullable=False),
    Column("approved_at", String(40), nullable=False),
    Column("recorded_by", Text, nullable=False),
    Column("revoked_at", String(40)),
    Index("migrator_approval_plan", "plan_id"),
)

rehearsal = Table(
    "migrator_rehearsal",
    metadata,
    Column("plan_id", String(64), primary_key=True),
    # A completed run in staging, or why there was none.
    Column("run_id", String(64)),
    Column("summary_sha256", String(64)),
    Column("waiver", Text),
    Column("recorded_at", String(40), nullable=False),
    Column("recorded_by", Text, nullable=False),
)

plan_item = Table(
    "migrator_plan_item",
    metadata,
    Column("plan_id", String(64), primary_key=True),
    Column("conversation_no", BigInteger, primary_key=True),
    # `rewrap`, `extend` (late keys or a new tail of a migrated conversation), or the outcome of a skip.
    Column("decision", String(64), nullable=False),
    Column("messages", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# The work of a limited plan in its order, while the plan is made: which is the last that the limit takes up.
plan_order = Table(
    "migrator_plan_order",
    metadata,
    Column("plan_id", String(64), primary_key=True),
    Column("place", BigInteger, primary_key=True),
    Column("conversation_no", BigInteger, primary_key=True),
    # What an `extend` takes up, as counted for the plan file; null: nothing of the kind.
    Column("tail_messages", BigInteger),
    Column("late_gaps", BigInteger),
    sqlite_with_rowid=False,
)
