"""Plans, runs, and all that works on server history: shards, progress, leases, verification, the end."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    false,
    text,
)

from migrator.database.tables.kinds import Key, Serial, metadata

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
    # Sealed, and nobody was told what becomes of it: conversations no run decided about, and messages that came late.
    Column("kept_unannounced", BigInteger, nullable=False, server_default="0"),
    Column("kept_messages", BigInteger, nullable=False, server_default="0"),
    Column("started_at", String(40), nullable=False),
    Column("finished_at", String(40)),
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
    # Opens only what failed in another run: that run, and the outcomes wanted, by spaces.
    Column("retry_of", String(64)),
    Column("retry_outcomes", Text),
    # As of the beginning of its present session: messages that its plan has it move, and how many are dealt with.
    Column("expected", BigInteger),
    Column("earlier", BigInteger, nullable=False, server_default="0"),
    # Real time at which its present session began.
    Column("session_at", String(40)),
    # Real time of the last commit of a worker whose shard is forgotten.
    Column("committed_at", String(40)),
    # The token of the campaign's lease under which the run was begun or taken up last, and when, in real time, whoever
    # worked on it last wrote this row.
    Column("lease_token", BigInteger),
    Column("seen_at", String(40)),
    # What an operator limits it to: JSON, `core.run_limits`. While `throttled` no worker begins anything.
    Column("limits", Text),
    Column("throttled", Boolean, nullable=False, server_default=false()),
)

run_sample = Table(
    # How far a run had come when: a ring, so that any shell sees how fast it goes at the moment.
    "migrator_run_sample",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("slot", Integer, primary_key=True),
    Column("generation", Integer, nullable=False),
    # Real time; what the workers of the generation had committed by then, and how long they had been held up.
    Column("at", String(40), nullable=False),
    Column("messages", BigInteger, nullable=False),
    Column("held_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

hook_call = Table(
    # The programs of an operator that a run has called, and what came of each.
    "migrator_hook_call",
    metadata,
    Column("call_no", Serial, primary_key=True, autoincrement=True),
    Column("hook", String(32), nullable=False),
    Column("plan_id", String(64), nullable=False),
    # Null before there is a run.
    Column("run_id", String(64)),
    Column("called_at", String(40), nullable=False),
    Column("took_ms", BigInteger, nullable=False),
    Column("result", String(16), nullable=False),
    Column("exit_status", Integer),
    Index("migrator_hook_call_plan", "plan_id"),
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
    # Real time of its last commit.
    Column("committed_at", String(40)),
    # What its holders have found of the services' load, in all: calls, microseconds they took, how many failed.
    Column("commits", BigInteger, nullable=False, server_default="0"),
    Column("commit_us", BigInteger, nullable=False, server_default="0"),
    Column("database_errors", BigInteger, nullable=False, server_default="0"),
    Column("key_calls", BigInteger, nullable=False, server_default="0"),
    Column("key_us", BigInteger, nullable=False, server_default="0"),
    Column("key_errors", BigInteger, nullable=False, server_default="0"),
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
    # A message that readers saw until this run: the source had taken it back. Such a note outlives a rollback.
    Column("taken_back", Boolean, nullable=False, server_default=false()),
    # What it uses up: see `migrator_claim`.
    Column("claim", LargeBinary),
    Index(
        "migrator_addition_claim",
        "run_id",
        "conversation_no",
        "claim",
        sqlite_where=text("claim IS NOT NULL"),
        postgresql_where=text("claim IS NOT NULL"),
    ),
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
