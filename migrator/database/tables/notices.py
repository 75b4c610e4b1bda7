"""Notices: what was said, to whom, and how far it got."""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    String,
    Table,
    Text,
    text,
)

from migrator.database.tables.kinds import Key, metadata

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
