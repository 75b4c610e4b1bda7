"""What several parts of the Synapse store ask of its database: which events count, and which were taken back."""

from typing import Any

import sqlalchemy as sa

from migrator.stores.synapse_schema import Features
from migrator.stores.synapse_tables import (
    ENCRYPTED,
    erased_users,
    events,
    redactions,
    room_ban_redactions,
    stream_positions,
)

redacting = events.alias("redacting")
_EVERYTHING = 2**63 - 1

NOT_OUTLIER: sa.ColumnElement[bool] = sa.literal_column("NOT events.outlier", sa.Boolean)
"""As the partial index `events_jump_to_date_idx` has it: SQLite uses it for these very words only."""


def _passed() -> sa.ScalarSelect[Any]:
    """Where the events stream ends for readers.

    With several writers that is the least of their positions: above it an earlier event may still be under way. A
    single writer's table may lag behind its events, and needs no bound.
    """
    mine = stream_positions.c.stream_name == "events"
    least = sa.case(
        (sa.func.count() > 1, sa.func.min(stream_positions.c.stream_id)),
        else_=sa.literal(_EVERYTHING, sa.BigInteger),
    )
    return sa.select(least).where(mine).scalar_subquery()


IS_MESSAGE: sa.ColumnElement[bool] = sa.and_(
    events.c.type == ENCRYPTED, NOT_OUTLIER, events.c.stream_ordering <= _passed()
)
"""Encrypted events that this server has as part of their room, backfilled ones (negative) as well."""
HELD_BACK: sa.ColumnElement[bool] = sa.and_(
    events.c.type == ENCRYPTED, NOT_OUTLIER, events.c.stream_ordering > _passed()
)


def redaction_of(event_id: sa.ColumnElement[Any], room_id: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Whether there is a redaction of an event that is there itself, was accepted and is of the same room."""
    return (
        sa.select(sa.literal(1))
        .select_from(redactions.join(redacting, redacting.c.event_id == redactions.c.event_id))
        .where(redactions.c.redacts == event_id, redacting.c.room_id == room_id, redacting.c.rejection_reason.is_(None))
        .exists()
    )


def erased_sender() -> sa.ColumnElement[bool]:
    """Whether an event's sender asked to be erased."""
    return sa.select(sa.literal(1)).where(erased_users.c.user_id == events.c.sender).exists()


def banned_sender(features: Features) -> sa.ColumnElement[bool]:
    """Whether a ban took back all that its sender had sent by then (backfilled events always)."""
    if not features.ban_redactions:
        return sa.false()
    ban = room_ban_redactions
    return (
        sa.select(sa.literal(1))
        .select_from(ban.join(redacting, redacting.c.event_id == ban.c.redacting_event_id))
        .where(
            ban.c.room_id == events.c.room_id,
            ban.c.user_id == events.c.sender,
            sa.func.coalesce(ban.c.redact_end_ordering, 0).in_((0,))
            | (events.c.stream_ordering < ban.c.redact_end_ordering),
            redacting.c.room_id == events.c.room_id,
            redacting.c.rejection_reason.is_(None),
        )
        .exists()
    )


def taken_back(features: Features) -> sa.ColumnElement[bool]:
    """Whether an event was redacted or its sender erased since it was sent."""
    return sa.or_(redaction_of(events.c.event_id, events.c.room_id), erased_sender(), banned_sender(features))
