"""How far a run came when: the expected messages as its session begins, and a ring of samples while it is at work.

The ring lies in the database, not in the process, so that any shell sees how fast the run goes at the moment. It has
`_SLOTS` rows a run however long that takes. Times are real ones, never the campaign's.
"""

from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

from migrator.core.clock import format_time, parse_time
from migrator.core.estimate import WINDOW, Sample
from migrator.database import tables
from migrator.execution import runs
from migrator.execution.retrying import is_for_run
from migrator.execution.runs import Run, Worked

EVERY_SECONDS: Final = 5.0
_SLOTS: Final = int(WINDOW.total_seconds() / EVERY_SECONDS) + 4
"""The window, and a little more for samples that come late."""


def last_commit(connection: sa.Connection, run_id: str) -> str | None:
    """When a worker of a run committed last, as far as its shards know."""
    shard = tables.shard
    committed_at = connection.scalar(sa.select(sa.func.max(shard.c.committed_at)).where(shard.c.run_id == run_id))
    return None if committed_at is None else str(committed_at)


def begin_session(connection: sa.Connection, run_id: str, generation: int, committed_at: str | None) -> None:
    """In the transaction that cuts a session's shards: note what is expected and done, and take the first sample.

    `committed_at`: the last commit that the shards of before knew of, which are forgotten with them.
    """
    run = tables.run
    expected, left = _expected(connection, runs.find(connection, run_id))
    now = datetime.now(UTC)
    values: dict[str, int | str] = {
        "expected": expected,
        "earlier": max(0, expected - left),
        "session_at": format_time(now),
    }
    if committed_at is not None:
        values["committed_at"] = committed_at
    connection.execute(run.update().where(run.c.run_id == run_id).values(values))
    take(connection, run_id, generation, 0, messages=0, held_seconds=0.0, at=now)


def take(
    connection: sa.Connection,
    run_id: str,
    generation: int,
    number: int,
    *,
    messages: int,
    held_seconds: float,
    at: datetime,
) -> None:
    """The n-th sample of a session; it takes the place of the oldest one."""
    table = tables.run_sample
    here = sa.and_(table.c.run_id == run_id, table.c.slot == number % _SLOTS)
    values = {
        "generation": generation,
        "at": format_time(at),
        "messages": messages,
        "held_ms": round(held_seconds * 1000),
    }
    if connection.execute(table.update().where(here).values(values)).rowcount != 1:
        connection.execute(table.insert().values(run_id=run_id, slot=number % _SLOTS, **values))


def taken(connection: sa.Connection, run_id: str, generation: int) -> list[Sample]:
    """The samples of a session that are kept, in no particular order."""
    table = tables.run_sample
    query = sa.select(table).where(table.c.run_id == run_id, table.c.generation == generation)
    return [
        Sample(at=parse_time(row.at), messages=row.messages, held_seconds=row.held_ms / 1000)
        for row in connection.execute(query)
    ]


def so_far(connection: sa.Connection, run: Run) -> Worked | None:
    """What the session of a run has done that has not ended: by its newest sample, also where it was killed since."""
    table = tables.run
    began = connection.scalar(sa.select(table.c.session_at).where(table.c.run_id == run.run_id))
    newest = max(taken(connection, run.run_id, run.generation), key=lambda sample: sample.at, default=None)
    if began is None or newest is None:
        return None
    seconds = max(0.0, (newest.at - parse_time(began)).total_seconds())
    return Worked(seconds=seconds, held_seconds=newest.held_seconds, messages=newest.messages)


def _expected(connection: sa.Connection, run: Run) -> tuple[int, int]:
    """Messages that a run is to move, and those of them that are neither dealt with nor under way."""
    planned, item, progress, run_id = tables.plan_item, tables.item, tables.progress, run.run_id
    work = (planned.c.plan_id == run.plan_id, is_for_run(run.retry))
    expected = connection.scalar(sa.select(sa.func.sum(planned.c.messages)).where(*work)) or 0
    done = sa.and_(item.c.run_id == run_id, item.c.conversation_no == planned.c.conversation_no)
    left = connection.scalar(
        sa.select(sa.func.sum(planned.c.messages)).outerjoin(item, done).where(*work, item.c.run_id.is_(None))
    )
    moved = connection.scalar(
        sa.select(sa.func.sum(progress.c.messages + progress.c.gaps)).where(progress.c.run_id == run_id)
    )
    return int(expected), max(0, int(left or 0) - int(moved or 0))
