"""Every table of the migrator database. The contract names the first six; the rest is migrator's own.

Times are RFC 3339 text (see `migrator.core.clock`). Enumerations are text: the closed sets stand in `core`.
Alembic's revisions make these tables; a test holds the two together.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects import postgresql

metadata = MetaData()

Serial = BigInteger().with_variant(Integer, "sqlite")
"""A number that the database gives out: SQLite only does so for a column of type INTEGER."""

Key = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
"""An identifier of somebody else's: compared and sorted by its bytes, whatever the database's locale."""

# --- server history: what the serving application reads ---

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

# --- the campaign ---

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

# --- notices ---

notice_template = Table(
    "migrator_notice_template",
    metadata,
    Column("notice_id", String(64), primary_key=True),
    Column("version", String(32), primary_key=True),
    Column("locale", String(35), primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("source", Text, nullable=False),
    Column("published_at", String(40), nullable=False),
)

notice = Table(
    # One row for each account, notice, occasion and channel.
    "migrator_notice",
    metadata,
    Column("account_id", Key, primary_key=True),
    Column("notice_id", String(64), primary_key=True),
    # Tells notices of one id apart: a day of the schedule, the record that a receipt confirms; empty for the others.
    Column("occasion", String(64), primary_key=True, server_default=text("''")),
    Column("channel", String(64), primary_key=True),
    Column("version", String(32), nullable=False),
    Column("locale", String(35)),
    Column("locale_wanted", String(35)),
    Column("template_sha256", String(64)),
    Column("rendered_sha256", String(64)),
    Column("state", String(16), nullable=False),
    Column("detail", Text),
    Column("message_id", Key),
    # What a channel knows the notice by; raised generations are notices that were sent again after a bounce.
    Column("delivery_key", String(40)),
    Column("generation", Integer, nullable=False, server_default="0"),
    # Keyed reference of the address, to know a new one.
    Column("address_ref", String(32)),
    Column("wave", String(16)),
    Column("queued_at", String(40), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("retry_at", String(40)),
    # The channel took it: it is not handed over again, and counts as sent with the transaction that reports it.
    Column("accepted_at", String(40)),
    Column("sent_at", String(40)),
    Column("bounced_at", String(40)),
    Column("complained_at", String(40)),
    Column("seen_at", String(40)),
    Index("migrator_notice_delivery", "delivery_key"),
)

notice_preference = Table(
    "migrator_notice_preference",
    metadata,
    Column("account_id", Key, primary_key=True),
    # Null: reminders are welcome again.
    Column("reminders_off_at", String(40)),
    sqlite_with_rowid=False,
)

notice_channel = Table(
    # A channel that is not to be used: until a time, or until an operator says so.
    "migrator_notice_channel",
    metadata,
    Column("channel", String(64), primary_key=True),
    Column("not_before", String(40)),
    Column("disabled_at", String(40)),
    Column("detail", Text),
)

notice_control = Table(
    # One row: whether sending is paused and why, and from when on bounces and complaints count towards the next stop.
    "migrator_notice_control",
    metadata,
    Column("campaign", String(100), primary_key=True),
    Column("paused_at", String(40)),
    Column("reason", Text),
    Column("resumed_at", String(40)),
    # The run that `migrator_notice_result` speaks of, once it is complete.
    Column("results_for", Text),
)

notice_ward = Table(
    # Whose guardian an account is: the source names guardians in their wards' rows only.
    "migrator_notice_ward",
    metadata,
    Column("guardian_id", Key, primary_key=True),
    Column("account_id", Key, primary_key=True),
    sqlite_with_rowid=False,
)

notice_result = Table(
    # What became of an account's conversations, as of the last walk over the source.
    "migrator_notice_result",
    metadata,
    Column("account_id", Key, primary_key=True),
    Column("moved", BigInteger, nullable=False),
    Column("sealed", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# --- authorisations ---

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

# --- exports ---

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

# --- plans and runs ---

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

# A campaign made final: what goes, how far it got, and what was certified.
finalization = Table(
    "migrator_finalization",
    metadata,
    Column("finalization_id", String(64), primary_key=True),
    Column("finalization_no", BigInteger, nullable=False, unique=True),
    Column("run_id", String(64), nullable=False),
    # `migrated`: the source's ciphertext of what readers see; `sealed`: all that stayed sealed.
    Column("what", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    # Where it goes on, and what was about to be deleted when it was left: JSON.
    Column("through", Text, nullable=False),
    Column("pending", Text),
    Column("conversations", BigInteger, nullable=False, server_default="0"),
    Column("messages", BigInteger, nullable=False, server_default="0"),
    Column("exports", BigInteger, nullable=False, server_default="0"),
    Column("recipient_keys", BigInteger, nullable=False, server_default="0"),
    Column("kept_conversations", BigInteger, nullable=False, server_default="0"),
    Column("kept_exports", BigInteger, nullable=False, server_default="0"),
    Column("started_at", String(40), nullable=False),
    Column("finished_at", String(40)),
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

run = Table(
    "migrator_run",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("run_no", BigInteger, nullable=False, unique=True),
    Column("plan_id", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("stop_reason", String(32)),
    # Raised at each start and resume; shards of an older generation are dead.
    Column("generation", Integer, nullable=False),
    Column("started_at", String(40), nullable=False),
    Column("finished_at", String(40)),
    # Milliseconds worked by earlier, ended generations.
    Column("worked_ms", BigInteger, nullable=False, server_default="0"),
    # For people: the error that stopped the run, and what its coordinator waits for at the moment.
    Column("stop_detail", Text),
    Column("waiting", Text),
    # Messages a second that all workers together may move, and how many workers share that.
    Column("max_rate", Float),
    Column("sharing", Integer, nullable=False, server_default="1"),
    # Milliseconds out of `worked_ms` in which a service held the workers up.
    Column("held_ms", BigInteger, nullable=False, server_default="0"),
)

shard = Table(
    "migrator_shard",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("shard_no", Integer, primary_key=True),
    # Conversation numbers, both ends included.
    Column("first_no", BigInteger, nullable=False),
    Column("last_no", BigInteger, nullable=False),
    # The fencing token of the worker that holds it; 0: nobody yet.
    Column("token", BigInteger, nullable=False, server_default="0"),
    Column("finished", Boolean, nullable=False),
    # What its holder has committed: for progress and for the error budget.
    Column("messages", BigInteger, nullable=False, server_default="0"),
    Column("failures", BigInteger, nullable=False, server_default="0"),
    # What its holder waits for at the moment, and how long it has waited so far.
    Column("waiting", Text),
    Column("held_ms", BigInteger, nullable=False, server_default="0"),
)

progress = Table(
    "migrator_progress",
    metadata,
    Column("conversation_no", BigInteger, primary_key=True),
    Column("run_id", String(64), nullable=False),
    Column("cursor", Text, nullable=False),
    Column("key_id", BigInteger, nullable=False),
    Column("messages", BigInteger, nullable=False),
    Column("gaps", BigInteger, nullable=False),
    Column("countable_gaps", BigInteger, nullable=False),
    Column("frontier", Text, nullable=False),
)

addition = Table(
    # Messages that a run adds to a conversation out of message order or after its flip: staged here, moved into
    # `migrator_message` by the transaction that shows them, kept without their ciphertext for a rollback.
    "migrator_addition",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("conversation_no", BigInteger, primary_key=True),
    Column("sent_at", BigInteger, primary_key=True),
    Column("message_id", Key, primary_key=True),
    Column("sender_id", Key),
    Column("content_type", Text),
    Column("key_id", BigInteger),
    Column("ciphertext", LargeBinary),
    # The gap that it is now, and the one that it was before this run; null: none.
    Column("gap_reason", String(32)),
    Column("prior_gap", String(32)),
    sqlite_with_rowid=False,
)

extension = Table(
    # What a visible conversation was before a run added to it.
    "migrator_extension",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("conversation_no", BigInteger, primary_key=True),
    Column("prior_plan_id", String(64)),
    Column("prior_run_id", String(64)),
    Column("prior_flipped_at", String(40)),
    Column("prior_message_count", BigInteger, nullable=False),
    Column("prior_gap_count", BigInteger, nullable=False),
    Column("prior_source_through", Text),
)

lease = Table(
    "migrator_lease",
    metadata,
    Column("campaign", String(100), primary_key=True),
    Column("token", BigInteger, nullable=False),
    # Null: nobody holds it. `host/boot/pid/start` of the holder otherwise.
    Column("holder", Text),
    Column("purpose", String(64)),
    # Real time, never the campaign's clock.
    Column("heartbeat_at", String(40), nullable=False),
)

rewrap = Table(
    # `migrator keys rewrap`: which keys are done, so that one that was interrupted goes on there.
    "migrator_rewrap",
    metadata,
    Column("rewrap_id", String(64), primary_key=True),
    # JSON: the service that keys move to, or null; the newest key version of each service as it began.
    Column("target", Text, nullable=False),
    # Conversation number up to which all data keys are done.
    Column("through_no", BigInteger, nullable=False),
    Column("rewrapped", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("started_at", String(40), nullable=False),
    Column("finished_at", String(40)),
)

verification = Table(
    "migrator_verification",
    metadata,
    Column("verification_id", String(64), primary_key=True),
    Column("run_id", String(64), nullable=False),
    Column("sample", String(16), nullable=False),
    # Conversation number up to which everything is checked, and the counts so far.
    Column("through_no", BigInteger, nullable=False),
    Column("checked", Text, nullable=False),
    Column("ok", Boolean),
    Column("started_at", String(40), nullable=False),
    Column("finished_at", String(40)),
)

verification_mismatch = Table(
    "migrator_verification_mismatch",
    metadata,
    Column("verification_id", String(64), primary_key=True),
    Column("mismatch_no", Integer, primary_key=True),
    Column("conversation_no", BigInteger),
    Column("kind", String(64), nullable=False),
    Column("detail", Text, nullable=False),
)

# --- audit ---

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
)

audit_checkpoint = Table(
    # Every checkpoint that was signed: one that is no longer kept in the log's directory is missed.
    "migrator_audit_checkpoint",
    metadata,
    Column("origin", Text, primary_key=True),
    Column("size", BigInteger, primary_key=True),
    Column("root", String(64), nullable=False),
)
