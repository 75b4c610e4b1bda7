"""The time by the clock of the migrator database's machine: for whoever must not trust the clock of its own."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa


def database_time(connection: sa.Connection) -> datetime:
    """When the present transaction began, in UTC; some databases tell whole seconds only."""
    told = connection.scalar(sa.select(sa.func.current_timestamp()))
    moment = told if isinstance(told, datetime) else datetime.fromisoformat(str(told))
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def apart(theirs: datetime, before: datetime, after: datetime) -> timedelta:
    """How far a clock of ours, asked before and after the database's, is from it at least; a second is in doubt."""
    return max(before - theirs - timedelta(seconds=1), theirs - after, timedelta())
